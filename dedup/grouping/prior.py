"""Verified pairs -> the prior of a collection: the share of copies among them. No network runs here.

What the residual head says of a pair is evidence, a ratio of likelihoods. How likely a copy is follows from it and from
how many copies there are to be found: in an album with many edited versions most pairs that look alike are copies, in
ten thousand photos without any nearly all are not. The head's curve is that of a collection with the prior ASSUMED.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dedup.types.arrays import Floats

ASSUMED = 0.7  # share of copies among verified pairs where nothing is known of the collection
_PAIRS = 30  # verified pairs that this assumption counts as
_NEAR = 1e-6  # of the prior: a change that ends the iteration
_ITERATIONS = 1000


def estimated_prior(copy: Floats, unlikely: int) -> float:
    """Return the prior of a collection, at most ASSUMED.

    copy: (P,), probabilities of its verified pairs at ASSUMED.   unlikely: how many more would be verified if cost did
    not matter; they count as no copies.

    Expectation maximisation: the prior is the mean probability of a copy at that prior (Saerens, Latinne and
    Decaestecker, Neural Computation 14(1), 2002). The assumption counts as some pairs more, so that few pairs change
    it little; and no pair becomes likelier than the curve says, since those of one photo do not err independently.
    """
    odds = _odds(np.sort(copy))  # in any order of the pairs the sum is the same
    prior = ASSUMED
    for _ in range(_ITERATIONS):
        ratio = _ratio(prior)
        expected = float((odds * ratio / (1 + odds * ratio)).sum())
        before, prior = prior, min((expected + _PAIRS * ASSUMED) / (len(odds) + unlikely + _PAIRS), ASSUMED)
        if abs(prior - before) < _NEAR:
            break
    return round(prior, 6)


def at_prior(copy: Floats, similar: Floats, prior: float) -> tuple[Floats, Floats]:
    """Return probabilities (P,) of a copy and of another shot at a prior, of those at ASSUMED."""
    if prior == ASSUMED:
        return copy, similar
    odds = _odds(copy) * _ratio(prior)
    less = odds / (1 + odds)
    other = (1 - less) / np.maximum(1 - copy.astype(np.float64), 1e-9)  # similar and unrelated share what is left
    return less.astype(np.float32), np.minimum(similar * other, 1 - less).astype(np.float32)


def _odds(copy: Floats) -> NDArray[np.float64]:
    sure: NDArray[np.float64] = copy.astype(np.float64).clip(0, 1 - 1e-9)
    return sure / (1 - sure)


def _ratio(prior: float) -> float:
    """Return by what the odds at ASSUMED are multiplied at a prior."""
    return prior / (1 - prior) * (1 - ASSUMED) / ASSUMED
