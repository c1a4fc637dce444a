"""dedup compare, and the figure that it draws."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from album import plain, scene
from click.testing import Result
from PIL import Image, ImageOps

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
    assert result.output.split(",")[0] in ("undecided", "unrelated")


def test_verdict_is_the_same_both_ways_round_and_in_a_scan(dedup: Dedup, photo: Path, tmp_path: Path) -> None:
    other = photo.with_name("b.png")
    scene(5).rotate(9, Image.Resampling.BICUBIC, fillcolor=(0, 0, 0)).crop((30, 20, 600, 460)).save(other)
    there, back = (dedup("compare", *pair).output for pair in ((photo, other), (other, photo)))
    assert there.split(",")[:2] == back.split(",")[:2]
    assert "turned 9° left" in there
    assert "turned 9° right" in back
    dedup("scan", tmp_path, "--quiet")
    row = dedup("export", "pairs").output.splitlines()[1].split(",")
    assert f"{row[2]}, probability of a copy {float(row[3]):.4f}" == ",".join(there.split(",")[:2])


def test_figure_has_six_columns_and_two_rows(dedup: Dedup, photo: Path, tmp_path: Path) -> None:
    ImageOps.mirror(scene(5)).save(photo.with_name("b.png"))
    dedup("compare", photo, photo.with_name("b.png"), "--figure", tmp_path / "why.png")
    figure = np.asarray(Image.open(tmp_path / "why.png").convert("RGB"))
    cells = [figure[80:230, 10 + 218 * k : 218 + 218 * k] for k in range(6)]
    assert figure.shape[1] == 6 * 218 + 10
    assert all(cell.std() > 5 for cell in cells[:5])
    assert len({cell.tobytes() for cell in cells}) == 6
    assert figure[300:].std() > 5


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
