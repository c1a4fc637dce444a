"""dedup compare, and the figure that it draws."""

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from album import SHADES, plain, scene, smooth
from click.testing import Result
from PIL import Image, ImageOps

from dedup.grouping.prior import at_prior
from dedup.models.weights import Weights
from dedup.pipeline.explain import explain_pairs
from dedup.pipeline.query import compare_two
from dedup.pipeline.results import load_results
from dedup.report.figure import _wrapped, panels
from dedup.store.store import Store
from dedup.types.pairs import Comparison, Explanation, Relation
from dedup.workers import Runtime

Dedup = Callable[..., Result]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    scene(5).save(tmp_path / "a.png")
    return tmp_path / "a.png"


@pytest.mark.parametrize(
    ("edit", "starts", "has"),
    [
        (lambda i: ImageOps.mirror(i.resize((320, 240))), "copy, probability of a copy ", "mirrored"),
        (lambda i: i.crop((0, 0, 480, 480)), "copy, probability of a copy ", "cropped to 0-75 % of the width"),
        (lambda i: i.copy(), "identical, probability of a copy 1.0000", ""),
        (lambda i: scene(6), "unrelated, probability of a copy 0.0", ""),
    ],
    ids=["mirrored", "cropped", "same pixels", "another"],
)
def test_relation_probability_and_change_are_said(
    dedup: Dedup, photo: Path, edit: Callable[[Image.Image], Image.Image], starts: str, has: str
) -> None:
    edit(scene(5)).save(photo.with_name("b.webp"), lossless=True)
    result = dedup("compare", photo, photo.with_name("b.webp"))
    assert result.output.startswith(starts)
    assert has in result.output


def test_same_bytes_are_exact(dedup: Dedup, photo: Path) -> None:
    shutil.copyfile(photo, photo.with_name("b.png"))
    assert dedup("compare", photo, photo.with_name("b.png")).output.startswith("exact, probability of a copy 1.0000")


def test_two_plain_pictures_are_never_copies(dedup: Dedup, photo: Path) -> None:
    plain((250, 250, 250)).save(photo.with_name("b.png"))
    plain((240, 240, 240)).save(photo.with_name("c.png"))
    result = dedup("compare", photo.with_name("b.png"), photo.with_name("c.png"))
    assert result.output.split(",")[0] in ("inconclusive", "unrelated")


@pytest.mark.parametrize("shade", SHADES)
def test_smooth_pictures_of_other_colours_are_inconclusive_and_in_no_group(
    shade: str, dedup: Dedup, photo: Path, tmp_path: Path
) -> None:
    smooth(shade).save(photo.with_name("b.png"))
    smooth(shade, (250, 60, 30), (10, 10, 10)).save(photo.with_name("c.png"))
    result = dedup("compare", photo.with_name("b.png"), photo.with_name("c.png"))
    assert result.output.split(",")[0] in ("inconclusive", "unrelated")
    dedup("scan", tmp_path, "--quiet")
    assert len(dedup("export", "groups").output.splitlines()) == 1


def test_verdict_is_the_same_both_ways_round_and_in_a_scan(dedup: Dedup, photo: Path, tmp_path: Path) -> None:
    other = photo.with_name("b.png")
    scene(5).rotate(9, Image.Resampling.BICUBIC, fillcolor=(0, 0, 0)).crop((30, 20, 600, 460)).save(other)
    there, back = (dedup("compare", *pair).output for pair in ((photo, other), (other, photo)))
    assert there.split(",")[:2] == back.split(",")[:2]
    assert "rotated 9° left" in there
    assert "rotated 9° right" in back
    dedup("scan", tmp_path, "--quiet")
    row = dedup("export", "pairs").output.splitlines()[1].split(",")
    assert f"{row[2]}, probability of a copy {float(row[3]):.4f}" == ",".join(there.split(",")[:2])


def test_long_title_of_a_figure_is_broken_between_words() -> None:
    assert _wrapped("copy, mirrored, cropped", lambda line: len(line) <= 15) == ["copy, mirrored,", "cropped"]
    assert _wrapped("a-word-without-a-space b", lambda line: len(line) <= 3) == ["a-word-without-a-space", "b"]


