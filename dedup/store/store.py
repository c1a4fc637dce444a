"""The database of files, photos and pairs: one SQLite file, whose parts share one connection.

Features belong to content, not to a path: a photo is its SHA-256, and files point to it. Everything but the user's
decisions can be recovered by scanning again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from types import TracebackType

from dedup.errors import DedupError, StoreUnusable
from dedup.store.database import Database, create
from dedup.store.decisions import DecisionTable
from dedup.store.features import Features
from dedup.store.listing import LastListing, ScanListing
from dedup.store.lock import StoreLock
from dedup.store.pairs import Pairs
from dedup.store.roots import Roots
from dedup.store.runs import Runs
from dedup.store.schema import check_ownership
from dedup.types.message import Message
from dedup.types.photo import File, Skipped


class Store:
    """An open database; a context manager. Every method raises StoreUnusable where SQLite fails.

    features, pairs, runs, decisions, roots: what is stored of photos, of pairs, of scans, the user's decisions, and
    the folders of the collection.
    """

    def __init__(self, path: str, *, scanning: bool = False, changing: bool = False) -> None:
        """Open the database to read it; `changing`: to change it, alone; `scanning`: likewise, and create it if needed.

        Raises StoreBusy if another process changes it or scans.
        """
        self.path = path
        self._lock = StoreLock(path)
        check_ownership(path)
        if not scanning and not os.path.exists(path):
            raise StoreUnusable(
                Message(
                    "{path}: no such database; run '{command}' first, or choose another",
                    path=path,
                    command="dedup scan FOLDER",
                )
            )
        if scanning or changing:
            self._lock.acquire()
        try:
            if scanning:
                create(path)
            self._database = Database(path)
        except BaseException:
            self._lock.release()
            raise
        self.features = Features(self._database)
        self.pairs = Pairs(self._database)
        self.runs = Runs(self._database, self.pairs)
        self.decisions = DecisionTable(self._database)
        self.roots = Roots(self._database, self.runs)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:  # what looks like a bug may come from a damaged file
            if isinstance(error, Exception) and not isinstance(error, DedupError) and self._database.is_damaged():
                raise self._database.unusable() from error
        finally:
            self._database.close()
            self._lock.release()

    def listing(self, files: Iterable[File | Skipped], *, weights_name: str, reader: str) -> ScanListing:
        """Return the files that a new scan found as a context manager; see ScanListing."""
        return ScanListing(self._database, files, weights_name=weights_name, reader=reader)

    def last_listing(self) -> LastListing:
        """Return the files of the last finished scan as a context manager. Raises StoreUnusable if there was none."""
        if self.runs.last() is None:
            raise StoreUnusable(
                Message(
                    "{path}: no finished scan in this database; run '{command}' first",
                    path=self.path,
                    command="dedup scan FOLDER",
                )
            )
        return LastListing(self._database)

    def counts(self) -> dict[str, int]:
        """Return how many files, photos, descriptors, pairs and finished scans are stored, by table."""
        return {table: self.count(table) for table in ("file", "photo", "descriptor", "pair", "run")}

    def count(self, table: str) -> int:
        """Return how many rows a table has."""
        return int(self._database.rows(f"SELECT count(*) FROM {table}")[0][0])

    def forget(self, folder: str) -> tuple[int, int]:
        """Remove a file, or all files of a folder, and the photos that are then in no file; return how many of each."""
        path = os.fsencode(folder)
        below = path.rstrip(b"/") + b"/"
        with self._database.change() as db:
            files = db.execute(
                "DELETE FROM file WHERE path = ? OR substr(path, 1, ?) = ?", (path, len(below), below)
            ).rowcount
            db.execute("DELETE FROM root WHERE path = ? OR substr(path, 1, ?) = ?", (path, len(below), below))
            db.execute("DELETE FROM unread WHERE path = ? OR substr(path, 1, ?) = ?", (path, len(below), below))
            photos = db.execute(
                "DELETE FROM photo WHERE NOT EXISTS (SELECT 1 FROM file WHERE file.photo = photo.id)"
            ).rowcount
            db.execute("DELETE FROM searched")  # numbers of deleted photos are given to others
        self._database.vacuum()
        return files, photos
