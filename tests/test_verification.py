"""The geometric gate in a worker: files in, pairs on a canvas out."""

import os
from hashlib import sha256
from pathlib import Path

import pytest
from album import SHADES, plain, scene, smooth
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
