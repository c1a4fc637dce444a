"""One picture -> another version of it, as people and apps make them. Knows nothing about batches or losses.

Every edit takes an RGB image and a random generator and returns an RGB image. `edited` chains a few of them. Strong
edits throw much of the picture away; two strongly edited versions of one photo may have nothing in common, so a
training pair should hold at most one.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

Edit = Callable[[Image.Image, Generator], Image.Image]
Others = Callable[[Generator], Image.Image]  # draws another photo
_WORDS = "When you finally see it nobody said that would work Happy Birthday love summer 2024 @user NEW sale".split()
_BICUBIC = Image.Resampling.BICUBIC
_BILINEAR = Image.Resampling.BILINEAR


def _colour(rng: Generator) -> tuple[int, int, int]:
    if rng.random() < 0.6:  # frames and bars are mostly black, white or grey
        v = int(rng.choice([0, 0, 255, 255, 245, 18, 128]))
        return v, v, v
    r, g, b = (int(v) for v in rng.integers(0, 256, 3))
    return r, g, b


def _text(rng: Generator, most: int = 6) -> str:
    return " ".join(str(w) for w in rng.choice(_WORDS, rng.integers(1, most + 1)))


def _encoded(image: Image.Image, format: str, **options: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return Image.open(buffer).convert("RGB")


# Compression and size


def jpeg(image: Image.Image, rng: Generator) -> Image.Image:
    return _encoded(image, "JPEG", quality=int(rng.integers(8, 90)), subsampling=int(rng.choice([0, 2])))


def webp(image: Image.Image, rng: Generator) -> Image.Image:
    return _encoded(image, "WEBP", quality=int(rng.integers(5, 80)), method=0)


def palette(image: Image.Image, rng: Generator) -> Image.Image:
    colours, fast = int(rng.choice([8, 16, 32, 64, 256])), Image.Quantize.FASTOCTREE
    return image.quantize(colours, fast, dither=Image.Dither.NONE).convert("RGB")


def thumbnail(image: Image.Image, rng: Generator) -> Image.Image:
    scale = rng.uniform(40, 140) / min(image.size)
    if scale >= 1:
        return image
    return image.resize((max(8, int(image.width * scale)), max(8, int(image.height * scale))), _BICUBIC)


def squash(image: Image.Image, rng: Generator) -> Image.Image:
    f = float(np.exp(rng.uniform(-0.5, 0.5)))
    return image.resize((max(8, int(image.width * f)), image.height), _BICUBIC)


# Geometry


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
    turned = image.rotate(angle, _BICUBIC, expand=rng.random() < 0.5, fillcolor=_colour(rng))
    if rng.random() < 0.4:  # straightened: the empty corners are cut off
        cut = np.sin(np.radians(abs(angle))) * 0.5
        dx, dy = cut * turned.width * 0.7, cut * turned.height * 0.7
        turned = turned.crop((round(dx), round(dy), round(turned.width - dx), round(turned.height - dy)))
    return turned


def rotate(image: Image.Image, rng: Generator) -> Image.Image:
    return image.rotate(float(rng.uniform(0, 360)), _BICUBIC, expand=True, fillcolor=_colour(rng))


def quarter_turn(image: Image.Image, rng: Generator) -> Image.Image:
    turns = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)
    return image.transpose(turns[rng.integers(3)])


def mirror(image: Image.Image, rng: Generator) -> Image.Image:
    return ImageOps.flip(image) if rng.random() < 0.15 else ImageOps.mirror(image)


def perspective(image: Image.Image, rng: Generator) -> Image.Image:
    """Return a photo of the photo: seen at an angle, on some ground."""
    w, h = image.size
    shift = rng.uniform(0, 0.22, (4, 2)) * (w, h)
    corners = np.array([[0, 0], [w, 0], [w, h], [0, h]], float)
    target = corners + shift * [[1, 1], [-1, 1], [-1, -1], [1, -1]]
    rows, values = [], []
    for (x, y), (u, v) in zip(target, corners, strict=True):  # PIL maps output to input
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    coefficients = np.linalg.solve(np.array(rows), np.array(values))
    return image.transform((w, h), Image.Transform.PERSPECTIVE, tuple(coefficients), _BICUBIC, fillcolor=_colour(rng))


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


# Colour


def brightness(image: Image.Image, rng: Generator) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(float(np.exp(rng.uniform(-0.9, 0.7))))


def contrast(image: Image.Image, rng: Generator) -> Image.Image:
    return ImageEnhance.Contrast(image).enhance(float(np.exp(rng.uniform(-0.9, 0.8))))


def saturation(image: Image.Image, rng: Generator) -> Image.Image:
    return ImageEnhance.Color(image).enhance(float(rng.uniform(0, 2.5)))


def gamma(image: Image.Image, rng: Generator) -> Image.Image:
    g = float(np.exp(rng.uniform(-0.8, 0.8)))
    table = [round(255 * (i / 255) ** g) for i in range(256)]
    return image.point(table * 3)


def white_balance(image: Image.Image, rng: Generator) -> Image.Image:
    table = [min(255, round(i * float(gain))) for gain in rng.uniform(0.65, 1.35, 3) for i in range(256)]
    return image.point(table)


def hue(image: Image.Image, rng: Generator) -> Image.Image:
    h, s, v = image.convert("HSV").split()
    shift = int(rng.integers(-40, 41))
    return Image.merge("HSV", (h.point([(i + shift) % 256 for i in range(256)]), s, v)).convert("RGB")


def grey(image: Image.Image, rng: Generator) -> Image.Image:
    return image.convert("L").convert("RGB")


def tint(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it in sepia or in two other tones."""
    if rng.random() < 0.5:
        dark, light = (30, 15, 0), (255, 235, 190)
    else:
        dark = tuple(int(v) for v in rng.integers(0, 90, 3))  # type: ignore[assignment]
        light = tuple(int(v) for v in rng.integers(170, 256, 3))  # type: ignore[assignment]
    toned = ImageOps.colorize(image.convert("L"), dark, light)
    return Image.blend(image, toned, float(rng.uniform(0.5, 1)))


