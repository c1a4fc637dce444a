"""Pairs of files -> aligned pictures: what a worker process does for verification and for explanations."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from dedup.errors import UnreadablePhoto
from dedup.geometry.canvas import Canvas, draw_canvas
from dedup.geometry.containment import MOST, compare
from dedup.geometry.registration import Aligned, NotAligned, Prepared, align_if_similar, prepare
from dedup.images import preview_cache
from dedup.images.decode import decode_for_verification, decode_within, read_preview
from dedup.images.read import bytes_of, contents
from dedup.types.arrays import VERIFICATION_SIDE, Homography
from dedup.types.pairs import Loss


@dataclass(frozen=True, slots=True)
class Pair:
    """Two files to examine together, each as (path, SHA-256 of the bytes).

    number: of the pair, for the caller. guesses: where the left picture may lie in the right one. preview_folder: the
    preview cache, if there is one.
    """

    number: int
    left: tuple[str, str]
    right: tuple[str, str]
    guesses: tuple[Homography, ...]
    preview_folder: str | None = None


def read_aligned(pairs: tuple[Pair, ...]) -> list[Aligned | NotAligned | None]:
    """Return each pair on one canvas, or NotAligned if no guess fits; None where a file is gone or changed."""
    found: list[Aligned | NotAligned | None] = []
    for pair in pairs:
        left, right = (_prepared(*file, pair.preview_folder) for file in (pair.left, pair.right))
        found.append(None if left is None or right is None else align_if_similar(left, right, pair.guesses))
    return found


@dataclass(frozen=True, slots=True)
class PairImages:
    """Two pictures (H, W, 3) as verification reads them, and both on one canvas if a transformation was given."""

    images: tuple[NDArray[np.uint8], NDArray[np.uint8]]
    canvas: Canvas | None


def read_images(pair: Pair) -> PairImages | str:
    """Return the pictures of a pair, or why they cannot be had. Its only guess, if any, is the verified one."""
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
    return PairImages((left, right), draw_canvas(left, right, pair.guesses[0]) if pair.guesses else None)


def read_losses(pair: Pair) -> tuple[int, int] | None:
    """Return what would be lost of each picture of a pair, as flags of Loss, after a comparison at full resolution.

    None where a file is gone or changed. Its only guess is the verified transformation.
    """
    left, right = (_at_full_resolution(*file) for file in (pair.left, pair.right))
    if left is None or right is None:
        return None
    found = compare(left, right, pair.guesses[0])
    return (int(Loss.UNVERIFIED),) * 2 if found is None else (int(found[0]), int(found[1]))


@lru_cache(maxsize=2)  # up to 50 MB; a keeper is compared with one duplicate after another
def _at_full_resolution(path: str, expected: str) -> NDArray[np.uint8] | None:
    data = bytes_of(path, expected)
    try:
        return None if isinstance(data, str) else decode_within(data, longest=MOST)
    except (UnreadablePhoto, MemoryError):
        return None


@lru_cache(maxsize=64)  # about 65 MB; doubling it saves 43 of 1,112 preparations
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
