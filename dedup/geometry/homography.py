"""Plane transformations between two pictures: homographies (3, 3) between unit squares. Pure arithmetic.

(x, y, 1) with x, y in [0, 1] from the upper left corner, times the matrix, is where it lies in the other picture.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dedup.types.arrays import Homography

_CENTRES = (np.arange(32) + 0.5) / 32
_GRID = np.stack([*(x.ravel() for x in np.meshgrid(_CENTRES, _CENTRES)), np.ones(32 * 32)])  # (3, 1024)
_NEAREST = 1e-3  # depth, of that of the corner at 0, 0; what is nearer lies at infinity or behind it


def inverse(h: Homography) -> Homography:
    """Return the transformation the other way round, up to a factor, which does not matter: by cofactors.

    It is asked for some fifty times a pair, and a general solver takes ten times as long for so small a matrix.
    """
    a, b, c, d, e, f, g, i, j = h.ravel().tolist()
    determinant = a * (e * j - f * i) - b * (d * j - f * g) + c * (d * i - e * g)
    cofactors = [
        *(e * j - f * i, c * i - b * j, b * f - c * e),
        *(f * g - d * j, a * j - c * g, c * d - a * f),
        *(d * i - e * g, b * g - a * i, a * e - b * d),
    ]
    return np.array(cofactors).reshape(3, 3) / determinant


def mapped(h: Homography, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where points (M, 2) go; not a number for those that go to infinity or behind it."""
    with np.errstate(invalid="ignore", over="ignore"):
        x = points @ h[:, :2].T + h[:, 2]
        depth = np.where(x[:, 2:] < _NEAREST * abs(h[2, 2]), np.nan, x[:, 2:])
        return np.asarray(x[:, :2] / depth)


def coverage(h: Homography) -> float:
    """Return how much of the first picture lies inside the second, in [0, 1]."""
    x, y, depth = h @ _GRID  # without a division: this is asked some fifty times a pair
    inside = (np.minimum(x, y) >= 0) & (np.maximum(x, y) <= depth) & (depth >= _NEAREST * abs(h[2, 2]))
    return float(np.count_nonzero(inside) / inside.size)
