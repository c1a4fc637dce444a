"""Two pictures -> one plane transformation between them, and both on one canvas. The only module that imports OpenCV.

A copy, however edited, is one plane transformation and a change of colour away from its original; another shot of the
same scene is not. Several transformations are guessed (from local features, plain and mirrored; from what the head's
attention found; the whole picture in its eight turns), the one under which the pictures agree best is refined, and one
picture is drawn in the frame of the other.

plane.py says what a transformation is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dedup.geometry.homography import coverage, inverse, mapped
from dedup.types.arrays import Homography

CANVAS = 256  # pixels, the side of the square on which two pictures are compared
_COARSE, _MIDDLE, _FINE = 56, 112, 224  # pixels, the sides of the squares on which guesses are compared and refined
_TRIED = 3  # guesses that are compared on the middle square
_POINTS = 400
_POINTS_SIDE = 320  # pixels; SIFT doubles it, and its time grows with the area
_RATIO = 0.85  # of the best distance to the second best (Lowe 2004)
_MOST_ZOOM = 40.0  # change of area between two versions
PLAIN = 6.0  # contrast below which nobody could tell a version of a picture
# Detail below which it is as smooth as a gradient: any two of these lie on each other once their colours are matched.
# Of 300 smooth pictures that were drawn none has more than 1.4; of 11,912 photos one has less, and six less than 2.2.
_SMOOTH = 1.5
_DETAIL = 1 / 64  # of the side, standard deviation of the blur that takes detail away
_WORTHWHILE = 0.15  # agreement below which refining is no use
# Of pairs held apart that agree less and have fewer inliers, 4 in 100 were copies, of which a look told one in 19.
_UNLIKE, _INLIERS = 0.2, 8
UNLIKE_COPY = 0.04
_CORNERS = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)
_NEXT = [1, 2, 3, 0]

Image = NDArray[np.uint8]  # (H, W, 3), sRGB
Grey = NDArray[np.float32]  # (H, W), 0 to 255

cv2.setNumThreads(1)  # the processes are the parallelism
_sift = cv2.SIFT.create(nfeatures=_POINTS, contrastThreshold=0.02, edgeThreshold=12)
# a SIFT descriptor is 4 x 4 cells of 8 directions; in a mirror rows and directions run the other way
_MIRRORED = np.arange(128).reshape(4, 4, 8)[::-1][:, :, [0, 7, 6, 5, 4, 3, 2, 1]].ravel()


@dataclass(frozen=True)
class Prepared:
    """A picture made ready to be aligned with others.

    contrast: standard deviation of the grey values, 0 to 128.   detail: that of what a blur takes away from them.
    coarse, middle, fine: it squashed to small squares.
    points: (M, 2), positions of its local features in the unit square.   features: (M, 128), unit norm (Arandjelovic
    and Zisserman 2012).
    """

    image: Image
    contrast: float
    detail: float
    coarse: Grey
    middle: Grey
    fine: Grey
    points: NDArray[np.float32]
    features: NDArray[np.float32]


@dataclass(frozen=True)
class Canvas:
    """Two pictures A and B on one canvas, that of the picture which the other covers more of.

    first: (S, S, 3) uint8, the picture whose frame the canvas is.   second: the other one, drawn into it, its colours
    matched.   covered: (S, S) bool, where both are.   swapped: first is B, not A.
    """

    first: Image
    second: Image
    covered: NDArray[np.bool_]
    swapped: bool


@dataclass(frozen=True)
class Aligned(Canvas):
    """Two pictures on one canvas, and how well they lie there.

    transform: A -> B.   evidence: (EVIDENCE,) float32, see the end of align().   plain: one of them holds too little to
    be known by.
    """

    transform: Homography
    evidence: NDArray[np.float32]
    plain: bool


@dataclass(frozen=True)
class Unlike:
    """Two pictures that agree under none of the transformations that were guessed.   transform: the best, A -> B."""

    transform: Homography


@dataclass(frozen=True)
class _Guess:
    """A transformation A -> B.   inliers: local features that agree with it, and their share of all matches.

    agreement: of the pictures on the middle square.
    """

    transform: Homography
    inliers: int
    share: float
    agreement: float


EVIDENCE = 13  # numbers beside the canvas
PLANES = 11  # see residuals()


def prepare(image: Image) -> Prepared:
    """Return what align() needs to know of a picture (H, W, 3) uint8."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    low, high = np.percentile(grey[:: max(1, len(grey) // 128)], (1, 99))
    stretched = np.clip((grey - low) * (255 / max(high - low, 40)), 0, 255).astype(np.uint8)
    scale = _POINTS_SIDE / max(grey.shape)
    if scale < 1 or scale > 1.5:
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        size = (max(8, round(grey.shape[1] * scale)), max(8, round(grey.shape[0] * scale)))
        stretched = cv2.resize(stretched, size, interpolation=way)
    points, features = _sift.detectAndCompute(stretched, None)
    points, features = points[:_POINTS], (np.zeros((0, 128), np.float32) if features is None else features[:_POINTS])
    places = np.array([p.pt for p in points], np.float32).reshape(-1, 2) / (np.array(stretched.shape[::-1]) - 1)
    features = np.sqrt(features / np.maximum(features.sum(1, keepdims=True), 1e-6))
    coarse, middle, fine = (_shrunk(grey, side) for side in (_COARSE, _MIDDLE, _FINE))
    contrast, detail = float(grey.std()), float((middle - cv2.GaussianBlur(middle, (0, 0), _DETAIL * _MIDDLE)).std())
    return Prepared(image, contrast, detail, coarse, middle, fine, places.astype(np.float32), features)


