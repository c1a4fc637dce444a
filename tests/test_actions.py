"""Acting on files: hostile changes between scan and step, crashes, and the way back."""

import ctypes
import errno
import os
import pickle
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO

import pytest

from dedup.actions import file_ops, trash
from dedup.actions.apply import Apply, apply
from dedup.actions.journal import Journal, last_run, new_run, read
from dedup.actions.undo import undo
from dedup.errors import ActionFailed, DedupError
from dedup.files.user_dirs import ActionDirs
from dedup.types.pairs import Relation
from dedup.types.photo import File
from dedup.types.plan import Outcome, Removal, RemovalStep

LATER = 4_000_000_000 * 10**9  # the scan began long after all files were written: nothing is young


def stat_file(path: Path) -> File:
    file = file_ops.stat_file(str(path))
    assert file is not None
    return file


def digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def step(keeper: Path, *files: Path, relation: Relation = Relation.EXACT, root: Path | None = None) -> RemovalStep:
    photo = Removal(stat_file(files[0]), digest(files[0]), stat_file(keeper), digest(keeper))
    rest = tuple(Removal(stat_file(f), "", None, "") for f in files[1:])
    return RemovalStep((photo, *rest), str(root or files[0].parent), relation, 1.0, "")


def tree(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()
    }


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two groups: a with two copies, one of them with a sidecar, and b with one of other bytes."""
    folder = tmp_path / "Photos"
    (folder / "sub").mkdir(parents=True)
    contents = {"a.jpg": b"A" * 999, "sub/a.jpg": b"A" * 999, "a2.jpg": b"A" * 999, "sub/a.xmp": b"<x/>",
                "b.jpg": b"B" * 999, "b small\n.jpg": b"b" * 99, "other.jpg": b"o"}  # fmt: skip
    for n, (name, data) in enumerate(contents.items()):
        (folder / name).write_bytes(data)
        time = 13_569_465_600 if name == "b small\n.jpg" else 1_500_000_000 + n  # 2400: a clock was wrong
        os.utime(folder / name, (time, time))
    return folder


def steps_of(p: Path) -> list[RemovalStep]:
    return [
        step(p / "a.jpg", p / "sub/a.jpg", p / "sub/a.xmp", root=p),
        step(p / "a.jpg", p / "a2.jpg"),
        step(p / "b.jpg", p / "b small\n.jpg", relation=Relation.COPY),
    ]


def dirs(runs: Path, home: Path | None = None) -> ActionDirs:
    return ActionDirs(str(home or runs.parent / "xdg/Trash"), str(runs.parent / "locks"))


def act(
    steps: list[RemovalStep], to: object, runs: Path, *, scanned_ns: int = LATER, protect: tuple[str, ...] = ()
) -> list[Outcome]:
    run = new_run(str(runs), 0)
    how = Apply(str(to), scanned_ns, [str(runs.parent)], dirs(runs), protect)
    with Journal(str(runs / f"{run}.jsonl")) as lines:
        return list(apply(steps, how, journal=lines))


def undo_run(runs: Path, home: Path, run: str | None = None) -> list[Outcome]:
    run = run or last_run(str(runs))
    assert run is not None
    entries = read(str(runs), run)
    with Journal(str(runs / f"{run}.jsonl")) as lines:
        return list(undo(entries, journal=lines, dirs=dirs(runs, home)))


def failures(outcomes: list[Outcome]) -> list[str]:
    return [o.message for o in outcomes if not o.done]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "x.db.journal"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A trash of the test's own; send2trash reads the environment only when it is imported."""
    from send2trash import plat_other

    monkeypatch.setattr(plat_other, "HOMETRASH_B", os.fsencode(tmp_path / "xdg/Trash"))
    monkeypatch.setattr(plat_other, "XDG_DATA_HOME", os.fsencode(tmp_path / "xdg"))
    monkeypatch.setattr(trash, "send2trash", plat_other.send2trash)
    return tmp_path / "xdg/Trash"


def unsupported(*about: object) -> int:
    ctypes.set_errno(errno.ENOSYS)
    return -1


