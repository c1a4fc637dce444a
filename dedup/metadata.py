"""EXIF -> what the rest of the program wants of it. Broken EXIF reads as absent: it must not cost a photo."""

from __future__ import annotations

import re
import struct
from datetime import datetime

from PIL import Image
from PIL.ExifTags import IFD, Base

_MAX_CAMERA = 100  # characters

# What Pillow raised on damaged EXIF blocks.
_FAILURES = (OSError, ValueError, TypeError, SyntaxError, LookupError, ArithmeticError, AttributeError, struct.error)


def exif_of(image: Image.Image) -> Image.Exif:
    """Return the EXIF of an image, empty where it cannot be read."""
    try:
        return image.getexif()
    except _FAILURES:
        return Image.Exif()


def exif_of_tiff(data: bytes) -> Image.Exif:
    """Return the EXIF of a camera RAW that is built as a TIFF, empty for the others."""
    exif = Image.Exif()
    try:
        if data.startswith((b"II*\x00", b"MM\x00*")):
            exif.load(data)
    except _FAILURES:
        return Image.Exif()
    return exif


def orientation(exif: Image.Exif) -> int:
    """Return 1 to 8; 1, upright, where the tag is absent or nonsense."""
    value = _value(exif, Base.Orientation)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def taken_at(exif: Image.Exif) -> str | None:
    """Return when the picture was taken by the clock of the camera, ISO 8601 without a zone."""
    for tag in (Base.DateTimeOriginal, Base.DateTimeDigitized, Base.DateTime):
        digits = re.match(r"(\d{4})\D(\d\d)\D(\d\d)\D(\d\d)\D(\d\d)\D(\d\d)", _text(exif, tag))
        try:
            if digits:
                return datetime(*map(int, digits.groups())).isoformat()  # type: ignore[arg-type]
        except ValueError:
            continue  # 0000:00:00 and the like
    return None


def camera(exif: Image.Exif) -> str | None:
    """Return make and model, the make once, at most 100 characters."""
    make, model = _text(exif, Base.Make), _text(exif, Base.Model)
    brand = make.split(" ")[0].lower()  # NIKON CORPORATION, NIKON D70
    name = model if model.lower().startswith(brand) else f"{make} {model}"
    return name.strip()[:_MAX_CAMERA].rstrip() or None


def _text(exif: Image.Exif, tag: int) -> str:
    """Return a tag as one clean line, empty where it is absent."""
    value = _value(exif, tag)
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if not isinstance(value, str):
        return ""
    value = value.split("\x00")[0]  # what follows the end is rubbish from the camera's memory
    return " ".join("".join(c if c.isprintable() else " " for c in value).split())


def _value(exif: Image.Exif, tag: int) -> object:
    """Return a tag of the main directory or of the EXIF one."""
    try:
        return exif.get(tag) or exif.get_ifd(IFD.Exif).get(tag)
    except _FAILURES:
        return None
