"""Pairs of files -> aligned pictures: what a worker process does for verification and for explanations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dedup.errors import UnreadablePhoto
from dedup.geometry.canvas import Canvas, draw_canvas
from dedup.geometry.containment import MOST, compare
from dedup.geometry.registration import (
    Aligned,
    Guess,
    NotAligned,
    Prepared,
    Sketch,
    align_from,
    best_guess,
    featureless,
    sketch,
)
from dedup.geometry.traces import Decoded
from dedup.images import preview_cache
from dedup.images.decode import decode_for_verification, decode_thumbnail, decode_within, jpeg_steps, read_preview
from dedup.images.read import bytes_of
from dedup.types.arrays import VERIFICATION_SIDE, Homography
from dedup.types.pairs import Gate, Loss


@dataclass(frozen=True, slots=True)
class Pair:
    """Two files to examine together, each as (path, SHA-256 of the bytes).

    number: of the pair, for the caller. guesses: where the left picture may lie in the right one. figures: those of the
    gate that are not of the geometry, see selection.figures(). preview_folder: the preview cache, if there is one.
    """

    number: int
    left: tuple[str, str]
    right: tuple[str, str]
    guesses: tuple[Homography, ...]
    figures: tuple[float, ...] = ()
    preview_folder: str | None = None


@dataclass(frozen=True, slots=True)
class PairBatch:
    """Pairs that one worker reads one after the other.

    gate: tells which of them are worth aligning: those with a chance of at least `least`.   None: all are.
    quick: ask it about thumbnails first, and decode only the pictures of pairs that pass.
    """

    pairs: tuple[Pair, ...]
    gate: Gate | None
    least: float = 0.5
    quick: bool = False


def read_aligned(batch: PairBatch) -> list[Aligned | NotAligned | None]:
    """Return each pair on one canvas, or NotAligned where the gate rejects it; None where a file is gone or changed."""
    return [_aligned(pair, batch) for pair in batch.pairs]


def _aligned(pair: Pair, batch: PairBatch) -> Aligned | NotAligned | None:
    files = [(*file, pair.preview_folder) for file in (pair.left, pair.right)]
    if batch.quick and batch.gate is not None:
        small = [_thumbnail_sketch(*file) for file in files]
        if any(small):
            found = _guessed(pair, batch, [one or _sketch(*file) for one, file in zip(small, files, strict=True)])
            if not isinstance(found, Guessed):
                return found
    found = _guessed(pair, batch, [_sketch(*file) for file in files])
    if not isinstance(found, Guessed):
        return found
    left, right = (_image(*file) for file in files)
    if left is None or right is None:
        return None
    return align_from(Prepared(left, found.left), Prepared(right, found.right), found.guess)


class Guessed(NamedTuple):
    """Two pictures that are worth aligning, and the guess to start from."""

    left: Sketch
    right: Sketch
    guess: Guess


def _guessed(pair: Pair, batch: PairBatch, sketches: Sequence[Sketch | None]) -> Guessed | NotAligned | None:
    """Return the guess for two pictures, NotAligned where the gate rejects it, None where one is gone or changed."""
    a, b = sketches
    if a is None or b is None:
        return None
    guess = best_guess(a, b, pair.guesses)
    # featureless pictures agree or not by chance: the residual head sees them, so that they can be called inconclusive
    if batch.gate is not None and not featureless(a, b):
        figures = np.array([[*pair.figures, *guess.figures]])
        if batch.gate.chance(figures)[0] < batch.least:
            return NotAligned(guess.transform)
    return Guessed(a, b, guess)


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
def _at_full_resolution(path: str, expected: str) -> Decoded | None:
    data = bytes_of(path, expected)
    try:
        return None if isinstance(data, str) else Decoded(decode_within(data, longest=MOST), jpeg_steps(data, MOST))
    except (UnreadablePhoto, MemoryError):
        return None


@lru_cache(maxsize=128)
def _thumbnail_sketch(path: str, expected: str, folder: str | None) -> Sketch | None:
    """Return the sketch of the small version in a file; None if it has none, or cannot be had any more."""
    data = None if folder and preview_cache.read(folder, expected) is not None else bytes_of(path, expected)
    try:
        image = decode_thumbnail(data, longest=VERIFICATION_SIDE) if isinstance(data, bytes) else None
    except (UnreadablePhoto, MemoryError):
        return None
    return None if image is None else sketch(image)


# Pairs come in an order in which those of one photo are near each other, so that most files are decoded once.
@lru_cache(maxsize=128)  # some 12 MB
def _sketch(path: str, expected: str, folder: str | None) -> Sketch | None:
    image = _image(path, expected, folder)
    return None if image is None else sketch(image)


@lru_cache(maxsize=32)  # some 20 MB
def _image(path: str, expected: str, folder: str | None) -> NDArray[np.uint8] | None:
    """Return the picture (H, W, 3) in a file of this SHA-256; None if it cannot be had any more."""
    preview = preview_cache.read(folder, expected) if folder else None
    try:
        if preview is not None:
            return read_preview(preview)
        data = bytes_of(path, expected)
        return None if isinstance(data, str) else decode_for_verification(data, longest=VERIFICATION_SIDE)
    except (UnreadablePhoto, OSError, MemoryError):  # OSError: a preview that was cut short
        return None
