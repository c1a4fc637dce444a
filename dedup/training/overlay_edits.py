"""Edits that lay something large over a picture, through which it can be seen or which leaves most of it free.

Logos, words across it, the lines of a stock agency, the boxes of a detector, bars over what nobody shall read, snow. As
content edits they take an RGB image and a random generator and return an RGB image of the same size.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from dedup.training.shape_edits import random_text
from dedup.training.tone_edits import Edit, random_colour

Shape = Callable[[ImageDraw.ImageDraw, Generator, float, tuple[int, int, int]], None]
_LETTERS = tuple("ABCDEFGHIKLMNOPRSTUVWXYZ&@")


def _spread(rng: Generator, low: float, high: float) -> float:
    """Return a number between both, each doubling as likely as any other."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _laid(image: Image.Image, layer: Image.Image, opacity: float, rng: Generator) -> Image.Image:
    """Return the image under an RGBA layer of its size, blended as usual or as two programs in five do otherwise."""
    mask, colours = layer.getchannel("A").point([round(v * opacity) for v in range(256)]), layer.convert("RGB")
    modes = (ImageChops.screen, ImageChops.multiply, ImageChops.soft_light, ImageChops.overlay)
    if rng.random() < 0.25:
        colours = modes[rng.integers(4)](image, colours)
    return Image.composite(colours, image, mask)


# Logos


