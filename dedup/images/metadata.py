"""EXIF and XMP -> the values that the program uses. Broken EXIF counts as absent: it must not cost the photo."""

from __future__ import annotations

import math
import re
import struct
from datetime import datetime
from typing import Any

from PIL import Image
from PIL.ExifTags import GPS, IFD, Base

from dedup.types.photo import Exposure

_MAX_CAMERA = 100  # characters
_THUMBNAIL_START, _THUMBNAIL_LENGTH = 0x0201, 0x0202  # JPEGInterchangeFormat and its length
_RATING = 0x4746  # Windows and cameras; Pillow has no name for it

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


def thumbnail(exif: Image.Exif, block: bytes) -> bytes | None:
    """Return the JPEG that a camera put into the EXIF block of a JPEG file, if there is one.

    block: all of it, as Pillow gives it.
    """
    try:
        about = exif.get_ifd(IFD.IFD1)
        start, length = int(about[_THUMBNAIL_START]), int(about[_THUMBNAIL_LENGTH])
    except _FAILURES:
        return None
    found = block.removeprefix(b"Exif\x00\x00")[max(0, start) : max(0, start) + max(0, length)]
    return found if found.startswith(b"\xff\xd8") else None


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


def exposure(exif: Image.Exif) -> Exposure:
    """Return what the camera wrote about the shot, as far as it makes sense."""
    seconds, bias, aperture, iso = (
        _number(exif, tag) for tag in (Base.ExposureTime, Base.ExposureBiasValue, Base.FNumber, Base.ISOSpeedRatings)
    )
    speed, opening = _number(exif, Base.ShutterSpeedValue), _number(exif, Base.ApertureValue)
    if seconds is None and speed is not None and abs(speed) < 30:  # APEX: powers of 2 and of its square root
        seconds = round(2.0**-speed, 9)
    if aperture is None and opening is not None and abs(opening) < 30:
        aperture = round(2.0 ** (opening / 2), 3)
    digits = re.match(r"\d+", _text(exif, Base.SubsecTimeOriginal) or _text(exif, Base.SubsecTimeDigitized))
    mode = _value(exif, Base.ExposureMode)
    return Exposure(
        time=seconds if seconds and seconds > 0 else None,
        bias=bias,
        aperture=aperture if aperture and aperture > 0 else None,
        iso=int(iso) if iso and iso > 0 else None,
        subsecond=round(int(digits[0]) / 10 ** len(digits[0]), 6) if digits else None,
        bracketed=mode == 2 if isinstance(mode, int) else None,
        serial=_text(exif, Base.BodySerialNumber)[:_MAX_CAMERA] or None,
        image_id=_text(exif, Base.ImageUniqueID)[:_MAX_CAMERA] or None,
    )


_EDITORS = re.compile(
    "photoshop|lightroom|camera raw|gimp|snapseed|picasa|affinity|darktable|rawtherapee|capture one|pixelmator|luminar|"
    "vsco|facetune|picsart|canva|paint.net|polarr|photo editor|digikam|dxo|acdsee|instagram|photos [0-9]",
    re.IGNORECASE,
)


def edited(exif: Image.Exif, xmp: object, software: object) -> bool:
    """Return whether the file names the editor that wrote it, in EXIF, XMP or a text chunk (`software`)."""
    written = (
        re.findall(rb"(?:CreatorTool|softwareAgent)(?:=[\"']|>)([^\"'<]{1,80})", xmp) if isinstance(xmp, bytes) else []
    )
    names = (_text(exif, Base.Software), _text(exif, Base.ProcessingSoftware), str(software or ""))
    return any(_EDITORS.search(name) for name in (*names, *(name.decode("latin-1") for name in written)))


def has_place(exif: Image.Exif) -> bool:
    """Return whether latitude and longitude are there."""
    try:
        place = exif.get_ifd(IFD.GPSInfo)
    except _FAILURES:
        return False
    return bool(place.get(GPS.GPSLatitude)) and bool(place.get(GPS.GPSLongitude))


def rating(exif: Image.Exif, xmp: object) -> int | None:
    """Return 1 to 5 stars, of the XMP packet or else of EXIF; None where there is no rating, or a rejection."""
    written = re.search(rb"xmp:Rating(?:=[\"']|>)([1-5])(?:\.0+)?[\"'<]", xmp) if isinstance(xmp, bytes) else None
    stars = int(written[1]) if written else _value(exif, _RATING)
    return stars if isinstance(stars, int) and 1 <= stars <= 5 else None


def is_screenshot(exif: Image.Exif, software: object) -> bool:
    """Return whether the file says that it is a screenshot: iOS in the user comment, others in the software tag.

    software: the text chunk of that name of a PNG, if there is one.
    """
    said = (_text(exif, Base.UserComment), _text(exif, Base.Software), str(software or ""))
    return any("screenshot" in text.lower() for text in said)


def _number(exif: Image.Exif, tag: int) -> float | None:
    """Return a tag as a finite number, the first of several; None where it is absent or nonsense."""
    value: Any = _value(exif, tag)
    try:
        number = float(value[0] if isinstance(value, tuple) else value)
    except _FAILURES:
        return None
    return round(number, 9) if math.isfinite(number) else None


def _text(exif: Image.Exif, tag: int) -> str:
    """Return a tag as one clean line, empty where it is absent."""
    value = _value(exif, tag)
    if isinstance(value, bytes):  # a comment has its character code before it
        value = value.removeprefix(b"ASCII\x00\x00\x00").decode("latin-1")
    if not isinstance(value, str):
        return ""
    value = value.split("\x00")[0]  # cameras leave rubbish behind the terminator
    return " ".join("".join(c if c.isprintable() else " " for c in value).split())


def _value(exif: Image.Exif, tag: int) -> object:
    """Return a tag of the main directory or of the EXIF one."""
    try:
        return exif.get(tag) or exif.get_ifd(IFD.Exif).get(tag)
    except _FAILURES:
        return None
