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

from dedup.geometry.fine import Size, cells, cells_inside, shrink, size_of
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
# The same, where it has more pixels and this one may have been sharpened; where it has something in them, too.
_MUCH_BLURRED, _VERY_MUCH = 1.75, 2.2
_SHARPENED = 1.33  # ratio in the middle band
_AMPLIFIED = 1.12  # ratio in the finer bands, from which it is tried what filters explain
_FILTER = (0.5, 0.7, 1.0, 1.5, 2.2, 3.2)  # pixels, sigmas of the Gaussians of which a sharpening filter is made
_PART = 512  # pixels, the side of the part that it is fitted to
_SAMPLES, _LARGEST = 20000, 30.0  # pixels that it is fitted to; grey levels, as which larger errors count
# Shares of the difference of two pictures that no filter explains, of the sharper one: at most, where it was sharpened,
# and how many times that of the softer one; how many times where it is more than a little; at least, where noise was
# added to it.
_FILTERED, _TIMES, _LITTLE, _FEW_TIMES, _ADDED = 0.65, 4.5, 0.3, 2.7, 0.97
_FAINT = 5.0  # squared grey levels, a difference that saving may make
_ALIKE = 1.15  # change of the ratio from one band to the next when both are amplified
DENSER = 1.1  # linear pixels of one picture per pixel of the other, from which it may resolve more
_EQUAL = 1.03  # the same, up to which the alignment does not tell
_EMPTY, _THIN = 0.38, 0.55  # contrast beyond the other's resolution that is none; that a blurred enlargement may have
_CLIPPED, _SHOWN = 5.0, 0.1  # grey levels from black and white; share of the cells that tells of noise
_NOISE = 4.0  # grey levels, of the finest band
_SOFT_CELL = 16  # pixels, in which sharpness is compared
_SOFTER = 0.8  # sharpness of a picture, as a share of another's, below which it is a blurred version
_SIGMAS = (0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6)  # pixels
_BETWEEN = (0.84, 1.19)  # of them, tried too
_EVERYWHERE = 0.3  # share of the energy of noise that the plainest places have too
_LESS_NOISE, _LESS_WHITE, _SOMEWHERE = 1.5, 3.0, 0.1  # the same where nothing else explains the noise
_WHITE = 5.0  # times the energy that white noise has at least in the finest band beside the next one; exactly 9.8


@dataclass(frozen=True)
class Detail:
    """What the frame (the picture with fewer pixels) resolves beside the other one, drawn into it.

    sharper: the frame resolves more where both are, or is what the other one was enlarged from. blurred: the other one
    does. enlarged: the other one has more pixels than the frame, but no more detail. equal: both have as many, and as
    much. sharpened, noisier: signs of which is so, the frame (-1), the other one (1), or neither (0). Added noise is no
    detail.
    """

    sharper: bool
    blurred: bool
    enlarged: bool
    equal: bool
    sharpened: int
    noisier: int

    @property
    def softer(self) -> int:
        """Which of them is the softer one, as a sign; 0 if neither is."""
        return -1 if self.blurred else int(self.sharper)


def compare_detail(frame: Image, drawn: Plane, inside: Mask, other: Image, there: Homography) -> Detail:
    """Return the comparison of two pictures of a size, where the mask is set.

    drawn: the luminance of the other picture in the size and the tone of the frame.
    there: pixels of the frame -> pixels of `other`.
    """
    ok = cells_inside(inside, _CELL)
    if ok.sum() < _FEWEST:
        return Detail(False, False, False, False, 0, 0)
    bright = luma(frame)
    mine, its = (_energies(plane, ok) for plane in (bright, drawn))  # (3, M) each
    density = linear_density(there)
    shown = _not_clipped(bright, drawn, ok)
    noisier = _noisier(mine[:, shown], its[:, shown])
    ratios = np.sqrt(_detail(mine) / _detail(its))  # fine, middle, coarse
    steps = ratios[:-1] / ratios[1:]
    part = _shared_part(other, there, size_of(frame)) if density >= DENSER else None
    finer = _finest_share(part, density) if part is not None else 1.0
    empty = finer < _EMPTY
    if part is None:
        sharper = noisier >= 0 and bool(steps.max() > _BLURRED)
    else:
        sharper = _resolves_more(steps, noisier, finer, bright, drawn)
    blurred = bool(steps.min() < 1 / _BLURRED) and noisier <= 0 and not sharper
    same_size, sharpened = 1 / _EQUAL < density < _EQUAL, _sharpened(ratios)
    amplified = max(ratios[:2].max(), 1 / ratios[:2].min()) > _AMPLIFIED
    if same_size and (amplified or abs(mine[0].mean() - its[0].mean()) > _LESS_NOISE**2):
        found = _by_filters(bright, drawn, mine, its)
        noisier, sharpened = noisier or found.noisier, found.sharpened or sharpened
        if noisier or found.sharpened:
            sharper = blurred = False
    return Detail(
        sharper,
        blurred,
        empty or (sharper and density > 1),
        same_size and not sharper and not blurred,
        0 if sharper or blurred else sharpened,
        noisier if density < DENSER else 0,  # what resizing smooths is no noise that was added
    )


