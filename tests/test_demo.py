import csv
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from dedup.cli import demo_album
from dedup.cli.demo_album import PHOTOS, photo

Dedup = Callable[..., Result]


def rows(dedup: Dedup, table: str, folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(dedup("export", table, "--db", folder / "dedup.db").stdout)))


def test_demo_finds_every_edit_and_nothing_else(dedup: Dedup, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    result = dedup("demo", folder, "--no-browser")
    assert result.stdout.splitlines()[1:] == [
        "        4 groups with 6 duplicates, " + result.stdout.splitlines()[1].split("duplicates, ")[1],
        "        2 variants: the kept files do not show all of them, and --include variant counts them",
        "        1 folder with no photo but duplicates (dedup export folders)",
        f"Report: {folder}/report.html",
        "Next: dedup scan ~/Photos -o report.html",
    ]
    found: dict[str, dict[str, str]] = {}
    for row in rows(dedup, "groups", folder):
        found.setdefault(Path(row["keeper"]).name, {})[Path(row["path"]).name] = row["relation"]
    assert found == {
        "IMG_2107.jpg": {"IMG_2107.jpg": "", "coffee.jpg": "exact", "coffee with caption.jpg": "variant"},
        "IMG_2113.jpg": {"IMG_2113.jpg": "", "IMG-20240613-WA0004.jpg": "copy", "cat cropped.jpg": "copy"},
        "IMG_2119.jpg": {"IMG_2119.jpg": "", "astronaut mirrored.jpg": "copy", "astronaut black and white.jpg": "copy"},
        "IMG_2125.jpg": {
            "IMG_2125.jpg": "",
            "rocket thumbnail.jpg": "copy",
            "Screenshot_20240615-2114.png": "variant",
        },
    }
    assert '<b class="number">6</b> duplicates' in (folder / "report.html").read_text(
        encoding="utf-8"
    )  # as the command says
    assert "IMG_2107.jpg" in (folder / "report.html").read_text(encoding="utf-8")
    assert not (tmp_path / "test.db").exists()  # the user's own
    assert {p.name for p in folder.iterdir()} == {"Photos", "dedup.db", "dedup.db.lock", "report.html"}


def test_folder_that_is_there_is_left_alone(dedup: Dedup, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    result = dedup("demo", tmp_path / "mine", "--no-browser", code=2)
    assert result.stderr == (f"Error: {tmp_path}/mine: already exists; choose another: dedup demo FOLDER\n")
    assert list((tmp_path / "mine").iterdir()) == []


def test_folder_that_cannot_be_made_is_one_line(dedup: Dedup, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = dedup("demo", tmp_path / "file" / "new", "--no-browser", code=1)
    assert "cannot be written (Not a directory); choose another" in result.stderr


def test_every_photo_has_its_origin_and_terms() -> None:
    folder = Path(demo_album.__file__).parent / "demo_photos"
    rows = dict(
        re.findall(r"^\| `(\w+)\.jpg` \|.*\| ([\w ]+) \|$", (folder / "README.md").read_text("utf-8"), re.MULTILINE)
    )
    assert rows.keys() == set(PHOTOS) == {p.stem for p in folder.glob("*.jpg")}
    assert set(rows.values()) == {"CC0", "public domain"}
    assert sum(p.stat().st_size for p in folder.iterdir()) < 500_000
    assert min(photo(name).width for name in PHOTOS) > 400


@pytest.mark.parametrize(
    ("display", "words", "opened"), [(":0", "", True), (":0", "--no-browser", False), ("", "", False)]
)
def test_report_opens_where_there_are_a_terminal_and_a_display(
    tmp_path: Path, display: str, words: str, opened: bool
) -> None:
    script = shutil.which("script")
    if script is None:
        pytest.skip("script(1) is not here to make a terminal")
    browser, told = tmp_path / "browser", tmp_path / "told"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {shlex.quote(str(told))}\n')
    browser.chmod(0o755)
    command = f"{sys.executable} -m dedup demo {shlex.quote(str(tmp_path / 'a b'))} {words}"
    environment = os.environ | {"BROWSER": str(browser), "DISPLAY": display, "WAYLAND_DISPLAY": ""}
    subprocess.run([script, "-qec", command, "/dev/null"], env=environment, capture_output=True, check=True)
    assert told.exists() == opened
    assert not opened or told.read_text() == (tmp_path / "a b" / "report.html").as_uri()
