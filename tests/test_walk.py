"""Which files a walk finds, and which it leaves out."""

from __future__ import annotations

import os
import socket
from array import array
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dedup.errors import BadUsage
from dedup.files.walk import Folder, Listing, _sorted, _walk, walk
from dedup.types.photo import File, Skipped


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x" * len(name))


def found(root: Path, *roots: Path, exclude: tuple[str, ...] = ()) -> list[str]:
    """Return the files of a walk relative to root, sorted; anything skipped would fail here."""
    walked = list(walk([str(one) for one in roots or (root,)], exclude=exclude))
    assert [one for one in walked if not isinstance(one, File)] == []
    return sorted(os.path.relpath(one.path, root) for one in walked)


def test_file_is_what_stat_says(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    seen = os.stat(tmp_path / "a.jpg")
    assert list(walk([str(tmp_path)])) == [
        File(str(tmp_path / "a.jpg"), 5, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_dev, seen.st_ino)
    ]


def test_numbers_of_any_file_system_fit_into_64_bits(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    os.utime(tmp_path / "a.jpg", (13_569_465_600,) * 2)  # the year 2400: in nanoseconds, more than 63 bits
    assert [one.mtime_ns for one in walk([str(tmp_path)]) if isinstance(one, File)] == [2**63 - 1]

    def file(device: int, inode: int) -> File:
        seen: Any = SimpleNamespace(st_size=5, st_mtime_ns=0, st_ctime_ns=0, st_dev=device, st_ino=inode)
        return File.from_stat("a", seen)

    assert (file(3, 2**63 - 1).device, file(3, 2**63 - 1).inode) == (3, 2**63 - 1)
    several = {file(3, n).inode for n in (2**63, 2**63 + 5, 2**64 - 1, 2**100, 2**100 + 1)}
    assert len(several) == 5
    assert all(0 <= n < 2**63 for n in several)


def test_inode_that_a_folder_does_not_list_is_asked_for(tmp_path: Path) -> None:
    """Windows lists files without device and inode."""
    touch(tmp_path, "a.jpg")

    def unnumbered(*, follow_symlinks: bool) -> os.stat_result:
        seen = list(os.stat(tmp_path / "a.jpg", follow_symlinks=follow_symlinks))
        return os.stat_result([seen[0], 0, 0, *seen[3:]])

    entry: Any = SimpleNamespace(
        name="a.jpg", stat=unnumbered, is_symlink=lambda: False, is_dir=lambda follow_symlinks: False
    )
    (file,) = _sorted(str(tmp_path), [entry], None)[0]
    assert isinstance(file, File)
    assert (file.device, file.inode) == ((tmp_path / "a.jpg").stat().st_dev, (tmp_path / "a.jpg").stat().st_ino)


def test_relative_root_gives_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "sub/a.jpg")
    monkeypatch.chdir(tmp_path)
    assert [one.path for one in walk(["sub/"])] == [str(tmp_path / "sub/a.jpg")]


@pytest.mark.parametrize(
    "name",
    [
        "Trip [2019]/a.jpg",
        "a\nb.jpg",
        'it\'s "5"*.jpg',
        "\N{SNOWMAN}\N{GRINNING FACE}.jpg",
        os.fsdecode(b"caf\xe9/\xff.jpg"),
        "/".join(["d" * 200] * 12) + "/a.jpg",
        " .jpg",
        "-rf",
    ],
)
def test_odd_name_is_found(tmp_path: Path, name: str) -> None:
    touch(tmp_path, name)
    assert found(tmp_path) == [name]


def test_root_with_brackets_is_no_glob(tmp_path: Path) -> None:
    touch(tmp_path, "Trip [2019]/a.jpg", "Trip 2/b.jpg")
    assert found(tmp_path, tmp_path / "Trip [2019]") == ["Trip [2019]/a.jpg"]


def test_overlapping_and_repeated_roots_give_each_file_once(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg", "a/b/2.jpg")
    a, b, one = tmp_path / "a", tmp_path / "a/b", tmp_path / "a/1.jpg"
    (tmp_path / "link").symlink_to(a)
    for roots in ([a, b], [b, a], [a, a], [one, a, one], [a, one], [a, tmp_path / "link"]):
        assert found(tmp_path, *roots) == ["a/1.jpg", "a/b/2.jpg"]


def test_hidden_and_foreign_folders_are_left_out_unless_named_as_root(tmp_path: Path) -> None:
    left_out = [
        *(".hidden.jpg", ".git/a.jpg", "@eaDir/a.jpg", "#recycle/a.jpg", "$RECYCLE.BIN/a.jpg", "$Recycle.Bin/b.jpg"),
        *("System Volume Information/a", "lost+found/a.jpg", ".Trash-1000/files/a.jpg", "x.lrdata/a.jpg"),
        *("L.photoslibrary/resources/derivatives/a.jpeg", "@Recently-Snapshot/a.jpg", ".thumbnails/a.jpg"),
    ]
    kept = ["L.photoslibrary/originals/0/a.heic", "resources/a.jpg", "sub/a.jpg"]
    touch(tmp_path, *left_out, *kept)
    assert found(tmp_path) == kept
    assert found(tmp_path, tmp_path, tmp_path / "@eaDir", tmp_path / ".git") == sorted(
        [*kept, ".git/a.jpg", "@eaDir/a.jpg"]
    )


def test_links_are_not_followed_below_a_root_but_a_root_may_be_one(tmp_path: Path) -> None:
    touch(tmp_path, "real/a.jpg")
    (tmp_path / "real/loop").symlink_to(tmp_path / "real")
    (tmp_path / "real/b.jpg").symlink_to(tmp_path / "real/a.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert found(tmp_path) == ["real/a.jpg"]
    assert found(tmp_path, tmp_path / "link") == ["link/a.jpg"]
    assert found(tmp_path, tmp_path / "real/b.jpg") == ["real/b.jpg"]


def test_hard_links_are_two_files_of_one_inode(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    os.link(tmp_path / "a.jpg", tmp_path / "b.jpg")
    walked = [one for one in walk([str(tmp_path)]) if isinstance(one, File)]
    assert len(walked) == 2
    assert len({(one.device, one.inode) for one in walked}) == 1


@pytest.mark.parametrize(
    ("glob", "kept"),
    [
        ("*.png", ["Trip [2019]/b.jpg", "cache/d.jpg", "cache/deep/e.jpg"]),
        ("*.PNG", ["Trip [2019]/b.jpg", "Trip [2019]/c.png", "cache/d.jpg", "cache/deep/e.jpg"]),
        ("cache", ["Trip [2019]/b.jpg", "Trip [2019]/c.png"]),
        ("cache/", ["Trip [2019]/b.jpg", "Trip [2019]/c.png"]),
        ("cache/*", ["Trip [2019]/b.jpg", "Trip [2019]/c.png"]),
        ("cache/deep", ["Trip [2019]/b.jpg", "Trip [2019]/c.png", "cache/d.jpg"]),
        ("cach", ["Trip [2019]/b.jpg", "Trip [2019]/c.png", "cache/d.jpg", "cache/deep/e.jpg"]),
        ("Trip [[]2019]", ["cache/d.jpg", "cache/deep/e.jpg"]),
        ("?.jpg", ["Trip [2019]/c.png"]),
    ],
)
def test_exclude_compares_whole_name_and_path(tmp_path: Path, glob: str, kept: list[str]) -> None:
    touch(tmp_path, "Trip [2019]/b.jpg", "Trip [2019]/c.png", "cache/d.jpg", "cache/deep/e.jpg")
    assert found(tmp_path, exclude=(glob,)) == kept


def test_exclude_takes_absolute_paths_and_several_globs(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg", "b/2.jpg", "c/3.jpg")
    assert found(tmp_path, exclude=(str(tmp_path / "a"), "b")) == ["c/3.jpg"]


def test_what_is_no_regular_file_is_skipped_and_no_failure(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.jpg")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        walked = sorted(walk([str(tmp_path)]), key=lambda one: one.path)
    assert walked == [
        Skipped(str(tmp_path / "fifo.jpg"), "not a regular file", picture=False),
        Skipped(str(tmp_path / "s"), "not a regular file", picture=False),
    ]


def test_file_that_vanishes_is_skipped_and_the_rest_is_found(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.jpg")
    with os.scandir(tmp_path) as listing:
        entries = sorted(listing, key=lambda entry: entry.name)
    (tmp_path / "a.jpg").unlink()
    files, _ = _sorted(str(tmp_path), entries, None)
    walked = [(os.path.basename(one.path), getattr(one, "reason", "found")) for one in files]
    assert walked == [("b.jpg", "found"), ("a.jpg", "vanished during the scan")]


def test_folder_that_vanishes_is_skipped(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "sub/b.jpg")
    folders = _walk(str(tmp_path), set(), set(), None)
    assert [os.path.basename(one.path) for one in next(folders)] == ["a.jpg"]
    (tmp_path / "sub/b.jpg").unlink()
    (tmp_path / "sub").rmdir()
    assert [one for folder in folders for one in folder] == [
        Skipped(str(tmp_path / "sub"), "vanished during the scan: the folder cannot be listed")
    ]


@pytest.mark.permissions
def test_unreadable_folder_is_skipped_and_the_rest_is_found(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "closed/b.jpg")
    (tmp_path / "closed").chmod(0)
    walked = list(walk([str(tmp_path)]))
    (tmp_path / "closed").chmod(0o700)
    assert [getattr(one, "reason", "found") for one in sorted(walked, key=lambda one: one.path)] == [
        "found",
        "permission denied: the folder cannot be listed",
    ]


def test_missing_root_is_refused_before_anything_is_walked(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    with pytest.raises(BadUsage, match=r"^/.*/nowhere: no such file or folder; check"):
        walk([str(tmp_path), str(tmp_path / "nowhere")])


def test_root_that_cannot_be_walked_is_refused_in_one_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for root, words in [
        ("", "empty path"),
        (str(tmp_path / "fifo"), "neither"),
        ("/no\nwhere\udcff", "no such file or folder"),
    ]:
        with pytest.raises(BadUsage, match=words) as raised:
            walk([root])
        assert str(raised.value).isprintable()


def test_digest_is_that_of_one_listing_only() -> None:
    def folder(path: str, names: str, *stats: int, skipped: tuple[Skipped, ...] = ()) -> Folder:
        return Folder(path, names, array("q", stats), skipped)

    seen = (5, 1, 2, 3, 4, 6, 1, 2, 3, 5)
    refused = Skipped("/p/c\udce9", "not a regular file", picture=False)
    others = [tuple(n + (i == at) for i, n in enumerate(seen)) for at in range(10)]
    listings = [
        (folder("/p", "a/b", *seen),),
        (folder("/q", "a/b", *seen),),
        (folder("/p", "a/c", *seen),),
        (folder("/p", "b/a", *seen),),
        (folder("/p", "a", *seen[:5]), folder("/p", "b", *seen[5:])),
        (folder("/p", "a", *seen[:5]),),
        (folder("/p", "a/b", *seen, skipped=(refused,)),),
        *((folder("/p", "a/b", *other),) for other in others),
    ]
    digests = [Listing(folders).digest() for folders in listings]
    assert len(set(digests)) == len(listings)
    assert digests[0] == Listing((folder("/p", "a/b", *seen),)).digest()
