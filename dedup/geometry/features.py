"""Grey picture -> local features; two sets of features -> plane transformations that many of them agree on.

ORB (Rublee et al. 2011): a tenth of the time of SIFT, at the same accuracy of the verdicts. Mirrored copies are common,
and ORB does not match across a mirror, so each picture is also described as its mirror image shows it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dedup.geometry.canvas import CANVAS
from dedup.geometry.homography import inverse, map_points
from dedup.types.arrays import Homography

_MOST = 500  # features a picture
_SIDE = 320  # pixels, the longer side of the picture in which features are sought
_RATIO = 0.85  # of the distances of unit vectors to the best and the second best match (Lowe 2004)
_BITS = 256  # of a descriptor
_DECISIVE = 60  # inliers; 95 in 100 unrelated pairs have at most 9
_MIRROR = np.array([[-1.0, 0, 1], [0, 1, 0], [0, 0, 1]])  # unit square onto itself
_SCALE = np.diag([CANVAS, CANVAS, 1.0])  # the unit square to a canvas, so that tolerances of fits are its pixels


def _detector(threshold: int) -> cv2.ORB:
    """Return a detector of corners with at least this contrast, in grey levels.

    Six levels of 1.3 match pictures whose scales differ by up to 3.7. OpenCV's default edge threshold, 31 pixels at
    every level, leaves no points on the small ones.
    """
    return cv2.ORB.create(nfeatures=_MOST, scaleFactor=1.3, nlevels=6, fastThreshold=threshold, edgeThreshold=15)


# Of a textured picture both find the same strongest corners (99 in 100), the first in half the time; smooth ones need
# the second.
_strong, _weak = _detector(20), _detector(5)


@dataclass(frozen=True)
class LocalFeatures:
    """points: (M, 2) float32, positions in the unit square.

    descriptors, mirrored: (M, 32) uint8, 256 bits each, of the picture and of its mirror image at the same points.
    """

    points: NDArray[np.float32]
    descriptors: NDArray[np.uint8]
    mirrored: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.points)


@dataclass(frozen=True)
class Fit:
    """A transformation A -> B.   inliers: matches that agree with it.   share: of all matches, in [0, 1]."""

    transform: Homography
    inliers: int
    share: float


def local_features(grey: NDArray[np.uint8]) -> LocalFeatures:
    """Return up to 500 local features of a grey picture (H, W)."""
    # contrast is stretched, but not noise: a range below 40 grey levels is taken to be 40
    counted = np.cumsum(np.bincount(grey[:: max(1, len(grey) // 128)].ravel(), minlength=256))
    low, high = np.searchsorted(counted, (0.01 * counted[-1], 0.99 * counted[-1]))  # ten times as fast as percentiles
    levels = np.clip((np.arange(256) - low) * (255 / max(high - low, 40)), 0, 255).astype(np.uint8)
    stretched = cv2.LUT(grey, levels)
    scale = _SIDE / max(grey.shape)
    if scale < 1 or scale > 1.5:
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        size = (max(8, round(grey.shape[1] * scale)), max(8, round(grey.shape[0] * scale)))
        stretched = cv2.resize(stretched, size, interpolation=way)
    points, descriptors, mirrored = _describe(stretched)
    return LocalFeatures((points / (np.array(stretched.shape[::-1]) - 1)).astype(np.float32), descriptors, mirrored)


def _describe(grey: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.uint8], NDArray[np.uint8]]:
    """Return positions (M, 2) in pixels, descriptors (M, 32), and those of the same points in the mirror image."""
    keypoints, descriptors = _strong.detectAndCompute(grey, None)
    if len(keypoints) < _MOST:
        keypoints, descriptors = _weak.detectAndCompute(grey, None)
    last = grey.shape[1] - 1
    mirror = [
        cv2.KeyPoint(last - k.pt[0], k.pt[1], k.size, (180 - k.angle) % 360, k.response, k.octave, n)
        for n, k in enumerate(keypoints)
    ]
    described, mirrored = _weak.compute(np.ascontiguousarray(grey[:, ::-1]), mirror)
    if descriptors is None or mirrored is None:
        nothing = np.zeros((0, _BITS // 8), np.uint8)
        return np.zeros((0, 2)), nothing, nothing
    kept = [k.class_id for k in described]  # which points they are: OpenCV may drop some and change the order
    points = np.array([k.pt for k in keypoints], float)
    return points[kept], descriptors[kept], mirrored


def fits(a: LocalFeatures, b: LocalFeatures) -> Iterator[Fit]:
    """Yield up to four fits: affine and homography, of the matches of A and of A mirrored with B.

    A mirror image is not tried where most matches of the picture as it is agree.
    """
    if min(len(a), len(b)) < 4:
        return
    in_b = _unit(b.descriptors)
    for descriptors, to_mirror in ((a.descriptors, np.eye(3)), (a.mirrored, _MIRROR)):
        left, right = _matches(_unit(descriptors), in_b)
        # in the mirror image, because OpenCV discards homographies that reverse orientation
        start, end = map_points(to_mirror, a.points[left].astype(float)) * CANVAS, b.points[right] * CANVAS
        if len(left) >= 3:
            affine, inside = cv2.estimateAffine2D(start, end, method=cv2.USAC_MAGSAC, ransacReprojThreshold=4)
            if affine is not None:
                yield _fit(np.vstack([affine, [0, 0, 1]]) @ _SCALE @ to_mirror, inside)
        if len(left) >= 8:
            h, inside = cv2.findHomography(start, end, cv2.USAC_MAGSAC, 3)
            if h is not None:
                fit = _fit(h @ _SCALE @ to_mirror, inside)
                yield fit
                if fit.inliers >= _DECISIVE and fit.share >= 0.5:
                    return


def _fit(to_canvas: Homography, inside: NDArray[np.uint8]) -> Fit:
    """Return a fit from a map of the unit square of A to a canvas of B, and which matches (M, 1) agree with it."""
    return Fit(np.asarray(inverse(_SCALE) @ to_canvas), int(inside.sum()), float(inside.mean()))


def _unit(descriptors: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return descriptors (M, 32) as unit vectors (M, 256) of components +-1/16: their cosine is 1 - Hamming / 128."""
    return (np.unpackbits(descriptors, axis=1).astype(np.float32) - np.float32(0.5)) / np.float32(8)


def _matches(a: NDArray[np.float32], b: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of a (M, 256) and of b (M', 256) that are mutual nearest neighbours and pass the ratio test."""
    cosine = a @ b.T  # (M, M')
    best = cosine.argmax(1)
    rows = np.arange(len(a))
    first = cosine[rows, best]
    mutual = first >= cosine.max(0)[best]  # argmax(0) would say the same at three times the cost
    cosine[rows, best] = -1
    second = cosine.max(1)
    clear = (1 - first) < _RATIO**2 * (1 - second)  # the squared distance of unit vectors is 2 - 2 cos
    keep = np.flatnonzero(mutual & clear)
    return keep, best[keep]
