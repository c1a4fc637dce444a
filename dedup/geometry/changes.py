"""Two aligned pictures of one size -> the places where one shows something else than the other.

The source is brought to the tone and the sharpness of the target. What remains is compared with what usually remains in
this pair at places of equal texture, because compression leaves more where there is more texture; a place that has far
more is a change of content. Measures are taken in cells of a few pixels: squares of the residual (text, edges), its
mean over nine cells (things laid over, which compression does not make), and the difference of colour.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from dedup.geometry.fine import cells, cells_inside, largest_sum, size_of
from dedup.geometry.least_squares import robust_factors
from dedup.geometry.tone import Image, Mask, Plane, Tone, luma

_SMALL_CELL, _CELL = 2, 4  # pixels
_LARGE = 420  # pixels, the longer side from which cells are the larger ones
_BANDS = (3, 7, 15)  # pixels, windows between which sharpness is matched
_SAMPLES = 15000
_FEWEST = 16  # cells
_MOST = 5.0  # that a cell adds
_TEXTURES = (0.2, 0.4, 0.6, 0.75, 0.87, 0.95)  # quantiles between which the usual residual is measured
# Of each measure: how much is nothing (grey levels), and how much of the texture a loss of quality can take at most.
_MEASURES = {"square": (8.0, 0.5), "near": (6.0, 0.25), "colour": (8.0, 0.25)}
_SAME = 1.5  # grey levels, the median difference up to which two pictures have one tone
_TIMES = 3.0  # the usual residual, from which it is unusual


@dataclass(frozen=True)
class Changes:
    """How strongly two pictures differ, in brightness and in colour alone: the largest sum over adjacent cells.

    A cell adds what it has above the most that quality explains, in multiples of it, and 5 at most.
    """

    content: float
    colour: float


def hardly_differ(target: Image, source: Image, inside: Mask) -> bool:
    """Return whether two pictures are so alike that no tone and no sharpness need to be matched to see no change."""
    cell = _cell_of(target)
    ok = cells_inside(inside, cell)
    if ok.sum() < _FEWEST:
        return False
    small_target, small_source = (cells(image, cell).astype(np.int16) for image in (target, source))
    difference = small_target - small_source
    if np.median(np.abs(difference)[ok]) > _SAME:
        return False
    bright, predicted = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) for image in (target, source))
    return _largest_changes(bright, predicted, difference.astype(np.float32), 1, inside, ok, cell) == Changes(0.0, 0.0)


def _cell_of(image: Image) -> int:
    return _CELL if max(image.shape[:2]) >= _LARGE else _SMALL_CELL


def find_changes(target: Image, source: Image, toned: Plane, tone: Tone, inside: Mask) -> Changes:
    """Return how strongly the target differs from the source, two pictures of a size, where the mask is set.

    tone: from the source to the target.   toned: the luminance of the source after it.
    """
    cell = _cell_of(target)
    ok = cells_inside(inside, cell)
    if ok.sum() < _FEWEST:
        return Changes(0.0, 0.0)
    small_target, small_source = (cells(image, cell) for image in (target, source))
    coloured, more = tone.apply(small_source), tone.refinement(small_source, small_target, ok)
    bright = luma(target)
    predicted = _sharpness_matched(toned + cv2.resize(luma(more), size_of(target)), bright, inside)
    amplified = tone.amplification(small_source)
    return _largest_changes(bright, predicted, small_target - (coloured + more), amplified, inside, ok, cell)


def _largest_changes(
    bright: Plane,
    predicted: Plane,
    difference: NDArray[np.float32],
    amplified: Plane | int,
    inside: Mask,
    ok: Mask,
    cell: int,
) -> Changes:
    """Return the changes between two planes (H, W). difference: of the colours of cells (h, w, 3), where ok is set.

    amplified: (h, w) or one number, by what the tone between the pictures amplifies differences.
    """
    residual = bright - predicted
    mean, square = (cells(x * inside, cell) for x in (residual, residual * residual))
    textures = [plane - cv2.blur(plane, (7, 7)) for plane in (bright, predicted)]  # what is laid over is in one
    power = np.minimum(*(cells(texture * texture * inside, cell) for texture in textures))
    colour = (difference - luma(difference)[..., None]) * ok[..., None]
    measures = {
        "square": np.sqrt(square * ok),
        "near": np.abs(cv2.blur(mean * ok, (3, 3))),
        "colour": np.sqrt(np.square(cv2.blur(colour, (3, 3))).sum(2)),
    }
    measures = {name: measure / amplified for name, measure in measures.items()}
    strength = np.sqrt(np.maximum(cv2.blur(power, (3, 3)), 0))
    order = np.flatnonzero(ok)[np.argsort(strength[ok])]
    by_strength = np.split(order, [int(share * len(order)) for share in _TEXTURES])
    excess = {name: _excess(measure, strength, by_strength, *_MEASURES[name]) for name, measure in measures.items()}
    excess = {name: values * ok for name, values in excess.items()}
    return Changes(largest_sum(np.maximum(excess["square"], excess["near"])), largest_sum(excess["colour"]))


def _sharpness_matched(source: Plane, target: Plane, inside: Mask) -> Plane:
    """Return the source with its bands of detail amplified or damped as in the target, by robust least squares."""
    blurred = [source, *(cv2.blur(source, (n, n)) for n in _BANDS)]
    bands = [finer - coarser for finer, coarser in pairwise(blurred)]
    rows = np.flatnonzero(inside.ravel())
    rows = rows[:: max(1, len(rows) // _SAMPLES)]
    x, y = np.stack([band.ravel()[rows] for band in bands], axis=1), (target - blurred[-1]).ravel()[rows]

    def weigh(errors: NDArray[np.float32]) -> NDArray[np.float32]:
        usual = max(2 * float(np.median(np.abs(errors))), 1.0)
        return np.asarray(1 / (1 + np.square(errors / usual)), np.float32)

    gains = robust_factors(x, y, np.eye(len(bands)) * len(rows) * 0.5, weigh)
    matched = blurred[-1]
    for gain, band in zip(gains, bands, strict=True):
        matched = matched + np.float32(gain) * band
    return np.asarray(np.clip(matched, 0, 255), np.float32)


def _excess(measure: Plane, texture: Plane, by_texture: list[NDArray[np.int64]], floor: float, largest: float) -> Plane:
    """Return how much a measure is above the most that is usual at places of equal texture, in multiples of that.

    Values are limited to [0, 5]. by_texture: the numbers of cells, the plainest first, in parts.
    """
    values, textures = measure.ravel(), texture.ravel()
    at = np.array([textures[part[len(part) // 2]] for part in by_texture])
    usual = np.array([np.median(values[part]) for part in by_texture])
    plain = min(usual[0], float(np.median(values[np.concatenate(by_texture)])))  # a plain part may cover much
    limited = np.minimum(usual, plain + largest * at)
    expected = np.interp(textures, at, np.maximum.accumulate(limited)).reshape(texture.shape)
    return np.asarray(np.clip(measure / (_TIMES * expected + floor) - 1, 0, _MOST), np.float32)
