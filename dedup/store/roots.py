"""The folders that make up the collection."""

from __future__ import annotations

import os
from collections.abc import Sequence

from dedup.store.database import Database
from dedup.store.runs import Runs


class Roots:
    def __init__(self, database: Database, runs: Runs) -> None:
        self._db, self._runs = database, runs

    def load(self) -> tuple[str, ...]:
        """Return the roots, sorted. Before any is stored, those of the last scan that have files in the database."""
        rows = self._db.rows("SELECT path FROM root ORDER BY path")
        if rows:
            return tuple(os.fsdecode(path) for (path,) in rows)
        last = self._runs.last()
        return tuple(root for root in sorted(last.roots) if self.photos_below(root)) if last else ()

    def add(self, roots: Sequence[str]) -> None:
        """Add folders to the collection."""
        with self._db.change(totals_stand=True) as db:
            db.executemany("INSERT OR IGNORE INTO root VALUES (?)", [(os.fsencode(root),) for root in roots])

    def photos_below(self, root: str) -> int:
        """Return how many files of photos the database knows below a folder."""
        below = os.fsencode(os.path.join(root, ""))
        sql = "SELECT count(*) FROM file WHERE photo IS NOT NULL AND path >= ? AND path < ?"
        return int(self._db.rows(sql, (below, below[:-1] + b"0"))[0][0])  # 0 follows / in ASCII
