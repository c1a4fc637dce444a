"""Two pictures and a homography -> both on one square canvas, colours matched, and what still differs there.

A copy is one plane transformation and one change of colour away from its original, so once both are undone little
remains. What remains is the input of the residual head.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dedup.geometry.homography import coverage, inverse
from dedup.geometry.least_squares import robust_factors
from dedup.types.arrays import Homography

CANVAS = 256  # S: pixels, the side of the canvas
PLANES = 11  # channels of residuals()

Image = NDArray[np.uint8]  # (H, W, 3), sRGB


@dataclass(frozen=True)
class Canvas:
    """Pictures A and B in one frame, that of the picture of which more is visible in the other.

    first: (S, S, 3) uint8, the picture whose frame it is.   second: (S, S, 3) uint8, the other one, warped into the
    frame, its colours matched.   covered: (S, S) bool, where both are visible.   swapped: `first` is B, not A.
    """

    first: Image
    second: Image
    covered: NDArray[np.bool_]
    swapped: bool


def draw_canvas(a: Image, b: Image, transform: Homography) -> Canvas:
    """Return both pictures on one canvas. transform: A -> B."""
    swapped = coverage(transform) < coverage(inverse(transform)) - 0.01
    first, other, h = (b, a, inverse(transform)) if swapped else (a, b, transform)
    canvas = np.asarray(cv2.resize(first, (CANVAS, CANVAS), interpolation=interpolation(first, CANVAS)))
    warped, covered = warp(other, h, (CANVAS, CANVAS))
    return Canvas(canvas, match_colours(warped, canvas, covered), covered, swapped)


def interpolation(image: NDArray[np.uint8], side: int) -> int:
    """Return OpenCV's best interpolation for resizing an image to a square: INTER_AREA aliases least when shrinking."""
    return cv2.INTER_AREA if min(image.shape[:2]) > side else cv2.INTER_LINEAR


def pixel_transform(h: Homography, start: tuple[int, int], end: tuple[int, int]) -> Homography:
    """Return a homography of unit squares as one of pixel coordinates. start, end: (width, height) of both pictures."""
    return np.asarray(_unit_to_pixels(end) @ h @ inverse(_unit_to_pixels(start)))


def unit_transform(pixels: Homography, start: tuple[int, int], end: tuple[int, int]) -> Homography:
    """Return the inverse of pixel_transform(): a homography of pixel coordinates as one of unit squares."""
    return np.asarray(inverse(_unit_to_pixels(end)) @ pixels @ _unit_to_pixels(start))


def _unit_to_pixels(size: tuple[int, int]) -> Homography:
    """Return the map from the unit square to pixels; the centre of the first pixel, (0, 0) to OpenCV, is at half."""
    return np.array([[size[0], 0, -0.5], [0, size[1], -0.5], [0, 0, 1]], np.float64)


def warp(image: Image, h: Homography, frame: tuple[int, int]) -> tuple[Image, NDArray[np.bool_]]:
    """Return the image warped into a frame (H, W, 3), and where it covers the frame (H, W). h: frame -> image.

    frame: width and height, in pixels.
    """
    height, width = image.shape[:2]
    # image pixels per pixel of the frame
    density = np.sqrt(abs(np.linalg.det(h[:2, :2])) * height * width) / np.sqrt(frame[0] * frame[1])
    if density > 1.3:  # warpPerspective samples bilinearly: without shrinking first it would alias
        size = (max(2, round(width / density)), max(2, round(height / density)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        height, width = image.shape[:2]
    pixels = pixel_transform(h, frame, (width, height))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = cv2.warpPerspective(image, pixels, frame, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    covered = cv2.warpPerspective(np.ones((height, width), np.uint8), pixels, frame, flags=flags)
    return warped, covered > 0


def match_colours(image: Image, target: Image, covered: NDArray[np.bool_]) -> Image:
    """Return the image (S, S, 3) after the quadratic change of RGB that brings it closest to the target.

    A part that differs does not distort the colours of the rest.
    """
    step = slice(None, None, 4)  # one pixel in 16 is enough for 21 coefficients
    inside = covered[step, step]
    if inside.sum() < 64:
        return image
    x, y = (i[step, step][inside].astype(np.float64) / 255 for i in (image, target))  # (M, 3)
    x = np.concatenate([x, x * x, np.ones_like(x[:, :1])], axis=1)  # (M, 7): RGB, squares, constant
    ridge = np.diag([1e-4] * 6 + [0.0]) * len(x)
    # half of the weight at a difference of some 18 grey levels
    coefficients = robust_factors(x, y, ridge, lambda e: 1 / (1 + np.square(e).sum(1) / 0.03) ** 2 + 1e-6)  # (7, 3)
    full = image.reshape(-1, 3).astype(np.float32) / 255
    full = np.concatenate([full, full * full, np.ones_like(full[:, :1])], axis=1) @ coefficients.astype(np.float32)
    return np.clip(full * 255, 0, 255).round().astype(np.uint8).reshape(image.shape)


def residuals(first: Image, second: Image, covered: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return (PLANES, S, S), the difference of two pictures (S, S, 3) on a canvas; 0 where only one is visible.

    Planes: 0, 1 both in grey; 2 difference in grey; 3, 4 difference in red and blue beyond that in grey; 5 covered;
    within 7 x 7 pixels 6 correlation, 7, 8 log of the standard deviation of either, 9 normalised difference; 10
    correlation within 21 x 21 pixels. Factors and offsets bring all planes to a similar range.
    """
    inside = covered.astype(np.float32)
    a, b = (image.astype(np.float32) * (inside[..., None] / 255) for image in (first, second))
    ga, gb = (cv2.cvtColor(x, cv2.COLOR_RGB2GRAY) for x in (a, b))
    chroma = (a - b)[..., [0, 2]] - (ga - gb)[..., None]
    planes = [ga - 0.5 * inside, gb - 0.5 * inside, 4 * (ga - gb), 4 * chroma[..., 0], 4 * chroma[..., 1], inside]
    for width in (7, 21):
        # means over the covered part of each window: blurred sums divided by the blurred mask
        n, ma, mb, aa, bb, ab = (
            cv2.blur(x, (width, width), borderType=cv2.BORDER_CONSTANT)
            for x in (inside, ga, gb, ga * ga, gb * gb, ga * gb)
        )
        n = n + 1e-6
        ma, mb = ma / n, mb / n
        va, vb = np.maximum(aa / n - ma * ma, 0), np.maximum(bb / n - mb * mb, 0)
        # 1e-4 is a standard deviation of 2.5 grey levels: noise in flat areas is not correlation
        planes.append((ab / n - ma * mb) / np.sqrt((va + 1e-4) * (vb + 1e-4)) * inside)
        if width == 7:
            planes += [np.log(np.sqrt(v + 1e-5)) / 3 + 1.5 for v in (va, vb)]
            planes.append(((ga - ma) - (gb - mb)) / np.sqrt(va + vb + 1e-3) * inside * 0.5)
    return np.stack(planes)
