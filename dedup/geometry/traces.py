"""Two aligned pictures from JPEG files -> which of them was made from the other, by the traces of quantisation.

A JPEG file keeps each DCT coefficient as a level, a multiple of a step. Whoever knows the picture that the file was
made from knows the levels: the coefficients of that picture, in the tone of the file, rounded. The other way round it
does not hold: levels were merged or left out, and the picture that is predicted from the file falls into other cells
than its own. So the direction in which more of the child's levels is explained is the true one, by the logarithm of
their likelihood. Where both were saved with the same steps on the same grid and nothing was changed, the later one is
the one whose pixels lie nearer to the levels in the blocks that differ, since saving again and again comes to rest
(Huang, Huang and Shi, *Detecting double JPEG compression with the same quantization matrix*, IEEE TIFS 5(4), 2010).

Beside a picture that was never a JPEG the file's cells are looked at alone: its source fills them evenly, and what was
made from it lies near their middles (Lukáš and Fridrich, *Estimation of primary quantization matrix in double
compressed JPEG images*, DFRWS 2003).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dedup.geometry.fine import draw, shrink
from dedup.geometry.lattice import Box, Lattice
from dedup.geometry.least_squares import hats, robust_factors
from dedup.geometry.tone import Image, Plane, Tone, luma
from dedup.types.arrays import Homography

Steps = NDArray[np.float32]  # (8, 8), the quantisation of luminance, rows by vertical frequency

BLOCK = 8  # pixels, the side of a block of a JPEG

_LARGEST = 512  # pixels, the side of the part that is looked at
_FEWEST, _FEWEST_BLOCKS = 300, 50  # coefficients, blocks
_FINEST = 3.0  # grey levels, a step that rounding does not hide
_ELSE, _TONED = 0.03, 0.12  # shares outside of the cells of a child at most; the same after a tone was undone
_BLOCKS = 1000  # that the levels are compared in
# The noise of a prediction in grey levels, and the share of a coefficient by which it may be wrong: of rounding alone,
# of an edit's rounding too, and of tones that are fitted less well.
_ERRORS = (0.3, 0.01), (0.6, 0.01), (0.6, 0.04), (1.2, 0.04)
_STRAY = 0.01  # share of levels that follow no prediction
_LOGISTIC = 1.702  # slope of the logistic function that is nearest to the normal distribution's
_HIGHEST = 31  # level that is told from higher ones
_LEAST, _SURE = 20.0, 0.005  # nats by which one direction is better; share of all nats, to be sure
_CLEAR = 0.12  # share of all nats by which one direction is far better
_EXPLAINED, _LIKELY_EXPLAINED = 0.6, 0.4  # share of the child's levels, in nats, to be sure; to be likely
_SAME = np.array([0.5, 2.0])  # grey levels, the difference of half of the blocks and of nine in ten after saving again
_SAVED = 1.0  # grey levels, by which saving changes a block at most
_RESTED = 1.0  # standard errors by which one of them is nearer to the levels, to be sure
_MISSED, _FEWER = 0.2, 0.7  # share of the pixels that saving does not hit; times those that it misses the other way
_NOISES, _SLOPES = np.geomspace(0.2, 3.2, 7), (0.01, 0.03)  # grey levels; shares of a coefficient
_EXACT = 0.68  # grey levels, the noise of a prediction below which it was made from these very pixels
_TOLD = 0.3  # of a step, the coefficients below which say nothing of rounding
_ROUNDING, _EXTREME = 0.35, 3  # grey levels: deviation of a coefficient from it; of black and white
_PART, _REACH, _MADE_LARGER = 256, 3, 0.8  # pixels, of the part and of the filter; Spread.middle of an enlargement
_FITTED, _KNOTS = 4, 16  # pixels, the cells by which a tone is corrected; values between which the curve is linear
_MIDDLE = 0.65  # Spread.middle, below which a picture was made from the file whose cells these are
_ZIGZAG = [(v, u) for v in range(6) for u in range(6) if 0 < u + v < 6]  # frequencies
_DCT = np.array(
    [[np.sqrt((1 if k == 0 else 2) / 8) * np.cos((2 * n + 1) * k * np.pi / 16) for n in range(8)] for k in range(8)],
    np.float32,
)


@dataclass(frozen=True)
class Spread:
    """Where the coefficients of a picture lie in the cells of another one.

    middle: median distance from the middles, beside that of coefficients that fill the cells evenly.   outside: share
    that lies outside, by more than rounding does.   toned: a tone had to be undone, which is never exact.
    """

    middle: float
    outside: float
    toned: bool

    @property
    def fits(self) -> bool:
        """Whether little enough else was done to the pictures: they were not sharpened, nothing covers them."""
        return self.outside < (_TONED if self.toned else _ELSE)


@dataclass(frozen=True)
class Decoded:
    """A picture (H, W, 3), and the steps by which a JPEG of these very pixels quantised it; None if there is none."""

    image: Image
    steps: Steps | None


@dataclass(frozen=True)
class Seen:
    """The DCT coefficients of a picture from a JPEG, and of the other picture on the same grid and in its tone.

    mine, its: (N, 8, 8), of blocks without black and white, if there are any.   toned: a tone had to be undone, which
    is never exact.
    slope: how much stronger its coefficients are than in its own tone.
    """

    mine: NDArray[np.float32]
    its: NDArray[np.float32]
    steps: Steps
    toned: bool
    slope: float


@dataclass(frozen=True)
class Origin:
    """Which of two pictures was made from the other: the first (-1), the second (1), or it cannot be told (0).

    sure: it is hardly ever the other way round; otherwise it is only likelier.   clear: one way explains far more, but
    neither may be the source of the other.
    """

    made: int
    sure: bool = True
    clear: bool = False


UNKNOWN = Origin(0)


@dataclass(frozen=True)
class Explained:
    """How much of the levels of a picture is explained by the other one, in nats, without blocks that show something
    else; the share that is explained with these; and how much there is to explain.
    """

    nats: float
    share: float
    of: float


def made_from(
    first: Decoded, second: Decoded, lattice: Lattice, to_first: Tone, to_second: Tone, *, recoloured: bool
) -> Origin:
    """Return which of two pictures was made from the other; UNKNOWN if too much else was done to one, or if neither
    comes from a JPEG.

    lattice: pixels of the first -> pixels of the second.   to_first, to_second: the tone of the other in that of each.
    recoloured: their tones differ visibly; then it is sure only if no source of both is the likelier answer.
    """
    again = _saved_again(first, second, lattice)
    if again is not None:
        return again
    of_first = _seen(first, second.image, lattice, to_first)
    of_second = _seen(second, first.image, lattice.inverse, to_second)
    if of_first is not None and of_second is not None:
        return _by_levels(of_first, of_second, in_tone=recoloured or of_first.toned or of_second.toned)
    return Origin(_alone(of_first) if of_first is not None else -_alone(of_second))


def has_levels_of(small: Decoded, large: Decoded, there: Homography) -> bool:
    """Return whether a picture with more pixels was made from a JPEG with fewer.

    It is made as small again, and as sharp by a filter that is fitted. If its coefficients then lie near the middles of
    the cells of the file, it was made from what the file holds; what the file was made from fills the cells evenly.
    there: pixels of the small picture -> pixels of the large one.
    """
    rows, columns = (side // 16 * 8 for side in small.image.shape[:2])  # the middle, in whole blocks
    side = min(rows, columns, _PART // 2)
    if small.steps is None or side < 32:
        return False
    left, top = columns - side, rows - side
    image = np.ascontiguousarray(small.image[top : top + 2 * side, left : left + 2 * side])
    shifted = there @ np.array([[1, 0, left], [0, 1, top], [0, 0, 1]], np.float64)
    again, covered = draw(large.image, shifted, (2 * side, 2 * side))
    if not covered.all():
        return False
    target = luma(image)
    mine, its = (_coefficients(_blocks(plane)) for plane in (target, _sharpened_to(luma(again), target)))
    usable = ~_clipped(image)
    spread = _spread(Seen(mine[usable], its[usable], small.steps, False, 1.0))
    return spread is not None and spread.middle < _MADE_LARGER


def _sharpened_to(plane: Plane, target: Plane) -> Plane:
    """Return a plane after the filter that brings it nearest to the target, by least squares."""
    height, width = plane.shape
    padded = np.pad(plane - 128, _REACH, mode="edge")
    shifts = range(2 * _REACH + 1)
    terms = np.stack([padded[y : y + height, x : x + width].ravel() for y in shifts for x in shifts], axis=1)
    ridge = 1e-2 * len(terms) * np.eye(terms.shape[1], dtype=np.float32)
    factors = np.linalg.solve(terms.T @ terms + ridge, terms.T @ (target.ravel() - 128))
    return np.asarray((terms @ factors).reshape(height, width) + 128, np.float32)


def _saved_again(first: Decoded, second: Decoded, lattice: Lattice) -> Origin | None:
    """Return which of two JPEGs is the other one saved again with its own steps; None if more was done to it."""
    box = _whole_blocks(lattice.shared(first.image.shape, second.image.shape))
    if first.steps is None or second.steps is None or box is None or not lattice.keeps_grid(BLOCK):
        return None
    if not np.array_equal(first.steps, second.steps if lattice.turn[0, 0] else second.steps.T):
        return None
    left, top, right, bottom = box
    images = first.image[top:bottom, left:right], lattice.taken(second.image, box)
    width = right - left
    difference = cv2.absdiff(*images).reshape(-1, BLOCK, width // BLOCK, 3 * BLOCK).mean((1, 3)).ravel()
    planes = [np.rint(luma(image)) for image in images]
    saved = [quantised(plane, first.steps) for plane in planes]
    missed = [np.count_nonzero(np.rint(saved[n].clip(0, 255)) != planes[1 - n]) for n in range(2)]
    hit = Origin(int(np.sign(missed[1] - missed[0])))
    if (np.quantile(difference, (0.5, 0.9)) >= _SAME).any():  # saving changes saturated colours more
        return hit if min(missed) < min(_MISSED * planes[0].size, _FEWER * max(missed)) else None
    differ = _blocks(np.abs(planes[0] - planes[1])).any((1, 2)) & (difference < _SAVED)
    if not differ.any():
        return UNKNOWN
    mine, its = (
        np.square(_blocks(plane - again)[differ]).mean((1, 2)) for plane, again in zip(planes, saved, strict=True)
    )
    nearer = mine - its
    error = float(nearer.std()) / np.sqrt(len(nearer)) + 1e-3
    return Origin(int(np.sign(nearer.mean()))) if abs(nearer.mean()) > _RESTED * error else hit


def _by_levels(of_first: Seen, of_second: Seen, *, in_tone: bool) -> Origin:
    """Return what made_from() does, for two JPEGs.   in_tone: in two tones."""
    first, second = _explained(of_first), _explained(of_second)
    least = min(first.of, second.of)
    gain, child = second.nats - first.nats, second if second.nats > first.nats else first
    if least < _FEWEST or abs(gain) <= _LEAST or child.share <= _LIKELY_EXPLAINED:
        return UNKNOWN
    one, other = (of_second, of_first) if gain > 0 else (of_first, of_second)
    sure = abs(gain) > _SURE * least and child.share > _EXPLAINED and (not in_tone or _is_exact(one, other.steps))
    return Origin(int(np.sign(gain)), sure=sure, clear=abs(gain) > _CLEAR * least)


def _is_exact(child: Seen, steps: Steps) -> bool:
    """Return whether a picture was made from these very pixels, not from what they were saved from too.

    Its levels then follow from the pixels as they are, but for little more than the rounding to whole grey levels.
    Otherwise they differ by the rounding of the coefficients as well, the variance of which is a twelfth of the squared
    steps.   steps: of the other picture.
    """
    logs = np.log(_NOISES)
    found = np.array([max(_likelihood(child, float(n), slope) for slope in _SLOPES) for n in _NOISES])
    best = int(found.argmax())
    noise = logs[best]
    if 0 < best < len(found) - 1:  # the top of a parabola through three points
        before, at, after = found[best - 1 : best + 2]
        noise += (logs[1] - logs[0]) * 0.5 * (before - after) / (before - 2 * at + after)
    told = [np.count_nonzero(_told(child, v, u)) for v, u in _ZIGZAG]
    rounding = np.sqrt(np.average([steps[v, u] ** 2 / 12 for v, u in _ZIGZAG], weights=told)) if any(told) else 0.0
    return bool(np.exp(noise) < max(_EXACT, child.slope * rounding / 2))


def _likelihood(seen: Seen, noise: float, slope: float) -> float:
    """Return the log-likelihood of a picture's levels, given the other one.

    noise, slope: of a prediction, in grey levels, and as a share of it.
    """
    total = 0.0
    for v, u in _ZIGZAG:
        step = float(seen.steps[v, u])
        there = _told(seen, v, u)
        its, level = seen.its[there, v, u], np.rint(seen.mine[there, v, u] / step)
        inside = _in_cells(level, step, its, np.sqrt(noise**2 + (slope * its) ** 2))
        total += float(np.log((1 - _STRAY) * inside + _STRAY / _HIGHEST).sum())
    return total


def _in_cells(
    levels: NDArray[np.float32], step: float, predicted: NDArray[np.float32], deviation: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return how probable levels (N,) of a step are, given predictions of the coefficients and their deviations."""
    rate = _LOGISTIC / deviation
    below, above = (
        1 / (1 + np.exp(-np.clip(((levels + half) * step - predicted) * rate, -50, 50))) for half in (-0.5, 0.5)
    )
    return np.asarray(above - below)


