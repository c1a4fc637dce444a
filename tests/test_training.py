import argparse
import csv
import importlib.util
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from album import scene
from PIL import Image
from PIL.ExifTags import Base

from dedup.geometry.canvas import CANVAS
from dedup.geometry.registration import align, prepare
from dedup.grouping.prior import ASSUMED
from dedup.models.pair_head import COPY, SIMILAR, UNRELATED, Calibration
from dedup.models.weights import Weights
from dedup.training.aligned_pairs import (
    CHANGE_SIDE,
    DOUBTFUL,
    DRAWN,
    AlignedPairs,
    Drawer,
    DrawnPair,
    NearPairs,
    aligned_of,
    change_map,
    changed,
    collection,
    joined,
    near_pairs,
    turned,
)
from dedup.training.content_edits import CONTENTS, hidden_part
from dedup.training.data import (
    FILLERS,
    PLAIN,
    SPLITS,
    STRONG_FROM,
    Corpus,
    Described,
    Groups,
    PairSampler,
    Views,
    ViewsOfOne,
    draw_photos,
    load,
    lookalikes,
)
from dedup.training.edits import ADDED, Version, difference_mask, edited, overdrawn, shaped, toned, unedited
from dedup.training.fitting import fit
from dedup.training.gates import copy_odds, fitted_curve, fitted_gate, keeping
from dedup.training.losses import entropy, info_nce, place_similarity
from dedup.training.metrics import average_precision, recall_at
from dedup.training.overlay_edits import OVERLAYS, logo
from dedup.training.shape_edits import STRONG_SHAPES, WEAK_SHAPES, collage, hard_crop, mirror, quarter_turn
from dedup.training.shots import another_shot
from dedup.training.tone_edits import RARE_TONES, TONES, thumbnail
from dedup.types.arrays import SIDE

