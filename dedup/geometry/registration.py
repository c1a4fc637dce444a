"""Two pictures -> the plane transformation between them, and both on one canvas (image registration).

A copy, however edited, is one plane transformation and a change of colour away from its original; another shot of the
same scene is not. Candidate transformations come from local features, from the attention of the pair head, and from the
eight orientations of the whole picture. The one under which the pictures agree best is refined.

Only this package imports OpenCV.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log1p

import cv2
import numpy as np
from numpy.typing import NDArray

from dedup.geometry.canvas import Canvas, Image, draw_canvas, interpolation, pixel_transform, unit_transform
from dedup.geometry.features import Fit, LocalFeatures, fits, local_features
from dedup.geometry.homography import coverage, inverse, map_points
from dedup.geometry.parallax import PARALLAX, parallax_figures
from dedup.types.arrays import Homography

EVIDENCE = 13 + PARALLAX  # numbers of Aligned.evidence
GUESS_EVIDENCE = [0, 1, 2, 10]  # which of them are Guess.figures
FEATURELESS_CONTRAST = 6.0  # standard deviation of grey levels below which a picture cannot be told from others

_COARSE, _MIDDLE, _FINE = 56, 112, 224  # pixels, sides of the squares on which transformations are compared
_TRIED = 3  # candidates that are compared on the middle square
_MAX_ZOOM = 40.0  # greatest change of area between two versions of a photo
_WORTH_REFINING = 0.15  # agreement from which refinement can converge
_REFINED = 0.96  # agreement from which it gains nothing
# A picture with less detail is as smooth as a gradient, and any two of these match once their colours are matched: of
# 300 smooth pictures that were drawn none has more than 1.4; of 11,912 photos one has less, and six less than 2.2.
_SMOOTH = 1.5
_DETAIL = 1 / 64  # of the side, standard deviation of the blur that removes detail
_CORNERS = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)
_NEXT = [1, 2, 3, 0]  # corner that follows each corner

Grey = NDArray[np.float32]  # (side, side), 0 to 255


@dataclass(frozen=True)
class Sketch:
    """What the search for a transformation needs of a picture: some 90 KB, without the picture itself.

    contrast: standard deviation of the grey levels, 0 to 128.   detail: that of what a blur removes from them.
    coarse, middle: the picture in grey, resized to squares.   features: its local features.
    """

    contrast: float
    detail: float
    coarse: Grey
    middle: Grey
    features: LocalFeatures


@dataclass(frozen=True)
class Guess(Fit):
    """The best of the candidate transformations, before refinement.

    agreement: of the pictures under it, on the middle square, in [-1, 1].   features: the number of local features of
    the picture that has fewer.
    """

    agreement: float
    features: int

    @property
    def figures(self) -> tuple[float, ...]:
        """Return what the geometric gate knows of the geometry of a pair. Divisors bring all to a similar range."""
        return log1p(self.inliers) / 5, self.share, self.agreement, log1p(self.features) / 7


@dataclass(frozen=True)
class Prepared:
    """A picture made ready to be aligned with others.   image: (H, W, 3)."""

    image: Image
    sketch: Sketch


@dataclass(frozen=True)
class Aligned(Canvas):
    """Two pictures on one canvas, and how well they are aligned.

    transform: A -> B.   evidence: (EVIDENCE,) float32, figures of the alignment, see _figures(), and of what it does
    not explain, see parallax_figures().   plain: one of the pictures is featureless, so that neither agreement nor
    disagreement means anything.
    """

    transform: Homography
    evidence: NDArray[np.float32]
    plain: bool


@dataclass(frozen=True)
class NotAligned:
    """Two pictures that do not agree well enough to be examined further.   transform: the best candidate, A -> B."""

    transform: Homography


def sketch(image: Image) -> Sketch:
    """Return the sketch of a picture (H, W, 3) uint8."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    fine = _square(grey, _FINE)
    middle = cv2.resize(fine, (_MIDDLE, _MIDDLE), interpolation=cv2.INTER_AREA)  # to a half is ten times as fast
    coarse = cv2.resize(middle, (_COARSE, _COARSE), interpolation=cv2.INTER_AREA)
    softened = _softened(middle)
    detail = _deviation(softened - cv2.GaussianBlur(softened, (0, 0), _DETAIL * _MIDDLE))
    return Sketch(_deviation(grey), detail, _softened(coarse), softened, local_features(grey))


def _deviation(image: NDArray[np.uint8] | Grey) -> float:
    """Return the standard deviation of the values of a plane."""
    return float(cv2.meanStdDev(image)[1][0, 0])


def prepare(image: Image) -> Prepared:
    """Return what align() needs of a picture (H, W, 3) uint8."""
    return Prepared(image, sketch(image))


def align(a: Prepared, b: Prepared, guesses: Sequence[Homography]) -> Aligned:
    """Return both pictures on one canvas under the best transformation. guesses: candidates, A -> B."""
    return align_from(a, b, best_guess(a.sketch, b.sketch, guesses))