@pytest.mark.parametrize("libc", [None, SimpleNamespace(), SimpleNamespace(renameat2=unsupported)])
def test_rename_is_never_over_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, libc: object) -> None:
    if libc is not None:  # another system, or a filesystem that cannot do both at once
        monkeypatch.setattr(file_ops.ctypes, "CDLL", lambda *about, **more: libc)
    one, other, free = (tmp_path / name for name in ("one", "other", "free"))
    one.write_bytes(b"1")
    other.write_bytes(b"2")
    with pytest.raises(FileExistsError):
        file_ops.rename(str(one), str(other))
    assert tree(tmp_path).keys() == {"one", "other"}
    file_ops.rename(str(one), str(free))
    assert (free.read_bytes(), other.read_bytes(), one.exists()) == (b"1", b"2", False)


@pytest.mark.parametrize("to", ["trash", "folder", "hardlink"])
def test_undo_gives_back_every_byte_and_time_and_may_run_twice(
    photos: Path, runs: Path, home: Path, tmp_path: Path, to: str
) -> None:
    before = tree(photos)
    outcomes = act(steps_of(photos), tmp_path / "Away" if to == "folder" else to, runs)
    assert len(failures(outcomes)) == (1 if to == "hardlink" else 0)
    if to == "hardlink":
        assert (photos / "a2.jpg").samefile(photos / "a.jpg")
        assert len(tree(photos)) == len(before)
    else:
        assert sorted(tree(photos)) == ["a.jpg", "b.jpg", "other.jpg"]
    run = last_run(str(runs))
    assert failures(undo_run(runs, home)) == []
    assert tree(photos) == before
    assert not (photos / "a2.jpg").samefile(photos / "a.jpg")
    assert last_run(str(runs)) is None
    assert failures(undo_run(runs, home, run)) == []
    assert tree(photos) == before


def test_applying_twice_is_the_same_as_once(photos: Path, runs: Path, tmp_path: Path) -> None:
    steps = steps_of(photos)
    act(steps, tmp_path / "Away", runs)
    once = tree(tmp_path / "Away"), tree(photos)
    assert {o.message for o in act(steps, tmp_path / "Away", runs)} == {"already gone"}
    assert (tree(tmp_path / "Away"), tree(photos)) == once


def test_quarantine_keeps_the_tree_and_numbers_a_unit_rather_than_overwrite(
    photos: Path, runs: Path, tmp_path: Path
) -> None:
    (tmp_path / "Away/sub").mkdir(parents=True)
    (tmp_path / "Away/sub/a.xmp").write_bytes(b"mine")
    act(steps_of(photos), tmp_path / "Away", runs)
    assert sorted(tree(tmp_path / "Away")) == ["a2.jpg", "b small\n.jpg", "sub/a (2).jpg", "sub/a (2).xmp", "sub/a.xmp"]
    assert (tmp_path / "Away/sub/a.xmp").read_bytes() == b"mine"


def gone(p: Path) -> None:
    (p / "b.jpg").unlink()


def linked(p: Path) -> None:
    (p / "b small\n.jpg").unlink()
    (p / "b small\n.jpg").symlink_to(p / "b.jpg")


def folder(p: Path) -> None:
    (p / "b small\n.jpg").unlink()
    (p / "b small\n.jpg").mkdir()


def edited(p: Path) -> None:
    (p / "b small\n.jpg").write_bytes(b"new")


def edited_behind_its_times(p: Path) -> None:
    was = (p / "b.jpg").stat()
    with open(p / "b.jpg", "r+b") as f:
        f.write(b"X")
    os.utime(p / "b.jpg", ns=(was.st_atime_ns, was.st_mtime_ns))


@pytest.mark.parametrize("change", [gone, linked, folder, edited, edited_behind_its_times])
@pytest.mark.parametrize("to", ["trash", "folder", "delete"])
def test_file_or_keeper_that_changed_is_left_alone_and_the_rest_goes_on(
    photos: Path, runs: Path, home: Path, tmp_path: Path, to: str, change: object
) -> None:
    steps = steps_of(photos)
    change(photos)  # type: ignore[operator]
    outcomes = act(steps, tmp_path / "Away" if to == "folder" else to, runs)
    assert len(failures(outcomes)) == 1
    assert os.path.lexists(photos / "b small\n.jpg")
    assert not (photos / "a2.jpg").exists()


def test_hard_link_of_the_keeper_is_nothing_to_do(photos: Path, runs: Path) -> None:
    (photos / "a2.jpg").unlink()
    os.link(photos / "a.jpg", photos / "a2.jpg")
    (outcome,) = act([step(photos / "a.jpg", photos / "a2.jpg")], "delete", runs)
    assert outcome.done
    assert (photos / "a2.jpg").exists()


