#!/usr/bin/env python3
"""Make docs/seed.png and docs/compare.png: `python scripts/draw_figures.py`. Needs the extra `bench`; two minutes.

The first shows the features of network (b) of scripts/reproduce_seed.py, trained on drawn pictures. The second is what
`dedup compare --figure` draws of a photo of `dedup demo` and an edited copy.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageOps

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests"))

from album import scene  # noqa: E402
from reproduce_seed import ROWS, SEED, SIDE, Answer, accuracy, draw_pairs, explain, train  # noqa: E402

from dedup.cli.demo_album import photo  # noqa: E402
from dedup.cli.main import main  # noqa: E402

PICTURES, HELD, PASSES = 600, 120, 40


def draw_seed(path: Path) -> float:
    """Train network (b) on drawn pictures, draw its features of others; return its accuracy on those."""
    pictures = np.stack([np.asarray(scene(1000 + n).resize((SIDE, SIDE))) for n in range(PICTURES)])
    row = next(row for row in ROWS if row.name.startswith("(b)"))
    exam = draw_pairs(pictures[:HELD], np.random.default_rng(SEED + 1))
    torch.manual_seed(SEED)
    network = row.make()
    assert isinstance(network, Answer)
    train(network, pictures[HELD:], np.random.default_rng(SEED + 2), passes=PASSES, rate=row.rate)
    explain(network, exam, path, rows=4)
    return accuracy(network, exam)


def edited(picture: Image.Image) -> Image.Image:
    """Return the picture mirrored, cropped, paler, smaller, and with a bar across it."""
    w, h = picture.size
    copy = ImageOps.mirror(picture).crop((w // 10, h // 8, w, h))
    copy = Image.blend(copy, Image.new("RGB", copy.size, "white"), 0.2)
    ImageDraw.Draw(copy).rectangle((0, copy.height * 7 // 8, copy.width, copy.height), "black")
    return copy.resize((copy.width * 2 // 3, copy.height * 2 // 3))


def draw_compare(path: Path) -> None:
    picture = photo("coffee")
    with tempfile.TemporaryDirectory() as folder:
        names = [str(Path(folder, name)) for name in ("photo.jpg", "copy.jpg", "why.png")]
        picture.save(names[0], quality=92)
        edited(picture).save(names[1], quality=60)
        main(["compare", *names[:2], "--figure", names[2]], standalone_mode=False)
        Image.open(names[2]).quantize(256).save(path, optimize=True)


if __name__ == "__main__":
    draw_compare(ROOT / "docs" / "compare.png")
    print(f"network (b) on drawn pictures: {draw_seed(ROOT / 'docs' / 'seed.png'):.1%}")
