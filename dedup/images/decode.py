"""Bytes -> Picture. Knows nothing about files.

Views of one decoding: a small square for the encoder, a picture of some 500 pixels for the second look, and a digest of
every pixel. All go through _open, _averageable and _srgb, so what looks alike to one looks alike to the others.
"""

from __future__ import annotations

import hashlib
import math
import re
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import import_module
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, UnidentifiedImageError
from PIL.ExifTags import Base
from pillow_heif import register_heif_opener

from dedup.errors import MissingExtra, NotAPicture, UnreadablePhoto
from dedup.images.metadata import (
    camera,
    exif_of,
    exif_of_tiff,
    has_place,
    is_screenshot,
    orientation,
    rating,
    taken_at,
    thumbnail,
)
from dedup.images.signatures import HEAD_BYTES, averages_alone, is_camera_raw, is_jpeg_xl, missing_bytes, sniff
from dedup.types.photo import Picture

MAX_PIXELS = 300_000_000  # a panorama of 200 megapixels passes; four bytes a pixel are 1.2 GB

# Pillow's own limit (90 megapixels, an error at twice that) would refuse a panorama. It stays as a second line of
# defence for sizes that only show while decoding (pictures inside ICO and ICNS, TIFF tiles).
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
Image.WARN_POSSIBLE_FORMATS = True  # why a plugin gave up, for _failures_named, which collects the warnings

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

_Least = Callable[[tuple[int, int]], tuple[int, int]]  # width and height in the file -> the least that will do

GROUND = (128, 128, 128)  # below transparent pixels: neither the black nor the white that pictures often end in

_STRIP_PIXELS = 4_000_000  # digested at a time
_DEAR_PIXELS = 1_500_000  # that have to be decoded in full: 25 ms of a PNG, 45 of a HEIC
_QUICK_PIXELS = 2_000_000  # of a picture whose thumbnail is worth looking for
_LEAST_THUMBNAIL = 120  # pixels, its longer side
_TAIL = 1 << 16  # bytes; phones add things behind the end of a JPEG
_PREVIEW_QUALITY_CACHED = 90  # 1 ms, 40 KB
_PREVIEW_QUALITY = {"JPEG": 92, "WEBP": 60}  # to be looked at closely; to be sent in numbers

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_RAW_ORIENTATIONS = {3: 3, 5: 8, 6: 6}  # LibRaw's flip -> EXIF

register_heif_opener()


@dataclass(frozen=True, slots=True)
class _Opened:
    """A decoded image, not upright yet; at full size or, where only a small one is wanted, smaller."""

    image: Image.Image
    width: int  # of the upright picture at full size
    height: int
    orientation: int  # EXIF's, of what is still to be done
    format: str
    exif: Image.Exif


def decode(data: bytes, *, side: int, proof: int = 0, quick: bool = False) -> Picture:
    """Return the upright picture squashed to (side, side), each pixel an average of those it covers.

    proof: pixels of the longer side of a proof, which comes with pictures that are dear to decode; 0 for none.
    quick: take the thumbnail that a camera put into a large JPEG or HEIC, if it shows all of the picture, or what a
    large progressive JPEG begins with, and decode no more.
    Raises NotAPicture, MissingExtra, or UnreadablePhoto for anything else; the message is one line.
    """
    with _failures_named():
        shown = _thumbnail(data, side) if quick else None
        opened = shown or _open(data, least=lambda size: (side, side))
        small = _averageable(opened.image).resize((side, side), Image.Resampling.BILINEAR)
        square = _turned(_srgb(small, opened.image.info.get("icc_profile")), opened.orientation)
        return Picture(
            pixels=np.array(square),
            width=opened.width,
            height=opened.height,
            format=opened.format,
            taken_at=taken_at(opened.exif),
            camera=camera(opened.exif),
            gps=has_place(opened.exif),
            rating=rating(opened.exif, opened.image.info.get("xmp")),
            screenshot=is_screenshot(opened.exif, opened.image.info.get("Software")),
            proof=_proof(_within(opened, proof)) if proof and not shown and _is_dear(opened) else None,
        )


def decode_within(data: bytes, *, longest: int) -> NDArray[np.uint8]:
    """Return the upright sRGB picture (H, W, 3) uint8, made smaller if its longer side is above `longest` pixels.

    Raises as decode does.
    """
    with _failures_named():
        return np.array(_within(_open(data, least=_nearly(longest)), longest))


