"""The record of an apply: one JSON object a line, on disk before each step. Enough to undo it after any crash."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from typing import Any, Self

from dedup.actions.file_ops import (
    Attributes,
    aside_name,
    make_folder,
    missing_folders,
    probe_name,
    sync_folder,
    temporary_beside,
)
from dedup.errors import BadUsage, DedupError
from dedup.types.message import Message

Entry = dict[str, Any]


def _is_text(value: object) -> bool:
    """Return whether a value can be, or be part of, a path of this system."""
    try:
        return isinstance(value, str) and b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        return False


def _is_number(value: object) -> bool:
    return type(value) is int and abs(value) < 1 << 64


def _are_attributes(value: Any) -> bool:
    try:
        read = Attributes.from_json(value)
    except (AttributeError, KeyError, TypeError, ValueError):
        return False
    numbers = (read.uid, read.gid, read.mode, read.mtime_ns)
    limits = (1 << 32, 1 << 32, 1 << 12, 1 << 93)  # a time is of 64 bits in seconds
    return all(_is_number(n) and abs(n) < limit for n, limit in zip(numbers, limits, strict=True))


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


_VALUES: dict[str, Callable[[Any], bool]] = {
    "roots": _are_texts,
    "do": _is_number,
    "to": ("trash", "delete", "hardlink", "reflink", "folder").__contains__,
    **dict.fromkeys(("path", "target", "sha256", "aside", "temporary", "keeper", "probe", "made", "emptied"), _is_text),
    "inode": _is_number,
    "attributes": _are_attributes,
    "done": _is_number,
    "left": _is_number,
    "undone": (True,).__contains__,
}
# What a line may hold: the folders that a run could change, a file that is to show whether undo finds what goes to the
# trash, a step, how it ended, a folder, and that all is undone.
_LINES = tuple(
    frozenset(keys.split())
    for keys in (
        "roots",
        "probe",
        "do to path target sha256 inode aside temporary keeper attributes",
        "done",
        "left",
        "made",
        "emptied attributes",
        "undone",
    )
)


class Journal:
    """The journal of one run, open for appending. A context manager. Raises DedupError if it cannot be written."""

    def __init__(self, path: str) -> None:
        self.path = path
        folder = os.path.dirname(path)
        try:
            for missing in missing_folders(folder):
                make_folder(missing)
            self._file = open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")  # noqa: SIM115
            os.chmod(path, 0o600)
            self._file.write(b"\n")  # ends a line that a crash cut short
            self._sync()
            sync_folder(folder)
        except OSError as error:
            raise DedupError(
                Message(
                    "{path}: the journal cannot be written ({error}); nothing was done", path=path, error=error.strerror
                )
            ) from error

    def write(self, **entry: Any) -> None:
        """Write one line to disk. Raises DedupError; the caller must then stop."""
        try:
            self._file.write(json.dumps(entry).encode() + b"\n")
            self._sync()
        except OSError as error:
            raise DedupError(
                Message(
                    "{path}: the journal cannot be written ({error}); stopped before the next file",
                    path=self.path,
                    error=error.strerror,
                )
            ) from error

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *about: object) -> None:
        self._file.close()


def folder_of(db: str) -> str:
    """Return the folder for the journals of a database, beside it by its real path."""
    return f"{os.path.realpath(db)}.journal"


def new_run(folder: str, now: float) -> str:
    """Return an unused name for a run. Names sort by time.   now: seconds since the epoch."""
    name = time.strftime("%Y%m%d-%H%M%S", time.localtime(now))
    taken = set(runs(folder))
    return next(c for n in range(len(taken) + 1) if (c := f"{name}-{n:03}") not in taken)


def path_of(folder: str, run: str) -> str:
    """Return the path of the journal of a run."""
    return os.path.join(folder, f"{run}.jsonl")


def runs(folder: str) -> list[str]:
    """Return the names of the runs that have a journal, the oldest first. Raises DedupError."""
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DedupError(Message("{path}: cannot be read ({error})", path=folder, error=error.strerror)) from error
    return sorted(name.removesuffix(".jsonl") for name in names if name.endswith(".jsonl"))


def read(folder: str, run: str) -> list[Entry]:
    """Return the lines of a run. The last line of an apply is ignored if a crash cut it short: its step was not begun.

    For any other line that is no JSON there is {"damaged": its number}.
    Raises BadUsage if there is no such run, DedupError if it cannot be read or is not of this version.
    """
    if run not in runs(folder):
        raise BadUsage(Message("{run}: no such run; there are: {runs}", run=run, runs=", ".join(runs(folder)) or "-"))
    path = path_of(folder, run)
    try:
        with open(path, "rb") as f:
            lines = f.readlines()
    except OSError as error:
        raise DedupError(Message("{path}: cannot be read ({error})", path=path, error=error.strerror)) from error
    entries = [_entry(path, run, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    last = max((n for n, entry in enumerate(entries) if not entry.keys() & {"damaged", "undone"}), default=-1)
    return [entry for n, entry in enumerate(entries) if n <= last or "damaged" not in entry]


def _entry(path: str, run: str, number: int, line: bytes) -> Entry:
    """Return what a line of the journal of a run holds. Raises DedupError if it is not of this version."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return {"damaged": number}
    if not isinstance(entry, dict) or not _is_ours(entry, run):
        raise DedupError(
            Message(
                "{path}: line {number} was not written by this version of dedup; nothing was done",
                path=path,
                number=number,
            )
        )
    return entry


def _is_ours(entry: Entry, run: str) -> bool:
    """Return whether a line is one that this version writes. Undo removes files with the hidden names of a step."""
    if entry.keys() not in _LINES or not all(_VALUES[key](value) for key, value in entry.items()):
        return False
    if "probe" in entry:
        return bool(entry["probe"] == probe_name(os.path.dirname(entry["probe"]), run))
    if "do" not in entry:
        return True
    path, target, number = entry["path"], entry["target"], entry["do"]
    ours = aside_name(path, run, number), temporary_beside(target or path, run, number)
    return (entry["aside"], entry["temporary"]) == ours


def damaged_lines(entries: Sequence[Entry]) -> list[int]:
    """Return the numbers of lines that cannot be read."""
    return [entry["damaged"] for entry in entries if "damaged" in entry]


def roots_of(entries: Sequence[Entry]) -> list[str]:
    """Return the real paths of the folders that a run could change."""
    return next((entry["roots"] for entry in entries if "roots" in entry), [])


def probes(entries: Sequence[Entry]) -> list[str]:
    """Return the paths of the files that a run sent to the trash to see whether they are found there."""
    return [entry["probe"] for entry in entries if "probe" in entry]


def folders_emptied(entries: Sequence[Entry]) -> list[Entry]:
    """Return the lines about empty folders that a run removed, in the order in which it did."""
    return [entry for entry in entries if "emptied" in entry]


def folders_made(entries: Sequence[Entry]) -> list[str]:
    """Return the folders that a run made, in the order in which it made them."""
    return [entry["made"] for entry in entries if "made" in entry]


def started(entries: Sequence[Entry]) -> list[Entry]:
    """Return the steps that were started, without those that failed and changed nothing."""
    left = {entry["left"] for entry in entries if "left" in entry}
    return [entry for entry in entries if "do" in entry and entry["do"] not in left]


def last_run(folder: str) -> str | None:
    """Return the newest run that changed a file and was not undone."""
    return next((run for run in reversed(runs(folder)) if _can_be_undone(read(folder, run))), None)


def _can_be_undone(entries: list[Entry]) -> bool:
    return bool(started(entries)) and not any(e.get("undone") for e in entries)