def photo_filter(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it with a curve of its own for each channel, a veil of colour and perhaps a vignette."""
    knots = np.sort(rng.uniform(0, 255, (3, 4)), axis=1)
    knots = 0.5 * knots + 0.5 * np.array([0, 85, 170, 255])
    table = [int(v) for k in knots for v in np.interp(np.arange(256), [0, 85, 170, 255], k)]
    image = Image.blend(image.point(table), Image.new("RGB", image.size, _colour(rng)), float(rng.uniform(0, 0.25)))
    return vignette(image, rng) if rng.random() < 0.4 else image


def vignette(image: Image.Image, rng: Generator) -> Image.Image:
    strength = float(rng.uniform(0.3, 1))
    mask = Image.radial_gradient("L").resize(image.size).point([round(i * strength) for i in range(256)])
    return Image.composite(Image.new("RGB", image.size), image, mask)


def tone(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it after one of the automatic or harsh tone tools."""
    tools: list[Callable[[Image.Image], Image.Image]] = [
        ImageOps.equalize,
        lambda i: ImageOps.autocontrast(i, cutoff=float(rng.uniform(0, 5))),
        lambda i: ImageOps.posterize(i, int(rng.integers(2, 5))),
        lambda i: ImageOps.solarize(i, int(rng.integers(128, 240))),
    ]
    return tools[rng.choice(4, p=[0.3, 0.4, 0.2, 0.1])](image)


# Blur and noise


def blur(image: Image.Image, rng: Generator) -> Image.Image:
    radius = float(rng.uniform(0.5, 3.0))
    return image.filter(ImageFilter.BoxBlur(radius) if rng.random() < 0.3 else ImageFilter.GaussianBlur(radius))


def sharpen(image: Image.Image, rng: Generator) -> Image.Image:
    return image.filter(ImageFilter.UnsharpMask(float(rng.uniform(1, 3)), int(rng.integers(80, 400)), 2))


def noise(image: Image.Image, rng: Generator) -> Image.Image:
    pixels = np.asarray(image, np.float32)
    grain = rng.standard_normal(pixels.shape[: 2 if rng.random() < 0.4 else 3], np.float32)
    grain = grain[..., None] if grain.ndim == 2 else grain
    return Image.fromarray(np.clip(pixels + grain * rng.uniform(4, 40), 0, 255).astype(np.uint8))


def smooth(image: Image.Image, rng: Generator) -> Image.Image:
    return image.filter(ImageFilter.MedianFilter(3) if rng.random() < 0.5 else ImageFilter.SMOOTH_MORE)


def pixelate(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it in blocks, as games and thumbnails magnified without a filter have it."""
    small = image.resize([max(24, round(side / rng.uniform(1.5, 4))) for side in image.size], Image.Resampling.BOX)
    return small.resize(image.size, Image.Resampling.NEAREST)


def printed(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it in few inks with dots between them, as in a newspaper or a GIF."""
    if rng.random() < 0.4:
        return image.convert("1").convert("RGB").filter(ImageFilter.GaussianBlur(float(rng.uniform(0.5, 1.2))))
    inks = image.quantize(int(rng.choice([4, 8, 16])), Image.Quantize.FASTOCTREE)
    return image.quantize(palette=inks, dither=Image.Dither.FLOYDSTEINBERG).convert("RGB")


def screen(image: Image.Image, rng: Generator) -> Image.Image:
    """Return a photo of the display that shows it: interference in stripes, a cast of colour, a little blur."""
    y, x = np.mgrid[: image.height, : image.width]
    stripes = np.zeros((image.height, image.width), np.float32)
    for _ in range(rng.integers(1, 3)):
        angle, period = rng.uniform(0, np.pi), rng.uniform(3, 30)
        stripes += np.sin((x * np.cos(angle) + y * np.sin(angle)) * (2 * np.pi / period)) * rng.uniform(3, 14)
    pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 1)))), np.float32)
    pixels = pixels * rng.uniform(0.8, 1.1, 3).astype(np.float32) + stripes[..., None]
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


