"""Bytes -> a decoded image, not upright yet. Chooses the decoder, bounds its cost, and names what went wrong."""

from __future__ import annotations

import re
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from io import BytesIO
from threading import Lock
from typing import Any

from PIL import Image, UnidentifiedImageError
from PIL.ExifTags import Base
from pillow_heif import register_heif_opener

from dedup.errors import MissingExtra, NotAPicture, UnreadablePhoto
from dedup.images.metadata import exif_of, exif_of_tiff, orientation
from dedup.images.signatures import is_camera_raw, is_jpeg_xl, missing_bytes

MAX_PIXELS = 300_000_000  # a panorama of 200 megapixels passes; four bytes a pixel are 1.2 GB

# Decoders that run no other program and need no network. No EPS (Ghostscript), no WMF, no stubs such as HDF5.
# TGA comes last: it has no magic number and tries itself on anything.
FORMATS: tuple[str, ...] = (
    *("JPEG", "PNG", "HEIF", "WEBP", "TIFF", "AVIF", "GIF", "BMP", "JPEG2000", "PPM", "ICO", "ICNS", "PSD"),
    *("DIB", "DDS", "QOI", "PCX", "SGI", "SUN", "MSP", "FLI", "TGA"),
)

# What Pillow, its plugins and numpy raised on a thousand odd and damaged files, and on damaged copies of good ones.
FAILURES: tuple[type[Exception], ...] = (
    OSError,
    ValueError,
    TypeError,
    SyntaxError,
    EOFError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    RuntimeError,  # and NotImplementedError, RecursionError
    struct.error,
    zlib.error,
)

LeastSize = Callable[[tuple[int, int]], tuple[int, int]]  # width and height in the file -> the least that is needed

_RAW_ORIENTATIONS = {3: 3, 5: 8, 6: 6}  # LibRaw's flip -> EXIF


@dataclass(frozen=True, slots=True)
class Opened:
    """A decoded image, not upright yet; at full size or, where only a small one is wanted, smaller."""

    image: Image.Image
    width: int  # of the upright picture at full size
    height: int
    orientation: int  # EXIF's, of what is still to be done
    format: str
    exif: Image.Exif


def open_picture(data: bytes, *, least: LeastSize | None) -> Opened:
    """Return the decoded first image of a file: at full size, or at least as large as `least` asks.

    Raises NotAPicture, MissingExtra, UnreadablePhoto, or one of FAILURES: see decoding().
    """
    _register_plugins()
    if is_camera_raw(data):
        return _open_raw(data, least=least)
    formats = FORMATS
    if is_jpeg_xl(data):
        _extra("pillow_jxl", what="JPEG XL", extra="jxl")
        formats = ("JXL",)
    missing = missing_bytes(data)
    if missing:
        raise UnreadablePhoto(f"cut short: {missing} of {len(data) + missing} bytes are missing")
    return loaded(Image.open(BytesIO(data), formats=formats), least=least)


@cache
def _register_plugins() -> None:
    """Have Pillow know HEIF: when the first picture is decoded, for an import must change nothing in its process."""
    register_heif_opener()


def open_as(data: bytes, format: str) -> Image.Image:
    """Return an image of one of Pillow's formats, not decoded yet. Raises UnidentifiedImageError if it is another."""
    _register_plugins()
    image = Image.open(BytesIO(data), formats=(format,))
    check_size(*image.size)
    return image


def loaded(image: Image.Image, *, least: LeastSize | None) -> Opened:
    """Return an image decoded, at a fraction of its size if it is a JPEG and that is as large as `least` asks."""
    check_size(*image.size)
    declared = image.size
    if image.format in ("JPEG", "MPO") and least is not None:
        image.draft(None, least(declared))  # decode at a half, a quarter or an eighth: the DCT averages for free
    reduced = image.size != declared
    image.load()
    exif = exif_of(image)
    turn = orientation(exif)
    if image.format == "JXL" and not getattr(image, "jpeg", False):
        turn = 1  # the decoder has applied the codestream's own orientation; the tag counts in a recompressed JPEG only
    width, height = declared if reduced else image.size  # TIFF has turned itself while loading
    if turn >= 5:
        width, height = height, width
    return Opened(image, width, height, turn, image.format or "", exif)