def test_only_same_bytes_become_links_and_protected_folders_stay(photos: Path, runs: Path, tmp_path: Path) -> None:
    before = tree(photos)
    assert "not the same bytes" in failures(act(steps_of(photos)[2:], "hardlink", runs))[0]
    (tmp_path / "door").symlink_to(photos)
    assert len(failures(act(steps_of(photos), "delete", runs, protect=(str(tmp_path / "door"),)))) == 3
    assert tree(photos) == before


def test_undo_overwrites_nothing_and_says_what_is_lost(photos: Path, runs: Path, home: Path, tmp_path: Path) -> None:
    act(steps_of(photos)[1:2], tmp_path / "Away", runs)
    (photos / "a2.jpg").write_bytes(b"new")
    assert failures(undo_run(runs, home)) == ["another file has this name now; it was not overwritten"]
    assert (photos / "a2.jpg").read_bytes() == b"new"
    assert (tmp_path / "Away/a2.jpg").exists()
    act(steps_of(photos)[2:], "delete", runs)
    assert failures(undo_run(runs, home)) == ["deleted permanently"]


def renamed(keeper: Path) -> None:
    keeper.rename(keeper.with_name("renamed.jpg"))


@pytest.mark.parametrize("change", [renamed, Path.unlink])
def test_undo_of_a_link_gives_back_the_file_wherever_its_keeper_is(
    photos: Path, runs: Path, home: Path, change: Callable[[Path], None]
) -> None:
    before = tree(photos)["a2.jpg"]
    act(steps_of(photos)[1:2], "hardlink", runs)
    change(photos / "a.jpg")
    run = last_run(str(runs))
    assert failures(undo_run(runs, home)) == []
    assert tree(photos)["a2.jpg"] == before
    assert (photos / "a2.jpg").stat().st_nlink == 1
    inode = (photos / "a2.jpg").stat().st_ino
    assert [o.message for o in undo_run(runs, home, run)] == ["in place"]
    assert (photos / "a2.jpg").stat().st_ino == inode