def decode_preview(data: bytes, *, longest: int) -> NDArray[np.uint8]:
    """Return what decode_within() does, through a proof if decode() makes one, so that it is the same either way."""
    with _failures_named():
        opened = _open(data, least=_nearly(longest))
        image = _within(opened, longest)
        return read_preview(_proof(image)) if _is_dear(opened) else np.array(image)


def read_preview(proof: bytes) -> NDArray[np.uint8]:
    """Return the picture (H, W, 3) uint8 in a proof."""
    return np.array(Image.open(BytesIO(proof), formats=("JPEG",)))


def pixels_sha256(data: bytes) -> str:
    """Return the digest of width, height and every upright sRGB pixel, whatever the container and the metadata.

    Raises as decode does.
    """
    with _failures_named():
        opened = _open(data, least=None)
        image = _averageable(opened.image)
        digest = hashlib.sha256(f"{opened.width} {opened.height}\n".encode())
        for box in _strips(image.width, image.height, opened.orientation):
            strip = _srgb(image.crop(box), opened.image.info.get("icc_profile"))
            digest.update(_turned(strip, opened.orientation).tobytes())
        return digest.hexdigest()


def preview(data: bytes, *, side: int, format: str) -> bytes:
    """Return the upright sRGB picture, no longer than side pixels, as a file of Pillow's format JPEG or WEBP.

    It has no metadata. Raises as decode does.
    """
    picture = Image.fromarray(decode_within(data, longest=side))
    with _failures_named():
        buffer = BytesIO()
        picture.save(buffer, format, quality=_PREVIEW_QUALITY[format])
        return buffer.getvalue()


