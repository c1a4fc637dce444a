"""Pairs aligned in one frame for the browser, by the SHA-256 of both photos; the latest ones are cached."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

import numpy as np

from dedup.errors import UnreadablePhoto
from dedup.geometry.overlay import Outline, draw_overlay, encode_jpeg
from dedup.images.decode import decode_within
from dedup.images.read import bytes_of
from dedup.review.session import Review
from dedup.types.arrays import Homography
from dedup.types.message import Message
from dedup.types.photo import Photo
from dedup.workers import Failure, Helpers

_LONGEST = 1600  # pixels
_CACHED = 24  # overlays, about 1 MB each
_SAME_SHAPE = 0.01  # relative difference of the proportions up to which unverified pictures are laid on each other
LAYERS = ("first", "second", "difference")


@dataclass(frozen=True, slots=True)
class Task:
    """Two files, each as (path, SHA-256 of the bytes), and the homography from the first picture to the second."""

    first: tuple[str, str]
    second: tuple[str, str]
    transform: Homography


@dataclass(frozen=True, slots=True)
class Layers:
    """The JPEGs of an overlay, the size of each in pixels, and the outlines of the changes."""

    jpegs: dict[str, bytes]  # by LAYERS
    width: int
    height: int
    changes: list[Outline]


def read_layers(task: Task) -> Layers | str:
    """Return the overlay of two files, or in words why there is none. Runs in a worker."""
    images = []
    for path, expected in (task.first, task.second):
        data = bytes_of(path, expected)
        if isinstance(data, str):
            return data
        try:
            images.append(decode_within(data, longest=_LONGEST))
        except UnreadablePhoto as error:
            return str(error)
        except MemoryError:
            return Message("not enough memory")
    overlay = draw_overlay(images[0], images[1], task.transform, longest=_LONGEST)
    height, width = overlay.first.shape[:2]
    jpegs = (encode_jpeg(image) for image in (overlay.first, overlay.second, overlay.difference))
    return Layers(dict(zip(LAYERS, jpegs, strict=True)), width, height, overlay.changes)


class Overlays:
    """A context manager. get() may be called from any thread."""

    def __init__(self, review: Review, *, workers: int) -> None:
        self._review = review
        self._helpers = Helpers(read_layers, workers=workers)
        self._cache: OrderedDict[tuple[str, str], Layers] = OrderedDict()
        self._lock = Lock()

    def __enter__(self) -> Overlays:
        return self

    def __exit__(self, *about: object) -> None:
        self._helpers.close()

    def get(self, first: str, second: str) -> Layers | str:
        """Return the overlay of a keeper and a photo that matches it, or in words why there is none."""
        with self._lock:
            if (first, second) in self._cache:
                self._cache.move_to_end((first, second))
                return self._cache[first, second]
        task = self._task(first, second)
        if isinstance(task, str):
            return task
        found = self._helpers.call(task)
        if isinstance(found, Failure):
            return found.reason
        if isinstance(found, Layers):
            with self._lock:
                self._cache[first, second] = found
                while len(self._cache) > _CACHED:
                    self._cache.popitem(last=False)
        return found

    def _task(self, first: str, second: str) -> Task | str:
        report, pair = self._review.pair(first, second)
        if pair is None:
            return Message("these two photos were not matched with each other")
        photos = [report.photos.photos[i] for i in pair]
        transform = self._review.transform(*pair)
        if transform is None and not _same_shape(*photos):
            return Message("they were not aligned by verification, and their proportions differ")
        return Task(photos[0].source, photos[1].source, np.eye(3) if transform is None else transform)


def _same_shape(one: Photo, other: Photo) -> bool:
    across, down = one.width * other.height, one.height * other.width
    return abs(across - down) <= _SAME_SHAPE * max(across, down)
