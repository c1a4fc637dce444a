"""Edits of shape and surroundings: one picture -> it cropped, turned, bent, framed, or placed inside something larger.

Every edit takes an RGB image and a random generator and returns an RGB image. With generators in the same state two
images of one size are treated alike: edits.py sends a mask the way of its picture. What surrounds the picture in the
result is no content of it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

from dedup.training.tone_edits import Edit, random_colour

Others = Callable[[Generator], Image.Image]  # draws another photo
_WORDS = (
    *"When you finally see it nobody said that would work Happy Birthday love summer 2024 @user NEW sale".split(),
    *"12:45 Today Lisbon #throwback ©2019 www.photos.example Copyright Reply Share 50% off follow me the end".split(),
)
_BICUBIC = Image.Resampling.BICUBIC
_BILINEAR = Image.Resampling.BILINEAR


def random_text(rng: Generator, most: int = 6) -> str:
    """Return one to `most` words as people write on pictures."""
    return " ".join(str(w) for w in rng.choice(_WORDS, rng.integers(1, most + 1)))


# Parts of it, and it turned


def crop_to(image: Image.Image, rng: Generator, *, least: float, most: float) -> Image.Image:
    """Return a part that keeps `least` to `most` of the area, with a slightly different aspect."""
    area, stretch = rng.uniform(least, most), float(np.exp(rng.uniform(-0.3, 0.3)))
    w = min(1.0, float(np.sqrt(area * stretch)))
    h = min(1.0, area / w)
    x, y = rng.uniform(0, 1 - w), rng.uniform(0, 1 - h)
    box = (x * image.width, y * image.height, (x + w) * image.width, (y + h) * image.height)
    return image.crop(tuple(round(v) for v in box))  # type: ignore[arg-type]


def crop(image: Image.Image, rng: Generator) -> Image.Image:
    return crop_to(image, rng, least=0.55, most=0.95)


def hard_crop(image: Image.Image, rng: Generator) -> Image.Image:
    return crop_to(image, rng, least=0.22, most=0.55)


def tilt(image: Image.Image, rng: Generator) -> Image.Image:
    angle = float(rng.uniform(-15, 15))
    turned = image.rotate(angle, _BICUBIC, expand=rng.random() < 0.5, fillcolor=random_colour(rng))
    if rng.random() < 0.4:  # straightened: the empty corners are cut off
        cut = np.sin(np.radians(abs(angle))) * 0.5
        dx, dy = cut * turned.width * 0.7, cut * turned.height * 0.7
        turned = turned.crop((round(dx), round(dy), round(turned.width - dx), round(turned.height - dy)))
    return turned


def rotate(image: Image.Image, rng: Generator) -> Image.Image:
    return image.rotate(float(rng.uniform(0, 360)), _BICUBIC, expand=True, fillcolor=random_colour(rng))


def quarter_turn(image: Image.Image, rng: Generator) -> Image.Image:
    turns = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)
    return image.transpose(turns[rng.integers(3)])


def mirror(image: Image.Image, rng: Generator) -> Image.Image:
    return ImageOps.flip(image) if rng.random() < 0.15 else ImageOps.mirror(image)


# Bent


def _perspective(image: Image.Image, target: NDArray[np.float64], fill: tuple[int, int, int]) -> Image.Image:
    """Return the image with its corners at target (4, 2) in pixels, clockwise from the upper left, on a ground."""
    w, h = image.size
    corners = np.array([[0, 0], [w, 0], [w, h], [0, h]], float)
    rows, values = [], []
    for (x, y), (u, v) in zip(target, corners, strict=True):  # PIL maps output to input
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    coefficients = np.linalg.solve(np.array(rows), np.array(values))
    return image.transform((w, h), Image.Transform.PERSPECTIVE, tuple(coefficients), _BICUBIC, fillcolor=fill)


def perspective(image: Image.Image, rng: Generator) -> Image.Image:
    """Return a photo of the photo: seen at an angle, on some ground."""
    w, h = image.size
    shift = rng.uniform(0, 0.22, (4, 2)) * (w, h) * [[1, 1], [-1, 1], [-1, -1], [1, -1]]
    return _perspective(image, np.array([[0, 0], [w, 0], [w, h], [0, h]]) + shift, random_colour(rng))


def straightened(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it with converging lines made parallel: its corners move outwards and what leaves the frame is lost."""
    w, h = image.size
    amount, side = rng.uniform(0.03, 0.18), int(rng.integers(4))
    shift = np.zeros((4, 2))
    out = (
        np.array([[-1, 0], [1, 0], [1, 0], [-1, 0]]) if side % 2 == 0 else np.array([[0, -1], [0, -1], [0, 1], [0, 1]])
    )
    moved = ([0, 1], [1, 2], [2, 3], [3, 0])[side]
    shift[moved] = out[moved] * amount * (w, h)
    return _perspective(image, np.array([[0, 0], [w, 0], [w, h], [0, h]]) + shift, (0, 0, 0))


