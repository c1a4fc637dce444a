"""Draws an album of pictures with a known answer. `python tests/album.py DIR` makes one to try dedup on."""

import os
import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps


def scene(seed: int, size: tuple[int, int] = (640, 480)) -> Image.Image:
    """Return a picture that is full of things, as a photo is; another seed, another picture."""
    rng = np.random.default_rng(seed)
    tones = np.linspace(25, 230, int(rng.integers(4, 8)))[:, None]  # from dark to light, so that grey keeps the shapes
    palette = np.clip(tones + rng.integers(-70, 71, (len(tones), 3)), 0, 255)
    scale, count = rng.uniform(0.4, 2.2), int(rng.integers(12, 70))

    def colour() -> tuple[int, ...]:
        return tuple(int(v) for v in np.clip(palette[rng.integers(len(palette))] + rng.integers(-25, 26, 3), 0, 255))

    image = ImageOps.colorize(Image.linear_gradient("L").rotate(90 * int(rng.integers(4))), colour(), colour())
    image = image.resize((640, 480))
    draw = ImageDraw.Draw(image)
    kinds = rng.dirichlet([0.7] * 4)
    for _ in range(count):
        x, y = rng.uniform(-40, 640), rng.uniform(-40, 480)
        w, h = scale * rng.uniform(12, 150, 2)
        kind = rng.choice(4, p=kinds)
        if kind == 0:
            draw.ellipse((x, y, x + w, y + h), colour())
        elif kind == 1:
            draw.rectangle((x, y, x + w, y + h), colour())
        elif kind == 2:
            draw.polygon([(x + float(a), y + float(b)) for a, b in scale * rng.uniform(-80, 80, (5, 2))], colour())
        else:
            draw.line((x, y, *rng.uniform(0, 480, 2)), colour(), int(rng.integers(2, 12)))
    grain = rng.integers(0, 256, (*rng.integers(20, 200, 2), 3), np.uint8)
    texture = Image.fromarray(grain).resize((640, 480), Image.Resampling.BICUBIC)
    image = Image.blend(image.filter(ImageFilter.GaussianBlur(0.8)), texture, float(rng.uniform(0.05, 0.25)))
    return image.resize(size, Image.Resampling.LANCZOS)


def plain(colour: tuple[int, int, int], size: tuple[int, int] = (320, 240)) -> Image.Image:
    return Image.new("RGB", size, colour)


SHADES = ("ramp", "there and back", "spot", "horizon")


def smooth(
    shade: str, first: tuple[int, int, int] = (20, 40, 90), last: tuple[int, int, int] = (240, 220, 150)
) -> Image.Image:
    """Return a picture that goes from one colour to another and has nothing else in it."""
    x, y = np.meshgrid(np.linspace(0, 1, 320), np.linspace(0, 1, 240))
    share = {
        "ramp": x,
        "there and back": abs(2 * x - 1),
        "spot": np.exp(-((x - 0.4) ** 2 + (y - 0.5) ** 2) / 0.02),
        "horizon": 1 / (1 + np.exp(-30 * (y - 0.5))),
    }[shade][..., None]
    return Image.fromarray((np.array(first) * (1 - share) + np.array(last) * share).round().astype(np.uint8))


def make_album(folder: Path) -> Path:
    """Fill the folder: three groups (1 + 3, 1 + 2 and 1 + 1 files) and four pictures of their own."""
    trip = folder / "Trip [2019]"
    trip.mkdir(parents=True)
    harbour, tower, garden = scene(1, (1280, 960)), scene(2, (960, 1280)), scene(3, (800, 600))
    harbour.save(trip / "harbour.jpg", quality=92)
    shutil.copyfile(trip / "harbour.jpg", folder / "harbour (1).jpg")
    harbour.resize((640, 480)).save(folder / "harbour small.jpg", quality=60)
    harbour.convert("L").save(folder / "harbour grey.webp", quality=70)
    tower.save(trip / "tower.jpg", quality=90)
    tower.crop((96, 128, 864, 1152)).save(trip / "tower cropped.jpg", quality=85)
    ImageOps.mirror(tower).resize((480, 640)).save(trip / "tower mirrored.png")
    garden.save(folder / "garden.png")
    garden.save(folder / "garden.tif")
    for seed in range(10, 14):
        scene(seed).save(folder / f"alone {seed}.jpg", quality=88)
    # times in the order of the names, so that "the oldest" does not depend on how fast this ran
    for n, path in enumerate(sorted(folder.rglob("*.*"))):
        os.utime(path, (1_500_000_000 + n, 1_500_000_000 + n))
    return folder


if __name__ == "__main__":
    make_album(Path(sys.argv[1]))
