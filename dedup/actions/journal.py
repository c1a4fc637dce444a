"""What was done, a JSON object a line, on disk before it is done. Enough to take a run back after a crash anywhere."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Self

from dedup.actions.file_ops import sync_folder
from dedup.errors import BadUsage, DedupError

Entry = dict[str, Any]


class Journal:
    """One run's file, open for appending; a context manager."""

    def __init__(self, path: str) -> None:
        self.path = path
        folder = os.path.dirname(path)
        try:
            os.makedirs(folder, exist_ok=True)
            self._file = open(path, "ab")  # noqa: SIM115
            self._file.write(b"\n")  # what a crash left unfinished ends here
            self._sync()
            sync_folder(folder)
        except OSError as error:
            raise DedupError(f"{path}: the journal cannot be written ({error.strerror}); nothing was done") from error

    def write(self, **entry: Any) -> None:
        """Put one line on disk. Raises DedupError, and then nothing more must be done."""
        try:
            self._file.write(json.dumps(entry).encode() + b"\n")
            self._sync()
        except OSError as error:
            message = f"{self.path}: the journal cannot be written ({error.strerror}); stopped before the next file"
            raise DedupError(message) from error

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *about: object) -> None:
        self._file.close()


def folder_of(db: str) -> str:
    """Return where the journals of a database lie."""
    return f"{db}.journal"


def new_run(folder: str, now: float) -> str:
    """Return a name for a run that no journal has; later runs sort behind."""
    name = time.strftime("%Y%m%d-%H%M%S", time.localtime(now))
    taken = set(runs(folder))
    return next(c for n in range(len(taken) + 1) if (c := f"{name}-{n:03}") not in taken)


def path_of(folder: str, run: str) -> str:
    """Return where the journal of a run lies."""
    return os.path.join(folder, f"{run}.jsonl")


def runs(folder: str) -> list[str]:
    """Return the runs that have a journal, the oldest first."""
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DedupError(f"{folder}: the journals cannot be read ({error.strerror})") from error
    return sorted(name.removesuffix(".jsonl") for name in names if name.endswith(".jsonl"))


def read(folder: str, run: str) -> list[Entry]:
    """Return the lines of a run; one that a crash cut short stands for nothing done.

    Raises BadUsage if unknown, DedupError if it cannot be read.
    """
    if run not in runs(folder):
        raise BadUsage(f"{run}: no such run; there are: {', '.join(runs(folder)) or 'none'}")
    entries, path = [], path_of(folder, run)
    try:
        with open(path, "rb") as f:
            lines = f.readlines()
    except OSError as error:
        raise DedupError(f"{path}: the journal cannot be read ({error.strerror})") from error
    for line in lines:
        with suppress(ValueError):
            entries.append(json.loads(line))
    return entries


def begun(entries: Sequence[Entry]) -> list[Entry]:
    """Return the lines of what was begun, without the steps that failed and left everything as it was."""
    left = {entry["left"] for entry in entries if "left" in entry}
    return [entry for entry in entries if "do" in entry and entry["do"] not in left]


def last_run(folder: str) -> str | None:
    """Return the newest run that touched a file and was not taken back."""
    return next((run for run in reversed(runs(folder)) if _stands(read(folder, run))), None)


def _stands(entries: list[Entry]) -> bool:
    return bool(begun(entries)) and not any(e.get("undone") for e in entries)