NO_PAIRS = NearPairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Forty photos in two pools, one of them twice, two scenes of three shots, two photos in two versions each."""
    root = tmp_path_factory.mktemp("corpus")
    for n in range(40):
        folder = root / "photos" / ("one" if n % 2 else "two")
        folder.mkdir(parents=True, exist_ok=True)
        scene(n, (120, 90)).save(folder / f"{n}.png")
    scene(4, (120, 90)).resize((100, 90)).save(root / "photos" / "two" / "4 again.png")
    (root / "hard" / "drive").mkdir(parents=True)
    with (root / "hard" / "scenes.csv").open("w", newline="") as f:
        rows = csv.writer(f)
        rows.writerow(["file", "scene"])
        for n in range(6):
            scene(100 + n, (120, 90)).save(root / "hard" / "drive" / f"{n}.png")
            rows.writerow([f"drive/{n}.png", f"scene {n // 3}"])
    (root / "copies" / "photos" / "app").mkdir(parents=True)
    with (root / "copies" / "copies.csv").open("w", newline="") as f:
        rows = csv.writer(f)
        rows.writerow(["file", "group", "part"])
        for n in range(4):
            version = scene(200 + n // 2, (120, 90))
            (version if n % 2 else version.convert("L")).save(root / "copies" / "photos" / "app" / f"{n}.png")
            rows.writerow([f"app/{n}.png", f"app:{n // 2}", "train"])
    return load(root / "photos", [root / "hard"], [root / "copies"], plain=20, seed=0)


def another(rng: np.random.Generator) -> Image.Image:
    return scene(int(rng.integers(50, 60)), (160, 120))


def test_collage_shows_the_photo_and_others_beside_it() -> None:
    image, sizes = scene(2, (120, 90)), set()
    pixels = np.asarray(image, np.int16)
    for seed in range(12):
        sheet = collage(image, np.random.default_rng(seed), another)
        sizes.add((round(sheet.width / 120), round(sheet.height / 90)))
        all_of_it = np.lib.stride_tricks.sliding_window_view(np.asarray(sheet, np.int16), pixels.shape)[::1, ::1, 0]
        corners = np.abs(all_of_it[..., 0, :, :] - pixels[0]).sum((2, 3)) == 0
        assert corners.sum() == 1  # its first row is there once
    assert sizes == {(2, 1), (1, 2), (2, 2), (3, 1)}


EDITS = {*TONES, *RARE_TONES, *WEAK_SHAPES, *STRONG_SHAPES, *CONTENTS, *OVERLAYS}


@pytest.mark.parametrize("edit", sorted(EDITS, key=lambda e: e.__name__), ids=lambda e: e.__name__)
def test_every_edit_changes_the_picture_and_repeats_with_its_seed(edit: object) -> None:
    assert callable(edit)
    image, differs = scene(1, (200, 150)), 0
    for seed in range(4):
        first, again = (edit(image, np.random.default_rng(seed)) for _ in range(2))
        assert isinstance(first, Image.Image)
        assert first.mode == "RGB"
        assert min(first.size) >= 8
        assert first.tobytes() == again.tobytes()
        differs += first.size != image.size or first.tobytes() != image.tobytes()
    assert differs >= 3


@pytest.mark.parametrize("edit", [*CONTENTS, *OVERLAYS], ids=lambda e: e.__name__)
def test_content_edits_keep_the_size(edit: object) -> None:
    assert callable(edit)
    for seed in range(4):
        assert edit(scene(1, (200, 150)), np.random.default_rng(seed)).size == (200, 150)


def test_chain_of_edits_stays_small_and_repeats_with_its_seed() -> None:
    for seed in range(30):
        first, again = (
            edited(unedited(scene(2, (190, 250))), np.random.default_rng(seed), strong=True, others=another)
            for _ in range(2)
        )
        assert first.image.tobytes() == again.image.tobytes()
        assert first.changed.tobytes() == again.changed.tobytes()
        assert first.changed.size == first.image.size
        assert max(first.image.size) <= 512


def test_overlay_leaves_part_of_the_picture_as_it_was() -> None:
    image, changed = scene(1, (200, 150)), dict.fromkeys(OVERLAYS, 0.0)
    for edit in changed:
        for seed in range(6):
            version = overdrawn(unedited(image), edit, np.random.default_rng(seed))
            share = (np.asarray(version.changed) > 0).mean()
            assert share < 0.99
            changed[edit] = max(changed[edit], share)
    assert all(share > 0.02 for share in changed.values())
    assert changed[logo] > 0.3, "some logos are large"


def test_version_names_its_edits_in_their_order() -> None:
    names = {edit.__name__ for edit in EDITS} | {"collage"}
    kinds = [edited(unedited(scene(1, (90, 70))), np.random.default_rng(n), strong=True, others=another, weak=2).kinds
             for n in range(30)]  # fmt: skip
    assert {len(of_one) for of_one in kinds} == {3}
    assert set().union(*kinds) <= names
    assert unedited(scene(1, (90, 70))).kinds == ()


def test_kinds_that_came_later_are_drawn_as_often_as_asked() -> None:
    start, later = unedited(scene(1, (90, 70))), {edit.__name__ for _, edit in ADDED}
    kinds = [edited(start, np.random.default_rng(n), strong=False, others=another, weak=3, added=0.7).kinds
             for n in range(40)]  # fmt: skip
    of_later = [kind in later for of_one in kinds for kind in of_one]
    assert 0.65 < np.mean(of_later) < 0.95, "some of the others are of these kinds, too"
    assert edited(start, np.random.default_rng(1), strong=False, others=another, weak=3, added=1).kinds[0] in later


def test_mask_says_what_a_content_edit_changed_and_no_more() -> None:
    image = scene(3, (200, 150))
    version = overdrawn(unedited(image), hidden_part, np.random.default_rng(1))
    same = np.asarray(version.changed) == 0
    assert 0.02 < 1 - same.mean() < 0.4
    difference = np.abs(np.asarray(image, np.int16) - np.asarray(version.image, np.int16)).max(2)
    assert difference[same].max() <= 14 < difference[~same].min()


def test_mask_goes_the_way_of_its_picture() -> None:
    image, mask = scene(3, (200, 150)), Image.new("L", (200, 150))
    mask.paste(255, (0, 0, 100, 150))  # the left half
    version = Version(image, mask)
    mirrored = shaped(version, mirror, np.random.default_rng(0))
    assert mirrored.changed.getbbox() == (100, 0, 200, 150)
    for seed in range(5):
        turned_version = shaped(version, quarter_turn, np.random.default_rng(seed))
        cropped = shaped(version, hard_crop, np.random.default_rng(seed))
        assert turned_version.changed.size == turned_version.image.size
        assert cropped.changed.size == cropped.image.size
        assert (np.asarray(turned_version.changed) > 0).mean() == pytest.approx(0.5)
    small = toned(version, thumbnail, np.random.default_rng(0))
    assert small.changed.size == small.image.size != image.size


def test_change_map_shows_the_change_where_it_lies_on_the_canvas() -> None:
    image = scene(3, (240, 240))
    covered = image.copy()
    covered.paste((255, 0, 0), (0, 0, 120, 60))  # the upper left
    left, right = unedited(image), Version(covered, difference_mask(image, covered))
    small = Version(right.image.resize((160, 160)), right.changed.resize((160, 160)))
    for pair in (DrawnPair(left, small, COPY, True), DrawnPair(small, left, COPY, True)):
        a, b = (prepare(np.asarray(version.image)) for version in (pair.left, pair.right))
        cells = change_map(pair, align(a, b, [np.eye(3)]))
        assert cells.shape == (CHANGE_SIDE, CHANGE_SIDE)
        assert (cells[:6, :14] > 200).all()
        assert (cells[10:] == 0).all()
        assert (cells[:, 18:] == 0).all()


def test_splits_hold_photos_and_whole_scenes_apart(corpus: Corpus) -> None:
    assert len(corpus.encoded) == 71
    assert sum(len(corpus.of(split)) for split in ("train", "choose", "calibrate", FILLERS)) == 71
    assert set(corpus.splits[np.array(corpus.copies) != ""]) == {"train"}  # as their list says
    for scene_name in ("scene 0", "scene 1"):
        assert len({str(s) for s, name in zip(corpus.splits, corpus.scenes, strict=True) if name == scene_name}) == 1


def test_class_of_two_pictures_of_one_source_is_known_within_a_group_only(corpus: Corpus) -> None:
    first, second, third, fourth = np.flatnonzero(np.array(corpus.copies) != "")
    shots = np.flatnonzero(np.array(corpus.scenes) == "scene 0")
    left = np.array([first, first, first, shots[0], 0, 0])
    right = np.array([second, third, fourth, shots[1], first, 1])
    assert corpus.classes(left, right).tolist() == [COPY, -1, -1, SIMILAR, UNRELATED, UNRELATED]


def test_groups_are_drawn_as_pairs_of_different_members() -> None:
    groups, rng = Groups(["a:1", "", "a:1", "b:1", "b:2", "b:2", "b:2"]), np.random.default_rng(0)
    drawn = {tuple(sorted(groups.draw(rng))) for _ in range(200)}
    assert drawn == {(0, 2), (4, 5), (4, 6), (5, 6)}
    assert not Groups(["", "a:1", "a:2"])


def test_pairs_of_large_groups_are_spread_over_all_that_they_have() -> None:
    pairs = Groups(["a:1"] * 8 + ["b:1", "b:1"]).pairs(most=10)
    assert len(pairs) == 10 + 1
    assert {m for pair in pairs for m in pair} == set(range(10))
    assert all(i < j and (i < 8) == (j < 8) for i, j in pairs)


def test_photos_that_fill_collages_are_never_looked_for(corpus: Corpus) -> None:
    fillers = {corpus.image(int(i)).tobytes() for i in corpus.of(FILLERS)}
    assert len(fillers) == len(corpus.of(FILLERS)) > 1
    rng = np.random.default_rng(0)
    assert {corpus.filler(rng).tobytes() for _ in range(60)} == fillers
    for split in SPLITS:
        assert not set(corpus.of(split)) & set(corpus.of(FILLERS))


def test_drawn_photos_are_different_and_only_of_those_to_learn_from(corpus: Corpus) -> None:
    for seed in range(10):
        drawn = draw_photos(corpus, np.random.default_rng(seed), count=16).tolist()
        assert len(set(drawn)) == 16
        assert set(drawn) <= set(corpus.of("train").tolist())
        assert PLAIN not in {corpus.pools[i] for i in drawn}


def test_batches_repeat_with_their_seed_and_step(corpus: Corpus) -> None:
    views = Views(corpus, batch=4, steps=3, seed=1)
    assert views[1].shape == (2, 4, SIDE, SIDE, 3)
    assert (views[1] == views[1]).all()
    assert (views[1] != views[2]).any()


def test_view_of_a_photo_does_not_depend_on_which_others_are_asked_for(corpus: Corpus) -> None:
    some = ViewsOfOne(corpus, np.array([3, 5]), views=4, seed=1)
    other = ViewsOfOne(corpus, np.array([5]), views=4, seed=1)
    assert (some[1] == other[0]).all()


def test_unlabelled_copies_are_found(corpus: Corpus) -> None:
    photos = [(i, j) for i, j in lookalikes(corpus) if PLAIN not in (corpus.pools[i], corpus.pools[j])]
    (again,) = (i for i in range(len(corpus.encoded)) if corpus.image(i).size == (100, 90))
    ((i, j),) = photos
    assert again in (i, j)


def test_sampler_draws_what_it_says(corpus: Corpus) -> None:
    rng = np.random.default_rng(0)
    photos = np.arange(51)
    vectors = rng.standard_normal((51, 6, 16)).astype(np.float16)
    described = Described(photos, vectors, np.zeros((51, 6, 4, 2), np.int8), np.full((51, 6), 50, np.float32))
    unsure = {(0, 1)}
    pairs = PairSampler(corpus, described, unsure, neighbours=20).draw(rng, count=4000)
    a, b = pairs.views.T // 6
    u, v = pairs.views.T % 6
    copies, similar, far = (pairs.classes == c for c in (COPY, SIMILAR, UNRELATED))
    assert (corpus.classes(a, b) == pairs.classes)[~far].all()
    assert (corpus.classes(a, b) == UNRELATED)[far].all()
    own = copies & (a == b)
    assert ((u != v) & (np.minimum(u, v) < STRONG_FROM))[own].all()
    assert not ((np.minimum(a, b) == 0) & (np.maximum(a, b) == 1))[far].any()
    assert own.sum() == 1600
    assert copies.sum() == 1800
    assert similar.sum() == 640


def test_plain_views_teach_no_copies(corpus: Corpus) -> None:
    contrast = np.full((47, 6), 50, np.float32)
    contrast[:20] = 2
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((47, 6, 16)).astype(np.float16)
    described = Described(np.arange(47), vectors, np.zeros((47, 6, 4, 2), np.int8), contrast)
    pairs = PairSampler(corpus, described, set(), neighbours=20).draw(rng, count=1000)
    assert (pairs.views[pairs.classes == COPY] // 6 >= 20).all()


def test_info_nce_is_small_where_the_diagonal_is_the_nearest() -> None:
    good = torch.eye(8)
    assert info_nce(good, temperature=0.05) < 1e-3
    assert info_nce(good.roll(1, 0), temperature=0.05) > 10
    assert info_nce(torch.zeros(8, 8), temperature=0.05).item() == pytest.approx(np.log(8))


def test_entropy_is_smaller_where_vectors_are_spread_and_ignores_versions_of_one_photo() -> None:
    photos = torch.tensor([0, 0, 1, 1])
    spread = torch.tensor([[1.0, 0], [1, 0], [-1, 0], [-1, 0]])
    bunched = torch.nn.functional.normalize(torch.tensor([[1.0, 0], [1, 0.1], [1, 0.2], [1, 0.3]]), dim=1)
    assert entropy(spread, photos).item() == pytest.approx(-np.log(2))
    assert entropy(bunched, photos) > entropy(spread, photos)


def test_place_similarity_finds_the_same_places_wherever_they_are() -> None:
    maps = torch.nn.functional.normalize(torch.randn(3, 9, 16, generator=torch.Generator().manual_seed(0)), dim=2)
    shuffled = maps[:, torch.randperm(9)]
    similarity = place_similarity(maps, shuffled)
    assert (similarity.argmax(1) == torch.arange(3)).all()
    torch.testing.assert_close(similarity.diagonal(), place_similarity(maps, maps).diagonal())


def test_metrics_by_hand() -> None:
    scores, true = np.float32([0.9, 0.8, 0.7, 0.6]), np.array([True, False, True, False])
    assert average_precision(scores, true, positives=4) == pytest.approx((1 + 2 / 3) / 4)
    assert recall_at(scores, true, positives=4, precision=0.66) == 0.5
    assert recall_at(scores, true, positives=4, precision=0.99) == 0.25
    tied = np.float32([0.5, 0.5])
    assert average_precision(tied, np.array([True, False]), positives=1) == 0.5  # the false one counts first


def test_another_shot_is_seen_to_be_another() -> None:
    image = scene(3, (200, 150))
    for seed in range(6):
        other = another_shot(image, np.random.default_rng(seed))
        assert other.size == image.size
        difference = np.abs(np.asarray(image, np.int16) - np.asarray(other)).max(2)
        assert (difference > 20).mean() > 0.003


def test_change_survives_the_edit_it_goes_through(corpus: Corpus) -> None:
    image, seen = corpus.image(3), 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        other = changed(corpus, 3, rng, strong=False)
        assert min(other.image.size) >= 8
        seen += other.image.tobytes() != image.tobytes() and other.changed.getbbox() is not None
    assert seen == 8


def test_aligned_pairs_repeat_with_their_seed(corpus: Corpus, weights: Weights) -> None:
    near = near_pairs(corpus, "train", weights, lookalikes(corpus))
    drawer = Drawer(corpus, "train", replace(near, copy=np.zeros_like(near.copy)), weights, draws=2, seed=1)
    first, again = joined([drawer[0], drawer[1]]), joined([drawer[0], drawer[1]])
    P = len(first.classes)
    assert len(drawer) == 3  # the pairs of groups come last
    assert 6 <= P <= 2 * DRAWN
    assert first.first.shape == first.second.shape == (P, CANVAS, CANVAS, 3)
    assert (first.second == again.second).all()
    assert (first.classes == again.classes).all()
    assert {SIMILAR, COPY} <= set(first.classes.tolist())
    assert first.changed.shape == (P, CHANGE_SIDE, CHANGE_SIDE)
    assert (first.changed == again.changed).all()
    assert first.change_known[first.classes == UNRELATED].sum() == 0
    assert first.changed[first.change_known].any()
    assert (first.kinds == again.kinds).all()
    assert (first.kinds != "").any()
    assert set(" ".join(first.kinds).split()) <= {edit.__name__ for edit in EDITS} | {"collage"}
    # what a scan would verify, and a few besides
    copy, _ = weights.calibration.probabilities(first.logits)
    assert (copy >= DOUBTFUL).mean() > 0.8


def test_pairs_of_groups_follow_the_drawn_ones_as_they_are(corpus: Corpus, weights: Weights) -> None:
    drawer = Drawer(corpus, "train", NO_PAIRS, weights, draws=1, seed=1)
    assert len(drawer) == 2
    assert {related for *_, related in drawer.listed} <= {SIMILAR, COPY}
    assert sum(related == COPY for *_, related in drawer.listed) == 2
    pairs = drawer[1]
    assert (pairs.classes == COPY).sum() == 2
    assert not pairs.change_known.any()
    assert not (pairs.kinds != "").any()


def test_unrelated_pairs_that_the_head_takes_for_copies_follow_as_they_are(corpus: Corpus, weights: Weights) -> None:
    near = near_pairs(corpus, "train", weights, lookalikes(corpus))
    mistaken = replace(near, copy=np.where(np.arange(len(near.copy)) < 3, 0.5, 0.05).astype(np.float32))
    drawer = Drawer(corpus, "train", mistaken, weights, draws=1, seed=1)
    expected = list(zip(near.left[:3].tolist(), near.right[:3].tolist(), [UNRELATED] * 3, strict=True))
    assert drawer.listed[-3:] == expected
    assert drawer.listed[:-3] == Drawer(corpus, "train", NO_PAIRS, weights, draws=1, seed=1).listed


def test_near_pairs_are_of_other_photographs(corpus: Corpus, weights: Weights) -> None:
    unsure = lookalikes(corpus)
    near = near_pairs(corpus, "train", weights, unsure)
    train = set(corpus.of("train").tolist())
    assert len(near.left) > 10
    assert {*near.left.tolist(), *near.right.tolist()} <= train
    assert (near.left < near.right).all()
    assert not unsure & set(zip(near.left.tolist(), near.right.tolist(), strict=True))
    assert (corpus.classes(near.left, near.right) == UNRELATED).all()
    assert ((near.copy >= 0) & (near.copy <= 1)).all()
    assert near.of_each()[int(near.left[0])][0] == near.right[0]


def test_canvases_are_turned_all_alike(corpus: Corpus, weights: Weights) -> None:
    pairs = Drawer(corpus, "train", NO_PAIRS, weights, draws=1, seed=2)[0]
    assert len(pairs.classes)
    other = turned(pairs, np.random.default_rng(0))
    assert (
        np.sort(other.first.reshape(len(pairs.classes), -1)) == np.sort(pairs.first.reshape(len(pairs.classes), -1))
    ).all()
    where = other.first[0][other.covered[0]].astype(int).sum()
    assert where == pairs.first[0][pairs.covered[0]].astype(int).sum()


def test_collection_holds_versions_of_a_fifth_of_its_photos(corpus: Corpus, weights: Weights) -> None:
    pictures, photos = collection(corpus, "train", seed=0)
    counts = np.unique(photos, return_counts=True)[1]
    assert len(pictures) == len(photos)
    assert set(counts) == {1, 5}
    every_fifth = corpus.with_content("train")[::5]
    assert (counts == 5).sum() == sum(not corpus.copies[i] for i in every_fifth)
    parts = list(aligned_of(pictures, photos, corpus, lookalikes(corpus), weights, lambda scores: scores.copy >= 0.02))
    assert (joined(parts).classes == COPY).sum() >= 0.7 * 10 * (counts == 5).sum()


def test_any_folder_of_photos_will_do(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pets = tmp_path / "photos" / "pets"
    pets.mkdir(parents=True)
    grain = np.random.default_rng(0).normal(0, 20, (900, 1600, 3))
    noisy = Image.fromarray(np.clip(np.asarray(scene(1, (1600, 900))) + grain, 0, 255).astype(np.uint8))
    exif = Image.Exif()
    exif[Base.Orientation] = 6
    noisy.save(pets / "camera.jpg", quality=95, exif=exif)
    for n in range(30):
        scene(n, (120, 90)).save(pets / f"{n}.png")
    (pets / "notes.txt").write_text("not a picture")
    (pets / "cut.jpg").write_bytes((pets / "camera.jpg").read_bytes()[:5000])
    corpus = load(tmp_path / "photos", [], [], plain=0, seed=0)
    assert len(corpus.encoded) == 31
    camera = corpus.image(30)  # the last by name
    assert camera.size == (288, 512), "upright"
    assert len(corpus.encoded[30]) < 200_000 < (pets / "camera.jpg").stat().st_size
    said = capfd.readouterr().err
    assert "notes.txt is left out: " in said
    assert "cut.jpg is left out: " in said


def test_folder_without_photos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no photos in"):
        load(tmp_path, [], [], plain=5, seed=0)


@pytest.mark.parametrize(
    ("listing", "message"),
    [
        (None, "scenes.csv: No such file"),
        (b"photo,scene\n1.png,one\n", "columns file and scene"),
        (b"file,group,part\n1.png,one,test\n", "part is train, choose or calibrate, not 'test'"),
        (b"\xff", "UTF-8"),
        (b"file,scene\n,one\n", "names no file"),
    ],
)
def test_folder_that_does_not_name_its_scenes_is_refused(tmp_path: Path, listing: bytes | None, message: str) -> None:
    (tmp_path / "photos").mkdir()
    scene(1, (120, 90)).save(tmp_path / "photos" / "1.png")
    if listing is not None:
        (tmp_path / "scenes.csv").write_bytes(listing)
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "photos", [tmp_path], [], plain=5, seed=0)


def test_gate_passes_what_is_wanted_and_keeps_the_share_that_is_asked_for() -> None:
    rng = np.random.default_rng(0)
    figures = rng.normal(size=(3000, 2))
    wanted = figures[:, 0] + rng.normal(0, 0.3, 3000) > 0.5
    gate = fitted_gate(figures, wanted, seed=1)
    assert ((gate.chance(figures) >= 0.5) == wanted).mean() > 0.88
    kept = keeping(gate, figures[wanted], share=0.99)
    assert (kept.chance(figures[wanted]) >= 0.5).mean() == pytest.approx(0.99, abs=0.002)


def test_curve_makes_probabilities_that_hold() -> None:
    rng = np.random.default_rng(0)
    odds = rng.normal(0, 6, 20000).astype(np.float32)
    copies = rng.random(20000) < 1 / (1 + np.exp(-(0.5 * odds - 1)))
    curve = fitted_curve(odds, copies, int(copies.sum()))
    assert curve.slope == pytest.approx(0.5, abs=0.03)
    assert curve.offset == pytest.approx(-1, abs=0.12)
    half = fitted_curve(odds, copies, int(copies.sum()), weight=np.where(copies, 1.0, 0.5))
    assert half.offset == pytest.approx(-1 + np.log(2), abs=0.12)  # as if half of the others were not there
    logits = np.float32([[0, 1, 3]])
    assert copy_odds(logits)[0] == pytest.approx(3 - np.log(1 + np.e))


def test_fit_that_was_stopped_ends_as_one_that_was_not(tmp_path: Path) -> None:
    def batches(steps: range) -> list[tuple[torch.Tensor, ...]]:
        return [(torch.randn(16, 3, generator=torch.Generator().manual_seed(step)),) for step in steps]

    def loss_of(net: torch.nn.Linear, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        return (net(batch[0])[:, 0] - batch[0].sum(1)).square().mean()

    def examine(net: torch.nn.Linear) -> dict[str, float]:
        return {"weight": net.weight.sum().item()}

    def until(stop: int, state: Path) -> torch.nn.Linear:
        torch.manual_seed(0)
        net, some = torch.nn.Linear(3, 1), lambda steps: batches(range(steps.start, min(steps.stop, stop)))
        return fit(net, some, loss_of, examine, state, steps=300, peak=0.05, memory=0.9, device="cpu")

    whole = until(300, tmp_path / "whole.state")
    until(150, tmp_path / "stopped.state")  # its last checkpoint is that of step 100
    continued = until(300, tmp_path / "stopped.state")
    assert (continued.weight == whole.weight).all()
    assert whole.weight.detach().numpy() == pytest.approx(1, abs=0.01)
    assert len((tmp_path / "stopped.csv").read_text().splitlines()) == 1 + 150 + 200


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """scripts/train.py."""
    spec = importlib.util.spec_from_file_location("train", Path(__file__).parents[1] / "scripts" / "train.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with monkeypatch.context() as patched:
        patched.setattr("sys.platform", "any")  # where glibc's settings need a process of their own, it takes one
        spec.loader.exec_module(module)
    return module


def test_weights_between_two_networks_by_hand(train: ModuleType) -> None:
    before, after = {"a": torch.tensor([1.0, 2.0])}, {"a": torch.tensor([3.0, 0.0])}
    assert train.between(before, after, share=0.25)["a"].tolist() == [1.5, 1.5]


def test_curve_is_moved_to_the_prior_it_is_written_for(train: ModuleType) -> None:
    moved = train.at_assumed(Calibration(2.0, 1.0), share=0.2)
    odds = np.float32([[0.0, -50.0, 0.3]])  # logits of one pair: log-odds of a copy 0.3
    before, after = (c.probabilities(odds)[0].astype(float) for c in (Calibration(2.0, 1.0), moved))
    evidence = [p / (1 - p) * (1 - prior) / prior for p, prior in ((before, 0.2), (after, ASSUMED))]
    assert evidence[0] == pytest.approx(evidence[1], rel=1e-5)


def test_step_of_the_encoder_does_not_depend_on_how_the_run_came_to_it(train: ModuleType, weights: Weights) -> None:
    shots = np.stack([np.asarray(scene(n, (SIDE, SIDE))) for n in range(3)])
    views = torch.from_numpy(np.stack([shots, shots[:, :, ::-1]]))
    losses = []
    for before, step in ((1, 7), (2, 7), (2, 8)):
        torch.manual_seed(before)
        losses.append(train.encoder_loss(weights.encoder, views, step=step)[0].item())
    assert losses[0] == losses[1] != losses[2]


@pytest.fixture
def drawn(corpus: Corpus, weights: Weights, train: ModuleType, tmp_path: Path) -> object:
    """A training whose pairs are drawn: two files to learn from, one to choose by."""
    drawer = Drawer(corpus, "train", NO_PAIRS, weights, draws=5, seed=1)
    for name, items in (("train-00000", (0, 1)), ("train-00001", (2, 3, 5)), ("choose-00000", (4,))):
        train.write_arrays(tmp_path / "pairs" / f"{name}.npz", asdict(joined([drawer[n] for n in items])))
    return train.Training(
        argparse.Namespace(
            work=tmp_path,
            device="cpu",
            convolutions="shipped",
            residual_start="random",
            residual_steps=40,
            residual_rate=1e-2,
            residual_share=0.5,
            batch=4,
            more=None,
            times=1,
        )
    )


def test_unrelated_pairs_that_the_head_knows_to_be_copies_are_left_out(drawn: Any, train: ModuleType) -> None:
    head = train.shipped_residual_head(drawn)
    with np.load(drawn.work / "pairs" / "train-00000.npz") as arrays:
        pairs = AlignedPairs(**arrays)
    odds = copy_odds(train.logits_of(head, pairs))
    assert 0 < (odds > train.MISLABELLED).sum() < len(odds)
    unrelated, copies = (replace(pairs, classes=np.full_like(pairs.classes, c)) for c in (UNRELATED, COPY))
    assert (train.trusted(unrelated, head).similarity == pairs.similarity[odds <= train.MISLABELLED]).all()
    assert len(train.trusted(copies, head).classes) == len(odds)


def test_only_the_judging_layers_are_trained_where_the_convolutions_are_those_that_ship(
    drawn: Any, train: ModuleType, tmp_path: Path
) -> None:
    train.residual_stage(drawn)
    net, shipped = torch.load(tmp_path / "residual.pt", weights_only=True), drawn.tensors("second.", None)
    changed = {name for name in shipped if not torch.equal(net[name], shipped[name])}
    assert changed == {"gather.weight", "gather.bias", "decide.weight", "decide.bias"}


def test_kinds_that_were_left_out_stand_beside_the_same_that_were_seen(
    drawn: Any, train: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train.kinds_stage(drawn)
    known = [kinds.split() for kinds in joined(list(train.stored_pairs(drawn, "train"))).kinds.tolist() if kinds]
    lines = [
        line.split(" pairs without ") for line in capsys.readouterr().out.splitlines() if " pairs without " in line
    ]
    assert len(lines) == 3
    for counts, names in lines:
        left = sum(not set(of_pair) & set(names.split()) for of_pair in known)
        assert counts == f"{left} of {len(known)}"
        assert left < len(known)
    assert sorted(" ".join(names for _, names in lines).split()) == sorted(set().union(*known))
    with (tmp_path / "kinds.csv").open(newline="", encoding="utf-8") as f:
        rows = {row["kind"]: row for row in csv.DictReader(f)}
    thirds = {name for name in rows if name.startswith("third ")}
    assert thirds <= {"third 1", "third 2", "third 3"}
    assert set(rows) - thirds <= {edit.__name__ for edit in EDITS} | {"collage"}
    assert len(rows) > len(thirds) > 0
    assert all(int(row["copies"]) > 0 and 0 <= float(row["told if never seen"]) <= 1 for row in rows.values())
    assert not (tmp_path / "residual.pt").exists()


def test_pairs_of_another_folder_count_as_often_as_asked(drawn: Any, train: ModuleType, tmp_path: Path) -> None:
    own = {split: sum(len(some.classes) for some in train.stored_pairs(drawn, split)) for split in ("train", "choose")}
    drawn.args.more, drawn.args.times = tmp_path, 3
    for split, times in (("train", 4), ("choose", 2)):
        assert sum(len(some.classes) for some in train.stored_pairs(drawn, split)) == times * own[split]


def test_kinds_of_pairs_of_groups_are_not_known(drawn: Any, train: ModuleType) -> None:
    pooled = train.pooled_pairs(drawn, train.untrained_layers(drawn), "train")
    assert len(pooled.classes) == len(pooled.kinds) == len(pooled.pooled)
    some = pooled.rows(np.flatnonzero(pooled.kinds != ""))
    assert 0 < len(some.classes) < len(pooled.classes)  # the pairs of groups are as they were found
