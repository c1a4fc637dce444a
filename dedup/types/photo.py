"""Files, photos, and what reading a file gives."""

from __future__ import annotations

import json
import os
import re
from dataclasses import astuple, dataclass, fields
from functools import lru_cache
from operator import attrgetter
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

# A file younger than this when a scan begins may change again without new times: file systems store times as coarsely
# as 2 s (FAT). The same margin as in the files cache of borg.
AGE_MARGIN_NS = 3_000_000_000


# Of files that make another one of the same name more than a picture: a RAW, the video of a Live Photo or what was said
# to a shot, a sidecar with edits, ratings or a preview.
RAW_SUFFIXES = frozenset(
    ".cr2 .cr3 .crw .nef .nrw .arw .srf .sr2 .dng .raf .orf .rw2 .pef .srw .x3f .3fr .iiq .raw .rwl .kdc .mrw".split()
)
RECORDING_SUFFIXES = frozenset((".mov", ".mp4", ".mp", ".wav"))  # PXL_1.MP is the video of PXL_1.MP.jpg
SIDECAR_SUFFIXES = frozenset(".xmp .aae .acr .arp .dop .dr4 .json .on1 .pp3 .thm .vrd".split())
OF_SUFFIX = re.compile(r"(.+)_(heic|heif|hevc|jpe?g|png|dng)$")  # of a name in lower case, without its own suffix


def picture_of(video: str) -> str | None:
    """Return the lower-case name of the picture whose suffix stands in the name of a video; None if none does.

    icloudpd and its kin name the video of a Live Photo so: IMG_1_HEVC.MOV and IMG_1_HEIC.MOV belong to IMG_1.HEIC.
    video: name or path.
    """
    named = OF_SUFFIX.match(os.path.splitext(video.lower())[0])
    return f"{named[1]}.{named[2].replace('hevc', 'heic')}" if named else None


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

    @classmethod
    def from_stat(cls, path: str, s: os.stat_result) -> Self:
        """Return the file at a path, given its stat() or lstat()."""
        return cls(path, *figures(s))


_FIGURES = attrgetter("st_size", "st_mtime_ns", "st_ctime_ns", "st_dev", "st_ino")  # in the order of File
_MAX = (1 << 63) - 1


def figures(s: os.stat_result) -> tuple[int, ...]:
    """Return size, mtime_ns, ctime_ns, device and inode of a file, each in 64 bits with a sign, as databases hold them.

    Times after the year 2262 are one. Devices and inodes may have more bits (Windows, mergerfs), and are folded.
    """
    found: tuple[int, ...] = _FIGURES(s)
    if max(found) <= _MAX:
        return found
    size, mtime_ns, ctime_ns, *numbers = found
    return size, min(mtime_ns, _MAX), min(ctime_ns, _MAX), *((n ^ n >> 63) & _MAX for n in numbers)


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file left out, and why. Every file found ends in one Photo or one Skipped."""

    path: str
    reason: str
    picture: bool = True  # False: plainly something else (a video, a text); not a failure


@dataclass(frozen=True, slots=True)
class Exposure:
    """What a camera wrote about one shot; None where it did not say."""

    time: float | None = None  # seconds
    bias: float | None = None  # EV
    aperture: float | None = None  # f-number
    iso: int | None = None
    subsecond: float | None = None  # of the capture time, in [0, 1)
    bracketed: bool | None = None  # taken in automatic bracketing
    serial: str | None = None  # of the camera body
    image_id: str | None = None  # ImageUniqueID


@dataclass(frozen=True, slots=True)
class Facts:
    """What a photo holds besides the pixels of its first picture, and in what state. The defaults are the common case.

    frames: of an animation, or pages of a document.   pictures: further pictures in the file (MPO, HEIC) and layers,
    thumbnails and previews aside.   video: of a motion photo, 16 hex digits of its SHA-256.   alpha: some pixels are
    transparent.   bits: of a channel.   grey: no pixel has a colour.   edited: the file names the editor that wrote it.
    damaged: what is wrong with the picture data, in words; "" if it is intact.   intact: share of the picture, from the
    top, that is as it was; 0 if that is not known.
    """

    frames: int = 1
    pictures: int = 0
    video: str = ""
    gain_map: bool = False
    depth_map: bool = False
    alpha: bool = False
    bits: int = 8
    grey: bool = False
    edited: bool = False
    damaged: str = ""
    intact: float = 1.0
    exposure: Exposure = Exposure()

    def to_json(self) -> str:
        """Return the facts that are not the common case as a JSON object, as the database keeps them."""
        common = Facts()
        values: dict[str, Any] = {
            f.name: value for f in fields(self) if (value := getattr(self, f.name)) != getattr(common, f.name)
        }
        if "exposure" in values:  # a list without names: a million photos have one
            values["exposure"] = list(astuple(self.exposure))
        return json.dumps(values, separators=(",", ":"))


@lru_cache(maxsize=1024)
def facts_from_json(text: str) -> Facts:
    """Return the facts that Facts.to_json() wrote. Raises ValueError if it was something else."""
    values, common = json.loads(text), Facts()
    try:
        if "exposure" in values:
            values["exposure"] = Exposure(*values["exposure"])
        facts = Facts(**values)
    except TypeError as error:
        raise ValueError(f"{text}: not the facts of a photo") from error
    for field in fields(facts):
        expected = type(getattr(common, field.name))
        if not isinstance(getattr(facts, field.name), (expected, int) if expected is float else expected):
            raise ValueError(f"{text}: {field.name} has another type")
    told = astuple(facts.exposure)
    if not all(value is None or isinstance(value, (int, float, str)) for value in told):
        raise ValueError(f"{text}: an exposure has values of other types")
    return facts


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
    facts: Facts = Facts()
    preview: bytes | None = None  # a JPEG of some 500 pixels, of a picture that is expensive to decode


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
    facts: Facts | None = Facts()  # None: read by a version that did not look for them
    accompanied: frozenset[str] = frozenset()  # paths of those files that have a RAW, a video or a sidecar beside them

    @property
    def source(self) -> tuple[str, str]:
        """The path of the first file, and the SHA-256 that its bytes must have."""
        return self.files[0].path, self.sha256


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read of a file that holds a photo.

    size: bytes.   picture: None if the photo is known already.   preview_bytes: written to the preview cache.
    sample: images.read.sample_digest() of the bytes; None if it is not known.
    """

    sha256: bytes
    size: int
    picture: Picture | None
    preview_bytes: int = 0
    sample: bytes | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """The file cannot be used; `lasting` if it will not be better the next time, unless the file changes."""

    skipped: Skipped
    lasting: bool
