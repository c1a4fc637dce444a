"""Candidates -> Scores: the pair head, which compares the spatial maps of two photos.

Align, subtract, weight, classify. Attention finds for each cell of one map the best match in the other; one affine
transformation (shift, scale, rotation, mirror) is fitted to the matches; a second attention is restricted to the
neighbourhood that the fit predicts; the differences that remain are weighted by cell and summed. With the identity as
transformation this is the network that the project began with: subtract two feature maps, weight the difference.

Most candidates are not even similar. A prefilter on coarse maps rejects these at a thirtieth of the cost. In a large
collection the head aligns only one way first, B to A, and most of the others need no second look from A to B.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from dedup.models.encoder import CHANNELS, GRID, MAP_SCALE
from dedup.types.arrays import Floats, Indices, Maps
from dedup.types.pairs import Candidates, Explanation, Gate, Scores

BATCH = 128  # pairs in a forward pass one way; always exactly this many, see encoder.encode()
UNRELATED, SIMILAR, COPY = range(3)  # the columns of the logits
PREFILTER_BATCH = 256  # pairs that the prefilter takes at once; always exactly this many, too
_COARSE = 5  # cells on a side of the prefilter's maps
_QUANTILES = (0, 6, 12, 18, 24)  # of the best similarities of 25 cells, in ascending order
_NEARLY_EQUAL = 0.9  # cosine from which no pair is rejected: plain pictures may have equal pixels
_HIDDEN = 48
_SCALARS = 11  # per cell
_GLOBALS = 13  # per pair


@dataclass(frozen=True)
class Alignment:
    """Where the S cells of map A are in map B. Positions are (x, y) in [-1, 1].

    aligned: (P, S, C), the features of B at each cell of A.   affine: (P, 3, 2), [x y 1] @ affine is the position in B.
    scalars: (P, S, _SCALARS), quality and consistency of the match of each cell.   summary: (P, _GLOBALS), of the pair.
    """

    aligned: Tensor
    affine: Tensor
    scalars: Tensor
    summary: Tensor


def positions(device: torch.device) -> Tensor:
    """Return (S, 2), the centres of the cells as (x, y) in [-1, 1], row by row."""
    centres = (torch.arange(GRID, device=device) * 2 + 1) / GRID - 1
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], dim=1)


def fit_affine(start: Tensor, end: Tensor, weight: Tensor) -> Tensor:
    """Return (P, 3, 2), the affine map that takes start (S, 2) to end (P, S, 2), by weighted least squares.

    Iteratively reweighted, so that wrong matches lose their influence (Holland and Welsch 1977). weight: (P, S), >= 0.
    """
    ones = torch.ones_like(start[:, :1])
    x = torch.cat([start, ones], dim=1)  # (S, 3)
    w = weight
    affine = x.new_zeros(len(end), 3, 2)
    for tolerance in (0.8, 0.4, 0.25, 0.25):  # a cell is 0.2 wide
        wx = w[:, :, None] * x  # (P, S, 3)
        ridge = (1e-3 * w.sum(1) + 1e-4)[:, None, None] * torch.eye(3, device=x.device)
        affine = _inverse(wx.transpose(1, 2) @ x + ridge) @ (wx.transpose(1, 2) @ end)
        residual = (x @ affine - end).square().sum(2)  # (P, S)
        w = weight / (1 + residual / tolerance**2).square()
    return affine


def _inverse(matrices: Tensor) -> Tensor:
    """Return the inverses of symmetric matrices (P, 3, 3), by cofactors.

    torch's solvers fail on a GPU if two threads call them for the first time at once.
    """
    a, b, c = matrices.unbind(1)
    cofactors = torch.stack([torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], dim=2)
    return cofactors / (a * cofactors[:, :, 0]).sum(1)[:, None, None]


def align(a: Tensor, b: Tensor, *, sharpness: Tensor, reach: Tensor) -> Alignment:
    """Return where the cells of a (P, S, C) are in b (P, S, C).

    sharpness: inverse temperature of the attention.   reach: squared distance from the fitted position, in units of
    positions, over which the second attention falls by a factor of e.
    """
    here = positions(a.device)
    cells = torch.cat([here, torch.ones_like(here[:, :1])], dim=1)  # (S, 3): (x, y, 1)
    # features have unit norm, so exp(sharpness * (cosine - 1)) can neither overflow nor vanish
    ones = torch.ones_like(a[:, :, :1])
    content = torch.cat([a * sharpness, -sharpness * ones], dim=2) @ torch.cat([b, ones], dim=2).transpose(1, 2)
    likely = content.exp()  # (P, S, S')
    # thin products are three times as fast with a right operand that is long in memory
    back = cells.T @ likely  # (P, 3, S'); the row of ones gives the sum of the weights
    back = back[:, :2] / back[:, 2:]  # (P, 2, S'), where each cell of b matches in a
    forward = likely @ torch.cat([cells.T.expand(len(b), -1, -1), back], dim=1).transpose(1, 2)  # (P, S, 5)
    total = forward[:, :, 2]  # (P, S)
    found, home = forward[:, :, :2] / total[:, :, None], forward[:, :, 3:] / total[:, :, None]  # (P, S, 2)
    cycle = (home - here).square().sum(2)  # (P, S); cycle error, 0 if A -> B -> A returns to the cell
    most = content.amax(2)
    best, sure = most / sharpness + 1, most.exp() / total  # (P, S)
    with torch.no_grad():  # gradients through the solver are mostly noise
        affine = fit_affine(here, found, sure * torch.exp(-4 * cycle) * best.clamp(min=0))
    expected = cells @ affine  # (P, S, 2)
    off = (found - expected).square().sum(2)
    inside = torch.sigmoid(10 * (1 - expected.abs().amax(2)))
    guided = likely * _near(expected, reach)
    aligned = guided @ torch.cat([b, ones], dim=2)  # (P, S, C + 1)
    guided_total = aligned[:, :, -1]
    aligned = aligned[:, :, :-1] / guided_total[:, :, None]  # (P, S, C)
    agree = (a * aligned).sum(2)
    fits = inside / (1 + off / 0.06)
    plain = torch.stack([a.mean(1).square().sum(1), b.mean(1).square().sum(1)], dim=1)  # 1 where all cells are equal
    scalars = torch.stack([agree, best, sure, cycle, off, guided.amax(2) / guided_total, inside, fits], dim=2)
    scalars = torch.cat([scalars, here.expand(len(a), -1, -1), expected.norm(dim=2, keepdim=True)], dim=2)
    area = affine[:, 0, 0] * affine[:, 1, 1] - affine[:, 0, 1] * affine[:, 1, 0]  # determinant; < 0 for a mirror
    summary = torch.cat(
        [
            affine.flatten(1),
            area[:, None],
            torch.stack([fits.mean(1), inside.mean(1), (agree * inside).mean(1), best.mean(1)], dim=1),
            plain,
        ],
        dim=1,
    )
    return Alignment(aligned, affine, scalars.clamp(-4, 4), summary.clamp(-4, 4))


def _near(expected: Tensor, reach: Tensor) -> Tensor:
    """Return (P, S, S'), weights exp(-squared distance / reach) of the cells of B around expected positions (P, S, 2).

    The nearest cell has 1. The weight is the product of one factor for x and one for y, so that 2 x GRID exponentials
    are enough instead of GRID x GRID.
    """
    centres = positions(expected.device)[:GRID, 0]
    away = (expected[..., None] - centres).square() / reach  # (P, S, 2, GRID)
    near = (away.amin(3, keepdim=True) - away).exp()
    return (near[:, :, 1, :, None] * near[:, :, 0, None, :]).flatten(2)


class PairHead(nn.Module):
    """Two maps (P, S, C) and cosines (P,) -> logits (P, 3): unrelated, similar, copy. Symmetric in the two photos."""

    def __init__(self) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.tensor(2.5))  # as exp()
        self.reach = nn.Parameter(torch.tensor(-2.5))  # as exp()
        self.look = nn.Conv2d(2 * CHANNELS + _SCALARS, _HIDDEN, 1)
        self.around = nn.Conv2d(_HIDDEN, _HIDDEN, 3, padding=1)
        self.weigh = nn.Conv2d(_HIDDEN, 1, 1)
        self.gather = nn.Linear(2 * _HIDDEN + _GLOBALS + 1, 64)
        self.decide = nn.Linear(64, 3)

    def forward(self, left: Tensor, right: Tensor, cosine: Tensor) -> Tensor:
        P = len(left)
        logits = self.one_way(torch.cat([left, right]), torch.cat([right, left]), torch.cat([cosine, cosine]))
        return (logits[:P] + logits[P:]) / 2

    def one_way(self, a: Tensor, b: Tensor, cosine: Tensor) -> Tensor:
        """Return logits (P, 3) from aligning b to a."""
        found = self.align(a, b)
        x, weight = self.places(a, found)
        pooled = torch.cat([(x * weight).sum(2), x.mean(2), found.summary, cosine[:, None]], dim=1)
        decided: Tensor = self.decide(F.relu(self.gather(pooled)))
        return decided

    def align(self, a: Tensor, b: Tensor) -> Alignment:
        """Return where the cells of a (P, S, C) are in b (P, S, C), with the learned sharpness and reach."""
        return align(a, b, sharpness=self.sharpness.exp(), reach=self.reach.exp())

    def places(self, a: Tensor, found: Alignment) -> tuple[Tensor, Tensor]:
        """Return features (P, hidden, S) of the difference after alignment, and the weights of the cells (P, 1, S)."""
        cells = torch.cat([(a - found.aligned).abs() * 4, a * found.aligned * 4, found.scalars], dim=2)
        x = cells.transpose(1, 2).reshape(len(a), -1, GRID, GRID)  # (P, S, features) -> (P, features, H, W)
        x = F.relu(self.look(x))
        x = x + F.relu(self.around(x))
        weight = self.weigh(x).flatten(2).softmax(2)
        return x.flatten(2), weight


@dataclass(frozen=True)
class Calibration:
    """Logits -> calibrated probabilities, fitted on photos held out of training.

    The probability of a copy is sigmoid(slope * z + offset) of its log-odds z against the rest (Platt 1999). The
    remainder is divided between similar and unrelated in the ratio of their logits.
    """

    slope: float
    offset: float

    def probabilities(self, logits: Floats) -> tuple[Floats, Floats]:
        """Return copy (P,) and similar (P,) of logits (P, 3)."""
        wide = logits.astype(np.float64)
        rest = np.logaddexp(wide[:, UNRELATED], wide[:, SIMILAR])
        copy = 1 / (1 + np.exp(-(self.slope * (wide[:, COPY] - rest) + self.offset)))
        similar = (1 - copy) * np.exp(wide[:, SIMILAR] - rest)
        return copy.astype(np.float32), similar.astype(np.float32)


def unit_maps(maps: Maps, *, device: str = "cpu") -> Tensor:
    """Return maps (P, S, C) int8 as float32 tensors of unit norm at each cell, as the head takes them."""
    return F.normalize(torch.from_numpy(maps).to(device).float() / MAP_SCALE, dim=2)


def pair_logits(head: PairHead, left: Maps, right: Maps, cosine: Floats, *, device: str = "cpu") -> Floats:
    """Return logits (P, 3) of maps (P, S, C) int8 and cosines (P,)."""
    logits = np.empty((len(left), 3), np.float32)
    for start in range(0, len(left), BATCH):  # no copy of all maps
        part = slice(start, start + BATCH)
        maps = np.concatenate([left[part], right[part]])
        pairs = np.arange(len(maps)).reshape(2, -1)
        logits[part] = _both_ways(head, maps, pairs, cosine[part], least=-np.inf, device=device)[1]
    return logits


def _both_ways(
    head: PairHead, maps: Maps, pairs: Indices, cosine: Floats, *, least: float, device: str
) -> tuple[NDArray[np.bool_], Floats]:
    """Return which pairs (P,) may be copies or other shots, and the logits of these (P', 3): the mean of both ways.

    pairs: (2, P), rows of the maps (M, S, C).   least: log-odds of either by one way, below which a pair is unrelated.
    """
    total = maps.sum((1, 2), dtype=np.int64)  # the first way must not depend on which photo of a pair is on the left
    pairs = np.where(total[pairs[0]] < total[pairs[1]], pairs[::-1], pairs)
    logits = _one_way(head, maps, pairs, cosine, device=device)
    odds = np.logaddexp(logits[:, SIMILAR], logits[:, COPY]) - logits[:, UNRELATED]
    related = (odds >= least) | (cosine >= _NEARLY_EQUAL)
    back = _one_way(head, maps, pairs[::-1, related], cosine[related], device=device)
    return related, np.asarray((logits[related] + back) / 2, np.float32)


@torch.inference_mode()
def _one_way(head: PairHead, maps: Maps, pairs: Indices, cosine: Floats, *, device: str) -> Floats:
    """Return logits (P, 3) from aligning the second photo of each pair to the first."""
    logits = np.empty((len(cosine), 3), np.float32)
    for start in range(0, len(cosine), BATCH):
        rows = np.arange(start, min(start + BATCH, len(cosine)))
        padded = np.resize(rows, BATCH)
        a, b = (unit_maps(maps[side[padded]], device=device) for side in pairs)
        found = head.one_way(a, b, torch.from_numpy(cosine[padded]).to(device))
        logits[rows] = found[: len(rows)].cpu().numpy()
    return logits


def score_pairs(
    candidates: Candidates,
    maps: Callable[[Indices], Maps],
    head: PairHead,
    calibration: Calibration,
    *,
    prefilter: Gate | None = None,
    least: float = -np.inf,
    device: str = "cpu",
) -> Scores:
    """Return the candidates, less those that the prefilter or one way of the head rejects, with probabilities.

    They stay in their order.   maps: photo numbers (M,) -> their maps (M, S, C) int8.   least: log-odds of a copy or
    another shot by one way of the head, below which it does without the other.
    """
    photos, at = np.unique(np.stack([candidates.left, candidates.right]), return_inverse=True)
    maps_of_photos, at = maps(photos), at.reshape(2, -1)  # (M, S, C); (2, P), rows of it
    if prefilter is not None:
        passed = candidates.similarity >= _NEARLY_EQUAL
        rows = np.flatnonzero(~passed)
        figures = prefilter_figures(maps_of_photos, at[:, rows], candidates.similarity[rows], device=device)
        passed[rows] = prefilter.chance(figures) >= 0.5
        candidates, at = candidates.rows(passed), at[:, passed]
    related, logits = _both_ways(head, maps_of_photos, at, candidates.similarity, least=least, device=device)
    candidates = candidates.rows(related)
    copy, similar = calibration.probabilities(logits)
    return Scores(candidates.left, candidates.right, candidates.similarity, copy, similar)


@torch.inference_mode()
def prefilter_figures(maps: Maps, pairs: Indices, cosine: Floats, *, device: str = "cpu") -> NDArray[np.float64]:
    """Return (P, 14), how similar pairs (2, P) of maps (M, S, C) are on a coarse grid, regardless of position.

    Each coarse cell is matched with the most similar cell of the other photo. The figures are quantiles and mean of
    these similarities, the lower and the higher of both directions; the mean over all pairs of cells; the cosine (P,).
    """
    parts = [maps[start : start + PREFILTER_BATCH] for start in range(0, max(len(maps), 1), PREFILTER_BATCH)]
    coarse = torch.cat([_coarse(unit_maps(part, device=device)) for part in parts])
    figures = np.empty((len(cosine), 2 * len(_QUANTILES) + 4))
    figures[:, -1] = cosine
    for start in range(0, len(cosine), PREFILTER_BATCH):
        rows = np.arange(start, min(start + PREFILTER_BATCH, len(cosine)))
        left, right = (coarse[np.resize(side[rows], PREFILTER_BATCH)] for side in pairs)
        similarity = left.transpose(1, 2) @ right  # (P, S', S')
        best = torch.stack([similarity.amax(2), similarity.amax(1)]).sort(dim=2).values  # (2, P, S'), both directions
        ways = torch.cat([best[:, :, _QUANTILES], best.mean(2, keepdim=True)], dim=2)
        columns = [ways.amin(0), ways.amax(0), similarity.mean((1, 2))[:, None]]
        figures[rows, :-1] = torch.cat(columns, dim=1)[: len(rows)].cpu().numpy()
    return figures


def _coarse(maps: Tensor) -> Tensor:
    """Return maps (M, S, C) on the coarse grid: (M, C, S'), unit norm at each cell."""
    fine = maps.transpose(1, 2).reshape(len(maps), -1, GRID, GRID)
    return F.normalize(F.avg_pool2d(fine, GRID // _COARSE).flatten(2), dim=1)


@torch.inference_mode()
def transforms(head: PairHead, left: Maps, right: Maps, *, device: str = "cpu") -> NDArray[np.float64]:
    """Return (P, 2, 3, 3), the transformations by which the head aligned left to right, and right to left.

    Both as homographies from the unit square of the left photo to that of the right one. left, right: maps (P, S, C).
    """
    ways = []
    for start in range(0, max(len(left), 1), BATCH):
        a, b = (unit_maps(side[start : start + BATCH], device=device) for side in (left, right))
        ways.append(torch.stack([head.align(a, b).affine, head.align(b, a).affine], dim=1).cpu().numpy())
    affines = np.concatenate(ways)  # (P, 2, 3, 2)
    centred = np.array([[2.0, 0, -1], [0, 2, -1], [0, 0, 1]])  # the unit square -> [-1, 1]
    found: NDArray[np.float64] = np.zeros((len(left), 2, 3, 3))
    found[:, :, :2] = affines.transpose(0, 1, 3, 2)
    found[:, :, 2, 2] = 1
    found = np.asarray(np.linalg.inv(centred) @ found @ centred)
    found[:, 1] = np.linalg.pinv(found[:, 1])  # a fit to nothing may be singular
    return found


@torch.inference_mode()
def explain(head: PairHead, left: Maps, right: Maps) -> Explanation:
    """Return how much each cell of the left photo differs from the right one after alignment, in [0, 1].

    left, right: maps (S, C) int8.
    """
    a, b = unit_maps(left[None]), unit_maps(right[None])
    found = head.align(a, b)
    _, weight = head.places(a, found)
    difference = (a - found.aligned).norm(dim=2) / 2
    return Explanation(difference.reshape(GRID, GRID).numpy(), weight.reshape(GRID, GRID).numpy())
