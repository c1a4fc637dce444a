"""Edits of content: one picture -> it with something drawn over a part of it. The size stays.

Every edit takes an RGB image and a random generator and returns an RGB image. Where the result differs from the image,
content is lost: edits.py takes the difference for the mask.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from dedup.training.shape_edits import random_text
from dedup.training.tone_edits import Edit, random_colour


def caption(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it with words on it, from a small date to letters across the whole picture."""
    w, h = image.size
    font = ImageFont.load_default(max(7, int(h * np.exp(rng.uniform(np.log(0.03), np.log(0.2))))))
    image = image.copy()
    draw = ImageDraw.Draw(image)
    outlined = rng.random() < 0.6
    ink = (255, 255, 255) if outlined or rng.random() < 0.4 else random_colour(rng)
    for y in rng.choice([0.03, 0.2, 0.45, 0.65, 0.82], rng.integers(1, 3), replace=False):
        at = (w * rng.uniform(0.02, 0.4), h * float(y))
        draw.text(at, random_text(rng), ink, font, stroke_width=2 if outlined else 0, stroke_fill=(0, 0, 0))
    return image


def watermark(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it with a half transparent word, once or all over it, straight or at an angle."""
    layer = Image.new("L", image.size)
    draw = ImageDraw.Draw(layer)
    font = ImageFont.load_default(max(8, int(image.height * rng.uniform(0.05, 0.22))))
    word, opacity = random_text(rng, 2), int(rng.integers(50, 220))
    if rng.random() < 0.5:
        down, across = rng.uniform(0.12, 0.35), rng.uniform(0.25, 0.6)
        for y in np.arange(0, image.height, max(12, image.height * down)):
            for x in np.arange(-20, image.width, max(24, image.width * across)):
                draw.text((x, y), word, opacity, font)
    else:
        draw.text((image.width * rng.uniform(0, 0.6), image.height * rng.uniform(0, 0.9)), word, opacity, font)
    if rng.random() < 0.5:
        layer = layer.rotate(float(rng.uniform(-45, 45)))
    return Image.composite(Image.new("RGB", image.size, random_colour(rng)), image, layer)


def sticker(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it with faces as emoji have, hearts, boxes, ovals or labels on it."""
    image = image.copy()
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(1, 4)):
        r = min(image.size) * rng.uniform(0.05, 0.18)
        x, y = rng.uniform(0, image.width), rng.uniform(0, image.height)
        _STICKERS[rng.integers(len(_STICKERS))](draw, rng, x, y, r)
    return image


def _face(draw: ImageDraw.ImageDraw, rng: Generator, x: float, y: float, r: float) -> None:
    draw.ellipse((x - r, y - r, x + r, y + r), (255, 205, 40), (120, 80, 0))
    for dx in (-0.35, 0.35):
        cx, cy, e = x + dx * r, y - 0.2 * r, 0.13 * r
        draw.ellipse((cx - e, cy - e, cx + e, cy + e), (60, 30, 0))
    draw.arc((x - 0.5 * r, y - 0.3 * r, x + 0.5 * r, y + 0.6 * r), 20, 160, (60, 30, 0), 2)


def _heart(draw: ImageDraw.ImageDraw, rng: Generator, x: float, y: float, r: float) -> None:
    red = (int(rng.integers(180, 256)), int(rng.integers(0, 90)), int(rng.integers(0, 110)))
    for dx in (-0.5, 0.5):
        draw.ellipse((x + dx * r - 0.5 * r, y - 0.5 * r, x + dx * r + 0.5 * r, y + 0.5 * r), red)
    draw.polygon(((x - 0.95 * r, y + 0.2 * r), (x + 0.95 * r, y + 0.2 * r), (x, y + 1.2 * r)), red)


def _box(draw: ImageDraw.ImageDraw, rng: Generator, x: float, y: float, r: float) -> None:
    colour = random_colour(rng)
    shape = draw.rectangle if rng.random() < 0.5 else draw.ellipse
    shape((x - r, y - r, x + r, y + r * rng.uniform(0.3, 1)), None if rng.random() < 0.5 else colour, colour, 3)


def _label(draw: ImageDraw.ImageDraw, rng: Generator, x: float, y: float, r: float) -> None:
    font = ImageFont.load_default(max(8, int(r * 0.8)))
    ground = random_colour(rng)
    draw.rounded_rectangle((x, y, x + 5 * r, y + 1.2 * r), r / 3, ground)
    draw.text((x + 0.2 * r, y + 0.1 * r), random_text(rng, 2), (0,) * 3 if sum(ground) > 380 else (255,) * 3, font)


_STICKERS = (_face, _heart, _box, _label)


