"""What the user decided about photos, by SHA-256."""

from __future__ import annotations

from collections.abc import Sequence

from dedup.store.database import Database
from dedup.types.groups import NOTHING_DECIDED, Decisions


class DecisionTable:
    def __init__(self, database: Database) -> None:
        self._db = database

    def load(self) -> Decisions:
        """Return all decisions, including those about photos that no longer exist."""
        rows = [(a.hex(), b.hex()) for a, b in self._db.rows("SELECT a, b FROM decision")]
        return Decisions(frozenset((a, b) for a, b in rows if b), frozenset(a for a, b in rows if not b))

    def add(self, decisions: Decisions, *, instead: Decisions = NOTHING_DECIDED) -> None:
        """Add decisions and remove those that they replace, in one transaction."""
        with self._db.change() as db:
            db.executemany("DELETE FROM decision WHERE a = ? AND b = ?", _rows(instead))
            db.executemany("INSERT OR IGNORE INTO decision VALUES (?, ?)", _rows(decisions))

    def clear(self, sha256s: Sequence[str]) -> int:
        """Remove all decisions about these photos; return how many there were."""
        with self._db.change() as db:
            return sum(
                db.execute("DELETE FROM decision WHERE a = ?1 OR b = ?1", (bytes.fromhex(digest),)).rowcount
                for digest in sha256s
            )


def _rows(decisions: Decisions) -> list[tuple[bytes, bytes]]:
    rows = [*decisions.apart, *((digest, "") for digest in decisions.kept)]
    return [(bytes.fromhex(a), bytes.fromhex(b)) for a, b in rows]
