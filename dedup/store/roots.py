"""The folders that make up the collection."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Sequence
from typing import Any

from dedup.store.database import Database
from dedup.store.runs import Runs
from dedup.types.photo import File


class Roots:
    def __init__(self, database: Database, runs: Runs) -> None:
        self._db, self._runs = database, runs

    def load(self) -> tuple[str, ...]:
        """Return the roots, sorted. Before any is stored, those of the last scan that have files in the database."""
        rows = self._db.rows("SELECT path FROM root ORDER BY path")
        if any(b"\0" in path for (path,) in rows):
            raise self._db.unusable()
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

    def files_below(self, folder: str) -> list[File]:
        """Return the files that the database knows below a folder."""
        below = os.fsencode(os.path.join(folder, ""))
        sql = "SELECT path, size, mtime_ns, ctime_ns, device, inode FROM file WHERE path >= ? AND path < ?"
        return [File(os.fsdecode(path), *rest) for path, *rest in self._db.rows(sql, (below, below[:-1] + b"0"))]

    def move(self, old: str, new: str, files: Sequence[tuple[str, File]]) -> None:
        """Record that a folder has another path: its files, the roots, and what the last scan was told.

        files: each old path with the file as it is now.
        """
        rows = [(os.fsencode(f.path), f.device, f.inode, os.fsencode(path)) for path, f in files]
        with self._db.change() as db:
            db.executemany("UPDATE OR REPLACE file SET path = ?, device = ?, inode = ? WHERE path = ?", rows)
            for table in ("root", "unread"):
                for (path,) in db.execute(f"SELECT path FROM {table}").fetchall():
                    moved = os.fsencode(_moved(os.fsdecode(path), old, new))
                    db.execute(f"UPDATE OR REPLACE {table} SET path = ? WHERE path = ?", (moved, path))
            _move_last_run(db, old, new)


def _move_last_run(db: sqlite3.Connection, old: str, new: str) -> None:
    for number, roots, settings in db.execute(
        "SELECT id, roots, settings FROM run ORDER BY id DESC LIMIT 1"
    ).fetchall():
        told: dict[str, Any] = json.loads(settings)
        for name in ("protect", "prefer", "avoid", "reference", "roots"):
            told[name] = [_moved(path, old, new) for path in told.get(name, ())]
        values = (json.dumps([_moved(root, old, new) for root in json.loads(roots)]), json.dumps(told), number)
        db.execute("UPDATE run SET roots = ?, settings = ? WHERE id = ?", values)


def _moved(path: str, old: str, new: str) -> str:
    """Return the new path of a folder, or of what is below it; any other path unchanged."""
    below = path == old or path.startswith(os.path.join(old, ""))
    return new + path[len(old) :] if below else path
