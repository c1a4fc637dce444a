"""Scores -> Verdicts: a second look at the files themselves, for what the descriptors cannot tell.

Pairs that the head takes for copies, or nearly, are aligned at a higher resolution (align.py) and judged by a small
network on what is left after alignment and colour matching. Two files that decode to the very same pixels are
identical. Pictures with next to nothing in them are left undecided.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from dedup.align import CANVAS, EVIDENCE, PLANES, Aligned, Canvas, residuals
from dedup.types import Explanation, Floats, Indices, Looks, Photo, Relation, Scores, Verdicts
from dedup.verify import decide

BATCH = 16  # pairs a forward pass; always this many, see encode.encode()
_WIDTHS = (12, 24, 40)
WORTH_A_LOOK = 0.02  # probability of a copy; 13 in 1,000 copies that were held apart had less
_MOST_LOOKS = 12  # a photo, the likeliest copies first: what bounds the cost
_NEARLY_EQUAL = 0.98  # cosine; equal pixels decoded at two scales are nearer than this
_PLAIN_COPY = 0.01  # what is said of two pictures that cannot be told apart from others like them
_OTHER_MOMENT = 1 / 20  # odds of a copy whose camera says that it was taken at another time


class ResidualHead(nn.Module):
    """What is left of two aligned pictures, and what the head said of them -> logits (P, 3) as the head's."""

    def __init__(self) -> None:
        super().__init__()
        one, two, three = _WIDTHS
        self.edges = nn.Conv2d(PLANES, one, 3, 2, 1)
        self.parts = nn.Conv2d(one, two, 3, 2, 1)
        self.things = nn.Conv2d(two, three, 3, 2, 1)
        self.around = nn.Conv2d(three, three, 3, 1, 1)
        self.weigh = nn.Conv2d(three, 2, 1)
        self.gather = nn.Linear(4 * three + EVIDENCE + 4, 64)
        self.decide = nn.Linear(64, 3)

    def forward(self, planes: Tensor, covered: Tensor, evidence: Tensor, logits: Tensor, cosine: Tensor) -> Tensor:
        """planes: (P, PLANES, S, S). covered: (P, S, S). evidence: (P, EVIDENCE). logits: (P, 3). cosine: (P,)."""
        x, inside, weight = self.places(planes, covered)
        pooled = [
            torch.einsum("pcs,pks->pkc", x, weight).flatten(1),
            (x * inside).sum(2) / (inside.sum(2) + 1e-3),
            (x * inside).amax(2),
        ]
        said = logits.clamp(-12, 12) / 4
        decided: Tensor = self.decide(F.relu(self.gather(torch.cat([*pooled, evidence, said, cosine[:, None]], dim=1))))
        return decided

    def places(self, planes: Tensor, covered: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return features (P, C, S'), how far each place is covered (P, 1, S'), and two weights of it (P, 2, S')."""
        x = F.relu(self.things(F.relu(self.parts(F.relu(self.edges(planes))))))
        x = x + F.relu(self.around(x))
        inside = F.adaptive_avg_pool2d(covered[:, None].float(), (x.shape[2], x.shape[3])).flatten(2)
        weight = (self.weigh(x).flatten(2) + (inside + 1e-4).log()).softmax(2)
        return x.flatten(2), inside, weight


@torch.inference_mode()
def look_logits(
    net: ResidualHead, aligned: Sequence[Aligned], logits: Floats, cosine: Floats, *, device: str = "cpu"
) -> Floats:
    """Return logits (P, 3) of P aligned pairs, of the head's logits (P, 3) and of their cosines (P,)."""
    out = np.empty((len(aligned), 3), np.float32)
    planes = np.zeros((BATCH, PLANES, CANVAS, CANVAS), np.float32)
    covered, evidence = np.zeros((BATCH, CANVAS, CANVAS), bool), np.zeros((BATCH, EVIDENCE), np.float32)
    said, near = np.zeros((BATCH, 3), np.float32), np.zeros(BATCH, np.float32)
    for start in range(0, len(aligned), BATCH):
        n = min(BATCH, len(aligned) - start)
        for row, one in enumerate(aligned[start : start + n]):
            planes[row] = residuals(one.first, one.second, one.covered)
            covered[row], evidence[row] = one.covered, one.evidence
        said[:n], near[:n] = logits[start : start + n], cosine[start : start + n]
        inputs = (torch.from_numpy(x).to(device) for x in (planes, covered, evidence, said, near))
        out[start : start + n] = net(*inputs)[:n].cpu().numpy()
    return out


@torch.inference_mode()
def explain(net: ResidualHead, aligned: Canvas) -> Explanation:
    """Return how two pictures differ in grey and in colour, 0 where one of them is not: (S, S)."""
    planes = torch.from_numpy(residuals(aligned.first, aligned.second, aligned.covered))[None]
    weight = net.places(planes, torch.from_numpy(aligned.covered)[None])[2].mean(1)
    side = round(weight.shape[1] ** 0.5)
    full = F.interpolate(weight.reshape(1, 1, side, side), size=(CANVAS, CANVAS), mode="bilinear")[0, 0]
    difference = (planes[0, 2].abs() / 4 + planes[0, 3:5].abs().amax(0) / 4) * planes[0, 5]
    return Explanation(difference.numpy(), (full / full.sum()).numpy())


def worth_a_look(scores: Scores) -> NDArray[np.bool_]:
    """Return which pairs (P,) are copies, or nearly, by the head, and among the likeliest of one of their photos."""
    rows = np.flatnonzero(scores.copy >= WORTH_A_LOOK)
    photo, both = np.concatenate([scores.left[rows], scores.right[rows]]), np.concatenate([rows, rows])
    order = np.lexsort((both, -scores.copy[both], photo))
    rank = np.arange(len(order)) - np.searchsorted(photo[order], photo[order])
    chosen = np.zeros(len(scores), bool)
    chosen[both[order[rank < _MOST_LOOKS]]] = True
    return chosen


def perhaps_identical(photos: Sequence[Photo], scores: Scores) -> Indices:
    """Return the photos whose pixels must be known: of the same shape as another that looks the same."""
    rows = _suspect_rows(photos, scores)
    return np.unique(np.concatenate([scores.left[rows], scores.right[rows]]))


def confirm(photos: Sequence[Photo], scores: Scores, looks: Looks, pixels: dict[int, bytes | None]) -> Verdicts:
    """Return the verdicts: what the second look says where there was one, otherwise what the head says.

    Photos of equal pixels are IDENTICAL, with certainty. Where a camera says that two photos were taken at different
    times, a copy is less likely. Plain pictures are UNDECIDED.
    pixels: SHA-256 of the decoded pixels of the photos that perhaps_identical() names; None where it cannot be had.
    """
    at = {key: row for row, key in enumerate(looks.keys(len(photos)).tolist())}
    rows = np.array([at.get(key, -1) for key in scores.keys(len(photos)).tolist()], np.int64)
    seen = rows >= 0
    copy, similar = scores.copy.copy(), scores.similar.copy()
    copy[seen], similar[seen] = looks.copy[rows[seen]], looks.similar[rows[seen]]
    for row in np.flatnonzero(copy >= 0.5).tolist():
        if _other_moment(photos[scores.left[row]], photos[scores.right[row]]):
            odds = copy[row] / max(1 - float(copy[row]), 1e-7) * _OTHER_MOMENT
            fewer = odds / (1 + odds)
            similar[row] += copy[row] - fewer
            copy[row] = fewer
    plain = np.zeros(len(scores), bool)
    plain[seen] = looks.plain[rows[seen]]
    undecided = plain & (np.maximum(copy, similar) >= 0.5)
    copy[plain] = np.minimum(copy[plain], _PLAIN_COPY)
    verdicts = decide(replace(scores, copy=copy, similar=similar))
    verdicts.relation[undecided] = Relation.UNDECIDED
    same = [
        row
        for row in _suspect_rows(photos, scores).tolist()
        if (digest := pixels.get(int(scores.left[row]))) is not None and digest == pixels.get(int(scores.right[row]))
    ]
    verdicts.relation[same], verdicts.copy[same], verdicts.similar[same] = Relation.IDENTICAL, 1.0, 0.0
    return verdicts


def _suspect_rows(photos: Sequence[Photo], scores: Scores) -> Indices:
    shapes = np.array([(p.width, p.height) for p in photos], np.int64).reshape(-1, 2)
    same_shape = (shapes[scores.left] == shapes[scores.right]).all(1)
    return np.flatnonzero(same_shape & (scores.similarity >= _NEARLY_EQUAL))


def _other_moment(one: Photo, other: Photo) -> bool:
    """Tell whether one camera took both, at times that differ by more than a change of time zone."""
    if not one.taken_at or not other.taken_at or not one.camera or one.camera != other.camera:
        return False
    try:
        apart = abs((datetime.fromisoformat(one.taken_at) - datetime.fromisoformat(other.taken_at)).total_seconds())
    except (ValueError, TypeError):  # not a time, or only one of them says in which zone
        return False
    return apart >= 1 and not (apart <= 14 * 3600 and apart % 1800 == 0)
