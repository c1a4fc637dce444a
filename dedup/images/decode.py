"""Bytes -> Picture. Knows nothing about files.

All views of a photo are made by the same steps, so what looks alike in one looks alike in the others: a small square
for the encoder, a picture of some 500 pixels for verification, a smaller file for a page, and a digest of every pixel.
"""

from __future__ import annotations

import hashlib
import math
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dedup.errors import UnreadablePhoto
from dedup.images.colour import averageable, is_srgb, levels_of, shrunk, strips, to_srgb, turned
from dedup.images.contents import contents_of, facts_of
from dedup.images.metadata import camera, has_place, is_screenshot, rating, taken_at
from dedup.images.opening import LeastSize, Opened, decoding, open_picture
from dedup.images.thumbnails import open_thumbnail
from dedup.types.arrays import SIDE
from dedup.types.photo import Picture

_ORIENTATION = 0x0112  # EXIF
_EXPENSIVE_PIXELS = 1_500_000  # that have to be decoded in full: 25 ms of a PNG, 45 of a HEIC
_MAX_DIGESTED = 4_000_000_000  # pixels of all frames
_PREVIEW_QUALITY = 90  # 1 ms, 40 KB
_RENDER_QUALITY = {"JPEG": 92, "WEBP": 60}  # to be looked at closely; to be sent in numbers


def decode(data: bytes, *, side: int, preview_side: int = 0, quick: bool = False) -> Picture:
    """Return the upright picture squashed to (side, side), each pixel an average of those it covers.

    preview_side: pixels of the longer side of the preview that comes with pictures that are expensive to decode; 0 for
    none.   quick: settle for the thumbnail that a camera put into a large JPEG or HEIC, if it shows all of the picture,
    or for the first scans of a large progressive JPEG.
    Raises NotAPicture, MissingExtra, or UnreadablePhoto for anything else; the message is one line.
    """
    with decoding():
        small = open_thumbnail(data, side) if quick else None
        opened = small or open_picture(data, least=lambda size: (side, side))
        squashed = shrunk(opened.image, (side, side))
        square = turned(to_srgb(squashed, opened.image.info.get("icc_profile")), opened.orientation)
        wanted = preview_side and not small and _is_expensive(opened)
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
            facts=facts_of(data, opened, squashed, np.asarray(square)),
            preview=_as_preview(_within(opened, preview_side)) if wanted else None,
        )


def decode_within(data: bytes, *, longest: int) -> NDArray[np.uint8]:
    """Return the upright sRGB picture (H, W, 3) uint8, made smaller if its longer side is above `longest` pixels.

    Raises as decode does.
    """
    with decoding():
        return np.array(_within(open_picture(data, least=_nearly(longest)), longest))


def jpeg_steps(data: bytes, longest: int) -> NDArray[np.float32] | None:
    """Return the quantisation steps (8, 8) of the luminance of a JPEG, rows by vertical frequency.

    None where decode_within() returns other pixels than the file holds: of another format or colour space, larger, or
    turned upright.
    """
    try:
        with decoding(), Image.open(BytesIO(data), formats=("JPEG",)) as image:
            upright = image.getexif().get(_ORIENTATION, 1) == 1
            plain = max(image.size) <= longest and upright and is_srgb(image)
            tables: dict[int, list[int]] = image.quantization  # type: ignore[attr-defined]
            return np.array(tables[0], np.float32).reshape(8, 8) if plain and 0 in tables else None
    except UnreadablePhoto:
        return None


def decode_for_verification(data: bytes, *, longest: int) -> NDArray[np.uint8]:
    """Return what decode_within() does; through a preview if decode() makes one, so that the cache changes nothing."""
    with decoding():
        opened = open_picture(data, least=_nearly(longest))
        image = _within(opened, longest)
        return read_preview(_as_preview(image)) if _is_expensive(opened) else np.array(image)


def decode_thumbnail(data: bytes, *, longest: int) -> NDArray[np.uint8] | None:
    """Return the small version (H, W, 3) that decode() describes with `quick`, its longer side at most `longest`.

    None if there is none. Raises as decode does.
    """
    with decoding():
        small = open_thumbnail(data, SIDE)
        return None if small is None else np.array(_within(small, longest))


