"""Two aligned pictures from JPEG files -> which of them was made from the other, by the traces of quantisation.

A coder replaces each DCT coefficient by the middle of a cell, so that the picture that a JPEG was made from lies
anywhere in that file's cells: the differences fill them evenly. A picture that was made from that file does not: it
lies near the middles if it was saved well, and outside of the cells if it was saved badly, but in its own cells evenly.
Double compression is told by the same traces (Lukáš and Fridrich, *Estimation of primary quantization matrix in double
compressed JPEG images*, DFRWS 2003).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dedup.geometry.tone import Image, Plane, Tone, luma
from dedup.types.arrays import Homography

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels
Steps = NDArray[np.float32]  # (8, 8), the quantisation of luminance, rows by vertical frequency

_LARGEST = 768  # pixels, the side of the part that is looked at
_SAMPLE = 160  # pixels, the side of the part by which a shift is found
_SHIFT = 1  # pixels, by which the alignment may be wrong
_LATTICE = 0.75  # pixels, the same over the whole picture
_FEWEST = 300  # coefficients
_FINEST = 3.0  # grey levels, a step that rounding does not hide
_NEAR, _FAR = 0.3, 0.1  # logarithms of Spread.middle: of a child at most; by how much more of its parent
_INSIDE, _OUTSIDE = 0.02, 0.012  # shares outside of the cells: of a child at most; of its parent at least
_ELSE, _TONED = 0.03, 0.12  # of a child at most, to go by the middles; the same after a tone was undone
_ROUNDING, _EXTREME = 0.35, 3  # grey levels: deviation of a coefficient from it; of black and white
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
    toned: bool = False

    @property
    def fits(self) -> bool:
        """Whether little enough else was done to the pictures: they were not sharpened, nothing covers them."""
        return self.outside < (_TONED if self.toned else _ELSE)


@dataclass(frozen=True)
class Decoded:
    """A picture (H, W, 3), and the steps by which a JPEG of these very pixels quantised it; None if there is none."""

    image: Image
    steps: Steps | None


def made_from(first: Decoded, second: Decoded, there: Homography, to_first: Tone, to_second: Tone) -> int:
    """Return -1 if the first picture was made from the second one, 1 if the second from the first; 0 if it cannot be
    told: they are of two scales or turned by an angle, were saved with the same steps, or neither comes from a JPEG.

    there: pixels of the first -> pixels of the second.   to_first, to_second: the tone of the other in that of each.
    """
    lattice = _lattice(there, first.image.shape)
    if lattice is None:
        return 0
    turn, shift = lattice
    back = np.linalg.inv(turn).round().astype(np.int64)
    of_first = _spread(first, second.image, turn, shift, to_first)
    of_second = _spread(second, first.image, back, -back @ shift, to_second)
    return _decided(of_first, of_second)


def _decided(of_first: Spread | None, of_second: Spread | None) -> int:
    """Return what made_from() does.   of_first: where the second picture lies in the cells of the first one."""
    if of_first is not None and of_second is not None:
        outside = of_first.outside, of_second.outside
        toned = of_first.toned or of_second.toned
        if not toned and min(outside) < _INSIDE and max(outside) > max(_OUTSIDE, 3 * min(outside)):
            return -1 if outside[0] < outside[1] else 1
        costs = [abs(np.log(max(spread.middle, 1e-4))) for spread in (of_first, of_second)]
        child = of_first if costs[0] < costs[1] else of_second
        if min(costs) <= _NEAR and abs(costs[0] - costs[1]) >= _FAR and child.fits:
            return -1 if costs[0] < costs[1] else 1
        near = [spread.fits and spread.middle < _MIDDLE for spread in (of_first, of_second)]
        return 0 if near[0] == near[1] else 1 if near[0] else -1
    return -_alone(of_second) if of_first is None else _alone(of_first)


def _alone(spread: Spread | None) -> int:
    """Return -1 if a JPEG was made from a picture of another format, 1 if that was made from the JPEG, otherwise 0."""
    if spread is None:
        return 0
    if spread.fits and spread.middle < _MIDDLE:
        return 1
    if spread.toned:
        return 0
    if spread.fits:
        return -1 if spread.middle < 1 / _MIDDLE else 0
    return 1 if spread.middle > 1 / _MIDDLE else 0  # it is no coarser saving of that one


def _lattice(there: Homography, shape: tuple[int, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Return the quarter turn or mirroring (2, 2) and the shift (2,) in pixels that a homography is; None if it is more
    than that.
    """
    h = there / there[2, 2]
    turn = np.rint(h[:2, :2])
    size = np.array(shape[1::-1], np.float64)
    corners = np.array([[0, 0], [size[0], 0], [0, size[1]], size]) - 0.5
    mapped = np.c_[corners, np.ones(4)] @ h.T
    centre = (size - 1) / 2
    middle = h @ np.array([*centre, 1.0])
    shift = middle[:2] / middle[2] - turn @ centre
    error = np.abs(mapped[:, :2] / mapped[:, 2:] - (corners @ turn.T + shift)).max()
    if abs(np.linalg.det(turn)) != 1 or np.abs(turn).sum() != 2 or error > _LATTICE + _LATTICE * max(size) / 1000:
        return None
    return turn.astype(np.int64), np.rint(shift).astype(np.int64)


