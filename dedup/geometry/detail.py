"""Two aligned pictures -> which of them resolves more, and whether the larger one is an enlargement.

The contrast of fine, middle and coarse detail is compared, band by band. A blur takes the more the finer the band, so
that the ratio of the two pictures changes from band to band; sharpening amplifies all bands alike and adds nothing.
What the plainest places hold is noise, and taken off. Noise that was added is nearly all in the finest band, by which
it is told from detail.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dedup.geometry.fine import Size, shrink, size_of
from dedup.geometry.homography import map_points
from dedup.geometry.tone import Image, Mask, Plane, luma
from dedup.types.arrays import Homography

_CELL = 8  # pixels
_WINDOWS = (3, 7, 15)  # pixels, between which the bands lie
_FEWEST = 16  # cells
_PLAIN = 0.1  # quantile of the energies, that of the plainest places
_NOTHING = 0.5  # squared grey levels, added to all energies
_BLURRED = 1.5  # change of the ratio of two pictures from one band to the next
_ENLARGED = 1.25  # the same, where the other picture has more pixels and nothing in them
_SHARPENED = 1.33  # ratio in the middle band
_ALIKE = 1.15  # change of the ratio from one band to the next when both are amplified
_DENSER = 1.1  # linear pixels of one picture per pixel of the other, from which it may resolve more
_EQUAL = 1.03  # the same, up to which the alignment does not tell
_EMPTY = 0.38  # contrast beyond the other's resolution, as a share of that of the next band, that is none
_NOISE = 4.0  # grey levels, of the finest band
_SOFT_CELL = 16  # pixels, in which sharpness is compared
_SOFTER = 0.6  # sharpness of a picture, as a share of another's, below which it is a blurred version
_SIGMAS = (0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6)  # pixels
_EVERYWHERE = 0.3  # share of the energy of noise that the plainest places have too
_WHITE = 5.0  # times the energy that white noise has at least in the finest band beside the next one; exactly 9.8


@dataclass(frozen=True)
class Detail:
    """What the frame (the picture with fewer pixels) resolves beside the other one, drawn into it.

    sharper: the frame resolves more where both are.   blurred: the other one does.   enlarged: the other one has more
    pixels than the frame, but no more detail.   equal: both have as many, and as much.   sharpened, noisier: signs of
    which is so, the frame (-1), the other one (1), or neither (0). Added noise is no detail.
    """

    sharper: bool
    blurred: bool
    enlarged: bool
    equal: bool
    sharpened: int
    noisier: int


def compare_detail(frame: Image, drawn: NDArray[np.float32], inside: Mask, other: Image, there: Homography) -> Detail:
    """Return the comparison of two pictures of a size, where the mask is set.

    drawn: the other picture in the size and the tone of the frame.   there: pixels of the frame -> pixels of `other`.
    """
    grid = _grid(size_of(frame))
    ok = shrink(inside.astype(np.float32), grid) > 0.99
    if ok.sum() < _FEWEST:
        return Detail(False, False, False, False, 0, 0)
    mine, its = (_energies(luma(image), grid, ok) for image in (frame, drawn))  # (3, M) each
    noisier = _noisier(mine, its)
    ratios = np.sqrt(_detail(mine) / _detail(its))  # fine, middle, coarse
    steps = ratios[:-1] / ratios[1:]
    empty = _is_enlarged(other, there, size_of(frame))
    sharper = bool(steps.max() > (_ENLARGED if empty else _BLURRED)) and noisier >= 0
    blurred = bool(steps.min() < 1 / _BLURRED) and noisier <= 0 and not sharper
    return Detail(
        sharper,
        blurred,
        empty or (sharper and _density(there) > 1),
        1 / _EQUAL < _density(there) < _EQUAL and not sharper and not blurred,
        _sharpened(ratios),
        noisier,
    )


def blur_between(source: Image, target: Image, inside: Mask) -> float:
    """Return the sigma in pixels of the Gaussian blur after which the source is as soft as the target; 0 for none.

    The sharper places of the target decide, so that a part of it that was blurred does not.
    """
    grid = max(2, source.shape[1] // _SOFT_CELL), max(2, source.shape[0] // _SOFT_CELL)
    ok = shrink(inside.astype(np.float32), grid) > 0.99
    plane = luma(source)
    wanted, coarse = _sharpness(luma(target), grid)
    sharp, structure = _sharpness(plane, grid)
    ok &= (structure > 2) & (coarse > 2)
    if ok.sum() < _FEWEST:
        return 0.0

    def ratio(sharpness: NDArray[np.float32]) -> float:
        return float(np.quantile(wanted[ok] / np.maximum(sharpness[ok], 1e-3), 0.7))

    if ratio(sharp) > _SOFTER:
        return 0.0
    ratios = [ratio(_sharpness(cv2.GaussianBlur(plane, (0, 0), sigma), grid)[0]) for sigma in _SIGMAS]
    return float(np.interp(0.0, np.log(ratios), _SIGMAS))


def _sharpness(plane: Plane, grid: Size) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the contrast of fine detail as a share of that of coarse detail, by cell, and the latter."""
    fine = shrink(np.abs(plane - cv2.blur(plane, (3, 3))), grid)
    coarse = shrink(np.abs(cv2.blur(plane, (9, 9)) - cv2.blur(plane, (33, 33))), grid)
    return np.asarray(fine / (coarse + 1)), np.asarray(coarse)


