"""Two pictures and a homography -> both in one frame that shows all of either, and outlines of what differs.

For people who compare the two by eye: geometry/canvas.py prepares pairs for the residual head.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dedup.geometry.canvas import Image, match_colours, warp
from dedup.geometry.homography import inverse, map_points
from dedup.types.arrays import Homography

_BEYOND = 1.0  # widths or heights of the first picture that the frame may reach beyond each of its sides
_SNAP = 0.02  # of the width or height: alignment is not more exact, so a narrower margin is not shown
_GAIN = 3  # brightness of the difference
_SIDE = 512  # pixels, longer side of the pictures in which changes are looked for
_LEVELS = 28  # grey levels by which a changed pixel lies outside the range of its neighbours in the other picture
_LEAST = 0.0005  # of the frame, area of the smallest change that is outlined
_CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])

Outline = NDArray[np.float64]  # (M, 2), corners x, y in [0, 1] of the frame


@dataclass(frozen=True)
class Overlay:
    """Two pictures in one frame, (H, W, 3) uint8 each; grey stripes where a picture does not reach.

    difference: (H, W, 3) uint8, black where both are equal.   changes: outlines of the parts that differ by more than
    one change of colours and recompression.
    """

    first: Image
    second: Image
    difference: Image
    changes: list[Outline]


def draw_overlay(a: Image, b: Image, transform: Homography, *, longest: int) -> Overlay:
    """Return both pictures in the frame of A, widened to show all of B. transform: A -> B. longest: pixels."""
    left, top, right, bottom = _frame(transform)
    width, height = right - left, bottom - top
    # B may have more pixels than A in the shared part: the frame keeps the finer resolution
    finer = np.sqrt(abs(np.linalg.det(transform[:2, :2])) * b.shape[0] * b.shape[1] / (a.shape[0] * a.shape[1]))
    pixels = np.array([width * a.shape[1], height * a.shape[0]]) * max(1.0, finer)
    frame_width, frame_height = np.maximum(1, (pixels * min(1.0, longest / pixels.max())).round()).astype(int).tolist()
    to_a = np.array([[width, 0, left], [0, height, top], [0, 0, 1]])  # frame -> A
    size = (frame_width, frame_height)
    (first, in_a), (second, in_b) = warp(a, to_a, size), warp(b, transform @ to_a, size)
    both = in_a & in_b
    difference = cv2.convertScaleAbs(cv2.absdiff(first, second), alpha=_GAIN)
    stripes = _stripes(frame_height, frame_width)
    shown = [np.where(inside[..., None], x, stripes) for x, inside in ((first, in_a), (second, in_b))]
    return Overlay(shown[0], shown[1], np.where(both[..., None], difference, stripes), _changes(first, second, both))


def _frame(transform: Homography) -> tuple[float, float, float, float]:
    """Return left, top, right, bottom of a frame around A and B, in widths and heights of A."""
    corners = map_points(inverse(transform), _CORNERS)
    if np.isnan(corners).any():  # a corner of B lies beyond the horizon
        return 0.0, 0.0, 1.0, 1.0
    low = np.clip(corners.min(0), -_BEYOND, 0.0)
    high = np.clip(corners.max(0), 1.0, 1.0 + _BEYOND)
    low[low > -_SNAP], high[high < 1 + _SNAP] = 0.0, 1.0
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _stripes(height: int, width: int) -> Image:
    """Return (H, W, 3) diagonal stripes in two greys."""
    y, x = np.mgrid[:height, :width]
    return np.repeat(np.where((x + y) // 8 % 2, 118, 138).astype(np.uint8)[..., None], 3, axis=2)


def _changes(first: Image, second: Image, both: NDArray[np.bool_]) -> list[Outline]:
    """Return the outlines of what differs after the colours of the second picture are matched to the first."""
    scale = min(1.0, _SIDE / max(first.shape[:2]))
    size = (max(1, round(first.shape[1] * scale)), max(1, round(first.shape[0] * scale)))
    a, b = (cv2.GaussianBlur(cv2.resize(x, size, interpolation=cv2.INTER_AREA), (0, 0), 1.0) for x in (first, second))
    inside = cv2.resize(both.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    b = match_colours(b, a, inside)
    inside = cv2.erode(inside.astype(np.uint8), np.ones((9, 9), np.uint8), borderValue=1) > 0  # not the edges of either
    changed = (np.maximum(_outside(a, b), _outside(b, a)) > _LEVELS) & inside
    # small gaps are closed, so that the letters of a caption are one outline
    mask = cv2.morphologyEx(changed.astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((13, 13), np.uint8))
    mask = cv2.dilate(mask, np.ones((5, 5), np.uint8))
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_TC89_KCOS)
    large = [c for c in contours if cv2.contourArea(c) > _LEAST * mask.size]
    return [(c[:, 0] + 0.5) / size for c in large]


def _outside(image: Image, other: Image) -> NDArray[np.uint8]:
    """Return (H, W), by how many levels each pixel lies outside the range of the other one within two pixels.

    An alignment that is a pixel off shifts edges; it does not take pixels out of this range.
    """
    around = np.ones((5, 5), np.uint8)
    above = cv2.subtract(image, cv2.dilate(other, around))  # saturates at 0
    below = cv2.subtract(cv2.erode(other, around), image)
    return np.asarray(cv2.max(above, below).max(2))


def encode_jpeg(image: Image, *, quality: int = 88) -> bytes:
    """Return the picture (H, W, 3) as a JPEG."""
    done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return data.tobytes()
