"""Draw a small album to try dedup on: synthetic landscapes and edited copies of them.

The pictures have haze, clouds, texture and grain, so that the networks treat them like photos.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps
from PIL.ExifTags import IFD, Base

from dedup.errors import BadUsage, DedupError

Colour = tuple[int, int, int]
Pixels = NDArray[np.float64]  # (H, W, 3), in [0, 255]
Floats = NDArray[np.float64]  # (H, W)
_W, _H = 1024, 768  # pixels of a picture


@dataclass(frozen=True, slots=True)
class Scene:
    """The contents of one picture. Sizes are fractions of the height, measured from the top."""

    seed: int
    sky: tuple[Colour, Colour]  # colours at the top and at the horizon
    land: tuple[Colour, Colour]  # colours far and near
    clouds: float = 0.5  # fraction of the sky
    cloud: Colour = (255, 255, 255)
    horizon: float = 0.5
    peaks: float = 0.3  # height of the farthest ridge
    ridges: int = 4
    water: bool = False
    snow: bool = False
    sun: tuple[float, float] | None = None  # x, y
    things: str = ""  # firs, trees, houses, balloons, boats or towers
    count: int = 0


SCENES = {
    "lake": Scene(3, ((64, 122, 196), (196, 220, 238)), ((126, 152, 182), (38, 78, 52)), horizon=0.56, peaks=0.4,
                  water=True, snow=True, things="firs", count=46),
    "village": Scene(8, ((92, 156, 222), (214, 232, 244)), ((140, 170, 150), (96, 142, 54)), clouds=0.7, horizon=0.42,
                     peaks=0.16, things="houses", count=24),
    "balloons": Scene(21, ((82, 96, 156), (252, 196, 150)), ((196, 142, 138), (150, 84, 52)), clouds=0.25,
                      cloud=(255, 214, 190), horizon=0.62, peaks=0.2, sun=(0.8, 0.58), things="balloons", count=9),
    "sunset": Scene(34, ((70, 48, 104), (252, 150, 70)), ((120, 66, 84), (36, 26, 40)), clouds=0.6,
                    cloud=(255, 150, 110), horizon=0.6, peaks=0.1, ridges=2, water=True, sun=(0.36, 0.53),
                    things="boats", count=4),
    "winter": Scene(55, ((150, 172, 196), (232, 236, 240)), ((190, 204, 218), (244, 246, 250)), horizon=0.4,
                    peaks=0.14, things="firs", count=120),
    "autumn": Scene(89, ((120, 150, 176), (232, 222, 200)), ((150, 140, 130), (126, 104, 40)), clouds=0.3,
                    horizon=0.34, peaks=0.2, things="trees", count=90),
    "city": Scene(144, ((10, 14, 38), (60, 58, 104)), ((44, 46, 82), (14, 14, 26)), clouds=0.15,
                  cloud=(90, 90, 140), horizon=0.72, peaks=0.12, water=True, things="towers", count=44),
}  # fmt: skip


def make_album(folder: str) -> str:
    """Create `folder` with the album and return its folder of photos.

    Four pictures have three versions each, one has another shot of its scene, three stand alone. Raises BadUsage if the
    folder exists already, DedupError if it cannot be written.
    """
    photos = os.path.join(folder, "Photos")
    try:
        os.makedirs(folder)
        _fill(photos)
    except FileExistsError:
        raise BadUsage(f"{folder}: already exists; choose another: dedup demo FOLDER") from None
    except OSError as error:
        raise DedupError(
            f"{folder}: cannot be written ({error.strerror}); choose another: dedup demo FOLDER"
        ) from error
    return photos


def _fill(photos: str) -> None:
    for name in ("Camera", "Backup", "Edited", "Phone"):
        os.makedirs(os.path.join(photos, name))
    drawn = {name: draw(scene) for name, scene in SCENES.items()}
    for n, image in enumerate(drawn.values()):
        _shot(image, photos, 2107 + 6 * n, day=12 + n)
    _shot(draw(SCENES["lake"], walked=0.2), photos, 2108, day=12)
    shutil.copyfile(os.path.join(photos, "Camera", "IMG_2107.jpg"), os.path.join(photos, "Backup", "lake at noon.jpg"))
    for path, edited in {
        "Backup/lake thumbnail.jpg": drawn["lake"].resize((320, 240)),
        "Phone/IMG-20240613-WA0004.jpg": drawn["village"].resize((800, 600)),
        "Edited/village cropped.jpg": drawn["village"].crop((150, 120, 900, 682)),
        "Edited/balloons mirrored.jpg": ImageOps.mirror(drawn["balloons"]),
        "Edited/balloons black and white.jpg": drawn["balloons"].convert("L"),
        "Edited/sunset with caption.jpg": captioned(drawn["sunset"]),
        "Phone/Screenshot_20240615-2114.png": screenshot(drawn["sunset"]),
    }.items():
        edited.save(os.path.join(photos, *path.split("/")), quality=35 if "-WA" in path else 88)


def _shot(image: Image.Image, photos: str, number: int, *, day: int) -> None:
    """Save a picture as a camera does."""
    exif = Image.Exif()
    exif[Base.Make], exif[Base.Model] = "Dedup", "Paintbox"
    exif.get_ifd(IFD.Exif)[Base.DateTimeOriginal] = f"2024:06:{day} 12:00:{number % 60:02}"
    image.save(os.path.join(photos, "Camera", f"IMG_{number}.jpg"), quality=92, exif=exif)


# what people make of their pictures


def captioned(image: Image.Image) -> Image.Image:
    """Return the picture with words written over it."""
    image = image.copy()
    pen = ImageDraw.Draw(image)
    pen.text((_W / 2, _H * 0.9), "The last evening", (255, 255, 255), ImageFont.load_default(68), anchor="mm",
             stroke_width=4, stroke_fill=(30, 20, 30))  # fmt: skip
    return image


def screenshot(image: Image.Image) -> Image.Image:
    """Return what a phone shows of the picture: upright, dark bars above and below, words in them."""
    screen = Image.new("RGB", (720, 1040), (16, 16, 18))  # fewer pixels than the picture has
    screen.paste(image.resize((720, 540)), (0, 220))
    pen = ImageDraw.Draw(screen)
    pen.text((26, 16), "21:14", (235, 235, 235), ImageFont.load_default(24))
    pen.text((360, 114), "Saturday in the bay", (235, 235, 235), ImageFont.load_default(32), anchor="mm")
    for n in range(4):
        pen.ellipse((120 + 134 * n, 926, 180 + 134 * n, 986), (70, 70, 76))
    return screen


# drawing


def draw(scene: Scene, *, walked: float = 0.0) -> Image.Image:
    """Return the picture of a scene; walked: how far aside the camera stands, in widths, for what is near."""
    rng = np.random.default_rng(scene.seed)
    x, y = np.meshgrid(np.linspace(0, 1, _W), np.linspace(0, 1, _H))  # (H, W)
    canvas = _between(*scene.sky, np.clip(y / scene.horizon, 0, 1))
    puffs = np.clip((_noise(rng, 6, stretch=2) - 0.86 + 0.45 * scene.clouds) * 3, 0, 1) * np.clip(1.2 - y, 0, 1)
    canvas = _over(canvas, scene.cloud, 0.9 * puffs)
    if scene.sun:
        far = np.hypot(x - scene.sun[0], (y - scene.sun[1]) * _H / _W)
        canvas = _over(canvas, (255, 240, 200), np.clip(0.03 / (far + 0.01) - 0.12, 0, 1))
    for n in range(scene.ridges):
        canvas = _ridge(rng, canvas, scene, n / (scene.ridges - 1), walked)
    spots = [(rng.uniform(-0.1, 1.1), rng.uniform() ** 1.3, rng.uniform(0.8, 1.25)) for _ in range(scene.count)]
    spots = [(across - walked * (0.2 + near), near, size) for across, near, size in sorted(spots, key=lambda s: s[1])]
    if scene.water and scene.things != "boats":  # they stand on the shore
        return _grainy(rng, _reflected(rng, _placed(rng, canvas, scene, spots), scene))
    return _grainy(rng, _placed(rng, _reflected(rng, canvas, scene) if scene.water else canvas, scene, spots))


def _ridge(rng: np.random.Generator, canvas: Pixels, scene: Scene, near: float, walked: float) -> Pixels:
    """Return the canvas with a line of hills before what was there."""
    seen = np.linspace(0, 0.5, _W) + walked * (0.1 + near / 2)  # half of the line is in the picture
    line = np.interp(seen, np.linspace(0, 1, _W), _noise(rng, 7, height=1)[0])
    low = scene.horizon if scene.water else scene.horizon + (1 - scene.horizon) * 0.8 * near**2
    edge = (low - scene.peaks * (1 - 0.75 * near) * line) * _H
    rows = np.arange(_H)[:, None]
    rough = _noise(rng, 8, stretch=1.5)
    slope = np.clip(np.gradient(rough, axis=1) * 40, -0.5, 0.5)
    depth = (rows - edge) / _H
    colour = _between(*scene.land, np.full((_H, _W), near)) * (0.8 + 0.4 * rough + 0.35 * slope)[..., None]
    if scene.snow and near < 0.4:
        white = np.clip((0.16 - depth + 0.25 * (rough - 0.5)) * 14 * (1 - 2 * near), 0, 1)
        colour = _over(colour, (246, 249, 253), white * (0.85 + slope))
    return _over(canvas, colour, np.clip(rows - edge, 0, 1))


def _reflected(rng: np.random.Generator, canvas: Pixels, scene: Scene) -> Pixels:
    """Return the canvas with water below the horizon."""
    shore = int(scene.horizon * _H)
    rows = np.arange(_H - shore)
    ripple = (_noise(rng, 8, stretch=9)[shore:] - 0.5) * np.linspace(4, 60, len(rows))[:, None]
    source = np.clip(shore - 1 - (rows[:, None] * 0.95 + ripple), 0, shore - 1).astype(int)
    water = canvas[source, np.arange(_W)[None]] * np.linspace(0.82, 0.6, len(rows))[:, None, None]
    glints = np.clip((_noise(rng, 8, stretch=12)[shore:] - 0.62) * 3, 0, 0.35)
    return np.concatenate([canvas[:shore], _over(water, scene.sky[1], glints)])


def _placed(
    rng: np.random.Generator, canvas: Pixels, scene: Scene, spots: Sequence[tuple[float, float, float]]
) -> Pixels:
    """Return the canvas with the things of the scene at their spots: where across, how near, how large."""
    image = Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(image, "RGBA")
    for across, near, size in spots:
        ground = scene.horizon if scene.water else scene.horizon + (0.98 - scene.horizon) * near
        _THINGS[scene.things](pen, rng, across * _W, ground * _H, near, size * _H)
    return np.asarray(image, np.float64)


def _fir(pen: ImageDraw.ImageDraw, rng: np.random.Generator, x: float, y: float, near: float, size: float) -> None:
    tall = size * (0.05 + 0.16 * near)
    shade = rng.integers(-12, 13)
    for n in range(5):
        top, wide = y - tall * (1 - 0.17 * n), tall * (0.09 + 0.05 * n)
        green = tuple(int(v + shade + 8 * n) for v in (30, 58, 46))
        pen.polygon([(x, top), (x - wide, top + tall * 0.32), (x + wide, top + tall * 0.32)], (*green, 255))


def _tree(pen: ImageDraw.ImageDraw, rng: np.random.Generator, x: float, y: float, near: float, size: float) -> None:
    tall = size * (0.04 + 0.2 * near)
    pen.line((x, y, x, y - tall * 0.6), (70, 50, 38, 255), max(2, int(tall * 0.07)))
    leaf = [(206, 120, 36), (186, 76, 32), (214, 164, 52), (122, 128, 48)][rng.integers(4)]
    for _ in range(90):
        dx, dy, r = rng.normal(0, 0.2) * tall, rng.normal(0, 0.16) * tall, tall * rng.uniform(0.02, 0.07)
        lit = int(28 * rng.normal() - 60 * dy / tall)
        colour = tuple(int(np.clip(v + lit, 0, 255)) for v in leaf)
        pen.ellipse((x + dx - r, y - tall * 0.72 + dy - r, x + dx + r, y - tall * 0.72 + dy + r), (*colour, 230))


def _house(pen: ImageDraw.ImageDraw, rng: np.random.Generator, x: float, y: float, near: float, size: float) -> None:
    wide = size * (0.04 + 0.12 * near)
    tall, roof = wide * rng.uniform(0.5, 0.8), wide * rng.uniform(0.35, 0.6)
    wall = int(rng.integers(200, 245))
    red = int(rng.integers(120, 190))
    pen.rectangle((x, y - tall, x + wide, y), (wall, wall - 8, wall - 30, 255))
    pen.rectangle((x + wide * 0.7, y - tall, x + wide, y), (wall - 50, wall - 56, wall - 70, 255))
    pen.polygon([(x - wide * 0.08, y - tall), (x + wide * 0.5, y - tall - roof), (x + wide * 1.08, y - tall)],
                (red, int(red * 0.45), int(red * 0.33), 255))  # fmt: skip
    for n in range(int(rng.integers(2, 4))):
        left = x + wide * (0.12 + 0.22 * n)
        pen.rectangle((left, y - tall * 0.7, left + wide * 0.11, y - tall * 0.35), (60, 70, 84, 255))


def _balloon(pen: ImageDraw.ImageDraw, rng: np.random.Generator, x: float, y: float, near: float, size: float) -> None:
    r = size * (0.03 + 0.09 * near)
    y = _H * rng.uniform(0.1, 0.5)
    one, other = (tuple(int(v) for v in rng.integers(60, 250, 3)) for _ in range(2))
    pen.polygon([(x - r * 0.72, y + r * 0.7), (x + r * 0.72, y + r * 0.7), (x + r * 0.14, y + r * 1.6),
                 (x - r * 0.14, y + r * 1.6)], (*one, 255))  # fmt: skip
    for n, share in enumerate((1.0, 0.72, 0.42, 0.14)):
        pen.ellipse((x - r * share, y - r, x + r * share, y + r), (*(other if n % 2 else one), 255))
    pen.rectangle((x - r * 0.14, y + r * 1.75, x + r * 0.14, y + r * 1.95), (84, 56, 36, 255))


def _boat(pen: ImageDraw.ImageDraw, rng: np.random.Generator, x: float, y: float, near: float, size: float) -> None:
    y += _H * (0.04 + 0.24 * near)
    tall = size * (0.08 + 0.2 * near)

    def sheet(*corners: tuple[float, float], colour: tuple[int, ...]) -> None:
        pen.polygon([(x + tall * across, y + tall * down) for across, down in corners], colour)

    sheet((0.04, -1), (0.04, 0), (0.5, 0), colour=(238, 214, 196, 255))
    sheet((-0.02, -0.9), (-0.02, 0), (-0.3, 0), colour=(216, 180, 168, 255))
    sheet((-0.4, 0.03), (0.6, 0.03), (0.42, 0.16), (-0.28, 0.16), colour=(52, 32, 40, 255))
    sheet((-0.25, 0.2), (0.4, 0.2), (0.06, 0.7), colour=(40, 24, 36, 90))


def _tower(pen: ImageDraw.ImageDraw, rng: np.random.Generator, x: float, y: float, near: float, size: float) -> None:
    wide, tall = size * rng.uniform(0.04, 0.08), size * rng.uniform(0.1, 0.42)
    base = int(18 + 26 * (1 - near))
    pen.rectangle((x, y - tall, x + wide, y), (base, base + 3, base + 18, 255))
    step = _H / 60
    for row in range(1, int(tall / step)):
        for column in range(int(wide / step)):
            if rng.uniform() < 0.45:
                left, top = x + (column + 0.3) * step, y - tall + row * step
                warm = int(rng.integers(150, 255))
                pen.rectangle((left, top, left + step * 0.45, top + step * 0.5), (warm, int(warm * 0.82), 110, 255))


_THINGS = {"firs": _fir, "trees": _tree, "houses": _house, "balloons": _balloon, "boats": _boat, "towers": _tower}


def _grainy(rng: np.random.Generator, canvas: Pixels) -> Image.Image:
    """Return the picture as a lens and a sensor give it: a little soft, a little noisy."""
    soft = Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.8))
    return Image.fromarray(np.clip(np.asarray(soft) + rng.normal(0, 3.5, (_H, _W, 1)), 0, 255).astype(np.uint8))


def _noise(rng: np.random.Generator, octaves: int, *, stretch: float = 1.0, height: int = _H) -> Floats:
    """Return (height, W) in [0, 1]: random grids, each twice as fine and half as strong as the one before."""
    total = np.zeros((height, _W))
    for n in range(octaves):
        across = 3 * 2**n
        down = max(1, round(across * stretch * height / _W))
        grid = Image.fromarray(rng.uniform(size=(down, across)).astype(np.float32))
        total += np.asarray(grid.resize((_W, height), Image.Resampling.BICUBIC)) / 1.8**n
    total -= total.min()
    return np.asarray(total / total.max())


def _between(one: Colour, other: Colour, share: Floats) -> Pixels:
    """Return the colours (H, W, 3) that lie at these shares (H, W) of the way from one to the other."""
    start = np.asarray(one, np.float64)
    return start + share[..., None] * (np.asarray(other, np.float64) - start)


def _over(canvas: Pixels, colour: Colour | Pixels, cover: Floats) -> Pixels:
    """Return the canvas under a colour that covers these shares (H, W) of it."""
    return canvas + cover[..., None] * (np.asarray(colour, np.float64) - canvas)
