"""Photos -> an album of edited copies with a known truth. Uses OpenCV and NumPy only, and shares no code with
dedup/training/edits.py, which uses Pillow, so that the weights were not trained on edits made by this code.
"""

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Picture = NDArray[np.uint8]  # (H, W, 3), blue green red, as OpenCV has it
Change = Callable[[Picture, Generator], Picture]
TRUTH = "path,photo,scene,edit".split(",")
ORIGINAL = "original"
EDITS_EACH = 3
_FONT = cv2.FONT_HERSHEY_DUPLEX
_WORDS = ("WHEN YOU SEE IT", "ONE DOES NOT", "MONDAY AGAIN", "NO WAY", "BEST DAY EVER", "LOOK AT THIS")


def _clipped(values: NDArray[np.float32]) -> Picture:
    return np.clip(values, 0, 255).astype(np.uint8)


def _scaled(image: Picture, fx: float, fy: float) -> Picture:
    h, w = image.shape[:2]
    size = max(8, round(w * fx)), max(8, round(h * fy))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if min(fx, fy) < 1 else cv2.INTER_LINEAR)


def same(image: Picture, rng: Generator) -> Picture:
    return image


def linear(gain: float, offset: float) -> Change:
    """Return the edit that multiplies each value and adds to it."""
    return lambda image, rng: _clipped(image.astype(np.float32) * gain + offset)


def mixed(rows: list[list[float]]) -> Change:
    """Return the edit that mixes the channels, blue green red, by a matrix."""
    return lambda image, rng: _clipped(cv2.transform(image.astype(np.float32), np.array(rows, np.float32)))


def scaled(fx: float, fy: float) -> Change:
    return lambda image, rng: _scaled(image, fx, fy)


def thumb128(image: Picture, rng: Generator) -> Picture:
    f = min(1.0, 128 / max(image.shape[:2]))
    return _scaled(image, f, f)


def crop(share: float) -> Change:
    """Return the edit that keeps this share of the area, somewhere in the picture."""

    def cropped(image: Picture, rng: Generator) -> Picture:
        h, w = (round(n * share**0.5) for n in image.shape[:2])
        y, x = rng.integers(image.shape[0] - h + 1), rng.integers(image.shape[1] - w + 1)
        return np.ascontiguousarray(image[y : y + h, x : x + w])

    return cropped


def tilt(degrees: float) -> Change:
    """Return the edit that turns by this angle to either side; the corners become black."""

    def tilted(image: Picture, rng: Generator) -> Picture:
        h, w = image.shape[:2]
        turn = cv2.getRotationMatrix2D((w / 2, h / 2), degrees * rng.choice([-1, 1]), 1.0)
        return cv2.warpAffine(image, turn, (w, h), flags=cv2.INTER_CUBIC)

    return tilted


def rot90(image: Picture, rng: Generator) -> Picture:
    return cv2.rotate(image, int(rng.choice([cv2.ROTATE_90_CLOCKWISE, cv2.ROTATE_90_COUNTERCLOCKWISE])))


def mirror(image: Picture, rng: Generator) -> Picture:
    return cv2.flip(image, 1)


def gray(image: Picture, rng: Generator) -> Picture:
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)


def blur(image: Picture, rng: Generator) -> Picture:
    return cv2.GaussianBlur(image, (0, 0), max(0.8, 0.008 * min(image.shape[:2])))


def sharpen(image: Picture, rng: Generator) -> Picture:
    return cv2.addWeighted(image, 2.5, cv2.GaussianBlur(image, (0, 0), 1.5), -1.5, 0)


def noise(image: Picture, rng: Generator) -> Picture:
    return _clipped(image + 18 * rng.standard_normal(image.shape, np.float32))


def frame(image: Picture, rng: Generator) -> Picture:
    edge, colour = round(0.07 * min(image.shape[:2])), rng.integers(0, 256, 3).tolist()
    return cv2.copyMakeBorder(image, edge, edge, edge, edge, cv2.BORDER_CONSTANT, value=colour)


