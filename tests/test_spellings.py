"""Folders and globs that a user spells in another way than the scan: by a link, or in another Unicode form."""

import os
import unicodedata
from pathlib import Path

import pytest

from dedup.errors import BadUsage
from dedup.files.spellings import as_scanned, existing_folders, spelled_globs
from dedup.files.walk import folder, walk
from dedup.grouping.ranking import preference, protected
from dedup.types.photo import File
from dedup.types.settings import Settings

NFC = unicodedata.normalize("NFC", "Été à la mer")
NFD = unicodedata.normalize("NFD", NFC)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder `data` with an archive, a link `door` to it, and a link `other door`."""
    (tmp_path / "data/archive [1]").mkdir(parents=True)
    for name in ("archive [1]/a.jpg", "b.jpg"):
        (tmp_path / "data" / name).write_bytes(b"x")
    for name in ("door", "other door"):
        (tmp_path / name).symlink_to(tmp_path / "data")
    return tmp_path


@pytest.mark.parametrize("root", ["data", "door", "data/archive [1]"])
@pytest.mark.parametrize("spelled", ["data/archive [1]", "door/archive [1]", "other door/archive [1]"])
def test_protected_folder_is_protected_by_any_path_to_it(data: Path, root: str, spelled: str) -> None:
    roots = [str(data / root)]
    settings = as_scanned(Settings(protect=existing_folders([str(data / spelled)])), roots)
    found = {f.path: protected(f.path, settings) for f in walk(roots)}
    assert {path for path, safe in found.items() if safe} == {path for path in found if "archive" in path}
    assert found


@pytest.mark.parametrize("root", ["data", "door"])
@pytest.mark.parametrize("spelled", ["data/archive [[]1]", "door/archive [[]1]", "other door/archive*"])
def test_glob_with_an_absolute_path_matches_by_any_path(data: Path, root: str, spelled: str) -> None:
    roots = [str(data / root)]
    globs = spelled_globs([str(data / spelled)], roots)
    assert [Path(f.path).name for f in walk(roots, exclude=globs)] == ["b.jpg"]
    preferred = {
        Path(f.path).name: preference(f.path, as_scanned(Settings(prefer=(str(data / spelled),)), roots))
        for f in walk(roots)
    }
    assert preferred == {"a.jpg": -1, "b.jpg": 0}


@pytest.mark.parametrize(("on_disk", "typed"), [(NFC, NFD), (NFD, NFC)])
def test_names_match_in_either_unicode_form(tmp_path: Path, on_disk: str, typed: str) -> None:
    (tmp_path / on_disk).mkdir()
    (tmp_path / on_disk / "a.jpg").write_bytes(b"x")
    (found,) = walk([str(tmp_path)])
    assert isinstance(found, File)
    assert list(walk([str(tmp_path)], exclude=(typed,))) == []
    assert list(walk([str(tmp_path)], exclude=(f"{typed[:-1]}?",))) == []
    assert preference(found.path, Settings(avoid=(typed,))) == 1
    assert protected(found.path, Settings(protect=existing_folders([str(tmp_path / typed)])))


def test_protected_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadUsage, match="no such folder; nothing would be protected"):
        existing_folders([str(tmp_path / "nowhere/below")])


def test_folders_are_spelled_as_on_a_disk_that_does_not_tell_cases_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS, where realpath() gives a path back as it was typed."""
    (tmp_path / "Photos/Keep").mkdir(parents=True)
    (tmp_path / "photos 2").mkdir()

    def found(path: str) -> str:
        return next((str(p) for p in [*tmp_path.rglob("*"), Path(path)] if str(p).lower() == path.lower()), path)

    real = os.path.exists, os.path.isdir, os.path.samefile
    monkeypatch.setattr(os.path, "exists", lambda path: real[0](found(str(path))))
    monkeypatch.setattr(os.path, "isdir", lambda path: real[1](found(str(path))))
    monkeypatch.setattr(os.path, "samefile", lambda one, other: real[2](found(one), found(other)))
    typed, spelled = str(tmp_path / "PHOTOS/keep"), str(tmp_path / "Photos/Keep")
    assert existing_folders([typed, spelled]) == (spelled, spelled)
    assert folder(os.path.dirname(typed)) == os.path.dirname(spelled)
    assert folder(str(tmp_path / "absent")) == str(tmp_path / "absent")
