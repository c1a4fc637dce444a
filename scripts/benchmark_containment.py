#!/usr/bin/env python3
"""Measure how often dedup knows which of two versions of a photo shows all of the other one.

    python scripts/benchmark_containment.py PHOTOS_DIR [--pairs 1000] [--edits NAME,...] [--output DIR]

Makes one version of each of so many photos under PHOTOS_DIR, by edits of which it is known by construction what they
lose and what they add; scans each edit's folder with the dedup command line; and compares what the pairs CSV says with
what must be so. Prints a table by edit, and the cases that are wrong go to wrong.csv. A pair that dedup does not call
one photograph counts as one of which nothing is contained in the other.
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

from dedup.report.csv_file import value_of
from dedup.report.tables import CONTAINED
from dedup.training import content_edits, shape_edits, tone_edits
from dedup.training.edits import difference_mask

SEED = 20261129
SMALLEST = 280  # pixels, the longer side of a photo
ANSWERS = {word: both for both, word in CONTAINED.items()}
COLOURFUL = 25  # grey levels between the channels on average
DETAIL = 8  # grey levels, what is taken of a part that is blurred or pixelated at least, as a deviation
TRIES = 1000  # parts that are tried for it
VISIBLE = 0.003  # share of the picture that a change of content covers at least
Edit = Callable[[Image.Image, Generator], Image.Image]
Others = Callable[[Generator], Image.Image]


@dataclass(frozen=True)
class Kind:
    """An edit, and what must be so: whether the version is contained in the original, and the original in the version.

    None: either answer can be argued.   changes: it draws something over a part of the picture.
    """

    edit: Edit
    version_in_original: bool | None
    original_in_version: bool | None
    changes: bool = False


def saved_again(image: Image.Image, rng: Generator) -> Image.Image:
    return image


def smaller(image: Image.Image, rng: Generator) -> Image.Image:
    factor = rng.uniform(0.35, 0.65)
    return image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.LANCZOS)


def enlarged(image: Image.Image, rng: Generator) -> Image.Image:
    factor = rng.uniform(1.3, 2.2)
    size = round(image.width * factor), round(image.height * factor)
    return image.resize(size, [Image.Resampling.BICUBIC, Image.Resampling.LANCZOS][rng.integers(2)])


def shrunk_and_enlarged(image: Image.Image, rng: Generator) -> Image.Image:
    """Return an enlargement that resolves less than the photo, with more pixels."""
    small = image.resize((image.width // 3, image.height // 3), Image.Resampling.LANCZOS)
    return small.resize((round(image.width * 1.3), round(image.height * 1.3)), Image.Resampling.BICUBIC)


def part(least: float, most: float) -> Edit:
    return lambda image, rng: shape_edits.crop_to(image, rng, least=least, most=most)


def grey(image: Image.Image, rng: Generator) -> Image.Image:
    return ImageOps.grayscale(image).convert("RGB")


def sepia(image: Image.Image, rng: Generator) -> Image.Image:
    return ImageOps.colorize(ImageOps.grayscale(image), (20, 12, 4), (255, 240, 200))


def blurred(image: Image.Image, rng: Generator) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(float(rng.uniform(1.5, 3.5))))


def brighter(image: Image.Image, rng: Generator) -> Image.Image:
    exponent = float(rng.choice([0.75, 0.85, 1.2, 1.4]))
    return image.point([round(255 * (v / 255) ** exponent) for v in range(256)] * 3)


def bordered(image: Image.Image, rng: Generator) -> Image.Image:
    edge = int(min(image.size) * rng.uniform(0.03, 0.15))
    return ImageOps.expand(image, edge, tone_edits.random_colour(rng))


def barred(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it on a plain canvas of another aspect."""
    size = (image.width, round(image.height * 1.4)) if rng.random() < 0.5 else (round(image.width * 1.4), image.height)
    return ImageOps.pad(image, size, color=tone_edits.random_colour(rng))


def messenger(image: Image.Image, rng: Generator) -> Image.Image:
    return tone_edits.double_jpeg(smaller(image, rng), rng)


def chain(*edits: Edit) -> Edit:
    def chained(image: Image.Image, rng: Generator) -> Image.Image:
        for edit in edits:
            image = edit(image, rng)
        return image

    return chained


