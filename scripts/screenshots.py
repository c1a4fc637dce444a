"""Make docs/report.png and docs/review.png anew, from pictures that are drawn here: `python scripts/screenshots.py`.

Needs the extras `review` and `browser`, and a Chromium.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps
from playwright.sync_api import Page, sync_playwright

DOCS = Path(__file__).resolve().parents[1] / "docs"
SIZE = (1500, 1000)
HEIGHTS = {"report": 1170, "review": 960}
NAMES = "Coast road,Evening,Harbour light,Lake at dawn,Meadow,North face,Pines,Ridge,Three hills".split(",")
SKIES = (  # top, bottom, hills at the back, hills in front
    ((236, 110, 104), (250, 206, 178), (158, 146, 122), (58, 84, 70)),
    ((96, 158, 214), (226, 238, 244), (140, 164, 176), (44, 78, 92)),
    ((62, 28, 92), (232, 148, 168), (166, 96, 82), (18, 76, 62)),
    ((34, 58, 108), (244, 190, 120), (112, 98, 122), (24, 34, 54)),
    ((130, 196, 196), (246, 240, 214), (148, 172, 132), (50, 96, 60)),
)

Colour = tuple[int, int, int]


def landscape(seed: int) -> Image.Image:
    """Return a view of hills, a sun and some birds; another seed, another view."""
    rng = np.random.default_rng(seed)
    top, bottom, back, front = (np.array(c) for c in SKIES[seed % len(SKIES)])
    w, h = SIZE
    down = np.linspace(0, 1, h)[:, None, None]
    image = Image.fromarray(np.broadcast_to(top + (bottom - top) * down, (h, w, 3)).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    x, y = rng.uniform(0.15, 0.85) * w, rng.uniform(0.18, 0.42) * h
    draw.ellipse((x - 55, y - 55, x + 55, y + 55), (255, 244, 220))
    image = image.filter(ImageFilter.GaussianBlur(3))
    draw = ImageDraw.Draw(image)
    for n in range(int(rng.integers(3, 8))):
        x, y, size = rng.uniform(0.1, 0.9) * w, rng.uniform(0.08, 0.35) * h, 10 + 3 * n
        for way in (-1, 1):
            draw.arc((x + (way - 1) * size, y, x + (way + 1) * size, y + size), 200, 340, (60, 50, 60), 3)
    for layer in np.linspace(0, 1, 4):
        line = ridge(rng, w) * (0.1 + 0.06 * layer) * h + (0.48 + 0.14 * layer) * h
        colour = tuple(int(v) for v in back + (front - back) * layer)
        draw.polygon([(0, h), *zip(range(w), line.tolist(), strict=True), (w, h)], colour)
        for x in rng.integers(0, w, int(26 * layer)).tolist():
            tree(draw, x, line[x] + rng.uniform(0, 60), (26 + 50 * rng.uniform()) * (0.4 + layer), colour)
    grain = rng.normal(0, 5, (h, w, 1))
    return Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8))


def ridge(rng: np.random.Generator, width: int) -> np.ndarray:
    """Return the height of a line of hills at each x, about -1 to 1."""
    x = np.arange(width) / width
    waves = (rng.normal() / k * np.sin(2 * np.pi * (k * x + rng.uniform())) for k in (1, 2, 3, 5, 8, 13, 34, 55))
    return np.asarray(sum(waves))


def tree(draw: ImageDraw.ImageDraw, x: float, y: float, size: float, colour: tuple[int, ...]) -> None:
    dark = tuple(int(0.6 * v) for v in colour)
    draw.polygon([(x, y - size), (x - size / 3, y), (x + size / 3, y)], dark)


def taken(at: str) -> Image.Exif:
    exif = Image.Exif()
    exif.update({271: "Lumen", 272: "X2"})
    exif.get_ifd(34665)[36867] = at
    return exif


def make_album(folder: Path) -> None:
    """Fill the folder with nine photos, what became of them on the way, and some more."""
    for name in ("2019 Summer", "Old laptop/Pictures", "Messenger"):
        (folder / name).mkdir(parents=True)
    for n, name in enumerate(NAMES):
        photo, path = landscape(n), folder / "2019 Summer" / f"{name}.jpg"
        photo.save(path, quality=92, exif=taken(f"2019:07:{7 + n:02} 17:24:00"))
        if n % 3 != 1:
            photo.resize((800, 533)).save(folder / "Messenger" / f"IMG-201907{16 + n}-WA000{n}.jpg", quality=50)
        if n % 3 == 1:
            shutil.copy(path, folder / "Old laptop/Pictures" / path.name)
        if n % 4 == 0:
            ImageOps.mirror(photo).resize((1200, 800)).save(folder / "Old laptop/Pictures" / f"{name} mirrored.png")
        if n % 4 == 2:
            photo.crop((150, 60, 1420, 930)).save(folder / "Old laptop/Pictures" / f"{name} cropped.jpg", quality=88)
    for n in range(9):
        landscape(100 + n).save(folder / "2019 Summer" / f"IMG_{4410 + n}.jpg", quality=90)
    for n, path in enumerate(sorted(folder.rglob("*.*"))):
        os.utime(path, (1_563_000_000 + 1000 * n,) * 2)


def pages(work: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and address of the report, then of a review, which is served meanwhile."""
    dedup = [sys.executable, "-m", "dedup"]
    db = ["--db", str(work / "photos.db")]
    subprocess.run([*dedup, "scan", str(work / "Photos"), "-q", "-o", str(work / "report.html"), *db], check=True)
    yield "report", (work / "report.html").as_uri()
    with subprocess.Popen([*dedup, "review", "--no-browser", *db], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield "review", server.stdout.readline().strip()
        server.terminate()


def arrange(page: Page, name: str) -> None:
    """Bring the page to where there is something to see."""
    if name == "report":
        page.locator("details.why").first.locator("summary").click()
        return
    for _ in range(4):
        page.keyboard.press("Enter")
        page.wait_for_timeout(300)
    page.wait_for_timeout(2000)


def shoot(home: Path, chromium: str | None) -> None:
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=["--no-sandbox"] if os.getuid() == 0 else [])
        for name, address in pages(home):
            page = browser.new_page(viewport={"width": 1280, "height": HEIGHTS[name]})
            page.goto(address)
            arrange(page, name)
            page.mouse.move(0, 0)
            page.screenshot(path=DOCS / f"{name}.png")
            with Image.open(DOCS / f"{name}.png") as shot:
                shot.convert("RGB").quantize(256).save(DOCS / f"{name}.png", optimize=True)
        browser.close()


def main() -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    home = Path(tempfile.gettempdir()) / "ann"  # not a random name: it is to be read in the pictures
    home.mkdir()
    try:
        make_album(home / "Photos")
        shoot(home, chromium)
    finally:
        shutil.rmtree(home)


if __name__ == "__main__":
    main()
