"""One file under two paths that stat() tells apart, and two runs that remove each other's keepers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from namespaces import TESTS, run_mounted
from test_actions import tree

from dedup.actions.locks import locked
from dedup.errors import StoreBusy

# What the child does: the keeper is a photo in `kept`, the file to remove the one of the same name in `removed`.
STEP = """
from pathlib import Path
from test_actions import act, step
kept, removed, to = Path({kept!r}), Path({removed!r}), {to!r}
name = {name!r}
if to == "folder":
    to = Path("Away").resolve()
photo = step(kept.resolve() / name, removed.resolve() / name, root=removed.resolve())
assert not Path(kept / name).samefile(removed / name) or {same}
for outcome in act([photo], to, Path("runs").resolve()):
    print(outcome.done, outcome.message)
"""
MOUNTS = {
    "bind": "mount --bind disk pool",
    "overlay": "mount -t overlay overlay -o lowerdir=disk,upperdir=changes,workdir=work pool",
    "below": "mount --bind disk/2019 pool",
    "bindfs": "bindfs disk pool",
    "mergerfs": "mergerfs disk pool",
}
SAME_NUMBERS = ("bind", "below")  # stat() tells that it is one file


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("disk/2019", "pool", "changes", "work", "home"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("disk/a.jpg", "disk/2019/a.jpg"):
        (tmp_path / name).write_bytes(b"A" * 999)
        os.utime(tmp_path / name, (1_500_000_000, 1_500_000_000))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home/data"))
    return tmp_path


@pytest.mark.parametrize("to", ["trash", "folder", "delete", "hardlink", "reflink"])
@pytest.mark.parametrize("mount", MOUNTS)
@pytest.mark.parametrize("kept", ["disk", "pool"])
def test_file_that_is_its_own_keeper_under_another_path_is_not_removed(
    disk: Path, mount: str, to: str, kept: str
) -> None:
    name = "2019/a.jpg" if mount != "below" else "a.jpg"
    folders = {"disk": "disk/2019" if mount == "below" else "disk", "pool": "pool"}
    removed = "pool" if kept == "disk" else "disk"
    code = STEP.format(kept=folders[kept], removed=folders[removed], to=to, name=name, same=mount in SAME_NUMBERS)
    before = tree(disk / "disk")
    said = run_mounted(MOUNTS[mount], code, disk)
    assert tree(disk / "disk") == before
    if mount == "overlay" and kept == "disk":
        return  # what is removed from the upper layer stays in the lower one
    if mount not in SAME_NUMBERS:
        assert said.startswith("False skipped: ")
    else:
        assert said == "True a hard link of its keeper; nothing to reclaim\n"


def test_two_files_of_one_folder_that_is_seen_twice_are_two_files(disk: Path) -> None:
    (disk / "disk/b.jpg").write_bytes(b"A" * 999)
    code = STEP.format(kept="pool", removed="disk", to="delete", name="a.jpg", same=False)
    code = code.replace("step(kept.resolve() / name,", "step(kept.resolve() / 'b.jpg',")
    assert run_mounted(MOUNTS["overlay"], code, disk).startswith("True -> delete")
    assert sorted(tree(disk / "disk")) == ["2019/a.jpg", "b.jpg"]


OPPOSITE = """
import sys
from pathlib import Path
from test_actions import act, step
kept, removed, place = map(Path, sys.argv[1:4])
names = [p.name for p in sorted(kept.iterdir())]
steps = [step(kept / name, removed / name, root=removed) for name in names]
print("ready", flush=True)
sys.stdin.readline()
act(steps, place if place.is_absolute() else str(place), Path(sys.argv[4]) / "runs")
"""


@pytest.mark.parametrize("to", ["trash", "folder", "delete", "hardlink"])
def test_two_runs_that_remove_each_others_keepers_leave_one_file_of_each_pair(tmp_path: Path, to: str) -> None:
    left, right = tmp_path / "left", tmp_path / "right"
    for folder in (left, right):
        folder.mkdir()
        for n in range(150):
            (folder / f"{n:03}.jpg").write_bytes(b"%d" % n * 999)
            os.utime(folder / f"{n:03}.jpg", (1_500_000_000, 1_500_000_000))
    about = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])}
    runs = []
    for n, (kept, removed) in enumerate([(left, right), (right, left)]):
        home = tmp_path / f"user {n}"  # two users: no lock is common to them
        home.mkdir()
        place = str(tmp_path / f"Away {n}") if to == "folder" else to
        words = [sys.executable, "-c", OPPOSITE, str(kept), str(removed), place, str(home)]
        about |= {"HOME": str(home), "XDG_DATA_HOME": str(home / "xdg")}
        runs.append(subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=about, text=True))
    for run in runs:
        assert run.stdout is not None
        run.stdout.readline()
    for run in runs:
        assert run.stdin is not None
        run.stdin.write("go\n")
        run.stdin.flush()
    assert [(run.communicate(), run.returncode)[1] for run in runs] == [0, 0]
    names = {p.name for folder in (left, right) for p in folder.iterdir() if not p.name.startswith(".")}
    assert len(names) == 150
    assert [p for folder in (left, right) for p in folder.iterdir() if p.name.startswith(".")] == []


def test_folder_that_another_run_changes_is_locked_with_all_below_and_above_it(tmp_path: Path) -> None:
    (tmp_path / "photos/2019").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "door").symlink_to(tmp_path / "photos")
    locks = str(tmp_path / "locks")
    with locked([str(tmp_path / "photos")], locks):
        for name in ("photos", "photos/2019", "door/2019", ""):
            with pytest.raises(StoreBusy, match="another apply or undo is changing this folder"):  # noqa: SIM117
                with locked([str(tmp_path / name)], locks):
                    pass
        with locked([str(tmp_path / "other")], locks):
            pass
    with locked([str(tmp_path / "photos/2019")], locks):
        pass


def test_lock_folder_that_cannot_be_written_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with locked([str(tmp_path)], str(tmp_path / "file/locks")):
        pass