def _told(seen: Seen, v: int, u: int) -> NDArray[np.bool_]:
    """Return which coefficients (N,) of a frequency say something of how the other picture was rounded."""
    return np.asarray(np.abs(seen.its[:, v, u]) > _TOLD * seen.steps[v, u])


def _explained(seen: Seen) -> Explained:
    """Return how much of the levels the other picture explains, at the noise at which that is most."""
    errors = _ERRORS if seen.toned else _ERRORS[:2]
    usual, found = np.zeros(len(seen.mine)), np.zeros((len(errors), len(seen.mine)))
    for v, u in _ZIGZAG:
        step, its = float(seen.steps[v, u]), seen.its[:, v, u]
        level = np.rint(seen.mine[:, v, u] / step)
        own = _usual(np.minimum(np.abs(level), _HIGHEST).astype(np.int64))
        usual -= own
        for n, (error, slope) in enumerate(errors):
            inside = _in_cells(level, step, its, np.sqrt(error**2 + (slope * its) ** 2))
            found[n] += np.log((1 - _STRAY) * inside + _STRAY * np.exp(own)) - own
    best = found[found.sum(1).argmax()]
    return Explained(float(np.maximum(best, 0).sum()), float(best.sum() / max(usual.sum(), 1)), float(usual.sum()))


