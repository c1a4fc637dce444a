"""What a user may not read or write. Skipped as root; `.ci/run` runs these as an ordinary user."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result

Dedup = Callable[..., Result]
pytestmark = pytest.mark.permissions


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Callable[[Path, int], None]]:
    """Return a function that changes the permissions of a file or folder until the end of the test."""
    changed: dict[Path, int] = {}

    def close(path: Path, mode: int) -> None:
        changed[path] = path.stat().st_mode
        path.chmod(mode)

    yield close
    for path, mode in changed.items():
        path.chmod(mode)


def test_file_that_may_not_be_read_is_skipped_with_the_reason(
    dedup: Dedup, album: Path, closed: Callable[[Path, int], None]
) -> None:
    closed(album / "garden.png", 0)
    dedup("scan", album, "-q", code=3)
    assert "permission denied" in dedup("export", "skipped").stdout.lower()
    assert "harbour" in dedup("export", "groups").stdout  # the rest is there


def test_apply_in_a_folder_that_may_not_be_written_changes_nothing(
    dedup: Dedup, album: Path, tmp_path: Path, closed: Callable[[Path, int], None]
) -> None:
    dedup("scan", album, "-q")
    for folder in (album, *(p for p in album.rglob("*") if p.is_dir())):
        closed(folder, 0o555)
    before = {p: p.read_bytes() for p in album.rglob("*") if p.is_file()}
    result = dedup("apply", "--to", tmp_path / "Away", "--yes", code=3)
    assert {p: p.read_bytes() for p in album.rglob("*") if p.is_file()} == before
    assert "permission denied" in result.output.lower()
    assert not [p for p in (tmp_path / "Away").rglob("*") if p.is_file()]


def test_database_that_may_not_be_written_is_one_line(
    album: Path, tmp_path: Path, closed: Callable[[Path, int], None]
) -> None:
    (tmp_path / "locked").mkdir()
    closed(tmp_path / "locked", 0o555)
    words = [sys.executable, "-m", "dedup", "scan", str(album), "--db", str(tmp_path / "locked" / "a.db")]
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ | {"HOME": str(tmp_path)}, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"Error: {tmp_path}/locked")
