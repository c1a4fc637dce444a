"""The geometric gate in a worker: files in, pairs on a canvas out."""

import os
from hashlib import sha256
from pathlib import Path

import pytest
from album import SHADES, plain, scene, smooth
from photos import camera_jpeg
from PIL import Image, ImageOps

from dedup.geometry.registration import Aligned, NotAligned
from dedup.grouping.selection import LEAST_GEOMETRIC_CHANCE as LEAST
from dedup.models.weights import Weights
from dedup.pipeline.pairs import Pair, PairBatch, read_aligned
from dedup.types.pairs import Gate

UNLIKELY = (-3.0, 0.0, 0.6)  # log-odds of a copy and of similar, by the pair head, and a cosine
EVERYTHING_FAILS = Gate(inner=((0.0,),) * 8, outer=(0.0, -9.0))


@pytest.fixture
def pair(tmp_path: Path):
    def pair(left: Image.Image, right: Image.Image) -> Pair:
        files = []
        for image in (left, right):
            path = tmp_path / f"{len(os.listdir(tmp_path))}.png"
            image.save(path)
            files.append((str(path), sha256(path.read_bytes()).hexdigest()))
        return Pair(0, files[0], files[1], (), UNLIKELY)

    return pair


def test_gate_passes_edits_and_rejects_other_pictures(pair, weights: Weights) -> None:
    image = scene(5)
    edits = [image.resize((200, 150)), ImageOps.mirror(image), image.crop((100, 60, 520, 400)), image.rotate(12)]
    for edit in edits:
        assert isinstance(*read_aligned(PairBatch((pair(image, edit),), weights.geometric_gate, LEAST)), Aligned)
    others = [
        read_aligned(PairBatch((pair(image, scene(n)),), weights.geometric_gate, LEAST))[0] for n in range(20, 30)
    ]
    assert sum(isinstance(other, NotAligned) for other in others) >= 9


def test_without_a_gate_every_pair_is_aligned(pair) -> None:
    assert isinstance(*read_aligned(PairBatch((pair(scene(5), scene(6)),), None)), Aligned)


@pytest.mark.parametrize("other", [plain((200, 30, 30)), *map(smooth, SHADES)], ids=["plain", *SHADES])
def test_featureless_pictures_are_aligned_whatever_the_gate_says_so_that_they_are_inconclusive(pair, other) -> None:
    (aligned,) = read_aligned(PairBatch((pair(scene(1), other),), EVERYTHING_FAILS))
    assert isinstance(aligned, Aligned)
    assert aligned.plain


def test_pair_that_the_gate_passes_is_aligned_as_without_a_gate(pair, weights: Weights) -> None:
    some = pair(scene(5), scene(5).crop((100, 60, 520, 400)))
    (gated,), (always,) = (read_aligned(PairBatch((some,), gate, LEAST)) for gate in (weights.geometric_gate, None))
    assert isinstance(gated, Aligned)
    assert (gated.transform == always.transform).all()
    assert (gated.evidence == always.evidence).all()


def camera_file(path: Path, image: Image.Image, thumbnail: Image.Image) -> tuple[str, str]:
    """Write a photo of three megapixels with a thumbnail; return it as a Pair has it."""
    path.write_bytes(camera_jpeg(image.resize((2000, 1500)), thumbnail.resize((160, 120))))
    return str(path), sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(("thumbnail", "other"), [(20, 5), (5, 20), (20, None)], ids=["left", "right", "one has none"])
def test_quick_gate_asks_thumbnails_before_it_decodes(
    tmp_path: Path, weights: Weights, thumbnail: int, other: int | None
) -> None:
    image, edit = scene(5), ImageOps.mirror(scene(5))
    left = camera_file(tmp_path / "a.jpg", image, scene(thumbnail))  # which only the thumbnails tell apart
    right = camera_file(tmp_path / "b.jpg", edit, ImageOps.mirror(scene(other or 5)))
    if other is None:
        edit.save(tmp_path / "b.png")
        right = str(tmp_path / "b.png"), sha256((tmp_path / "b.png").read_bytes()).hexdigest()
    some = Pair(0, left, right, (), UNLIKELY)
    found = [read_aligned(PairBatch((some,), weights.geometric_gate, LEAST, quick=quick))[0] for quick in (True, False)]
    assert [type(one) for one in found] == [NotAligned, Aligned]


def test_quick_gate_passes_copies_and_changes_nothing_for_them(tmp_path: Path, weights: Weights) -> None:
    image = scene(5)
    for n, edit in enumerate((image.rotate(12), ImageOps.mirror(image), image.crop((100, 60, 520, 375)))):
        left = camera_file(tmp_path / f"{n} a.jpg", image, image)
        some = Pair(0, left, camera_file(tmp_path / f"{n} b.jpg", edit, edit), (), UNLIKELY)
        quick, full = (
            read_aligned(PairBatch((some,), weights.geometric_gate, LEAST, quick=quick))[0] for quick in (True, False)
        )
        assert isinstance(quick, Aligned)
        assert (quick.transform == full.transform).all()


def test_quick_gate_knows_a_file_that_was_changed(tmp_path: Path, weights: Weights) -> None:
    files = [camera_file(tmp_path / f"{n}.jpg", scene(n), scene(n)) for n in (5, 6)]
    Path(files[1][0]).write_bytes(Path(files[0][0]).read_bytes())
    assert read_aligned(PairBatch((Pair(0, *files, (), UNLIKELY),), weights.geometric_gate, LEAST, quick=True)) == [
        None
    ]
