"""Hostile surroundings: kills, broken databases, files that change under the reader, odd files and names, clocks."""

import itertools
import os
import random
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from album import make_album, scene
from click.testing import CliRunner, Result

from dedup.cli.main import main
from dedup.models.weights import WeightsSpec
from dedup.pipeline.scan import find_duplicates
from dedup.report.csv_file import cell, value_of
from dedup.store.store import Store
from dedup.types.settings import Settings
from dedup.workers import Runtime

Dedup = Callable[..., Result]
KILLS = int(os.environ.get("DEDUP_KILLS", "6"))
FLIPS = int(os.environ.get("DEDUP_FLIPS", "25"))


def killed(words: list[str], after: int, count_to: Path) -> int:
    """Run the command line in a forked process that SIGKILL ends at its nth line of ours; return the signal or 0."""
    torch.set_num_threads(1)  # threads would not live on in the child
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child:
        return os.WTERMSIG(os.waitpid(child, 0)[1])
    left = after

    def count(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal left
        if "/dedup/" not in frame.f_code.co_filename:
            return None
        left -= event == "line"
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return count

    try:
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
        sys.settrace(count)
        main(words, standalone_mode=False)
    finally:
        sys.settrace(None)
        count_to.write_text(str(after - left))
        os._exit(0)


@pytest.mark.slow
def test_scan_killed_at_any_line_goes_on_and_ends_with_the_same_report(
    dedup: Dedup, album: Path, tmp_path: Path
) -> None:
    dedup("scan", album, "-o", tmp_path / "expected.csv")  # loads all modules, so that no line of theirs is counted
    expected = (tmp_path / "expected.csv").read_bytes()

    def words(db: Path) -> list[str]:
        return ["scan", str(album), "--db", str(db), "--workers", "1", "-o", str(tmp_path / "g.csv")]

    killed(words(tmp_path / "whole.db"), 10**9, tmp_path / "lines")
    lines = int((tmp_path / "lines").read_text())
    assert (tmp_path / "g.csv").read_bytes() == expected
    rng = random.Random(5)
    for n in sorted(rng.sample(range(1, lines), KILLS)):
        db = tmp_path / f"{n}.db"
        (tmp_path / "g.csv").write_bytes(b"old")
        assert killed(words(db), n, tmp_path / "lines") == signal.SIGKILL
        assert (tmp_path / "g.csv").read_bytes() in (b"old", expected)
        if db.exists():
            with sqlite3.connect(db) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            connection.close()
        dedup(*words(db))
        assert (tmp_path / "g.csv").read_bytes() == expected, n


def test_output_half_written_by_a_killed_run_of_the_same_number_is_no_obstacle(
    dedup: Dedup, album: Path, tmp_path: Path
) -> None:
    (tmp_path / f"g.csv.{os.getpid()}.part").write_text("half")
    (tmp_path / "kept.csv").write_text("")
    (tmp_path / "g.csv").symlink_to(tmp_path / "kept.csv")
    (tmp_path / f"kept.csv.{os.getpid()}.part").write_text("half")
    dedup("scan", album, "-o", tmp_path / "g.csv")
    assert (tmp_path / "g.csv").is_symlink()
    assert (tmp_path / "kept.csv").read_text().count(",keep,") == 3
    assert list(tmp_path.glob("kept.csv.*")) == []
    os.mkfifo(tmp_path / "pipe.csv")
    assert "not a regular file" in dedup("export", "-o", tmp_path / "pipe.csv", code=1).stderr


def flipped(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 30)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def blank(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(0, len(data), 4096)
    data[at : at + 4096] = bytes(4096)


def schema_flipped(data: bytearray, rng: random.Random) -> None:
    for _ in range(3):
        data[rng.randrange(100, 4096)] ^= 1 << rng.randrange(8)


@pytest.mark.slow
def test_damaged_database_is_a_clear_line_and_never_a_traceback(dedup: Dedup, album: Path, tmp_path: Path) -> None:
    db = tmp_path / "test.db"
    dedup("scan", album)
    whole = db.read_bytes()
    told = 0
    for n, harm in itertools.product(range(FLIPS), (flipped, cut, blank, schema_flipped)):
        data = bytearray(whole)
        harm(data, random.Random(n))
        for commands in (["export"], ["export", "photos"], ["history"], ["apply"], ["scan", str(album), "-q"]):
            db.write_bytes(data)
            for end in ("-wal", "-shm"):
                Path(f"{db}{end}").unlink(missing_ok=True)
            result = CliRunner().invoke(main, commands, catch_exceptions=True)
            assert result.exception is None or isinstance(result.exception, SystemExit), (n, harm, commands)
            assert result.exit_code in (0, 1, 2, 3), (n, harm, commands)
            told += result.exit_code == 1
            if result.exit_code == 1:
                (line,) = result.stderr.splitlines()
                assert line.startswith(f"Error: {db}: "), (n, harm, commands, line)
    assert told > FLIPS


@pytest.mark.parametrize(
    ("table", "column", "value", "command"),
    [
        ("attempt", "result", "[]", "history"),
        ("attempt", "result", "{}", "history"),
        ("attempt", "started_at", 1e308, "history"),
        ("attempt", "ended_at", 2**62, "history"),
        ("run", "started_at", -1e18, "status"),
        ("run", "settings", "[]", "status"),
        ("run", "settings", "[]", "export"),
        ("photo", "facts", "{", "export"),
        ("photo", "facts", "5", "export"),
        ("photo", "facts", '{"frames": "x"}', "export"),
        ("photo", "facts", '{"exposure": [[]]}', "export"),
        ("photo", "screenshot", 2**62, "export"),
        ("root", "path", b"/a\0b", "scan"),
    ],
)
def test_value_that_dedup_would_not_have_stored_is_one_line(
    dedup: Dedup, album: Path, tmp_path: Path, table: str, column: str, value: object, command: str
) -> None:
    dedup("scan", album)
    with closing(sqlite3.connect(tmp_path / "test.db")) as connection, connection:
        connection.execute(f"UPDATE {table} SET {column} = ?", (value,))
    result = dedup(command, *([album] if command == "scan" else []), code=1)
    assert re.fullmatch(r"Error: .*; move it away and scan again\n", result.stderr)


def test_missing_or_foreign_journal_of_the_database_costs_no_more_than_the_last_batch(
    dedup: Dedup, album: Path, tmp_path: Path
) -> None:
    dedup("scan", album)
    expected = dedup("export").stdout
    (tmp_path / "test.db-wal").write_bytes(random.Random(1).randbytes(40_000))
    assert dedup("export").stdout == expected
    with sqlite3.connect(tmp_path / "test.db") as other:  # a write-ahead log that is lost with what it held
        other.execute("PRAGMA wal_autocheckpoint = 0")
        other.execute("DELETE FROM pair")
        other.commit()
        shutil.copyfile(tmp_path / "test.db", tmp_path / "lost.db")
    other.close()
    dedup("scan", album, "--db", tmp_path / "lost.db")
    assert dedup("export", "--db", tmp_path / "lost.db").stdout == expected


def test_locked_database_is_one_line(
    dedup: Dedup, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dedup("scan", album)
    connect = sqlite3.connect
    other = connect(tmp_path / "test.db", isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    monkeypatch.setattr(sqlite3, "connect", lambda path, **options: connect(path, **options | {"timeout": 0.1}))
    for words in (["status"], ["export"], ["scan", album]):
        says = f"Error: {tmp_path}/test.db: locked by another program; run this again when that is done\n"
        assert dedup(*words, code=1).stderr == says
    other.close()
    dedup("status")


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A filesystem that can be made read-only, which holds even for root."""
    folder = tmp_path / "ro"
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None or subprocess.run([mount, "-t", "tmpfs", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("this user may mount no file system")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_database_on_a_disk_that_may_only_be_read_is_one_line(dedup: Dedup, album: Path, read_only: Path) -> None:
    db = read_only / "a.db"
    dedup("scan", album, "--db", db)
    subprocess.run(["mount", "-o", "remount,ro", read_only], check=True)
    for words in (["scan", album], ["forget", album], ["apply"], ["status"], ["export"]):
        result = CliRunner().invoke(main, [*map(str, words), "--db", str(db)], catch_exceptions=False)
        assert result.exit_code == 1
        assert "cannot be" in result.stderr
        assert result.stderr.count("\n") == 1


@pytest.mark.slow
def test_files_that_change_while_they_are_read_cost_nobody_else(dedup: Dedup, tmp_path: Path) -> None:
    root = make_album(tmp_path / "Photos")
    rng = random.Random(3)
    files = []
    for n in range(120):
        scene(1000 + n, (200, 150)).save(path := root / f"busy {n}.jpg")
        files.append(path)
    stop = threading.Event()

    def disturb() -> None:
        while not stop.is_set():
            path = rng.choice(files)
            what = rng.randrange(4)
            if what == 0:
                path.unlink(missing_ok=True)
            elif what == 1 and path.exists():
                os.truncate(path, rng.randrange(1, 3000))
            elif what == 2 and path.exists():
                with path.open("ab") as f:
                    f.write(b"more" * 1000)
            else:
                scene(2000 + rng.randrange(50), (100, 75)).save(path.with_suffix(".tmp"), "JPEG")
                path.with_suffix(".tmp").replace(path)

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        result = CliRunner().invoke(main, ["scan", str(root), "-q"], catch_exceptions=False)
    finally:
        stop.set()
        thread.join()
    assert result.exit_code in (0, 3)
    assert result.stderr == ""
    result = CliRunner().invoke(main, ["scan", str(root), "-q"], catch_exceptions=False)
    (tmp_path / "again.db").unlink(missing_ok=True)
    CliRunner().invoke(main, ["scan", str(root), "-q", "--db", str(tmp_path / "again.db")], catch_exceptions=False)
    assert dedup("export").stdout == dedup("export", "--db", tmp_path / "again.db").stdout


def test_pipes_sockets_devices_and_loops_of_links_are_no_photos(
    dedup: Dedup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "in"
    root.mkdir()
    scene(1, (64, 48)).save(root / "a.jpg")
    os.mkfifo(root / "pipe.jpg")
    monkeypatch.chdir(root)  # the name of a socket must be short
    with socket.socket(socket.AF_UNIX) as s:
        s.bind("socket.jpg")
    (root / "loop").symlink_to(root)
    (root / "b.jpg").symlink_to("c.jpg")
    (root / "c.jpg").symlink_to("b.jpg")
    expected = {"pipe.jpg", "socket.jpg"}
    try:
        os.mknod(root / "zero.jpg", 0o600 | 0o020000, os.makedev(1, 5))
        expected.add("zero.jpg")
    except PermissionError:
        pass  # only root makes devices
    assert "1 photo in" in dedup("scan", root).stdout
    skipped = dedup("export", "skipped").stdout.splitlines()[1:]
    assert {os.path.basename(line.split(",")[0]) for line in skipped} == expected
    assert all(line.endswith("not a regular file") for line in skipped)


@pytest.mark.slow
def test_a_hundred_thousand_files_in_one_folder(dedup: Dedup, tmp_path: Path) -> None:
    root = tmp_path / "in"
    root.mkdir()
    scene(1, (64, 48)).save(root / "0.jpg")
    for n in range(1, 100_000):
        if n % 50_000:
            os.link(root / f"{n - n % 50_000}.jpg", root / f"{n}.jpg")  # many filesystems allow 65,000 of one file
        else:
            scene(2, (64, 48)).save(root / f"{n}.jpg")
    assert "100,000 photos in" in dedup("scan", root).stdout
    assert dedup("export").stdout.count("\n") == 100_001


def test_path_as_long_as_the_system_takes_is_read_and_a_longer_one_is_told(dedup: Dedup, tmp_path: Path) -> None:
    root = tmp_path / "in"
    root.mkdir()
    deepest, here = str(root), os.open(root, os.O_RDONLY)
    while len(deepest) < 4300:  # only step by step can such a folder be made
        left = 4095 - len(deepest) - len("//x.png")  # PATH_MAX counts the NUL behind it
        name = "d" * (left if 0 < left <= 200 else 100)
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        deepest = f"{deepest}/{name}"
        with open(os.open("x.png", os.O_WRONLY | os.O_CREAT, dir_fd=below), "wb") as f:
            scene(1, (64, 48)).save(f, "PNG")
        os.close(here)
        here = below
    os.close(here)
    result = dedup("scan", root, code=3)
    longest = max((line.split(",")[0] for line in dedup("export", "photos").stdout.splitlines()[1:]), key=len)
    assert len(longest) == 4095
    assert "1 skipped" in result.stdout
    assert "file name too long: the folder cannot be listed" in dedup("export", "skipped").stdout
    dedup("apply", "--to", tmp_path / "Away", "--yes", code=3)  # whose name there would be longer still
    assert "too long" not in dedup("undo").output
    dedup("apply", "--to", tmp_path / "A", "--yes")
    assert sum(len(names) for _, _, names in os.walk(root)) == 1
    dedup("undo")  # with no room for the name of a temporary file
    with pytest.raises(FileNotFoundError):
        os.stat(tmp_path / "A" / longest[len(str(root)) + 1 :])
    os.stat(longest)


def test_clock_that_jumps_changes_no_report(shipped_weights: WeightsSpec, album: Path, tmp_path: Path) -> None:
    reports = []
    for jump in (0.0, -3e9, 3e9):
        ticks = itertools.count(1.7e9)
        with Store(str(tmp_path / "clock.db"), scanning=True) as store:
            runtime = Runtime(1, lambda *about: None, lambda: next(ticks) + jump)  # noqa: B023
            reports.append(
                find_duplicates(
                    [str(album)], exclude=(), store=store, weights=shipped_weights, settings=Settings(), runtime=runtime
                )
            )
        scene(77, (64, 48)).save(album / "alone 10.jpg")
        os.utime(album / "alone 10.jpg", (1_500_000_000, 1_500_000_000))
    assert [len(r.photos.photos) for r in reports] == [12, 12, 12]
    found = [{p.sha256 for p in r.photos.photos} for r in reports]
    assert found[0] != found[1] == found[2]


def test_apply_and_a_second_scan_are_refused_while_a_scan_runs(dedup: Dedup, album: Path, tmp_path: Path) -> None:
    dedup("scan", album)
    for n in range(40):
        scene(500 + n).save(album / f"new {n}.png")
    words = [sys.executable, "-m", "dedup", "scan", str(album), "--db", str(tmp_path / "test.db"), "--json-log", "-"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as scanning:
        assert scanning.stderr is not None
        scanning.stderr.readline()  # it holds the database now
        assert "another run is using" in dedup("apply", "--yes", code=4).stderr
        assert "another run is using" in dedup("scan", album, code=4).stderr
        assert "13 files" in dedup("status").stdout
        scanning.kill()
    dedup("scan", album)  # nobody has to clear a lock away


NAMES = [
    "=1+1.jpg", "@x.jpg", "+a.jpg", "-rf.jpg", "'quoted'.jpg", '"x".jpg', "a,b;c.jpg", "line\nbreak\r.jpg", "tab\t.jpg",
    "<script>alert(1)<.jpg", "&amp;.jpg", "\x1b[31mred\x07.jpg", "caf\udce9.jpg", "\\udce9.jpg", "\u202egpj.exe.jpg",
    " lead.jpg", "trail .jpg", "a..jpg", "%s{}$HOME`id`.jpg", "日本 📷.jpg", "é.jpg", "e\u0301.jpg",
    "form\x0cfeed.jpg", "next\x85line.jpg", "one\u2028line.jpg", "\x1c\x1d\x1e.jpg",
]  # fmt: skip


def test_hostile_names_go_round_through_every_table_and_a_plan(dedup: Dedup, tmp_path: Path) -> None:
    root = tmp_path / "in"
    root.mkdir()
    scene(1, (64, 48)).save(root / "keep.png")
    for name in NAMES:
        scene(1, (64, 48)).save(root / name, "PNG")
    before = {os.fsencode(p.name): p.read_bytes() for p in root.iterdir()}
    said = dedup("scan", root, "--json-log", tmp_path / "log").stdout + dedup("history").stdout
    assert "\x1b" not in said + (tmp_path / "log").read_text()
    plan = tmp_path / "plan.csv"
    printed = dedup("apply", "--output", plan).stdout
    assert all(c not in printed for c in "\x1b\x07\r\t")
    assert printed.count("\n") == len(NAMES) + 3
    outcome = dedup("apply", plan, "--to", tmp_path / "Away", "--yes")
    assert len(list(root.iterdir())) == 1
    assert "\x1b" not in outcome.output
    dedup("undo")
    assert {os.fsencode(p.name): p.read_bytes() for p in root.iterdir()} == before
    assert [value_of(cell(name)) for name in NAMES] == NAMES


@pytest.mark.parametrize("words", [["export"], ["export", "photos"], ["export", "--format", "json"], ["find", "0.png"]])
def test_names_reach_a_terminal_escaped_and_a_pipe_as_they_are(dedup: Dedup, tmp_path: Path, words: list[str]) -> None:
    pty = pytest.importorskip("pty")
    root = tmp_path / "in"
    root.mkdir()
    for name in ("0.png", "\x1b[31mred\x07\x9b.png", "line\nbreak.png"):
        scene(1, (64, 48)).save(root / name)
    dedup("scan", root, "-q")
    terminal, side = pty.openpty()
    command = [sys.executable, "-m", "dedup", *words, "--db", str(tmp_path / "test.db")]
    with os.fdopen(terminal, "rb") as reader, subprocess.Popen(command, cwd=root, stdout=side) as done:
        os.close(side)
        shown = b""
        while chunk := read_terminal(reader.fileno()):
            shown += chunk
    assert done.returncode == 0
    text = shown.decode().replace("\r\n", "\n")
    assert [c for c in text if not c.isprintable() and c != "\n"] == []
    assert r"line\nbreak.png" in text
    piped = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, check=True).stdout.decode()
    assert "json" in words or "line\nbreak.png" in piped


def read_terminal(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux says so when the other side is closed
        return b""


def test_scan_needs_no_network(album: Path, tmp_path: Path) -> None:
    """In this process and all its workers, whoever opens a connection or looks up a name dies."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "sys.addaudithook(lambda event, args: os._exit(77) if event in\n"
        "    ('socket.connect', 'socket.getaddrinfo', 'socket.bind', 'urllib.Request') else None)\n"
    )
    package = Path(sys.modules["dedup"].__file__ or "").parents[1]
    about = os.environ | {"PYTHONPATH": f"{tmp_path}:{package}"}
    probe = "import socket; socket.create_connection(('127.0.0.1', 9))"
    assert subprocess.run([sys.executable, "-c", probe], env=about, check=False).returncode == 77
    words = [sys.executable, "-m", "dedup", "scan", str(album), "--db", str(tmp_path / "n.db")]
    done = subprocess.run(words, env=about, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
