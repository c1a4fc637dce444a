"""Scores, verified pairs -> verdicts: turns what the two networks found into a relation. No network runs here.

It also selects the photos whose pixels must be compared exactly. Files that decode to the same pixels are identical.
Pictures with next to nothing in them are inconclusive. What the camera wrote can overrule the networks: two shots are
two photographs, however alike they look.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from dedup.grouping.containment import Beside, beside
from dedup.grouping.prior import ASSUMED, at_prior
from dedup.types.arrays import Floats, Indices
from dedup.types.pairs import Relation, Scores, Verdicts, Verified
from dedup.types.photo import Exposure, Photo

NEARLY_EQUAL = 0.98  # cosine; equal pixels decoded at two scales are nearer than this
_PLAIN_COPY = 0.01  # probability cap for featureless pictures
_OTHER_MOMENT = 1 / 20  # factor on the odds of a copy whose capture time differs
_OTHER_SHOT = 0.02  # probability cap where the camera's data say that there were two shots

# Up to which ratio or difference two values are the same one, rounded by another program.
_TIME_RATIO, _APERTURE_RATIO, _BIAS_STEP, _SUBSECOND_STEP = 1.05, 1.03, 0.1, 0.015


def identical_candidates(photos: Sequence[Photo], scores: Scores) -> Indices:
    """Return the photos whose pixels must be compared exactly: of the same size as another that looks the same."""
    rows = _suspect_rows(photos, scores)
    return np.unique(np.concatenate([scores.left[rows], scores.right[rows]]))


def relate(
    photos: Sequence[Photo],
    scores: Scores,
    verified: Verified,
    pixels: Mapping[int, bytes | None],
    *,
    prior: float = ASSUMED,
) -> Verdicts:
    """Return the verdicts: of verification where a pair was verified, at the collection's prior; of the head otherwise.

    Photos with equal pixels are IDENTICAL, with certainty. Two shots of one camera are SIMILAR at most, and other
    capture times make a copy less likely. Featureless pictures are INCONCLUSIVE.
    pixels: SHA-256 of everything that the photos of identical_candidates() show; None where it cannot be read.
    """
    rows, seen = _rows_of(scores.keys(len(photos)), verified.keys(len(photos)))
    copy, similar = scores.copy.copy(), scores.similar.copy()
    copy[seen], similar[seen] = at_prior(verified.copy[rows[seen]], verified.similar[rows[seen]], prior)
    for row in np.flatnonzero(copy >= 0.5).tolist():
        left = _by_camera(photos[scores.left[row]], photos[scores.right[row]], float(copy[row]))
        similar[row] += copy[row] - np.float32(left)
        copy[row] = left
    plain = np.zeros(len(scores), bool)
    plain[seen] = verified.plain[rows[seen]]
    inconclusive = plain & (np.maximum(copy, similar) >= 0.5)
    copy[plain] = np.minimum(copy[plain], _PLAIN_COPY)
    relation = likeliest(copy, similar)
    relation[inconclusive] = Relation.INCONCLUSIVE
    same = [
        row
        for row in _suspect_rows(photos, scores).tolist()
        if (digest := pixels.get(int(scores.left[row]))) is not None and digest == pixels.get(int(scores.right[row]))
    ]
    relation[same], copy[same], similar[same] = Relation.IDENTICAL, 1.0, 0.0
    losses, inside = np.zeros((2, len(scores)), np.int64), np.ones((2, len(scores)), np.float32)
    for row in np.flatnonzero(relation <= Relation.COPY).tolist():
        at = int(rows[row]) if seen[row] else None
        found = _beside(photos, scores, row, verified, at, identical=relation[row] == Relation.IDENTICAL)
        losses[:, row], inside[:, row] = found.losses, found.inside
    return Verdicts(scores.left, scores.right, scores.similarity, copy, similar, relation, *losses, *inside)


def _beside(
    photos: Sequence[Photo], scores: Scores, row: int, verified: Verified, at: int | None, *, identical: bool
) -> Beside:
    """Return what each photo of a pair lacks of the other. at: its row among the verified pairs, if it is there."""
    pair = photos[scores.left[row]], photos[scores.right[row]]
    if at is None:
        return beside(*pair, transform=None, identical=identical)
    measured = int(verified.left_loss[at]), int(verified.right_loss[at])
    return beside(*pair, transform=verified.transform[at], measured=measured, identical=identical)


def inconclusive(verdicts: Verdicts, rows: NDArray[np.bool_]) -> Verdicts:
    """Return the verdicts with these rows (P,) INCONCLUSIVE, unless the photos are IDENTICAL.

    For pairs that should have been verified and could not be: their files were gone, or a process died.
    """
    relation = verdicts.relation.copy()
    relation[rows & (relation != Relation.IDENTICAL)] = Relation.INCONCLUSIVE
    return replace(verdicts, relation=relation)


def likeliest(copy: Floats, similar: Floats) -> NDArray[np.int8]:
    """Return the relation (P,) with a probability of at least 0.5, or UNRELATED."""
    relation = np.full(len(copy), Relation.UNRELATED, np.int8)
    relation[similar >= 0.5] = Relation.SIMILAR
    relation[copy >= 0.5] = Relation.COPY
    return relation


def _suspect_rows(photos: Sequence[Photo], scores: Scores) -> Indices:
    """Return the rows of pairs that may have equal pixels: the same size, and nearly the same vector."""
    near = np.flatnonzero(scores.similarity >= NEARLY_EQUAL)
    pairs = np.stack([scores.left[near], scores.right[near]])
    numbers, at = np.unique(pairs, return_inverse=True)
    shapes = np.array([(p.width, p.height) for p in map(photos.__getitem__, numbers.tolist())], np.int64).reshape(-1, 2)
    left, right = shapes[at.reshape(pairs.shape)]
    same: Indices = near[(left == right).all(1)]
    return same


def _rows_of(wanted: Indices, keys: Indices) -> tuple[Indices, NDArray[np.bool_]]:
    """Return the row in `keys`, which are unique, of each wanted key, and whether it is there at all."""
    if not len(keys):
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), bool)
    order = np.argsort(keys)
    rows = order[np.searchsorted(keys, wanted, sorter=order).clip(max=len(keys) - 1)]
    return rows, keys[rows] == wanted


def _by_camera(one: Photo, other: Photo, copy: float) -> float:
    """Return the probability of a copy after what one camera wrote about both photos."""
    if one.camera != other.camera:
        return copy
    if one.facts and other.facts and _two_shots(one.facts.exposure, other.facts.exposure):
        return min(copy, _OTHER_SHOT)
    if one.camera and _other_moment(one, other):
        odds = copy / max(1 - copy, 1e-7) * _OTHER_MOMENT
        return odds / (1 + odds)
    return copy


def _two_shots(one: Exposure, other: Exposure) -> bool:
    """Return whether a camera wrote that two pictures are two exposures, or that they began at different moments."""
    return (
        _ratio(one.time, other.time) > _TIME_RATIO
        or _ratio(one.aperture, other.aperture) > _APERTURE_RATIO
        or _ratio(one.iso, other.iso) > _TIME_RATIO
        or _step(one.bias, other.bias) > _BIAS_STEP
        # programs that do not know the fraction write 0
        or _step(one.subsecond or None, other.subsecond or None) > _SUBSECOND_STEP
        or (one.serial is not None and other.serial is not None and one.serial != other.serial)
    )


def _ratio(one: float | None, other: float | None) -> float:
    return max(one / other, other / one) if one and other else 1.0


def _step(one: float | None, other: float | None) -> float:
    return abs(one - other) if one is not None and other is not None else 0.0


def _other_moment(one: Photo, other: Photo) -> bool:
    """Return whether the capture times differ by more than a change of time zone."""
    if not one.taken_at or not other.taken_at:
        return False
    try:
        apart = abs((datetime.fromisoformat(one.taken_at) - datetime.fromisoformat(other.taken_at)).total_seconds())
    except (ValueError, TypeError):  # not a time, or only one of them has a zone
        return False
    return apart >= 1 and not (apart <= 14 * 3600 and apart % 1800 == 0)
