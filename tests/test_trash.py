"""The trash of macOS and of Windows: folders and records as these systems lay them, made here on Linux."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from test_actions import act, failures, photos, runs, steps_of, tree, undo_run

from dedup.actions import trash
from dedup.actions.trash import Contents, original_path

__all__ = ["photos", "runs"]  # fixtures

PATH = "C:\\Users\\Ana\\Bilder\\Strand \N{GRINNING FACE} \N{LATIN SMALL LETTER U WITH DIAERESIS}.jpg"
SIZE, DELETED = (999).to_bytes(8, "little"), (133_800_000_000_000_000).to_bytes(8, "little")  # 100 ns since 1601


def record(path: str, version: int) -> bytes:
    text = path.encode("utf-16-le", "surrogatepass")
    if version == 1:
        return (1).to_bytes(8, "little") + SIZE + DELETED + text.ljust(520, b"\0")
    length = (len(text) // 2 + 1).to_bytes(4, "little")
    return (2).to_bytes(8, "little") + SIZE + DELETED + length + text + b"\0\0"


@pytest.mark.parametrize("version", [1, 2])
def test_record_of_windows_says_where_the_file_was(version: int) -> None:
    made = record(PATH, version)
    assert original_path(made) == PATH
    assert len(record("C:\\a.jpg", 1)) == 544
    lone = "C:\\a\ud83d.jpg"  # half of a surrogate pair: Windows allows it in a name
    assert original_path(record(lone, version)) == lone
    assert original_path(record("\\\\nas\\photos\\a.jpg", version)) == "\\\\nas\\photos\\a.jpg"
    for cut in range(len(made)):
        found = original_path(made[:cut]).encode("utf-16-le", "surrogatepass")  # of a record that a crash cut short
        assert PATH.encode("utf-16-le").startswith(found)


def test_what_is_no_record_names_no_file() -> None:
    for data in (b"", b"\1", b"JFIF" * 200, (3).to_bytes(8, "little") + record(PATH, 2)[8:]):
        assert original_path(data) == ""


def windows(volume: Path, version: int) -> Callable[[str], None]:
    """Return what moves a file to the recycle bin of one user on a volume."""
    folder = volume / "$Recycle.Bin" / "S-1-5-21-1-2-3-1001"
    folder.mkdir(parents=True)
    (folder / "desktop.ini").write_text("[.ShellClassInfo]")
    (volume / "$Recycle.Bin" / "S-1-5-18").mkdir()

    def send(path: str) -> None:
        name = f"{len(list(folder.iterdir())):06}{os.path.splitext(path)[1]}"
        (folder / f"$I{name}").write_bytes(record(path.upper(), version))  # names of other letters are the same there
        os.rename(path, folder / f"$R{name}")

    return send


def macos(folder: Path) -> Callable[[str], None]:
    """Return what moves a file to a trash without records."""
    folder.mkdir(parents=True)
    (folder / ".DS_Store").write_bytes(b"Bud1")
    (folder / "a folder").mkdir()

    def send(path: str) -> None:
        stem, suffix = os.path.splitext(os.path.basename(path))
        target, n = folder / f"{stem}{suffix}", 2
        while target.exists():
            target, n = folder / f"{stem} {n}{suffix}", n + 1
        os.rename(path, target)

    return send


@pytest.fixture
def volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a test as a volume of its own."""
    monkeypatch.setattr(os.path, "ismount", lambda path: str(path) in ("/", str(tmp_path)))
    return tmp_path


@pytest.mark.parametrize("layout", ["Vista", "Windows 11", "home of macOS", "disk of macOS"])
def test_undo_finds_what_went_to_the_trash_of_other_systems(
    layout: str, photos: Path, runs: Path, volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = volume / "xdg/Trash"
    send = {
        "Vista": lambda: windows(volume, 1),
        "Windows 11": lambda: windows(volume, 2),
        "home of macOS": lambda: macos(home),
        "disk of macOS": lambda: macos(volume / ".Trashes" / str(os.getuid())),
    }[layout]()
    monkeypatch.setattr(sys, "platform", "darwin" if "macOS" in layout else "win32")
    monkeypatch.setattr(trash, "send2trash", send)
    (photos / "a2.jpg").write_bytes(b"thrown away before")
    send(str(photos / "a2.jpg"))
    (photos / "a2.jpg").write_bytes(b"A" * 999)
    before, others = tree(photos), tree(volume)
    steps = steps_of(photos)
    assert failures(act(steps, "trash", runs)) == []
    assert sorted(tree(photos)) == ["a.jpg", "b.jpg", "other.jpg"]
    assert failures(undo_run(runs, home)) == []
    assert tree(photos) == before
    assert {name for name in tree(volume) if "x.db" not in name and "locks" not in name} == others.keys()


def test_file_of_macos_is_found_by_its_time_where_a_disk_numbers_anew(
    volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """exFAT has no inodes: a file that moves gets another number."""
    monkeypatch.setattr(sys, "platform", "darwin")
    folder = volume / ".Trashes" / str(os.getuid())
    folder.mkdir(parents=True)
    for n, name in enumerate(("a.jpg", "b.jpg")):
        (folder / name).write_bytes(b"x")
        os.utime(folder / name, ns=(5, 1_700_000_000_000_000_000 + n))
    found = Contents(str(volume / "none"))
    places = found.find(str(volume / "a.jpg"), inode=1, mtime_ns=1_700_000_000_000_000_001)
    assert places == [(str(folder / "b.jpg"), "")]


@pytest.mark.permissions
def test_trash_that_macos_keeps_from_the_terminal_is_named(
    photos: Path, runs: Path, volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = volume / "xdg/Trash"
    send = macos(home)
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(trash, "send2trash", send)
    before = tree(photos)
    home.chmod(0o300)
    (first, *_) = failures(act(steps_of(photos), "trash", runs))
    home.chmod(0o700)
    assert first.endswith(
        "cannot be read (Permission denied); give the terminal Full Disk Access in the privacy settings"
    )
    assert tree(photos) == before
