"""Two aligned pictures of one size -> whether a part of one is blurred or pixelated in the other: a face, a plate.

Detail that both show correlates. Where it does not, although it does in places of as much detail elsewhere, it is
missing in a part: saving at a low quality, a blur and noise take detail of this strength everywhere.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dedup.geometry.fine import cells, cells_inside, largest_sum
from dedup.geometry.tone import Mask, Plane

_CELL, _SMALL_CELL, _LARGE = 8, 4, 840  # pixels; the longer side from which cells are the larger ones
_WINDOWS = (7, 15)  # pixels: what is finer is detail
_FAINT = 2.5  # grey levels, the deviation of detail that does not count
_FEWEST, _PARTS = 16, 5  # cells; parts of equal detail, each of which has its usual share
_USUAL = 0.6  # share of the detail that the other picture usually shows, too
_LOST = 0.5  # of what is usual, below which it is lost
_MISSED = 55.0  # grey levels, the sum over adjacent cells of the detail that is lost


def blurred_parts(one: Plane, other: Plane, inside: Mask) -> tuple[bool, bool]:
    """Return whether detail of the first picture is missing in a part of the second, and the other way round.

    one, other: luminance in one tone, (H, W), aligned. inside: where they are compared.
    """
    side = _CELL if max(one.shape) >= _LARGE else _SMALL_CELL
    ok = cells_inside(inside, side)
    if ok.sum() < _FEWEST:
        return False, False
    shown = inside.astype(np.float32)
    planes = one * shown, other * shown
    missed = np.zeros(2)
    for window in _WINDOWS:
        weight = shown / np.maximum(cv2.blur(shown, (window, window)), 1e-3)  # so that only what is inside counts
        mine, its = (plane - cv2.blur(plane, (window, window)) * weight for plane in planes)
        common, *own = (_around(cells(x * y, side), ok) for x, y in ((mine, its), (mine, mine), (its, its)))
        missed = np.maximum(missed, [_missed(power, common, ok) for power in own])
    return bool(missed[0] > _MISSED), bool(missed[1] > _MISSED)


def _around(values: NDArray[np.float32], ok: Mask) -> NDArray[np.float32]:
    """Return the mean of each cell and the eight around it, of those that are compared."""
    count = cv2.blur(ok.astype(np.float32), (3, 3))
    return np.asarray(cv2.blur(values * ok, (3, 3)) / np.maximum(count, 1e-3), np.float32)


def _missed(power: NDArray[np.float32], common: NDArray[np.float32], ok: Mask) -> float:
    """Return the most detail that is lost in adjacent cells.

    power: the squares of the detail of a picture.   common: its products with that of the other one.
    """
    strength = np.sqrt(np.maximum(power, 0))
    there = ok & (strength > _FAINT)
    if there.sum() < _FEWEST:
        return 0.0
    shown = common / np.maximum(power, 1e-3)  # the slope of the other picture's detail from this one's
    strengths, shares = strength[there], shown[there]
    parts = np.array_split(np.argsort(strengths), min(_PARTS, len(strengths) // _FEWEST))
    at, usual = ([float(np.median(values[part])) for part in parts] for values in (strengths, shares))
    expected = np.minimum(np.interp(strength, at, usual), 1)
    lost = there & (shown < _LOST * expected) & (expected > _USUAL)
    share = np.maximum(shown, 0) / np.maximum(expected, _USUAL)
    return largest_sum((strength - _FAINT) * (1 - share) * lost)