def _spread(
    child: Decoded, parent: Image, turn: NDArray[np.int64], shift: NDArray[np.int64], tone: Tone
) -> Spread | None:
    """Return where the parent lies in the cells of the child; None if it cannot be measured.

    turn, shift: pixels of the child -> pixels of the parent.   tone: from the parent's to the child's.
    """
    box = _shared_box(child.image.shape, parent.shape, turn, shift)
    if child.steps is None or box is None:
        return None
    left, top, right, bottom = box
    middle = _within_box(box, _SAMPLE)
    shifts = [shift + np.array([dx, dy]) for dx in range(-_SHIFT, _SHIFT + 1) for dy in range(-_SHIFT, _SHIFT + 1)]
    sample = luma(child.image[middle[1] : middle[3], middle[0] : middle[2]])
    shift = min(shifts, key=lambda s: _difference(sample, luma(tone.apply(_taken(parent, middle, turn, s)))))
    image, its = child.image[top:bottom, left:right], _taken(parent, box, turn, shift)
    mine, plain, toned = luma(image), luma(its), luma(tone.apply(its))
    has_tone = _difference(mine, toned) < 0.9 * _difference(mine, plain)  # a tone is never fitted exactly
    whole = ~(_clipped(image) | _clipped(its))
    found = _spread_of(_coefficients(mine)[whole], _coefficients(toned if has_tone else plain)[whole], child.steps)
    return replace(found, toned=has_tone) if found is not None else None


def _taken(image: Image, box: Box, turn: NDArray[np.int64], shift: NDArray[np.int64]) -> Image:
    """Return the pixels of a picture at those of a box of the other one."""
    left, top, right, bottom = box
    y, x = np.mgrid[top:bottom, left:right]
    at = turn @ np.stack([x, y]).reshape(2, -1) + shift[:, None]
    return np.ascontiguousarray(image[at[1], at[0]].reshape(bottom - top, right - left, 3))


def _difference(plane: Plane, other: Plane) -> float:
    return float(np.abs(plane - other).mean())


def _within_box(box: Box, side: int) -> Box:
    """Return the middle of a box, of at most this many pixels on a side."""
    width, height = min(side, box[2] - box[0]), min(side, box[3] - box[1])
    left, top = (box[0] + box[2] - width) // 2, (box[1] + box[3] - height) // 2
    return left, top, left + width, top + height


def _clipped(image: Image) -> NDArray[np.bool_]:
    """Return for each block whether a channel is black or white somewhere in it: no tone can be undone there."""
    rows, columns = image.shape[:2]
    extreme = ((image < _EXTREME) | (image > 255 - _EXTREME)).any(2)
    return np.asarray(extreme.reshape(rows // 8, 8, columns // 8, 8).any((1, 3)).ravel())


def _shared_box(
    child: tuple[int, ...], parent: tuple[int, ...], turn: NDArray[np.int64], shift: NDArray[np.int64]
) -> Box | None:
    """Return the part of the child that the parent has too, by whole blocks; at most _LARGEST on a side."""
    limits = np.array([[_SHIFT, _SHIFT], [parent[1] - 1 - _SHIFT, parent[0] - 1 - _SHIFT]])
    ends = np.linalg.inv(turn) @ (limits - shift).T
    low, high = np.maximum(np.ceil(ends.min(1)), 0), np.minimum(np.floor(ends.max(1)) + 1, child[1::-1])
    low, high = -(-low // 8) * 8, high // 8 * 8
    low += np.maximum(0, (high - low - _LARGEST) // 16) * 8
    high = np.minimum(high, low + _LARGEST)
    left, top, right, bottom = (int(v) for v in (*low, *high))
    return (left, top, right, bottom) if right - left >= 32 and bottom - top >= 32 else None


def _spread_of(mine: NDArray[np.float32], its: NDArray[np.float32], steps: Steps) -> Spread | None:
    """Return where coefficients (N, 8, 8) lie in the cells of others, where these are not 0."""
    distances, outside = [], []
    for v, u in _ZIGZAG:
        step = float(steps[v, u])
        if step >= _FINEST:
            there = np.abs(mine[:, v, u]) >= 0.6 * step
            distance = np.abs(its[there, v, u] - mine[there, v, u])
            distances.append(distance / (step / 4 * np.sqrt(1 + 12 * (_ROUNDING / step) ** 2)))
            outside.append(distance > step / 2 + 3 * _ROUNDING)
    if sum(map(len, distances)) < _FEWEST:
        return None
    return Spread(float(np.median(np.concatenate(distances))), float(np.concatenate(outside).mean()))


def _coefficients(plane: Plane) -> NDArray[np.float32]:
    """Return the DCT of all blocks, (N, 8, 8)."""
    rows, columns = plane.shape
    blocks = plane.reshape(rows // 8, 8, columns // 8, 8).transpose(0, 2, 1, 3).reshape(-1, 8, 8)
    return np.asarray(_DCT @ (blocks - 128) @ _DCT.T)