def scribble(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it with lines drawn by hand, arrows or words struck through."""
    image = image.copy()
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(1, 4)):
        colour = tuple(int(v) for v in rng.choice([0, 40, 230, 255], 3))
        width, start = int(rng.integers(2, 3 + max(image.size) // 60)), rng.uniform(0, 1, 2) * image.size
        steps = rng.normal(0, 0.06, (int(rng.integers(3, 14)), 2)) + rng.normal(0, 0.05, 2)
        points = [tuple(p) for p in (start + np.cumsum(steps * max(image.size), axis=0)).tolist()]
        draw.line([tuple(start.tolist()), *points], colour, width, joint="curve")
    return image


def hidden_part(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it with a large part hidden: painted over, blurred, or in coarse blocks."""
    w, h = (max(8, int(side * rng.uniform(0.2, 0.55))) for side in image.size)
    x, y = (int(rng.uniform(0, whole - part + 1)) for whole, part in zip(image.size, (w, h), strict=True))
    part, kind = image.crop((x, y, x + w, y + h)), rng.integers(3)
    if kind == 0:
        part = Image.new("RGB", (w, h), random_colour(rng))
    elif kind == 1:
        part = part.filter(ImageFilter.GaussianBlur(float(rng.uniform(5, 12))))
    else:
        part = part.resize((max(2, w // 12), max(2, h // 12)), Image.Resampling.BOX).resize((w, h), 0)
    mask = Image.new("L", (w, h), 255)
    if rng.random() < 0.4:
        mask = Image.new("L", (w, h))
        ImageDraw.Draw(mask).ellipse((0, 0, w, h), 255)
    image = image.copy()
    image.paste(part, (x, y), mask)
    return image


def hidden_faces(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it with one to three small round parts pixelated, blurred or barred, as faces and plates are hidden."""
    for _ in range(rng.integers(1, 4)):
        side = max(10, int(min(image.size) * rng.uniform(0.1, 0.3)))
        x, y = (int(rng.uniform(0, max(1, whole - side))) for whole in image.size)
        part, kind = image.crop((x, y, x + side, y + side)), rng.integers(3)
        if kind == 0:
            blocks = int(rng.integers(3, 8))
            part = part.resize((blocks, blocks), Image.Resampling.BOX).resize((side, side), Image.Resampling.NEAREST)
        elif kind == 1:
            part = part.filter(ImageFilter.GaussianBlur(side / 8))
        mask = Image.new("L", (side, side))
        if kind == 2:
            part = Image.new("RGB", (side, side))
            ImageDraw.Draw(mask).rectangle((0, side * 0.3, side, side * 0.6), 255)
        elif rng.random() < 0.5:
            ImageDraw.Draw(mask).ellipse((0, 0, side, side), 255)
        else:
            mask = Image.new("L", (side, side), 255)
        image = image.copy()
        image.paste(part, (x, y), mask)
    return image


def player(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it with the controls of a player or a story over it: a play button, a line of progress, a counter."""
    image = image.copy()
    draw, (w, h) = ImageDraw.Draw(image), image.size
    r, x, y = min(w, h) * rng.uniform(0.08, 0.18), w / 2, h / 2
    if rng.random() < 0.7:
        draw.ellipse((x - r, y - r, x + r, y + r), (30, 30, 30), (255, 255, 255), 2)
        draw.polygon(((x - r / 3, y - r / 2), (x - r / 3, y + r / 2), (x + r / 2, y)), (255, 255, 255))
    line = h * float(rng.choice([0.03, 0.95]))
    draw.line((w * 0.05, line, w * 0.95, line), (210, 210, 210), 2)
    draw.line((w * 0.05, line, w * rng.uniform(0.1, 0.9), line), (230, 30, 30), 3)
    draw.text((w * 0.06, h * 0.86), f"{rng.integers(0, 9)}:{rng.integers(10, 60)}", (255, 255, 255))
    return image


def rounded(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it with round corners, as a badge or in an oval."""
    mask, box = Image.new("L", image.size), (0, 0, image.width - 1, image.height - 1)
    if rng.random() < 0.4:
        ImageDraw.Draw(mask).ellipse(box, 255)
    else:
        ImageDraw.Draw(mask).rounded_rectangle(box, min(image.size) * float(rng.uniform(0.08, 0.4)), 255)
    return Image.composite(image, Image.new("RGB", image.size, random_colour(rng)), mask)


CONTENTS: tuple[Edit, ...] = (
    caption,
    caption,
    watermark,
    watermark,
    sticker,
    scribble,
    hidden_part,
    hidden_faces,
    player,
    rounded,
)