def blur_between(source: Image, target: Image, inside: Mask) -> float:
    """Return the sigma in pixels of the Gaussian blur after which the source is nearest to the target; 0 for none.

    Half of the pixels decide, so that a part of the target that was blurred does not.
    """
    ok = cells_inside(inside, _SOFT_CELL)
    plane, goal = luma(source), luma(target)
    wanted, coarse = _sharpness(goal)
    sharp, structure = _sharpness(plane)
    ok &= (structure > 2) & (coarse > 2)
    if ok.sum() < _FEWEST or np.quantile(wanted[ok] / np.maximum(sharp[ok], 1e-3), 0.7) > _SOFTER:
        return 0.0
    rows = np.flatnonzero(inside)[:: max(1, int(inside.sum()) // _SAMPLES)]
    y = goal.ravel()[rows]

    def error(sigma: float) -> float:
        soft = cv2.GaussianBlur(plane, (0, 0), sigma) if sigma else plane
        return _after_line(soft.ravel()[rows], y)

    best, least = 0.0, error(0.0)
    for sigma in _SIGMAS:
        found = error(sigma)
        if found >= least:
            break
        best, least = sigma, found
    return min((best, *(best * factor for factor in _BETWEEN)), key=error) if best else 0.0


def _after_line(x: NDArray[np.float32], y: NDArray[np.float32]) -> float:
    """Return the median error of y after the straight line from x."""
    slope, offset = np.polyfit(x, y, 1)
    return float(np.median(np.abs(slope * x + offset - y)))


def _sharpness(plane: Plane) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the contrast of fine detail as a share of that of coarse detail, by cell, and the latter."""
    fine = cells(cv2.absdiff(plane, cv2.blur(plane, (3, 3))), _SOFT_CELL)
    coarse = cells(cv2.absdiff(cv2.blur(plane, (9, 9)), cv2.blur(plane, (33, 33))), _SOFT_CELL)
    return np.asarray(fine / (coarse + 1)), np.asarray(coarse)


def _energies(plane: Plane, ok: Mask) -> NDArray[np.float32]:
    """Return (3, M), the mean squares of fine, middle and coarse detail in each cell of the mask."""
    found = []
    for window in _WINDOWS:
        coarser = cv2.blur(plane, (window, window))
        band = plane - coarser
        found.append(cells(band * band, _CELL)[ok])
        plane = coarser
    return np.asarray(found, np.float32)


def _not_clipped(plane: Plane, other: Plane, ok: Mask) -> Mask:
    """Return (M,), which cells of the mask are black or white in neither picture; all of them if hardly any is.

    Noise does not show where it is clipped.
    """
    levels = np.stack([cells(p, _CELL)[ok] for p in (plane, other)])
    shown = np.asarray((levels > _CLIPPED).all(0) & (levels < 255 - _CLIPPED).all(0))
    return shown if shown.sum() >= max(_FEWEST, _SHOWN * len(shown)) else np.ones(len(shown), bool)


def _detail(energies: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return (3,), the mean energy of each band, less that of the plainest places."""
    return np.array([max(float(e.mean() - np.quantile(e, _PLAIN)), 0.0) + _NOTHING for e in energies])


def _sharpened(ratios: NDArray[np.float64]) -> int:
    """Return -1 if the first picture was sharpened, 1 if the second one was, otherwise 0."""
    fine, middle, _ = ratios
    if middle > _SHARPENED and fine < _ALIKE * middle:
        return -1
    return int(middle < 1 / _SHARPENED and middle < _ALIKE * fine)


@dataclass(frozen=True)
class _Found:
    """What filters tell of two pictures; see Detail."""

    sharpened: int = 0
    noisier: int = 0


def _by_filters(bright: Plane, drawn: Plane, mine: NDArray[np.float32], its: NDArray[np.float32]) -> _Found:
    """Return what was done to one of two pictures of a size, by how well a filter of each explains the other.

    A filter that sharpens is undone by another one, a blur is not, and noise that was added follows from nothing.
    mine, its: their energies.
    """
    difference = float(np.square(bright - drawn).mean())
    if difference < _FAINT:
        return _Found()
    sign = -1 if mine[0].mean() > its[0].mean() else 1  # of the sharper one
    bright, drawn = _middle(bright), _middle(drawn)
    sharp, soft = (bright, drawn) if sign < 0 else (drawn, bright)
    of_soft, of_sharp = _unexplained(sharp, soft), _unexplained(soft, sharp)
    if of_sharp < _FILTERED and of_sharp < (_TIMES if of_sharp < _LITTLE else _FEW_TIMES) * of_soft:
        return _Found(sharpened=sign)
    if of_sharp >= _ADDED and _noisier(mine, its, strict=False) == sign:
        return _Found(noisier=sign)
    return _Found()


def _resolves_more(steps: NDArray[np.float64], noisier: int, finer: float, frame: Plane, drawn: Plane) -> bool:
    """Return whether the frame resolves more than a picture with more pixels, drawn into it.

    steps: changes of the ratio of both from one band to the next.   finer: see _finest_share(), of the other picture.
    """
    most, smooth = float(steps.max()), bool(steps[1] > _ALIKE)  # noise is in the finest band alone
    empty, thin = finer < _EMPTY, finer < _THIN
    if empty and not smooth:  # no small copy that was sharpened looks so
        return noisier >= 0 and most > _ENLARGED
    if noisier < 0 and not smooth:
        return False
    if most > (_MUCH_BLURRED if thin else _VERY_MUCH):
        return True
    return thin and most > (_ENLARGED if empty else _BLURRED) and _is_blurred(drawn, frame)


def _is_blurred(plane: Plane, sharp: Plane) -> bool:
    """Return whether a filter makes one picture of a sharper one far better than the other way round."""
    plane, sharp = _middle(plane), _middle(sharp)
    return _unexplained(plane, sharp) > _TIMES * _unexplained(sharp, plane)


def _middle(plane: Plane) -> Plane:
    """Return the part of a picture that filters are fitted to."""
    top, left = (max(0, (n - _PART) // 2) for n in plane.shape)
    return plane[top : top + _PART, left : left + _PART]


def _unexplained(source: Plane, target: Plane) -> float:
    """Return the share of the difference of two pictures that no sum of blurs of the source explains, by least squares.

    Differences count as at most _LARGEST.
    """
    softer = [source, *(cv2.GaussianBlur(source, (0, 0), sigma) for sigma in _FILTER)]
    rows = slice(None, None, max(1, source.size // _SAMPLES))
    terms = np.stack([(plane - softer[-1]).ravel()[rows] for plane in softer[:-1]], axis=1)
    wanted, difference = (target - softer[-1]).ravel()[rows], (target - source).ravel()[rows]
    ridge = np.eye(terms.shape[1]) * len(wanted) * 1e-3
    missing = wanted - terms @ np.linalg.solve(terms.T @ terms + ridge, terms.T @ wanted)
    rest, whole = (
        float(np.square(np.clip(x, -_LARGEST, _LARGEST)).mean()) for x in (missing, difference - difference.mean())
    )
    return rest / max(whole, _NOTHING)


def _noisier(mine: NDArray[np.float32], its: NDArray[np.float32], *, strict: bool = True) -> int:
    """Return -1 if noise was added to the first, 1 if to the second picture, otherwise 0."""
    least, white, everywhere = (_NOISE, _WHITE, _EVERYWHERE) if strict else (_LESS_NOISE, _LESS_WHITE, _SOMEWHERE)
    fine, middle, _ = its.mean(1) - mine.mean(1)
    plain = float(np.quantile(its[0], _PLAIN) - np.quantile(mine[0], _PLAIN))
    if abs(fine) < least**2 or abs(fine) < white * abs(middle) or plain / fine < everywhere:
        return 0
    return 1 if fine > 0 else -1


def linear_density(there: Homography) -> float:
    """Return the linear pixels that an affine map of pixels makes of each pixel."""
    return float(np.sqrt(abs(np.linalg.det((there / there[2, 2])[:2, :2]))))


def _shared_part(other: Image, there: Homography, frame: Size) -> Plane:
    """Return the luminance of what a picture shows of a frame, in its own pixels."""
    corners = map_points(there, np.array([[0, 0], [frame[0], 0], [frame[0], frame[1]], [0, frame[1]]], np.float64))
    left, top = np.maximum(np.floor(np.nanmin(corners, axis=0)), 0).astype(int).tolist()
    right, bottom = np.minimum(np.ceil(np.nanmax(corners, axis=0)), size_of(other)).astype(int).tolist()
    return luma(other[top:bottom, left:right])


def _finest_share(part: Plane, density: float) -> float:
    """Return the contrast of what a picture has beyond the resolution of one with fewer pixels, as a share of that of
    the next band.
    """
    small = max(2, round(part.shape[1] / density)), max(2, round(part.shape[0] / density))
    beyond: Plane = part - cv2.resize(shrink(part, small), size_of(part), interpolation=cv2.INTER_CUBIC)
    window = 2 * round(1.5 * density) + 1
    next_band = part - cv2.blur(part, (window, window))
    squares = [cells(band * band, _CELL) for band in (beyond, next_band)]
    fine, coarse = (max(float(e.mean() - np.quantile(e, _PLAIN)), 0.0) for e in squares)
    return float(np.sqrt((fine + 0.2) / (coarse + 0.2) / min(1.0, np.log2(density))))
