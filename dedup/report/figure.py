"""Comparison -> the panels that explain it: photos, features, difference and weighted difference, in six columns.

Upper row: the pair head, on its 10 x 10 cells. Lower row: verification, on the canvas that both photos are aligned to.
draw() gives one picture, panel_images() gives one small picture for each panel.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dedup.types.arrays import Floats, Maps
from dedup.types.message import Message
from dedup.types.pairs import Comparison, Explanation

_CELL, _GAP, _HEAD, _LINE, _LABEL = 208, 10, 44, 24, 20  # pixels
_COLUMNS = 6
_GROUND, _INK, _FAINT = (255, 255, 255), (25, 25, 25), (110, 110, 110)
_DIFFERENCES = (Message("difference"), Message("weighted difference"))
_UPPER = (
    *(Message("left photo"), Message("right photo"), Message("left features"), Message("right features")),
    *_DIFFERENCES,
)
_LOWER = (
    *(Message("one photo"), Message("the other, aligned"), Message("local contrast"), Message("local contrast")),
    *_DIFFERENCES,
)
_SMALL = 112  # pixels, the side of a panel on a page
_DARK = 0.1  # brightness below which a panel looks black
_THIRDS = (
    (Message("at the top left"), Message("at the top"), Message("at the top right")),
    (Message("in the middle left"), Message("in the middle"), Message("in the middle right")),
    (Message("at the bottom left"), Message("at the bottom"), Message("at the bottom right")),
)


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture of the explanation.

    words: the alternative text.   fine: a picture; otherwise 10 x 10 cells, to be enlarged without smoothing.
    """

    label: Message
    words: Message
    image: Image.Image
    fine: bool


def panels(comparison: Comparison) -> list[list[Panel]]:
    """Return the explanation of one verdict: a row of six panels, and a second row if the pair was verified."""
    rows = [_upper(comparison)]
    if comparison.canvas is not None and comparison.residual is not None:
        rows.append(_lower(comparison.canvas, comparison.residual))
    return rows


@dataclass(frozen=True, slots=True)
class PanelImage:
    """A panel for a page. data: a small WebP, about 1.5 KB."""

    label: Message
    words: Message
    fine: bool
    data: bytes


def panel_images(comparison: Comparison) -> list[list[PanelImage]]:
    """Return the panels of an explanation as small pictures."""
    return [[PanelImage(p.label, p.words, p.fine, _encoded(p)) for p in row] for row in panels(comparison)]


def _encoded(panel: Panel) -> bytes:
    out = io.BytesIO()
    if panel.fine:
        _fitted(panel.image, _SMALL).save(out, "WEBP", quality=50, method=4)
    else:
        panel.image.save(out, "WEBP", lossless=True)
    return out.getvalue()


