"""The files of one scan, in temporary tables: which of them must be opened, and what they hold."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from hashlib import sha256
from itertools import count
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dedup.store.database import Database
from dedup.types.arrays import Indices, Maps
from dedup.types.photo import AGE_MARGIN_NS, File, Reading, Rejected, Skipped
from dedup.types.photo_table import Links, links, photo_columns, stacked, transposed
from dedup.types.report import Photos

_ROWS = 100_000  # digests hashed at once
_NUMBERS = count()  # temporary tables are named after these, so that two listings can be open at once


class Listing:
    """Files and the photos they hold. A context manager; it ends with its tables."""

    def __init__(self, database: Database) -> None:
        self._db = database
        number = next(_NUMBERS)
        self.found, self.refused = f"temp.found_{number}", f"temp.refused_{number}"
        # CROSS JOIN: SQLite keeps this order, which is that of the paths
        self._present = f"{self.found} AS found CROSS JOIN file USING (path)"
        with database.snapshot() as db:
            db.execute(
                f"""CREATE TABLE {self.found} (path BLOB PRIMARY KEY, device INTEGER, inode INTEGER, size INTEGER,
                    mtime_ns INTEGER, ctime_ns INTEGER) WITHOUT ROWID"""
            )
            db.execute(f"CREATE TABLE {self.refused} (path BLOB, reason TEXT, picture INTEGER)")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *about: object) -> None:
        with suppress(Exception), self._db.snapshot() as db:  # the connection may be what failed
            db.execute(f"DROP TABLE {self.found}")
            db.execute(f"DROP TABLE {self.refused}")

    def photos(self) -> Photos:
        """Return the photos, each with its files, in the order of their SHA-256."""
        photos = f"""SELECT id, sha256, size, width, height, format, taken_at, camera, gps, rating, screenshot, facts
                     FROM photo WHERE id IN (SELECT photo FROM {self._present}) ORDER BY sha256"""
        files = f"""SELECT photo, path, found.size, found.mtime_ns, found.ctime_ns, found.device, found.inode
                    FROM {self._present} ORDER BY path"""
        try:
            with self._db.snapshot():
                return Photos(*photo_columns(self._db.each(photos), self._db.each(files)))
        except (ValueError, TypeError, OverflowError) as error:  # a value of another type or size
            raise self._db.unusable() from error

    def contents(self) -> tuple[Indices, bytes]:
        """Return the database numbers (N,) of the photos, in the order of their SHA-256, and a digest of their set.

        The digest is that of PhotoColumns.contents().
        """
        sql = f"SELECT p.id, sha256 FROM {self._present} CROSS JOIN photo p ON p.id = file.photo"
        ids, digests = stacked(
            (np.array(numbers, np.int64), np.frombuffer(b"".join(some), "V32"))
            for numbers, some in transposed(self._db.each(sql), 2)
        )
        order = np.argsort(digests)
        order = order[np.append(True, np.diff(ids[order]) != 0)[: len(order)]]  # each photo once, however many files
        digest = sha256()
        for start in range(0, len(order), _ROWS):
            digest.update(digests[order[start : start + _ROWS]].tobytes())
        return ids[order], digest.digest()

    def skipped(self) -> list[Skipped]:
        """Return the files that are not photos, in the order of their paths."""
        rows = self._db.rows(
            f"""SELECT path, reason, picture FROM {self.found} JOIN file USING (path) WHERE reason IS NOT NULL
                UNION ALL SELECT path, reason, picture FROM {self.refused} ORDER BY path"""
        )
        return [Skipped(os.fsdecode(path), reason, bool(picture)) for path, reason, picture in rows]


class LastListing(Listing):
    """The files that the last finished scan found."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        with database.snapshot() as db:
            db.execute(
                f"""INSERT INTO {self.found} SELECT path, device, inode, size, mtime_ns, ctime_ns FROM file
                    WHERE run = (SELECT max(id) FROM run)"""
            )
            db.execute(f"INSERT INTO {self.refused} SELECT * FROM unread")