def logo(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it under a logo, from a small one to one that fills it, or under many; opaque or half transparent."""
    layer, tiled = Image.new("RGBA", image.size), rng.random() < 0.25
    side = max(12, round(min(image.size) * (_spread(rng, 0.12, 0.35) if tiled else _spread(rng, 0.2, 1.2))))
    mark = _emblem(side, rng)
    if tiled:
        step = side * rng.uniform(1.1, 2.2)
        for y in np.arange(-side * rng.random(), image.height, step):
            for x in np.arange(-side * rng.random(), image.width, step):
                layer.paste(mark, (round(x), round(y)))
    else:
        at = (round(float(rng.uniform(-0.2 * side, length - 0.8 * side))) for length in image.size)
        layer.paste(mark, tuple(at))  # type: ignore[arg-type]
    return _laid(image, layer, float(rng.choice([1.0, rng.uniform(0.25, 0.95)], p=[0.3, 0.7])), rng)


def _emblem(side: int, rng: Generator) -> Image.Image:
    """Return an RGBA logo (side, side) of one to five simple shapes, in one colour or several."""
    mark = Image.new("RGBA", (side, side))
    draw, colour, several = ImageDraw.Draw(mark), _vivid(rng), rng.random() < 0.6
    for _ in range(rng.integers(1, 6)):
        _SHAPES[rng.integers(len(_SHAPES))](draw, rng, side, _vivid(rng) if several else colour)
    return mark.rotate(float(rng.uniform(-30, 30))) if rng.random() < 0.3 else mark


def _vivid(rng: Generator) -> tuple[int, int, int]:
    """Return a colour of a logo: black, white or any."""
    if rng.random() < 0.35:
        return random_colour(rng)
    r, g, b = (int(v) for v in rng.choice([0, 20, 90, 170, 235, 255], 3))
    return r, g, b


def _box(rng: Generator, side: float) -> tuple[float, float, float, float]:
    w, h = rng.uniform(0.25, 1, 2) * side
    x, y = rng.uniform(0, 1, 2) * (side - w, side - h)
    return float(x), float(y), float(x + w), float(y + h)


def _disc(draw: ImageDraw.ImageDraw, rng: Generator, side: float, colour: tuple[int, int, int]) -> None:
    x, y, r = *(float(v) for v in rng.uniform(0.2, 0.8, 2) * side), side * float(rng.uniform(0.08, 0.4))
    draw.ellipse((x - r, y - r, x + r, y + r), colour)


def _ring(draw: ImageDraw.ImageDraw, rng: Generator, side: float, colour: tuple[int, int, int]) -> None:
    box, width = _box(rng, side), max(1, round(side * rng.uniform(0.03, 0.18)))
    if rng.random() < 0.5:
        draw.ellipse(box, None, colour, width)
    else:
        start = float(rng.uniform(0, 360))
        draw.arc(box, start, start + float(rng.uniform(90, 330)), colour, width)


def _bar(draw: ImageDraw.ImageDraw, rng: Generator, side: float, colour: tuple[int, int, int]) -> None:
    draw.rounded_rectangle(_box(rng, side), side * float(rng.choice([0, 0.05, 0.12])), colour)


def _polygon(draw: ImageDraw.ImageDraw, rng: Generator, side: float, colour: tuple[int, int, int]) -> None:
    corners, middle = int(rng.integers(3, 8)), rng.uniform(0.35, 0.65, 2)
    angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
    reach = rng.uniform(0.15, 0.5, corners)
    points = (middle + np.stack([np.cos(angles), np.sin(angles)], axis=1) * reach[:, None]) * side
    draw.polygon([tuple(point) for point in points.tolist()], colour)


def _letter(draw: ImageDraw.ImageDraw, rng: Generator, side: float, colour: tuple[int, int, int]) -> None:
    text = "".join(str(c) for c in rng.choice(_LETTERS, rng.integers(1, 5)))
    font = ImageFont.load_default(max(8, side * float(rng.uniform(0.2, 0.7))))
    draw.text((side * float(rng.uniform(0, 0.3)), side * float(rng.uniform(0, 0.5))), text, colour, font)


_SHAPES: tuple[Shape, ...] = (_disc, _ring, _ring, _bar, _polygon, _letter)


# Words and lines


def headline(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it under words so large that they reach across it or beyond, filled or in outline, at any angle."""
    w, h = image.size
    layer = Image.new("RGBA", (2 * w, 2 * h))
    draw, font = ImageDraw.Draw(layer), ImageFont.load_default(max(10, h * _spread(rng, 0.12, 0.5)))
    text = "\n".join(random_text(rng, 2) for _ in range(rng.integers(1, 4)))
    text, ink = (text.upper() if rng.random() < 0.5 else text), random_colour(rng)
    at = (w + w * float(rng.uniform(-0.45, 0)), h + h * float(rng.uniform(-0.4, 0.2)))
    outline = max(1, round(h * rng.uniform(0.004, 0.015)))
    if rng.random() < 0.2:
        draw.text(at, text, (0, 0, 0, 0), font, stroke_width=outline, stroke_fill=ink)
    else:
        draw.text(at, text, ink, font, stroke_width=outline if rng.random() < 0.3 else 0, stroke_fill=_vivid(rng))
    if rng.random() < 0.4:
        layer = layer.rotate(float(rng.uniform(-45, 45)))
    return _laid(image, layer.crop((w // 2, h // 2, w // 2 + w, h // 2 + h)), float(rng.uniform(0.25, 1)), rng)


def stock_marks(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it as an agency shows it: lines from corner to corner or in a grid, and a word or several."""
    w, h = image.size
    layer = Image.new("RGBA", image.size)
    draw, ink, width = ImageDraw.Draw(layer), random_colour(rng), max(1, round(min(w, h) * rng.uniform(0.003, 0.02)))
    word, font = random_text(rng, 2), ImageFont.load_default(max(8, h * _spread(rng, 0.04, 0.16)))
    if rng.random() < 0.5:
        draw.line((0, 0, w, h), ink, width)
        draw.line((w, 0, 0, h), ink, width)
        draw.text((w / 2, h / 2), word, ink, font, anchor="mm")
    else:
        step, lean = min(w, h) * rng.uniform(0.15, 0.4), rng.uniform(-1, 1)
        for x in np.arange(-h, w + h, step):
            draw.line((x, 0, x + lean * h, h), ink, width)
            draw.line((x + lean * h, 0, x, h), ink, width)
        for y in np.arange(step / 2, h, 2 * step):
            draw.text((w * float(rng.uniform(0.2, 0.8)), y), word, ink, font, anchor="mm")
    return _laid(image, layer, float(rng.uniform(0.2, 0.8)), rng)


def detections(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it as programs mark what they find: labelled boxes, points joined by lines, a grid, a ruler."""
    image = image.copy()
    draw, (w, h), width = ImageDraw.Draw(image), image.size, int(rng.integers(1, 4))
    font, kind = ImageFont.load_default(max(7, h * float(rng.uniform(0.03, 0.07)))), rng.integers(3)
    if kind == 0:
        for _ in range(rng.integers(1, 9)):
            x, y, colour = *(float(v) for v in rng.uniform(0, 0.8, 2) * (w, h)), _vivid(rng)
            draw.rectangle((x, y, x + w * rng.uniform(0.05, 0.5), y + h * rng.uniform(0.05, 0.5)), None, colour, width)
            draw.text((x, y), random_text(rng, 1), colour, font)
    elif kind == 1:
        points = (rng.uniform(0.1, 0.9, 2) + rng.normal(0, 0.2, (rng.integers(4, 40), 2))) * (w, h)
        places, r = [tuple(p) for p in points.tolist()], float(rng.uniform(1.5, 5))
        if rng.random() < 0.6:
            draw.line(places, _vivid(rng), width)
        for x, y in places:
            draw.ellipse((x - r, y - r, x + r, y + r), _vivid(rng) if rng.random() < 0.5 else None, _vivid(rng), width)
    else:
        colour, step = _vivid(rng), min(w, h) * float(rng.uniform(0.06, 0.3))
        for x in np.arange(step / 2, w, step):
            draw.line((x, 0, x, h), colour, width)
        for y in np.arange(step / 2, h, step):
            draw.line((0, y, w, y), colour, width)
    return image


# Hidden, or scattered over


def redacted(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it with two to ten bars or blocks over parts of it: of one colour, blurred, or in coarse blocks."""
    w, h = image.size
    mask, draw_rows = Image.new("L", image.size), rng.random() < 0.5
    draw, left, tall = ImageDraw.Draw(mask), rng.uniform(0, 0.4), rng.uniform(0.02, 0.08)
    for _ in range(rng.integers(2, 11)):
        x, wide = (left, rng.uniform(0.1, 0.6)) if draw_rows else (rng.uniform(0, 0.9), rng.uniform(0.04, 0.3))
        y, high = rng.uniform(0, 0.95), tall if draw_rows else rng.uniform(0.03, 0.2)
        draw.rectangle((x * w, y * h, (x + wide) * w, (y + high) * h), 255)
    kind = rng.choice(3, p=[0.6, 0.15, 0.25])
    if kind == 0:
        hidden = Image.new("RGB", image.size, random_colour(rng))
    elif kind == 1:
        hidden = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(4, 10))))
    else:
        block = int(rng.integers(8, 24))
        small = image.resize((max(2, w // block), max(2, h // block)), Image.Resampling.BOX)
        hidden = small.resize(image.size, Image.Resampling.NEAREST)
    return Image.composite(hidden, image, mask)


def particles(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it under snow, dust, confetti, lights or rain."""
    w, h = image.size
    layer = Image.new("RGBA", image.size)
    draw, plain, rain = ImageDraw.Draw(layer), rng.random() < 0.6, rng.random() < 0.25
    ink, r = (random_colour(rng) if rng.random() < 0.4 else (255, 255, 255)), min(w, h) * _spread(rng, 0.004, 0.03)
    for x, y, size in rng.random((int(rng.integers(20, 300)), 3)) * (w, h, 1.5) + (0, 0, 0.3):
        colour, reach = ink if plain else _vivid(rng), r * size
        if rain:
            draw.line((x, y, x + 2 * reach, y + 8 * reach), colour, max(1, round(reach / 2)))
        else:
            draw.ellipse((x - reach, y - reach, x + reach, y + reach), colour)
    soft = layer.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 2))))
    return _laid(image, soft, float(rng.uniform(0.4, 1)), rng)


def cut_out(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it with what surrounds a thing in it replaced by a colour or two, as shops and collages show it."""
    w, h = image.size
    around, reach = np.linspace(0, 2 * np.pi, 24, endpoint=False), rng.uniform(0.3, 0.5, 2)
    wobble = 1 + 0.25 * np.sin(around * rng.integers(1, 4) + rng.uniform(0, 6)) * rng.random()
    middle = rng.uniform(0.42, 0.58, 2)
    points = (middle + np.stack([np.cos(around), np.sin(around)], axis=1) * reach * wobble[:, None]) * (w, h)
    mask = Image.new("L", image.size)
    ImageDraw.Draw(mask).polygon([tuple(point) for point in points.tolist()], 255)
    ground = Image.new("RGB", image.size, random_colour(rng))
    if rng.random() < 0.3:
        ground = Image.composite(
            ground, Image.new("RGB", (w, h), _vivid(rng)), Image.linear_gradient("L").resize((w, h))
        )
    return Image.composite(image, ground, mask.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.5, 4)))))


OVERLAYS: tuple[Edit, ...] = (logo, logo, headline, stock_marks, detections, redacted, particles, cut_out)
