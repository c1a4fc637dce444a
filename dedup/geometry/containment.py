"""Two pictures and the homography between them -> what would be lost of each if only the other one stayed.

The coarser picture is the frame, and the finer one is drawn into it, so that both have the same resolution. One of them
is the source, the other the target, whichever way is explained better: a version is explained by its original, not the
other way round (Dias, Rocha and Goldenstein, IEEE TIFS 7(2), 2012). changes.py compares them; what lies outside of what
both show is looked at here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from dedup.geometry.blurred_parts import blurred_parts
from dedup.geometry.changes import Changes, find_changes, hardly_differ
from dedup.geometry.detail import DENSER, Detail, blur_between, compare_detail, linear_density
from dedup.geometry.enlargement import is_interpolated
from dedup.geometry.fine import (
    Size,
    draw,
    eroded,
    follow,
    pixels_of_unit,
    refine,
    rescaled,
    shrink,
    size_of,
    within,
)
from dedup.geometry.homography import inverse, map_points
from dedup.geometry.lattice import lattice_of
from dedup.geometry.tone import Image, Mask, Plane, Tone, clipped_away, common_tones, fit_tone, luma, unchanged
from dedup.geometry.traces import UNKNOWN, Decoded, Origin, has_levels_of, made_from
from dedup.types.arrays import Homography
from dedup.types.pairs import Loss

MOST = 3000  # pixels, the longer side at which two pictures are compared
_SMALLEST = 16  # pixels, the shorter side of the shared part
_SMALL = 256  # pixels, the longer side on which colours are compared
_RIM = 0.006  # of the longer side, at the edge of the shared part, that is not compared
_CLEARLY = 0.85  # of the error one way round, below which the other way is taken
_DERIVED, _FOLLOWS = 2.7, 1.5  # of it, from which a picture that follows from another one was made from it; likely was
_DERIVED_LEAST = 0.01  # of its contrast, likewise
_DARKER = 0.85  # of the brightness of the corners, of a vignette
_CLIPS, _CLIPPED_AWAY = 4.0, 0.01  # times as much detail clipped away; share of the picture by which it is more
_PALER = 2.0  # times as colourful
_MUCH_NARROWER, _NARROWER = 1.35, 1.15  # times the range of brightness: a strong sign, and a weak one
_COLOURFUL, _GREY = 5.0, 0.25  # grey levels of a picture in colour; share of it below which its version is grey
_TINT = 10.0  # the same of a picture that was made from the other one
_COARSE = 25  # pixels of the small pictures
_TINTS = 24  # levels of brightness, each of which has its tint
_SMOOTH = 9, 9  # pixels of the small pictures, over which noise is averaged before colours are looked at
_RECOLOURED = 6.0  # grey levels, the median difference from which a picture has another tone
_CHANGED = 8.0  # see Changes
_CONTENT = 0.004  # share of a picture outside of the other one that is more than the inaccuracy of the alignment
_AROUND, _ERR = 320, 2  # pixels, the longer side of what is looked at; of it, by which the alignment may err
_MARKED, _MARKS = 20.0, 12  # grey levels, the deviation at a sharp edge; pixels of the small picture
_EVEN, _UNEVEN = 6.0, 14.0  # grey levels, the deviation in a plain part; where saving leaves most of it
_ONE_COLOUR = 0.85  # share of a part of one colour
_SOFT = 4.0  # grey levels, of the detail of a picture that has hardly any
_DARKEST, _CLIPPED = 4, 0.03  # grey levels that are clipped light; share of the pixels that counts
_STEP, _NEAR = 3, 14  # pixels of it: between two that are compared, and from the edge
_CORNERS = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float64)


@dataclass(frozen=True)
class Overlap:
    """What two pictures share, at the resolution of the coarser one.

    frame, other: (H, W, 3), a part of the coarser picture, and the finer one drawn onto it.   inside: (H, W), where
    both are.   map: pixels of the frame -> pixels of the whole finer picture.
    """

    frame: Image
    other: Image
    inside: Mask
    map: Homography


def compare(left: Decoded, right: Decoded, transform: Homography) -> tuple[Loss, Loss] | None:
    """Return what would be lost of the left picture if only the right one stayed, and the other way round.

    None if they share too little to be compared. transform: left -> right, right to about a hundredth of the pictures.
    """
    swapped = _density(transform, size_of(left.image), size_of(right.image)) < 1
    first, second = (right, left) if swapped else (left, right)
    frame, other = first.image, second.image
    h = inverse(transform) if swapped else transform
    there = refine(frame, other, pixels_of_unit(size_of(other)) @ h @ inverse(pixels_of_unit(size_of(frame))))
    if there is None:
        return None
    lattice = lattice_of(frame, other, there)
    there = lattice.homography if lattice is not None else there
    overlap = _overlap(frame, other, there)
    compared = _compared(overlap, on_lattice=lattice is not None) if overlap is not None else None
    if overlap is None or compared is None:
        return None
    detail = compare_detail(overlap.frame, compared.drawn, overlap.inside, other, overlap.map)
    if not detail.sharper and not compared.recoloured and _is_enlarged(first, second, there, soft=detail.enlarged):
        detail = replace(detail, sharper=True, blurred=False, enlarged=True)
    traced = UNKNOWN
    if lattice is not None:
        tones = compared.to_frame, compared.to_other
        traced = made_from(first, second, lattice, *tones, recoloured=compared.recoloured)
    origin = _of_origin(compared, detail, traced)
    found = [
        _of_surroundings(frame, other, there, exact=lattice is not None),
        _of_colours(compared, origin),
        _of_detail(detail),
        _of_parts(compared, detail, origin),
        _of_changes(compared, _sign_of(origin, Loss.DERIVED) or traced.made or detail.softer or detail.noisier),
        origin,
    ]
    mine, its = (Loss(0), Loss(0))
    for of_frame, of_other in found:
        mine, its = mine | of_frame, its | of_other
    if compared.recoloured:  # what was made from the other one lost its tone; where that is not known, either may have
        mine |= Loss.TONE if its & Loss.DERIVED or not mine & Loss.DERIVED else Loss(0)
        its |= Loss.TONE if mine & Loss.DERIVED or not its & Loss.DERIVED else Loss(0)
    return (its, mine) if swapped else (mine, its)


def _is_enlarged(small: Decoded, large: Decoded, there: Homography, *, soft: bool) -> bool:
    """Return whether a picture with more pixels was made from the other one.

    soft: it has nothing in them; then the steps of the smaller file, too, tell it from a source that is out of focus.
    there: pixels of `small` -> pixels of `large`.
    """
    if small.steps is None or linear_density(there) < DENSER:
        return False
    return (soft and has_levels_of(small, large, there)) or is_interpolated(small, large, there, soft=soft)


def _of_origin(compared: _Compared, detail: Detail, traced: Origin) -> tuple[Loss, Loss]:
    """Return which picture was made from the other one: DERIVED, or FOLLOWS where that is only likelier.

    The traces in the files and detail that was clipped away tell it, or else noise that was added, a filter that
    sharpened, and a tone that cannot be undone, unless they contradict each other.
    """
    tones = compared.to_frame, compared.to_other
    shaded, mixed = any(tone.shade is not None for tone in tones), any(tone.mixes for tone in tones)
    paler = _much_less(compared.colours, _PALER, least=_COLOURFUL)
    if paler and traced.made == -paler and not traced.clear:  # grey pictures are hardly ever coloured
        traced = UNKNOWN
    clipped = -_much_less(compared.clipped, _CLIPS, least=_CLIPPED_AWAY) if compared.recoloured or detail.equal else 0
    if shaded or detail.noisier or any(tone.light is not None for tone in tones):  # these amplify what is nearly white
        clipped = 0
    follows = 0 if shaded or detail.noisier else _much_less(compared.errors, _DERIVED, least=_DERIVED_LEAST)
    # another tone amplifies noise
    others = {follows} if compared.recoloured else {follows, detail.noisier, detail.sharpened}
    sure = traced.sure or (traced.clear and traced.made in (clipped, _vignetted(*tones)))
    clearly = traced.made if traced.clear and compared.recoloured else 0
    for signs in (
        {traced.made if sure else 0, clipped if compared.recoloured and not mixed else 0} - {0},
        others - {0},
    ):
        if len(signs) == 1 and -clearly not in signs:
            return _of_one(signs.pop(), Loss.DERIVED)
        if signs:
            break
    ranges = compared.ranges if compared.recoloured else (0.0, 0.0)  # sharpening widens them, a blur narrows them
    weaker = (
        _much_less(ranges, _MUCH_NARROWER, least=0),
        clipped,
        traced.made,
        detail.noisier,
        0 if detail.noisier else _much_less(compared.errors, _FOLLOWS, least=_DERIVED_LEAST),
        paler,
        _much_less(ranges, _NARROWER, least=0),
    )
    return _of_one(next((sign for sign in weaker if sign), 0), Loss.FOLLOWS)


def _vignetted(to_frame: Tone, to_other: Tone) -> int:
    """Return -1 if the corners of the frame are darker than those of the other picture beside the middle of both, 1 if
    they are brighter, otherwise 0. Programs darken corners; hardly ever they brighten them.
    """
    brighter = _corners(to_frame) / _corners(to_other)
    return -1 if brighter < _DARKER else int(brighter > 1 / _DARKER)


def _corners(tone: Tone) -> float:
    """Return by what a tone multiplies the brightness of the corners beside that of the middle."""
    if tone.shade is None:
        return 1.0
    height, width = (n // 8 for n in tone.shade.shape)
    corners = [tone.shade[y, x] for y in (height, -1 - height) for x in (width, -1 - width)]
    return float(np.mean(corners) / tone.shade[4 * height, 4 * width])


def _of_one(sign: int, loss: Loss) -> tuple[Loss, Loss]:
    """Return a loss of the frame (-1), of the other picture (1), or of neither (0)."""
    return loss if sign < 0 else Loss(0), loss if sign > 0 else Loss(0)


def _sign_of(found: tuple[Loss, Loss], loss: Loss) -> int:
    """Return whether this is lost of the frame (-1), of the other picture (1), or of neither or both (0)."""
    return bool(found[1] & loss) - bool(found[0] & loss)


def _much_less(figures: tuple[float, float], times: float, *, least: float) -> int:
    """Return -1 if the first of two figures is less by a factor, 1 if the second one is, otherwise 0.

    least: that they must differ by.
    """
    less, more = sorted(figures)
    if more <= times * less or more <= less + least:
        return 0
    return -1 if figures[0] < figures[1] else 1


def _density(h: Homography, left: Size, right: Size) -> float:
    """Return the linear pixels of the right picture per pixel of the left one, in the middle of what they share."""
    corners = np.clip(map_points(inverse(h), _CORNERS), 0, 1)
    centre, step = (np.nanmin(corners, axis=0) + np.nanmax(corners, axis=0)) / 2, 1e-3
    points = map_points(h, centre + np.array([[step, 0], [-step, 0], [0, step], [0, -step]]))
    jacobian = np.stack([points[0] - points[1], points[2] - points[3]], axis=1) / (2 * step)
    return float(np.sqrt(abs(np.linalg.det(jacobian)) * right[0] * right[1] / (left[0] * left[1])))


def _overlap(frame: Image, other: Image, there: Homography) -> Overlap | None:
    """Return what they share; None if that is too little. there: pixels of `frame` -> pixels of `other`."""
    width, height = size_of(frame)
    corners = map_points(inverse(there), _CORNERS * size_of(other) - 0.5)
    left, top = np.clip(np.floor(np.nanmin(corners, axis=0)), 0, None).astype(int).tolist()
    right, bottom = np.minimum(np.ceil(np.nanmax(corners, axis=0)) + 1, (width, height)).astype(int).tolist()
    if min(right - left, bottom - top) < _SMALLEST:
        return None
    part = np.ascontiguousarray(frame[top:bottom, left:right])
    there = there @ np.array([[1, 0, left], [0, 1, top], [0, 0, 1]], np.float64)
    size = within(size_of(part), MOST)
    there = there @ rescaled(size, size_of(part))
    part = shrink(part, size).astype(np.uint8)
    drawn, covered = draw(other, there, size)
    inside = eroded(covered, max(2, round(_RIM * max(size))))
    return Overlap(part, drawn, inside, there) if inside.sum() >= _SMALLEST**2 else None


@dataclass(frozen=True)
class _Compared:
    """What two pictures share, in one place to a fraction of a pixel, and the tones to the frame and to the other.

    drawn: the luminance of the other picture in the tone of the frame.   colours: how colourful both are, 0 to 255.
    recoloured: their tones differ visibly.   errors: of the frame and of the other after these tones, beside the
    contrast of each.   clipped: see clipped_away(), of both.   ranges: between dark and bright, of both.   differ: by
    more than a saved version may.
    """

    overlap: Overlap
    to_frame: Tone
    to_other: Tone
    drawn: Plane
    colours: tuple[float, float]
    recoloured: bool
    errors: tuple[float, float]
    clipped: tuple[float, float]
    ranges: tuple[float, float]
    differ: bool


def _compared(overlap: Overlap, *, on_lattice: bool) -> _Compared | None:
    """Return the comparison of the shared part; None if it is too small for that.

    on_lattice: the pixels of both pictures coincide.
    """
    if hardly_differ(overlap.frame, overlap.other, overlap.inside):
        drawn = cv2.cvtColor(overlap.other, cv2.COLOR_RGB2GRAY).astype(np.float32)
        same, nothing = unchanged(), (0.0, 0.0)
        return _Compared(overlap, same, same, drawn, nothing, False, nothing, nothing, nothing, differ=False)
    size = within(size_of(overlap.frame), _SMALL)
    inside = shrink(overlap.inside.astype(np.float32), size) > 0.99
    if inside.sum() < 64:
        return None
    frame, other = (shrink(image, size).astype(np.uint8) for image in (overlap.frame, overlap.other))
    if not on_lattice:
        followed = follow(overlap.frame, overlap.other, overlap.inside, common_tones(frame, other, inside))
        overlap = replace(overlap, other=followed.astype(np.uint8))
        other = shrink(overlap.other, size).astype(np.uint8)
    tones = fit_tone(other, frame, inside), fit_tone(frame, other, inside)
    coarse = [cv2.blur(image.astype(np.float32), (_COARSE, _COARSE)) for image in (frame, other)]  # a blur is no tone
    recoloured = float(np.median(np.abs(coarse[0] - coarse[1]).mean(2)[inside])) > _RECOLOURED
    errors = (
        tones[0].error / max(1.0, float(luma(frame)[inside].std())),
        tones[1].error / max(1.0, float(luma(other)[inside].std())),
    )
    drawn = luma(tones[0].apply(overlap.other))
    colours = _colour(frame, inside), _colour(other, inside)
    clipped = clipped_away(frame, other, inside), clipped_away(other, frame, inside)
    ranges = _range(frame, inside), _range(other, inside)
    return _Compared(overlap, *tones, drawn, colours, recoloured, errors, clipped, ranges, differ=True)


def _range(image: Image, inside: Mask) -> float:
    """Return how far bright is from dark in a picture, in grey levels."""
    dark, bright = np.quantile(luma(image)[inside], (0.01, 0.99))
    return float(bright - dark)


def _colour(image: Image, inside: Mask) -> float:
    """Return how far colours are from a tint that depends on the brightness alone, in grey levels: 0 for grey, sepia.

    A grey picture with coloured noise has no colour, either: the noise is averaged.
    """
    return min(
        _off_tint(image.astype(np.float32), inside), _off_tint(cv2.blur(image.astype(np.float32), _SMOOTH), inside)
    )


def _off_tint(image: NDArray[np.float32], inside: Mask) -> float:
    bright = luma(image)[inside]
    chroma = (image[inside] - bright[:, None])[:, [0, 2]]
    bins = np.minimum(bright / np.float32(255) * _TINTS, _TINTS - 1).astype(np.int64)
    counts = np.maximum(np.bincount(bins, minlength=_TINTS), 1)
    means = [np.bincount(bins, weights=part, minlength=_TINTS) / counts for part in chroma.T]
    tint = np.stack([mean[bins] for mean in means], axis=1)
    return float(np.sqrt(np.square(chroma - tint).sum(1).mean()))


def _of_colours(compared: _Compared, origin: tuple[Loss, Loss]) -> tuple[Loss, Loss]:
    """Return whether one of the pictures has lost its colour. A tint that a grey picture was given is no colour."""
    one, other = compared.colours
    first, second = (
        Loss.COLOUR if mine > (_TINT if made & Loss.DERIVED else _COLOURFUL) and its < _GREY * mine else Loss(0)
        for mine, its, made in ((one, other, origin[0]), (other, one, origin[1]))
    )
    return first, second


def _of_detail(detail: Detail) -> tuple[Loss, Loss]:
    mine = Loss.DETAIL if detail.sharper else Loss(0)
    its = Loss.DETAIL if detail.blurred else Loss(0)
    its |= Loss.ENLARGED if detail.enlarged else Loss(0)
    if detail.equal:
        mine, its = mine | Loss.ENLARGED, its | Loss.ENLARGED
    return mine, its


def _of_parts(compared: _Compared, detail: Detail, origin: tuple[Loss, Loss]) -> tuple[Loss, Loss]:
    """Return whether a part of each picture is blurred in the other one.

    What the softer picture seems to have more of, or one that was made from the other by adding noise or in another
    tone, are traces of saving, noise and filters.
    """
    blurred = blurred_parts(luma(compared.overlap.frame), compared.drawn, compared.overlap.inside)
    found = []
    for missing, made, sign in zip(blurred, origin, (-1, 1), strict=True):
        filtered = made & Loss.DERIVED and (compared.recoloured or detail.noisier == sign)
        found.append(Loss.PART_BLURRED if missing and detail.softer != sign and not filtered else Loss(0))
    return found[0], found[1]


def _of_changes(compared: _Compared, made: int) -> tuple[Loss, Loss]:
    """Return whether a part of both shows something else or has another colour; that is lost of either.

    made: which was made from the other one: the frame (-1), the other (1), not known (0).
    """
    found = _changes(compared, made) if compared.differ else Changes(0.0, 0.0)
    loss = (Loss.CONTENT if found.content > _CHANGED else Loss(0)) | (
        Loss.RECOLOURED if found.colour > _CHANGED else Loss(0)
    )
    return loss, loss


def _changes(compared: _Compared, made: int) -> Changes:
    """Return how strongly the picture that follows from the other differs from it, after the tone between them."""
    frame, other, inside = compared.overlap.frame, compared.overlap.other, compared.overlap.inside
    if made < 0 or (not made and _follows(compared)):
        return _after_blur(frame, other, compared.drawn, compared.to_frame, inside)
    return _after_blur(other, frame, luma(compared.to_other.apply(frame)), compared.to_other, inside)


def _after_blur(target: Image, source: Image, toned: Plane, tone: Tone, inside: Mask) -> Changes:
    """Return how strongly the target differs from the source, after the blur and the tone between them."""
    sigma = blur_between(source, target, inside)
    if sigma:
        source = np.asarray(cv2.GaussianBlur(source, (0, 0), sigma))
        size = within(size_of(source), _SMALL)
        small, wanted = (shrink(image, size).astype(np.uint8) for image in (source, target))
        tone = fit_tone(small, wanted, shrink(inside.astype(np.float32), size) > 0.99)
        toned = luma(tone.apply(source))
    return find_changes(target, source, toned, tone, inside)


def _follows(compared: _Compared) -> bool:
    """Return whether the frame is explained by the other picture, rather than the other by the frame."""
    to_frame, to_other = compared.errors
    if min(to_frame, to_other) < _CLEARLY * max(to_frame, to_other):
        return to_frame < to_other
    inside = compared.overlap.inside
    frame, other = (luma(image) for image in (compared.overlap.frame, compared.overlap.other))
    clipped = [float(((plane < _DARKEST) | (plane > 255 - _DARKEST))[inside].mean()) for plane in (frame, other)]
    if abs(clipped[0] - clipped[1]) > _CLIPPED:
        return clipped[0] > clipped[1]
    fine = [np.abs(plane - cv2.blur(plane, (3, 3)))[inside].mean() for plane in (frame, other)]
    return bool(fine[0] < fine[1])


# Around the shared part


def _of_surroundings(frame: Image, other: Image, there: Homography, *, exact: bool) -> tuple[Loss, Loss]:
    """Return what each picture shows outside of the other one. there: pixels of `frame` -> pixels of `other`.

    exact: that map does not err.
    """
    rim = 1 if exact else _ERR
    around = _around(frame, size_of(other), there, rim), _around(other, size_of(frame), inverse(there), rim)
    found = [Loss(0), Loss(0)]
    for n, (content, borders, added) in enumerate(around):
        if content > _CONTENT:
            found[n] |= Loss.ADDED if added else Loss.CROPPED
            found[1 - n] |= Loss.SURROUNDED if added else Loss(0)
        elif borders > _CONTENT:
            found[n] |= Loss.BORDERS
    return found[0], found[1]


def _around(image: Image, other: Size, there: Homography, rim: int) -> tuple[float, float, bool]:
    """Return what a picture has outside of the part that another one, of this size, shows too.

    Which shares of its area hold something, and are plain or blurred; and whether it does not continue the shared part,
    but was added: a caption below, a collage, a screen. there: its pixels -> pixels of the other.   rim: pixels around
    that part, of the picture with a longer side of at most 320, that are not looked at.
    """
    size = within(size_of(image), _AROUND)
    small = shrink(image, size).astype(np.uint8)
    whole = np.full(other[::-1], 255, np.uint8)
    step = there @ rescaled(size, size_of(image))
    covered = cv2.warpPerspective(whole, step, size, flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP) > 0
    outside = cv2.dilate(covered.astype(np.uint8), np.ones((2 * rim + 1, 2 * rim + 1), np.uint8)) == 0
    if outside.sum() < 8:
        return 0.0, 0.0, False
    mean, deviation = _statistics(small.astype(np.float32), outside)
    added = _breaks(small, covered)
    content = _not_plain(mean, deviation, outside)
    if _has_marks(deviation, outside):
        return max(float(content.mean()), 2 * _CONTENT), 0.0, added
    if _is_filled(small, outside, covered):
        return 0.0, float(outside.mean()), True
    return float(content.mean()), float((outside & ~content).mean()), added


def _statistics(pixels: NDArray[np.float32], where: Mask) -> tuple[NDArray[np.float32], Plane]:
    """Return the mean (H, W, 3) and the largest deviation (H, W) of the pixels around each pixel, of those in the mask.

    A thin border has few pixels; those of the picture beside it are not among them.
    """
    weight = where.astype(np.float32)
    whole = np.maximum(cv2.blur(weight, (5, 5)), np.float32(1e-3))[..., None]
    mean, square = (cv2.blur(part * weight[..., None], (5, 5)) / whole for part in (pixels, pixels * pixels))
    return np.asarray(mean, np.float32), np.sqrt(np.maximum(square - mean * mean, 0).max(2))


def _has_marks(deviation: Plane, where: Mask) -> bool:
    """Return whether there is something with sharp edges in a part of a picture, away from its rim: a word, a sign."""
    far = (
        cv2.erode(where.astype(np.uint8), np.ones((9, 9), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=1) > 0
    )
    return int((far & (deviation > _MARKED)).sum()) >= _MARKS


def _not_plain(mean: NDArray[np.float32], deviation: Plane, where: Mask) -> Mask:
    """Return where in a part of a picture there is something besides up to three plain colours.

    mean, deviation: of the pixels around each pixel, (H, W, 3) and (H, W).
    """
    left, plain = where & (deviation < _EVEN), np.zeros_like(where)
    for _ in range(3):
        if left.sum() < 8:
            break
        colours = mean[left]
        keys = (colours // 16).astype(np.int64) @ [256, 16, 1]
        values, counts = np.unique(keys, return_counts=True)
        most = colours[keys == values[counts.argmax()]].mean(0)
        alike = where & (np.abs(mean - most).max(2) < 14)
        plain |= alike & (left | ((deviation < _UNEVEN) & (alike.sum() > _ONE_COLOUR * where.sum())))
        left &= ~alike
    something = (where & ~plain).astype(np.uint8)
    return np.asarray(cv2.morphologyEx(something, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8)) > 0)


def _is_filled(image: Image, outside: Mask, covered: Mask) -> bool:
    """Return whether the surroundings have no detail, but the shared part has beside them: a blurred copy in bars."""
    grey = luma(image)
    detail = np.abs(grey - cv2.blur(grey, (5, 5)))
    beside = covered & (cv2.dilate(outside.astype(np.uint8), np.ones((41, 41), np.uint8)) > 0)
    return bool(
        beside.any() and np.quantile(detail[outside], 0.98) < _SOFT and np.quantile(detail[beside], 0.98) > 3 * _SOFT
    )


def _breaks(image: Image, covered: Mask) -> bool:
    """Return whether a picture changes abruptly at one of the edges of the shared part, and nowhere else near it."""
    grey = luma(image)
    return any(_breaks_right(np.rot90(grey, n), np.rot90(covered, n)) for n in range(4))


def _breaks_right(grey: Plane, covered: Mask) -> bool:
    """Return the same of the edges with the shared part to the left: pixels on both sides are compared with pixels as
    far from each other, further in and further out.
    """
    rows, columns = np.nonzero(covered[:, :-1] & ~covered[:, 1:])
    steps = np.arange(-_NEAR, _NEAR + 1)
    there = (columns >= _NEAR + _STEP) & (columns + _NEAR + _STEP < covered.shape[1])
    rows, columns = rows[there], columns[there]
    if len(rows) < 16:
        return False
    across = [float(np.abs(grey[rows, columns + n + _STEP] - grey[rows, columns + n]).mean()) for n in steps]
    here, elsewhere = across[_NEAR - _STEP : _NEAR + 2], across[: _NEAR - 2 * _STEP] + across[_NEAR + _STEP + 1 :]
    return max(here) > 1.6 * max(elsewhere) + 6