def align_from(a: Prepared, b: Prepared, guess: Guess) -> Aligned:
    """Return both pictures on one canvas under a transformation that is refined from a guess."""
    transform, agreement = _refine(a, b, guess.transform)
    canvas = draw_canvas(a.image, b.image, transform)
    figures = _figures(a, b, guess, transform, agreement, swapped=canvas.swapped)
    beyond = parallax_figures(canvas.first, canvas.second, canvas.covered)
    evidence = np.clip(np.concatenate([figures, beyond]), -4, 4)
    drawn = (canvas.first, canvas.second, canvas.covered, canvas.swapped)
    return Aligned(*drawn, transform, evidence, featureless(a.sketch, b.sketch))


def featureless(a: Sketch, b: Sketch) -> bool:
    """Return whether one of the pictures holds too little to be told from others."""
    return min(a.contrast, b.contrast) < FEATURELESS_CONTRAST or min(a.detail, b.detail) < _SMOOTH


def _figures(
    a: Prepared, b: Prepared, guess: Guess, transform: Homography, agreement: float, *, swapped: bool
) -> NDArray[np.float32]:
    """Return (13,), the figures of an alignment that the residual head takes beside the canvas.

    agreement: on the fine square, after refinement. Divisors bring all figures to a similar range.
    """
    first, second = (b, a) if swapped else (a, b)
    points = len(a.sketch.features) + len(b.sketch.features)
    area = np.linalg.det(transform[:2, :2])  # change of area, negative for a mirror
    inliers, share, before, fewest = guess.figures
    found = [
        inliers,
        share,
        before,
        agreement,
        coverage(transform),
        coverage(inverse(transform)),
        np.log(abs(area) + 1e-3) / 2,
        float(area < 0),
        np.hypot(transform[2, 0], transform[2, 1]),  # strength of the perspective
        log1p(points) / 7,
        fewest,
        np.log(max(first.image.shape[:2]) / 256),
        np.log(max(second.image.shape[:2]) / 256),
    ]
    return np.array(found, np.float32)


# Candidate transformations


def best_guess(a: Sketch, b: Sketch, guesses: Sequence[Homography]) -> Guess:
    """Return the candidate under which the pictures agree best: all on the coarse square, a few on the middle one.

    guesses: candidates A -> B besides those from local features and the eight orientations.
    """
    candidates: Iterable[Fit] = [*(Fit(h, 0, 0.0) for h in guesses), *fits(a.features, b.features)]
    plausible = [fit for fit in candidates if _plausible(fit.transform)]
    agreements = [_agreement(a.coarse, b.coarse, fit.transform) for fit in plausible]
    agreements += _agreements_of_orientations(a.coarse, b.coarse)
    plausible += [Fit(h, 0, 0.0) for h in _ORIENTATIONS]
    likely = np.argsort(-np.array(agreements), kind="stable")[:_TRIED].tolist()
    features = min(len(a.features), len(b.features))
    tried = []
    for fit in (plausible[n] for n in likely):
        agreement = _agreement(a.middle, b.middle, fit.transform)
        tried.append(Guess(fit.transform, fit.inliers, fit.share, agreement, features))
    return max(tried, key=lambda guess: guess.agreement)


def _orientations() -> tuple[Homography, ...]:
    """Return the maps of the whole picture onto the whole picture: four quarter turns, and these of its mirror."""
    centre, back = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]]), np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    quarter, mirror = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), np.diag([-1.0, 1, 1])
    return tuple(back @ np.linalg.matrix_power(quarter, k) @ m @ centre for m in (np.eye(3), mirror) for k in range(4))


def _source_pixels(side: int) -> NDArray[np.int64]:
    """Return (side * side, 8), for each pixel of a square the pixel that each of _ORIENTATIONS brings there."""
    across, down = np.meshgrid(np.arange(side) + 0.5, np.arange(side) + 0.5)
    centres = np.stack([across.ravel(), down.ravel()], axis=1) / side
    mapped = np.stack([map_points(h, centres) for h in _ORIENTATIONS], axis=2)  # (side * side, 2, 8)
    x, y = np.floor(mapped * side).astype(np.int64).transpose(1, 0, 2)
    return np.asarray(y * side + x)


_ORIENTATIONS = _orientations()
_ORIENTED_PIXELS = _source_pixels(_COARSE)


def _plausible(h: Homography) -> bool:
    """Return whether h maps the unit square to a convex quadrilateral of sensible area and proportions."""
    corners = map_points(h, _CORNERS)
    if not np.isfinite(corners).all():
        return False
    edges = corners[_NEXT] - corners
    turns = _cross(edges, edges[_NEXT])
    area = abs(_cross(corners, corners[_NEXT]).sum()) / 2
    lengths = np.hypot(edges[:, 0], edges[:, 1])
    convex = turns.min() > 0 or turns.max() < 0
    return bool(convex and 1 / _MAX_ZOOM < area < _MAX_ZOOM and lengths.max() < 8 * max(lengths.min(), 1e-9))


