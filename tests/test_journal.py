"""Journals that are damaged, or that this version did not write: one clear line, and no photo is lost."""

import json
import os
import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from test_actions import act, failures, step, tree, undo_run

from dedup.actions.journal import last_run, read
from dedup.errors import DedupError
from dedup.types.plan import RemovalStep

Dedup = Callable[..., Result]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "Photos").mkdir()
    for n, name in enumerate("abc"):
        for copy in (f"{name}.jpg", f"{name}2.jpg"):
            (tmp_path / "Photos" / copy).write_bytes(name.encode() * 99)
            os.utime(tmp_path / "Photos" / copy, (1_500_000_000 + n, 1_500_000_000 + n))
    return tmp_path / "Photos"


def steps_of(photos: Path) -> list[RemovalStep]:
    return [step(photos / f"{name}.jpg", photos / f"{name}2.jpg") for name in "abc"]


@pytest.fixture
def journal(photos: Path, tmp_path: Path) -> Path:
    """The journal of an apply of three steps."""
    act(steps_of(photos), tmp_path / "Away", tmp_path / "runs")
    (path,) = (tmp_path / "runs").iterdir()
    return path


def lines_of(journal: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in journal.read_text().splitlines() if line]


def put(journal: Path, lines: list[dict[str, Any]]) -> None:
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize(
    "line",
    ["[]", "7", "null", "{}", '"do"', '{"do": 9}', '{"step": 1}', '{"left": "1"}', '{"roots": [5]}',
     '{"made": "a\\u0000"}', '{"made": "\\ud800"}', '{"emptied": "/a", "attributes": {}}', '{"undone": false}',
     '{"done": 1, "at": 5}'],
)  # fmt: skip
def test_line_of_another_shape_is_refused_before_anything_is_done(
    photos: Path, journal: Path, tmp_path: Path, line: str
) -> None:
    before = tree(tmp_path)
    number = len(journal.read_text().splitlines()) + 1
    with open(journal, "a") as f:
        f.write(line + "\n")
    message = rf"jsonl: line {number} was not written by this version of dedup; nothing was done$"
    with pytest.raises(DedupError, match=message):
        last_run(str(tmp_path / "runs"))
    assert {k: v for k, v in tree(tmp_path).items() if not k.startswith("runs")} == {
        k: v for k, v in before.items() if not k.startswith("runs")
    }


@pytest.mark.parametrize(
    ("key", "value"),
    [("do", "1"), ("do", True), ("to", "cloud"), ("to", ["trash"]), ("path", 5), ("path", "/a\0b"), ("target", None),
     ("sha256", 7), ("inode", 1.5), ("keeper", {}), ("attributes", None), ("attributes", {"uid": 0})],
)  # fmt: skip
def test_step_with_another_type_is_refused(journal: Path, key: str, value: object) -> None:
    put(journal, [line | {key: value} if "do" in line else line for line in lines_of(journal)])
    with pytest.raises(DedupError, match="was not written by this version"):
        read(str(journal.parent), journal.stem)


@pytest.mark.parametrize("key", ["aside", "temporary"])
def test_undo_removes_no_file_that_the_journal_names_but_apply_could_not_have_made(
    photos: Path, journal: Path, key: str
) -> None:
    put(journal, [line | {key: str(photos / "a.jpg")} if "do" in line else line for line in lines_of(journal)])
    with pytest.raises(DedupError, match="was not written by this version"):
        read(str(journal.parent), journal.stem)
    assert (photos / "a.jpg").exists()


@pytest.mark.parametrize("number", [2, 5])
def test_damaged_line_is_named_and_the_rest_is_restored(
    photos: Path, journal: Path, tmp_path: Path, number: int
) -> None:
    lines = journal.read_bytes().splitlines()
    (step_line,) = (n for n, line in enumerate(lines) if line.startswith(f'{{"do": {(number + 1) // 3 + 1}'.encode()))
    lines[step_line] = b"\0" * len(lines[step_line])
    journal.write_bytes(b"\n".join(lines) + b"\n")
    message = f"line {step_line + 1} is damaged; a file that it names is not restored"
    assert failures(undo_run(journal.parent, tmp_path)) == [message]
    assert len(tree(photos)) == 5
    assert last_run(str(journal.parent)) == journal.stem  # not undone completely


def test_deeply_nested_line_is_damaged(journal: Path, tmp_path: Path) -> None:
    lines = journal.read_bytes().splitlines()
    journal.write_bytes(b"\n".join([lines[0], lines[1], b"[" * 100_000, *lines[2:]]) + b"\n")
    assert failures(undo_run(journal.parent, tmp_path)) == ["line 3 is damaged; a file that it names is not restored"]


def altered(lines: list[dict[str, Any]], rng: random.Random) -> bytes:
    """Return a journal with one to three faults: other values, other keys, lines cut, flipped, swapped or repeated."""
    values = [None, True, -1, 2**70, 1.5, "", "\0", [], {}, "trash", "delete", "hardlink"]
    data = [json.dumps(line).encode() for line in lines]
    for _ in range(rng.randint(1, 3)):
        n = rng.randrange(len(data))
        match rng.randrange(6):
            case 0 | 1:
                line = dict(rng.choice(lines))
                line[rng.choice(list(line))] = rng.choice(values)
                data[n] = json.dumps(line).encode()
            case 2:
                data[n] = data[n][: rng.randrange(len(data[n]) + 1)]
            case 3:
                at = rng.randrange(len(data[n]) or 1)
                data[n] = data[n][:at] + bytes([rng.randrange(256)]) + data[n][at + 1 :]
            case 4:
                data.insert(n, rng.choice(data))
            case 5:
                rng.shuffle(data)
    return b"\n".join(data) + b"\n"


@pytest.mark.parametrize("to", ["folder", "hardlink"])
def test_no_journal_costs_a_photo_or_ends_in_an_unknown_error(photos: Path, tmp_path: Path, to: str) -> None:
    def contents() -> Counter[bytes]:
        return Counter(
            p.read_bytes() for name in ("Photos", "Away") for p in (tmp_path / name).rglob("*") if p.is_file()
        )

    rng, before, runs = random.Random(11), contents(), tmp_path / "runs"
    for n in range(int(os.environ.get("DEDUP_JOURNALS", "60"))):
        act(steps_of(photos), tmp_path / "Away" if to == "folder" else to, runs)
        (path,) = runs.iterdir()
        intact = path.read_bytes()
        path.write_bytes(altered(lines_of(path), rng))
        with suppress(DedupError):
            undo_run(runs, tmp_path, path.stem)
        assert contents() >= before, n
        path.write_bytes(intact)
        assert failures(undo_run(runs, tmp_path, path.stem)) == [], n
        assert contents() == before, n
        path.unlink()


def test_journal_of_another_version_is_one_line_on_the_command_line(dedup: Dedup, tmp_path: Path) -> None:
    folder = tmp_path / "test.db.journal"
    folder.mkdir()
    (folder / "20200101-000000-000.jsonl").write_text('{"version": 9}\n')
    done = dedup("undo", code=1)
    assert done.stderr.splitlines() == [
        f"Error: {folder}/20200101-000000-000.jsonl: line 1 was not written by this version of dedup; nothing was done"
    ]