# Things laid over or around it


def caption(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it with big letters on it, or in a bar above or below it."""
    w, h = image.size
    font = ImageFont.load_default(max(8, int(h * rng.uniform(0.06, 0.14))))
    if rng.random() < 0.5:
        bar = int(h * rng.uniform(0.1, 0.3))
        ground = _colour(rng)
        canvas = Image.new("RGB", (w, h + bar), ground)
        above = rng.random() < 0.6
        canvas.paste(image, (0, bar if above else 0))
        ink = (0, 0, 0) if sum(ground) > 380 else (255, 255, 255)
        ImageDraw.Draw(canvas).text((w * 0.05, bar * 0.15 + (0 if above else h)), _text(rng), ink, font)
        return canvas
    image = image.copy()
    draw = ImageDraw.Draw(image)
    for y in rng.choice([0.03, 0.45, 0.82], rng.integers(1, 3), replace=False):
        draw.text((w * 0.04, h * float(y)), _text(rng), (255, 255, 255), font, stroke_width=2, stroke_fill=(0, 0, 0))
    return image


def watermark(image: Image.Image, rng: Generator) -> Image.Image:
    layer = Image.new("L", image.size)
    draw = ImageDraw.Draw(layer)
    font = ImageFont.load_default(max(8, int(image.height * rng.uniform(0.06, 0.2))))
    word, opacity = _text(rng, 2), int(rng.integers(70, 200))
    if rng.random() < 0.5:
        for y in range(0, image.height, max(12, image.height // 4)):
            for x in range(-20, image.width, max(24, image.width // 3)):
                draw.text((x, y), word, opacity, font)
    else:
        draw.text((image.width * rng.uniform(0, 0.6), image.height * rng.uniform(0, 0.9)), word, opacity, font)
    if rng.random() < 0.5:
        layer = layer.rotate(float(rng.uniform(-45, 45)))
    return Image.composite(Image.new("RGB", image.size, _colour(rng)), image, layer)


def sticker(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it with emoji-like faces, hearts of colour, arrows or boxes on it."""
    image = image.copy()
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(1, 4)):
        r = min(image.size) * rng.uniform(0.05, 0.16)
        x, y = rng.uniform(0, image.width), rng.uniform(0, image.height)
        colour = tuple(int(v) for v in rng.integers(0, 256, 3))
        kind = rng.integers(3)
        if kind == 0:
            draw.ellipse((x - r, y - r, x + r, y + r), (255, 205, 40), (120, 80, 0))
            for dx in (-0.35, 0.35):
                cx, cy, e = x + dx * r, y - 0.2 * r, 0.13 * r
                draw.ellipse((cx - e, cy - e, cx + e, cy + e), (60, 30, 0))
            draw.arc((x - 0.5 * r, y - 0.3 * r, x + 0.5 * r, y + 0.6 * r), 20, 160, (60, 30, 0), 2)
        elif kind == 1:
            draw.rectangle((x - r, y - r, x + r, y + r), None if rng.random() < 0.5 else colour, colour, 3)
        else:
            draw.line((x - 2 * r, y, x + 2 * r, y + r * rng.uniform(-2, 2)), colour, int(rng.integers(2, 7)))
    return image


