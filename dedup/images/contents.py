"""Bytes and their decoded image -> Facts: what a photo holds besides the pixels of its first picture."""

from __future__ import annotations

import re
from dataclasses import replace
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dedup.images.containers import further_in_jpeg, tiff_bits, video_in
from dedup.images.metadata import edited, exposure
from dedup.images.opening import Opened
from dedup.types.photo import Facts

_COLOURLESS = 8  # levels that the channels of a grey picture may differ by, saved as a colour JPEG
_COLOURED = 0.005  # share of the pixels of a grey picture that may differ by more
_OPAQUE = 250  # of 255


def facts_of(data: bytes, opened: Opened, squashed: Image.Image, square: NDArray[np.uint8]) -> Facts:
    """Return the facts of a photo.

    squashed: the small image before its transparency was dropped.   square: (S, S, 3) uint8, the same in sRGB.
    """
    return replace(
        contents_of(data, opened),
        alpha=_has_alpha(squashed),
        bits=bits_of(data, opened.image, opened.format),
        grey=_is_grey(square),
        edited=edited(opened.exif, opened.image.info.get("xmp"), opened.image.info.get("Software")),
        damaged=opened.damaged,
        intact=opened.intact,
        exposure=exposure(opened.exif),
    )


def contents_of(data: bytes, opened: Opened) -> Facts:
    """Return those facts that need no pixels: frames, further pictures, video, gain map and depth map."""
    image, kind = opened.image, opened.format
    pictures, gain_map, depth_map = 0, False, False
    if kind in ("JPEG", "MPO"):
        further = further_in_jpeg(data, max(opened.width, opened.height))
        pictures, gain_map, depth_map = further.pictures, further.gain_map, further.depth_map
    elif kind == "HEIF":
        pictures = opened.frames - 1
        gain_map = any("gainmap" in str(name).lower() for name in image.info.get("aux") or ())
        depth_map = bool(image.info.get("depth_images"))
    elif kind == "PSD":  # layers
        pictures = opened.frames - 1
    video = video_in(data) if kind in ("JPEG", "MPO", "HEIF", "AVIF", "PNG", "WEBP") else b""
    return Facts(
        frames=1 if kind in ("JPEG", "MPO", "HEIF", "PSD") else opened.frames,
        pictures=pictures,
        video=sha256(video).hexdigest()[:16] if video else "",
        gain_map=gain_map,
        depth_map=depth_map,
    )


def bits_of(data: bytes, image: Image.Image, kind: str) -> int:
    """Return the bits of a channel in the file; 8 where that is not known."""
    if kind == "RAW" or image.mode.startswith("I;16"):
        return 16
    if image.mode in ("I", "F"):
        return 32 if kind == "TIFF" else 16
    if kind == "PNG":
        return max(8, data[24]) if data[12:16] == b"IHDR" else 8
    if kind == "TIFF":
        return tiff_bits(data)
    if kind == "HEIF":
        return int(image.info.get("bit_depth", 8))
    if kind == "AVIF":  # the pixi property: version, channels, bits of each
        found = re.search(rb"pixi\0\0\0\0[\x01-\x04]([\x01-\x20])", data[:8192])
        return max(8, found[1][0]) if found else 8
    return 8


def _has_alpha(image: Image.Image) -> bool:
    """Return whether some pixels of an averageable image are transparent."""
    if image.mode not in ("LA", "RGBA"):
        return False
    low = image.getchannel("A").getextrema()[0]
    return isinstance(low, int | float) and low < _OPAQUE


def _is_grey(square: NDArray[np.uint8]) -> bool:
    """Return whether next to no pixel of a picture (H, W, 3) has a colour."""
    red, green, blue = np.ascontiguousarray(square.transpose(2, 0, 1))  # numpy is slow along an axis of three
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    return bool(np.count_nonzero(spread > _COLOURLESS) <= spread.size * _COLOURED)
