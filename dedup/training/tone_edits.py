"""Edits of colour, light, noise and compression: one picture -> another version with the same content in place.

Every edit takes an RGB image and a random generator and returns an RGB image. The size may change, the content stays
where it is relative to the edges.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter, ImageOps

Edit = Callable[[Image.Image, Generator], Image.Image]
Pixels = NDArray[np.float32]  # (H, W, 3), 0 to 255
_RESAMPLING = tuple(Image.Resampling)
_BICUBIC = Image.Resampling.BICUBIC
_SLOW_SIDE = 160  # pixels; filters whose cost grows with the window run at this size


def random_colour(rng: Generator) -> tuple[int, int, int]:
    """Return a colour as frames and bars have: mostly black, white or grey."""
    if rng.random() < 0.6:
        v = int(rng.choice([0, 0, 255, 255, 245, 18, 128]))
        return v, v, v
    r, g, b = (int(v) for v in rng.integers(0, 256, 3))
    return r, g, b


def _encoded(image: Image.Image, format: str, **options: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return Image.open(buffer).convert("RGB")


def _pixels(image: Image.Image) -> Pixels:
    return np.asarray(image, np.float32)


def _image(pixels: NDArray[np.floating]) -> Image.Image:
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _at_most(image: Image.Image, side: int) -> Image.Image:
    """Return the image with its longer side at most `side`."""
    factor = side / max(image.size)
    if factor >= 1:
        return image
    return image.resize((max(1, round(image.width * factor)), max(1, round(image.height * factor))), _BICUBIC)


def _smooth_field(rng: Generator, size: tuple[int, int], *, cells: int) -> Image.Image:
    """Return an L image of smooth noise with about `cells` hills a side."""
    return Image.fromarray(rng.integers(0, 256, (cells, cells), dtype=np.uint8)).resize(size, _BICUBIC)


# Compression and size


def jpeg(image: Image.Image, rng: Generator) -> Image.Image:
    return _encoded(image, "JPEG", quality=int(rng.integers(8, 90)), subsampling=int(rng.choice([0, 2])))


def webp(image: Image.Image, rng: Generator) -> Image.Image:
    return _encoded(image, "WEBP", quality=int(rng.integers(5, 80)), method=0)


def double_jpeg(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it as two services in turn compress it: at two sizes and two qualities."""
    once = _encoded(image, "JPEG", quality=int(rng.integers(30, 90)))
    factor = rng.uniform(0.6, 0.95)
    smaller = once.resize((max(8, round(once.width * factor)), max(8, round(once.height * factor))), _BICUBIC)
    return _encoded(smaller, "JPEG", quality=int(rng.integers(20, 80)))


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