def draw(comparison: Comparison, title: str) -> Image.Image:
    """Return the explanation of one verdict as one picture, RGB."""
    rows, font = panels(comparison), ImageFont.load_default(18)
    width = _COLUMNS * (_CELL + _GAP) + _GAP
    lines = _wrapped(title, lambda line: font.getlength(line) <= width - 2 * _GAP)
    head = _HEAD + (len(lines) - 1) * _LINE
    figure = Image.new("RGB", (width, head + len(rows) * (_CELL + _LABEL + _GAP) + _GAP), _GROUND)
    pen = ImageDraw.Draw(figure)
    for n, line in enumerate(lines):
        pen.text((_GAP, 12 + n * _LINE), line, _INK, font)
    for n, row in enumerate(rows):
        top = head + n * (_CELL + _LABEL + _GAP)
        for column, panel in enumerate(row):
            left = _GAP + column * (_CELL + _GAP)
            pen.text((left, top), panel.label, _FAINT, ImageFont.load_default(13))
            cell = _fitted(panel.image, _CELL) if panel.fine else _enlarged(panel.image)
            figure.paste(cell, (left + (_CELL - cell.width) // 2, top + _LABEL + (_CELL - cell.height) // 2))
    return figure


def _wrapped(text: str, fits: Callable[[str], bool]) -> list[str]:
    """Return a text as lines that fit, broken between words; a word that does not fit has a line of its own."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if fits(longer) or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


_Images = list[NDArray[np.uint8]]


def _row(
    labels: tuple[Message, ...], images: _Images, last: tuple[Floats, Floats], fine: tuple[bool, ...]
) -> list[Panel]:
    """Return a row of panels. last: the brightness of the last two."""
    seen = (Message("{what}: {seen}", what=what, seen=_brightness(v)) for what, v in zip(labels[4:], last, strict=True))
    words = (*labels[:4], *seen)
    drawn = (*map(Image.fromarray, images), *(Image.fromarray(_heat(v)) for v in last))
    return [Panel(*panel) for panel in zip(labels, words, drawn, fine, strict=True)]


def _upper(comparison: Comparison) -> list[Panel]:
    difference, weight = comparison.seen.difference, comparison.seen.weight
    images = [*comparison.images, *_features_coloured(comparison.maps)]
    return _row(_UPPER, images, (difference / 0.7, difference * weight * weight.size), (True, True) + (False,) * 4)


def _lower(canvas: tuple[NDArray[np.uint8], NDArray[np.uint8]], seen: Explanation) -> list[Panel]:
    images = [*canvas, *map(_structure, canvas)]
    return _row(_LOWER, images, (seen.difference * 3, seen.difference * seen.weight * seen.weight.size), (True,) * 6)


def _brightness(values: Floats) -> Message:
    """Describe where values (H, W) are bright when _heat() draws them."""
    bright = np.clip(values, 0, 1)
    if bright.max() < _DARK:
        return Message("dark all over")
    thirds = [[part.mean() for part in np.array_split(band, 3, axis=1)] for band in np.array_split(bright, 3)]
    down, across = divmod(int(np.argmax(thirds)), 3)
    share, where = float((bright >= 0.5).mean()), _THIRDS[down][across]
    if share < 0.005:
        return Message("faint, most {where}", where=where)
    return Message("bright on {share:.0%} of it, most {where}", share=share, where=where)


def _features_coloured(maps: Maps) -> NDArray[np.uint8]:
    """Return the first three principal components of both feature maps (2, S, C) as colours, (2, H, W, 3)."""
    flat = maps.reshape(-1, maps.shape[2]).astype(np.float64)
    flat -= flat.mean(0)
    _, _, directions = np.linalg.svd(flat, full_matrices=False)
    colours = flat @ directions[:3].T
    colours /= np.maximum(np.abs(colours).max(0), 1e-6)
    side = round(maps.shape[1] ** 0.5)
    return np.asarray(127.5 + 127.5 * colours, np.uint8).reshape(2, side, side, 3)


def _structure(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the picture in grey with its local mean subtracted, (H, W, 3)."""
    grey = np.asarray(Image.fromarray(image).convert("L"), np.float32)
    small = Image.fromarray(image).convert("L").resize((20, 20), Image.Resampling.BOX)
    local = np.asarray(small.resize(grey.shape[::-1], Image.Resampling.BICUBIC), np.float32)
    even = np.clip(127 + 2 * (grey - local), 0, 255).astype(np.uint8)
    return np.repeat(even[..., None], 3, axis=2)


def _heat(values: Floats) -> NDArray[np.uint8]:
    """Return (H, W, 3) of values (H, W) in [0, 1]: black, red, yellow, white."""
    v = np.clip(values, 0, 1)[..., None]
    return np.asarray(255 * np.clip(v * 3 - np.array([0.0, 1.0, 2.0]), 0, 1), np.uint8)


def _enlarged(square: Image.Image) -> Image.Image:
    return square.resize((_CELL, _CELL), Image.Resampling.NEAREST)


def _fitted(image: Image.Image, side: int) -> Image.Image:
    scale = side / max(image.size)
    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