def _written(image: Picture, text: str, *, top: float, ink: int) -> Picture:
    """Return it with a line of text across it, its upper edge at this share of the height."""
    (w, h), _ = cv2.getTextSize(text, _FONT, 1.0, 2)
    scale = 0.9 * image.shape[1] / w
    at = round(0.05 * image.shape[1]), round(top * image.shape[0] + h * scale)
    return cv2.putText(image.copy(), text, at, _FONT, scale, (ink, ink, ink), max(1, round(2 * scale)), cv2.LINE_AA)


def meme(image: Picture, rng: Generator) -> Picture:
    """Return it with a white bar above that holds a line, and a line across its lower part."""
    first, second = rng.choice(_WORDS, 2, replace=False)
    bar = round(0.2 * image.shape[0])
    with_bar = cv2.copyMakeBorder(image, bar, 0, 0, 0, cv2.BORDER_CONSTANT, value=(255, 255, 255))
    return _written(_written(with_bar, str(first), top=0.03, ink=0), str(second), top=0.82, ink=255)


def watermark(image: Picture, rng: Generator) -> Picture:
    """Return it with half-transparent words over the whole of it."""
    layer = image
    for top in (0.1, 0.4, 0.7):
        layer = _written(layer, "sample photo", top=top, ink=255)
    return cv2.addWeighted(image, 0.6, layer, 0.4, 0)


