"""The main job on real photos that are not part of the repository."""

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import pytest
from click.testing import Result

pytestmark = [pytest.mark.shared, pytest.mark.slow]


def test_album_is_told_apart_well(dedup: Callable[..., Result], shared: Path, tmp_path: Path) -> None:
    album = shared / "data" / "album"
    dedup("scan", album / "photos", "--quiet")
    dedup("export", "pairs", "-o", tmp_path / "pairs.csv")
    score = [sys.executable, shared / "bench" / "score.py", album / "truth.csv", tmp_path / "pairs.csv"]
    words = [*score, "--root", album / "photos", "--json"]
    figures = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)
    assert figures["lenient"]["uAP"] > 0.97
    assert figures["lenient"]["R@P99"] > 0.85
    assert figures["unknown_pairs"] == 0


def test_odd_and_damaged_files_are_each_a_photo_or_skipped_and_nothing_is_printed(shared: Path, tmp_path: Path) -> None:
    root, db = shared / "data" / "formats", tmp_path / "formats.db"
    command = [
        sys.executable,
        "-m",
        "dedup",
        "scan",
        str(root),
        "--db",
        str(db),
        "--no-verify",
    ]  # for the time it takes
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (3, "")

    def rows(table: str) -> list[dict[str, str]]:
        words = [sys.executable, "-m", "dedup", "export", table, "--db", str(db)]
        return list(
            csv.DictReader(io.StringIO(subprocess.run(words, capture_output=True, text=True, check=True).stdout))
        )

    photos, skipped = ({r["path"] for r in rows(table)} for table in ("photos", "skipped"))
    assert all(r["reason"] for r in rows("skipped"))
    found = {os.path.join(folder, name) for folder, _, names in os.walk(root) for name in names}
    assert not photos & skipped
    assert photos | skipped == found

    # Stored in all eight orientations, each with its number drawn into the middle.
    relations = {(Path(r["path_a"]).name, Path(r["path_b"]).name): r["relation"] for r in rows("pairs")}
    for picture in ("landscape", "portrait"):
        for pair in combinations((f"{picture}_{n}.jpg" for n in range(1, 9)), 2):
            assert relations[pair] == "copy", pair