def align(a: Prepared, b: Prepared, guesses: Sequence[Homography]) -> Aligned:
    """Return both pictures on one canvas under the best transformation that is found. guesses: more of them, A -> B."""
    return _aligned(a, b, _best(a, b, guesses))


def align_if_alike(a: Prepared, b: Prepared, guesses: Sequence[Homography]) -> Aligned | Unlike:
    """Return what align() does, unless the pictures have next to nothing in common: then that is half of the work."""
    best = _best(a, b, guesses)
    if best.agreement < _UNLIKE and best.inliers < _INLIERS and not _plain(a, b):
        return Unlike(best.transform)
    return _aligned(a, b, best)


def _plain(a: Prepared, b: Prepared) -> bool:
    """Tell whether one of them holds too little to be known by."""
    return min(a.contrast, b.contrast) < PLAIN or min(a.detail, b.detail) < _SMOOTH


def _best(a: Prepared, b: Prepared, guesses: Sequence[Homography]) -> _Guess:
    """Return the guess under which the pictures agree best."""
    found = [(h, 0, 0.0) for h in guesses] + list(_from_features(a, b))
    plausible = [guess for guess in found if _plausible(guess[0])]
    agreements = [_agreement(a.coarse, b.coarse, guess[0]) for guess in plausible]
    agreements += _agreements_of_whole(a.coarse, b.coarse)
    plausible += [(h, 0, 0.0) for h in _WHOLE]
    likely = [plausible[n] for n in np.argsort(-np.array(agreements), kind="stable")[:_TRIED]]
    tried = [_Guess(h, inliers, share, _agreement(a.middle, b.middle, h)) for h, inliers, share in likely]
    return max(tried, key=lambda guess: guess.agreement)


def _aligned(a: Prepared, b: Prepared, guess: _Guess) -> Aligned:
    best, agreement = _refined(a, b, guess.transform)
    laid = lay(a.image, b.image, best)
    first, other = (b, a) if laid.swapped else (a, b)
    evidence = [
        np.log1p(guess.inliers) / 5,
        guess.share,
        guess.agreement,
        agreement,
        coverage(best),
        coverage(inverse(best)),
        np.log(abs(np.linalg.det(best[:2, :2])) + 1e-3) / 2,
        float(np.linalg.det(best[:2, :2]) < 0),
        np.hypot(best[2, 0], best[2, 1]),
        np.log1p(len(a.points) + len(b.points)) / 7,
        np.log1p(min(len(a.points), len(b.points))) / 7,
        np.log(max(first.image.shape[:2]) / 256),
        np.log(max(other.image.shape[:2]) / 256),
    ]
    clipped = np.clip(np.array(evidence, np.float32), -4, 4)
    return Aligned(laid.first, laid.second, laid.covered, laid.swapped, best, clipped, _plain(a, b))