def screenshot(image: Picture, rng: Generator) -> Picture:
    """Return it as a phone shows it: on black or white, a bar with a clock above, buttons below."""
    h, w = image.shape[:2]
    ground, tall = int(rng.choice([0, 255])), round(w * 1.9)
    above = max(0, (tall - h) // 2)
    screen = cv2.copyMakeBorder(image, above, above, 0, 0, cv2.BORDER_CONSTANT, value=(ground,) * 3)
    ink, size = (255 - ground,) * 3, w / 500
    top, bottom = round(0.045 * len(screen)), round(0.95 * len(screen))
    cv2.putText(screen, "12:34", (round(0.04 * w), top), _FONT, size, ink, max(1, round(size)), cv2.LINE_AA)
    for x in (0.2, 0.5, 0.8):
        cv2.circle(screen, (round(x * w), bottom), max(2, round(0.025 * w)), ink, max(1, round(size)), cv2.LINE_AA)
    return screen


@dataclass(frozen=True)
class Edit:
    """What happens to the pixels, and how they are written. quality: of JPEG and WebP."""

    change: Change
    suffix: str = ".jpg"
    quality: int = 90


_SEPIA = [[0.131, 0.534, 0.272], [0.168, 0.686, 0.349], [0.189, 0.769, 0.393]]
_WARM = [[0.8, 0, 0], [0, 1.02, 0], [0, 0, 1.2]]
EDITS = {
    "blur": Edit(blur),
    "brighter": Edit(linear(1.3, 20)),
    "contrast": Edit(linear(1.6, -76)),
    "crop50": Edit(crop(0.5)),
    "crop80": Edit(crop(0.8)),
    "darker": Edit(linear(0.5, 0)),
    "frame": Edit(frame),
    "gray": Edit(gray),
    "half": Edit(scaled(0.5, 0.5)),
    "jpeg12": Edit(same, quality=12),
    "jpeg40": Edit(same, quality=40),
    "meme": Edit(meme),
    "mirror": Edit(mirror),
    "noise": Edit(noise),
    "png": Edit(same, ".png"),
    "rot12": Edit(tilt(12)),
    "rot3": Edit(tilt(3)),
    "rot90": Edit(rot90),
    "screenshot": Edit(screenshot),
    "sepia": Edit(mixed(_SEPIA)),
    "sharpen": Edit(sharpen),
    "social": Edit(lambda image, rng: sharpen(_scaled(image, 0.6, 0.6), rng), quality=60),
    "squash": Edit(scaled(0.75, 1.0)),
    "thumb128": Edit(thumb128),
    "warm": Edit(mixed(_WARM)),
    "watermark": Edit(watermark),
    "webp": Edit(same, ".webp", 45),
}


def encoded(picture: Picture, suffix: str, quality: int) -> bytes:
    """Return the bytes of a picture file."""
    quality_of = {".jpg": cv2.IMWRITE_JPEG_QUALITY, ".webp": cv2.IMWRITE_WEBP_QUALITY}
    options = [quality_of[suffix], quality] if suffix in quality_of else []
    return bytes(cv2.imencode(suffix, picture, options)[1])


def plain_pictures(rng: Generator, *, count: int) -> Iterator[Picture]:
    """Yield pictures with next to nothing in them: one colour, a soft gradient, nearly black noise, in turn."""
    for n in range(count):
        h, w = (int(v) for v in rng.integers(300, 700, 2))
        first, last = rng.integers(0, 256, (2, 3))
        ramp = np.linspace(0, 1, w)[None, :, None] * np.ones((h, 1, 1))
        flat = np.zeros((h, w, 3)) + first
        dark = np.abs(rng.normal(0, 3, (h, w, 3)))
        yield _clipped((flat, (1 - ramp) * first + ramp * last, dark)[n % 3])


def read_originals(folder: Path, rng: Generator) -> Iterator[tuple[bytes, str, Picture]]:
    """Yield bytes, suffix and pixels of the pictures of a folder that OpenCV reads, in random order, none twice."""
    seen = set()
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for i in rng.permutation(len(files)):
        data = files[i].read_bytes()
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
        digest = sha256(data).digest()
        if digest not in seen and picture is not None and min(picture.shape[:2]) >= 32:
            seen.add(digest)
            yield data, files[i].suffix.lower(), picture


def handfuls(edits: list[str], rng: Generator, *, size: int) -> Iterator[list[str]]:
    """Yield different edits, so many at a time, for ever; each kind comes about equally often."""
    while True:
        order = rng.permutation(edits).tolist()
        for start in range(0, len(order) - size + 1, size):
            yield order[start : start + size]


def make_album(folder: Path, album: Path, *, edits: list[str], photos: int, distractors: int, seed: int) -> None:
    """Fill `album`/photos and write `album`/truth.csv: photos with three edits each, other photos, plain pictures.

    Every kind of edit comes equally often. Names tell nothing. A twentieth of the distractors are plain pictures.
    """
    rng = np.random.default_rng(seed)
    each = min(EDITS_EACH, len(edits))
    kinds = handfuls(edits, rng, size=each)
    numbers = iter(rng.permutation(10 * (photos * (each + 1) + distractors)).tolist())
    (album / "photos").mkdir(parents=True)
    with (album / "truth.csv").open("w", newline="", encoding="utf-8") as f:
        rows = csv.writer(f)
        rows.writerow(TRUTH)

        def add(data: bytes, suffix: str, photo: str, edit: str) -> None:
            name = f"IMG_{next(numbers):06d}{suffix}"
            (album / "photos" / name).write_bytes(data)
            rows.writerow([name, photo, "", edit])

        originals = read_originals(folder, rng)
        for n, (data, suffix, picture) in enumerate(islice(originals, photos)):
            add(data, suffix, f"photo{n}", ORIGINAL)
            for kind in next(kinds):
                edit = EDITS[kind]
                add(encoded(edit.change(picture, rng), edit.suffix, edit.quality), edit.suffix, f"photo{n}", kind)
        plain = distractors // 20
        for n, (data, suffix, _) in enumerate(islice(originals, distractors - plain)):
            add(data, suffix, f"other{n}", ORIGINAL)
        for n, picture in enumerate(plain_pictures(rng, count=plain)):
            add(encoded(picture, ".jpg", 90), ".jpg", f"plain{n}", ORIGINAL)