def _within(opened: _Opened, longest: int) -> Image.Image:
    """Return the upright sRGB picture, its longer side at most `longest` pixels."""
    image = _averageable(opened.image)
    scale = min(1.0, longest / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    small = image if size == image.size else image.resize(size, Image.Resampling.BILINEAR)
    return _turned(_srgb(small, opened.image.info.get("icc_profile")), opened.orientation)


def _is_dear(opened: _Opened) -> bool:
    """Tell whether decoding it once more costs far more than to keep a proof, and whether both views decode it alike.

    A JPEG is decoded at an eighth for either view only if it is this large; of a camera RAW the two may see different
    previews.
    """
    if opened.format in ("JPEG", "MPO"):
        return max(opened.width, opened.height) >= 3584 and min(opened.width, opened.height) >= 1280
    return opened.format != "RAW" and opened.width * opened.height >= _DEAR_PIXELS


def _proof(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=_PREVIEW_QUALITY_CACHED, subsampling=0)
    return buffer.getvalue()


def _strips(width: int, height: int, turn: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield the boxes, in an image that is not upright yet, of bands of rows of the upright one from top to bottom."""
    sideways = turn >= 5
    length, across = (width, height) if sideways else (height, width)
    rows = max(1, _STRIP_PIXELS // across)
    for start in range(0, length, rows):
        first, last = start, min(start + rows, length)
        if turn in (3, 4, 7, 8):  # the upright picture begins at the far end
            first, last = length - last, length - first
        yield (first, 0, last, height) if sideways else (0, first, width, last)


def _nearly(longest: int) -> _Least:
    """Return what asks for a longer side of `longest` pixels, or an eighth less where that halves the decoding."""

    def least(size: tuple[int, int]) -> tuple[int, int]:
        scale = longest * 7 / 8 / max(size)
        return math.ceil(size[0] * scale), math.ceil(size[1] * scale)

    return least


def _thumbnail(data: bytes, side: int) -> _Opened | None:
    """Return a small version that a large JPEG or HEIC holds; None if there is none that shows all of the picture."""
    if data.startswith(b"\xff\xd8"):
        return _thumbnail_in_jpeg(data)
    return _thumbnail_in_heif(data, side) if data[4:8] == b"ftyp" and not missing_bytes(data) else None


def _thumbnail_in_heif(data: bytes, side: int) -> _Opened | None:
    """Return a thumbnail of at least side x side pixels; phones put one of 320 x 240 beside the picture."""
    try:
        image = Image.open(BytesIO(data), formats=("HEIF",))
    except UnidentifiedImageError:  # AVIF, a camera RAW, a film
        return None
    width, height = image.size
    _check_size(width, height)
    if width * height < _QUICK_PIXELS or not image.draft(None, (side, side)):
        return None
    opened = _loaded(image, least=None)
    return replace(opened, width=width, height=height) if opened.orientation < 5 else None


def _thumbnail_in_jpeg(data: bytes) -> _Opened | None:
    """Return the thumbnail in the EXIF block of a large JPEG, or what a progressive one begins with."""
    image = Image.open(BytesIO(data), formats=("JPEG",))
    _check_size(*image.size)
    if image.width * image.height < _QUICK_PIXELS:
        return None
    return _thumbnail_in_exif(data, image) or _beginning_of_progressive(data, image)


def _ends(data: bytes, *, behind: int) -> bool:
    """Tell whether a JPEG has its end, behind so many bytes; where it was cut short, decoding says how."""
    return data.rfind(b"\xff\xd9") >= max(behind, len(data) - _TAIL)


def _thumbnail_in_exif(data: bytes, image: Image.Image) -> _Opened | None:
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
    if whole is None or max(whole.size) < _LEAST_THUMBNAIL:
        return None
    whole.info = {name: image.info[name] for name in ("icc_profile", "xmp") if name in image.info}
    turn = orientation(exif)
    width, height = image.size if turn < 5 else image.size[::-1]
    return _Opened(whole, width, height, turn, image.format or "", exif)


def _beginning_of_progressive(data: bytes, image: Image.Image) -> _Opened | None:
    """Return an eighth of a JPEG of many passes, from the first of them."""
    eighth = (-(-image.width // 8), -(-image.height // 8))
    first = averages_alone(data) if "progressive" in image.info and max(eighth) >= _LEAST_THUMBNAIL else None
    if first is None or not _ends(data, behind=len(first)):
        return None
    try:
        return _loaded(Image.open(BytesIO(first), formats=("JPEG",)), least=lambda size: eighth)
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


def _open(data: bytes, *, least: _Least | None) -> _Opened:
    """Return the decoded first image, at least as large as `least` says if it was, or at full size."""
    word = sniff(data[:HEAD_BYTES])
    if word:
        raise NotAPicture(f"not a picture ({word})")
    if is_camera_raw(data):
        return _open_raw(data, least=least)
    formats = FORMATS
    if is_jpeg_xl(data):
        _extra("pillow_jxl", what="JPEG XL", extra="jxl")
        formats = ("JXL",)
    missing = missing_bytes(data)
    if missing:
        raise UnreadablePhoto(f"cut short: {missing} of {len(data) + missing} bytes are missing")
    return _loaded(Image.open(BytesIO(data), formats=formats), least=least)


def _loaded(image: Image.Image, *, least: _Least | None) -> _Opened:
    _check_size(*image.size)
    declared = image.size
    if image.format in ("JPEG", "MPO") and least is not None:
        image.draft(None, least(declared))  # decode at a half, a quarter or an eighth: the DCT averages for nothing
    reduced = image.size != declared
    image.load()
    exif = exif_of(image)
    turn = orientation(exif)
    if image.format == "JXL" and not getattr(image, "jpeg", False):
        turn = 1  # the codestream has its own orientation, which is done; the tag counts in a recompressed JPEG only
    width, height = declared if reduced else image.size  # TIFF has turned itself while loading
    if turn >= 5:
        width, height = height, width
    return _Opened(image, width, height, turn, image.format or "", exif)


def _open_raw(data: bytes, *, least: _Least | None) -> _Opened:
    """Return the camera's own preview if it is large enough, else the developed sensor data."""
    rawpy = _extra("rawpy", what="camera RAW", extra="raw")
    try:
        with rawpy.imread(BytesIO(data)) as raw:
            turn = _RAW_ORIENTATIONS.get(raw.sizes.flip, 1)
            width, height = raw.sizes.width, raw.sizes.height
            _check_size(width, height)
            if turn >= 5:
                width, height = height, width
            preview = None if least is None else _preview(raw, turn, least=least)
            if preview is None:  # developed upright
                pixels = raw.postprocess(half_size=least is not None, use_camera_wb=True)
                preview = _Opened(Image.fromarray(pixels), width, height, 1, "RAW", Image.Exif())
    except rawpy.LibRawError as error:
        raise UnreadablePhoto(f"damaged or unsupported camera RAW: {_line(str(error))}") from error
    exif = exif_of_tiff(data) or preview.exif
    return _Opened(preview.image, width, height, preview.orientation, "RAW", exif)


def _preview(raw: Any, turn: int, *, least: _Least) -> _Opened | None:
    """Return the preview inside a camera RAW, or None if there is none as large as `least` says."""
    rawpy = import_module("rawpy")
    try:
        thumb = raw.extract_thumb()
    except (rawpy.LibRawNoThumbnailError, rawpy.LibRawUnsupportedThumbnailError):
        return None
    if thumb.format == rawpy.ThumbFormat.JPEG:
        opened = _loaded(Image.open(BytesIO(thumb.data), formats=("JPEG",)), least=least)
        if Base.Orientation not in opened.exif:  # then it lies as the sensor did
            opened = replace(opened, orientation=turn)
    else:
        image = Image.fromarray(thumb.data)
        opened = _Opened(image, *image.size, turn, "RAW", Image.Exif())
    width, height = least((opened.width, opened.height))
    return opened if opened.width >= width and opened.height >= height else None


def _extra(module: str, *, what: str, extra: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise MissingExtra(f"{what}: pip install 'dedup[{extra}]'") from None


def _check_size(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise UnreadablePhoto(f"damaged: {width} x {height} pixels")
    if width * height > MAX_PIXELS:
        raise UnreadablePhoto(f"{width} x {height} = {_too_many(width * height)}")


def _too_many(pixels: int) -> str:
    return f"{pixels // 1_000_000} megapixels, more than the limit of {MAX_PIXELS // 1_000_000}"


def _averageable(image: Image.Image) -> Image.Image:
    """Return the image in a mode in which the mean of two pixels is a colour between them; at most one copy."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _eight_bit(image)
    if image.has_transparency_data:  # palettes and colour keys too
        return _in_mode(image, {"L": "LA", "La": "LA", "LA": "LA"}.get(image.mode, "RGBA"))
    return _in_mode(image, {"1": "L", "P": "RGB", "HSV": "RGB"}.get(image.mode, image.mode))


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    return image if image.mode == mode else image.convert(mode)  # convert would copy an image of that mode


def _eight_bit(image: Image.Image) -> Image.Image:
    """Return a grey image of 0..255; the number of bits is read off the mode, or off the values where that is open."""
    if image.mode.startswith("I;16"):
        order = ">" if image.mode.endswith("B") else "<"
        bytes_of = np.asarray(image).astype(f"{order}u2", copy=False).view(np.uint8).reshape(image.height, -1, 2)
        return Image.fromarray(bytes_of[..., 0 if order == ">" else 1].copy())
    values = np.nan_to_num(np.asarray(image, dtype=np.float32), posinf=0, neginf=0)
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 65535:
        scale = 255 / max(high - low, 1e-30)
    else:
        low = 0.0
        scale = 1 / 256 if image.mode == "I" or high > 255 else 1.0 if high > 1 else 255.0
    values -= low
    values *= scale
    return Image.fromarray(np.clip(values, 0, 255, out=values).astype(np.uint8))


def _srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return the image as sRGB over GROUND."""
    colour = _in_mode(image, {"LA": "L", "RGBA": "RGB", "RGBX": "RGB", "YCbCr": "RGB"}.get(image.mode, image.mode))
    transform = _to_srgb(profile, colour.mode) if profile and colour.mode != "LAB" else None
    rgb = _in_mode(colour, "RGB") if transform is None else ImageCms.applyTransform(colour, transform)
    assert rgb is not None  # only in-place transforms return None
    if image.mode not in ("LA", "RGBA"):
        return rgb
    ground = Image.new("RGB", image.size, GROUND)
    ground.paste(rgb, mask=image.getchannel("A"))
    return ground


@lru_cache(maxsize=16)  # photos of one camera have one profile
def _to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return what turns colours of the profile into sRGB; None if it is broken, of another mode, or sRGB already."""
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    if mode == "CMYK":
        return transform
    # A profile that moves no colour by more than two levels is sRGB, whatever it is called: the tables of various
    # makers differ by rounding, and a photo that lost its profile shall keep its digest.
    levels = np.arange(0, 256, 15, dtype=np.uint8)  # 0..255
    probe = Image.fromarray(np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(18, -1, 3)).convert(mode)
    moved = ImageCms.applyTransform(probe, transform)
    distance = np.asarray(moved, dtype=np.int16) - np.asarray(probe.convert("RGB"))
    return None if np.abs(distance).max() <= 2 else transform


def _turned(image: Image.Image, turn: int) -> Image.Image:
    return image.transpose(_TURNS[turn]) if turn in _TURNS else image


@contextmanager
def _failures_named() -> Iterator[None]:
    """Turn whatever a decoder raises into UnreadablePhoto, and keep its warnings from being printed."""
    with warnings.catch_warnings(record=True) as notes:
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


def _reason(text: str) -> str:
    """Return what a person can make of a decoder's message."""
    if re.search("truncated|end of file|not enough image data|only got", text, re.IGNORECASE):
        return "cut short: the picture data ends too early"
    if re.search("decoder error|buffer overrun|data stream", text):
        return "damaged or unsupported picture data"
    return f"damaged or unsupported: {text}"


def _line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:200]
