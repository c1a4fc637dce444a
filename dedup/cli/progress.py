"""Progress of a run: bars at a terminal, JSON lines for programs, and the time limit."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from logging.handlers import RotatingFileHandler
from typing import Any

import click

from dedup.errors import BadUsage, DedupError, OutOfTime
from dedup.report.text import human_time, printable, roughly

_FIRST_S = 3.0  # a run that will be over by then needs no explanation
_EXPLANATION = """\
Reading {files} new files, each once: {left} to go. Then photos that look alike are compared, and likely copies looked
at again, which takes longer the more of them there are. No photo is changed. Ctrl-C stops; the next scan goes on there,
and reads only what is new."""


class Log:
    """Tells a person at a terminal, or a program that reads lines, how far a run is. Silent for anybody else."""

    def __init__(self, json_log: str | None, *, quiet: bool, seconds: int | None) -> None:
        self.stage, self.told = "", 0.0
        self.bar: Any = None
        self.lines = None if json_log is None else Lines.to(json_log)
        self.bars = json_log != "-" and not quiet and sys.stderr.isatty()
        self.seconds, self.begun = seconds, time.monotonic()
        self.explained = False

    def event(self, name: str, **what: Any) -> None:
        if self.lines is not None:
            line = json.dumps({"time": round(time.time(), 3), "event": name, **what})
            self.lines.emit(logging.makeLogRecord({"msg": line}))

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Tell of what is raised, on its way."""
        try:
            yield
        except DedupError as error:
            self.event(outcome_of(error), error=str(error))
            raise

    def progress(self, stage: str, done: int, of: int) -> None:
        """Tell, and raise OutOfTime if the time is up: all that is told of is stored."""
        if done == of or time.monotonic() - self.told > 5:
            self.told = time.monotonic()
            self.event("progress", stage=stage, done=done, of=of)
        if self.bars:
            self._draw(stage, done, of)
            self._explain(stage, done, of)
        if self.seconds is not None and time.monotonic() - self.begun >= self.seconds and done < of:
            raise OutOfTime(f"stopped after {human_time(self.seconds)}, as --max-time says: {stage} is at {done:,} of "
                            f"{of:,}; the next scan goes on there")  # fmt: skip

    def _draw(self, stage: str, done: int, of: int) -> None:
        from tqdm import tqdm

        if stage != self.stage or self.bar is None:
            self.close()
            self.stage = stage
            self.bar = tqdm(total=of, desc=stage.capitalize(), unit="", leave=False, dynamic_ncols=True)
        self.bar.total = of
        self.bar.update(done - self.bar.n)

    def _explain(self, stage: str, done: int, of: int) -> None:
        """Say once, after the first seconds of a longer run, what is going on and about how long it will be."""
        took = time.monotonic() - self.begun
        left = took * (of - done) / max(1, done)
        if stage == "reading" and not self.explained and took >= _FIRST_S and left >= _FIRST_S:
            self.explained = True
            self.bar.write(_EXPLANATION.format(files=f"{of:,}", left=roughly(left)), file=sys.stderr)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *about: object) -> None:
        self.close()
        if self.lines is not None:
            with suppress(OSError):  # of a full disk; it was told
                self.lines.close()


class Lines(RotatingFileHandler):
    """A log of at most six files of a megabyte. One that cannot be written any more is given up, and that is said."""

    @classmethod
    def to(cls, path: str) -> logging.Handler:
        """Open the log; - is stderr. Raises BadUsage."""
        if path == "-":
            return logging.StreamHandler(sys.stderr)
        try:
            return cls(path, maxBytes=1_000_000, backupCount=5, encoding="utf-8")
        except OSError as error:
            raise BadUsage(f"{path}: the log cannot be written ({error.strerror})") from error

    def handleError(self, record: logging.LogRecord) -> None:
        if self.level <= logging.CRITICAL:
            click.echo(printable(f"{self.baseFilename}: the log cannot be written any more"), err=True)
        self.setLevel(logging.CRITICAL + 1)


def outcome_of(error: DedupError) -> str:
    return "stopped" if isinstance(error, OutOfTime) else "failed"
