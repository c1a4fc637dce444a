"""Arithmetic of homographies (3, 3) between unit squares. Knows nothing about pictures.

A point (x, y, 1), with x and y in [0, 1] from the upper left corner of one picture, times the matrix gives homogeneous
coordinates in the unit square of the other picture. Hartley and Zisserman 2004, chapter 2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dedup.types.arrays import Homography

_CENTRES = (np.arange(32) + 0.5) / 32
_GRID = np.stack([*(x.ravel() for x in np.meshgrid(_CENTRES, _CENTRES)), np.ones(32 * 32)])  # (3, 1024)
# A point whose third coordinate is below this fraction of that of the corner (0, 0) lies at or beyond the horizon.
_HORIZON = 1e-3


def inverse(h: Homography) -> Homography:
    """Return the inverse of a homography by cofactors. It must not be singular.

    Alignment inverts some fifty matrices a pair; np.linalg.inv takes ten times as long for so small a matrix.
    """
    a, b, c, d, e, f, g, i, j = h.ravel().tolist()
    determinant = a * (e * j - f * i) - b * (d * j - f * g) + c * (d * i - e * g)
    cofactors = [
        *(e * j - f * i, c * i - b * j, b * f - c * e),
        *(f * g - d * j, a * j - c * g, c * d - a * f),
        *(d * i - e * g, b * g - a * i, a * e - b * d),
    ]
    return np.array(cofactors).reshape(3, 3) / determinant


def map_points(h: Homography, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the images (M, 2) of points (M, 2) under h; NaN for points at or beyond the horizon."""
    with np.errstate(invalid="ignore", over="ignore"):
        x = points @ h[:, :2].T + h[:, 2]  # (M, 2) @ (2, 3) -> (M, 3)
        depth = np.where(x[:, 2:] < _HORIZON * abs(h[2, 2]), np.nan, x[:, 2:])
        return np.asarray(x[:, :2] / depth)


def coverage(h: Homography) -> float:
    """Return the fraction of the first picture that lies inside the second, in [0, 1], sampled on a 32 x 32 grid."""
    x, y, depth = h @ _GRID  # (3, 3) @ (3, 1024)
    # 0 <= x / depth <= 1 without the division, because alignment asks some fifty times a pair
    inside = (np.minimum(x, y) >= 0) & (np.maximum(x, y) <= depth) & (depth >= _HORIZON * abs(h[2, 2]))
    return float(np.count_nonzero(inside) / inside.size)