class ScanListing(Listing):
    """The files that a new scan found, before any of them is opened, and what reading them adds.

    weights_name: of the encoder; descriptors by other weights do not count. reader: names the decoders; files that
    other decoders rejected are tried again.
    """

    def __init__(self, database: Database, files: Iterable[File | Skipped], *, weights_name: str, reader: str) -> None:
        super().__init__(database)
        self._weights_name, self._reader = weights_name, reader
        refused: list[Skipped] = []
        with database.snapshot() as db:
            db.executemany(f"INSERT INTO {self.found} VALUES (?, ?, ?, ?, ?, ?)", _as_rows(files, refused))
            rows = ((os.fsencode(one.path), one.reason, one.picture) for one in refused)
            db.executemany(f"INSERT INTO {self.refused} VALUES (?, ?, ?)", rows)

    def unknown(self) -> Links:
        """Return the files that must be opened, as lists of hard links to one inode."""
        rows = self._db.each(
            f"""SELECT path, size, mtime_ns, ctime_ns, device, inode FROM {self.found} AS found WHERE NOT EXISTS (
                SELECT 1 FROM file f LEFT JOIN descriptor d ON d.photo = f.photo LEFT JOIN photo p ON p.id = f.photo
                WHERE f.path = found.path AND f.settled AND f.size = found.size AND f.mtime_ns = found.mtime_ns
                  AND f.ctime_ns = found.ctime_ns AND f.device = found.device AND f.inode = found.inode
                  AND (d.weights = ? AND p.facts IS NOT NULL OR f.reason IS NOT NULL AND f.reader = ?))
               ORDER BY device, inode, path""",
            (self._weights_name, self._reader),
        )
        return links(rows)

    def renumbered(self) -> list[tuple[File, bytes]]:
        """Return the files that only have another device or inode number than before, with the sample of their photo.

        A network share or a disk gives other numbers when it is mounted again.
        """
        rows = self._db.rows(
            f"""SELECT path, found.size, found.mtime_ns, found.ctime_ns, found.device, found.inode, p.sample
                FROM {self.found} AS found JOIN file f USING (path) JOIN photo p ON p.id = f.photo
                JOIN descriptor d ON d.photo = p.id
                WHERE f.settled AND f.size = found.size AND f.mtime_ns = found.mtime_ns AND f.ctime_ns = found.ctime_ns
                  AND (f.device, f.inode) != (found.device, found.inode)
                  AND d.weights = ? AND p.facts IS NOT NULL AND p.sample IS NOT NULL ORDER BY path""",
            (self._weights_name,),
        )
        return [(File(os.fsdecode(path), *stats), sample) for path, *stats, sample in rows]

    def renumber(self, files: Sequence[File]) -> None:
        """Store the device and inode numbers that files have now: their bytes are those of before."""
        with self._db.change() as db:
            rows = [(f.device, f.inode, os.fsencode(f.path)) for f in files]
            db.executemany("UPDATE file SET device = ?, inode = ? WHERE path = ?", rows)

    def new_failures(self) -> int:
        """Return how many files should be photos, are not, and were not reported so by the last scan.

        To be asked after all files were read, and before the run is stored.
        """
        failed = f"""SELECT count(*) FROM {self.found} JOIN file USING (path) WHERE reason IS NOT NULL AND picture
                     AND (run IS NULL OR run < (SELECT max(id) FROM run))"""
        refused = f"""SELECT count(*) FROM {self.refused} AS refused WHERE picture
                      AND NOT EXISTS (SELECT 1 FROM unread WHERE unread.path = refused.path)"""
        return sum(int(self._db.rows(sql)[0][0]) for sql in (failed, refused))

    def digests_of_size(self, size: int) -> list[bytes]:
        """Return the SHA-256 of the photos of this many bytes that need no decoding."""
        sql = """SELECT sha256 FROM photo JOIN descriptor ON photo = id
                 WHERE weights = ? AND size = ? AND facts IS NOT NULL"""
        return [row[0] for row in self._db.rows(sql, (self._weights_name, size))]

    def add(
        self,
        readings: Sequence[tuple[Sequence[File], Reading | Rejected]],
        vectors: NDArray[np.float16],
        maps: Maps,
        *,
        started_ns: int,
    ) -> None:
        """Store the results of reading, in one transaction. Each reading stands for all hard links to one inode.

        vectors (M, D), maps (M, S, C): of the M readings that have a picture, in their order. started_ns: start of the
        scan, nanoseconds since the epoch; files that are younger must be opened again by the next scan.
        """
        described = iter(zip(vectors, maps, strict=True))
        with self._db.change() as db:
            for files, result in readings:
                if isinstance(result, Reading):
                    photo = self._add_photo(db, result, described)
                    self._add_files(db, files, (photo, None, None), started_ns=started_ns)
                elif result.lasting:
                    skipped = result.skipped
                    self._add_files(db, files, (None, skipped.reason, skipped.picture), started_ns=started_ns)
                else:
                    self._refuse(db, files, result.skipped)

    def _refuse(self, db: sqlite3.Connection, files: Sequence[File], skipped: Skipped) -> None:
        for f in files:
            path = os.fsencode(f.path)
            db.execute("DELETE FROM file WHERE path = ?", (path,))
            db.execute(f"INSERT INTO {self.refused} VALUES (?, ?, ?)", (path, skipped.reason, skipped.picture))

    def _add_files(
        self, db: sqlite3.Connection, files: Sequence[File], content: tuple[Any, Any, Any], *, started_ns: int
    ) -> None:
        """content: number of the photo, or why the file is not one and whether it should have been."""
        for f in files:
            settled = max(f.mtime_ns, f.ctime_ns) < started_ns - AGE_MARGIN_NS
            values = (os.fsencode(f.path), f.device, f.inode, f.size, f.mtime_ns, f.ctime_ns, settled, *content)
            db.execute(  # a file that the last scan reported as broken is no new failure
                """REPLACE INTO file VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, (
                   SELECT run FROM file WHERE path = ?1 AND reason IS NOT NULL AND picture))""",
                (*values, self._reader),
            )

    def _add_photo(self, db: sqlite3.Connection, reading: Reading, described: Iterator[tuple[Any, Any]]) -> int:
        """Return the database number of the photo, which is added if it is new."""
        p = reading.picture
        if p is not None:
            about = (p.width, p.height, p.format, p.taken_at, p.camera, p.gps, p.rating, p.screenshot)
            db.execute(
                """INSERT INTO photo (sha256, size, width, height, format, taken_at, camera, gps, rating, screenshot,
                                      facts)
                   VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (sha256) DO UPDATE
                   SET gps = excluded.gps, rating = excluded.rating, screenshot = excluded.screenshot,
                       facts = excluded.facts""",
                (reading.sha256, reading.size, *about, p.facts.to_json()),
            )
        if reading.sample is not None:
            db.execute("UPDATE photo SET sample = ? WHERE sha256 = ?", (reading.sample, reading.sha256))
        number: int = db.execute("SELECT id FROM photo WHERE sha256 = ?", (reading.sha256,)).fetchone()[0]
        if p is not None:
            vector, map_ = next(described)
            values = (number, self._weights_name, vector.tobytes(), map_.tobytes())
            db.execute("REPLACE INTO descriptor VALUES (?, ?, ?, ?)", values)
        return number


def _as_rows(
    files: Iterable[File | Skipped], refused: list[Skipped]
) -> Iterator[tuple[bytes, int, int, int, int, int]]:
    """Yield the rows of the files; those that could not even be listed are added to `refused`."""
    for f in files:
        if isinstance(f, Skipped):
            refused.append(f)
        else:
            yield os.fsencode(f.path), f.device, f.inode, f.size, f.mtime_ns, f.ctime_ns
