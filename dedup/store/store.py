"""What is known of files, photos and pairs, in one SQLite file. The only module that speaks SQL.

Features belong to content, not to a path: a photo is its SHA-256, a file points to it. Everything but the decisions
can be had again by scanning.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from hashlib import sha256
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from dedup.errors import DedupError, StoreBusy, StoreUnusable
from dedup.types.arrays import Indices, Maps, Neighbours
from dedup.types.groups import NOTHING_DECIDED, Decisions
from dedup.types.pairs import Candidates, Scores, Verified
from dedup.types.photo import File, Skipped
from dedup.types.photo_table import Links, among, links, photo_columns, stacked, transposed
from dedup.types.report import Totals
from dedup.types.settings import KEEP, Settings

if TYPE_CHECKING:  # what opens photos loads their decoders, and a scan that finds nothing new opens none
    from dedup.types.photo import Reading, Rejected
from dedup.types.report import Attempt, Photos, Run

_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE photo (
            id INTEGER PRIMARY KEY, sha256 BLOB NOT NULL UNIQUE, size INTEGER NOT NULL,
            width INTEGER NOT NULL, height INTEGER NOT NULL, format TEXT NOT NULL,
            taken_at TEXT, camera TEXT, pixels_sha256 BLOB) STRICT""",
        "CREATE INDEX photo_size ON photo (size)",
        """CREATE TABLE descriptor (
            photo INTEGER PRIMARY KEY REFERENCES photo ON DELETE CASCADE,
            weights TEXT NOT NULL, vector BLOB NOT NULL, map BLOB NOT NULL) STRICT""",
        # settled: its times may be trusted. reason: why it is no photo. reader: the decoders that said so.
        # run: the last finished scan that found it.
        """CREATE TABLE file (
            path BLOB PRIMARY KEY, device INTEGER NOT NULL, inode INTEGER NOT NULL, size INTEGER NOT NULL,
            mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL, settled INTEGER NOT NULL,
            photo INTEGER REFERENCES photo ON DELETE CASCADE, reason TEXT, picture INTEGER, reader TEXT,
            run INTEGER) STRICT, WITHOUT ROWID""",
        "CREATE INDEX file_photo ON file (photo)",
        # pairs: the number that its candidates have as `run`
        """CREATE TABLE run (
            id INTEGER PRIMARY KEY, started_at REAL NOT NULL, ended_at REAL NOT NULL, roots TEXT NOT NULL,
            settings TEXT NOT NULL, weights TEXT NOT NULL, recall REAL NOT NULL, contents BLOB NOT NULL,
            pairs INTEGER NOT NULL) STRICT""",
        # files of the last run that could not even be read
        "CREATE TABLE unread (path BLOB NOT NULL, reason TEXT NOT NULL, picture INTEGER NOT NULL) STRICT",
        # what the head said of two contents, a < b; run: what the candidates of the last run have there
        """CREATE TABLE pair (
            a INTEGER NOT NULL REFERENCES photo ON DELETE CASCADE,
            b INTEGER NOT NULL REFERENCES photo ON DELETE CASCADE,
            weights TEXT NOT NULL, similarity REAL NOT NULL, copy REAL NOT NULL, similar REAL NOT NULL,
            run INTEGER, PRIMARY KEY (a, b)) STRICT, WITHOUT ROWID""",
        "CREATE INDEX pair_b ON pair (b)",
    ),
    (
        # what the photo says of itself; unknown of photos that were read before
        "ALTER TABLE photo ADD COLUMN gps INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE photo ADD COLUMN rating INTEGER",
        "ALTER TABLE photo ADD COLUMN screenshot INTEGER NOT NULL DEFAULT 0",
        # what the user decided, by content: a < b are no duplicates; with an empty b, a is to be kept
        "CREATE TABLE decision (a BLOB NOT NULL, b BLOB NOT NULL, PRIMARY KEY (a, b)) STRICT, WITHOUT ROWID",
    ),
    (
        # what a second look at two contents said, the smaller SHA-256 to the left; transform: left -> right
        """CREATE TABLE look (
            "left" INTEGER NOT NULL REFERENCES photo ON DELETE CASCADE,
            "right" INTEGER NOT NULL REFERENCES photo ON DELETE CASCADE,
            weights TEXT NOT NULL, similarity REAL NOT NULL, copy REAL NOT NULL, similar REAL NOT NULL,
            plain INTEGER NOT NULL, transform BLOB NOT NULL, PRIMARY KEY ("left", "right")) STRICT, WITHOUT ROWID""",
        'CREATE INDEX look_right ON look ("right")',
    ),
    (
        # every scan that was begun; without an end it was killed, or still runs. result: figures, or what went wrong
        """CREATE TABLE attempt (
            id INTEGER PRIMARY KEY, started_at REAL NOT NULL, ended_at REAL, roots TEXT NOT NULL,
            outcome TEXT, result TEXT) STRICT""",
    ),
    (
        # the figures of the last run, until something changes that they may depend on; terms: of what they were counted
        "CREATE TABLE total (terms BLOB NOT NULL, figures TEXT NOT NULL) STRICT",
    ),
    (
        # glanced: the pair was proposed and stood a glance; otherwise grouping asked about it
        "ALTER TABLE pair ADD COLUMN glanced INTEGER NOT NULL DEFAULT 1",
        # what the last search found, all pairs of which were judged. others: photo numbers, int32, the nearest first
        """CREATE TABLE searched (
            weights TEXT NOT NULL, k INTEGER NOT NULL, least REAL NOT NULL, recall REAL NOT NULL) STRICT""",
        "CREATE TABLE neighbour (photo INTEGER PRIMARY KEY, others BLOB NOT NULL) STRICT",
    ),
    (
        # what a photo holds and how it was taken, as JSON; NULL of photos that were read before: they are read again
        "ALTER TABLE photo ADD COLUMN facts TEXT",
        # the digest is now of all frames, so those of before are not kept
        "UPDATE photo SET pixels_sha256 = NULL",
        # what would be lost of each picture if only the other one stayed (types.pairs.Loss); they are verified again
        "DELETE FROM look",
        "ALTER TABLE look ADD COLUMN left_loss INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE look ADD COLUMN right_loss INTEGER NOT NULL DEFAULT 0",
        "DELETE FROM total",
    ),
)
_ATTEMPTS = 1000  # scans whose record is kept
_ROWS = 100_000  # rows read or written at once
_AT_ONCE = 1000  # photos asked for by one statement
_DAMAGED = "damaged; move it away and scan again"
_MARGIN_NS = 3_000_000_000  # a file this young may change again within the grain of its times (borg's files cache)
_PRESENT = "found CROSS JOIN file USING (path)"  # in this order, which is that of the paths