def frame(image: Image.Image, rng: Generator) -> Image.Image:
    edge = int(min(image.size) * rng.uniform(0.02, 0.15))
    framed = ImageOps.expand(image, edge, _colour(rng))
    return ImageOps.expand(framed, max(1, edge // 3), _colour(rng)) if rng.random() < 0.3 else framed


def letterbox(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it on a canvas of another aspect, with plain bars or a blurred copy of itself behind it."""
    f = float(rng.uniform(1.15, 1.8))
    w, h = image.size
    size = (w, int(h * f)) if rng.random() < 0.5 else (int(w * f), h)
    if rng.random() < 0.3:
        canvas = image.resize(size).filter(ImageFilter.GaussianBlur(8))
    else:
        canvas = Image.new("RGB", size, _colour(rng))
    canvas.paste(image, ((size[0] - w) // 2, (size[1] - h) // 2))
    return canvas


def screenshot(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it as shown by a phone or a desktop program, with bars, buttons and lines of text around it."""
    ground = (255, 255, 255) if rng.random() < 0.5 else (24, 24, 28)
    ink = (90, 90, 90) if ground[0] else (190, 190, 190)
    w, h = image.size
    if rng.random() < 0.6:
        size = (int(w * rng.uniform(1.0, 1.1)), int(h * rng.uniform(1.25, 2.0)))
    else:
        size = (int(w * rng.uniform(1.2, 1.7)), int(h * rng.uniform(1.15, 1.6)))
    canvas = Image.new("RGB", size, ground)
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(max(7, size[1] // 28))
    x, y = int(rng.uniform(0, size[0] - w + 1)), int(rng.uniform(0.06, 0.94) * (size[1] - h))
    for line in range(0, size[1], max(10, size[1] // 16)):
        if rng.random() < 0.6:
            draw.text((size[0] * rng.uniform(0.02, 0.3), line), _text(rng), ink, font)
    for _ in range(rng.integers(0, 6)):
        cx, cy, r = rng.uniform(0, size[0]), float(rng.choice([0.03, 0.96])) * size[1], size[1] * 0.02
        draw.ellipse((cx - r, cy - r, cx + r, cy + r), _colour(rng))
    if rng.random() < 0.5:
        draw.rectangle((0, 0, size[0], max(2, size[1] // 18)), _colour(rng))
    canvas.paste(image, (x, y))
    return canvas


def collage(image: Image.Image, rng: Generator, others: Others) -> Image.Image:
    """Return it among one to three other photos on one sheet: side by side, above each other, or two by two."""
    columns, rows = ((2, 1), (1, 2), (2, 2), (3, 1))[rng.choice(4, p=[0.35, 0.35, 0.15, 0.15])]
    w, h = image.size
    gap = int(min(w, h) * rng.choice([0, 0.02, 0.05]))
    sheet = Image.new("RGB", (columns * (w + gap) + gap, rows * (h + gap) + gap), _colour(rng))
    place = int(rng.integers(columns * rows))
    for n in range(columns * rows):
        tile = image if n == place else ImageOps.fit(others(rng), (w, h))
        sheet.paste(tile, (gap + n % columns * (w + gap), gap + n // columns * (h + gap)))
    return sheet


def hidden_part(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it with a part that nobody shall see: painted over, blurred, or in coarse blocks."""
    w, h = (max(8, int(side * rng.uniform(0.2, 0.55))) for side in image.size)
    x, y = (int(rng.uniform(0, whole - part + 1)) for whole, part in zip(image.size, (w, h), strict=True))
    part, kind = image.crop((x, y, x + w, y + h)), rng.integers(3)
    if kind == 0:
        part = Image.new("RGB", (w, h), _colour(rng))
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


def rounded(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it with round corners, as a badge or in an oval."""
    mask, box = Image.new("L", image.size), (0, 0, image.width - 1, image.height - 1)
    if rng.random() < 0.4:
        ImageDraw.Draw(mask).ellipse(box, 255)
    else:
        ImageDraw.Draw(mask).rounded_rectangle(box, min(image.size) * float(rng.uniform(0.08, 0.4)), 255)
    return Image.composite(image, Image.new("RGB", image.size, _colour(rng)), mask)


def veil(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it with a soft patch of light, shade or flare over part of it."""
    spot = ImageChops.offset(Image.radial_gradient("L").resize(image.size), *(int(v) for v in rng.integers(-60, 60, 2)))
    strength = float(rng.uniform(0.2, 0.6))
    mask = ImageOps.invert(spot).point([round(i * strength) for i in range(256)])
    return Image.composite(Image.new("RGB", image.size, _colour(rng)), image, mask)


WEAK: tuple[Edit, ...] = (
    *(jpeg, jpeg, webp, palette, thumbnail, thumbnail, squash, crop, crop, tilt, mirror, brightness, brightness),
    *(contrast, saturation, gamma, white_balance, hue, grey, grey, tint, tint, photo_filter, vignette, tone, blur),
    *(sharpen, noise, noise, smooth, caption, caption, watermark, sticker, frame, letterbox, veil),
    *(pixelate, printed, screen, lens, hidden_part, rounded),
)
STRONG: tuple[Edit, ...] = (hard_crop, hard_crop, hard_crop, rotate, quarter_turn, quarter_turn, mirror, perspective)
STRONG = (*STRONG, screenshot, screenshot, swirl, letterbox, tint, caption, tilt)


def edited(image: Image.Image, rng: Generator, *, strong: bool, others: Others) -> Image.Image:
    """Return the picture after 0 to 3 weak edits, and one strong edit among them if `strong`. others: for collages."""
    edits = [WEAK[i] for i in rng.integers(len(WEAK), size=rng.choice(4, p=[0.15, 0.4, 0.3, 0.15]))]
    if strong:
        n = int(rng.integers(len(STRONG) + 1))
        edit: Edit = STRONG[n] if n < len(STRONG) else lambda image, rng: collage(image, rng, others)
        edits.insert(int(rng.integers(len(edits) + 1)), edit)
    for edit in edits:
        image = edit(image, rng)
        if max(image.size) > 480:  # frames and bars add up
            image.thumbnail((480, 480))
    return image


# Another shot of the same scene, where there is none: what no plane transformation and no change of colour explains


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


def _hills(rng: Generator, height: int, width: int, *, cells: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
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