def _open_raw(data: bytes, *, least: LeastSize | None) -> Opened:
    """Return the camera's own preview if it is large enough, else the developed sensor data."""
    rawpy = _extra("rawpy", what="camera RAW", extra="raw")
    try:
        with rawpy.imread(BytesIO(data)) as raw:
            turn = _RAW_ORIENTATIONS.get(raw.sizes.flip, 1)
            width, height = raw.sizes.width, raw.sizes.height
            check_size(width, height)
            if turn >= 5:
                width, height = height, width
            preview = None if least is None else _raw_preview(raw, turn, least=least)
            if preview is None:  # developed upright
                pixels = raw.postprocess(half_size=least is not None, use_camera_wb=True)
                preview = Opened(Image.fromarray(pixels), width, height, 1, "RAW", Image.Exif())
    except rawpy.LibRawError as error:
        raise UnreadablePhoto(f"damaged or unsupported camera RAW: {_line(str(error))}") from error
    exif = exif_of_tiff(data) or preview.exif
    return Opened(preview.image, width, height, preview.orientation, "RAW", exif)


def _raw_preview(raw: Any, turn: int, *, least: LeastSize) -> Opened | None:
    """Return the preview inside a camera RAW, or None if there is none as large as `least` asks."""
    rawpy = import_module("rawpy")
    try:
        thumb = raw.extract_thumb()
    except (rawpy.LibRawNoThumbnailError, rawpy.LibRawUnsupportedThumbnailError):
        return None
    if thumb.format == rawpy.ThumbFormat.JPEG:
        opened = loaded(Image.open(BytesIO(thumb.data), formats=("JPEG",)), least=least)
        if Base.Orientation not in opened.exif:  # then it lies as the sensor did
            opened = replace(opened, orientation=turn)
    else:
        image = Image.fromarray(thumb.data)
        opened = Opened(image, *image.size, turn, "RAW", Image.Exif())
    width, height = least((opened.width, opened.height))
    return opened if opened.width >= width and opened.height >= height else None


def _extra(module: str, *, what: str, extra: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise MissingExtra(f"{what}: pip install 'dedup-photos[{extra}]'") from None


def check_size(width: int, height: int) -> None:
    """Raise UnreadablePhoto if a picture has no pixels, or too many."""
    if width < 1 or height < 1:
        raise UnreadablePhoto(f"damaged: {width} x {height} pixels")
    if width * height > MAX_PIXELS:
        raise UnreadablePhoto(f"{width} x {height} = {_too_many(width * height)}")


def _too_many(pixels: int) -> str:
    return f"{pixels // 1_000_000} megapixels, more than the limit of {MAX_PIXELS // 1_000_000}"


@contextmanager
def decoding() -> Iterator[None]:
    """Turn whatever a decoder raises into UnreadablePhoto, and keep its warnings from being printed."""
    with _pillow_settings(), warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        try:
            yield
        except UnidentifiedImageError as error:  # it names no cause, but a plugin that knew the format left a note
            causes = [str(note.message) for note in notes if not str(note.message).startswith("TGA ")]
            if not causes:
                raise NotAPicture("no picture format that can be read") from error
            raise UnreadablePhoto(_reason(_line(causes[0].replace(" opening failed.", ":")))) from error
        except Image.DecompressionBombError as error:
            raise UnreadablePhoto(_too_many(int(re.sub(r"\D*(\d+).*", r"\1", str(error))))) from error
        except MemoryError as error:
            raise UnreadablePhoto("not enough memory") from error
        except FAILURES as error:
            raise UnreadablePhoto(_reason(_line(str(error)) or type(error).__name__)) from error


_settings_lock = Lock()
_settings_users = 0
_settings_before: tuple[int | None, bool] = (0, False)


@contextmanager
def _pillow_settings() -> Iterator[None]:
    """Have Pillow use our limits while at least one thread decodes, and its own before and after.

    Pillow's own limit (90 megapixels, an error at twice that) would refuse a panorama. Ours stays as a second line of
    defence for sizes that only show while decoding (pictures inside ICO and ICNS, TIFF tiles).
    """
    global _settings_users, _settings_before
    with _settings_lock:
        if not _settings_users:
            _settings_before = (Image.MAX_IMAGE_PIXELS, Image.WARN_POSSIBLE_FORMATS)
            Image.MAX_IMAGE_PIXELS = MAX_PIXELS
            Image.WARN_POSSIBLE_FORMATS = True  # why a plugin gave up, for decoding(), which collects the warnings
        _settings_users += 1
    try:
        yield
    finally:
        with _settings_lock:
            _settings_users -= 1
            if not _settings_users:
                Image.MAX_IMAGE_PIXELS, Image.WARN_POSSIBLE_FORMATS = _settings_before


def _reason(text: str) -> str:
    """Return what a person can make of a decoder's message."""
    if re.search("truncated|end of file|not enough image data|only got", text, re.IGNORECASE):
        return "cut short: the picture data ends too early"
    if re.search("decoder error|buffer overrun|data stream", text):
        return "damaged or unsupported picture data"
    return f"damaged or unsupported: {text}"


def _line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:200]