def _cross(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the cross products (M,) of vectors (M, 2)."""
    return np.asarray(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])


# Agreement: how well two pictures match under a transformation


def _square(grey: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(grey, (side, side), interpolation=interpolation(grey, side)))


def _softened(square: NDArray[np.uint8]) -> Grey:
    """Return a square slightly blurred, so that an error of half a pixel costs little agreement."""
    return np.asarray(cv2.GaussianBlur(square.astype(np.float32), (3, 3), 0.8))


def _agreements_of_orientations(a: Grey, b: Grey) -> list[float]:
    """Return _agreement() of coarse squares under each of _ORIENTATIONS, in one pass."""
    side = len(a)
    moved, window = b.ravel()[_ORIENTED_PIXELS].reshape(side, side, -1), (side // 8 | 1, side // 8 | 1)
    ma, mb = cv2.blur(a, window)[..., None], cv2.blur(moved, window)
    va = np.maximum(cv2.blur(a * a, window)[..., None] - ma * ma, 0)
    vb = np.maximum(cv2.blur(moved * moved, window) - mb * mb, 0)
    covariance = cv2.blur(a[..., None] * moved, window) - ma * mb
    return [float(x) for x in _mean_correlation(covariance, va, vb, 1.0)]


def _agreement(a: Grey, b: Grey, h: Homography) -> float:
    """Return the mean local correlation of the pictures where they overlap, weighted by texture, in [-1, 1].

    Windows are an eighth of the side. A small overlap counts a little less than a large one.
    """
    if coverage(h) < coverage(inverse(h)):  # compare in the frame of the picture of which more is visible
        a, b, h = b, a, inverse(h)
    side = len(a)
    square = (side, side)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    # the border value lies so far below all grey levels that any interpolation with it is negative
    moved = cv2.warpPerspective(b, pixel_transform(h, square, square), square, flags=flags, borderValue=-1e4)
    inside = (moved >= 0).astype(np.float32)
    covered = float(inside.mean())
    if covered < 0.02:
        return -1.0
    moved = moved * inside
    fixed, window = a * inside, (side // 8 | 1, side // 8 | 1)
    n = cv2.blur(inside, window) + 1e-6
    ma, mb = cv2.blur(fixed, window) / n, cv2.blur(moved, window) / n
    va = np.maximum(cv2.blur(fixed * fixed, window) / n - ma * ma, 0)
    vb = np.maximum(cv2.blur(moved * moved, window) / n - mb * mb, 0)
    covariance = cv2.blur(fixed * moved, window) / n - ma * mb
    return float(_mean_correlation(covariance, va, vb, inside) * covered**0.25)


def _mean_correlation(covariance: Grey, va: Grey, vb: Grey, inside: Grey | float) -> NDArray[np.float32]:
    """Return the mean over the first two axes of local correlations, weighted by texture. va, vb: local variances."""
    correlation = covariance / np.sqrt((va + 4) * (vb + 4))  # 4: variance of noise, so that flat areas correlate little
    texture = np.sqrt(np.maximum(va, vb))
    weight = inside * texture / (texture + 12)  # saturates: one strong edge does not outweigh everything else
    total: NDArray[np.float32] = (weight * correlation).sum((0, 1)) / (weight.sum((0, 1)) + 1e-3 * len(covariance) ** 2)
    return total


# Refinement


def _refine(a: Prepared, b: Prepared, h: Homography) -> tuple[Homography, float]:
    """Return the transformation after refinement on the middle and the fine square, and the agreement on the latter."""
    fine_a, fine_b = (_softened(_square(cv2.cvtColor(p.image, cv2.COLOR_RGB2GRAY), _FINE)) for p in (a, b))
    best, score = h, _agreement(fine_a, fine_b, h)
    if score > _WORTH_REFINING:
        for square_a, square_b in ((a.sketch.middle, b.sketch.middle), (fine_a, fine_b)):
            if score > _REFINED:
                break
            refined = _maximise_correlation(square_a, square_b, best)
            if refined is not None and (agreement := _agreement(fine_a, fine_b, refined)) > score:
                best, score = refined, agreement
    return best, score


def _maximise_correlation(a: Grey, b: Grey, h: Homography) -> Homography | None:
    """Return the transformation near h of the highest correlation (ECC, Evangelidis and Psarakis 2008).

    None if the iteration does not converge, or to something implausible.
    """
    if coverage(h) < coverage(inverse(h)):
        refined = _maximise_correlation(b, a, inverse(h))
        return None if refined is None else inverse(refined)
    square = (len(a), len(a))
    start = pixel_transform(h, square, square)
    stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 25, 1e-4)
    everywhere = np.full(b.shape, 255, np.uint8)
    warp = (start / start[2, 2]).astype(np.float32)
    try:
        _, warp = cv2.findTransformECC(a, b, warp, cv2.MOTION_HOMOGRAPHY, stop, everywhere, 5)
    except cv2.error:  # it did not converge
        return None
    refined = unit_transform(warp.astype(np.float64), square, square)
    return refined if _plausible(refined) else None
