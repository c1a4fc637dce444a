"""File -> Reading, Pair -> Aligned: what one worker does with files. What is hashed is what is decoded.

Runs in another process and imports no torch.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from typing import IO

import numpy as np
from numpy.typing import NDArray

from dedup import objects, proofs
from dedup.align import LOOK_SIDE, Aligned, Canvas, Prepared, Unlike, align_if_alike, lay, prepare
from dedup.decode import decode, decode_proof, pixels_sha256, preview, read_proof
from dedup.errors import NotAPicture, UnreadablePhoto
from dedup.formats import HEAD_BYTES, sniff
from dedup.types import File, Homography, Picture, Skipped
from dedup.units import RAW_SUFFIXES

_MOST = 4 << 30  # bytes; a larger file is no photo
# A file of such a name that holds no picture has come to harm; any other is simply something else.
_PICTURE_NAMES = (
    *RAW_SUFFIXES,
    *".jpg .jpeg .jpe .jfif .png .apng .gif .webp .tif .tiff .bmp .dib .heic .heif .hif .avif .jxl .jp2 .j2k .jpx .psd "
    ".tga .dds .ico .icns .pcx .ppm .pgm .pbm .pnm .sgi .qoi .mpo".split(),
)


@dataclass(frozen=True, slots=True)
class Task:
    """A file to read, and the SHA-256 of photos of its size that are known already: those need no decoding."""

    file: File
    side: int  # pixels, of the picture wanted
    known: Collection[bytes] = ()
    proofs: str | None = None  # the folder to keep a proof in
    quick: bool = False  # a thumbnail will do


@dataclass(frozen=True, slots=True)
class Reading:
    """sha256: of the bytes. size: how many. picture: None if the photo is known already. proof: bytes kept of it."""

    sha256: bytes
    size: int
    picture: Picture | None
    proof: int = 0


@dataclass(frozen=True, slots=True)
class Rejected:
    """The file cannot be used; `lasting` if it will not be better the next time, unless the file changes."""

    skipped: Skipped
    lasting: bool


def read_photo(task: Task) -> Reading | Rejected:
    """Return what the file holds. Never raises for what is in the file or wrong with it."""
    path = task.file.path
    try:
        data = _contents(path)
        digest = sha256(data).digest()
        proof = LOOK_SIDE if task.proofs else 0
        picture = None if digest in task.known else decode(data, side=task.side, proof=proof, quick=task.quick)
    except NotAPicture as error:
        return Rejected(Skipped(path, str(error), picture=path.lower().endswith(_PICTURE_NAMES)), lasting=True)
    except UnreadablePhoto as error:
        return Rejected(Skipped(path, str(error)), lasting=True)
    except OSError as error:
        return Rejected(Skipped(path, error.strerror or str(error)), lasting=False)
    except MemoryError:
        return Rejected(Skipped(path, "not enough memory"), lasting=False)
    if task.proofs is None or picture is None or picture.proof is None:
        return Reading(digest, len(data), picture)
    size = proofs.keep(task.proofs, digest.hex(), picture.proof)
    return Reading(digest, len(data), replace(picture, proof=None), size)


def read_pixels(task: tuple[str, str]) -> bytes | None:
    """Return the SHA-256 of the decoded pixels of (path, sha256 of the bytes); None if it cannot be had any more."""
    path, expected = task
    try:
        data = _contents(path)
        return bytes.fromhex(pixels_sha256(data)) if sha256(data).hexdigest() == expected else None
    except (UnreadablePhoto, OSError, MemoryError):
        return None


@dataclass(frozen=True, slots=True)
class Pair:
    """Two files to look at together, each as (path, SHA-256 of the bytes).

    number: of the pair, for whoever asks.   guesses: how the left one may lie in the right one.   proofs: the folder
    where there may be proofs of them.
    """

    number: int
    left: tuple[str, str]
    right: tuple[str, str]
    guesses: tuple[Homography, ...]
    proofs: str | None = None


def read_aligned(pairs: tuple[Pair, ...]) -> list[Aligned | Unlike | None]:
    """Return each pair on one canvas, if it is alike at all; None where a file cannot be had any more."""
    found: list[Aligned | Unlike | None] = []
    for pair in pairs:
        left, right = (_prepared(*file, pair.proofs) for file in (pair.left, pair.right))
        found.append(None if left is None or right is None else align_if_alike(left, right, pair.guesses))
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
        data = _bytes_of(path, expected)
        if isinstance(data, str):
            return data
        try:
            images.append(decode_proof(data, longest=LOOK_SIDE))
        except UnreadablePhoto as error:
            return str(error)
        except MemoryError:
            return "not enough memory"
    left, right = images
    return Seen((left, right), lay(left, right, pair.guesses[0]) if pair.guesses else None)


@lru_cache(maxsize=64)  # about 65 MB; with twice as many, 43 of 1,112 pictures need not be prepared again
def _prepared(path: str, expected: str, folder: str | None) -> Prepared | None:
    proof = proofs.kept(folder, expected) if folder else None
    try:
        if proof is not None:
            return prepare(read_proof(proof))
        data = _contents(path)
        return prepare(decode_proof(data, longest=LOOK_SIDE)) if sha256(data).hexdigest() == expected else None
    except (UnreadablePhoto, OSError, MemoryError):
        return None


@dataclass(frozen=True, slots=True)
class View:
    """A picture to be looked at: of which file, and the SHA-256 of the bytes that must be in it."""

    path: str
    sha256: str
    side: int  # pixels, of the longer side at most; 0: the bytes of the file as they are
    format: str  # JPEG or WEBP


def read_view(view: View) -> bytes | str:
    """Return the picture as a file to show, or why there is none. Bytes other than those scanned are never shown."""
    data = _bytes_of(view.path, view.sha256)
    if isinstance(data, str):
        return data
    try:
        return preview(data, side=view.side, format=view.format) if view.side else data
    except UnreadablePhoto as error:
        return str(error)
    except MemoryError:
        return "not enough memory"


def _bytes_of(path: str, expected: str) -> bytes | str:
    """Return the bytes of this SHA-256 in a file, or why they cannot be had."""
    try:
        data = _contents(path)
        return data if sha256(data).hexdigest() == expected else "changed after the scan"
    except UnreadablePhoto as error:
        return str(error)
    except OSError as error:
        return "gone since the scan" if isinstance(error, FileNotFoundError) else error.strerror or str(error)
    except MemoryError:
        return "not enough memory"


def _contents(path: str) -> bytes:
    """Return the bytes of a file that may be a photo. Raises NotAPicture, OSError."""
    if objects.is_uri(path):
        with objects.opened(path) as f:
            size = f.seek(0, os.SEEK_END)
            f.seek(0)
            return _photo_in(f, size)
    # O_NONBLOCK: a file that was swapped for a pipe since it was listed must not hang the worker
    with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb") as f:
        return _photo_in(f, os.fstat(f.fileno()).st_size)


def _photo_in(f: IO[bytes], size: int) -> bytes:
    head: bytes = f.read(HEAD_BYTES)
    kind = sniff(head)
    if kind is not None:
        raise NotAPicture(f"not a picture ({kind})")
    if size > _MOST:
        raise NotAPicture(f"not a picture (larger than {_MOST >> 30} GiB)")
    return head + f.read()