def moved_thing(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it with a part of it once more at another place."""
    side = round(min(image.size) * rng.uniform(0.15, 0.3))
    x, y, u, v = (int(rng.uniform(0, whole - side)) for whole in (*image.size, *image.size))
    changed = image.copy()
    changed.paste(image.crop((x, y, x + side, y + side)), (u, v))
    return changed


def hidden_in_part(lower: Callable[[Image.Image], Image.Image]) -> Edit:
    """Return an edit that takes the detail of an oval part in which there is some, as people hide faces.

    lower: takes that of a picture. Where none of so many parts that are tried has any, the last one is taken.
    """

    def edited(image: Image.Image, rng: Generator) -> Image.Image:
        for _ in range(TRIES):
            side = round(min(image.size) * rng.uniform(0.1, 0.22))
            x, y = (int(rng.uniform(0, whole - side)) for whole in image.size)
            part = image.crop((x, y, x + side, y + side))
            hidden = lower(part)
            taken = np.subtract(*(np.asarray(p.convert("L"), np.float64) for p in (part, hidden)))
            if np.sqrt(np.square(taken).mean()) >= DETAIL:
                break
        mask = Image.new("L", part.size)
        ImageDraw.Draw(mask).ellipse((0, 0, side - 1, side - 1), 255)
        changed = image.copy()
        changed.paste(hidden, (x, y), mask)
        return changed

    return edited


def smoothed(part: Image.Image) -> Image.Image:
    return part.filter(ImageFilter.GaussianBlur(part.width / 12))


def pixelated(part: Image.Image) -> Image.Image:
    return part.resize((7, 7), Image.Resampling.BOX).resize(part.size, Image.Resampling.NEAREST)


def recoloured_thing(image: Image.Image, rng: Generator) -> Image.Image:
    """Return it with an oval part in another colour."""
    w, h = (round(side * rng.uniform(0.2, 0.4)) for side in image.size)
    x, y = int(rng.uniform(0, image.width - w)), int(rng.uniform(0, image.height - h))
    hsv = np.array(image.crop((x, y, x + w, y + h)).convert("HSV"))
    hsv[..., 0] += int(rng.integers(60, 196))
    hsv[..., 1] = np.maximum(hsv[..., 1], 120)
    mask = Image.new("L", (w, h))
    ImageDraw.Draw(mask).ellipse((0, 0, w, h), 255)
    changed = image.copy()
    changed.paste(Image.fromarray(hsv, "HSV").convert("RGB"), (x, y), mask)
    return changed


def ticket(image: Image.Image, number: str, rng: Generator) -> Image.Image:
    """Return a page with a photo and a number on it."""
    page = Image.new("RGB", (620, 877), "white")
    draw = ImageDraw.Draw(page)
    page.paste(ImageOps.fit(image, (540, 200)), (40, 40))
    for row in range(12):
        draw.text((40, 280 + 40 * row), f"line {row}: {shape_edits.random_text(np.random.default_rng(row))}", "black",
                  ImageFont.load_default(18))  # fmt: skip
    draw.text((40, 800), f"No. {number}", "black", ImageFont.load_default(22))
    return page


KINDS: dict[str, Kind] = {
    "saved again": Kind(saved_again, True, None),
    "jpeg of low quality": Kind(lambda i, r: tone_edits.jpeg(i, r), True, None),
    "smaller": Kind(smaller, True, False),
    "messenger": Kind(messenger, True, False),
    "crop 50-90 %": Kind(part(0.5, 0.9), True, False),
    "crop 30 %": Kind(part(0.28, 0.32), True, False),
    "crop and smaller": Kind(chain(part(0.5, 0.9), smaller), True, False),
    "enlarged": Kind(enlarged, True, None),
    "shrunk and enlarged": Kind(shrunk_and_enlarged, True, False),
    "blurred": Kind(blurred, True, False),
    "grey": Kind(grey, True, False),
    "sepia": Kind(sepia, True, False),
    "gamma": Kind(brighter, True, None),
    "contrast": Kind(tone_edits.contrast, True, None),
    "white balance": Kind(tone_edits.white_balance, True, None),
    "photo filter": Kind(tone_edits.photo_filter, True, None),
    "noise": Kind(tone_edits.noise, True, None),
    "mirrored": Kind(shape_edits.mirror, True, None),
    "quarter turn": Kind(shape_edits.quarter_turn, True, None),
    "plain border": Kind(bordered, True, None),
    "plain bars": Kind(barred, True, None),
    "border and smaller": Kind(chain(bordered, smaller), True, False),
    "caption": Kind(content_edits.caption, False, False, changes=True),
    "caption and smaller": Kind(chain(content_edits.caption, smaller), False, False, changes=True),
    "caption and crop": Kind(chain(content_edits.caption, part(0.8, 0.95)), False, False, changes=True),
    "caption and jpeg": Kind(chain(content_edits.caption, tone_edits.jpeg), False, False, changes=True),
    "caption and grey": Kind(chain(content_edits.caption, grey), False, False, changes=True),
    "watermark": Kind(content_edits.watermark, False, False, changes=True),
    "sticker": Kind(content_edits.sticker, False, False, changes=True),
    "scribble": Kind(content_edits.scribble, False, False, changes=True),
    "part hidden": Kind(content_edits.hidden_part, None, False, changes=True),
    "faces hidden": Kind(content_edits.hidden_faces, None, False, changes=True),
    "part blurred": Kind(hidden_in_part(smoothed), None, False),
    "part pixelated": Kind(hidden_in_part(pixelated), None, False),
    "thing moved": Kind(moved_thing, False, False, changes=True),
    "thing recoloured": Kind(recoloured_thing, False, False, changes=True),
    "caption bar": Kind(shape_edits.caption_bar, False, None),
    "screenshot": Kind(shape_edits.screenshot, False, None),
    "collage": Kind(saved_again, False, None),
    "other number": Kind(saved_again, False, False),
    "animation": Kind(saved_again, True, False),
}


def photos_under(folder: Path) -> Iterator[Image.Image]:
    """Yield photos that are large enough, in an order that depends on nothing but their names."""
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"))
    for n in np.random.default_rng(SEED).permutation(len(paths)):
        with Image.open(paths[n]) as image:
            if max(image.size) >= SMALLEST and _is_colourful(image.convert("RGB")):
                yield ImageOps.exif_transpose(image).convert("RGB")


def _is_colourful(image: Image.Image) -> bool:
    """Return whether a grey version of a photo lacks something."""
    pixels = np.asarray(image.resize((64, 64)), np.int16)
    return float((pixels.max(2) - pixels.min(2)).mean()) > COLOURFUL


def pair_of(name: str, image: Image.Image, other: Image.Image, rng: Generator, stem: Path) -> None:
    """Write a photo and its version."""
    quality = int(rng.integers(75, 95))
    original, version = Path(f"{stem}-original.jpg"), Path(f"{stem}-version.jpg")
    if name == "animation":
        frames = [other.resize(image.size), ImageOps.mirror(image)]
        original = original.with_suffix(".webp")
        image.save(original, save_all=True, append_images=frames, duration=200, lossless=True)
        image.save(version.with_suffix(".png"))
        return
    if name == "other number":
        number = int(rng.integers(10000, 99999))
        page, changed = (ticket(image, str(n), rng) for n in (number, number + int(rng.choice([1, 5, 30, 700]))))
    elif name == "collage":
        page, changed = image, shape_edits.collage(image, rng, lambda _: other)
    else:
        image.save(original, quality=93)  # a version is made of a file
        page, changed = image, _changed(name, Image.open(original).convert("RGB"), rng)
    page.save(original, quality=93)
    changed.save(version, quality=quality)


def _changed(name: str, image: Image.Image, rng: Generator) -> Image.Image:
    """Return the version; one whose change can be seen, if it changes a part. Of a chain the first edit changes it."""
    kind = KINDS[name]
    if not kind.changes:
        return kind.edit(image, rng)
    first = KINDS[name.split(" and ")[0]]
    while True:
        state = rng.bit_generator.state
        version = kind.edit(image, rng)
        rng.bit_generator.state = state
        if np.asarray(difference_mask(image, first.edit(image, rng), visible=40)).mean() / 255 >= VISIBLE:
            return version


def contained_of(folder: Path, work: Path) -> tuple[dict[str, tuple[bool, bool]], set[str]]:
    """Return for each pair by its name: whether the version is contained in the original, and the other way round.

    The second are pairs in a group with other photos: files are compared with their keeper only.
    """
    db, found = work / "dedup.db", {}
    command = [sys.executable, "-m", "dedup"]
    scanned = subprocess.run([*command, "scan", os.path.realpath(folder), "--db", db, "--quiet"], check=False)
    if scanned.returncode not in (0, 3):
        sys.exit(f"dedup scan failed with {scanned.returncode}")
    groups: dict[str, set[str]] = {}
    for row in exported("groups", command, work):
        groups.setdefault(row["group"], set()).add(_name(row["path"])[0])
    for row in exported("pairs", command, work):
        left, right = _name(row["path_a"]), _name(row["path_b"])
        if left[0] == right[0] and row["relation"] in ("exact", "identical", "copy"):
            first, second = ANSWERS[row["contained"]]
            found[left[0]] = (first, second) if left[1].startswith("version") else (second, first)
    return found, {name for names in groups.values() if len(names) > 1 for name in names}


def exported(table: str, command: list[str], work: Path) -> list[dict[str, str]]:
    """Return the rows of a table of the last scan."""
    target = work / f"{table}.csv"
    subprocess.run([*command, "export", table, "--db", work / "dedup.db", "--output", target], check=True)
    with target.open(newline="", encoding="utf-8") as f:
        return list(csv.DictReader(f))


def _name(cell: str) -> tuple[str, str]:
    """Return the number of a file's pair, and what it is of it."""
    number, role = Path(value_of(cell)).name.rsplit("-", 1)
    return number, role


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--edits", default=",".join(KINDS), help="of these kinds alone")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    work = args.output or Path(tempfile.mkdtemp())
    folder = work / "pairs"
    folder.mkdir(parents=True, exist_ok=True)
    names = args.edits.split(",")
    if not set(names) <= KINDS.keys():
        sys.exit(f"no such edit: {', '.join(set(names) - KINDS.keys())}")
    images = photos_under(args.photos)
    other, made = next(images, None), {}
    if other is None:
        sys.exit(f"{args.photos}: no photo in colour of {SMALLEST} pixels or more")
    for n, image in enumerate(islice(images, args.pairs)):
        name = names[n % len(names)]
        pair_of(name, image, other, np.random.default_rng([SEED, n]), folder / f"{n:04}")
        made[f"{n:04}"], other = name, image
    found, crowded = contained_of(folder, work)
    made = {n: name for n, name in made.items() if n not in crowded}
    wrong = report(made, found)
    with (work / "wrong.csv").open("w", newline="", encoding="utf-8") as f:
        csv.writer(f).writerows(wrong)
    print(
        f"\n{len(crowded)} pairs in a group with other photos are left out. The tables and wrong.csv are in {work}",
        file=sys.stderr,
    )


def report(made: dict[str, str], found: dict[str, tuple[bool, bool]]) -> list[list[object]]:
    """Print the tables, and return the pairs that are wrong: number, edit, what was said, whether it was found."""
    wrong: list[list[object]] = []
    print("| edit | pairs | one photograph | right | wrongly contained | wrongly not contained |")
    print("|---|---:|---:|---:|---:|---:|")
    every = np.zeros(5, int)
    for name, kind in KINDS.items():
        numbers = [n for n, edit in made.items() if edit == name]
        truth = (kind.version_in_original, kind.original_in_version)
        rights = too_much = too_little = 0
        for n in numbers:
            said = found.get(n, (False, False))
            much = any(s and t is False for s, t in zip(said, truth, strict=True))
            little = any(not s and t for s, t in zip(said, truth, strict=True))
            too_much, too_little, rights = too_much + much, too_little + little, rights + (not much and not little)
            if much or little:
                wrong.append([n, name, *said, n in found])
        row = [len(numbers), sum(n in found for n in numbers), rights, too_much, too_little]
        every += row
        print(f"| {name} | " + " | ".join(str(v) for v in row) + " |")
    print("| all | " + " | ".join(str(v) for v in every) + " |")
    print(f"\nright: {every[2] / every[0]:.1%}")
    return wrong


if __name__ == "__main__":
    main()
