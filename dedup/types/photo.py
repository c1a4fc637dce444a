"""Files, photos, and what reading a file gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class File:
    """A file as stat() saw it, before anyone opened it.

    The path is absolute, with undecodable bytes as surrogate escapes (os.fsdecode).
    """

    path: str
    size: int  # bytes
    mtime_ns: int  # nanoseconds since the epoch
    ctime_ns: int  # moves even when somebody puts the mtime back
    device: int
    inode: int


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file left out, and why. Every file found ends in one Photo or one Skipped."""

    path: str
    reason: str
    picture: bool = True  # False: plainly something else (a video, a text); not a failure


@dataclass(frozen=True, slots=True)
class Picture:
    """What decoding one photo gives.

    pixels: (side, side, 3) uint8, sRGB, upright, squashed to a square.
    width, height: of the upright picture in the file, in pixels.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int
    format: str  # Pillow's word: JPEG, PNG, HEIF, ...
    taken_at: str | None  # ISO 8601, local time of the camera
    camera: str | None  # make and model
    gps: bool = False  # says where it was taken
    rating: int | None = None  # 1 to 5 stars
    screenshot: bool = False  # says that it is one
    proof: bytes | None = None  # a JPEG of some 500 pixels, of a picture that is dear to decode


@dataclass(frozen=True, slots=True)
class Photo:
    """One sequence of bytes that decodes to a picture, and every file that holds it."""

    sha256: str  # of the bytes, 64 hex digits
    size: int  # bytes
    width: int  # pixels, upright
    height: int
    format: str
    taken_at: str | None
    camera: str | None
    files: tuple[File, ...]  # one or more, in the order of their paths; two or more are exact copies
    gps: bool = False
    rating: int | None = None
    screenshot: bool = False


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
