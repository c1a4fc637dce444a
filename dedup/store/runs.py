"""Finished scans, the totals of the last one, and every scan that was started."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from dedup.store.database import Database
from dedup.store.listing import Listing
from dedup.store.pairs import Pairs
from dedup.types.arrays import Indices
from dedup.types.pairs import NOTHING_FOUND, Candidates
from dedup.types.report import Attempt, Run, Totals
from dedup.types.settings import KEEP_WORDS, Settings

_ATTEMPTS = 1000  # scans whose record is kept
_TIMES_S = (-1e10, 1e11)  # since the epoch: what a clock may show, in the years 1653 to 5138


class Runs:
    def __init__(self, database: Database, pairs: Pairs) -> None:
        self._db, self._pairs = database, pairs

    def last(self) -> Run | None:
        """Return the last finished scan."""
        rows = self._db.rows(
            """SELECT started_at, ended_at, roots, settings, weights, recall, contents, prior FROM run
               ORDER BY id DESC LIMIT 1"""
        )
        if not rows:
            return None
        started, ended, roots, settings, *rest = rows[0]
        try:
            _check_times((started, ended))
            return Run(started, ended, tuple(json.loads(roots)), _settings(settings), *rest)
        except (ValueError, TypeError) as error:
            raise self._db.unusable() from error

    def add(
        self,
        run: Run,
        found: Listing,
        candidates: Candidates | None,
        ids: Indices,
        *,
        unverified: Candidates = NOTHING_FOUND,
    ) -> None:
        """Store a finished scan of the listed files.

        candidates: its pairs, by positions in `ids`, the database numbers of its photos; None if they are those of the
        last run. unverified: those that should have been verified and could not be.
        """
        with self._db.change() as db:
            values = (json.dumps(run.roots), json.dumps(asdict(run.settings)), run.weights_name, run.recall)
            db.execute(
                """INSERT INTO run (started_at, ended_at, roots, settings, weights, recall, contents, prior, pairs)
                   SELECT ?, ?, ?, ?, ?, ?, ?, ?, coalesce(max(pairs), 1) FROM run""",
                (run.started_at, run.ended_at, *values, run.contents, run.prior),
            )
            number, pairs = db.execute("SELECT id, pairs FROM run ORDER BY id DESC LIMIT 1").fetchone()
            if candidates is not None:
                self._pairs.mark_candidates(db, candidates, ids, pairs)
            self._pairs.replace_unverified(db, unverified, ids)
            db.execute(f"UPDATE file SET run = ? WHERE path IN (SELECT path FROM {found.found})", (number,))
            db.execute("DELETE FROM unread")
            db.execute(f"INSERT INTO unread SELECT * FROM {found.refused}")

    def save_totals(self, terms: bytes, totals: Totals) -> None:
        """Store the totals of the last run for repeat(). terms: digest of everything they depend on."""
        with self._db.change() as db:
            db.execute("INSERT INTO total VALUES (?, ?)", (terms, json.dumps(asdict(totals))))

    def repeat(self, terms: bytes, *, started_at: float, ended_at: float) -> tuple[Run, Totals] | None:
        """Return the last run, with these times from now on, and its totals; None if a scan on these terms could find
        something else.
        """
        rows = self._db.rows("SELECT figures FROM total WHERE terms = ?", (terms,))
        if not rows:
            return None
        with self._db.change(totals_stand=True) as db:
            sql = "UPDATE run SET started_at = ?, ended_at = ? WHERE id = (SELECT max(id) FROM run)"
            db.execute(sql, (started_at, ended_at))
        last = self.last()
        assert last is not None
        try:
            return last, Totals(**json.loads(rows[0][0]))
        except (ValueError, TypeError) as error:
            raise self._db.unusable() from error

    def start_attempt(self, roots: Sequence[str], *, started_at: float) -> int:
        """Record that a scan was started; return its number."""
        with self._db.change(totals_stand=True) as db:
            sql = "INSERT INTO attempt (started_at, roots) VALUES (?, ?)"
            number = db.execute(sql, (started_at, json.dumps(roots))).lastrowid
            db.execute("DELETE FROM attempt WHERE id <= ?", (int(number or 0) - _ATTEMPTS,))
        return int(number or 0)

    def end_attempt(self, number: int, outcome: str, result: dict[str, Any], *, ended_at: float) -> None:
        """Record how a scan ended."""
        with self._db.change(totals_stand=True) as db:
            sql = "UPDATE attempt SET outcome = ?, result = ?, ended_at = ? WHERE id = ?"
            db.execute(sql, (outcome, json.dumps(result), ended_at, number))

    def attempts(self) -> list[Attempt]:
        """Return the scans that were started, the latest first."""
        rows = self._db.rows("SELECT started_at, ended_at, roots, outcome, result FROM attempt ORDER BY id DESC")
        try:
            _check_times(time for started, ended, *_ in rows for time in (started, ended or 0.0))
            return [
                Attempt(started, ended, tuple(json.loads(roots)), outcome, _result(outcome, result or "{}"))
                for started, ended, roots, outcome, result in rows
            ]
        except (ValueError, TypeError) as error:
            raise self._db.unusable() from error


def _check_times(seconds: Iterable[float]) -> None:
    """Raise ValueError or TypeError if a time is not one that can be shown."""
    for value in seconds:
        if not _TIMES_S[0] < value < _TIMES_S[1]:
            raise ValueError(f"{value}: not a time")


def _result(outcome: str | None, text: str) -> dict[str, Any]:
    """Return the stored result of a scan. Raises ValueError or TypeError if it is none."""
    result = dict(json.loads(text))
    figures = ("photos", "new", "duplicates", "skipped") if outcome == "finished" else ()
    if not all(isinstance(result.get(name), int) for name in figures):
        raise ValueError(f"{text}: no figures of a scan")
    return result


def _settings(text: str) -> Settings:
    """Return stored settings. Raises ValueError or TypeError if they are not settings."""
    values = json.loads(text)
    if not isinstance(values, dict):
        raise TypeError(f"{text}: not settings")
    if "confirm" in values:  # the name of `verify` in older databases
        values["verify"] = values.pop("confirm")
    lists: dict[str, Any] = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    settings = Settings(**{**values, **lists})
    if not set(KEEP_WORDS).issuperset(settings.keep):
        raise ValueError(f"keep {settings.keep}")
    return settings
