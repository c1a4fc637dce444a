"""Decoded images of any mode -> upright 8-bit sRGB."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

GROUND = (128, 128, 128)  # below transparent pixels: neither the black nor the white that pictures often end in

_STRIP_PIXELS = 4_000_000  # converted at a time
_WHOLE_PIXELS = 16_000_000  # of an image that may be converted whole

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def shrunk(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return the image at this size in a mode of averageable(), each pixel an average of those it covers.

    A large image is brought near the size in bands of rows, so that no converted copy of all of it is ever in memory.
    """
    factors = (image.width // (2 * size[0]), image.height // (2 * size[1]))
    if image.width * image.height <= _WHOLE_PIXELS or min(factors) < 1 or max(factors) < 2:
        whole = averageable(image)
        return whole if whole.size == size else whole.resize(size, Image.Resampling.BILINEAR)
    across, down = factors
    levels, near = levels_of(image), None
    rows = max(1, _STRIP_PIXELS // image.width // down) * down
    for top in range(0, image.height, rows):
        band = averageable(image.crop((0, top, image.width, min(top + rows, image.height))), levels).reduce(factors)
        near = near or Image.new(band.mode, (band.width, -(-image.height // down)))
        near.paste(band, (0, top // down))
    assert near is not None
    return near.resize(size, Image.Resampling.BILINEAR, box=(0, 0, image.width / across, image.height / down))


def averageable(image: Image.Image, levels: tuple[float, float] | None = None) -> Image.Image:
    """Return the image in a mode in which the mean of two pixels is a colour between them; at most one copy.

    levels: of levels_of() for all of an image, if this is a part of it.
    """
    if image.mode in ("I", "F"):
        return _scaled(image, levels or levels_of(image) or (0.0, 1.0))
    if image.mode.startswith("I;16"):
        return _upper_byte(image)
    if image.has_transparency_data:  # palettes and colour keys too
        return in_mode(image, {"L": "LA", "La": "LA", "LA": "LA"}.get(image.mode, "RGBA"))
    return in_mode(image, {"1": "L", "P": "RGB", "HSV": "RGB"}.get(image.mode, image.mode))


def in_mode(image: Image.Image, mode: str) -> Image.Image:
    return image if image.mode == mode else image.convert(mode)  # convert would copy an image of that mode


def levels_of(image: Image.Image) -> tuple[float, float] | None:
    """Return the value of black and the factor to 0..255 of an image of wide integers or floats; None for others.

    The number of bits follows from the mode, or from the values if it leaves that open.
    """
    if image.mode not in ("I", "F"):
        return None
    rows = max(1, _STRIP_PIXELS // image.width)
    bands = (image.crop((0, top, image.width, min(top + rows, image.height))) for top in range(0, image.height, rows))
    extremes = [(values.min(), values.max()) for values in map(_numbers, bands)]
    low, high = float(min(low for low, _ in extremes)), float(max(high for _, high in extremes))
    if low < 0 or high > 65535:
        return low, 255 / max(high - low, 1e-30)
    return 0.0, 1 / 256 if image.mode == "I" or high > 255 else 1.0 if high > 1 else 255.0


def _numbers(image: Image.Image) -> NDArray[np.float32]:
    return np.nan_to_num(np.asarray(image, dtype=np.float32), posinf=0, neginf=0)


def _scaled(image: Image.Image, levels: tuple[float, float]) -> Image.Image:
    """Return a grey image of 0..255. levels: the value of black, and the factor."""
    values = _numbers(image)
    values -= levels[0]
    values *= levels[1]
    return Image.fromarray(np.clip(values, 0, 255, out=values).astype(np.uint8))


def _upper_byte(image: Image.Image) -> Image.Image:
    """Return a grey image of 0..255 of one of 16 bits."""
    order = ">" if image.mode.endswith("B") else "<"
    bytes_of = np.asarray(image).astype(f"{order}u2", copy=False).view(np.uint8).reshape(image.height, -1, 2)
    return Image.fromarray(bytes_of[..., 0 if order == ">" else 1].copy())


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return an averageable image as sRGB over GROUND."""
    colour = in_mode(image, {"LA": "L", "RGBA": "RGB", "RGBX": "RGB", "YCbCr": "RGB"}.get(image.mode, image.mode))
    transform = _transform_of(profile, colour.mode) if profile and colour.mode != "LAB" else None
    rgb = in_mode(colour, "RGB") if transform is None else ImageCms.applyTransform(colour, transform)
    assert rgb is not None  # only in-place transforms return None
    if image.mode not in ("LA", "RGBA"):
        return rgb
    ground = Image.new("RGB", image.size, GROUND)
    ground.paste(rgb, mask=image.getchannel("A"))
    return ground


def is_srgb(image: Image.Image) -> bool:
    """Return whether to_srgb() leaves the values of a grey or RGB image as they are."""
    profile = image.info.get("icc_profile")
    return image.mode in ("L", "RGB") and (not profile or _transform_of(profile, image.mode) is None)


@lru_cache(maxsize=16)  # photos of one camera have one profile
def _transform_of(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the transform from a profile to sRGB; None if the profile is broken, of another mode, or sRGB already."""
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    if mode == "CMYK":
        return transform
    # A profile that moves no colour by more than two levels counts as sRGB: the tables of various makers differ by
    # rounding, and a photo that lost its profile must keep its digest.
    levels = np.arange(0, 256, 15, dtype=np.uint8)  # 0..255
    probe = Image.fromarray(np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(18, -1, 3)).convert(mode)
    moved = ImageCms.applyTransform(probe, transform)
    distance = np.asarray(moved, dtype=np.int16) - np.asarray(probe.convert("RGB"))
    return None if np.abs(distance).max() <= 2 else transform


def turned(image: Image.Image, orientation: int) -> Image.Image:
    """Return the image upright. orientation: as EXIF has it, 1 to 8."""
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def strips(width: int, height: int, orientation: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield the boxes, in an image that is not upright yet, of bands of rows of the upright one from top to bottom."""
    sideways = orientation >= 5
    length, across = (width, height) if sideways else (height, width)
    rows = max(1, _STRIP_PIXELS // across)
    for start in range(0, length, rows):
        first, last = start, min(start + rows, length)
        if orientation in (3, 4, 7, 8):  # the upright picture begins at the far end
            first, last = length - last, length - first
        yield (first, 0, last, height) if sideways else (0, first, width, last)
