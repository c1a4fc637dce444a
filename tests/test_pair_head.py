from typing import Any

import numpy as np
import pytest
import torch
from album import plain, scene
from PIL import Image, ImageOps

from dedup.geometry.homography import map_points
from dedup.models.encoder import GRID, encode, unit
from dedup.models.pair_head import (
    COPY,
    SIMILAR,
    UNRELATED,
    Calibration,
    align,
    fit_affine,
    positions,
    prefilter_figures,
    score_pairs,
    transforms,
)
from dedup.models.weights import Weights
from dedup.types.arrays import SIDE, Maps
from dedup.types.pairs import Candidates, Gate, Scores


def turned_grid(*, scale: float = 1.0, mirror: bool = False, degrees: float = 0.0) -> torch.Tensor:
    """Return (2, 2), the linear part of such a map, for positions as rows."""
    angle = torch.deg2rad(torch.tensor(degrees))
    turn = torch.tensor([[torch.cos(angle), torch.sin(angle)], [-torch.sin(angle), torch.cos(angle)]])
    return scale * turn @ torch.diag(torch.tensor([-1.0 if mirror else 1.0, 1.0]))


@pytest.mark.parametrize(
    "linear",
    [turned_grid(), turned_grid(scale=0.5), turned_grid(mirror=True), turned_grid(degrees=90), turned_grid(degrees=20)],
    ids=["same", "crop", "mirror", "quarter turn", "tilt"],
)
def test_affine_map_is_found_though_a_quarter_of_the_matches_are_wrong(linear: torch.Tensor) -> None:
    torch.manual_seed(0)
    start = positions(torch.device("cpu"))
    end = start @ linear + torch.tensor([0.1, -0.05])
    end[::4] = torch.rand(25, 2) * 2 - 1
    found = fit_affine(start, end[None], torch.ones(1, len(start)))[0]
    torch.testing.assert_close(found[:2], linear, atol=0.06, rtol=0)
    torch.testing.assert_close(found[2], torch.tensor([0.1, -0.05]), atol=0.06, rtol=0)


def test_alignment_of_a_map_with_its_mirror_finds_every_cell() -> None:
    torch.manual_seed(0)
    a = torch.nn.functional.normalize(torch.randn(1, GRID * GRID, 32), dim=2)
    b = a.reshape(1, GRID, GRID, 32).flip(2).reshape(1, -1, 32)
    found = align(a, b, sharpness=torch.tensor(12.0), reach=torch.tensor(0.1))
    assert (found.aligned * a).sum(2).min() > 0.9
    assert torch.linalg.det(found.affine[:, :2]).item() == pytest.approx(-1, abs=0.1)


def scored(weights: Weights, *pictures: Image.Image) -> Scores:
    """Return the scores of the first picture with each of the others."""
    pixels = [np.asarray(p.resize((SIDE, SIDE), Image.Resampling.BILINEAR)) for p in pictures]
    vectors, maps = encode(weights.encoder, pixels)
    right = np.arange(1, len(pictures))
    left = np.zeros_like(right)
    similarity = (unit(vectors)[left] * unit(vectors)[right]).sum(1)
    return score_pairs(Candidates(left, right, similarity), lambda rows: maps[rows], weights.head, weights.calibration)


def test_edits_are_copies_and_other_pictures_are_not(weights: Weights) -> None:
    image = scene(5)
    edits = [
        image.resize((200, 150)),
        image.convert("L").convert("RGB"),
        image.crop((60, 40, 600, 450)),
        ImageOps.mirror(image),
        image.rotate(90, expand=True),
        ImageOps.expand(image, 30, (0, 0, 0)),
    ]
    scores = scored(weights, image, *edits, *(scene(n) for n in range(20, 30)))
    assert scores.copy[: len(edits)].min() > 0.5
    assert scores.copy[len(edits) :].max() < 0.1


def test_two_plain_pictures_are_no_copies(weights: Weights) -> None:
    scores = scored(weights, plain((250, 250, 250)), plain((250, 249, 245)), plain((20, 40, 200)), plain((5, 5, 5)))
    assert scores.copy.max() < 0.5


def test_score_depends_neither_on_the_order_nor_on_the_batch(weights: Weights) -> None:
    pixels = [np.asarray(scene(n).resize((SIDE, SIDE))) for n in range(5)]
    vectors, maps = encode(weights.encoder, pixels)
    rng = np.random.default_rng(0)
    left, right = rng.integers(5, size=(2, 600))
    similarity = (unit(vectors)[left] * unit(vectors)[right]).sum(1)

    def judged(a: np.ndarray, b: np.ndarray, s: np.ndarray) -> np.ndarray:
        return score_pairs(Candidates(a, b, s), lambda rows: maps[rows], weights.head, weights.calibration).copy

    forward = judged(left, right, similarity)
    assert (forward == judged(right, left, similarity)).all()
    assert (forward[500:540] == judged(left[500:540], right[500:540], similarity[500:540])).all()


def test_transformation_depends_on_the_direction_and_not_on_the_batch(weights: Weights) -> None:
    image = scene(1)
    pictures = [image, ImageOps.mirror(image), image.transpose(Image.Transpose.ROTATE_90), scene(2)]
    _, maps = encode(weights.encoder, [np.asarray(p.resize((SIDE, SIDE))) for p in pictures])
    left, right = np.tile([0, 0, 0, 1], 40), np.tile([1, 2, 3, 2], 40)
    found = transforms(weights.head, maps[left], maps[right])
    np.testing.assert_allclose(found[40:], np.tile(found[:4], (30, 1, 1, 1)), rtol=1e-3, atol=1e-4)
    corners = np.array([[0.1, 0.1], [0.4, 0.2]])
    for there in found[0]:  # both directions, given as maps of the left picture to the right one
        np.testing.assert_allclose(map_points(there, corners), [[0.9, 0.1], [0.6, 0.2]], atol=0.1)
    for there in found[1]:
        np.testing.assert_allclose(map_points(there, corners), [[0.1, 0.9], [0.2, 0.6]], atol=0.1)


