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
from simplejpeg import decode_jpeg

from dedup.errors import MissingExtra, NotAPicture, UnreadablePhoto
from dedup.images.containers import tiff_pages
from dedup.images.damage import INTACT, Damage, damage_in, jpeg_damage
from dedup.images.metadata import exif_of, exif_of_tiff, orientation
from dedup.images.signatures import is_camera_raw, is_jpeg_xl, missing_bytes

MAX_PIXELS = 300_000_000  # a panorama of 200 megapixels passes
MAX_MEMORY = 900_000_000  # bytes that decoding one picture may take; a worker takes some 100 MB besides

# Bytes a pixel that decoders take at their peak, where these are more than Pillow's own image (measured).
_DECODER_BYTES = {"HEIF": 8, "AVIF": 10, "WEBP": 17, "JPEG2000": 20, "JXL": 20}

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

_STRICT_PIXELS = 64_000_000  # that are decoded by the stricter decoder, which needs 3 bytes more for each

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
    frames: int = 1  # of the file: frames of an animation, pages, or further pictures
    source: Image.Image | None = None  # what the further frames can be had from
    damaged: str = ""  # what is wrong with the picture data, in words
    intact: float = 1.0  # see types.photo.Facts


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
    return loaded(Image.open(BytesIO(data), formats=formats), data, least=least)


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


def loaded(image: Image.Image, data: bytes, *, least: LeastSize | None) -> Opened:
    """Return an image of some bytes decoded, at a fraction of its size if it is a JPEG and that is as large as `least`
    asks.
    """
    check_size(*image.size)
    declared, frames = image.size, frame_count(image, data)
    jpeg = image.format in ("JPEG", "MPO")
    if least is not None and (jpeg or (image.format == "HEIF" and memory_of(image) > MAX_MEMORY)):
        # a JPEG is decoded at a half, a quarter or an eighth: the DCT averages for free; a huge HEIC has a thumbnail
        image.draft(None, least(declared))
    reduced = image.size != declared
    check_memory(image)
    decoded, damage = _strictly_decoded(image, data) if jpeg else (None, damage_in(data, image.format or ""))
    if decoded is None:
        image.load()
    exif = exif_of(image)
    turn = orientation(exif)
    if image.format == "JXL" and not getattr(image, "jpeg", False):
        turn = 1  # the decoder has applied the codestream's own orientation; the tag counts in a recompressed JPEG only
    width, height = declared if reduced else image.size  # TIFF has turned itself while loading
    if turn >= 5:
        width, height = height, width
    kind = image.format or ""
    return Opened(decoded or image, width, height, turn, kind, exif, frames, image, damage.reason, damage.intact)


def frame_count(image: Image.Image, data: bytes) -> int:
    """Return how many frames, pages, further pictures or layers a file has, from its headers."""
    if image.format == "TIFF":
        return tiff_pages(data)
    return max(1, int(getattr(image, "n_frames", 1)))


def _strictly_decoded(image: Image.Image, data: bytes) -> tuple[Image.Image | None, Damage]:
    """Return a JPEG decoded by a decoder that reports the errors which Pillow passes over; None if Pillow must decode.

    Both are libjpeg-turbo, and their pixels are the same.
    """
    colours = {"RGB": "RGB", "L": "GRAY"}.get(image.mode)
    if colours is None or image.width * image.height > _STRICT_PIXELS:
        return None, INTACT
    try:
        pixels = decode_jpeg(data, colours, min_height=image.height, min_width=image.width)
    except ValueError as error:
        return None, jpeg_damage(data, str(error))
    if pixels.shape[:2] != (image.height, image.width):
        return None, INTACT
    decoded = Image.fromarray(pixels[..., 0] if colours == "GRAY" else pixels)
    decoded.info = image.info
    return decoded, jpeg_damage(data) if "progressive" in image.info else INTACT


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
        opened = loaded(Image.open(BytesIO(thumb.data), formats=("JPEG",)), thumb.data, least=least)
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


def memory_of(image: Image.Image) -> int:
    """Return about how many bytes it takes to decode an image."""
    sample = 1 if image.mode in ("1", "L", "P") else 2 if image.mode.startswith("I;16") else 4
    return image.width * image.height * _DECODER_BYTES.get(image.format or "", sample)


def check_memory(image: Image.Image) -> None:
    """Raise UnreadablePhoto if decoding an image would take more memory than a worker may have."""
    wanted = memory_of(image)
    if wanted > MAX_MEMORY:
        size, most = f"{image.width} x {image.height}", MAX_MEMORY / 1e9
        raise UnreadablePhoto(f"{size} pixels take {wanted / 1e9:.1f} GB to decode, more than the limit of {most:.1f}")


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
