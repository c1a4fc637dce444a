"""A picture and one with more pixels -> whether the larger one is only an enlargement of the smaller one."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL.Image import Resampling, fromarray

from dedup.geometry.fine import size_of
from dedup.geometry.tone import Plane, luma
from dedup.geometry.traces import BLOCK, Decoded, quantised
from dedup.types.arrays import Homography

_WAYS = Resampling.BILINEAR, Resampling.HAMMING, Resampling.BICUBIC, Resampling.LANCZOS
_SIDE, _FEWEST = 256, 6  # pixels, of the part that is looked at; blocks on a side of it
_LARGER = 1.05  # pixels per pixel of the small picture, along both axes: a squashed picture has as many along one
_STRAIGHT = 1.0  # pixels, by which the sides may be out of line
# Share of what lies beyond the resolution of the small picture. Of 120 photos and soft pictures beside their small
# copies none had less than 0.17, and of their enlargements 97 in 100 had less than 0.15.
_UNEXPLAINED, _UNEXPLAINED_OF_SOFT = 0.33, 0.15


def is_interpolated(small: Decoded, large: Decoded, there: Homography, *, soft: bool = False) -> bool:
    """Return whether a picture with more pixels was made from one with fewer by interpolation.

    The small picture is enlarged as programs do it, and saved as the large one was. Of an enlargement that explains
    most of what lies beyond the resolution of the small picture; of the source of the small picture it explains little.
    there: pixels of the small picture -> pixels of the large one.   soft: the large picture has hardly any detail; then
    more must be explained, since much of it is what its own saving left.
    """
    frame, h = luma(small.image), there / there[2, 2]
    steps, shift = h[:2, :2], h[:2, 2]
    if np.abs(np.diag(steps)).sum() < np.abs(steps).sum() / 2:
        frame, steps = frame.T, steps[:, ::-1]
    for axis, n in enumerate(frame.shape[::-1]):
        if steps[axis, axis] < 0:
            frame, shift = np.flip(frame, 1 - axis), shift + steps[:, axis] * (n - 1)
            steps = steps * np.where(np.arange(2) == axis, -1, 1)
    size, scale = np.array(frame.shape[::-1]), np.diag(steps)
    if np.abs((steps - np.diag(scale)) @ size).max() > _STRAIGHT or scale.min() < _LARGER:
        return False
    start = shift + 0.5 - scale / 2  # of the small picture, in pixels of the large one
    first = np.ceil(np.maximum(start, 0) / BLOCK)
    last = np.floor(np.minimum(start + scale * size, size_of(large.image)) / BLOCK)
    blocks = np.minimum(last - first, _SIDE // BLOCK)
    if blocks.min() < _FEWEST:
        return False
    low, side = (first + (last - first - blocks) // 2) * BLOCK, blocks * BLOCK
    left, top, width, height = (int(n) for n in (*low, *side))
    part = luma(np.ascontiguousarray(large.image[top : top + height, left : left + width]))
    box = (*((low - start) / scale), *((low + side - start) / scale))
    pixels = fromarray(np.ascontiguousarray(frame))
    enlarged = [np.asarray(pixels.resize((width, height), way, box=box), np.float32) for way in _WAYS]
    if large.steps is not None:
        enlarged += [quantised(plane, large.steps) for plane in enlarged]
    least = (_UNEXPLAINED_OF_SOFT if soft else _UNEXPLAINED) * _beyond(part, scale)
    return any(_beyond(part - plane, scale) < least for plane in enlarged)


def _beyond(plane: Plane, scale: NDArray[np.float64]) -> float:
    """Return the mean square of what a picture has beyond the resolution of one with fewer pixels, without its rim.

    scale: (2,), pixels per pixel of that one, across and down.
    """
    small = max(2, round(plane.shape[1] / scale[0])), max(2, round(plane.shape[0] / scale[1]))
    coarse = cv2.resize(plane, small, interpolation=cv2.INTER_AREA)
    beyond = plane - cv2.resize(coarse, size_of(plane), interpolation=cv2.INTER_CUBIC)
    return float(np.square(beyond[8:-8, 8:-8]).mean())