def test_link_whose_bytes_changed_through_its_keeper_is_said_to_be_lost(photos: Path, runs: Path, home: Path) -> None:
    act(steps_of(photos)[1:2], "hardlink", runs)
    (photos / "a.jpg").write_bytes(b"edited")
    assert "under this name or through another hard link" in failures(undo_run(runs, home))[0]
    assert last_run(str(runs)) is not None


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of its own, 64 KB large."""
    (tmp_path / "disk").mkdir()
    if (
        shutil.which("mount") is None
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path / "disk"], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("only root can mount")
    yield tmp_path / "disk"
    subprocess.run(["umount", tmp_path / "disk"], check=True)


def test_move_to_another_filesystem_and_back(photos: Path, runs: Path, home: Path, small_disk: Path) -> None:
    before = tree(photos)
    assert failures(act(steps_of(photos), small_disk / "Away", runs)) == []
    assert tree(small_disk)["Away/a2.jpg"] == before["a2.jpg"]
    assert failures(undo_run(runs, home)) == []
    assert tree(photos) == before


def test_copy_of_other_bytes_than_were_scanned_is_not_left_behind(photos: Path) -> None:
    with pytest.raises(ActionFailed, match="its copy differs from what was scanned"):
        file_ops.copy(str(photos / "a.jpg"), str(photos / "copy.jpg"), sha256=digest(photos / "b.jpg"))
    assert not (photos / "copy.jpg").exists()


def test_file_that_somebody_writes_to_while_it_moves_to_another_filesystem_stays(
    photos: Path, runs: Path, home: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (photos / "a2.jpg").open("ab", buffering=0) as opened:  # by a program that does not care for names

        def copied(reader: BinaryIO, writer: BinaryIO, length: int) -> None:
            writer.write(reader.read())
            opened.write(b"and more")

        monkeypatch.setattr(file_ops.shutil, "copyfileobj", copied)
        (message,) = failures(act([steps_of(photos)[1]], small_disk / "Away", runs))
    assert "changed while it was copied" in message
    assert (photos / "a2.jpg").read_bytes().endswith(b"and more")
    assert tree(small_disk) == {}
    assert last_run(str(runs)) is None


def test_trash_of_another_volume_gives_back_what_lay_there(
    photos: Path, runs: Path, home: Path, small_disk: Path
) -> None:
    shutil.copytree(photos, small_disk / "Photos")
    before = tree(small_disk)
    assert failures(act(steps_of(small_disk / "Photos"), "trash", runs)) == []
    assert len(list(small_disk.glob(".Trash*/files/*"))) == 4
    assert not home.exists()
    assert failures(undo_run(runs, home)) == []
    assert tree(small_disk / "Photos") == tree(photos)
    assert [name for name in tree(small_disk) if name not in before] == []


def test_full_disk_costs_nothing(photos: Path, runs: Path, small_disk: Path) -> None:
    (small_disk / "full").write_bytes(bytes(60_000))
    for name in ("a.jpg", "a2.jpg"):
        (photos / name).write_bytes(b"A" * 99_999)
    before = tree(photos)
    assert "No space left" in failures(act([step(photos / "a.jpg", photos / "a2.jpg")], small_disk / "Away", runs))[0]
    assert tree(photos) == before
    assert list((small_disk / "Away").iterdir()) == []


@pytest.mark.parametrize("to", ["folder", "hardlink", "delete"])
def test_disk_that_may_only_be_read_is_left_alone(small_disk: Path, runs: Path, tmp_path: Path, to: str) -> None:
    for name in ("a.jpg", "a2.jpg"):
        (small_disk / name).write_bytes(b"A" * 999)
    before = tree(small_disk)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    place = tmp_path / "Away" if to == "folder" else to
    (words,) = failures(act([step(small_disk / "a.jpg", small_disk / "a2.jpg")], place, runs))
    assert "Read-only file system" in words
    assert tree(small_disk) == before


def test_step_that_failed_and_changed_nothing_is_nothing_to_undo_run(
    photos: Path, runs: Path, home: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    _, first, second = steps_of(photos)
    assert failures(act([first], tmp_path / "Away", runs)) == []
    run = last_run(str(runs))
    (words,) = failures(act([second], tmp_path / "file" / "Away", runs))
    assert words == f"skipped: the folder {tmp_path}/file/Away cannot be made (Not a directory)"
    assert last_run(str(runs)) == run
    (photos / "b small\n.jpg").write_bytes(b"edited since")
    assert [o.path for o in undo_run(runs, home)] == [f"{photos}/a2.jpg"]
    assert last_run(str(runs)) is None


def test_line_that_a_crash_cut_short_ends_before_the_next_begins(photos: Path, runs: Path, home: Path) -> None:
    before = tree(photos)
    act(steps_of(photos)[1:2], "trash", runs)
    run = last_run(str(runs))
    with open(runs / f"{run}.jsonl", "ab") as f:
        f.write(b'{"do": 2, "to": "tra')
    assert failures(undo_run(runs, home)) == []
    assert tree(photos) == before
    assert last_run(str(runs)) is None


def test_journal_that_cannot_be_read_is_one_line(photos: Path, runs: Path, home: Path) -> None:
    (runs / "20200101-000000-000.jsonl").mkdir(parents=True)
    with pytest.raises(DedupError, match=r"000\.jsonl: cannot be read \(Is a directory\)"):
        last_run(str(runs))
    (runs.parent / "loop").symlink_to("loop")
    with pytest.raises(DedupError, match="cannot be read"):
        last_run(str(runs.parent / "loop"))


def test_undo_takes_from_the_trash_what_was_put_there_and_nothing_else_of_that_name(
    photos: Path, runs: Path, home: Path
) -> None:
    before = tree(photos)
    act(steps_of(photos)[1:2], "trash", runs)
    (photos / "a2.jpg").write_bytes(b"another")
    trash.send(str(photos / "a2.jpg"))
    assert min(p.name for p in (home / "files").iterdir()) < "a2.jpg"  # undo comes to the other one first
    assert failures(undo_run(runs, home)) == []
    assert tree(photos) == before
    assert [p.read_bytes() for p in (home / "files").iterdir()] == [b"another"]


def test_undo_that_fails_says_why_in_words(photos: Path, runs: Path, home: Path, tmp_path: Path) -> None:
    act(steps_of(photos)[:1], tmp_path / "Away", runs)
    shutil.rmtree(photos / "sub")
    (photos / "sub").write_bytes(b"a file now")
    assert failures(undo_run(runs, home)) == ["not restored: File exists"] * 2
    assert (photos / "sub").read_bytes() == b"a file now"


def test_nothing_goes_to_a_trash_that_undo_cannot_take_it_from(
    photos: Path, runs: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, gone = tree(photos), list[str]()

    def delete(path: str) -> None:
        """Do what Windows does on a network drive."""
        gone.append(os.path.basename(path))
        os.unlink(path)

    monkeypatch.setattr(trash, "send2trash", delete)
    says = "skipped: undo would not find it in the trash of this disk; use --to DIR"
    assert failures(act(steps_of(photos), "trash", runs)) == [says] * 3
    assert tree(photos) == before
    assert gone == [".dedup-19700101-000000-000.probe"]
    assert last_run(str(runs)) is None


def test_probe_of_the_trash_is_gone_after_a_crash_and_undo(photos: Path, runs: Path, home: Path) -> None:
    act(steps_of(photos)[:1], "trash", runs)
    before = tree(home)
    probe = photos / "sub/.dedup-19700101-000000-000.probe"
    assert {str(probe)} == {line["probe"] for line in read(str(runs), last_run(str(runs)) or "") if "probe" in line}
    assert not [name for name in before if "probe" in name]
    probe.write_bytes(b"left")
    assert failures(undo_run(runs, home)) == []
    assert not probe.exists()


CHILD = """
import os, pickle, signal, sys
from dedup.actions.apply import Apply, apply
from dedup.actions.journal import Journal
steps, how, journal, after = pickle.load(sys.stdin.buffer)
left = after
def count(frame, event, arg):
    global left
    if not any(part in frame.f_code.co_filename for part in ("/dedup/", "/send2trash/")):
        return None
    left -= event == "line"
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    return count
sys.settrace(count)
with Journal(journal) as lines:
    list(apply(steps, how, journal=lines))
