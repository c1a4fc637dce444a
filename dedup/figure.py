"""A comparison of two photos -> the picture that explains it: six columns, what was seen, subtracted and weighed.

Upper row: what the pairwise head saw, on its 10 x 10 places. Lower row: the second look, on one canvas.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dedup.types import Comparison, Explanation, Floats, Maps

_CELL, _GAP, _HEAD, _LABEL = 208, 10, 44, 20  # pixels
_COLUMNS = 6
_GROUND, _INK, _FAINT = (255, 255, 255), (25, 25, 25), (110, 110, 110)
_UPPER = ("left photo", "right photo", "left features", "right features", "difference", "difference, weighed")
_LOWER = ("one of them", "the other, aligned", "its structure", "its structure", "difference", "difference, weighed")


def draw(comparison: Comparison, title: str) -> Image.Image:
    """Return the explanation of one verdict, RGB."""
    rows: list[tuple[tuple[str, ...], list[Image.Image]]] = [(_UPPER, _head_row(comparison))]
    if comparison.canvas is not None and comparison.seen_twice is not None:
        rows.append((_LOWER, _canvas_row(comparison.canvas, comparison.seen_twice)))
    width = _COLUMNS * (_CELL + _GAP) + _GAP
    figure = Image.new("RGB", (width, _HEAD + len(rows) * (_CELL + _LABEL + _GAP) + _GAP), _GROUND)
    pen = ImageDraw.Draw(figure)
    pen.text((_GAP, 12), title, _INK, ImageFont.load_default(18))
    for n, (labels, cells) in enumerate(rows):
        top = _HEAD + n * (_CELL + _LABEL + _GAP)
        for column, (label, cell) in enumerate(zip(labels, cells, strict=True)):
            left = _GAP + column * (_CELL + _GAP)
            pen.text((left, top), label, _FAINT, ImageFont.load_default(13))
            figure.paste(cell, (left + (_CELL - cell.width) // 2, top + _LABEL + (_CELL - cell.height) // 2))
    return figure


def _head_row(comparison: Comparison) -> list[Image.Image]:
    difference, weight = comparison.seen.difference, comparison.seen.weight
    return [
        *(_fitted(Image.fromarray(image)) for image in comparison.images),
        *(_enlarged(square) for square in _features_coloured(comparison.maps)),
        _enlarged(_heat(difference / 0.7)),
        _enlarged(_heat(difference * weight * weight.size)),
    ]


def _canvas_row(canvas: tuple[NDArray[np.uint8], NDArray[np.uint8]], seen: Explanation) -> list[Image.Image]:
    return [
        *(_fitted(Image.fromarray(image)) for image in canvas),
        *(_fitted(_structure(image)) for image in canvas),
        _fitted(Image.fromarray(_heat(seen.difference * 3))),
        _fitted(Image.fromarray(_heat(seen.difference * seen.weight * seen.weight.size))),
    ]


def _features_coloured(maps: Maps) -> NDArray[np.uint8]:
    """Return (2, H, W, 3): the three directions in which the features (2, S, C) of both vary most, as colours."""
    flat = maps.reshape(-1, maps.shape[2]).astype(np.float64)
    flat -= flat.mean(0)
    _, _, directions = np.linalg.svd(flat, full_matrices=False)
    colours = flat @ directions[:3].T
    colours /= np.maximum(np.abs(colours).max(0), 1e-6)
    side = round(maps.shape[1] ** 0.5)
    return np.asarray(127.5 + 127.5 * colours, np.uint8).reshape(2, side, side, 3)


def _structure(image: NDArray[np.uint8]) -> Image.Image:
    """Return the picture in grey with its local contrast evened out."""
    grey = np.asarray(Image.fromarray(image).convert("L"), np.float32)
    small = Image.fromarray(image).convert("L").resize((20, 20), Image.Resampling.BOX)
    local = np.asarray(small.resize(grey.shape[::-1], Image.Resampling.BICUBIC), np.float32)
    return Image.fromarray(np.clip(127 + 2 * (grey - local), 0, 255).astype(np.uint8)).convert("RGB")


def _heat(values: Floats) -> NDArray[np.uint8]:
    """Return (H, W, 3) of values (H, W) in [0, 1]: black, red, yellow, white."""
    v = np.clip(values, 0, 1)[..., None]
    return np.asarray(255 * np.clip(v * 3 - np.array([0.0, 1.0, 2.0]), 0, 1), np.uint8)


def _enlarged(square: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(square).resize((_CELL, _CELL), Image.Resampling.NEAREST)


def _fitted(image: Image.Image) -> Image.Image:
    scale = _CELL / max(image.size)
    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
