"""Photos of a test as columns, as the store has them."""

import os
from collections.abc import Sequence
from dataclasses import astuple

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
