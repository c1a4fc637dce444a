"""A scan adds its folders to the collection; folders that are absent are reported and not forgotten."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from dedup.store.store import Store

Dedup = Callable[..., Result]


@pytest.fixture
def two(album: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Two folders: the album, and a backup with exact copies of three of its photos, two of them the same."""
    backup = tmp_path / "Backup"
    backup.mkdir()
    shutil.copy(album / "garden.png", backup / "garden.png")
    shutil.copy(album / "garden.png", backup / "garden again.png")
    return album, backup


def paths(dedup: Dedup, table: str = "photos") -> set[str]:
    return {line.split(",")[0] for line in dedup("export", table).stdout.splitlines()[1:]}


def test_second_folder_does_not_hide_the_first(dedup: Dedup, two: tuple[Path, Path]) -> None:
    album, backup = two
    dedup("scan", album)
    said = dedup("scan", backup).stdout
    assert f"{backup / 'garden.png'}" in paths(dedup)
    assert f"{album / 'garden.png'}" in paths(dedup)
    assert "2 of them in another folder than their keeper" in said
    assert all(str(root) in dedup("status").stdout for root in two)


def test_only_looks_at_the_named_folders_alone(dedup: Dedup, two: tuple[Path, Path]) -> None:
    album, backup = two
    dedup("scan", album)
    said = dedup("scan", "--only", backup).stdout
    assert paths(dedup) == {str(backup / "garden.png"), str(backup / "garden again.png")}
    assert "of them in another folder" not in said
    dedup("scan", backup)
    assert str(album / "garden.png") in paths(dedup)


def test_forgotten_root_is_no_longer_scanned(dedup: Dedup, two: tuple[Path, Path]) -> None:
    album, backup = two
    dedup("scan", album, backup)
    dedup("forget", album)
    dedup("scan", backup)
    assert paths(dedup) == {str(backup / "garden.png"), str(backup / "garden again.png")}
    dedup("forget", backup)
    assert "roots: none" in dedup("status").stdout


@pytest.mark.parametrize("empty", [True, False], ids=["empty", "gone"])
def test_absent_root_is_a_warning_and_not_forgotten(dedup: Dedup, two: tuple[Path, Path], empty: bool) -> None:
    album, backup = two
    dedup("scan", album, backup)
    backup.rename(backup.with_name("unplugged"))
    if empty:
        backup.mkdir()
    done = dedup("scan", album)
    assert f"Warning: {backup}: {'empty' if empty else 'missing'}, but the database has photos of it: 2" in done.stderr
    refused = dedup("scan", album, "--expect-mounted", code=1)
    assert refused.stderr.startswith(f"Error: {backup}: ")
    shutil.rmtree(backup, ignore_errors=True)
    backup.with_name("unplugged").rename(backup)
    assert "; 0 new;" in dedup("scan", album).stdout
    assert str(backup / "garden.png") in paths(dedup)


def test_folder_that_nobody_knows_is_still_an_error(dedup: Dedup, album: Path, tmp_path: Path) -> None:
    assert "no such file or folder" in dedup("scan", album, tmp_path / "nowhere", code=2).stderr


def test_relocated_folder_is_known_at_its_new_path_and_nothing_is_read_again(
    dedup: Dedup, two: tuple[Path, Path], tmp_path: Path
) -> None:
    album, backup = two
    for path in (*album.rglob("*"), *backup.iterdir()):
        os.utime(path, (1_500_000_000, 1_500_000_000))
    dedup("scan", album, backup, "--protect", album, "--exclude", "*.txt", "-q")
    before = dedup("export").stdout
    (tmp_path / "mnt").mkdir()
    new = tmp_path / "mnt/album"
    album.rename(new)
    said = dedup("relocate", album, new).stdout
    assert said == f"{album} -> {new}: 13 files\n"
    moved = before.replace(str(album), str(new))
    assert sorted(dedup("export").stdout.splitlines()) == sorted(moved.splitlines())
    assert "0 files to remove" not in dedup("apply").stdout
    assert str(album) not in dedup("status").stdout
    with Store(str(tmp_path / "test.db")) as store:
        assert {f.path for f in store.roots.files_below(str(new))} == {str(p) for p in new.rglob("*") if p.is_file()}
        old = [f for root in (new, backup) for f in store.roots.files_below(str(root))]
    assert all((f.inode, f.ctime_ns) == (os.stat(f.path).st_ino, os.stat(f.path).st_ctime_ns) for f in old)


def test_file_that_changed_with_its_folder_is_read_again(dedup: Dedup, album: Path, tmp_path: Path) -> None:
    dedup("scan", album, "-q")
    new = tmp_path / "new"
    album.rename(new)
    (new / "garden.png").write_bytes((new / "garden.png").read_bytes() + b"more")
    (new / "garden.tif").unlink()
    assert dedup("relocate", album, new).stdout.endswith("13 files; 2 of them changed or missing\n")
    dedup("scan", new, "-q")
    assert {Path(path).name for path in paths(dedup)} == {p.name for p in new.rglob("*") if p.is_file()} - {"notes.txt"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["{album}", "{tmp}/nowhere"], "no such folder; mount the disk first"),
        (["{tmp}/unknown", "{album}"], "the database knows no files there"),
        (["{album}", "{album}"], "one is inside the other"),
    ],
)
def test_relocation_that_makes_no_sense_is_refused(
    dedup: Dedup, album: Path, tmp_path: Path, words: list[str], says: str
) -> None:
    dedup("scan", album, "-q")
    assert says in dedup("relocate", *(w.format(album=album, tmp=tmp_path) for w in words), code=2).stderr
