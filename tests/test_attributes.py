"""What undo restores besides bytes, who may read what apply writes, and trash behind symbolic links."""

from __future__ import annotations

import logging
import os
import shutil
import stat
import struct
from pathlib import Path

import pytest
from test_actions import act, failures, home, last_run, photos, runs, small_disk, step, tree, undo_run  # noqa: F401

from dedup.actions.file_ops import Attributes
from dedup.cli.progress import Lines

# POSIX ACL, version 2: user::rw-, user:1234:r--, group::r--, mask::r--, other::---
ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, bits, who)
    for tag, bits, who in [
        (1, 6, 0xFFFFFFFF),
        (2, 4, 1234),
        (4, 4, 0xFFFFFFFF),
        (16, 4, 0xFFFFFFFF),
        (32, 0, 0xFFFFFFFF),
    ]
)


def dress(path: Path) -> None:
    """Give a file permissions, an extended attribute and an ACL; as root an owner too. Skips what is not supported."""
    path.chmod(0o640)
    try:
        os.setxattr(path, "user.tags", b"summer")
        os.setxattr(path, "system.posix_acl_access", ACL)
    except OSError as error:
        pytest.skip(f"this file system has no extended attributes or ACLs ({error.strerror})")
    if os.geteuid() == 0:
        os.chown(path, 1234, 2345)
    os.utime(path, (1_500_000_000, 1_500_000_000))


@pytest.mark.parametrize("to", ["trash", "folder", "other disk"])
def test_undo_restores_owner_permissions_acl_and_extended_attributes(
    photos: Path,  # noqa: F811
    runs: Path,  # noqa: F811
    home: Path,  # noqa: F811
    small_disk: Path,  # noqa: F811
    tmp_path: Path,
    to: str,
) -> None:
    dress(photos / "a2.jpg")
    before = Attributes.of(str(photos / "a2.jpg"))
    place = {"trash": "trash", "folder": tmp_path / "Away", "other disk": small_disk / "Away"}[to]
    assert failures(act([step(photos / "a.jpg", photos / "a2.jpg")], place, runs)) == []
    if to != "trash":
        moved = Attributes.of(str(Path(place) / "a2.jpg"))
        assert (moved.uid, moved.gid, moved.mode, moved.mtime_ns) == (
            before.uid,
            before.gid,
            before.mode,
            before.mtime_ns,
        )
        (Path(place) / "a2.jpg").chmod(0o600)  # as a file system without permissions would have it
    assert failures(undo_run(runs, home)) == []
    assert Attributes.of(str(photos / "a2.jpg")) == before


@pytest.mark.parametrize("difference", ["permissions", "extended attributes", "owner"], ids=["mode", "xattr", "owner"])
def test_hard_link_that_would_change_attributes_is_refused(
    photos: Path,  # noqa: F811
    runs: Path,  # noqa: F811
    difference: str,
) -> None:
    path = photos / "a2.jpg"
    if difference == "permissions":
        path.chmod(0o600)
    elif difference == "owner":
        if os.geteuid() != 0:
            pytest.skip("only root can change an owner")
        os.chown(path, 1234, -1)
    else:
        try:
            os.setxattr(path, "user.tags", b"summer")
        except OSError:
            pytest.skip("this file system has no extended attributes")
    before = Attributes.of(str(path))
    (message,) = failures(act([step(photos / "a.jpg", path)], "hardlink", runs))
    assert message == f"skipped: other {difference} than {photos}/a.jpg; a hard link would share them"
    assert Attributes.of(str(path)) == before
    assert not path.samefile(photos / "a.jpg")


@pytest.mark.parametrize("umask", [0o000, 0o777])
def test_journals_and_folders_are_for_their_owner_alone_whatever_the_umask(
    photos: Path,  # noqa: F811
    runs: Path,  # noqa: F811
    tmp_path: Path,
    umask: int,
) -> None:
    steps = [step(photos / "a.jpg", photos / "sub/a.jpg", root=photos)]
    before = os.umask(umask)
    try:
        assert failures(act(steps, tmp_path / "deep/Away", runs)) == []
    finally:
        os.umask(before)
    made = [runs, *runs.iterdir(), *(tmp_path / "deep").rglob("*"), tmp_path / "deep", tmp_path / "locks"]
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in made if p.name != "a.jpg"}
    assert {mode for name, mode in modes.items() if not name.endswith(".jsonl")} == {0o700}, modes
    assert {mode for name, mode in modes.items() if name.endswith(".jsonl")} == {0o600}


def test_trash_of_another_file_system_behind_a_link_gives_everything_back(
    photos: Path,  # noqa: F811
    runs: Path,  # noqa: F811
    home: Path,  # noqa: F811
    small_disk: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    shutil.copytree(photos, small_disk / "Photos")
    (tmp_path / "Pictures").symlink_to(small_disk / "Photos")
    linked = tmp_path / "Pictures"
    before = tree(small_disk / "Photos")
    steps = [step(linked / "a.jpg", linked / "sub/a.jpg", root=linked), step(linked / "a.jpg", linked / "a2.jpg")]
    assert failures(act(steps, "trash", runs)) == []
    assert len(list(small_disk.glob(".Trash*/files/*"))) == 2
    linked.unlink()  # undo goes by the real path
    assert failures(undo_run(runs, home)) == []
    assert tree(small_disk / "Photos") == before


def test_trash_that_records_paths_through_links_and_dots_is_read(
    photos: Path,  # noqa: F811
    runs: Path,  # noqa: F811
    home: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    before = tree(photos)
    (tmp_path / "door").symlink_to(photos)
    assert failures(act([step(photos / "a.jpg", photos / "a2.jpg")], "trash", runs)) == []
    (info,) = (home / "info").iterdir()
    info.write_text(f"[Trash Info]\nPath={tmp_path}/door/sub/../a2.jpg\nDeletionDate=2020-01-01T00:00:00\n")
    assert failures(undo_run(runs, home)) == []
    assert tree(photos) == before
    assert last_run(str(runs)) is None


def test_each_trash_is_listed_once_however_many_files_come_back(
    photos: Path,  # noqa: F811
    runs: Path,  # noqa: F811
    home: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = [photos / f"copy {n}.jpg" for n in range(40)]
    for name in names:
        shutil.copy(photos / "a.jpg", name)
    before = tree(photos)
    assert failures(act([step(photos / "a.jpg", name) for name in names], "trash", runs)) == []
    listdir, listed = os.listdir, []

    def counted(path: str) -> list[str]:
        listed.append(str(path))
        return listdir(path)

    monkeypatch.setattr(os, "listdir", counted)
    assert failures(undo_run(runs, home)) == []
    assert listed.count(str(home / "info")) == 1
    assert tree(photos) == before


def test_log_is_for_its_owner_alone_and_so_are_the_files_it_is_rotated_to(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        log = Lines.to(str(tmp_path / "log"))
        for _ in range(3):
            log.emit(logging.makeLogRecord({"msg": "x" * 600_000}))
        log.close()
    finally:
        os.umask(before)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()}
    assert modes == dict.fromkeys(("log", "log.1", "log.2"), 0o600)