sys.settrace(None)
print(after - left)
"""


def killed(
    steps: list[RemovalStep], to: str, journal: Path, after: int, data_home: Path
) -> subprocess.CompletedProcess[bytes]:
    how = Apply(to, LATER, [], ActionDirs(str(data_home / "Trash"), str(data_home / "locks")))
    data = pickle.dumps((steps, how, str(journal), after))
    about = os.environ | {"XDG_DATA_HOME": str(data_home)}
    return subprocess.run([sys.executable, "-c", CHILD], input=data, env=about, capture_output=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("to", ["trash", "folder", "hardlink", "other disk"])
def test_kill_at_any_line_loses_nothing_and_undo_takes_it_back(
    photos: Path, home: Path, tmp_path: Path, to: str, request: pytest.FixtureRequest
) -> None:
    away = request.getfixturevalue("small_disk") if to == "other disk" else tmp_path
    place = to if to in ("trash", "hardlink") else str(away / "Away")
    before = tree(photos)
    for whole in ("first", "second"):  # the first makes folders that the others find
        done = killed(steps_of(photos), place, tmp_path / whole / "r.jsonl", 10**9, home.parent)
        undo_run(tmp_path / whole, home, "r")
    lines = int(done.stdout)
    rng = random.Random(7)
    for n in sorted(rng.sample(range(1, lines), 17)):
        runs = tmp_path / f"crash {n}"
        assert killed(steps_of(photos), place, runs / "r.jsonl", n, home.parent).returncode == -9
        contents = {data for where in (photos, away, home.parent) for data, _ in tree(where).values()}
        assert {data for data, _ in before.values()} <= contents
        if runs.exists() and last_run(str(runs)):
            assert failures(undo_run(runs, home, "r")) == []
        assert tree(photos) == before, n
        assert list(photos.rglob(".dedup*")) == []
        assert not (away / "Away").exists() or tree(away / "Away") == {}, n


def test_reflink_shares_bytes_or_leaves_the_file_alone_where_the_filesystem_cannot(photos: Path, runs: Path) -> None:
    before = tree(photos)
    (outcome,) = act([step(photos / "a.jpg", photos / "a2.jpg")], "reflink", runs)
    assert tree(photos) == before
    assert not list(photos.rglob(".dedup-*"))
    assert not (photos / "a2.jpg").samefile(photos / "a.jpg")
    assert outcome.done or outcome.message.startswith("skipped: ")
