"""File -> Reading, Pair -> Aligned: what one worker does with files. What is hashed is what is decoded.

Runs in another process and imports no torch.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import IO

from dedup.errors import NotAPicture, UnreadablePhoto
from dedup.files import object_store
from dedup.files.stacks import RAW_SUFFIXES
from dedup.images import preview_cache
from dedup.images.decode import decode, pixels_sha256, preview
from dedup.images.signatures import HEAD_BYTES, sniff
from dedup.types.arrays import VERIFICATION_SIDE
from dedup.types.photo import File, Reading, Rejected, Skipped

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
    preview_folder: str | None = None  # the folder to keep a proof in
    quick: bool = False  # a thumbnail will do


def read_photo(task: Task) -> Reading | Rejected:
    """Return what the file holds. Never raises for what is in the file or wrong with it."""
    path = task.file.path
    try:
        data = _contents(path)
        digest = sha256(data).digest()
        proof = VERIFICATION_SIDE if task.preview_folder else 0
        picture = None if digest in task.known else decode(data, side=task.side, proof=proof, quick=task.quick)
    except NotAPicture as error:
        return Rejected(Skipped(path, str(error), picture=path.lower().endswith(_PICTURE_NAMES)), lasting=True)
    except UnreadablePhoto as error:
        return Rejected(Skipped(path, str(error)), lasting=True)
    except OSError as error:
        return Rejected(Skipped(path, error.strerror or str(error)), lasting=False)
    except MemoryError:
        return Rejected(Skipped(path, "not enough memory"), lasting=False)
    if task.preview_folder is None or picture is None or picture.proof is None:
        return Reading(digest, len(data), picture)
    size = preview_cache.keep(task.preview_folder, digest.hex(), picture.proof)
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
    if object_store.is_uri(path):
        with object_store.opened(path) as f:
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
