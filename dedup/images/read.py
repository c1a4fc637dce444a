"""File -> Reading: what one worker does with a file. What is hashed is what is decoded.

Runs in another process and imports no torch.
"""

from __future__ import annotations

import io
import os
from collections.abc import Collection
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import IO

from dedup.errors import NotAPicture, UnreadablePhoto
from dedup.files import object_store
from dedup.images import preview_cache
from dedup.images.decode import decode, pixels_sha256, render
from dedup.images.signatures import HEAD_BYTES, sniff
from dedup.types.arrays import VERIFICATION_SIDE
from dedup.types.message import Message
from dedup.types.photo import RAW_SUFFIXES, File, Reading, Rejected, Skipped

_MOST = 4 << 30  # bytes; a larger file is no photo
_SAMPLE_BYTES = 1 << 14  # of each of three parts
# A file with an image extension but no image in it is damaged; other files are just not images.
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
    preview_folder: str | None = None  # of the preview cache
    quick: bool = False  # a thumbnail will do


def read_photo(task: Task) -> Reading | Rejected:
    """Return what the file holds. Never raises for what is in the file or wrong with it."""
    path = task.file.path
    try:
        data = contents(path)
        digest = sha256(data).digest()
        longest = VERIFICATION_SIDE if task.preview_folder else 0
        known = digest in task.known
        picture = None if known else decode(data, side=task.side, preview_side=longest, quick=task.quick)
    except NotAPicture as error:
        return Rejected(Skipped(path, str(error), picture=path.lower().endswith(_PICTURE_NAMES)), lasting=True)
    except UnreadablePhoto as error:
        return Rejected(Skipped(path, str(error)), lasting=True)
    except OSError as error:
        return Rejected(Skipped(path, error.strerror or str(error)), lasting=False)
    except MemoryError:
        return Rejected(Skipped(path, "not enough memory"), lasting=False)
    sample = sample_digest(io.BytesIO(data), len(data))
    if task.preview_folder is None or picture is None or picture.preview is None:
        return Reading(digest, len(data), picture, sample=sample)
    written = preview_cache.write(task.preview_folder, digest.hex(), picture.preview)
    return Reading(digest, len(data), replace(picture, preview=None), written, sample)


def sample_digest(f: IO[bytes], size: int) -> bytes:
    """Return the SHA-256 of the beginning, the middle and the end of a file of `size` bytes.

    With equal size and times, an equal sample says that the bytes are those of before; it is no proof.
    """
    digest = sha256()
    for start in (0, (size - _SAMPLE_BYTES) // 2, size - _SAMPLE_BYTES):
        f.seek(max(0, start))
        digest.update(f.read(_SAMPLE_BYTES))
    return digest.digest()


def read_sample(file: File) -> bytes | None:
    """Return the sample_digest() of a file; None if it cannot be read or has another size by now."""
    try:
        with _opened(file.path) as f:
            size = os.fstat(f.fileno()).st_size
            return sample_digest(f, size) if size == file.size else None
    except OSError:
        return None


def read_pixels(task: tuple[str, str]) -> bytes | None:
    """Return the SHA-256 of the decoded pixels of (path, sha256 of the bytes); None if it can no longer be read."""
    path, expected = task
    try:
        data = contents(path)
        return bytes.fromhex(pixels_sha256(data)) if sha256(data).hexdigest() == expected else None
    except (UnreadablePhoto, OSError, MemoryError):
        return None


@dataclass(frozen=True, slots=True)
class View:
    """A picture to show: of which file, and the SHA-256 of the bytes that must be in it."""

    path: str
    sha256: str
    side: int  # pixels, of the longer side at most; 0: the bytes of the file as they are
    format: str  # JPEG or WEBP


def read_view(view: View) -> bytes | str:
    """Return the picture as a file to show, or the reason why there is none. Only the bytes that were scanned count."""
    data = bytes_of(view.path, view.sha256)
    if isinstance(data, str):
        return data
    try:
        return render(data, side=view.side, format=view.format) if view.side else data
    except UnreadablePhoto as error:
        return str(error)
    except MemoryError:
        return Message("not enough memory")


def bytes_of(path: str, expected: str) -> bytes | str:
    """Return the bytes of a file if they have this SHA-256, or the reason why they cannot be read."""
    try:
        data = contents(path)
        return data if sha256(data).hexdigest() == expected else Message("changed after the scan")
    except UnreadablePhoto as error:
        return str(error)
    except OSError as error:
        return Message("gone since the scan") if isinstance(error, FileNotFoundError) else error.strerror or str(error)
    except MemoryError:
        return Message("not enough memory")


def contents(path: str) -> bytes:
    """Return the bytes of a file that may be a photo. Raises OSError, or NotAPicture if its first bytes show none."""
    if object_store.is_uri(path):
        with object_store.opened(path) as f:
            size = f.seek(0, os.SEEK_END)
            f.seek(0)
            return _photo_in(f, size)
    with _opened(path) as f:
        return _photo_in(f, os.fstat(f.fileno()).st_size)


def _opened(path: str) -> IO[bytes]:
    # O_NONBLOCK: a file that was replaced by a pipe after it was listed must not hang the worker
    number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    return open(number, "rb", buffering=0)  # a buffer would copy the file once more


def _photo_in(f: IO[bytes], size: int) -> bytes:
    head: bytes = f.read(HEAD_BYTES)
    kind = sniff(head)
    if kind is not None:
        raise NotAPicture(f"not a picture ({kind})")
    if size > _MOST:
        raise NotAPicture(f"not a picture (larger than {_MOST >> 30} GiB)")
    f.seek(0)
    return f.read()