def test_figure_has_six_columns_and_two_rows(dedup: Dedup, photo: Path, tmp_path: Path) -> None:
    ImageOps.mirror(scene(5)).save(photo.with_name("b.png"))
    dedup("compare", photo, photo.with_name("b.png"), "--figure", tmp_path / "why.png")
    figure = np.asarray(Image.open(tmp_path / "why.png").convert("RGB"))
    cells = [figure[80:230, 10 + 218 * k : 218 + 218 * k] for k in range(6)]
    assert figure.shape[1] == 6 * 218 + 10
    assert all(cell.std() > 5 for cell in cells[:5])
    assert len({cell.tobytes() for cell in cells}) == 6
    assert figure[300:].std() > 5


def test_pair_of_a_scan_is_explained_as_compare_does(
    dedup: Dedup, album: Path, weights: Weights, tmp_path: Path
) -> None:
    dedup("scan", album, "-q")
    runtime = Runtime(1, lambda stage, done, of: None, time.time)
    with Store(str(tmp_path / "test.db")) as store:
        report = load_results(store)
        photos = report.photos.photos
        pairs = [(g.keeper, d.photo) for g in report.groups for d in g.duplicates]
        both = [*pairs, *((b, a) for a, b in pairs)]
        assert len(both) == 10
        for (left, right), found in zip(both, explain_pairs(both, report, store, weights, workers=2), strict=True):
            paths = (photos[i].files[0].path for i in (left, right))
            expected = compare_two(*paths, weights=weights, runtime=runtime)
            assert isinstance(found, Comparison)
            assert (found.relation, found.change) == (expected.relation, expected.change)
            at_scan, _ = at_prior(np.float32([expected.probability]), np.zeros(1, np.float32), report.run.prior)
            assert found.probability == pytest.approx(float(at_scan[0]), abs=1e-5)
            for ours, theirs in zip((*found.images, found.maps), (*expected.images, expected.maps), strict=True):
                assert np.array_equal(ours, theirs)
            assert found.canvas is not None
            assert expected.canvas is not None
            for ours, theirs in zip(found.canvas, expected.canvas, strict=True):
                assert np.array_equal(ours, theirs)
            assert [[panel.words for panel in row] for row in panels(found)] == [
                [panel.words for panel in row] for row in panels(expected)
            ]
        gone = Path(photos[pairs[0][1]].files[0].path)
        gone.write_bytes(gone.read_bytes() + b"x")
        assert list(explain_pairs(pairs[:1], report, store, weights, workers=1)) == ["changed after the scan"]
        newer = replace(weights, name="newer")
        (said,) = explain_pairs(pairs[1:2], report, store, newer, workers=1)
        assert said == "the scan was made by another version of dedup; scan again"


def test_words_say_where_two_pictures_differ() -> None:
    images = [np.zeros((30, 40, 3), np.uint8)] * 2
    difference = np.zeros((10, 10), np.float32)
    maps = np.zeros((2, 100, 4), np.int8)
    seen = Explanation(difference, np.full((10, 10), 0.01, np.float32))
    same = Comparison(Relation.COPY, 1.0, 1.0, "", images, maps, seen, None, None)
    ((*_, before, after),) = panels(same)
    assert (before.words, after.words) == ("difference: dark all over", "weighted difference: dark all over")
    difference[:2, 8:] = 0.7
    ((*_, before, after),) = panels(same)
    assert before.words == "difference: bright on 4% of it, most at the top right"
    assert after.words == "weighted difference: bright on 4% of it, most at the top right"
    seen.weight[:] = 0
    ((*_, after),) = panels(same)
    assert after.words == "weighted difference: dark all over"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("a.png", "none.png"), "none.png"),
        (("a.png", "text.jpg"), "text.jpg"),
        (("a.png", "a.png", "--figure", "why.gif"), "must end in .png"),
        (("a.png", "a.png", "--figure", "a.png"), "is there already"),
        (("a.png", "a.png", "--figure", "nowhere/why.png"), "cannot be written"),
    ],
)
def test_bad_input_gets_one_line(
    dedup: Dedup, photo: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], says: str
) -> None:
    monkeypatch.chdir(photo.parent)
    Path("text.jpg").write_text("no picture")
    before = photo.read_bytes()
    result = dedup("compare", *words, code=2 if "end in" in says or "already" in says or "none" in says else 1)
    assert says in result.output
    assert len(result.output.strip().splitlines()) == 1
    assert photo.read_bytes() == before
