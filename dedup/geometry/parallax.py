"""Two pictures on one canvas -> figures of what a plane transformation and a change of colour cannot explain.

A copy is such a change, so that small displacements that remain are those of noise. In another shot near things have
moved against far ones (parallax), people have moved, or words were replaced: patches that agree only once they are
moved, or not at all.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]  # (S, S)

_WINDOW = 9  # pixels, in which pictures are correlated
_MARGIN = 9  # pixels at the border of the covered part that are left out
_NOISE = 6.0  # variance, in squared grey levels, so that noise in flat parts is no correlation
_TEXTURE = 8.0  # standard deviation of grey levels at which a pixel counts half
_STEP = 4  # pixels between those whose displacement is looked at
_LONGEST = 20.0  # pixels; a longer displacement counts as so much
_SHARES = (0.5, 0.8, 0.95)  # quantiles of displacements
_BLOCKS = 16  # S, on a side
_LEAST_TEXTURE = 0.15  # mean weight of a block that counts
_BLOCK_SHARES = (0.0, 0.05, 0.2, 0.5)  # quantiles of the blocks' correlations
# Mean and twice the standard deviation of each figure among pairs that need verification.
_MEAN = np.array([0.79, 1.07, 1.45, 0.05, 0.06, 0.38, -0.07, 0.14, 0.36, 0.59, 0.49], np.float32)
_RANGE = np.array([1.3, 1.58, 1.82, 0.18, 0.2, 0.56, 0.5, 0.5, 0.6, 0.6, 0.28], np.float32)
PARALLAX = len(_MEAN)  # numbers of parallax_figures()


def parallax_figures(
    first: NDArray[np.uint8], second: NDArray[np.uint8], covered: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return (PARALLAX,), figures of how two pictures (S, S, 3) on a canvas differ. covered: (S, S), where both are.

    Displacements are those of DIS optical flow (Kroeger et al. 2016, arXiv 1603.03590), less what is affine. The
    figures, weighted by texture: three quantiles of the displacements; by how much correlation rises where they are
    undone; the share that correlates only then; the share that does not even then; four quantiles of the correlation
    of blocks then; the texture itself.
    """
    inside = _inside(covered)
    a, b = (np.where(covered, cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8(0)) for image in (first, second))
    flow = np.asarray(cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST).calc(a, b, None), np.float32)
    one, other = a.astype(np.float32), b.astype(np.float32)
    moved = _moved(other, flow)
    n = cv2.blur(inside, (_WINDOW, _WINDOW)) + 1e-6
    mean, variance = _moments(one, inside, n)
    before, spread = _correlation(one, mean, variance, other, inside, n)
    after, _ = _correlation(one, mean, variance, moved, inside, n)
    weight = inside * _textured(np.maximum(variance, spread))
    shared = inside * _textured(np.minimum(variance, spread))  # a displacement is known where both have texture
    total = float(weight.sum()) + 1
    length = np.hypot(flow[..., 0], flow[..., 1])
    only_moved = (after > 0.7) & (after - before > 0.15) & (length > 1)
    found = [
        *np.log1p(_displacements(flow, shared)),
        float((weight * (after - before)).sum()) / total,
        float((weight * only_moved).sum()) / total,
        float((weight * (after < 0.5)).sum()) / total,
        *_block_correlations(after, weight),
        float(weight.mean()),
    ]
    return (np.array(found, np.float32) - _MEAN) / _RANGE


def _inside(covered: NDArray[np.bool_]) -> Plane:
    """Return 1 where both pictures are, but not near the end of either; the edge of the canvas is none."""
    kernel = np.ones((_MARGIN, _MARGIN), np.uint8)
    eroded = cv2.erode(covered.astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=1)
    return np.asarray(eroded, np.float32)


def _textured(variance: Plane) -> Plane:
    """Return how much each pixel counts, in [0, 1): much where its surroundings have texture."""
    deviation = np.sqrt(variance)
    return np.asarray(deviation / (deviation + _TEXTURE), np.float32)


def _moved(grey: Plane, flow: NDArray[np.float32]) -> Plane:
    """Return a picture with the displacements (S, S, 2) undone."""
    pixels = np.arange(len(grey), dtype=np.float32)
    place = (pixels + flow[..., 0], pixels[:, None] + flow[..., 1])
    return np.asarray(cv2.remap(grey, *place, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)


def _moments(grey: Plane, inside: Plane, n: Plane) -> tuple[Plane, Plane]:
    """Return mean and variance within the window of each pixel. n: the share of the window that is inside."""
    size = (_WINDOW, _WINDOW)
    covered = grey * inside
    mean = cv2.blur(covered, size) / n
    return mean, np.maximum(cv2.blur(covered * grey, size) / n - mean * mean, 0)


def _correlation(
    one: Plane, mean: Plane, variance: Plane, other: Plane, inside: Plane, n: Plane
) -> tuple[Plane, Plane]:
    """Return the correlation of two pictures within the window of each pixel, and the variance of the other one."""
    theirs, spread = _moments(other, inside, n)
    covariance = cv2.blur(one * other * inside, (_WINDOW, _WINDOW)) / n - mean * theirs
    return covariance / np.sqrt((variance + _NOISE) * (spread + _NOISE)), spread


def _displacements(flow: NDArray[np.float32], weight: Plane) -> NDArray[np.float32]:
    """Return quantiles of the lengths of displacements (S, S, 2) less an affine one, in pixels."""
    half = _STEP // 2
    some = flow[half::_STEP, half::_STEP].reshape(-1, 2)
    w = weight[half::_STEP, half::_STEP].ravel() + 1e-6
    places = np.linspace(-1, 1, len(flow) // _STEP, dtype=np.float32)
    x, y = (places.ravel() for places in np.meshgrid(places, places))
    terms = np.stack([x, y, np.ones_like(x)], axis=1)
    weighted = terms * w[:, None]
    affine = np.linalg.solve(weighted.T @ terms + 1e-3 * np.eye(3), weighted.T @ some)
    length = np.minimum(np.hypot(*(some - terms @ affine).T), _LONGEST)
    order = np.argsort(length)
    heaped = np.cumsum(w[order])
    at = np.searchsorted(heaped, np.array(_SHARES) * heaped[-1])
    return np.asarray(length[order[np.minimum(at, len(order) - 1)]], np.float32)


def _block_correlations(correlation: Plane, weight: Plane) -> list[float]:
    """Return quantiles of the correlations of blocks that have texture; 0 each where fewer than four have any."""
    size = (_BLOCKS, _BLOCKS)
    textures = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
    sums = cv2.resize(weight * correlation, size, interpolation=cv2.INTER_AREA)
    counted = textures > _LEAST_TEXTURE
    values = np.sort(sums[counted] / textures[counted])
    if len(values) < 4:
        return [0.0] * len(_BLOCK_SHARES)
    return [float(values[int(share * len(values))]) for share in _BLOCK_SHARES]