def read_preview(preview: bytes) -> NDArray[np.uint8]:
    """Return the picture (H, W, 3) uint8 of a preview."""
    return np.array(Image.open(BytesIO(preview), formats=("JPEG",)))


def pixels_sha256(data: bytes) -> str:
    """Return the digest of everything that a photo shows, whatever the container and the metadata.

    That is every upright sRGB pixel and its transparency, of all frames, pages and further pictures in their order, and
    the video of a motion photo. How long a frame is shown does not count. Raises as decode does.
    """
    with decoding():
        opened = open_picture(data, least=None)
        facts = contents_of(data, opened)
        digest = hashlib.sha256()
        if opened.width * opened.height * opened.frames > _MAX_DIGESTED:
            raise UnreadablePhoto(f"{opened.frames} frames of {opened.width} x {opened.height} are too many to compare")
        _add_pixels(digest, opened.image, opened.orientation)
        if opened.source and (facts.frames > 1 or facts.pictures):
            for n in range(1, opened.frames):
                opened.source.seek(n)
                _add_pixels(digest, opened.source, opened.orientation)
        digest.update(facts.video.encode())
        return digest.hexdigest()


def _add_pixels(digest: hashlib._Hash, image: Image.Image, turn: int) -> None:
    """Add the current frame of an image to a digest. turn: its orientation."""
    image.load()
    sideways = turn >= 5
    size = (image.height, image.width) if sideways else image.size
    digest.update(f"{size[0]} {size[1]}\n".encode())
    alpha, opaque, levels = hashlib.sha256(), True, levels_of(image)
    for box in strips(image.width, image.height, turn):
        strip = averageable(image.crop(box), levels)
        digest.update(turned(to_srgb(strip, image.info.get("icc_profile")), turn).tobytes())
        if strip.mode in ("LA", "RGBA"):
            mask = turned(strip.getchannel("A"), turn)
            opaque &= mask.getextrema()[0] == 255
            alpha.update(mask.tobytes())
        else:
            alpha.update(b"\xff" * (strip.width * strip.height))
    if not opaque:
        digest.update(alpha.digest())


def render(data: bytes, *, side: int, format: str) -> bytes:
    """Return the upright sRGB picture, no longer than side pixels, as a file of Pillow's format JPEG or WEBP.

    It has no metadata. Raises as decode does.
    """
    picture = Image.fromarray(decode_within(data, longest=side))
    with decoding():
        buffer = BytesIO()
        picture.save(buffer, format, quality=_RENDER_QUALITY[format])
        return buffer.getvalue()


def _within(opened: Opened, longest: int) -> Image.Image:
    """Return the upright sRGB picture, its longer side at most `longest` pixels."""
    image = opened.image
    scale = min(1.0, longest / max(image.size))
    small = shrunk(image, (max(1, round(image.width * scale)), max(1, round(image.height * scale))))
    return turned(to_srgb(small, opened.image.info.get("icc_profile")), opened.orientation)


def _is_expensive(opened: Opened) -> bool:
    """Return whether decoding it again costs far more than a preview, and whether both views decode it alike.

    A JPEG is decoded at an eighth for either view only if it is this large; of a camera RAW the two may see different
    previews.
    """
    if opened.format in ("JPEG", "MPO"):
        return max(opened.width, opened.height) >= 3584 and min(opened.width, opened.height) >= 1280
    return opened.format != "RAW" and opened.width * opened.height >= _EXPENSIVE_PIXELS


def _as_preview(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=_PREVIEW_QUALITY, subsampling=0)
    return buffer.getvalue()


def _nearly(longest: int) -> LeastSize:
    """Return what asks for a longer side of `longest` pixels, or an eighth less where that halves the decoding."""

    def least(size: tuple[int, int]) -> tuple[int, int]:
        scale = longest * 7 / 8 / max(size)
        return math.ceil(size[0] * scale), math.ceil(size[1] * scale)

    return least
