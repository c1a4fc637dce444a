"""Plane transformations between two pictures: homographies (3, 3) between unit squares. Pure arithmetic.

(x, y, 1) with x, y in [0, 1] from the upper left corner, times the matrix, is where it lies in the other picture.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dedup.types import Homography

_CENTRES = (np.arange(32) + 0.5) / 32
_GRID = np.stack(np.meshgrid(_CENTRES, _CENTRES), axis=2).reshape(-1, 2)


def inverse(h: Homography) -> Homography:
    """Return the transformation the other way round."""
    return np.asarray(np.linalg.inv(h), np.float64)


def mapped(h: Homography, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where points (M, 2) go; not a number for those that go to infinity or behind it."""
    with np.errstate(invalid="ignore", over="ignore"):
        x = points @ h[:, :2].T + h[:, 2]
        depth = np.where(x[:, 2:] < 1e-3 * abs(h[2, 2]), np.nan, x[:, 2:])
        return np.asarray(x[:, :2] / depth)


def coverage(h: Homography) -> float:
    """Return how much of the first picture lies inside the second, in [0, 1]."""
    places = mapped(h, _GRID)
    return float(((places >= 0) & (places <= 1)).all(1).mean())