class Store:
    """One database, open; a context manager. Every method raises StoreUnusable where SQLite cannot go on."""

    def __init__(self, path: str, *, scanning: bool = False, changing: bool = False) -> None:
        """Open the database, to read it; to change it, alone; or to scan, which makes it if it is not there.

        Raises StoreBusy if another run changes it or scans.
        """
        self.path = path
        self._lock = FileLock(path + ".lock")
        if not scanning and not os.path.exists(path):
            raise StoreUnusable(f"{path}: no such database; run 'dedup scan FOLDER' first, or name another with --db")
        if scanning or changing:
            self._acquire()
        try:
            self._db = _opened(path)
        except BaseException:
            self._lock.release()
            raise

    def _acquire(self) -> None:
        try:
            os.makedirs(os.path.dirname(self.path) or ".", exist_ok=True)
            os.close(os.open(self._lock.lock_file, os.O_RDWR | os.O_CREAT, 0o644))  # filelock would wait for permission
            self._lock.acquire(timeout=0)
        except Timeout:
            message = f"{self.path}: another run is using this database; wait for it, or choose another --db"
            raise StoreBusy(message) from None
        except OSError as error:
            message = f"{self.path}: cannot be written ({error.strerror or error}); choose another --db"
            raise StoreUnusable(message) from error

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:  # what looks like a bug may come from a damaged file
            if isinstance(error, Exception) and not isinstance(error, DedupError) and self._is_damaged():
                raise StoreUnusable(f"{self.path}: {_DAMAGED}") from error
        finally:
            self._db.close()
            self._lock.release()

    def _is_damaged(self) -> bool:
        try:
            return bool(self._db.execute("PRAGMA integrity_check(1)").fetchone() != ("ok",))
        except sqlite3.Error:
            return True

    @contextmanager
    def _change(self, *, totals_stand: bool = False) -> Iterator[sqlite3.Connection]:
        """All of it or nothing.   totals_stand: a scan would find the same after it."""
        with _translated(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                if not totals_stand:
                    self._db.execute("DELETE FROM total")
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        with _translated(self.path):
            return self._db.execute(sql, values).fetchall()

    def _each(self, sql: str, values: Sequence[Any] = ()) -> Iterator[Any]:
        """Yield the rows without holding all of them."""
        with _translated(self.path):
            yield from self._db.execute(sql, values)

    # What a scan finds

    def begin(self, files: Iterable[File | Skipped], *, weights: str, reader: str) -> None:
        """Take the list of what was found, before any of it is opened.

        weights: of the encoder; descriptors by others do not count. reader: names the decoders; what others refused
        is tried again.
        """
        with self._change() as db:
            _make_lists(db)
            db.execute("INSERT INTO terms VALUES (?, ?)", (weights, reader))
            refused: list[Skipped] = []
            db.executemany("INSERT INTO found VALUES (?, ?, ?, ?, ?, ?)", _as_rows(files, refused))
            rows = ((os.fsencode(one.path), one.reason, one.picture) for one in refused)
            db.executemany("INSERT INTO refused VALUES (?, ?, ?)", rows)

    def recollect(self) -> None:
        """Take the list of files that the last finished scan found. Raises StoreUnusable if there was none."""
        if self.last_run() is None:
            raise StoreUnusable(f"{self.path}: no finished scan in this database; run 'dedup scan FOLDER' first")
        with self._change(totals_stand=True) as db:
            _make_lists(db)
            db.execute(
                """INSERT INTO found SELECT path, device, inode, size, mtime_ns, ctime_ns FROM file
                   WHERE run = (SELECT max(id) FROM run)"""
            )
            db.execute("INSERT INTO refused SELECT * FROM unread")

    def unknown(self) -> Links:
        """Return the files that must be opened, as lists of hard links of one inode."""
        rows = self._each(
            """SELECT path, size, mtime_ns, ctime_ns, device, inode FROM found WHERE NOT EXISTS (
                SELECT 1 FROM file f LEFT JOIN descriptor d ON d.photo = f.photo LEFT JOIN photo p ON p.id = f.photo,
                  terms t
                WHERE f.path = found.path AND f.settled AND f.size = found.size AND f.mtime_ns = found.mtime_ns
                  AND f.ctime_ns = found.ctime_ns AND f.device = found.device AND f.inode = found.inode
                  AND (d.weights = t.weights AND p.facts IS NOT NULL OR f.reason IS NOT NULL AND f.reader = t.reader))
               ORDER BY device, inode, path"""
        )
        return links(rows)

    def digests_of_size(self, size: int) -> list[bytes]:
        """Return the SHA-256 of the photos of so many bytes that need no decoding."""
        sql = """SELECT sha256 FROM photo JOIN descriptor ON photo = id JOIN terms USING (weights)
                 WHERE size = ? AND facts IS NOT NULL"""
        return [row[0] for row in self._rows(sql, (size,))]

    def add(
        self,
        readings: Sequence[tuple[Sequence[File], Reading | Rejected]],
        vectors: NDArray[np.float16],
        maps: Maps,
        *,
        started_ns: int,
    ) -> None:
        """Keep what reading gave, in one transaction. Each reading holds for hard links of one inode.

        vectors, maps: of the readings that have a picture, in their order. started_ns: when the scan began.
        """
        from dedup.types.photo import Rejected

        described = iter(zip(vectors, maps, strict=True))
        with self._change() as db:
            for files, result in readings:
                if isinstance(result, Rejected):
                    _add_rejected(db, files, result, started_ns=started_ns)
                else:
                    photo = _add_photo(db, result, described)
                    _add_files(db, files, (photo, None, None), started_ns=started_ns)

    def photos(self) -> Photos:
        """Return the photos found, each with its files, in the order of their SHA-256."""
        photos = f"""SELECT id, sha256, size, width, height, format, taken_at, camera, gps, rating, screenshot, facts
                     FROM photo WHERE id IN (SELECT photo FROM {_PRESENT}) ORDER BY sha256"""
        files = f"""SELECT photo, path, found.size, found.mtime_ns, found.ctime_ns, found.device, found.inode
                    FROM {_PRESENT} WHERE photo IS NOT NULL ORDER BY path"""
        with _translated(self.path):
            self._db.execute("BEGIN")  # both are of one moment
            try:
                return Photos(*photo_columns(self._each(photos), self._each(files)))
            finally:
                if self._db.in_transaction:
                    self._db.execute("COMMIT")

    def contents(self) -> tuple[Indices, bytes]:
        """Return the numbers (N,) of the photos found, in the order of their SHA-256, and what stands for their set."""
        sql = f"SELECT p.id, sha256 FROM {_PRESENT} CROSS JOIN photo p ON p.id = file.photo"
        ids, digests = stacked(
            (np.array(numbers, np.int64), np.frombuffer(b"".join(some), "V32"))
            for numbers, some in transposed(self._each(sql), 2)
        )
        order = np.argsort(digests)
        order = order[np.append(True, np.diff(ids[order]) != 0)[: len(order)]]  # each photo once, however many files
        digest = sha256()
        for start in range(0, len(order), _ROWS):
            digest.update(digests[order[start : start + _ROWS]].tobytes())
        return ids[order], digest.digest()

    def skipped(self) -> list[Skipped]:
        """Return the files found that are no photos, in the order of their paths."""
        rows = self._rows(
            """SELECT path, reason, picture FROM found JOIN file USING (path) WHERE reason IS NOT NULL
               UNION ALL SELECT path, reason, picture FROM refused ORDER BY path"""
        )
        return [Skipped(os.fsdecode(path), reason, bool(picture)) for path, reason, picture in rows]

    # What the encoder and the head said

    def vectors(self, ids: Indices) -> NDArray[np.float16]:
        """Return (N, D) float16, the vectors of photos by their database number."""
        return self._columns("vector", np.float16, ids)

    def maps(self, ids: Indices) -> NDArray[np.int8]:
        """Return (N, S * C) int8, the spatial maps of photos by their database number."""
        return self._columns("map", np.int8, ids)

    def _columns(self, column: str, dtype: type[Any], ids: Indices) -> NDArray[Any]:
        numbers, rows = np.unique(ids, return_inverse=True)
        once = len(numbers) == len(ids)  # then each goes where it belongs; all of them twice would be half a gigabyte
        place = np.argsort(ids) if once else np.arange(len(numbers))
        out: NDArray[Any] = np.empty((0, 1), dtype)
        for start in range(0, len(numbers), _AT_ONCE):
            some = numbers[start : start + _AT_ONCE].tolist()
            sql = f"SELECT {column} FROM descriptor WHERE photo IN ({','.join(map(str, some))}) ORDER BY photo"
            found = np.frombuffer(b"".join(value for (value,) in self._rows(sql)), dtype).reshape(len(some), -1)
            if not start:
                out = np.empty((len(numbers), found.shape[1]), dtype)
            out[place[start : start + len(some)]] = found
        return out if once else out[rows]

    def neighbours(self, ids: Indices, *, weights: str, k: int, least: float) -> tuple[Neighbours, Indices, float]:
        """Return (N, k), what the last search on these terms found near each of these photos, in their numbers; the
        photos that it does not know the neighbours of, or not all of them; and its recall. (N, 0) if there was none.
        """
        terms = self._rows("SELECT recall FROM searched WHERE (weights, k, least) = (?, ?, ?)", (weights, k, least))
        if not terms:
            return np.empty((len(ids), 0), np.int32), np.arange(len(ids)), 1.0
        near, known = np.full((len(ids), k), -1, np.int32), np.zeros(len(ids), bool)
        numbers = _numbers_of(ids)
        for number, others in self._each("SELECT photo, others FROM neighbour"):
            row = numbers[number] if number < len(numbers) else -1
            if row >= 0:
                found = np.frombuffer(others, "<i4")
                there = numbers[np.minimum(found, len(numbers) - 1)]
                there[found >= len(numbers)] = -1
                known[row] = (there >= 0).all()
                there = there[there >= 0]
                near[row, : len(there)] = there
        return near, np.flatnonzero(~known), float(terms[0][0])

    def keep_neighbours(
        self, near: Neighbours, ids: Indices, *, weights: str, k: int, least: float, recall: float
    ) -> None:
        """Keep what a search found, instead of what the one before did."""
        numbers = ids.astype("<i4")
        rows = ((number, numbers[some[some >= 0]].tobytes()) for number, some in zip(ids.tolist(), near, strict=True))
        with self._change() as db:
            db.execute("DELETE FROM searched")
            db.execute("DELETE FROM neighbour")
            db.execute("INSERT INTO searched VALUES (?, ?, ?, ?)", (weights, k, least, recall))
            db.executemany("INSERT INTO neighbour VALUES (?, ?)", rows)

    def add_scores(self, scores: Scores, ids: Indices, *, weights: str, prefiltered: bool) -> None:
        """Keep what the head said of pairs. glanced: they stood a glance; otherwise grouping asked about them."""
        a, b = _ordered(ids, scores.left, scores.right)
        names = [weights] * len(scores)
        columns = (
            a.tolist(),
            b.tolist(),
            names,
            *(c.tolist() for c in (scores.similarity, scores.copy, scores.similar)),
        )
        with self._change() as db:
            db.executemany(
                f"REPLACE INTO pair VALUES (?, ?, ?, ?, ?, ?, NULL, {prefiltered:d})", zip(*columns, strict=True)
            )

    def scores(self, ids: Indices, *, weights: str, prefiltered: bool) -> Scores:
        """Return all that the head ever said of pairs of these photos, in the order of (left, right).

        glanced: only of those that stood a glance. What grouping asked besides is no answer to the next search, or a
        report would depend on what was scanned before.
        """
        sql = "SELECT a, b, similarity, copy, similar FROM pair WHERE weights = ? AND glanced >= ?"
        return self._scores(sql, (weights, prefiltered), ids)

    def scored(self, ids: Indices, *, weights: str, prefiltered: bool) -> Indices:
        """Return (P,), Candidates.keys() of what scores() returns, in ascending order."""
        return self._keys("SELECT a, b FROM pair WHERE weights = ? AND glanced >= ?", (weights, prefiltered), ids)

    def candidates(self, ids: Indices) -> Scores:
        """Return what the head said of the last run's candidates, in the order of (left, right)."""
        sql = """SELECT a, b, similarity, copy, similar FROM pair
                 WHERE run = (SELECT pairs FROM run ORDER BY id DESC LIMIT 1)"""
        return self._scores(sql, (), ids)

    def _scores(self, sql: str, values: Sequence[Any], ids: Indices) -> Scores:
        return Scores(*_pair_columns(self._each(sql, values), ids, [np.float32] * 3))

    def _keys(self, sql: str, values: Sequence[Any], ids: Indices) -> Indices:
        left, right = _pair_columns(self._each(sql, values), ids, [])
        keys: Indices = left * len(ids) + right
        return keys

    def add_verified(self, verified: Verified, ids: Indices, *, weights: str) -> None:
        """Keep what second looks said of pairs."""
        columns = (
            ids[verified.left],
            ids[verified.right],
            verified.similarity,
            verified.copy,
            verified.similar,
            verified.plain,
        )
        transforms = [np.ascontiguousarray(t, "<f8").tobytes() for t in verified.transform]
        losses = (verified.left_loss.tolist(), verified.right_loss.tolist())
        rows = zip(*(c.tolist() for c in columns), transforms, *losses, strict=True)
        with self._change() as db:
            db.executemany(
                "REPLACE INTO look VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [(left, right, weights, *what) for left, right, *what in rows],
            )

    def verified(self, ids: Indices, *, weights: str) -> Verified:
        """Return all that second looks ever said of pairs of these photos, in the order of (left, right)."""
        sql = """SELECT "left", "right", similarity, copy, similar, plain, transform, left_loss, right_loss
                 FROM look WHERE weights = ?"""
        columns = _pair_columns(self._each(sql, (weights,)), ids, [*[np.float32] * 3, bool, "V72", np.int64, np.int64])
        left, right, similarity, copy, similar, plain, transform, left_loss, right_loss = columns
        transforms = np.frombuffer(transform, "<f8").reshape(-1, 3, 3)
        return Verified(left, right, similarity, copy, similar, plain, transforms, left_loss, right_loss)

    def verified_pairs(self, ids: Indices, *, weights: str) -> Indices:
        """Return (P,), Candidates.keys() of what looks() returns, in ascending order."""
        return self._keys('SELECT "left", "right" FROM look WHERE weights = ?', (weights,), ids)

    def pixels(self, ids: Indices) -> list[bytes | None]:
        """Return the SHA-256 of the decoded pixels of photos, where it is known."""
        sql = "SELECT pixels_sha256 FROM photo WHERE id = ?"
        return [self._rows(sql, (number,))[0][0] for number in ids.tolist()]

    def add_pixels(self, number: int, digest: bytes) -> None:
        with self._change() as db:
            db.execute("UPDATE photo SET pixels_sha256 = ? WHERE id = ?", (digest, number))

    # What the user decided

    def decisions(self) -> Decisions:
        """Return all that the user ever decided of photos, those that are gone among them."""
        rows = [(a.hex(), b.hex()) for a, b in self._rows("SELECT a, b FROM decision")]
        return Decisions(frozenset((a, b) for a, b in rows if b), frozenset(a for a, b in rows if not b))

    def decide(self, decisions: Decisions, *, instead: Decisions = NOTHING_DECIDED) -> None:
        """Add decisions to those that are there, and take back those that they stand for."""
        with self._change() as db:
            db.executemany("DELETE FROM decision WHERE a = ? AND b = ?", _decided(instead))
            db.executemany("INSERT OR IGNORE INTO decision VALUES (?, ?)", _decided(decisions))

    def undecide(self, sha256s: Sequence[str]) -> int:
        """Take back all that was decided of these photos; return how many decisions that were."""
        with self._change() as db:
            return sum(
                db.execute("DELETE FROM decision WHERE a = ?1 OR b = ?1", (bytes.fromhex(digest),)).rowcount
                for digest in sha256s
            )

    # Runs

    def last_run(self) -> Run | None:
        """Return the last finished scan."""
        rows = self._rows(
            """SELECT started_at, ended_at, roots, settings, weights, recall, contents FROM run
               ORDER BY id DESC LIMIT 1"""
        )
        if not rows:
            return None
        started, ended, roots, settings, *rest = rows[0]
        try:
            return Run(started, ended, tuple(json.loads(roots)), _settings(settings), *rest)
        except (ValueError, TypeError) as error:
            raise StoreUnusable(f"{self.path}: {_DAMAGED}") from error

    def finish(self, run: Run, candidates: Candidates | None, ids: Indices) -> None:
        """Write the run down. candidates: None if they are those of the last run."""
        with self._change() as db:
            values = (json.dumps(run.roots), json.dumps(asdict(run.settings)), run.weights, run.recall, run.contents)
            db.execute(
                """INSERT INTO run (started_at, ended_at, roots, settings, weights, recall, contents, pairs)
                   SELECT ?, ?, ?, ?, ?, ?, ?, coalesce(max(pairs), 1) FROM run""",
                (run.started_at, run.ended_at, *values),
            )
            number, pairs = db.execute("SELECT id, pairs FROM run ORDER BY id DESC LIMIT 1").fetchone()
            if candidates is not None:
                self._mark(db, candidates, ids, pairs)
            db.execute("UPDATE file SET run = ? WHERE path IN (SELECT path FROM found)", (number,))
            db.execute("DELETE FROM unread")
            db.execute("INSERT INTO unread SELECT * FROM refused")

    def _mark(self, db: sqlite3.Connection, candidates: Candidates, ids: Indices, number: int) -> None:
        """Have the candidates, and no other pair of these photos, be those of a number; few of millions change."""
        before = self._keys("SELECT a, b FROM pair WHERE run = ?", (number,), ids)
        now = np.sort(candidates.keys(len(ids)))
        for wanted, others, mark in ((now, before, number), (before, now, None)):
            for start in range(0, len(wanted), _ROWS):
                some = wanted[start : start + _ROWS]
                left, right = np.divmod(some[~among(some, others)], len(ids))
                a, b = _ordered(ids, left, right)
                db.executemany(
                    "UPDATE pair SET run = ? WHERE a = ? AND b = ?",
                    [(mark, *pair) for pair in zip(a.tolist(), b.tolist(), strict=True)],
                )

    def remember(self, terms: bytes, totals: Totals) -> None:
        """Keep the figures of the last run for rerun()."""
        with self._change() as db:
            db.execute("INSERT INTO total VALUES (?, ?)", (terms, json.dumps(asdict(totals))))

    def rerun(self, terms: bytes, *, started_at: float, ended_at: float) -> tuple[Run, Totals] | None:
        """Return the last run, as one of these times, and its figures; None if others could come out on these terms."""
        rows = self._rows("SELECT figures FROM total WHERE terms = ?", (terms,))
        if not rows:
            return None
        with self._change(totals_stand=True) as db:
            sql = "UPDATE run SET started_at = ?, ended_at = ? WHERE id = (SELECT max(id) FROM run)"
            db.execute(sql, (started_at, ended_at))
        last = self.last_run()
        assert last is not None
        return last, _totals(rows[0][0], self.path)

    def begun(self, roots: Sequence[str], *, started_at: float) -> int:
        """Write down that a scan was begun; return its number."""
        with self._change(totals_stand=True) as db:
            sql = "INSERT INTO attempt (started_at, roots) VALUES (?, ?)"
            number = db.execute(sql, (started_at, json.dumps(roots))).lastrowid
            db.execute("DELETE FROM attempt WHERE id <= ?", (int(number or 0) - _ATTEMPTS,))
        return int(number or 0)

    def ended(self, number: int, outcome: str, result: dict[str, Any], *, ended_at: float) -> None:
        """Write down how a scan ended."""
        with self._change(totals_stand=True) as db:
            sql = "UPDATE attempt SET outcome = ?, result = ?, ended_at = ? WHERE id = ?"
            db.execute(sql, (outcome, json.dumps(result), ended_at, number))

    def attempts(self) -> list[Attempt]:
        """Return the scans that were begun, the latest first."""
        rows = self._rows("SELECT started_at, ended_at, roots, outcome, result FROM attempt ORDER BY id DESC")
        try:
            return [
                Attempt(started, ended, tuple(json.loads(roots)), outcome, json.loads(result or "{}"))
                for started, ended, roots, outcome, result in rows
            ]
        except ValueError as error:
            raise StoreUnusable(f"{self.path}: {_DAMAGED}") from error

    def counts(self) -> dict[str, int]:
        """Return how many rows there are of each thing."""
        return {table: self.count(table) for table in ("file", "photo", "descriptor", "pair", "run")}

    def count(self, table: str) -> int:
        """Return how many rows a table has."""
        return int(self._rows(f"SELECT count(*) FROM {table}")[0][0])

    def forget(self, folder: str) -> tuple[int, int]:
        """Forget a file or all files of a folder, and the photos that no file holds; return how many of each."""
        path = os.fsencode(folder)
        below = path.rstrip(b"/") + b"/"
        with self._change() as db:
            files = db.execute(
                "DELETE FROM file WHERE path = ? OR substr(path, 1, ?) = ?", (path, len(below), below)
            ).rowcount
            db.execute("DELETE FROM unread WHERE path = ? OR substr(path, 1, ?) = ?", (path, len(below), below))
            photos = db.execute(
                "DELETE FROM photo WHERE NOT EXISTS (SELECT 1 FROM file WHERE file.photo = photo.id)"
            ).rowcount
            db.execute("DELETE FROM searched")  # numbers of forgotten photos are given to others
        with _translated(self.path):
            self._db.execute("VACUUM")
        return files, photos


def _numbers_of(ids: Indices) -> Indices:
    """Return what gives the number of a photo by its database number; -1 for others."""
    numbers = np.full(int(ids.max(initial=0)) + 1, -1)
    numbers[ids] = np.arange(len(ids))
    return numbers


def _pair_columns(rows: Iterator[Sequence[Any]], ids: Indices, kinds: Sequence[Any]) -> list[NDArray[Any]]:
    """Return rows of two photos, by database number, and what is said of them, as columns in the order of the pairs.

    Those of other photos than these are left out; the smaller number comes first.   kinds: of what is said.
    """
    numbers = _numbers_of(ids)

    def parts() -> Iterator[tuple[NDArray[Any], ...]]:
        for a, b, *said in transposed(rows, 2 + len(kinds)):
            ends = np.array([a, b], np.int64)
            found = np.where(ends < len(numbers), numbers[np.minimum(ends, len(numbers) - 1)], -1)
            known = (found >= 0).all(0)
            left, right = np.sort(found[:, known], axis=0)
            yield (left, right, *(np.array(column, kind)[known] for column, kind in zip(said, kinds, strict=True)))

    columns = stacked(parts())
    order = np.lexsort((columns[1], columns[0]))
    for n, column in enumerate(columns):  # one after the other: there may be ten pairs for each photo
        columns[n] = column[order]
    return columns


def _opened(path: str) -> sqlite3.Connection:
    """Return a connection to a database of our newest version."""
    with _translated(path):
        db = sqlite3.connect(path, isolation_level=None, timeout=30)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("PRAGMA foreign_keys = ON")
            db.execute("PRAGMA temp_store = MEMORY")
            _migrate(db, path)
        except BaseException:
            db.close()
            raise
    return db


def _migrate(db: sqlite3.Connection, path: str) -> None:
    """Bring the database to our version, in one transaction: two programs may open a new one at once."""
    if db.execute("PRAGMA user_version").fetchone()[0] == len(_MIGRATIONS):
        return
    db.execute("BEGIN IMMEDIATE")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > len(_MIGRATIONS):
        raise StoreUnusable(f"{path}: made by a newer version of dedup; update dedup, or choose another --db")
    if version == 0 and db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        raise StoreUnusable(f"{path}: a database of another program; choose another --db")
    for statement in (statement for migration in _MIGRATIONS[version:] for statement in migration):
        db.execute(statement)
    db.execute(f"PRAGMA user_version = {len(_MIGRATIONS)}")
    db.execute("COMMIT")


@contextmanager
def _translated(path: str) -> Iterator[None]:
    """Turn SQLite's errors into one line for a person."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:  # the second: a text of the file, or a message that quotes one
        advice = {
            "SQLITE_NOTADB": "not a dedup database; choose another --db",
            "SQLITE_CORRUPT": _DAMAGED,
            "SQLITE_FULL": "the disk is full; nothing that was stored before is lost: make room and run this again",
            "SQLITE_CANTOPEN": "cannot be opened; check the folder and its permissions",
            "SQLITE_READONLY": "cannot be written; check its permissions",
            "SQLITE_PERM": "cannot be written; check its permissions",
            "SQLITE_BUSY": "locked by another program; run this again when that is done",
            "SQLITE_IOERR": "cannot be read or written; check the disk",
        }
        name = getattr(error, "sqlite_errorname", "")
        known = next((text for prefix, text in advice.items() if name.startswith(prefix)), None)
        if name in ("", "SQLITE_ERROR"):  # our statements are right, so the tables are not those that we made
            known = _DAMAGED
        if known is None:
            raise
        raise StoreUnusable(f"{path}: {known}") from error


def _make_lists(db: sqlite3.Connection) -> None:
    """Make the temporary tables of one scan: what was found, what could not be read, on what terms."""
    for table in ("found", "refused", "terms"):
        db.execute(f"DROP TABLE IF EXISTS temp.{table}")
    db.execute(
        """CREATE TEMP TABLE found (path BLOB PRIMARY KEY, device INTEGER, inode INTEGER, size INTEGER,
           mtime_ns INTEGER, ctime_ns INTEGER) WITHOUT ROWID"""
    )
    db.execute("CREATE TEMP TABLE refused (path BLOB, reason TEXT, picture INTEGER)")
    db.execute("CREATE TEMP TABLE terms (weights TEXT, reader TEXT)")


def _as_rows(
    files: Iterable[File | Skipped], refused: list[Skipped]
) -> Iterator[tuple[bytes, int, int, int, int, int]]:
    """Yield the rows of `found`; what is none of them is added to `refused`."""
    for f in files:
        if isinstance(f, Skipped):
            refused.append(f)
        else:
            yield os.fsencode(f.path), f.device, f.inode, f.size, f.mtime_ns, f.ctime_ns


def _add_rejected(db: sqlite3.Connection, files: Sequence[File], result: Rejected, *, started_ns: int) -> None:
    why = (result.skipped.reason, result.skipped.picture)
    if result.lasting:
        _add_files(db, files, (None, *why), started_ns=started_ns)
        return
    for f in files:
        path = os.fsencode(f.path)
        db.execute("DELETE FROM file WHERE path = ?", (path,))
        db.execute("INSERT INTO refused VALUES (?, ?, ?)", (path, *why))


def _add_files(db: sqlite3.Connection, files: Sequence[File], what: tuple[Any, Any, Any], *, started_ns: int) -> None:
    for f in files:
        settled = max(f.mtime_ns, f.ctime_ns) < started_ns - _MARGIN_NS
        values = (os.fsencode(f.path), f.device, f.inode, f.size, f.mtime_ns, f.ctime_ns, settled, *what)
        db.execute("REPLACE INTO file SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, reader, NULL FROM terms", values)


def _add_photo(db: sqlite3.Connection, reading: Reading, described: Iterator[tuple[Any, Any]]) -> int:
    """Return the database number of the photo, which is added if it is new."""
    picture = reading.picture
    if picture is not None:
        p = picture
        db.execute(
            """INSERT INTO photo (sha256, size, width, height, format, taken_at, camera, gps, rating, screenshot, facts)
               VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (sha256) DO UPDATE
               SET gps = excluded.gps, rating = excluded.rating, screenshot = excluded.screenshot,
                   facts = excluded.facts""",
            (
                reading.sha256,
                reading.size,
                p.width,
                p.height,
                p.format,
                p.taken_at,
                p.camera,
                p.gps,
                p.rating,
                p.screenshot,
                p.facts.to_json(),
            ),
        )
    (number,) = db.execute("SELECT id FROM photo WHERE sha256 = ?", (reading.sha256,)).fetchone()
    if picture is not None:
        vector, map_ = next(described)
        values = (number, vector.tobytes(), map_.tobytes())
        db.execute("REPLACE INTO descriptor SELECT ?, weights, ?, ? FROM terms", values)
    assert isinstance(number, int)
    return number


def _decided(decisions: Decisions) -> list[tuple[bytes, bytes]]:
    rows = [*decisions.apart, *((digest, "") for digest in decisions.kept)]
    return [(bytes.fromhex(a), bytes.fromhex(b)) for a, b in rows]


def _ordered(ids: Indices, left: Indices, right: Indices) -> tuple[Indices, Indices]:
    """Return the database numbers of both photos of each pair, the smaller first."""
    return np.minimum(ids[left], ids[right]), np.maximum(ids[left], ids[right])


def _totals(text: str, path: str) -> Totals:
    try:
        return Totals(**json.loads(text))
    except (ValueError, TypeError) as error:
        raise StoreUnusable(f"{path}: {_DAMAGED}") from error


def _settings(text: str) -> Settings:
    values = json.loads(text)
    if "confirm" in values:  # what `verify` was called before
        values["verify"] = values.pop("confirm")
    lists: dict[str, Any] = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    settings = Settings(**{**values, **lists})
    if not set(KEEP).issuperset(settings.keep):
        raise ValueError(f"keep {settings.keep}")
    return settings