def swirl(image: Image.Image, rng: Generator) -> Image.Image:
    """Return the picture bent a little, as by a lens or a liquify filter."""
    n = 6
    xs, ys = np.linspace(0, image.width, n + 1), np.linspace(0, image.height, n + 1)
    gx, gy = np.meshgrid(xs, ys)
    gx[1:-1, 1:-1] += rng.normal(0, 0.025 * image.width, (n - 1, n - 1))
    gy[1:-1, 1:-1] += rng.normal(0, 0.025 * image.height, (n - 1, n - 1))
    mesh = []
    for i in range(n):
        for j in range(n):
            box = (round(xs[j]), round(ys[i]), round(xs[j + 1]), round(ys[i + 1]))
            order = ((i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1))
            mesh.append((box, tuple(float(v) for a, b in order for v in (gx[a, b], gy[a, b]))))
    return image.transform(image.size, Image.Transform.MESH, mesh, _BILINEAR)


def twirled(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it with one round part pushed, swollen, shrunk or twirled a little, as by a liquify tool."""
    n, kind = 12, rng.integers(3)
    centre, radius, amount = rng.uniform(0.25, 0.75, 2), rng.uniform(0.2, 0.5), rng.uniform(0.15, 0.5)
    direction = rng.uniform(0, 2 * np.pi)
    gx, gy = np.meshgrid(np.linspace(0, 1, n + 1), np.linspace(0, 1, n + 1))
    dx, dy = gx - centre[0], gy - centre[1]
    inside = np.clip(1 - np.hypot(dx, dy) / radius, 0, 1) ** 1.5
    if kind == 0:
        mx, my = inside * amount * 0.15 * np.cos(direction), inside * amount * 0.15 * np.sin(direction)
    elif kind == 1:
        factor = inside * amount * (1 if rng.random() < 0.5 else -1)
        mx, my = dx * factor, dy * factor
    else:
        angle = inside * amount * 2
        mx, my = dx * np.cos(angle) - dy * np.sin(angle) - dx, dx * np.sin(angle) + dy * np.cos(angle) - dy
    edge = (gx > 0) & (gx < 1) & (gy > 0) & (gy < 1)
    xs, ys = (np.clip(gx + mx * edge, 0, 1) * image.width, np.clip(gy + my * edge, 0, 1) * image.height)
    return _meshed(image, xs, ys)


def lens(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it as a wide lens bends it: like a barrel, or the other way."""
    strength, n = float(rng.uniform(0.05, 0.25)) * (1 if rng.random() < 0.7 else -1), 8
    t = np.linspace(-1, 1, n + 1)
    gx, gy = np.meshgrid(t, t)
    bent = (1 + strength * (gx**2 + gy**2)) / (1 + max(strength, 2 * strength))  # it stays within the picture
    xs, ys = (bent * gx + 1) / 2 * image.width, (bent * gy + 1) / 2 * image.height
    edges = [[round((v + 1) / 2 * side) for v in t.tolist()] for side in image.size]
    mesh = []
    for i in range(n):
        for j in range(n):
            order = ((i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1))
            corners = tuple(float(v) for a, b in order for v in (xs[a, b], ys[a, b]))
            mesh.append(((edges[0][j], edges[1][i], edges[0][j + 1], edges[1][i + 1]), corners))
    return image.transform(image.size, Image.Transform.MESH, mesh, _BILINEAR)


def _meshed(image: Image.Image, xs: NDArray[np.float64], ys: NDArray[np.float64]) -> Image.Image:
    """Return the image bent so that node (i, j) of an even mesh shows what is at xs[i, j], ys[i, j] in pixels."""
    n = len(xs) - 1
    columns, rows = ([round(k / n * side) for k in range(n + 1)] for side in image.size)
    mesh = []
    for i in range(n):
        for j in range(n):
            order = ((i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1))
            corners = tuple(float(v) for a, b in order for v in (xs[a, b], ys[a, b]))
            mesh.append(((columns[j], rows[i], columns[j + 1], rows[i + 1]), corners))
    return image.transform(image.size, Image.Transform.MESH, mesh, _BILINEAR)


def waves(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it as through water or ribbed glass: its rows or columns are shifted in waves."""
    n, t = 16, np.linspace(0, 1, 17)
    gx, gy = np.meshgrid(t, t)
    edge = (gx > 0) & (gx < 1) & (gy > 0) & (gy < 1)
    reach, cycles, start = float(rng.uniform(0.004, 0.02)), float(rng.uniform(1, n / 5)), float(rng.uniform(0, 6))
    dx = reach * np.sin(gy * cycles * 2 * np.pi + start) * edge
    dy = reach * np.sin(gx * cycles * 2 * np.pi + start) * edge * (rng.random() < 0.5)
    return _meshed(image, np.clip(gx + dx, 0, 1) * image.width, np.clip(gy + dy, 0, 1) * image.height)


def stretched(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it wider or narrower at two sides than in the middle, as content-aware scaling and wide screens do."""
    f, middle = float(np.exp(rng.uniform(-0.35, 0.35))), float(rng.uniform(0.35, 0.65))
    t = np.linspace(-1, 1, 9)
    bent = (f * t + (1 - f) * t**3 + 1) / 2
    bent = np.where(bent < 0.5, bent * 2 * middle, 1 - (1 - bent) * 2 * (1 - middle))
    even = np.linspace(0, 1, 9)
    gx, gy = np.meshgrid(bent, even) if rng.random() < 0.7 else np.meshgrid(even, bent)
    return _meshed(image, gx * image.width, gy * image.height)


# Surroundings


def caption_bar(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it with words in a bar above or below it."""
    w, h = image.size
    font = ImageFont.load_default(max(8, int(h * rng.uniform(0.05, 0.14))))
    bar, ground, above = int(h * rng.uniform(0.1, 0.35)), random_colour(rng), rng.random() < 0.6
    canvas = Image.new("RGB", (w, h + bar), ground)
    canvas.paste(image, (0, bar if above else 0))
    ink = (0, 0, 0) if sum(ground) > 380 else (255, 255, 255)
    ImageDraw.Draw(canvas).text((w * 0.05, bar * 0.15 + (0 if above else h)), random_text(rng), ink, font)
    return canvas


def frame(image: Image.Image, rng: Generator) -> Image.Image:
    edge = int(min(image.size) * rng.uniform(0.02, 0.15))
    framed = ImageOps.expand(image, edge, random_colour(rng))
    return ImageOps.expand(framed, max(1, edge // 3), random_colour(rng)) if rng.random() < 0.3 else framed


def shadowed(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it on a ground with a margin and a soft shadow, as office programs and instant prints show it."""
    edge = int(min(image.size) * rng.uniform(0.04, 0.14))
    below = edge * 3 if rng.random() < 0.3 else edge  # an instant print has its widest margin below
    w, h = image.size
    canvas = Image.new("L", (w + 2 * edge, h + edge + below), 0)
    offset = max(1, int(edge * rng.uniform(0.1, 0.5)))
    ImageDraw.Draw(canvas).rectangle((edge + offset, edge + offset, edge + w + offset, edge + h + offset), 200)
    shadow = canvas.filter(ImageFilter.GaussianBlur(max(1, offset)))
    ground = Image.new("RGB", canvas.size, random_colour(rng))
    sheet = Image.composite(Image.new("RGB", canvas.size), ground, shadow)
    sheet.paste(image, (edge, edge))
    return sheet


def letterbox(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it on a canvas of another aspect, with plain bars or a blurred copy of itself behind it."""
    f = float(rng.uniform(1.15, 1.8))
    w, h = image.size
    size = (w, int(h * f)) if rng.random() < 0.5 else (int(w * f), h)
    if rng.random() < 0.3:
        canvas = image.resize(size).filter(ImageFilter.GaussianBlur(8))
    else:
        canvas = Image.new("RGB", size, random_colour(rng))
    canvas.paste(image, ((size[0] - w) // 2, (size[1] - h) // 2))
    return canvas


def screenshot(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it as a program shows it: a messenger, a feed, a gallery or a desktop window, in light or dark colours."""
    app = (_messenger, _feed, _gallery, _window)[rng.integers(4)]
    light = rng.random() < 0.5
    ground, ink = ((250, 250, 250), (90, 90, 90)) if light else ((22, 22, 26), (190, 190, 190))
    return app(image, rng, ground, ink)


Tone = tuple[int, int, int]


def _messenger(image: Image.Image, rng: Generator, ground: Tone, ink: Tone) -> Image.Image:
    """Return it in a bubble between the bubbles of a chat."""
    w, h = image.size
    margin = int(w * rng.uniform(0.04, 0.25))
    size = (w + margin + int(w * 0.04), int(h * rng.uniform(1.4, 2.4)))
    canvas, top = Image.new("RGB", size, ground), int(rng.uniform(0.1, 0.85) * (size[1] - h))
    draw, line = ImageDraw.Draw(canvas), max(8, size[1] // 26)
    font, mine = ImageFont.load_default(max(7, line * 2 // 3)), tuple(int(v) for v in rng.integers(90, 220, 3))
    x = margin if rng.random() < 0.5 else int(w * 0.04)
    for y in (*range(line * 2, top - line * 2, line * 3), *range(top + h + line, size[1] - line * 3, line * 3)):
        left, right = sorted(rng.uniform(0.03, 0.97, 2) * size[0])
        colour = (
            mine if rng.random() < 0.5 else tuple((a + b) // 2 for a, b in zip(ground, (128, 128, 128), strict=True))
        )
        draw.rounded_rectangle((left, y, max(right, left + 40), y + 2 * line), line // 2, colour)
        draw.text((left + 4, y + line // 3), random_text(rng), ink, font)
    draw.rectangle((0, 0, size[0], line + line // 2), tuple(max(0, v - 12) for v in ground))
    draw.text((line, line // 3), random_text(rng, 2), ink, font)
    draw.rounded_rectangle((x - 4, top - 4, x + w + 4, top + h + line), line // 2, mine)
    canvas.paste(image, (x, top))
    return canvas


def _feed(image: Image.Image, rng: Generator, ground: Tone, ink: Tone) -> Image.Image:
    """Return it as a post: a name and a round portrait above, buttons and words below."""
    w, h = image.size
    line = max(9, int(w * rng.uniform(0.05, 0.09)))
    above, below = int(line * rng.uniform(2, 6)), int(line * rng.uniform(3, 9))
    side = int(w * rng.choice([0, 0, 0.03]))
    canvas = Image.new("RGB", (w + 2 * side, h + above + below), ground)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(max(7, line * 2 // 3))
    draw.ellipse((line // 2, above - 1.6 * line, 1.7 * line, above - 0.4 * line), random_colour(rng))
    draw.text((2 * line, above - 1.5 * line), random_text(rng, 2), ink, font)
    for n in range(rng.integers(2, 5)):
        x = line // 2 + n * line * 1.5
        draw.ellipse((x, h + above + line * 0.4, x + line, h + above + line * 1.4), None, ink, 2)
    for y in range(h + above + 2 * line, canvas.height - line, line):
        draw.text((line // 2, y), random_text(rng), ink, font)
    canvas.paste(image, (side, above))
    return canvas


def _gallery(image: Image.Image, rng: Generator, ground: Tone, ink: Tone) -> Image.Image:
    """Return it as a phone's viewer shows it: in the middle of a tall or wide screen, with a status bar and icons."""
    w, h = image.size
    size = (w, int(max(h * 1.15, w * rng.uniform(1.6, 2.2)))) if rng.random() < 0.75 else (int(w * 1.5), int(h * 1.05))
    canvas = Image.new("RGB", size, ground)
    draw, line = ImageDraw.Draw(canvas), max(8, size[1] // 30)
    font = ImageFont.load_default(max(7, line * 2 // 3))
    draw.text((line // 2, line // 4), f"{rng.integers(0, 24)}:{rng.integers(10, 60)}", ink, font)
    draw.rectangle((size[0] - 2 * line, line // 3, size[0] - line, line), None, ink)
    for n in range(5):
        x, y = size[0] * (n + 0.5) / 5, size[1] - line
        draw.ellipse((x - line / 3, y - line / 3, x + line / 3, y + line / 3), None, ink, 2)
    canvas.paste(image, ((size[0] - w) // 2, (size[1] - h) // 2))
    return canvas


def _window(image: Image.Image, rng: Generator, ground: Tone, ink: Tone) -> Image.Image:
    """Return it in a program or a web page on a desktop: bars, icons, lines of text around it."""
    w, h = image.size
    size = (int(w * rng.uniform(1.05, 1.9)), int(h * rng.uniform(1.1, 1.8)))
    canvas = Image.new("RGB", size, ground)
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(max(7, size[1] // 28))
    x, y = int(rng.uniform(0, size[0] - w + 1)), int(rng.uniform(0.06, 0.94) * (size[1] - h))
    for line in range(0, size[1], max(10, size[1] // 16)):
        if rng.random() < 0.6:
            draw.text((size[0] * rng.uniform(0.02, 0.3), line), random_text(rng), ink, font)
    for _ in range(rng.integers(0, 6)):
        cx, cy, r = rng.uniform(0, size[0]), float(rng.choice([0.03, 0.96])) * size[1], size[1] * 0.02
        draw.ellipse((cx - r, cy - r, cx + r, cy + r), random_colour(rng))
    if rng.random() < 0.5:
        draw.rectangle((0, 0, size[0], max(2, size[1] // 18)), random_colour(rng))
    canvas.paste(image, (x, y))
    return canvas


def collage(image: Image.Image, rng: Generator, others: Others) -> Image.Image:
    """Return it among one to three other photos on one sheet: side by side, above each other, or two by two."""
    columns, rows = ((2, 1), (1, 2), (2, 2), (3, 1))[rng.choice(4, p=[0.35, 0.35, 0.15, 0.15])]
    w, h = image.size
    gap = int(min(w, h) * rng.choice([0, 0.02, 0.05]))
    sheet = Image.new("RGB", (columns * (w + gap) + gap, rows * (h + gap) + gap), random_colour(rng))
    place = int(rng.integers(columns * rows))
    for n in range(columns * rows):
        tile = image if n == place else ImageOps.fit(others(rng), (w, h))
        sheet.paste(tile, (gap + n % columns * (w + gap), gap + n // columns * (h + gap)))
    return sheet


WEAK_SHAPES: tuple[Edit, ...] = (
    *(crop, crop, tilt, mirror, straightened, lens, waves, stretched, frame, shadowed, letterbox, caption_bar),
)
STRONG_SHAPES: tuple[Edit, ...] = (
    *(hard_crop, hard_crop, hard_crop, rotate, quarter_turn, quarter_turn, mirror, perspective, perspective),
    *(screenshot, screenshot, screenshot, swirl, twirled, letterbox, tilt),
)