def _grid(size: Size) -> Size:
    return max(2, size[0] // _CELL), max(2, size[1] // _CELL)


def _energies(plane: Plane, grid: Size, ok: Mask) -> NDArray[np.float32]:
    """Return (3, M), the mean squares of fine, middle and coarse detail in each cell of the mask."""
    found = []
    for window in _WINDOWS:
        coarser = cv2.blur(plane, (window, window))
        band = plane - coarser
        found.append(shrink(band * band, grid)[ok])
        plane = coarser
    return np.asarray(found, np.float32)


def _detail(energies: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return (3,), the mean energy of each band, less that of the plainest places."""
    return np.array([max(float(e.mean() - np.quantile(e, _PLAIN)), 0.0) + _NOTHING for e in energies])


def _sharpened(ratios: NDArray[np.float64]) -> int:
    """Return -1 if the first picture was sharpened, 1 if the second one was, otherwise 0."""
    fine, middle, _ = ratios
    if middle > _SHARPENED and fine < _ALIKE * middle:
        return -1
    return int(middle < 1 / _SHARPENED and middle < _ALIKE * fine)


def _noisier(mine: NDArray[np.float32], its: NDArray[np.float32]) -> int:
    """Return -1 if noise was added to the first, 1 if to the second picture, otherwise 0."""
    fine, middle, _ = its.mean(1) - mine.mean(1)
    plain = float(np.quantile(its[0], _PLAIN) - np.quantile(mine[0], _PLAIN))
    if abs(fine) < _NOISE**2 or abs(fine) < _WHITE * abs(middle) or plain / fine < _EVERYWHERE:
        return 0
    return 1 if fine > 0 else -1


def _density(there: Homography) -> float:
    return float(np.sqrt(abs(np.linalg.det((there / there[2, 2])[:2, :2]))))


def _is_enlarged(other: Image, there: Homography, frame: Size) -> bool:
    """Return whether a picture has next to nothing beyond the resolution of a frame with fewer pixels."""
    density = _density(there)
    if density < _DENSER:
        return False
    corners = map_points(there, np.array([[0, 0], [frame[0], 0], [frame[0], frame[1]], [0, frame[1]]], np.float64))
    left, top = np.maximum(np.floor(np.nanmin(corners, axis=0)), 0).astype(int).tolist()
    right, bottom = np.minimum(np.ceil(np.nanmax(corners, axis=0)), size_of(other)).astype(int).tolist()
    part = luma(other[top:bottom, left:right])
    small = max(2, round(part.shape[1] / density)), max(2, round(part.shape[0] / density))
    beyond: Plane = part - cv2.resize(shrink(part, small), size_of(part), interpolation=cv2.INTER_CUBIC)
    window = 2 * round(1.5 * density) + 1
    next_band = part - cv2.blur(part, (window, window))
    squares = [shrink(band * band, _grid(size_of(part))) for band in (beyond, next_band)]
    fine, coarse = (max(float(e.mean() - np.quantile(e, _PLAIN)), 0.0) for e in squares)
    share = np.sqrt((fine + 0.2) / (coarse + 0.2) / min(1.0, np.log2(density)))
    return bool(share < _EMPTY)
