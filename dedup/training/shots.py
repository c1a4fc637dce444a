"""One picture -> what another shot of the same scene might show: what no plane transformation and no change of colour
explains.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

from dedup.training.tone_edits import Edit

_BICUBIC = Image.Resampling.BICUBIC


def another_shot(image: Image.Image, rng: Generator) -> Image.Image:
    """Return what a second shot might show: things stand elsewhere, or a part of it has changed."""
    changes: list[Edit] = [parallax, parallax, moved_part, moved_part, foreign_part, rewritten]
    for _ in range(8):  # a thing that moves over a plain ground changes nothing
        changed = image
        for _ in range(rng.integers(1, 3)):
            changed = changes[rng.integers(len(changes))](changed, rng)
        difference = np.asarray(ImageChops.difference(image, changed).convert("L").filter(ImageFilter.BoxBlur(1)))
        if (difference > 24).mean() > 0.004:
            break
    return changed


def parallax(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it seen from a step aside: layers of it have moved by 1 to 6 % of its size, near ones most."""
    pixels = np.asarray(image)
    h, w = pixels.shape[:2]
    layers, reach = int(rng.integers(2, 5)), float(rng.uniform(0.01, 0.06))
    depth = np.floor(_hills(rng, h, w, cells=int(rng.integers(3, 8))) * layers) / layers
    if rng.random() < 0.5:  # a ground that comes nearer towards the lower edge
        depth = depth * 0.6 + np.linspace(0, 1, h)[:, None] ** 2
    direction = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[:h, :w]
    x = np.clip(np.rint(x + depth * reach * w * np.cos(direction)), 0, w - 1).astype(np.int64)
    y = np.clip(np.rint(y + depth * reach * h * np.sin(direction)), 0, h - 1).astype(np.int64)
    return Image.fromarray(pixels[y, x])


def moved_part(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it with one to three parts of it a little elsewhere, or covered by their surroundings."""
    for _ in range(rng.integers(1, 4)):
        w, h = image.size
        far = rng.uniform(0.03, 0.25) if rng.random() < 0.5 else rng.uniform(0.015, 0.05)
        angle = rng.uniform(0, 2 * np.pi)
        shifted = ImageChops.offset(image, round(far * w * np.cos(angle)), round(far * h * np.sin(angle)))
        image = Image.composite(shifted, image, _blob(rng, image.size))
    return image


def foreign_part(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it with a part that is turned over: another face, another thing in the same place."""
    other = ImageOps.mirror(image) if rng.random() < 0.5 else image.rotate(float(rng.uniform(60, 300)))
    return Image.composite(other, image, _blob(rng, image.size))


def rewritten(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it with lines or words of it in another order, as in another receipt or dialog of the same form."""
    pixels = np.array(image)
    h, w = pixels.shape[:2]
    for _ in range(rng.integers(2, 8)):
        bh, bw = int(h * rng.uniform(0.02, 0.07)) + 2, int(w * rng.uniform(0.05, 0.5)) + 2
        y, z = (int(v) for v in rng.integers(0, max(1, h - bh), 2))
        x, u = (int(v) for v in rng.integers(0, max(1, w - bw), 2))
        first, second = pixels[y : y + bh, x : x + bw].copy(), pixels[z : z + bh, u : u + bw].copy()
        pixels[y : y + bh, x : x + bw] = second
        pixels[z : z + bh, u : u + bw] = first
    return Image.fromarray(pixels)


def _hills(rng: Generator, height: int, width: int, *, cells: int) -> NDArray[np.float64]:
    """Return (height, width) in [0, 1), smooth noise with about so many hills a side."""
    coarse = Image.fromarray((rng.random((cells, cells)) * 254).astype(np.uint8))
    return np.asarray(coarse.resize((width, height), _BICUBIC), np.float64) / 256


def _blob(rng: Generator, size: tuple[int, int]) -> Image.Image:
    """Return a mask with one soft-edged ellipse of 0.5 to 15 % of the area."""
    w, h = size
    mask = Image.new("L", size)
    area, stretch = float(np.exp(rng.uniform(np.log(0.005), np.log(0.15)))), float(np.exp(rng.uniform(-0.7, 0.7)))
    rx, ry = w * (area / np.pi * stretch) ** 0.5, h * (area / np.pi / stretch) ** 0.5
    x, y = rng.uniform(rx, max(w - rx, rx + 1)), rng.uniform(ry, max(h - ry, ry + 1))
    ImageDraw.Draw(mask).ellipse((x - rx, y - ry, x + rx, y + ry), 255)
    return mask.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.5, 3))))
