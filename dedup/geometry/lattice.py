"""Two pictures whose pixels coincide: one is the other turned by quarters, mirrored and shifted by whole pixels.

So are most copies: saved again, recoloured, captioned, cropped. Then nothing needs to be drawn by interpolation.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dedup.geometry.homography import map_points
from dedup.geometry.tone import Image, Plane
from dedup.types.arrays import Homography

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels

_LATTICE = 0.75  # pixels, the same over the whole picture, by which a homography may be wrong
_SHIFT = 1  # pixels, by which its shift may be wrong
_SAMPLE = 256  # pixels, the side of the part by which it is decided
_PLAIN = 1.0  # grey levels, the least deviation of detail in it
_ALIKE = 0.3  # correlation of the detail, at least
_BETTER = 0.02  # by how much more it may be without the lattice


@dataclass(frozen=True)
class Lattice:
    """The map of the pixels of a picture to those of another one: turn (2, 2) and shift (2,), both int64."""

    turn: NDArray[np.int64]
    shift: NDArray[np.int64]

    @property
    def homography(self) -> Homography:
        return np.block([[self.turn, self.shift[:, None]], [np.zeros((1, 2)), np.ones((1, 1))]]).astype(np.float64)

    @property
    def inverse(self) -> Lattice:
        return Lattice(self.turn.T, -self.turn.T @ self.shift)

    def keeps_grid(self, side: int) -> bool:
        """Return whether cells of so many pixels a side, counted from the corner of each picture, coincide."""
        last = self.turn.sum(1) < 0  # a mirrored axis: the first pixel of a cell becomes the last one
        return not ((self.shift + last) % side).any()

    def moved(self, x: int, y: int) -> Lattice:
        """Return the map after so many pixels of the first picture."""
        return Lattice(self.turn, self.shift + self.turn @ np.array([x, y]))

    def taken(self, other: Image, box: Box) -> Image:
        """Return the pixels of the other picture at those of a box of the first one; it must have them all."""
        left, top, right, bottom = box
        ends = self.turn @ np.array([[left, right - 1], [top, bottom - 1]]) + self.shift[:, None]
        (x0, x1), (y0, y1) = np.sort(ends, axis=1).tolist()
        part = other[y0 : y1 + 1, x0 : x1 + 1]
        if ends[0, 0] > ends[0, 1]:
            part = part[:, ::-1]
        if ends[1, 0] > ends[1, 1]:
            part = part[::-1]
        return np.ascontiguousarray(part if self.turn[0, 0] else part.transpose(1, 0, 2))

    def shared(self, frame: tuple[int, ...], other: tuple[int, ...]) -> Box:
        """Return the part of a picture of shape `frame` that one of shape `other` has too; it may be empty."""
        ends = self.turn.T @ (np.array([[0, other[1] - 1], [0, other[0] - 1]]) - self.shift[:, None])
        low, high = np.maximum(ends.min(1), 0), np.minimum(ends.max(1) + 1, frame[1::-1])
        left, top, right, bottom = (int(v) for v in (*low, *high))
        return left, top, max(left, right), max(top, bottom)


def lattice_of(frame: Image, other: Image, there: Homography) -> Lattice | None:
    """Return the lattice that explains two pictures as well as a homography that is right to a pixel; None if it does
    not.

    there: pixels of `frame` -> pixels of `other`.
    """
    near = _nearest(there, frame.shape)
    if near is None:
        return None
    box = _sample(near, frame.shape, other.shape)
    if box is None:
        return None
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    mine = _detail(frame[top:bottom, left:right])
    if mine.std() < _PLAIN:
        return None
    around = _detail(near.taken(other, (left - _SHIFT, top - _SHIFT, right + _SHIFT, bottom + _SHIFT)))
    alike = cv2.matchTemplate(around, mine, cv2.TM_CCOEFF_NORMED)
    y, x = np.unravel_index(int(alike.argmax()), alike.shape)
    step = there @ np.array([[1, 0, left], [0, 1, top], [0, 0, 1]], np.float64)
    way = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    drawn = _detail(cv2.warpPerspective(other, step, (width, height), flags=way, borderMode=cv2.BORDER_REPLICATE))
    freely = float(cv2.matchTemplate(drawn, mine, cv2.TM_CCOEFF_NORMED)[0, 0])
    if alike[y, x] < max(_ALIKE, freely - _BETTER):
        return None
    return near.moved(int(x) - _SHIFT, int(y) - _SHIFT)


def _nearest(there: Homography, shape: tuple[int, ...]) -> Lattice | None:
    """Return the lattice that is nearest to a homography; None if they differ by more than an alignment's error."""
    h = there / there[2, 2]
    turn = np.rint(h[:2, :2])
    if abs(np.linalg.det(turn)) != 1 or np.abs(turn).sum() != 2:
        return None
    size = np.array(shape[1::-1], np.float64)
    corners = np.array([[0, 0], [size[0], 0], [0, size[1]], size]) - 0.5
    centre = (size[None] - 1) / 2
    shift = map_points(h, centre) - centre @ turn.T
    error = np.abs(map_points(h, corners) - (corners @ turn.T + shift)).max()
    if not error <= _LATTICE + _LATTICE * max(size) / 1000:
        return None
    return Lattice(turn.astype(np.int64), np.rint(shift[0]).astype(np.int64))


def _sample(lattice: Lattice, frame: tuple[int, ...], other: tuple[int, ...]) -> Box | None:
    """Return the middle of the shared part, with the pixels around it in both pictures; None if that is too small."""
    left, top, right, bottom = lattice.shared(frame, other)
    width, height = (min(_SAMPLE, n - 2 * _SHIFT) for n in (right - left, bottom - top))
    if min(width, height) < 16:
        return None
    left, top = (left + right - width) // 2, (top + bottom - height) // 2
    return left, top, left + width, top + height


def _detail(image: Image) -> Plane:
    """Return the luminance without its coarse part, which tones change."""
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY).astype(np.float32)
    return np.asarray(grey - cv2.blur(grey, (7, 7)))
