"""One SQLite connection: transactions, rows, and errors as one line for the user."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from dedup.errors import StoreUnusable
from dedup.store.schema import migrate
from dedup.types.message import Message

_DAMAGED = Message("damaged; move it away and scan again")
_NOT_OURS = Message("holds something that dedup did not write; move it away and scan again")
_ADVICE = {  # by the beginning of SQLite's name for an error
    "SQLITE_NOTADB": Message("not a dedup database; choose another database"),
    "SQLITE_FULL": Message("the disk is full; nothing that was stored before is lost: make room and run this again"),
    "SQLITE_CANTOPEN": Message("cannot be opened; check the folder and its permissions"),
    "SQLITE_READONLY": Message("cannot be written; check its permissions"),
    "SQLITE_PERM": Message("cannot be written; check its permissions"),
    "SQLITE_BUSY": Message("locked by another program; run this again when that is done"),
    "SQLITE_IOERR": Message("cannot be read or written; check the disk"),
}


def create(path: str) -> None:
    """Create an empty database for this user alone, if there is none. SQLite's files beside it get the same mode."""
    with suppress(OSError):  # opening it says why
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


class Database:
    """An open connection to a database of the newest version. Methods raise StoreUnusable where SQLite fails."""

    def __init__(self, path: str) -> None:
        self.path = path
        with self._translated():
            self._db = sqlite3.connect(path, isolation_level=None, timeout=30)
        try:
            with self._translated():
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = NORMAL")
                self._db.execute("PRAGMA foreign_keys = ON")
                self._db.execute("PRAGMA temp_store = MEMORY")
                migrate(self._db, path)
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def change(self, *, totals_stand: bool = False) -> Iterator[sqlite3.Connection]:
        """Give the connection within one transaction, which is rolled back if the block raises.

        The cached totals of the last run are deleted, unless `totals_stand`: the change cannot affect them.
        """
        with self._transaction("BEGIN IMMEDIATE"):
            if not totals_stand:
                self._db.execute("DELETE FROM total")
            yield self._db

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """Give the connection within one transaction that changes nothing but temporary tables.

        All reads within it see the database as of one moment.
        """
        with self._transaction("BEGIN"):
            yield self._db

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[None]:
        with self._translated():
            self._db.execute(begin)
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._translated():
            return self._db.execute(sql, values).fetchall()

    def each(self, sql: str, values: Sequence[Any] = ()) -> Iterator[Any]:
        """Yield the rows without holding all of them."""
        with self._translated():
            yield from self._db.execute(sql, values)

    def vacuum(self) -> None:
        """Give the space of deleted rows back to the file system."""
        with self._translated():
            self._db.execute("VACUUM")

    def is_damaged(self) -> bool:
        """Return whether SQLite's integrity check fails."""
        try:
            return bool(self._db.execute("PRAGMA integrity_check(1)").fetchone() != ("ok",))
        except (sqlite3.Error, UnicodeDecodeError):
            return True

    def unusable(self) -> StoreUnusable:
        """Return the error for content that cannot be understood: damage if the integrity check says so."""
        return StoreUnusable(
            Message("{path}: {message}", path=self.path, message=_DAMAGED if self.is_damaged() else _NOT_OURS)
        )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn SQLite's errors into one line for the user."""
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:  # the second: a text in the file, or a message quoting one
            name = getattr(error, "sqlite_errorname", "")
            known = next((text for prefix, text in _ADVICE.items() if name.startswith(prefix)), None)
            if known is not None:
                raise StoreUnusable(Message("{path}: {message}", path=self.path, message=known)) from error
            # our statements are right, so the tables are not those that we made
            if name in ("", "SQLITE_ERROR") or name.startswith("SQLITE_CORRUPT"):
                raise self.unusable() from error
            raise
