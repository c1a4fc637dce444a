"""Photos of a test as columns, as the store has them, and files as a camera writes them."""

import io
import os
import struct
from collections.abc import Sequence
from dataclasses import astuple

from PIL import Image

from dedup.types.arrays import Indices
from dedup.types.photo import Photo
from dedup.types.photo_table import PhotoColumns, photo_columns


def columns_of(photos: Sequence[Photo]) -> tuple[PhotoColumns, Indices]:
    """Return photos in the order of their SHA-256 as columns, and their numbers, 10, 9, 8 and so on."""
    numbers = range(10, 10 - len(photos), -1)
    rows = [
        (
            *(n, bytes.fromhex(p.sha256), p.size, p.width, p.height, p.format),
            *(p.taken_at, p.camera, p.gps, p.rating, p.screenshot, None if p.facts is None else p.facts.to_json()),
        )
        for n, p in zip(numbers, photos, strict=True)
    ]
    files = [(n, *astuple(f)) for n, p in zip(numbers, photos, strict=True) for f in p.files]
    in_order = sorted((os.fsencode(path), n, stats) for n, path, *stats in files)
    return photo_columns(rows, [(n, path, *stats) for path, n, stats in in_order])


def camera_jpeg(image: Image.Image, thumbnail: Image.Image, *, turn: int = 1) -> bytes:
    """Return a JPEG with a thumbnail in its EXIF block, built by hand: Pillow writes none."""
    small, file = io.BytesIO(), io.BytesIO()
    thumbnail.save(small, "JPEG", quality=80)
    first = struct.pack("<HHHIHHI", 1, 0x0112, 3, 1, turn, 0, 8 + 18)  # IFD0: orientation; then where IFD1 is
    start = 8 + len(first) + 2 + 2 * 12 + 4
    length = len(small.getvalue())
    second = struct.pack("<HHHII", 2, 0x0201, 4, 1, start) + struct.pack("<HHIII", 0x0202, 4, 1, length, 0)
    image.save(file, "JPEG", exif=b"Exif\0\0II*\0" + struct.pack("<I", 8) + first + second + small.getvalue())
    return file.getvalue()
