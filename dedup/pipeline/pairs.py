"""Pairs of files -> aligned pictures, in a worker."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from dedup.errors import UnreadablePhoto
from dedup.geometry.canvas import Canvas, draw_canvas
from dedup.geometry.registration import Aligned, NotAligned, Prepared, align_if_similar, prepare
from dedup.images import preview_cache
from dedup.images.decode import decode_for_verification, read_preview
from dedup.images.read import bytes_of, contents
from dedup.types.arrays import VERIFICATION_SIDE, Homography


@dataclass(frozen=True, slots=True)
class Pair:
    """Two files to look at together, each as (path, SHA-256 of the bytes).

    number: of the pair, for whoever asks.   guesses: how the left one may lie in the right one.   preview_folder: of
    the preview cache, if there is one.
    """

    number: int
    left: tuple[str, str]
    right: tuple[str, str]
    guesses: tuple[Homography, ...]
    preview_folder: str | None = None


def read_aligned(pairs: tuple[Pair, ...]) -> list[Aligned | NotAligned | None]:
    """Return each pair on one canvas, if it is alike at all; None where a file cannot be had any more."""
    found: list[Aligned | NotAligned | None] = []
    for pair in pairs:
        left, right = (_prepared(*file, pair.preview_folder) for file in (pair.left, pair.right))
        found.append(None if left is None or right is None else align_if_similar(left, right, pair.guesses))
    return found


def read_image(file: tuple[str, str]) -> NDArray[np.uint8] | None:
    """Return the picture (H, W, 3) of (path, SHA-256) as a second look sees it; None if it cannot be had any more."""
    prepared = _prepared(*file, None)
    return None if prepared is None else prepared.image


@dataclass(frozen=True, slots=True)
class Seen:
    """Two pictures (H, W, 3) as a second look saw them, and both on its canvas if there was one."""

    images: tuple[NDArray[np.uint8], NDArray[np.uint8]]
    canvas: Canvas | None


def read_seen(pair: Pair) -> Seen | str:
    """Return what a second look saw of a pair, or why that cannot be had. Its one guess, if any, is how the two lie."""
    images = []
    for path, expected in (pair.left, pair.right):
        data = bytes_of(path, expected)
        if isinstance(data, str):
            return data
        try:
            images.append(decode_for_verification(data, longest=VERIFICATION_SIDE))
        except UnreadablePhoto as error:
            return str(error)
        except MemoryError:
            return "not enough memory"
    left, right = images
    return Seen((left, right), draw_canvas(left, right, pair.guesses[0]) if pair.guesses else None)


@lru_cache(maxsize=64)  # about 65 MB; with twice as many, 43 of 1,112 pictures need not be prepared again
def _prepared(path: str, expected: str, folder: str | None) -> Prepared | None:
    preview = preview_cache.read(folder, expected) if folder else None
    try:
        if preview is not None:
            return prepare(read_preview(preview))
        data = contents(path)
        if sha256(data).hexdigest() != expected:
            return None
        return prepare(decode_for_verification(data, longest=VERIFICATION_SIDE))
    except (UnreadablePhoto, OSError, MemoryError):
        return None
