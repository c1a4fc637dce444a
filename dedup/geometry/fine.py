"""A homography that is nearly right -> one picture drawn onto the other, to a fraction of a pixel.

First the homography itself is refined, then what it cannot express (a lens, paper that is not flat, a scan line) is
followed by a smooth field of displacements. Both are Gauss-Newton steps on the differences of brightness (Lucas and
Kanade 1981; Baker and Matthews 2004), with weights that fall with the difference, so that what was changed in a part of
a picture does not pull the rest. The windows are a tenth of the picture: an object that was moved stays moved.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dedup.geometry.homography import inverse
from dedup.geometry.tone import Image, Mask, Plane, Tone, common_tones, luma
from dedup.types.arrays import Homography

_SIDE, _MIDDLE = 240, 640  # pixels, the longer sides on which displacements are measured
_STEPS = 4  # of the homography
_AROUND, _FLAT = 0.17, 4.0  # of the longer side, around a pixel; squared grey levels, a contrast that tells nothing
_STILL = 0.03  # pixels; a smaller step ends it
_FLOW_STEPS = {80: 3, _SIDE: 3, _MIDDLE: 1}  # pixels of the longer side: steps
_LARGEST_STEP = 2.0  # pixels, of the field
_WORTHWHILE = 0.15  # pixels; a smaller displacement is not drawn
_LARGEST_ERROR = 40.0  # grey levels
_DENSE = 1.3  # pixels per pixel of the canvas, above which a picture is averaged before it is drawn
Size = tuple[int, int]  # width, height in pixels


def size_of(image: NDArray[np.generic]) -> Size:
    return image.shape[1], image.shape[0]


def within(size: Size, side: int) -> Size:
    """Return the size of the picture with its longer side brought down to this many pixels."""
    factor = max(1.0, max(size) / side)
    return max(8, round(size[0] / factor)), max(8, round(size[1] / factor))


def shrink(image: NDArray[Any], size: Size) -> NDArray[Any]:
    """Return the picture averaged down to a size."""
    while (
        size_of(image)[0] >= 2 * size[0]
        and size_of(image)[1] >= 2 * size[1]
        and not any(n % 2 for n in image.shape[:2])
    ):
        image = np.asarray(cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))  # ten times as fast
    if size_of(image) == size:
        return image
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))


def cells(image: NDArray[Any], side: int) -> NDArray[Any]:
    """Return the means of cells of so many pixels a side, without those at the right and the bottom that are cut."""
    width, height = (max(1, n // side) for n in size_of(image))
    whole = image[: height * side, : width * side]
    return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA))


def cells_inside(mask: Mask, side: int) -> Mask:
    """Return which cells of so many pixels a side lie inside a mask."""
    return np.asarray(cells(mask.astype(np.uint8) * 255, side) > 252)


def largest_sum(values: NDArray[np.floating[Any]]) -> float:
    """Return the largest sum of values above 0 that are connected; 0 if there are none."""
    count, labels = cv2.connectedComponents((values > 0).astype(np.uint8), connectivity=8)
    if count < 2:
        return 0.0
    return float(np.bincount(labels.ravel(), weights=values.ravel())[1:].max())


def pixels_of_unit(size: Size) -> Homography:
    """Return the map of the unit square to pixels, whose centres are at integers."""
    return np.array([[size[0], 0, -0.5], [0, size[1], -0.5], [0, 0, 1]], np.float64)


def rescaled(start: Size, end: Size) -> Homography:
    """Return the map of the pixels of a picture to those of the same picture in another size."""
    return np.asarray(pixels_of_unit(end) @ inverse(pixels_of_unit(start)))


def draw(image: Image, h: Homography, size: Size, *, smooth: bool = True) -> tuple[Image, Mask]:
    """Return a picture drawn onto a canvas of this size, and where it covers it. h: pixels of the canvas -> its own."""
    image, h = _averaged(image, h)
    if size_of(image) == size and np.abs(h / h[2, 2] - np.eye(3)).max() < 1e-3:
        return image, np.ones(size[::-1], bool)
    way = (cv2.INTER_CUBIC if smooth else cv2.INTER_LINEAR) | cv2.WARP_INVERSE_MAP
    drawn = cv2.warpPerspective(image, h, size, flags=way, borderMode=cv2.BORDER_REPLICATE)
    whole = np.full(image.shape[:2], 255, np.uint8)
    covered = cv2.warpPerspective(whole, h, size, flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP)
    return np.asarray(drawn), np.asarray(covered > 0)


def _averaged(image: Image, h: Homography) -> tuple[Image, Homography]:
    """Return a picture with no more pixels than a canvas needs, and the map of the canvas to it."""
    density = float(np.sqrt(abs(np.linalg.det((h / h[2, 2])[:2, :2]))))
    if density <= _DENSE:
        return image, h
    size = size_of(image)
    small = max(2, round(size[0] / density)), max(2, round(size[1] / density))
    return shrink(image, small).astype(np.uint8), rescaled(size, small) @ h


def eroded(covered: Mask, rim: int) -> Mask:
    """Return the mask without what is nearer than `rim` pixels to its edge or to that of the canvas."""
    kernel = np.ones((2 * rim + 1, 2 * rim + 1), np.uint8)
    return np.asarray(cv2.erode(covered.astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0)


# The homography


def refine(frame: Image, other: Image, h: Homography) -> Homography | None:
    """Return the map of the pixels of `frame` to those of `other` that starts from h and fits better.

    None if they share next to nothing.
    """
    size, small = size_of(frame), within(size_of(frame), _SIDE)
    target = shrink(frame, small).astype(np.uint8)
    source, step = _averaged(other, h @ rescaled(small, size))
    back = rescaled(size_of(source), size_of(other))
    tones: tuple[Tone, Tone] | None = None
    best, least = step, np.inf
    for _ in range(_STEPS):
        drawn, covered = draw(source, step, small, smooth=False)
        inside = eroded(covered, 2)
        if inside.sum() < 64:
            return None
        if tones is None:
            tones = common_tones(target, drawn, inside)
            bright = _soft(luma(tones[0].apply(target)), 0.8)
        moved = _toned_locally(_soft(luma(tones[1].apply(drawn)), 0.8), bright, inside)
        error = float(np.minimum(np.abs(bright - moved)[inside], _LARGEST_ERROR).mean())
        if error >= least:
            break
        best, least = step, error
        change, length = _homography_step(bright, moved, inside)
        step = step @ change
        if length < _STILL:
            break
    return np.asarray(back @ best @ rescaled(size, small))


def _toned_locally(plane: Plane, target: Plane, inside: Mask) -> Plane:
    """Return a plane after the line of its brightness that brings it nearest to the target around each pixel.

    A vignette, a gradient and local contrast are no displacement (the guided filter of He, Sun and Tang, IEEE TPAMI
    35(6), 2013).
    """
    window = (int(max(plane.shape) * _AROUND) | 1,) * 2
    toned = plane
    for _ in range(2):
        weight = _weights(target - toned, inside)
        whole = cv2.blur(weight, window) + np.float32(1e-6)
        x, y, xx, xy = (
            cv2.blur(part * weight, window) / whole for part in (plane, target, plane * plane, plane * target)
        )
        slope = (xy - x * y + _FLAT) / (xx - x * x + _FLAT)
        toned = slope * plane + y - slope * x
    return np.asarray(toned, np.float32)


def _homography_step(bright: Plane, moved: Plane, inside: Mask) -> tuple[Homography, float]:
    """Return the change of the canvas that brings `moved` nearer to `bright`, and how far it goes, in pixels."""
    height, width = bright.shape
    across, down = _gradients(moved)
    difference = bright - moved
    weight = _weights(difference, inside).ravel()
    half = max(height, width) / 2
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    x, y = ((columns - width / 2) / half).ravel(), ((rows - height / 2) / half).ravel()
    gx, gy = across.ravel(), down.ravel()
    both = gx * x + gy * y
    # how brightness changes with each parameter of (x, y) -> (a + bx + cy + gxx + hxy, d + ex + fy + gxy + hyy)
    terms = np.stack([gx, gx * x, gx * y, gy, gy * x, gy * y, both * x, both * y])
    normal = (terms * weight) @ terms.T
    damping = np.diag([1e-4] * 6 + [2e-3] * 2) * (np.trace(normal) / 8 + 1)  # of a plain picture too, whose trace is 0
    p = np.linalg.solve(normal + damping, (terms * weight) @ difference.ravel())
    corners = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]], np.float32)
    u, v = ((corners - [width / 2, height / 2]) / half).T
    shift = np.stack(
        [
            p[0] + p[1] * u + p[2] * v + (p[6] * u + p[7] * v) * u,
            p[3] + p[4] * u + p[5] * v + (p[6] * u + p[7] * v) * v,
        ],
        axis=1,
    )
    shift = np.clip(shift, -0.03 * 2 * half, 0.03 * 2 * half).astype(np.float32)
    return np.asarray(cv2.getPerspectiveTransform(corners, corners + shift)), float(np.abs(shift).max())


# The field


def follow(target: Image, drawn: Image, inside: Mask, tones: tuple[Tone, Tone]) -> Image:
    """Return `drawn` after the smooth field of small displacements that brings it nearer to `target`.

    tones: of the target and of `drawn`, after which they look alike.
    """
    size, middle = size_of(target), within(size_of(target), _MIDDLE)
    small_target, small_drawn = (shrink(image, middle).astype(np.uint8) for image in (target, drawn))
    weight = shrink(inside.astype(np.uint8) * 255, middle).astype(np.float32) / np.float32(255)
    field = np.zeros((2, 8, 8), np.float32)  # pixels of the full size
    for side, steps in _FLOW_STEPS.items():
        field = _field(field, small_target, small_drawn, weight, tones, within(size, side), steps, size[0])
        length = np.hypot(*field)[shrink(weight, (field.shape[2], field.shape[1])) > 0.5]
        if not len(length) or (side >= _SIDE and np.quantile(length, 0.95) < _WORTHWHILE):
            return drawn
    return _displaced(drawn, np.stack([cv2.resize(part, size) for part in field]), cv2.INTER_CUBIC)


def _field(
    field: NDArray[np.float32],
    target: Image,
    drawn: Image,
    weight: Plane,
    tones: tuple[Tone, Tone],
    size: Size,
    steps: int,
    full: int,
) -> NDArray[np.float32]:
    """Return the field (2, h, w) after some steps on a smaller size, in pixels of the full size, so many wide."""
    scale = full / size[0]
    weight = shrink(weight, size)
    images = (shrink(image, size).astype(np.uint8) for image in (target, drawn))
    bright, source = (luma(tone.apply(image)) for tone, image in zip(tones, images, strict=True))
    bright = _soft(bright, 1.0)
    window = int(np.clip(max(size) / 8, 21, 61)) | 1
    best = now = np.asarray(np.stack([cv2.resize(part, size) for part in field]) / scale, np.float32)
    least = np.inf
    for _ in range(steps + 1):
        moved = _soft(_displaced(source, now, cv2.INTER_LINEAR), 1.0)
        error = float((np.minimum(np.abs(bright - moved), _LARGEST_ERROR) * weight).sum() / weight.sum())
        if error >= 0.99 * least:
            break
        best, least = now, error
        now = best + _field_step(bright, moved, weight, window)
    return np.asarray(best * np.float32(scale))


def _field_step(bright: Plane, moved: Plane, inside: Plane, window: int) -> NDArray[np.float32]:
    """Return (2, h, w), the displacement of each window that explains the difference best."""
    across, down = _gradients(moved)
    difference = bright - moved
    weight = _weights(difference, inside)
    xx, yy, xy, xt, yt = (
        cv2.blur(weight * product, (window, window))
        for product in (across * across, down * down, across * down, across * difference, down * difference)
    )
    xx, yy = xx + 1, yy + 1  # where there is no structure, no displacement
    determinant = xx * yy - xy * xy
    step = np.stack([yy * xt - xy * yt, xx * yt - xy * xt]) / determinant
    step = np.clip(step, -_LARGEST_STEP, _LARGEST_STEP)
    return np.stack([cv2.blur(part, (window // 2 | 1, window // 2 | 1)) for part in step])


def _displaced(image: NDArray[Any], field: NDArray[np.float32], way: int) -> NDArray[Any]:
    height, width = image.shape[:2]
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    return np.asarray(cv2.remap(image, columns + field[0], rows + field[1], way, borderMode=cv2.BORDER_REPLICATE))


def _gradients(plane: Plane) -> tuple[Plane, Plane]:
    return np.asarray(cv2.Scharr(plane, -1, 1, 0) / 32), np.asarray(cv2.Scharr(plane, -1, 0, 1) / 32)


def _weights(difference: Plane, inside: Mask | Plane) -> Plane:
    """Return how much each pixel counts: the less the larger the difference is, beside the usual one."""
    usual = 2 * float(np.median(np.abs(difference))) + 1
    return np.asarray(inside / (1 + np.square(difference / usual)), np.float32)


def _soft(plane: NDArray[Any], sigma: float) -> Plane:
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma), np.float32)
