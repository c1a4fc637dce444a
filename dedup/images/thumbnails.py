"""Bytes -> the small version that a camera put into a large JPEG or HEIC, for scans that settle for it (--quick)."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from dedup.images.metadata import exif_of, orientation, thumbnail
from dedup.images.opening import FAILURES, Opened, loaded, open_as
from dedup.images.signatures import averages_alone, missing_bytes

_MIN_PIXELS = 2_000_000  # of a picture whose thumbnail is worth looking for
_MIN_SIDE = 120  # pixels, the longer side of a thumbnail
_TAIL = 1 << 16  # bytes; phones add data behind the end of a JPEG


def open_thumbnail(data: bytes, side: int) -> Opened | None:
    """Return a small version that a large JPEG or HEIC holds; None if it has none that shows all of the picture."""
    if data.startswith(b"\xff\xd8"):
        return _in_jpeg(data)
    return _in_heif(data, side) if data[4:8] == b"ftyp" and not missing_bytes(data) else None


def _in_heif(data: bytes, side: int) -> Opened | None:
    """Return a thumbnail of at least side x side pixels; phones put one of 320 x 240 beside the picture."""
    try:
        image = open_as(data, "HEIF")
    except UnidentifiedImageError:  # AVIF, a camera RAW, a film
        return None
    width, height = image.size
    if width * height < _MIN_PIXELS or not image.draft(None, (side, side)):
        return None
    opened = loaded(image, data, least=None)
    return replace(opened, width=width, height=height) if opened.orientation < 5 else None


def _in_jpeg(data: bytes) -> Opened | None:
    """Return the thumbnail in the EXIF block of a large JPEG, or the first scans of a progressive one."""
    image = open_as(data, "JPEG")
    if image.width * image.height < _MIN_PIXELS:
        return None
    return _in_exif(data, image) or _first_scans(data, image)


def _ends(data: bytes, *, behind: int) -> bool:
    """Return whether a JPEG has its end, behind so many bytes. A full decode says how one was cut short."""
    return data.rfind(b"\xff\xd9") >= max(behind, len(data) - _TAIL)


def _in_exif(data: bytes, image: Image.Image) -> Opened | None:
    """Return the thumbnail in the EXIF block of a JPEG, without its bars."""
    exif = exif_of(image)
    found = thumbnail(exif, image.info.get("exif", b""))
    if found is None or not _ends(data, behind=data.index(found) + len(found)):
        return None
    try:
        small = Image.open(BytesIO(found), formats=("JPEG",))
        small.load()
    except FAILURES:
        return None
    whole = _without_bars(small.convert("RGB"), image.width / image.height)
    if whole is None or max(whole.size) < _MIN_SIDE:
        return None
    whole.info = {name: image.info[name] for name in ("icc_profile", "xmp") if name in image.info}
    turn = orientation(exif)
    width, height = image.size if turn < 5 else image.size[::-1]
    return Opened(whole, width, height, turn, image.format or "", exif)


def _first_scans(data: bytes, image: Image.Image) -> Opened | None:
    """Return an eighth of a progressive JPEG, from its first scans."""
    eighth = (-(-image.width // 8), -(-image.height // 8))
    first = averages_alone(data) if "progressive" in image.info and max(eighth) >= _MIN_SIDE else None
    if first is None or not _ends(data, behind=len(first)):
        return None
    try:
        return loaded(Image.open(BytesIO(first), formats=("JPEG",)), first, least=lambda size: eighth)
    except FAILURES:
        return None


def _without_bars(image: Image.Image, aspect: float) -> Image.Image | None:
    """Return the part of a thumbnail that has this aspect, if what is around it is black; None if it shows more.

    Cameras fill 160 x 120 up with bars; a thumbnail of another shape was not made anew when the picture was cropped.
    """
    if abs(image.width / image.height / aspect - 1) < 0.03:
        return image
    width, height = min(image.width, round(image.height * aspect)), min(image.height, round(image.width / aspect))
    x, y = (image.width - width) // 2, (image.height - height) // 2
    bars = np.array(image.convert("L"), np.float32)
    bars[max(0, y - 2) : y + height + 2, max(0, x - 2) : x + width + 2] = np.nan
    dark = bars[~np.isnan(bars)]
    return image.crop((x, y, x + width, y + height)) if dark.size == 0 or np.percentile(dark, 95) < 40 else None