def lay(a: Image, b: Image, transform: Homography) -> Canvas:
    """Return both pictures on one canvas. transform: A -> B."""
    swapped = coverage(transform) < coverage(inverse(transform)) - 0.01
    first, other, h = (b, a, inverse(transform)) if swapped else (a, b, transform)
    canvas = np.asarray(cv2.resize(first, (CANVAS, CANVAS), interpolation=_interpolation(first, CANVAS)))
    drawn, covered = _drawn(other, h, CANVAS)
    return Canvas(canvas, _colours_matched(drawn, canvas, covered), covered, swapped)


# Guesses


def _turns() -> tuple[Homography, ...]:
    """Return the whole picture onto the whole picture, in its four turns and their mirrors."""
    centre, back = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]]), np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    quarter, mirror = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), np.diag([-1.0, 1, 1])
    turned = [back @ np.linalg.matrix_power(quarter, k) @ m @ centre for m in (np.eye(3), mirror) for k in range(4)]
    return tuple(turned)


def _places(side: int) -> NDArray[np.int64]:
    """Return (side * side, 8), which pixel of a square comes to each place under each of _WHOLE."""
    across, down = np.meshgrid(np.arange(side) + 0.5, np.arange(side) + 0.5)
    centres = np.stack([across.ravel(), down.ravel()], axis=1) / side
    x, y = np.floor(np.stack([mapped(h, centres) for h in _WHOLE], axis=2) * side).astype(np.int64).transpose(1, 0, 2)
    return np.asarray(y * side + x)


_WHOLE = _turns()
_WHOLE_PLACES = _places(_COARSE)


def _from_features(a: Prepared, b: Prepared) -> Iterator[tuple[Homography, int, float]]:
    """Yield transformations with how many local features agree with each, and which share of the matches that is."""
    if min(len(a.points), len(b.points)) < 4:
        return
    for features in (a.features, a.features[:, _MIRRORED]):
        left, right = _matches(features, b.features)
        start, end = a.points[left] * CANVAS, b.points[right] * CANVAS
        if len(left) >= 3:
            affine, inside = cv2.estimateAffine2D(start, end, method=cv2.USAC_MAGSAC, ransacReprojThreshold=4)
            if affine is not None:
                yield _of_canvas(np.vstack([affine, [0, 0, 1]])), int(inside.sum()), float(inside.mean())
        if len(left) >= 8:
            h, inside = cv2.findHomography(start, end, cv2.USAC_MAGSAC, 3)
            if h is not None:
                yield _of_canvas(h), int(inside.sum()), float(inside.mean())


def _of_canvas(h: Homography) -> Homography:
    """Return a transformation of squares of CANVAS as one of unit squares."""
    scale = np.diag([CANVAS, CANVAS, 1.0])
    return np.asarray(inverse(scale) @ h @ scale)


