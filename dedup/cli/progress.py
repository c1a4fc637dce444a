"""Progress of a run: bars at a terminal, JSON lines for programs, and the time limit."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from typing import Any

import click

from dedup.cli.estimate import STAGES, Estimate
from dedup.errors import BadUsage, DedupError, OutOfTime
from dedup.languages.language import Language
from dedup.report.text import printable
from dedup.types.message import Message

_DRAW_S = 0.1  # between two updates of the bar
_EVERY_S = 5.0  # between two progress events of the log
_NOTE_S = 3.0  # a run that ends before needs no note
_NOTE = Message(
    "No photo is changed. Ctrl-C stops the scan; the next one continues from there and only reads new files."
)
_NAMES = {
    "checking": Message("Checking"),
    "reading": Message("Reading"),
    "searching": Message("Searching"),
    "comparing": Message("Comparing"),
    "verifying": Message("Verifying"),
    "comparing pixels": Message("Comparing pixels"),
}


class Log:
    """Reports the progress of a run: to a person at a terminal, and to a program that reads JSON lines."""

    def __init__(self, json_log: str | None, *, quiet: bool, seconds: int | None, language: Language) -> None:
        self.estimate, self.language = Estimate(), language
        self.logged = 0.0  # when the last progress event was written
        self.bar: Any = None
        self.drawn, self.noted = 0.0, False
        self.lines = None if json_log is None else Lines.to(json_log)
        self.bars = json_log != "-" and not quiet and sys.stderr.isatty()
        self.seconds, self.begun = seconds, time.monotonic()

    def event(self, name: str, **what: Any) -> None:
        if self.lines is not None:
            line = json.dumps({"time": round(time.time(), 3), "event": name, **what})
            self.lines.emit(logging.makeLogRecord({"msg": line}))

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Log an error that passes through."""
        try:
            yield
        except DedupError as error:
            self.event(outcome_of(error), error=str(error))
            raise

    def progress(self, stage: str, done: int, of: int) -> None:
        """Report that `done` of `of` items of a stage are done and stored. Raises OutOfTime at the time limit."""
        now = time.monotonic()
        self.estimate.update(stage, done, of, now)
        if done == of or now - self.logged > _EVERY_S:
            self.logged = now
            left = self.estimate.seconds_left
            outlook = {} if left is None else {"seconds_left": round(left, 1), "at_least": self.estimate.at_least}
            self.event("progress", stage=stage, done=done, of=of, **outlook)
        if self.bars:
            self._draw(done, of)
            self._note(now)
        if self.seconds is not None and now - self.begun >= self.seconds and done < of:
            raise OutOfTime(
                Message(
                    "stopped after {limit}, as {option} says ({stage} {done:,}/{of:,}); "
                    "the next scan continues from there",
                    limit=self.language.duration(self.seconds),
                    option="--max-time",
                    stage=_NAMES.get(stage, stage),
                    done=done,
                    of=of,
                )
            )

    def warn(self, text: Message) -> None:
        """Print a warning and log it."""
        self.event("warning", text=text)
        self.close()
        click.echo(printable(self.language.gettext("Warning: {text}", text=text)), err=True)

    def begin(self, what: Message) -> None:
        """Show what happens before the first progress of a stage, as 'Listing files'."""
        if self.bars:
            self._show(self.language.say(what), 0, 0)

    def _draw(self, done: int, of: int) -> None:
        number = self.estimate.number
        if done < of:
            self._show(line_of(self.estimate, self.language), done, of)
        elif number == len(STAGES):
            self._show(self.language.gettext("Grouping"), 0, 0)
        elif number:  # a full bar would look stuck until the next stage reports
            self._show(f"[{number + 1}/{len(STAGES)}] {self.language.say(_NAMES[STAGES[number]])}", 0, 0)

    def _show(self, text: str, done: int, of: int) -> None:
        """Draw one line: a bar if there is a total."""
        from tqdm import tqdm

        if self.bar is None:
            self.bar = tqdm(total=1, leave=False, dynamic_ncols=True, bar_format="{desc}")
        self.bar.bar_format = "{desc} |{bar:20}|" if of else "{desc}"
        self.bar.total, self.bar.n = of or 1, done
        self.bar.set_description_str(text, refresh=False)
        if not done or time.monotonic() - self.drawn >= _DRAW_S:  # each stage is seen, however short
            self.drawn = time.monotonic()
            self.bar.refresh()

    def _note(self, now: float) -> None:
        """Say once in a longer run that it is safe to stop."""
        left = self.estimate.seconds_left
        if not self.noted and now - self.begun >= _NOTE_S and left is not None and left >= _NOTE_S:
            self.noted = True
            self.bar.write(self.language.say(_NOTE), file=sys.stderr)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *about: object) -> None:
        self.close()
        if self.lines is not None:
            with suppress(OSError):  # the disk is full, which was reported
                self.lines.close()


def line_of(estimate: Estimate, language: Language) -> str:
    """Return for example '[1/4] Reading 128/50,000, 165 photos/s, at least about 5 min left'."""
    e = estimate
    number = f"[{e.number}/{len(STAGES)}] " if e.number else ""
    say, name = language.gettext, language.say(_NAMES.get(e.stage, e.stage.capitalize()))
    parts = [f"{number}{name} {language.number(e.done)}/{language.number(e.of)}"]
    if e.rate and e.stage in ("reading", "comparing", "verifying"):
        rate = language.number(e.rate, ",.0f" if e.rate >= 10 else ".1f")
        parts.append(say("{rate} photos/s", rate=rate) if e.stage == "reading" else say("{rate} pairs/s", rate=rate))
    if e.seconds_left is not None:
        time = language.roughly(e.seconds_left)
        parts.append(say("at least {time} left", time=time) if e.at_least else say("{time} left", time=time))
    return ", ".join(parts)


class Lines(RotatingFileHandler):
    """A log of at most six files of a megabyte each. If it can no longer be written, it stops and says so."""

    @classmethod
    def to(cls, path: str) -> logging.Handler:
        """Open the log; - is stderr. Raises BadUsage."""
        if path == "-":
            return logging.StreamHandler(sys.stderr)
        try:
            return cls(path, maxBytes=1_000_000, backupCount=5, encoding="utf-8")
        except OSError as error:
            raise BadUsage(
                Message("{path}: cannot be written ({error}); choose another name", path=path, error=error.strerror)
            ) from error

    def _open(self) -> TextIOWrapper:
        """Open the log, which names files of the user: a new one is readable by its owner only."""
        return open(self.baseFilename, "a", encoding="utf-8", opener=lambda path, flags: os.open(path, flags, 0o600))

    def handleError(self, record: logging.LogRecord) -> None:
        if self.level <= logging.CRITICAL:
            click.echo(printable(f"{self.baseFilename}: the log can no longer be written"), err=True)
        self.setLevel(logging.CRITICAL + 1)


def outcome_of(error: DedupError) -> str:
    return "stopped" if isinstance(error, OutOfTime) else "failed"
