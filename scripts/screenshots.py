"""Make docs/report.png and docs/review.png from the album of `dedup demo`: `python scripts/screenshots.py`.

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

from PIL import Image
from playwright.sync_api import Page, sync_playwright

DOCS = Path(__file__).resolve().parents[1] / "docs"
HEIGHTS = {"report": 1170, "review": 960}


def pages(work: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and address of the report, then of a review, which is served until the next step."""
    dedup = [sys.executable, "-m", "dedup"]
    subprocess.run([*dedup, "demo", str(work), "--no-browser"], check=True)
    yield "report", (work / "report.html").as_uri()
    review = [*dedup, "review", "--no-browser", "--db", str(work / "dedup.db")]
    with subprocess.Popen(review, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield "review", server.stdout.readline().strip()
        server.terminate()


def arrange(page: Page, name: str) -> None:
    """Scroll and click to the part that the screenshot shows."""
    if name == "report":
        page.get_by_role("searchbox").fill("astronaut")
        page.locator("details.explain:visible").first.locator("summary").click()
        return
    for _ in range(2):
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
    home = Path(tempfile.gettempdir()) / "dedup-demo"  # not a random name, since the pictures show it
    if home.exists():
        sys.exit(f"{home}: already exists; remove it first")
    try:
        shoot(home, chromium)
    finally:
        shutil.rmtree(home)


if __name__ == "__main__":
    main()