def upscaled(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it made smaller and enlarged again by any two methods, sharpened perhaps as enlargers do."""
    factor = rng.uniform(0.25, 0.7)
    small = image.resize(
        (max(16, round(image.width * factor)), max(16, round(image.height * factor))), _RESAMPLING[rng.integers(6)]
    )
    large = small.resize(image.size, _RESAMPLING[rng.integers(6)])
    return large.filter(ImageFilter.UnsharpMask(2, 150, 0)) if rng.random() < 0.5 else large


# Colour and light


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
    """Return it under a filter of a photo app: a curve for each channel, a veil of colour, perhaps a vignette."""
    knots = np.sort(rng.uniform(0, 255, (3, 4)), axis=1)
    knots = 0.5 * knots + 0.5 * np.array([0, 85, 170, 255])
    table = [int(v) for k in knots for v in np.interp(np.arange(256), [0, 85, 170, 255], k)]
    veil = Image.new("RGB", image.size, random_colour(rng))
    image = Image.blend(image.point(table), veil, float(rng.uniform(0, 0.25)))
    return vignette(image, rng) if rng.random() < 0.4 else image


def blended_filter(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it under a colour or a gradient of two, blended as style sheets and photo apps do."""
    modes: tuple[Callable[[Image.Image, Image.Image], Image.Image], ...] = (
        *(ImageChops.screen, ImageChops.multiply, ImageChops.overlay, ImageChops.soft_light, ImageChops.hard_light),
        *(ImageChops.lighter, ImageChops.darker, ImageChops.difference),
    )
    first, second = (Image.new("RGB", image.size, tuple(int(v) for v in rng.integers(0, 256, 3))) for _ in range(2))
    ramp = Image.radial_gradient("L") if rng.random() < 0.5 else Image.linear_gradient("L")
    layer = Image.composite(first, second, ramp.resize(image.size)) if rng.random() < 0.6 else first
    mode = modes[rng.choice(8, p=[0.18, 0.18, 0.16, 0.16, 0.1, 0.09, 0.09, 0.04])]
    image = Image.blend(image, mode(image, layer), float(rng.uniform(0.3, 1)))
    return (saturation, contrast, brightness)[rng.integers(3)](image, rng)


def vignette(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it darker, or lighter, towards the corners, from slight to black."""
    strength, reach = float(rng.uniform(0.3, 1.6)), float(rng.uniform(0.8, 2.5))
    distance = np.asarray(Image.radial_gradient("L").resize(image.size), np.float32) / 255
    mask = _image(255 * np.minimum(1, strength * distance**reach))
    return Image.composite(Image.new("RGB", image.size, 0 if rng.random() < 0.85 else (255,) * 3), image, mask)


def tone(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it after one of the automatic or harsh tone tools."""
    tools: list[Callable[[Image.Image], Image.Image]] = [
        ImageOps.equalize,
        lambda i: ImageOps.autocontrast(i, cutoff=float(rng.uniform(0, 5))),
        lambda i: ImageOps.posterize(i, int(rng.integers(2, 5))),
        lambda i: ImageOps.solarize(i, int(rng.integers(128, 240))),
    ]
    return tools[rng.choice(4, p=[0.3, 0.4, 0.2, 0.1])](image)


def hdr_look(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it with strong local contrast, lifted shadows and strong colours."""
    radius = max(image.size) * float(rng.uniform(0.02, 0.1))
    pixels, blurred = _pixels(image), _pixels(image.filter(ImageFilter.GaussianBlur(radius)))
    local = pixels + (pixels - blurred) * float(rng.uniform(0.5, 2))
    lifted = 255 * (np.clip(local, 0, 255) / 255) ** float(rng.uniform(0.6, 1))
    return ImageEnhance.Color(_image(lifted)).enhance(float(rng.uniform(1, 1.8)))


def clarity(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it dehazed: the least value of each neighbourhood is taken away and the rest spread. Or hazed: lighter."""
    pixels = _pixels(image)
    if rng.random() < 0.3:
        haze = _pixels(_smooth_field(rng, image.size, cells=3))[..., None] / 255 * 0.5 + 0.2
        return _image(pixels * (1 - haze) + 225 * haze)
    dark = image.resize((24, 24), Image.Resampling.BOX)
    floor = Image.fromarray(np.asarray(dark).min(2)).filter(ImageFilter.MinFilter(3)).resize(image.size, _BICUBIC)
    floor_light = _pixels(floor)[..., None] * np.float32(rng.uniform(0.4, 0.9))
    return _image((pixels - floor_light) * 255 / np.maximum(255 - floor_light, 40))


def faded(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it as an old print or a matte filter shows it: black is grey, white is yellowish, colours are weak."""
    low, high = rng.uniform(15, 80, 3), rng.uniform(180, 250, 3)
    pale = ImageEnhance.Color(image).enhance(float(rng.uniform(0.2, 0.9)))
    return _image(low.astype(np.float32) + _pixels(pale) * ((high - low) / 255).astype(np.float32))


def colourised(image: Image.Image, rng: Generator) -> Image.Image:
    """Return a grey version coloured anew: its own colours blurred and shifted, or those that smooth noise gives it."""
    y, cb, cr = image.convert("YCbCr").split()
    if rng.random() < 0.5:
        radius = max(image.size) * float(rng.uniform(0.02, 0.06))
        shifts = rng.integers(-15, 16, 2).tolist()
        cb, cr = (
            c.filter(ImageFilter.GaussianBlur(radius)).point([max(0, min(255, i + s)) for i in range(256)])
            for c, s in zip((cb, cr), shifts, strict=True)
        )
    else:
        cb, cr = (_smooth_field(rng, image.size, cells=4).point([108 + i // 6 for i in range(256)]) for _ in range(2))
    return Image.merge("YCbCr", (y, cb, cr)).convert("RGB")


def inverted(image: Image.Image, rng: Generator) -> Image.Image:
    """Return the negative, whole or in lightness only."""
    if rng.random() < 0.5:
        return ImageOps.invert(image)
    y, cb, cr = image.convert("YCbCr").split()
    return Image.merge("YCbCr", (ImageOps.invert(y), cb, cr)).convert("RGB")


def flare(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it with a soft patch of light, shade or flare over part of it."""
    spot = ImageChops.offset(Image.radial_gradient("L").resize(image.size), *(int(v) for v in rng.integers(-60, 60, 2)))
    strength = float(rng.uniform(0.2, 0.6))
    mask = ImageOps.invert(spot).point([round(i * strength) for i in range(256)])
    return Image.composite(Image.new("RGB", image.size, random_colour(rng)), image, mask)


# Blur, noise and filters


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


def grain(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it with the grain of film: grey, coarser than a pixel, strongest in the midtones."""
    factor = float(rng.uniform(1, 3))
    size = (max(8, round(image.width / factor)), max(8, round(image.height / factor)))
    coarse = rng.standard_normal(size[::-1]).astype(np.float32) * 40 + 128
    field = _pixels(_image(coarse).resize(image.size, _BICUBIC))[..., None] - 128
    pixels = _pixels(image)
    return _image(pixels + field * (0.3 + 0.7 * np.sin(pixels / 255 * np.pi)) * float(rng.uniform(0.15, 0.9)))


def smooth(image: Image.Image, rng: Generator) -> Image.Image:
    return image.filter(ImageFilter.MedianFilter(3) if rng.random() < 0.5 else ImageFilter.SMOOTH_MORE)


def beauty(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it smoothed where contrast is low, as skin filters do, and a little lighter."""
    pixels = _pixels(image)
    blurred = _pixels(image.filter(ImageFilter.GaussianBlur(max(image.size) * float(rng.uniform(0.008, 0.025)))))
    edge = np.abs(pixels - blurred).max(2, keepdims=True)
    weight = np.exp(-np.square(edge / float(rng.uniform(12, 35))))
    return _image((pixels * (1 - weight) + blurred * weight) * float(rng.uniform(1, 1.12)) + float(rng.uniform(0, 8)))


def painted(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it as if painted: in patches of one colour (oil), of the median (watercolour), with edges (cartoon)."""
    small = _at_most(image, _SLOW_SIDE)
    kind = rng.integers(3)
    if kind == 0:
        small = ImageOps.posterize(small, int(rng.integers(4, 7))).filter(ImageFilter.ModeFilter(5))
    elif kind == 1:
        for _ in range(rng.integers(1, 3)):
            small = small.filter(ImageFilter.MedianFilter(5))
        small = ImageEnhance.Color(small).enhance(float(rng.uniform(1, 1.6)))
    else:
        lines = small.convert("L").filter(ImageFilter.MedianFilter(3)).filter(ImageFilter.FIND_EDGES)
        flat = ImageOps.posterize(small.filter(ImageFilter.MedianFilter(5)), int(rng.integers(3, 5)))
        small = ImageChops.subtract(flat, Image.merge("RGB", (lines,) * 3))
    return small.resize(image.size, _BICUBIC)


def drawn(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it as a pencil drawing, an embossing or its edges, blended with the picture perhaps."""
    light = image.convert("L")
    kind = rng.choice(3, p=[0.6, 0.2, 0.2])
    if kind == 0:  # grey divided by what its blurred negative leaves (colour dodge)
        base = _pixels(light)
        blurred = _pixels(light.filter(ImageFilter.GaussianBlur(float(rng.uniform(2, 6)))))
        lines = _image(base * 250 / np.maximum(blurred, 1))
    else:
        lines = light.filter(ImageFilter.EMBOSS if kind == 1 else ImageFilter.FIND_EDGES)
    return Image.blend(image, lines.convert("RGB"), float(rng.uniform(0.4, 0.9)))


def spread(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it with light or dark parts grown by a few pixels (dilate, erode), or each pixel moved a little."""
    kind = rng.integers(3)
    if kind == 2:
        h, w = image.height, image.width
        reach = int(rng.integers(1, 4))
        y, x = np.mgrid[:h, :w] + rng.integers(-reach, reach + 1, (2, h, w))
        return Image.fromarray(np.asarray(image)[np.clip(y, 0, h - 1), np.clip(x, 0, w - 1)])
    return image.filter((ImageFilter.MaxFilter if kind == 0 else ImageFilter.MinFilter)(int(rng.choice([3, 5]))))


def restored(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it as restoring tools do: noise and texture taken away, then sharpened, contrast and colour raised."""
    clean = beauty(image.filter(ImageFilter.MedianFilter(3)), rng)
    sharp = clean.filter(ImageFilter.UnsharpMask(float(rng.uniform(1, 3)), int(rng.integers(80, 250)), 2))
    return ImageEnhance.Color(ImageOps.autocontrast(sharp, cutoff=1)).enhance(float(rng.uniform(0.9, 1.5)))


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


def portrait(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it blurred outside an oval, as phones and tilt-shift lenses show it; or outside a band."""
    w, h = image.size
    mask, x, y = Image.new("L", image.size), rng.uniform(0.3, 0.7), rng.uniform(0.3, 0.7)
    rx, ry = rng.uniform(0.15, 0.45, 2) if rng.random() < 0.7 else (2.0, rng.uniform(0.1, 0.25))
    ImageDraw.Draw(mask).ellipse(((x - rx) * w, (y - ry) * h, (x + rx) * w, (y + ry) * h), 255)
    soft = mask.filter(ImageFilter.GaussianBlur(max(w, h) * float(rng.uniform(0.01, 0.08))))
    blurred = image.filter(ImageFilter.GaussianBlur(max(w, h) * float(rng.uniform(0.006, 0.025))))
    return Image.composite(image, blurred, soft)


def recoloured(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it in other colours: any hue, channels exchanged, or grey but for some hues."""
    kind = rng.integers(3)
    if kind == 0:
        h, s, v = image.convert("HSV").split()
        shift = int(rng.integers(40, 216))
        return Image.merge("HSV", (h.point([(i + shift) % 256 for i in range(256)]), s, v)).convert("RGB")
    if kind == 1:
        bands, order = image.split(), ((0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))[rng.integers(5)]
        return Image.merge("RGB", [bands[n] for n in order])
    centre, reach = int(rng.integers(256)), int(rng.integers(15, 60))
    kept = [255 if min((i - centre) % 256, (centre - i) % 256) < reach else 0 for i in range(256)]
    mask = image.convert("HSV").getchannel("H").point(kept).filter(ImageFilter.GaussianBlur(1))
    return Image.composite(image, grey(image, rng), mask)


def oil(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it in strokes: each pixel is the mean of the most even of four squares beside it (Kuwahara 1976)."""
    small, k = _at_most(image, 2 * _SLOW_SIDE), int(rng.integers(3, 9))
    pixels = np.pad(_pixels(small).astype(np.float64), ((k, k), (k, k), (0, 0)), mode="edge")
    mean, square = _window_means(pixels, k), _window_means(pixels * pixels, k)
    spread = (square - mean * mean).sum(2)
    h, w = small.height, small.width
    starts = ((0, 0), (0, k), (k, 0), (k, k))
    choice = np.argmin([spread[y : y + h, x : x + w] for y, x in starts], axis=0)[None, ..., None]
    means = np.stack([mean[y : y + h, x : x + w] for y, x in starts])
    strokes = _image(np.take_along_axis(means, choice, axis=0)[0]).resize(image.size, _BICUBIC)
    return ImageEnhance.Color(strokes).enhance(float(rng.uniform(0.9, 1.6)))


def _window_means(values: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Return (H - k, W - k, C), the means of squares of k + 1 pixels of values (H, W, C)."""
    sums = np.pad(values, ((1, 0), (1, 0), (0, 0))).cumsum(0).cumsum(1)
    n = k + 1
    return np.asarray((sums[n:, n:] - sums[:-n, n:] - sums[n:, :-n] + sums[:-n, :-n]) / n**2)


def halftone(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it in dots of one size a cell, grey or in each colour at an angle of its own, as print has it."""
    y, x = np.mgrid[: image.height, : image.width]
    period, hard = float(rng.uniform(3, 7)), float(rng.uniform(1.5, 6))
    pixels = _pixels(image if rng.random() < 0.6 else grey(image, rng))
    angles = rng.uniform(0, np.pi) + np.array([0, 0.5, 1.0]) * (rng.random() < 0.7)
    dots = [
        np.cos((x * np.cos(t) + y * np.sin(t)) * (2 * np.pi / period))
        + np.cos((y * np.cos(t) - x * np.sin(t)) * (2 * np.pi / period))
        for t in angles
    ]
    return _image(128 + (pixels - 128 + 45 * np.stack(dots, axis=2).astype(np.float32)) * hard / 2)


def unevenly_lit(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it as a print in a room: darker in places, with a gloss, warmer or colder."""
    field = _pixels(_smooth_field(rng, image.size, cells=int(rng.integers(2, 4))))[..., None] / 255
    lit = _pixels(image) * (float(rng.uniform(0.4, 0.8)) + float(rng.uniform(0.3, 0.8)) * field)
    return white_balance(_image(lit + 90 * float(rng.uniform(0, 1)) * np.maximum(field - 0.6, 0)), rng)


TONES: tuple[Edit, ...] = (
    *(jpeg, webp, double_jpeg, palette, thumbnail, squash, upscaled),
    *(brightness, contrast, saturation, gamma, white_balance, hue, grey, tint, photo_filter, blended_filter, vignette),
    *(tone, hdr_look, clarity, faded, colourised, flare, blur, sharpen, noise, grain, smooth, beauty, painted, drawn),
    *(spread, restored, pixelate, printed, screen, portrait, recoloured, oil, halftone, unevenly_lit),
)
RARE_TONES: tuple[Edit, ...] = (inverted,)