def _matches(a: NDArray[np.float32], b: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the features of a and of b that are each other's best, clearly."""
    likeness = a @ b.T
    best = likeness.argmax(1)
    rows = np.arange(len(a))
    top = likeness[rows, best]
    mutual = likeness.argmax(0)[best] == rows
    likeness[rows, best] = -1
    second = likeness.max(1)
    # squared distance of unit vectors is 2 - 2 cos
    clear = (1 - top) < _RATIO**2 * (1 - second)
    keep = np.flatnonzero(mutual & clear)
    return keep, best[keep]


def _plausible(h: Homography) -> bool:
    """Tell whether it takes the unit square to a convex shape of sensible size."""
    corners = mapped(h, _CORNERS)
    if not np.isfinite(corners).all():
        return False
    edges = corners[_NEXT] - corners
    turns = _cross(edges, edges[_NEXT])
    area = abs(_cross(corners, corners[_NEXT]).sum()) / 2
    lengths = np.hypot(edges[:, 0], edges[:, 1])
    convex = turns.min() > 0 or turns.max() < 0
    return bool(convex and 1 / _MOST_ZOOM < area < _MOST_ZOOM and lengths.max() < 8 * max(lengths.min(), 1e-9))


def _cross(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (M,), the areas that vectors (M, 2) span with others."""
    return np.asarray(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])


# How well two pictures agree


def _shrunk(grey: NDArray[np.uint8], side: int) -> Grey:
    small = cv2.resize(grey, (side, side), interpolation=_interpolation(grey, side))
    return np.asarray(cv2.GaussianBlur(small.astype(np.float32), (3, 3), 0.8))


def _interpolation(image: NDArray[np.uint8], side: int) -> int:
    return cv2.INTER_AREA if min(image.shape[:2]) > side else cv2.INTER_LINEAR


def _pixels(h: Homography, start: tuple[int, int], end: tuple[int, int]) -> Homography:
    """Return a transformation of unit squares as one of pixels, whose centres are at half-integers.

    start, end: width and height of both pictures.
    """
    return np.asarray(_of_unit(end) @ h @ inverse(_of_unit(start)))


def _of_unit(size: tuple[int, int]) -> Homography:
    """Return what takes the unit square to the pixels of a picture."""
    return np.array([[size[0], 0, -0.5], [0, size[1], -0.5], [0, 0, 1]], np.float64)


def _agreements_of_whole(a: Grey, b: Grey) -> list[float]:
    """Return what _agreement() does of coarse squares under each of _WHOLE, all at once."""
    side = len(a)
    moved, window = b.ravel()[_WHOLE_PLACES].reshape(side, side, -1), (side // 8 | 1, side // 8 | 1)
    ma, mb = cv2.blur(a, window)[..., None], cv2.blur(moved, window)
    va = np.maximum(cv2.blur(a * a, window)[..., None] - ma * ma, 0)
    vb = np.maximum(cv2.blur(moved * moved, window) - mb * mb, 0)
    both = cv2.blur(a[..., None] * moved, window) - ma * mb
    return [float(x) for x in _weighed(both, va, vb, 1.0)]


def _weighed(both: Grey, va: Grey, vb: Grey, inside: Grey | float) -> NDArray[np.float32]:
    """Return the mean correlation over the first two axes, weighed by texture, of local covariance and variances."""
    correlation = both / np.sqrt((va + 4) * (vb + 4))
    texture = np.sqrt(np.maximum(va, vb))
    weight = inside * texture / (texture + 12)
    total: NDArray[np.float32] = (weight * correlation).sum((0, 1)) / (weight.sum((0, 1)) + 1e-3 * len(both) ** 2)
    return total


def _agreement(a: Grey, b: Grey, h: Homography) -> float:
    """Return how well the pictures agree where they overlap: mean local correlation, weighed by texture, in [-1, 1]."""
    if coverage(h) < coverage(inverse(h)):
        a, b, h = b, a, inverse(h)
    side = len(a)
    square = (side, side)
    moved = cv2.warpPerspective(
        b, _pixels(h, square, square), square, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderValue=-1e4
    )
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
    both = cv2.blur(fixed * moved, window) / n - ma * mb
    return float(_weighed(both, va, vb, inside) * covered**0.25)


def _refined(a: Prepared, b: Prepared, h: Homography) -> tuple[Homography, float]:
    """Return the transformation after some steps towards the highest correlation (Evangelidis and Psarakis 2008), and
    the agreement on the fine square.
    """
    best, score = h, _agreement(a.fine, b.fine, h)
    if score > _WORTHWHILE:
        for one, other in ((a.middle, b.middle), (a.fine, b.fine)):
            nearer = _nearer(one, other, best)
            if nearer is not None and (agreement := _agreement(a.fine, b.fine, nearer)) > score:
                best, score = nearer, agreement
    return best, score


def _nearer(a: Grey, b: Grey, h: Homography) -> Homography | None:
    """Return the transformation that correlates best, starting from h; None if none is found."""
    if coverage(h) < coverage(inverse(h)):
        found = _nearer(b, a, inverse(h))
        return None if found is None else inverse(found)
    square = (len(a), len(a))
    start = _pixels(h, square, square)
    stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 25, 1e-4)
    everywhere = np.full(b.shape, 255, np.uint8)
    warp = (start / start[2, 2]).astype(np.float32)
    try:
        _, warp = cv2.findTransformECC(a, b, warp, cv2.MOTION_HOMOGRAPHY, stop, everywhere, 5)
    except cv2.error:  # it did not converge
        return None
    unit = _of_unit(square)
    found = np.asarray(inverse(unit) @ warp.astype(np.float64) @ unit)
    return found if _plausible(found) else None


# Drawing


def _drawn(image: Image, h: Homography, side: int) -> tuple[Image, NDArray[np.bool_]]:
    """Return the picture drawn into a canvas that h takes to it, and where it covers the canvas."""
    height, width = image.shape[:2]
    density = np.sqrt(abs(np.linalg.det(h[:2, :2])) * height * width) / side  # its pixels per pixel of the canvas
    if density > 1.3:
        size = (max(2, round(width / density)), max(2, round(height / density)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        height, width = image.shape[:2]
    pixels = _pixels(h, (side, side), (width, height))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    drawn = cv2.warpPerspective(image, pixels, (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    covered = cv2.warpPerspective(np.ones((height, width), np.uint8), pixels, (side, side), flags=flags)
    return drawn, covered > 0


def _colours_matched(image: Image, like: Image, where: NDArray[np.bool_]) -> Image:
    """Return the image after the change of colour, affine in RGB and its squares, that brings it nearest to `like`.

    By least squares whose weights fall with the residual, so that what differs in a part does not spoil the rest.
    """
    step = slice(None, None, 4)
    inside = where[step, step]
    if inside.sum() < 64:
        return image
    x, y = (i[step, step][inside].astype(np.float64) / 255 for i in (image, like))
    x = np.concatenate([x, x * x, np.ones_like(x[:, :1])], axis=1)  # (M, 7)
    weight, ridge = np.ones(len(x)), np.diag([1e-4] * 6 + [0.0]) * len(x)
    for _ in range(4):
        xw = x * weight[:, None]
        change = np.linalg.solve(xw.T @ x + ridge, xw.T @ y)
        residual = np.square(x @ change - y).sum(1)
        weight = 1 / (1 + residual / 0.03) ** 2 + 1e-6
    full = image.reshape(-1, 3).astype(np.float32) / 255
    full = np.concatenate([full, full * full, np.ones_like(full[:, :1])], axis=1) @ change.astype(np.float32)
    return np.clip(full * 255, 0, 255).round().astype(np.uint8).reshape(image.shape)


# What is left


def residuals(first: Image, second: Image, covered: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return (PLANES, S, S), what is left of two aligned pictures (S, S, 3) where both are.

    Both in grey, their difference, that of their colours, where both are; correlation, structure and difference of
    structure within 7 x 7 pixels; correlation within 21 x 21.
    """
    inside = covered.astype(np.float32)
    a, b = (image.astype(np.float32) * (inside[..., None] / 255) for image in (first, second))
    ga, gb = (cv2.cvtColor(x, cv2.COLOR_RGB2GRAY) for x in (a, b))
    chroma = (a - b)[..., [0, 2]] - (ga - gb)[..., None]
    planes = [ga - 0.5 * inside, gb - 0.5 * inside, 4 * (ga - gb), 4 * chroma[..., 0], 4 * chroma[..., 1], inside]
    for width in (7, 21):
        n, ma, mb, aa, bb, ab = (
            cv2.blur(x, (width, width), borderType=cv2.BORDER_CONSTANT)
            for x in (inside, ga, gb, ga * ga, gb * gb, ga * gb)
        )
        n = n + 1e-6
        ma, mb = ma / n, mb / n
        va, vb = np.maximum(aa / n - ma * ma, 0), np.maximum(bb / n - mb * mb, 0)
        planes.append((ab / n - ma * mb) / np.sqrt((va + 1e-4) * (vb + 1e-4)) * inside)
        if width == 7:
            planes += [np.log(np.sqrt(v + 1e-5)) / 3 + 1.5 for v in (va, vb)]
            planes.append(((ga - ma) - (gb - mb)) / np.sqrt(va + vb + 1e-3) * inside * 0.5)
    return np.stack(planes)