def test_maps_are_fetched_once_for_each_photo(weights: Weights) -> None:
    asked = []

    def maps(rows: np.ndarray) -> Maps:
        asked.extend(rows.tolist())
        return np.ones((len(rows), GRID * GRID, 32), np.int8)

    score_pairs(
        Candidates(np.array([0, 0, 1]), np.array([1, 2, 2]), np.zeros(3, np.float32)),
        maps,
        weights.head,
        weights.calibration,
    )
    assert asked == [0, 1, 2]


def test_calibration_by_hand() -> None:
    logits = np.zeros((3, 3), np.float32)
    logits[0, COPY], logits[1, SIMILAR], logits[2, UNRELATED] = 20, 20, 20
    copy, similar = Calibration(slope=0.5, offset=0.0).probabilities(logits)
    np.testing.assert_allclose(copy, [1, 0, 0], atol=1e-4)
    np.testing.assert_allclose(similar, [0, 1, 0], atol=1e-4)
    even, _ = Calibration(slope=1.0, offset=1.0).probabilities(np.zeros((1, 3), np.float32))
    assert even[0] == pytest.approx(1 / (1 + np.exp(np.log(2) - 1)))


def test_prefilter_passes_edits_and_few_other_pairs(weights: Weights) -> None:
    image = scene(5)
    edits = [
        image.convert("L").convert("RGB"),
        image.crop((60, 40, 600, 450)),
        ImageOps.mirror(image),
        image.rotate(20),
    ]
    others = [scene(n) for n in range(20, 60)]
    pixels = [np.asarray(p.resize((SIDE, SIDE), Image.Resampling.BILINEAR)) for p in (image, *edits, *others)]
    vectors, maps = encode(weights.encoder, pixels)
    right = np.arange(1, len(pixels))
    pairs = Candidates(0 * right, right, (unit(vectors)[:1] * unit(vectors)[right]).sum(1))
    stood = score_pairs(pairs, lambda rows: maps[rows], weights.head, weights.calibration, prefilter=weights.prefilter)
    assert set(stood.right.tolist()) >= {1, 2, 3, 4}
    assert len(stood) < 0.8 * len(pairs)  # drawn things look more like each other than photos do


def test_glance_at_a_pair_does_not_depend_on_its_company(weights: Weights) -> None:
    rng = np.random.default_rng(0)
    maps = rng.integers(-127, 128, (40, GRID * GRID, 32), np.int8)
    pairs = rng.integers(0, 40, (2, 300))
    cosine = rng.random(300).astype(np.float32)
    together = prefilter_figures(maps, pairs, cosine)
    alone = np.concatenate([prefilter_figures(maps, pairs[:, n : n + 1], cosine[n : n + 1]) for n in range(0, 300, 7)])
    assert (together[::7] == alone).all()
    np.testing.assert_allclose(together, prefilter_figures(maps, pairs[::-1], cosine), atol=1e-6)  # whoever comes first
    assert prefilter_figures(maps, np.zeros((2, 1), int), cosine[:1])[0, 4] == pytest.approx(
        1, abs=1e-5
    )  # its own best like


@pytest.mark.parametrize("rejecting", [{"prefilter": Gate(((0.0,),) * 15, (0.0, -9.0))}, {"least": np.inf}])
def test_pairs_with_nearly_equal_vectors_are_not_rejected(weights: Weights, rejecting: dict[str, Any]) -> None:
    maps = np.ones((3, GRID * GRID, 32), np.int8)
    pairs = Candidates(np.array([0, 0]), np.array([1, 2]), np.float32([0.95, 0.6]))
    stood = score_pairs(pairs, lambda rows: maps[rows], weights.head, weights.calibration, **rejecting)
    assert stood.right.tolist() == [1]


def test_pairs_that_one_way_finds_unrelated_are_left_out_and_the_others_score_as_before(weights: Weights) -> None:
    pictures = [scene(n) for n in range(24)]
    pictures += [ImageOps.mirror(scene(0)), scene(1).rotate(20), scene(2).crop((60, 40, 600, 450))]
    vectors, maps = encode(weights.encoder, [np.asarray(p.resize((SIDE, SIDE))) for p in pictures])
    left, right = np.triu_indices(len(pictures), 1)
    cosine = np.minimum((unit(vectors)[left] * unit(vectors)[right]).sum(1), np.float32(0.8))

    def judged(a: np.ndarray, b: np.ndarray, least: float) -> Scores:
        pairs = Candidates(a, b, cosine)
        return score_pairs(pairs, lambda rows: maps[rows], weights.head, weights.calibration, least=least)

    every, some = judged(left, right, -np.inf), judged(left, right, -2.0)
    kept = np.isin(every.keys(100), some.keys(100))
    assert 0.05 < kept.mean() < 0.8
    assert {0 * 100 + 24, 100 + 25, 200 + 26} <= set(some.keys(100).tolist())
    assert every.copy[~kept].max() < 0.5
    np.testing.assert_array_equal(some.copy, every.copy[kept])
    swapped = judged(right, left, -2.0)  # whichever photo is called the left one
    np.testing.assert_array_equal(swapped.keys(100), some.right * 100 + some.left)
    np.testing.assert_array_equal(swapped.copy, some.copy)
