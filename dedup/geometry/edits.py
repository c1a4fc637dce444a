"""A transformation between two pictures -> what was done to one to make the other, for people. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dedup.geometry.homography import coverage, inverse, mapped
from dedup.types.arrays import Homography
from dedup.types.pairs import Verified
from dedup.types.photo import Photo

DescribeEdit = Callable[[int, int], str]  # photo numbers of a keeper and a duplicate -> what was done to the first


def done_to(photos: Sequence[Photo], verified: Verified) -> DescribeEdit:
    """Return what tells, in words, what was done to a photo to make another; "" where nobody looked or nothing was."""
    seen = {(int(a), int(b)): t for a, b, t in zip(verified.left, verified.right, verified.transform, strict=True)}

    def done(keeper: int, duplicate: int) -> str:
        transform = seen.get((min(keeper, duplicate), max(keeper, duplicate)))
        if transform is None:
            return ""
        there = inverse(transform) if duplicate < keeper else transform
        kept, other = photos[keeper], photos[duplicate]
        return change(there, (kept.width, kept.height), (other.width, other.height)).words

    return done


_WHOLE = 0.96  # of a picture inside the other: all of it but for the inaccuracy of the alignment
_PART = 0.93
_TURNED = 1.5  # degrees that an alignment may err by

Size = tuple[int, int]  # width, height in pixels


@dataclass(frozen=True, slots=True)
class Edit:
    """How one picture lies in another.

    turned: degrees clockwise in (-180, 180].   box: left, top, right, bottom of what the other shows of it, in [0, 1]
    of its width and height; None if the other shows all of it.   more: whether the other shows more than it.
    """

    mirrored: bool
    turned: float
    box: tuple[float, float, float, float] | None
    more: bool

    @property
    def words(self) -> str:
        """Say what was done to it to make the other; nothing if only size, colour or encoding differ."""
        done = ["mirrored"] if self.mirrored else []
        if abs(self.turned) >= _TURNED:
            done.append(f"turned {abs(self.turned):.0f}° {'right' if self.turned > 0 else 'left'}")
        if self.box:
            left, top, right, bottom = (f"{100 * edge:.0f}" for edge in self.box)
            done.append(f"cropped to {left}-{right} % of the width, {top}-{bottom} % of the height")
        if self.more:
            done.append("set into something larger")
        return ", ".join(done)


def change(transform: Homography, size: Size, other: Size) -> Edit:
    """Return how a picture of this size lies in another under the transformation from it to the other."""
    linear = np.diag(other) @ _linear(transform) @ np.diag([1 / size[0], 1 / size[1]])
    mirrored = bool(np.linalg.det(linear) < 0)
    upright = linear @ np.diag([-1.0, 1.0]) if mirrored else linear
    # the turn nearest to it: the angle of u + conj(v) for the columns u, v
    turned = float(np.degrees(np.arctan2(upright[1, 0] - upright[0, 1], upright[0, 0] + upright[1, 1])))
    back = inverse(transform)
    inside, shown = coverage(transform), coverage(back)
    box = None
    if inside < _PART:
        corners = mapped(back, np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float))
        low, high = np.clip(corners.min(0), 0, 1), np.clip(corners.max(0), 0, 1)
        box = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
    return Edit(mirrored, turned, box, more=shown < _PART and inside >= _WHOLE)


def _linear(h: Homography) -> NDArray[np.float64]:
    """Return (2, 2), what the transformation does near the middle of the picture."""
    step = 0.05
    points = np.array([[0.5 - step, 0.5], [0.5 + step, 0.5], [0.5, 0.5 - step], [0.5, 0.5 + step]])
    west, east, north, south = mapped(h, points)
    return np.asarray(np.stack([east - west, south - north], axis=1) / (2 * step))
