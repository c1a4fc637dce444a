"""What --follow-symlinks adds to a scan."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dedup.files.symlinks import Targets, link_targets
from dedup.files.walk import walk


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    for name in ("root/2019/a.jpg", "usb/b.jpg", "usb/deep/c.jpg", "other/d.jpg", "root/.cache/e.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def found(root: Path, *, exclude: tuple[str, ...] = ()) -> list[str]:
    roots = [str(root), *link_targets([str(root)], exclude=exclude).roots]
    return sorted(os.path.relpath(f.path, root.parent) for f in walk(roots, exclude=exclude))


def test_folders_behind_links_are_found_once_by_their_real_path(disk: Path) -> None:
    (disk / "root/link").symlink_to(disk / "usb")
    (disk / "root/again").symlink_to(disk / "usb/deep")
    (disk / "usb/on").symlink_to(disk / "other")
    assert set(link_targets([str(disk / "root")]).roots) == {str(disk / "usb"), str(disk / "other")}
    assert found(disk / "root") == ["other/d.jpg", "root/2019/a.jpg", "usb/b.jpg", "usb/deep/c.jpg"]


def test_circles_and_links_within_the_roots_add_nothing(disk: Path) -> None:
    (disk / "root/2019/up").symlink_to(disk / "root")
    (disk / "root/self").symlink_to("self")
    (disk / "root/album").symlink_to("2019")
    (disk / "root/nowhere").symlink_to("missing")
    (disk / "root/best.jpg").symlink_to("2019/a.jpg")
    assert link_targets([str(disk / "root")]) == Targets((), ())


def test_circle_over_another_disk_ends(disk: Path) -> None:
    (disk / "root/link").symlink_to(disk / "usb")
    (disk / "usb/back").symlink_to(disk / "root")
    assert found(disk / "root") == ["root/2019/a.jpg", "usb/b.jpg", "usb/deep/c.jpg"]


def test_link_to_a_file_adds_that_file_alone(disk: Path) -> None:
    (disk / "root/best.jpg").symlink_to(disk / "usb/b.jpg")
    assert found(disk / "root") == ["root/2019/a.jpg", "usb/b.jpg"]


def test_hidden_and_excluded_links_are_not_followed_and_hidden_targets_are(disk: Path) -> None:
    (disk / "root/.hidden").symlink_to(disk / "usb")
    (disk / "root/skipped").symlink_to(disk / "other")
    (disk / "root/album").symlink_to(disk / "other")
    assert found(disk / "root", exclude=("skipped", "other")) == ["root/2019/a.jpg"]
    assert found(disk / "root", exclude=("skipped", str(disk / "oth*"))) == ["root/2019/a.jpg"]
    (disk / "root/album").unlink()
    (disk / "root/wanted").symlink_to(disk / "root/.cache")
    assert found(disk / "root", exclude=("skipped",)) == ["root/.cache/e.jpg", "root/2019/a.jpg"]


def test_links_to_what_is_no_photo_add_nothing(disk: Path) -> None:
    os.mkfifo(disk / "pipe")
    for name, target in (("null", "/dev/null"), ("pipe", disk / "pipe"), ("long", "x" * 300)):
        (disk / "root" / name).symlink_to(target)
    assert link_targets([str(disk / "root")]) == Targets((), ())


def test_link_to_a_folder_above_lists_each_file_once(disk: Path) -> None:
    (disk / "root/up").symlink_to(disk)
    assert found(disk / "root") == ["other/d.jpg", "root/2019/a.jpg", "usb/b.jpg", "usb/deep/c.jpg"]


@pytest.mark.permissions
def test_link_to_a_folder_that_cannot_be_listed_is_named(disk: Path) -> None:
    (disk / "root/link").symlink_to(disk / "usb")
    (disk / "root/on").symlink_to(disk / "other")
    (disk / "usb").chmod(0)
    try:
        assert link_targets([str(disk / "root")]) == Targets((str(disk / "other"),), (str(disk / "root/link"),))
    finally:
        (disk / "usb").chmod(0o700)
