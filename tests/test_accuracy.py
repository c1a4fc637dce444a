"""scripts/benchmark_accuracy.py and what it is made of."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.error import URLError

import benchmark_accuracy
import cv2
import numpy as np
import pytest
from accuracy import keepers, labelled, score
from accuracy.edits import EDITS, make_album
from accuracy.keepers import Reported
from accuracy.peers import PEERS, LeftOut, Peer, by_cosine, by_hamming, ranking_of, usable
from accuracy.score import Album, Ranking
from album import scene
from PIL import Image


def album_of(photos: str, scenes: list[str] | None = None, edits: list[str] | None = None) -> Album:
    n = len(photos)
    paths = [f"/album/{i}.jpg" for i in range(n)]
    return Album(paths, np.array(list(photos)), np.array(scenes or [""] * n), np.array(edits or ["original"] * n))


def ranking(*pairs: tuple[int, int, float]) -> Ranking:
    left, right, scores = zip(*pairs, strict=True)
    return Ranking(np.array(left), np.array(right), np.array(scores))


# Figures


def test_figures_by_hand() -> None:
    album = album_of("aaabc")  # true pairs: 01, 02, 12
    found = ranking((0, 1, 0.9), (2, 3, 0.8), (0, 2, 0.7), (3, 4, 0.1))
    assert score.figures(album, found) == {
        "uAP": pytest.approx((1 + 2 / 3) / 3),
        "R@P90": pytest.approx(1 / 3),
        "R@P99": pytest.approx(1 / 3),
        "R@P100": pytest.approx(1 / 3),
        "R@1e-6": pytest.approx(1 / 3),
    }
    assert score.threshold_at(album, found, precision=0.99) == 0.9
    assert score.threshold_at(album, found, precision=0.6) == 0.7


def test_ties_go_against_the_method() -> None:
    album = album_of("aab")
    assert score.figures(album, ranking((0, 1, 0.5), (1, 2, 0.5)))["uAP"] == 0.5
    assert score.figures(album, ranking((0, 1, 0.5), (1, 2, 0.5)))["R@P100"] == 0
    assert score.threshold_at(album, ranking((0, 1, 0.5), (1, 2, 0.5)), precision=0.99) == float("inf")


def test_lenient_leaves_out_shots_of_one_scene_but_not_copies_among_them() -> None:
    album = album_of("aabc", ["s", "s", "s", ""])
    found = ranking((0, 2, 0.9), (0, 1, 0.8), (0, 3, 0.7))
    assert score.shots(album, found).tolist() == [True, False, False]
    assert score.figures(album, found)["R@P100"] == 0
    assert score.figures(album, score.lenient(album, found))["R@P100"] == 1


def test_some_false_pairs_may_pass_where_there_are_millions() -> None:
    scores, true = np.array([0.9, 0.8, 0.7, 0.6, 0.5]), np.array([True, False, True, False, True])
    assert score.recall_at_false(scores, true, 4, most=0.9) == 0.25
    assert score.recall_at_false(scores, true, 4, most=1.0) == 0.5
    assert score.recall_at_false(scores, true, 4, most=2.0) == 0.75


def test_recall_by_edit_counts_pairs_with_the_original() -> None:
    album = album_of("aaabb", edits=["original", "gray", "half", "original", "gray"])
    found = ranking((0, 1, 0.9), (1, 2, 0.8), (0, 2, 0.4), (3, 4, 0.3))
    assert score.recall_by_edit(album, found, threshold=0.5) == {"gray": 0.5, "half": 0.0}
    assert score.recall_by_edit(album, found, threshold=0.3) == {"gray": 1.0, "half": 1.0}


def test_what_passes_a_threshold_is_told_apart() -> None:
    album = album_of("aabcd", ["", "", "s", "s", ""])
    found = ranking((0, 1, 0.9), (2, 3, 0.8), (0, 4, 0.5), (1, 4, 0.4))
    assert score.at_threshold(album, found, threshold=0.5) == {
        "precision": pytest.approx(1 / 3),
        "recall": 1.0,
        "false_similar": 1,
        "false_unrelated": 1,
    }


def test_unrelated_photos_are_one_of_a_photo_and_one_of_a_scene_and_unedited() -> None:
    album = album_of("aabcd", ["", "", "s", "s", ""], ["gray", "original", "original", "original", "original"])
    assert score.unrelated_photos(album).tolist() == [1, 2, 4]
    found = ranking((1, 2, 0.9), (1, 3, 0.9), (0, 4, 0.9), (2, 4, 0.2))
    assert score.false_among_unrelated(album, found, threshold=0.5) == (3, 1)


def test_calibration_by_hand() -> None:
    album = album_of("aabcd", ["", "", "s", "s", ""])
    found = ranking((0, 1, 1.0), (2, 3, 0.99), (0, 4, 0.2))
    assert list(score.calibration(album, found)) == [
        (0.1, 0.5, 1, 0.2, 0.0, 0.0),
        (0.99, 1.0, 2, pytest.approx(0.995), 0.5, 1.0),
        (0.9, 1.0, 2, pytest.approx(0.995), 0.5, 1.0),
    ]


def test_labelled_pairs_are_counted_by_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for name in "abcde":
        (tmp_path / "photos" / f"{name}.jpg").touch()
    (tmp_path / "labels.csv").write_text(
        "a,b,label,note\nb.jpg,a.jpg,copy,\nc.jpg,d.jpg,scene,\na.jpg,e.jpg,overlap,\n"
    )
    album = labelled.album_of(tmp_path / "photos")
    labels = labelled.read_labels(tmp_path / "labels.csv", tmp_path / "photos")
    found = ranking((0, 1, 0.99), (2, 3, 0.95), (0, 4, 0.91), (1, 4, 0.6), (1, 2, 0.4))
    counted = labelled.found_by_label(album, found, labels, threshold=0.9)
    assert counted == {"copy": 1, "overlap": 1, "scene": 1, "not listed": 0}
    assert labelled.wrong_of_10000(album, counted) == 2000
    assert labelled.found_by_label(album, found, labels, threshold=0.5)["not listed"] == 1
    assert labelled.reliability(album, found, labels) == [
        (0.5, 0.9, 1, 0.6, 0.0),
        (0.9, 0.99, 2, pytest.approx(0.93), 0.5),
        (0.99, 1.0, 1, 0.99, 1.0),
        (0.9, 1.0, 3, pytest.approx(0.95), pytest.approx(2 / 3)),
    ]


def test_pairs_are_read_in_either_order_and_by_names_that_a_spreadsheet_would_run(tmp_path: Path) -> None:
    album = Album(["/a/=x.jpg", "/a/y.jpg", "/a/z.jpg"], *(np.array(["", "", ""]) for _ in range(3)))
    rows = ["/a/y.jpg,/a/=x.jpg,copy,0.5", "/a/z.jpg,/a/y.jpg,copy,", "/a/q,/a/y.jpg,copy,1"]
    (tmp_path / "pairs.csv").write_text("\n".join(["path_a,path_b,relation,probability", *rows]))
    found = score.read_pairs(tmp_path / "pairs.csv", album)
    assert (found.left.tolist(), found.right.tolist(), found.score.tolist()) == ([0], [1], [0.5])


@pytest.mark.shared
def test_figures_are_those_of_the_official_scorer(shared: Path, tmp_path: Path) -> None:
    truth, root = shared / "data" / "album" / "truth.csv", shared / "data" / "album" / "photos"
    album = score.read_truth(truth, root)
    rng = np.random.default_rng(0)
    left, right = score.all_pairs(len(album.paths))
    same = (album.photos[left] == album.photos[right]) | (rng.random(len(left)) < 2e-4)
    chosen = np.flatnonzero(same & (rng.random(len(left)) < 0.9))
    left, right = left[chosen], right[chosen]
    noisy = (album.photos[left] == album.photos[right]) + rng.normal(0, 0.4, len(left))
    found = Ranking(left, right, np.round(noisy, 1))  # rounded: many ties
    with (tmp_path / "pairs.csv").open("w", newline="") as f:
        rows = csv.writer(f)
        rows.writerow(["path_a", "path_b", "probability"])
        rows.writerows((album.paths[i], album.paths[j], s) for i, j, s in zip(left, right, found.score, strict=True))
    words = [sys.executable, shared / "bench" / "score.py", truth, tmp_path / "pairs.csv", "--root", root, "--json"]
    theirs = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)
    ours = score.figures(album, found)
    assert ours == {name: pytest.approx(theirs[name]) for name in ours}
    threshold = score.threshold_at(album, found, precision=0.99)
    assert threshold == (float("inf") if theirs["threshold@P99"] is None else theirs["threshold@P99"])
    by_edit = score.recall_by_edit(album, found, threshold=threshold)
    assert by_edit == {kind: pytest.approx(recall, abs=6e-4) for kind, recall in theirs["per_edit"].items()}
    ours = score.figures(album, score.lenient(album, found))
    assert {name: ours[name] for name in ("uAP", "R@P90", "R@P99", "R@P100")} == {
        name: pytest.approx(theirs["lenient"][name]) for name in ("uAP", "R@P90", "R@P99", "R@P100")
    }


# Edits


@pytest.mark.parametrize("kind", EDITS)
def test_edit_changes_the_picture_and_repeats_with_its_seed(kind: str) -> None:
    picture = np.asarray(scene(1, (200, 150)))[..., ::-1].copy()
    before, edit = picture.copy(), EDITS[kind]
    first, again = (edit.change(picture, np.random.default_rng(0)) for _ in range(2))
    assert (first == again).all()
    assert (picture == before).all()
    assert (first.shape, first.dtype) == ((*first.shape[:2], 3), np.uint8)
    changed = first.shape != picture.shape or (first != picture).mean() > 0.05
    assert changed == (kind not in ("jpeg12", "jpeg40", "png", "webp"))  # those change what is written


def test_edits_are_what_they_are_called() -> None:
    picture = np.asarray(scene(2, (200, 100)))[..., ::-1].copy()
    rng = np.random.default_rng(0)
    shapes = {kind: edit.change(picture, rng).shape[:2] for kind, edit in EDITS.items()}
    assert shapes["half"] == (50, 100)
    assert shapes["rot90"] == (200, 100)
    assert shapes["thumb128"] == (64, 128)
    assert shapes["crop50"] == (71, 141)
    assert shapes["squash"] == (100, 150)
    assert (EDITS["mirror"].change(picture, rng) == picture[:, ::-1]).all()
    sepia = EDITS["sepia"].change(np.full((1, 1, 3), 100, np.uint8), rng)[0, 0].tolist()  # blue, green, red
    assert sepia == [93, 120, 135]


def make_photos(folder: Path, count: int) -> Path:
    folder.mkdir()
    for n in range(count):
        scene(n, (240, 180)).save(folder / f"{n}.jpg", quality=92)
    return folder


def test_made_album_is_what_its_truth_says(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", 20)
    (photos / "again.jpg").write_bytes((photos / "3.jpg").read_bytes())
    (photos / "empty.jpg").write_bytes(b"")
    (photos / "letter.txt").write_text("no picture")
    made = tmp_path / "album"
    make_album(photos, made, edits=list(EDITS), photos=9, distractors=20, seed=1)
    rows = list(csv.DictReader(io.StringIO((made / "truth.csv").read_text())))
    assert {row["path"] for row in rows} == {p.name for p in (made / "photos").iterdir()}
    by_photo: dict[str, list[str]] = {}
    for row in rows:
        by_photo.setdefault(row["photo"], []).append(row["edit"])
        assert cv2.imread(str(made / "photos" / row["path"])) is not None
    edited = {photo: kinds for photo, kinds in by_photo.items() if photo.startswith("photo")}
    assert sorted(k for kinds in edited.values() for k in kinds) == sorted([*EDITS, *["original"] * 9])
    assert all(kinds[0] == "original" and len(kinds) == 4 for kinds in edited.values())
    assert sum(photo.startswith("other") for photo in by_photo) == 11  # what is left of the twenty
    assert sum(photo.startswith("plain") for photo in by_photo) == 1
    digests = [(made / "photos" / row["path"]).read_bytes() for row in rows]
    assert len(set(digests)) == len(digests)
    make_album(photos, tmp_path / "second", edits=list(EDITS), photos=9, distractors=20, seed=1)
    assert (tmp_path / "second" / "truth.csv").read_bytes() == (made / "truth.csv").read_bytes()


# Peers


def test_nearest_of_the_turns_counts() -> None:
    a = np.array([[[0, 0, 0, 0], [1, 1, 1, 1]], [[1, 1, 1, 0], [0, 0, 1, 1]]], bool)
    assert by_hamming(a).tolist() == [[0, -1], [-1, 0]]


def test_cosine_of_networks() -> None:
    half = 0.5**0.5
    found = by_cosine(np.float32([[3, 0], [4, 4], [0, 0]]))
    np.testing.assert_allclose(found, [[1, half, 0], [half, 1, 0], [0, 0, 0]], atol=1e-6)


def test_missing_peer_is_left_out_with_the_reason() -> None:
    peer = Peer("No such tool", "no_such_package", len, by_cosine, 0.0, "")  # type: ignore[arg-type]
    with pytest.raises(LeftOut, match="no_such_package is not installed"):
        usable(peer)


def test_peer_that_cannot_start_is_left_out_with_the_reason() -> None:
    def offline(image: Image.Image) -> None:
        raise URLError("no network")

    with pytest.raises(LeftOut, match=r"URLError: .*no network"):
        usable(Peer("A network", "numpy", offline, by_cosine, 0.0, ""))


@pytest.mark.bench
@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_peer_finds_a_smaller_version(peer: Peer, tmp_path: Path) -> None:
    pytest.importorskip(peer.package)
    photos = make_photos(tmp_path / "photos", 4)
    scene(2, (240, 180)).resize((120, 90)).save(photos / "small.png")
    scene(1, (240, 180)).transpose(0).save(photos / "mirrored.png")
    paths = [str(photos / name) for name in ("0.jpg", "1.jpg", "2.jpg", "3.jpg", "small.png", "mirrored.png")]
    (tmp_path / "damaged.jpg").write_bytes(b"\xff\xd8\xff")
    found = ranking_of(peer, [*paths, str(tmp_path / "damaged.jpg")], workers=1)
    assert len(found.score) == 15  # the damaged file is in no pair
    best = np.argsort(-found.score)
    pairs = [(int(found.left[n]), int(found.right[n])) for n in best]
    assert (2, 4) in pairs[:2]
    assert ((1, 5) in pairs[:2]) == peer.name.startswith("PDQ")


@pytest.mark.bench
def test_peer_that_can_judge_nothing_is_left_out(tmp_path: Path) -> None:
    with pytest.raises(LeftOut, match="none of the photos"):
        ranking_of(PEERS[0], [str(tmp_path / "gone.jpg")], workers=1)


# The whole


@pytest.mark.bench
def test_benchmark_of_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, out = make_photos(tmp_path / "photos", 16), tmp_path / "out"
    words = [*"--photos 8 --distractors 10 --edits gray,half,png --workers 1 --output".split(), str(out)]
    monkeypatch.setattr(sys, "argv", ["benchmark_accuracy.py", str(photos), *words])
    benchmark_accuracy.main()
    text = capsys.readouterr().out
    assert (out / "accuracy.md").read_text() == text
    assert text.startswith("40 files, 48 true pairs of 780; weights ")
    ours = next(line for line in text.splitlines() if line.startswith("| dedup"))
    assert float(ours.split("|")[2]) > 0.95
    assert (out / "accuracy.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "errors.csv").read_text().startswith("path_a,path_b,probability,one_scene")
    with pytest.raises(SystemExit, match="2"):  # it overwrites no album
        benchmark_accuracy.main()
    again = [
        str(out / "album" / "photos"),
        "--truth",
        str(out / "album" / "truth.csv"),
        "--output",
        str(tmp_path / "b"),
    ]
    monkeypatch.setattr(sys, "argv", ["benchmark_accuracy.py", *again, "--workers", "1"])
    benchmark_accuracy.main()
    assert (tmp_path / "b" / "accuracy.md").read_text() == text
    (tmp_path / "labels.csv").write_text("a,b,label\n")
    words = [str(photos), "--labels", str(tmp_path / "labels.csv"), "--output", str(tmp_path / "c"), "--workers", "1"]
    monkeypatch.setattr(sys, "argv", ["benchmark_accuracy.py", *words])
    benchmark_accuracy.main()
    text = (tmp_path / "c" / "accuracy.md").read_text()
    assert text.startswith("16 files, 0 labelled pairs; weights ")
    assert next(line for line in text.splitlines() if "probability 0.9 |" in line).endswith("| 0 | 0 | 0 | 0.000 |")


@pytest.mark.bench
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "nowhere: no such folder"),
        ([".", "--edits", "gray,melt"], "no such edit: melt"),
        ([".", "--truth", "a.csv", "--labels", "b.csv"], "--truth and --labels exclude each other"),
        ([".", "--labels", "b.csv"], "No such file or directory: 'b.csv'"),
    ],
)
def test_wrong_words_are_one_line(
    words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["benchmark_accuracy.py", *words])
    with pytest.raises(SystemExit, match="2"):
        benchmark_accuracy.main()
    assert said in capsys.readouterr().err


# Who is kept


GROUP_CSV = """group,role,path,relation
1,keep,/album/1.jpg,
1,duplicate,/album/0.jpg,copy
1,duplicate,/album/4.jpg,exact
1,duplicate,/album/2.jpg,variant
2,keep,/album/5.jpg,
2,duplicate,/album/6.jpg,identical
3,keep,/elsewhere.jpg,
3,duplicate,/album/3.jpg,copy
"""


def test_groups_are_read_with_what_would_be_removed(tmp_path: Path) -> None:
    (tmp_path / "groups.csv").write_text(GROUP_CSV)
    groups = keepers.read_groups(tmp_path / "groups.csv", album_of("aaabcdd"))
    assert groups == [Reported(1, (0, 4), (2,)), Reported(5, (6,), ())]


def test_kept_and_lost_originals_by_hand() -> None:
    album = album_of("aaabcdde", edits=["original", "gray", "meme", "gray", "gray", "original", "half", "original"])
    groups = [Reported(1, (0, 4), (2,)), Reported(5, (6,), ()), Reported(7, (), ())]
    originals = album.edits == "original"
    assert keepers.kept_figures(groups, album, originals) == {
        "groups": 2,
        "original kept": 0.5,
        "originals lost per 100": 50.0,
        "removable": 3,
        "no version of the keeper per 1,000": pytest.approx(1000 / 3),
    }
    assert keepers.kept_by_edit(groups, album, originals) == {
        "gray": (1, 0.0, 1, 1),
        "half": (1, 1.0, 0, 0),
        "meme": (1, 0.0, 0, 0),
    }


def test_an_original_beside_its_lossless_copy_is_not_lost() -> None:
    album = album_of("aaa", edits=["original", "png", "half"])
    groups, originals = [Reported(1, (0, 2), ())], np.array([True, True, False])
    figures = keepers.kept_figures(groups, album, originals)
    assert (figures["original kept"], figures["originals lost per 100"]) == (1.0, 0.0)


def test_a_lossless_copy_of_the_original_counts_as_one(tmp_path: Path) -> None:
    picture = scene(3)
    picture.save(tmp_path / "a.jpg", quality=80)
    Image.open(tmp_path / "a.jpg").save(tmp_path / "b.png")
    picture.save(tmp_path / "c.png")
    names, photos = ["a.jpg", "b.png", "c.png"], np.array(["a", "a", "a"])
    album = Album([str(tmp_path / n) for n in names], photos, photos, np.array(["original", "png", "other"]))
    assert keepers.untouched(album).tolist() == [True, True, False]


def test_rules_of_other_tools_remove_all_but_the_first(tmp_path: Path) -> None:
    for n, (side, size) in enumerate(((40, 900), (50, 700), (30, 800))):
        Image.new("RGB", (side, side)).save(tmp_path / f"{n}.bmp")
        with (tmp_path / f"{n}.bmp").open("ab") as f:
            f.truncate(size * 20)
        os.utime(tmp_path / f"{n}.bmp", (100 - n, 100 - n))
    album = Album([str(tmp_path / f"{n}.bmp") for n in range(3)], *(np.array(["a"] * 3) for _ in range(3)))
    groups = [Reported(0, (1,), (2,))]
    found = {name: keepers.by_rule(groups, album, key) for name, key in keepers.RULES.items()}
    assert found == {
        "most pixels": [Reported(1, (0, 2), ())],
        "largest file": [Reported(0, (2, 1), ())],
        "oldest file": [Reported(2, (1, 0), ())],
    }
