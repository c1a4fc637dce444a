"""Least squares that a part of the data does not distort. Knows nothing about pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Numbers = TypeVar("Numbers", NDArray[np.float32], NDArray[np.float64])

_ITERATIONS = 4


def robust_factors(
    terms: Numbers, wanted: Numbers, ridge: NDArray[np.floating], weigh: Callable[[Numbers], NDArray[np.floating]]
) -> Numbers:
    """Return the factors (T,) or (T, C) by which the terms (M, T) add up to what is wanted, (M,) or (M, C).

    Iteratively reweighted least squares (Holland and Welsch 1977): `weigh` gives the rows their weights (M,) by their
    errors, which have the shape of `wanted`.   ridge: (T, T), what large factors cost.
    """
    weight = np.ones(len(terms), terms.dtype)
    for step in range(_ITERATIONS):
        weighted = terms * weight[:, None]
        factors = np.linalg.solve(weighted.T @ terms + ridge, weighted.T @ wanted).astype(terms.dtype)
        if step < _ITERATIONS - 1:
            weight = weigh(terms @ factors - wanted).astype(terms.dtype)
    return factors


def by_median(squared: Numbers) -> NDArray[np.floating]:
    """Return weights by squared errors (M,): a quarter at four times their median."""
    return np.asarray(1 / np.square(1 + squared / (4 * np.median(squared) + 1)))


def hats(values: Numbers, at: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return (..., K), the terms of a function of the values (...) that is linear between those of `at` (K,)."""
    return np.stack([np.interp(values, at, row) for row in np.eye(len(at))], axis=-1)
