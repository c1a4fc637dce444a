"""Scores, Looks -> Verdicts: what both networks said of a pair is turned into a relation. No network runs here.

It also says which pairs deserve a second look, and whose pixels must be known. Two files that decode to the very same
pixels are identical. Pictures with next to nothing in them are left inconclusive.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from dedup.types.arrays import Floats, Indices
from dedup.types.groups import Group
from dedup.types.pairs import Gate, Relation, Scores, Verdicts, Verified
from dedup.types.photo import Photo

VERIFY_THRESHOLD = 0.03  # chance that a second look finds a copy; 12 in 1,000 copies that it would find have less
GATE_LOWER_BOUND = 0.005  # probability of a copy below which no line was fitted, and nobody looks
_AT_ONCE = 1 << 16  # pairs
_MAX_VERIFIED_PER_PHOTO = 12  # a photo, the likeliest copies first: what bounds the cost
_NEARLY_EQUAL = 0.98  # cosine; equal pixels decoded at two scales are nearer than this
_PLAIN_COPY = 0.01  # what is said of two pictures that cannot be told apart from others like them
_OTHER_MOMENT = 1 / 20  # odds of a copy whose camera says that it was taken at another time


def needs_verification(copy: Floats, similar: Floats, similarity: Floats, gate: Gate) -> NDArray[np.bool_]:
    """Return which pairs (P,) deserve a second look: copies by the head, and those that may turn out to be.

    What the head doubts is mostly another shot of a scene or a picture with the same layout, and three figures together
    tell those from strong edits: its probability of a copy alone would have five times as many unrelated pairs looked
    at for the same copies.
    """
    likely = np.empty(len(copy), bool)
    for start in range(0, len(copy), _AT_ONCE):  # the network takes ten times the memory of what it is asked about
        part = slice(start, start + _AT_ONCE)
        likely[part] = gate.chance(figures(copy[part], similar[part], similarity[part])) >= VERIFY_THRESHOLD
    worth: NDArray[np.bool_] = (copy >= 0.5) | (likely & (copy >= GATE_LOWER_BOUND))
    return worth


def figures(copy: Floats, similar: Floats, similarity: Floats) -> NDArray[np.float64]:
    """Return (P, 3): log-odds of a copy, log-odds of similar against unrelated, and cosine."""
    c = copy.astype(np.float64).clip(1e-9, 1 - 1e-9)
    s = similar.astype(np.float64).clip(1e-9)
    return np.stack([np.log(c / (1 - c)), np.log(s / (1 - c - s).clip(1e-9)), similarity], axis=1)


def selected_for_verification(scores: Scores, gate: Gate) -> NDArray[np.bool_]:
    """Return which pairs (P,) are worth a second look, and among the likeliest of one of their photos."""
    return top_k_per_photo(scores, needs_verification(scores.copy, scores.similar, scores.similarity, gate))


def top_k_per_photo(scores: Scores, some: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which of some pairs (P,) are among the likeliest copies of one of their photos."""
    rows = np.flatnonzero(some)
    photo, both = np.concatenate([scores.left[rows], scores.right[rows]]), np.concatenate([rows, rows])
    order = np.lexsort((both, -scores.copy[both], photo))
    rank = np.arange(len(order)) - np.searchsorted(photo[order], photo[order])
    chosen = np.zeros(len(scores), bool)
    chosen[both[order[rank < _MAX_VERIFIED_PER_PHOTO]]] = True
    return chosen


def keeper_pairs(scores: Scores, groups: Sequence[Group], photos: int) -> NDArray[np.bool_]:
    """Return which pairs (P,) of so many photos join a keeper and a duplicate that has other pixels."""
    stars = [sorted((g.keeper, d.photo)) for g in groups for d in g.duplicates if d.relation >= Relation.COPY]
    left, right = np.array(stars, np.int64).reshape(-1, 2).T
    return np.isin(scores.keys(photos), left * photos + right)


def identical_candidates(photos: Sequence[Photo], scores: Scores) -> Indices:
    """Return the photos whose pixels must be known: of the same shape as another that looks the same."""
    rows = _suspect_rows(photos, scores)
    return np.unique(np.concatenate([scores.left[rows], scores.right[rows]]))


def relate(photos: Sequence[Photo], scores: Scores, verified: Verified, pixels: dict[int, bytes | None]) -> Verdicts:
    """Return the verdicts: what the second look says where there was one, otherwise what the head says.

    Photos of equal pixels are IDENTICAL, with certainty. Where a camera says that two photos were taken at different
    times, a copy is less likely. Plain pictures are UNDECIDED.
    pixels: SHA-256 of the decoded pixels of the photos that perhaps_identical() names; None where it cannot be had.
    """
    rows, seen = _rows_of(scores.keys(len(photos)), verified.keys(len(photos)))
    copy, similar = scores.copy.copy(), scores.similar.copy()
    copy[seen], similar[seen] = verified.copy[rows[seen]], verified.similar[rows[seen]]
    for row in np.flatnonzero(copy >= 0.5).tolist():
        if _other_moment(photos[scores.left[row]], photos[scores.right[row]]):
            odds = copy[row] / max(1 - float(copy[row]), 1e-7) * _OTHER_MOMENT
            fewer = odds / (1 + odds)
            similar[row] += copy[row] - fewer
            copy[row] = fewer
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
    none = np.zeros(len(scores), np.int64)
    return Verdicts(scores.left, scores.right, scores.similarity, copy, similar, relation, none, none)


def likeliest(copy: Floats, similar: Floats) -> NDArray[np.int8]:
    """Return the relation (P,) that is likelier than all others together, or UNRELATED."""
    relation = np.full(len(copy), Relation.UNRELATED, np.int8)
    relation[similar >= 0.5] = Relation.SIMILAR
    relation[copy >= 0.5] = Relation.COPY
    return relation


def _suspect_rows(photos: Sequence[Photo], scores: Scores) -> Indices:
    near = np.flatnonzero(scores.similarity >= _NEARLY_EQUAL)
    pairs = np.stack([scores.left[near], scores.right[near]])
    numbers, at = np.unique(pairs, return_inverse=True)
    shapes = np.array([(p.width, p.height) for p in map(photos.__getitem__, numbers.tolist())], np.int64).reshape(-1, 2)
    left, right = shapes[at.reshape(pairs.shape)]
    same: Indices = near[(left == right).all(1)]
    return same


def _rows_of(wanted: Indices, keys: Indices) -> tuple[Indices, NDArray[np.bool_]]:
    """Return in which row of keys, where each is once, each wanted one is, and whether it is there at all."""
    if not len(keys):
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), bool)
    order = np.argsort(keys)
    rows = order[np.searchsorted(keys, wanted, sorter=order).clip(max=len(keys) - 1)]
    return rows, keys[rows] == wanted


def _other_moment(one: Photo, other: Photo) -> bool:
    """Tell whether one camera took both, at times that differ by more than a change of time zone."""
    if not one.taken_at or not other.taken_at or not one.camera or one.camera != other.camera:
        return False
    try:
        apart = abs((datetime.fromisoformat(one.taken_at) - datetime.fromisoformat(other.taken_at)).total_seconds())
    except (ValueError, TypeError):  # not a time, or only one of them says in which zone
        return False
    return apart >= 1 and not (apart <= 14 * 3600 and apart % 1800 == 0)
