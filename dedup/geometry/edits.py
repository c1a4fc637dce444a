"""Homography between two pictures -> the edit that it shows (mirrored, rotated, cropped, embedded), also in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dedup.geometry.homography import coverage, inverse, map_points
from dedup.types.arrays import Homography
from dedup.types.message import Message, listed
from dedup.types.pairs import Verified
from dedup.types.photo import Photo

# Alignment is inexact, so that coverage of a picture that lies wholly inside another may be measured as less than 1.
_WHOLE = 0.96  # coverage from which one picture lies wholly inside the other
_PART = 0.93  # coverage below which a picture was cropped
_ROTATED = 1.5  # degrees; a smaller rotation may be an error of the alignment

DescribeEdit = Callable[[int, int], str]  # photo numbers of a keeper and a duplicate -> the edit in words
Size = tuple[int, int]  # width, height in pixels


@dataclass(frozen=True, slots=True)
class Edit:
    """How one picture appears in another.

    rotated: degrees clockwise in (-180, 180].   crop: left, top, right, bottom of the visible part, as fractions of its
    width and height in [0, 1]; None if all of it is visible.   embedded: the other picture shows all of it and more.
    """

    mirrored: bool
    rotated: float
    crop: tuple[float, float, float, float] | None
    embedded: bool

    @property
    def words(self) -> str:
        """Return the edit in words; "" if only size, colour or encoding differ."""
        words = [Message("mirrored")] if self.mirrored else []
        degrees = f"{abs(self.rotated):.0f}"
        if self.rotated >= _ROTATED:
            words.append(Message("rotated {degrees}° right", degrees=degrees))
        elif self.rotated <= -_ROTATED:
            words.append(Message("rotated {degrees}° left", degrees=degrees))
        if self.crop:
            edges = zip(("left", "top", "right", "bottom"), (f"{100 * edge:.0f}" for edge in self.crop), strict=True)
            words.append(
                Message("cropped to {left}-{right} % of the width, {top}-{bottom} % of the height", **dict(edges))
            )
        if self.embedded:
            words.append(Message("placed inside a larger picture"))
        return listed(words)


def describe_edits(photos: Sequence[Photo], verified: Verified) -> DescribeEdit:
    """Return a function that describes the edit from a keeper to a duplicate; "" for pairs that were not verified."""
    pairs = zip(verified.left.tolist(), verified.right.tolist(), verified.transform, strict=True)
    transforms = {(a, b): transform for a, b, transform in pairs}

    def describe(keeper: int, duplicate: int) -> str:
        transform = transforms.get((min(keeper, duplicate), max(keeper, duplicate)))
        if transform is None:
            return ""
        if duplicate < keeper:  # transforms lead from the smaller photo number to the larger
            transform = inverse(transform)
        kept, other = photos[keeper], photos[duplicate]
        return edit_between(transform, (kept.width, kept.height), (other.width, other.height)).words

    return describe


def edit_between(transform: Homography, size: Size, other_size: Size) -> Edit:
    """Return the edit that turns a picture of one size into the other picture. transform: from it to the other."""
    # in pixels, not in unit squares, so that squashing does not count as rotation
    linear = np.diag(other_size) @ _linear_part(transform) @ np.diag([1 / size[0], 1 / size[1]])
    mirrored = bool(np.linalg.det(linear) < 0)
    upright = linear @ np.diag([-1.0, 1.0]) if mirrored else linear
    # the rotation nearest to a 2 x 2 matrix: with its columns as complex numbers u and v, the angle of u - i v
    rotated = float(np.degrees(np.arctan2(upright[1, 0] - upright[0, 1], upright[0, 0] + upright[1, 1])))
    back = inverse(transform)
    shown, filled = coverage(transform), coverage(back)
    crop = None
    if shown < _PART:
        corners = map_points(back, np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float))
        low, high = np.clip(corners.min(0), 0, 1), np.clip(corners.max(0), 0, 1)
        crop = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
    return Edit(mirrored, rotated, crop, embedded=filled < _PART and shown >= _WHOLE)


def _linear_part(h: Homography) -> NDArray[np.float64]:
    """Return the derivative (2, 2) of a homography at the middle of the picture, by central differences."""
    step = 0.05
    points = np.array([[0.5 - step, 0.5], [0.5 + step, 0.5], [0.5, 0.5 - step], [0.5, 0.5 + step]])
    west, east, north, south = map_points(h, points)
    return np.asarray(np.stack([east - west, south - north], axis=1) / (2 * step))