def _usual(levels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the logarithms of how probable absolute levels (N,) with their signs are among themselves.

    The distribution is smooth: zeros, and a mixture of two geometric distributions, fitted by expectation and
    maximisation to all others. A picture that was saved twice has gaps and peaks that it does not explain.
    """
    counts = np.bincount(levels, minlength=_HIGHEST + 1).astype(np.float64)
    zero, counts, n = (counts[0] + 0.5) / (len(levels) + 1), counts[1:], np.arange(1, _HIGHEST + 1)[:, None]
    mean = float((counts * n[:, 0]).sum() / max(counts.sum(), 1))
    stay, weight = 1 - 1 / np.maximum([mean / 2, 2 * mean], 1.1), np.array([0.6, 0.4])
    for _ in range(6):
        parts = weight * (1 - stay) * stay ** (n - 1) + 1e-12
        parts *= (counts / parts.sum(1))[:, None]
        weight = (parts.sum(0) + 1e-3) / (parts.sum() + 2e-3)
        stay = np.clip(1 - parts.sum(0) / np.maximum((parts * n).sum(0), 1e-9), 1e-3, 0.999)
    others = (weight * (1 - stay) * stay ** (n - 1)).sum(1) / 2 + 1e-12
    return np.asarray(np.log(np.r_[zero, (1 - zero) * others])[levels])


def _alone(seen: Seen | None) -> int:
    """Return -1 if a JPEG was made from a picture of another format, 1 if that was made from the JPEG, otherwise 0."""
    spread = _spread(seen) if seen is not None else None
    if spread is None:
        return 0
    if spread.fits and spread.middle < _MIDDLE:
        return 1
    if spread.toned:
        return 0
    if spread.fits:
        return -1 if spread.middle < 1 / _MIDDLE else 0
    return 1 if spread.middle > 1 / _MIDDLE else 0  # it is no coarser saving of that one


def _seen(child: Decoded, parent: Image, lattice: Lattice, tone: Tone) -> Seen | None:
    """Return the coefficients of a picture and of the other one; None if it is no JPEG or they share too little.

    lattice: pixels of the child -> pixels of the parent.   tone: from the parent's to the child's.
    """
    box = _whole_blocks(lattice.shared(child.image.shape, parent.shape))
    if child.steps is None or box is None:
        return None
    left, top, right, bottom = box
    its = lattice.taken(parent, box)
    image = child.image[top:bottom, left:right]
    mine, plain, colours = luma(image), luma(its), tone.apply(its)
    toned = luma(colours)
    has_tone = _difference(mine, toned) < 0.9 * _difference(mine, plain)  # a tone is never fitted exactly
    moderate = ~(_clipped(image) | _clipped(its))
    if not has_tone and np.count_nonzero(moderate) < _FEWEST_BLOCKS:  # on a white ground no other is left
        moderate[:] = True
    blocks = np.flatnonzero(moderate)
    blocks = blocks[:: -(-len(blocks) // _BLOCKS)] if len(blocks) else blocks
    theirs = _corrected(colours, mine, blocks) if has_tone else _blocks(plain)[blocks]
    its_own, predicted = _coefficients(_blocks(mine)[blocks]), _coefficients(theirs)
    slope = _contrast(predicted) / max(_contrast(_coefficients(_blocks(plain)[blocks])), 1e-3) if has_tone else 1.0
    return Seen(its_own, predicted, child.steps, has_tone, slope)


def _contrast(coefficients: NDArray[np.float32]) -> float:
    """Return the RMS of the coefficients (N, 8, 8) that are looked at."""
    rows, columns = np.transpose(_ZIGZAG)
    return float(np.sqrt(np.square(coefficients[:, rows, columns]).sum() / max(len(coefficients), 1)))


def _corrected(toned: NDArray[np.float32], target: Plane, blocks: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return blocks of the luminance of a picture (H, W, 3), brought to that of the target in the means of small cells.

    What a fitted tone leaves is a curve of each channel, and a gain over the picture.
    blocks: those that are fitted, and returned.
    """
    plane = luma(toned)
    size = target.shape[1] // _FITTED, target.shape[0] // _FITTED
    per = 8 // _FITTED
    there = np.zeros((target.shape[0] // 8) * (target.shape[1] // 8), bool)
    there[blocks] = True
    rows = np.flatnonzero(there.reshape(target.shape[0] // 8, -1).repeat(per, 0).repeat(per, 1))
    mine = _blocks(plane)[blocks]
    if len(rows) < per * per * _FEWEST_BLOCKS:
        return mine
    colours, bright = shrink(toned, size), shrink(plane, size)
    across, down = np.meshgrid(np.linspace(-1, 1, size[0]), np.linspace(-1, 1, size[1]))
    gains = [bright / 128 * term for term in (across, down, across * across, across * down, down * down)]
    at = [np.linspace(float(c.min()), float(c.max()) + 1e-3, _KNOTS) for c in np.moveaxis(colours, -1, 0)]
    curves = [hats(colours[..., n], at[n]) for n in range(3)]
    terms = np.concatenate([*curves, np.stack(gains, axis=-1)], axis=-1).reshape(-1, 3 * _KNOTS + len(gains))
    y = (shrink(target, size) - bright).ravel()[rows].astype(np.float64)
    ridge = 1e-4 * len(rows) * np.eye(terms.shape[1])

    def weigh(errors: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(1 / (1 + np.square(errors / (2 * np.median(np.abs(errors)) + 0.2))))

    *of_channels, of_gains = np.split(robust_factors(terms[rows], y, ridge, weigh), _KNOTS * np.arange(1, 4))
    gained = (np.stack(gains, axis=-1) @ of_gains).astype(np.float32)
    for n, factors in enumerate(of_channels):
        mine = mine + np.interp(_blocks(toned[..., n])[blocks], at[n], factors)
    return np.asarray(mine + _blocks(cv2.resize(gained, target.shape[1::-1]))[blocks], np.float32)


def _difference(plane: Plane, other: Plane) -> float:
    return float(np.abs(plane - other).mean())


def _clipped(image: Image) -> NDArray[np.bool_]:
    """Return for each block whether a channel is black or white somewhere in it: no tone can be undone there."""
    rows, columns = image.shape[:2]
    moderate = cv2.inRange(image, (_EXTREME,) * 3, (255 - _EXTREME,) * 3) > 0
    return ~np.asarray(moderate.reshape(rows // 8, 8, columns // 8, 8).all((1, 3)).ravel())


def _whole_blocks(box: Box) -> Box | None:
    """Return the whole blocks in a part of a picture, at most _LARGEST pixels on a side; None if they are too few."""
    low, high = -(-np.array(box[:2]) // 8) * 8, np.array(box[2:]) // 8 * 8
    low += np.maximum(0, (high - low - _LARGEST) // 16) * 8
    high = np.minimum(high, low + _LARGEST)
    left, top, right, bottom = (int(v) for v in (*low, *high))
    return (left, top, right, bottom) if right - left >= 32 and bottom - top >= 32 else None


def _spread(seen: Seen) -> Spread | None:
    """Return where the coefficients of the other picture lie in the cells, where these are not of 0."""
    distances, outside = [], []
    for v, u in _ZIGZAG:
        step = float(seen.steps[v, u])
        if step >= _FINEST:
            there = np.abs(seen.mine[:, v, u]) >= 0.6 * step
            distance = np.abs(seen.its[there, v, u] - seen.mine[there, v, u])
            distances.append(distance / (step / 4 * np.sqrt(1 + 12 * (_ROUNDING / step) ** 2)))
            outside.append(distance > step / 2 + 3 * _ROUNDING)
    if sum(map(len, distances)) < _FEWEST:
        return None
    return Spread(float(np.median(np.concatenate(distances))), float(np.concatenate(outside).mean()), seen.toned)


def quantised(plane: Plane, steps: Steps) -> Plane:
    """Return the luminance of a picture of whole blocks after it was saved with these steps."""
    levels = np.rint(_coefficients(_blocks(plane)) / steps)
    blocks = _DCT.T @ (levels * steps) @ _DCT + 128
    rows, columns = plane.shape
    found = blocks.reshape(rows // BLOCK, columns // BLOCK, BLOCK, BLOCK).transpose(0, 2, 1, 3)
    return np.asarray(found.reshape(rows, columns), np.float32)


def _blocks(plane: Plane) -> NDArray[np.float32]:
    """Return the blocks of a plane, (N, 8, 8), in rows."""
    rows, columns = plane.shape
    return plane.reshape(rows // 8, 8, columns // 8, 8).transpose(0, 2, 1, 3).reshape(-1, 8, 8)


def _coefficients(blocks: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the DCT of blocks, (N, 8, 8)."""
    return np.asarray(_DCT @ (blocks - 128) @ _DCT.T)
