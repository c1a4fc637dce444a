"""Grey picture -> local features; two sets of features -> plane transformations that many of them agree on.

SIFT (Lowe 2004), as RootSIFT (Arandjelovic and Zisserman 2012). Mirrored copies are common, and SIFT does not match
across a mirror, so the descriptors of one side are mirrored and matched once more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dedup.geometry.canvas import CANVAS
from dedup.geometry.homography import inverse
from dedup.types.arrays import Homography

_MOST = 400  # features a picture
_SIDE = 320  # pixels, the longer side of the picture in which features are sought; SIFT's time grows with the area
_RATIO = 0.85  # of the distances to the best and the second best match (Lowe 2004)

_sift = cv2.SIFT.create(nfeatures=_MOST, contrastThreshold=0.02, edgeThreshold=12)
# A descriptor is 4 x 4 cells of 8 directions. A mirror reverses the order of the rows and of the directions.
_MIRRORED = np.arange(128).reshape(4, 4, 8)[::-1][:, :, [0, 7, 6, 5, 4, 3, 2, 1]].ravel()


@dataclass(frozen=True)
class LocalFeatures:
    """points: (M, 2) float32, positions in the unit square.   descriptors: (M, 128) float32, unit norm."""

    points: NDArray[np.float32]
    descriptors: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.points)


@dataclass(frozen=True)
class Fit:
    """A transformation A -> B.   inliers: matches that agree with it.   share: of all matches, in [0, 1]."""

    transform: Homography
    inliers: int
    share: float


def local_features(grey: NDArray[np.uint8]) -> LocalFeatures:
    """Return up to 400 local features of a grey picture (H, W)."""
    # contrast is stretched, but not noise: a range below 40 grey levels is taken to be 40
    low, high = np.percentile(grey[:: max(1, len(grey) // 128)], (1, 99))
    stretched = np.clip((grey - low) * (255 / max(high - low, 40)), 0, 255).astype(np.uint8)
    scale = _SIDE / max(grey.shape)
    if scale < 1 or scale > 1.5:
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        size = (max(8, round(grey.shape[1] * scale)), max(8, round(grey.shape[0] * scale)))
        stretched = cv2.resize(stretched, size, interpolation=way)
    keypoints, descriptors = _sift.detectAndCompute(stretched, None)
    keypoints = keypoints[:_MOST]
    descriptors = np.zeros((0, 128), np.float32) if descriptors is None else descriptors[:_MOST]
    points = np.array([p.pt for p in keypoints], np.float32).reshape(-1, 2) / (np.array(stretched.shape[::-1]) - 1)
    rooted = np.sqrt(descriptors / np.maximum(descriptors.sum(1, keepdims=True), 1e-6))
    return LocalFeatures(points.astype(np.float32), rooted)


def fits(a: LocalFeatures, b: LocalFeatures) -> Iterator[Fit]:
    """Yield up to four fits: affine and homography, of the matches of A and of A mirrored with B."""
    if min(len(a), len(b)) < 4:
        return
    for descriptors in (a.descriptors, a.descriptors[:, _MIRRORED]):
        left, right = _matches(descriptors, b.descriptors)
        start, end = a.points[left] * CANVAS, b.points[right] * CANVAS  # so that tolerances are pixels of the canvas
        if len(left) >= 3:
            affine, inside = cv2.estimateAffine2D(start, end, method=cv2.USAC_MAGSAC, ransacReprojThreshold=4)
            if affine is not None:
                yield Fit(_of_unit_squares(np.vstack([affine, [0, 0, 1]])), int(inside.sum()), float(inside.mean()))
        if len(left) >= 8:
            h, inside = cv2.findHomography(start, end, cv2.USAC_MAGSAC, 3)
            if h is not None:
                yield Fit(_of_unit_squares(h), int(inside.sum()), float(inside.mean()))


def _of_unit_squares(h: Homography) -> Homography:
    """Return a homography between squares of CANVAS pixels as one between unit squares."""
    scale = np.diag([CANVAS, CANVAS, 1.0])
    return np.asarray(inverse(scale) @ h @ scale)


def _matches(a: NDArray[np.float32], b: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of a (M, 128) and of b (M', 128) that are mutual nearest neighbours and pass the ratio test."""
    cosine = a @ b.T  # (M, M')
    best = cosine.argmax(1)
    rows = np.arange(len(a))
    first = cosine[rows, best]
    mutual = cosine.argmax(0)[best] == rows
    cosine[rows, best] = -1
    second = cosine.max(1)
    clear = (1 - first) < _RATIO**2 * (1 - second)  # the squared distance of unit vectors is 2 - 2 cos
    keep = np.flatnonzero(mutual & clear)
    return keep, best[keep]
