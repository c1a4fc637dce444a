"""Scores -> which pairs are verified. No network runs here.

What a score of the pair head is worth depends on the size of the collection. In one of twice as many photos a photo has
as many copies as before, but twice as many others that resemble it, so that a pair of a given score is half as likely
to be a copy. The chances from which pairs pass the two gates rise accordingly.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, log, log2

import numpy as np
from numpy.typing import NDArray

from dedup.types.arrays import Floats
from dedup.types.groups import Group
from dedup.types.pairs import Gate, Relation, Scores
from dedup.types.photo_table import among

LEAST_CHANCE = 0.1  # of a copy, by the gate, in a small collection; 28 in 1,000 strong edits have less
THOROUGH_CHANCE = 0.03  # the same where cost does not matter, at any size; 12 in 1,000 have less
LEAST_GEOMETRIC_CHANCE = 0.08  # of a copy, by the geometric gate, likewise; 10 in 1,000 copies have less
GATE_LOWER_BOUND = 0.005  # probability of a copy from which the gate was fitted; pairs below it are never verified
_SMALL = 1000  # photos
# Log-odds, of a copy or another shot against an unrelated picture, by one way of the pair head: in a small collection,
# and at most. Of 1,000 copies that need verification at a size one or two have less.
_LEAST_RELATED_ODDS, _MOST_RELATED_ODDS = -5.0, -2.0
_AT_ONCE = 1 << 16  # pairs; the gate takes ten times the memory of its figures
_MAX_PER_PHOTO = 12  # pairs, the likeliest copies first: bounds the cost where very many photos are alike


def least_chance(photos: int, *, small: float = LEAST_CHANCE, thorough: bool = False) -> float:
    """Return the chance of a copy from which pairs of a collection pass a gate.

    small: that of a small collection.   thorough: THOROUGH_CHANCE instead.

    It changes with each doubling of the collection and not with each photo, so that adding a few photos rarely changes
    which of the known pairs are verified.
    """
    if thorough:
        return THOROUGH_CHANCE
    odds = small / (1 - small) * 2.0 ** _doublings(photos)
    return float(odds / (1 + odds))


def least_related_odds(photos: int, *, thorough: bool = False) -> float:
    """Return the log-odds of a copy or another shot from which the pair head aligns a pair the other way too.

    They rise with the collection as least_chance() does. A small one has too few pairs for it to pay.
    """
    if thorough or not _doublings(photos):
        return -inf
    return min(_LEAST_RELATED_ODDS + _doublings(photos) * log(2), _MOST_RELATED_ODDS)


def _doublings(photos: int) -> int:
    """Return how often a small collection must be doubled to have at least half as many photos."""
    return max(0, int(log2(max(photos, 1) / _SMALL)))


def needs_verification(
    copy: Floats, similar: Floats, similarity: Floats, gate: Gate, *, least: float = THOROUGH_CHANCE
) -> NDArray[np.bool_]:
    """Return which pairs (P,) are worth verifying: a chance of at least `least`, or copies by the pair head.

    Most pairs that the head is unsure of are other shots of a scene, or pictures of one layout. Three figures together
    tell those from strong edits: with the probability of a copy alone five times as many unrelated pairs would have to
    be verified for the same copies.
    """
    likely = np.empty(len(copy), bool)
    for start in range(0, len(copy), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        likely[part] = gate.chance(figures(copy[part], similar[part], similarity[part])) >= least
    worth: NDArray[np.bool_] = (copy >= 0.5) | (likely & (copy >= GATE_LOWER_BOUND))
    return worth


def figures(copy: Floats, similar: Floats, similarity: Floats) -> NDArray[np.float64]:
    """Return (P, 3): log-odds of a copy, log-odds of similar against unrelated, and cosine."""
    c = copy.astype(np.float64).clip(1e-9, 1 - 1e-9)
    s = similar.astype(np.float64).clip(1e-9)
    return np.stack([np.log(c / (1 - c)), np.log(s / (1 - c - s).clip(1e-9)), similarity], axis=1)


def selected_for_verification(scores: Scores, gate: Gate, *, least: float) -> NDArray[np.bool_]:
    """Return which pairs (P,) are worth verifying, and among the likeliest of one of their photos."""
    return top_k_per_photo(
        scores, needs_verification(scores.copy, scores.similar, scores.similarity, gate, least=least)
    )


def count_unlikely(scores: Scores, gate: Gate, selected: NDArray[np.bool_], *, photos: int) -> int:
    """Return how many pairs were not selected, but would be if cost did not matter: next to none of them are copies."""
    worth = selected_for_verification(scores, gate, least=least_chance(photos, small=THOROUGH_CHANCE))
    return int((worth & ~selected).sum())


def top_k_per_photo(scores: Scores, among: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which of some pairs (P,) are among the likeliest copies of one of their photos."""
    rows = np.flatnonzero(among)
    photo, both = np.concatenate([scores.left[rows], scores.right[rows]]), np.concatenate([rows, rows])
    order = np.lexsort((both, -scores.copy[both], photo))
    rank = np.arange(len(order)) - np.searchsorted(photo[order], photo[order])
    chosen = np.zeros(len(scores), bool)
    chosen[both[order[rank < _MAX_PER_PHOTO]]] = True
    return chosen


def keeper_pairs(scores: Scores, groups: Sequence[Group], photos: int) -> NDArray[np.bool_]:
    """Return which pairs (P,) of so many photos join a keeper and a duplicate that has other pixels."""
    stars = [sorted((g.keeper, d.photo)) for g in groups for d in g.duplicates if d.relation >= Relation.COPY]
    left, right = np.array(stars, np.int64).reshape(-1, 2).T
    return among(scores.keys(photos), np.sort(left * photos + right))
