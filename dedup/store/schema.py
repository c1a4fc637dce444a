"""The tables of the database, and how a database of an older version is brought up to date."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from dedup.errors import StoreUnusable
from dedup.types.message import Message

_APPLICATION_ID = 0x64656475  # "dedu", in the header of the file
_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100  # see "The Database Header" at https://www.sqlite.org/fileformat.html
_FIRST_TABLES = {"photo", "descriptor", "file", "run", "unread", "pair"}  # of the first version

# Append only: a database records how many of these have been applied (PRAGMA user_version).
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE photo (
            id INTEGER PRIMARY KEY, sha256 BLOB NOT NULL UNIQUE, size INTEGER NOT NULL,
            width INTEGER NOT NULL, height INTEGER NOT NULL, format TEXT NOT NULL,
            taken_at TEXT, camera TEXT, pixels_sha256 BLOB) STRICT""",
        "CREATE INDEX photo_size ON photo (size)",
        """CREATE TABLE descriptor (
            photo INTEGER PRIMARY KEY REFERENCES photo ON DELETE CASCADE,
            weights TEXT NOT NULL, vector BLOB NOT NULL, map BLOB NOT NULL) STRICT""",
        # settled: its times can be trusted. reason: why it is not a photo. reader: the decoders that rejected it.
        # run: the last finished scan that found it.
        """CREATE TABLE file (
            path BLOB PRIMARY KEY, device INTEGER NOT NULL, inode INTEGER NOT NULL, size INTEGER NOT NULL,
            mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL, settled INTEGER NOT NULL,
            photo INTEGER REFERENCES photo ON DELETE CASCADE, reason TEXT, picture INTEGER, reader TEXT,
            run INTEGER) STRICT, WITHOUT ROWID""",
        "CREATE INDEX file_photo ON file (photo)",
        # pairs: the value of pair.run for its candidates
        """CREATE TABLE run (
            id INTEGER PRIMARY KEY, started_at REAL NOT NULL, ended_at REAL NOT NULL, roots TEXT NOT NULL,
            settings TEXT NOT NULL, weights TEXT NOT NULL, recall REAL NOT NULL, contents BLOB NOT NULL,
            pairs INTEGER NOT NULL) STRICT""",
        # files of the last run that could not even be read
        "CREATE TABLE unread (path BLOB NOT NULL, reason TEXT NOT NULL, picture INTEGER NOT NULL) STRICT",
        # scores of two photos, a < b. run: run.pairs of the last run if the pair is one of its candidates
        """CREATE TABLE pair (
            a INTEGER NOT NULL REFERENCES photo ON DELETE CASCADE,
            b INTEGER NOT NULL REFERENCES photo ON DELETE CASCADE,
            weights TEXT NOT NULL, similarity REAL NOT NULL, copy REAL NOT NULL, similar REAL NOT NULL,
            run INTEGER, PRIMARY KEY (a, b)) STRICT, WITHOUT ROWID""",
        "CREATE INDEX pair_b ON pair (b)",
    ),
    (
        # from the metadata; the defaults stand for photos read by older versions
        "ALTER TABLE photo ADD COLUMN gps INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE photo ADD COLUMN rating INTEGER",
        "ALTER TABLE photo ADD COLUMN screenshot INTEGER NOT NULL DEFAULT 0",
        # decisions of the user, by SHA-256: a < b are not duplicates; with an empty b, a is to be kept
        "CREATE TABLE decision (a BLOB NOT NULL, b BLOB NOT NULL, PRIMARY KEY (a, b)) STRICT, WITHOUT ROWID",
    ),
    (
        # the result of verifying a pair; the photo with the smaller SHA-256 is the left one. transform: left -> right
        """CREATE TABLE look (
            "left" INTEGER NOT NULL REFERENCES photo ON DELETE CASCADE,
            "right" INTEGER NOT NULL REFERENCES photo ON DELETE CASCADE,
            weights TEXT NOT NULL, similarity REAL NOT NULL, copy REAL NOT NULL, similar REAL NOT NULL,
            plain INTEGER NOT NULL, transform BLOB NOT NULL, PRIMARY KEY ("left", "right")) STRICT, WITHOUT ROWID""",
        'CREATE INDEX look_right ON look ("right")',
    ),
    (
        # every scan that was started; one without an end was killed or is still running. result: totals, or the error
        """CREATE TABLE attempt (
            id INTEGER PRIMARY KEY, started_at REAL NOT NULL, ended_at REAL, roots TEXT NOT NULL,
            outcome TEXT, result TEXT) STRICT""",
    ),
    (
        # totals of the last run, deleted by any change that could affect them. terms: digest of what they depend on
        "CREATE TABLE total (terms BLOB NOT NULL, figures TEXT NOT NULL) STRICT",
    ),
    (
        # glanced: 1 if the search proposed the pair and it passed the prefilter; 0 if grouping asked for it
        "ALTER TABLE pair ADD COLUMN glanced INTEGER NOT NULL DEFAULT 1",
        # the result of the last search, all of whose pairs were scored. others: photo numbers, int32, nearest first
        """CREATE TABLE searched (
            weights TEXT NOT NULL, k INTEGER NOT NULL, least REAL NOT NULL, recall REAL NOT NULL) STRICT""",
        "CREATE TABLE neighbour (photo INTEGER PRIMARY KEY, others BLOB NOT NULL) STRICT",
    ),
    (
        # what a photo holds and how it was taken, as JSON; NULL for photos read by older versions: they are read again
        "ALTER TABLE photo ADD COLUMN facts TEXT",
        # the digest now covers all frames, so older ones are dropped
        "UPDATE photo SET pixels_sha256 = NULL",
        # what would be lost of each picture if only the other one stayed (types.pairs.Loss); pairs are verified again
        "DELETE FROM look",
        "ALTER TABLE look ADD COLUMN left_loss INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE look ADD COLUMN right_loss INTEGER NOT NULL DEFAULT 0",
        "DELETE FROM total",
    ),
    (
        # the folders of the collection
        "CREATE TABLE root (path BLOB PRIMARY KEY) STRICT, WITHOUT ROWID",
        "DELETE FROM total",
    ),
    (
        # pairs of the last run that should have been verified and could not be, a < b
        """CREATE TABLE unverified (
            a INTEGER NOT NULL REFERENCES photo ON DELETE CASCADE,
            b INTEGER NOT NULL REFERENCES photo ON DELETE CASCADE,
            PRIMARY KEY (a, b)) STRICT, WITHOUT ROWID""",
        "CREATE INDEX unverified_b ON unverified (b)",
    ),
    (f"PRAGMA application_id = {_APPLICATION_ID}",),
    (
        # digest of parts of the file, images.read.sample_digest(); NULL for photos read by older versions
        "ALTER TABLE photo ADD COLUMN sample BLOB",
    ),
    (
        # the share of copies among the verified pairs; the default is what older versions assumed
        "ALTER TABLE run ADD COLUMN prior REAL NOT NULL DEFAULT 0.7",
    ),
    (
        # parts that are blurred are looked for now: pairs are compared at full resolution again (Loss.UNCOMPARED)
        f"UPDATE look SET left_loss = {1 << 22}, right_loss = {1 << 22}",
        "DELETE FROM total",
    ),
)


def check_ownership(path: str) -> None:
    """Raise StoreUnusable if a file is the database of another program. The file is read, and nothing is changed.

    Databases of versions before the application id are known by their tables. They are looked for with `immutable`,
    which makes no files beside the database.
    """
    try:
        with open(path, "rb") as f:
            header = f.read(_HEADER_BYTES)
    except OSError:
        return  # opening it says why
    if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
        return  # empty, or no database: SQLite says so
    application, version = (int.from_bytes(header[at : at + 4]) for at in (68, 60))
    if application == _APPLICATION_ID:
        return
    tables = set() if application else _tables(path)
    new = not application and not version and not tables  # another process may be creating it
    if not new and not tables >= _FIRST_TABLES:
        raise StoreUnusable(Message("{path}: a database of another program; choose another", path=path))


def _tables(path: str) -> set[str]:
    """Return the tables of a database; those of the first version if they cannot be read, for opening it to say why."""
    uri = f"{Path(os.path.abspath(path)).as_uri()}?mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(uri, uri=True)) as db:
            return {name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    except (sqlite3.Error, UnicodeDecodeError):
        return set(_FIRST_TABLES)


def migrate(db: sqlite3.Connection, path: str) -> None:
    """Apply the missing migrations in one transaction, since two processes may open a new database at once.

    Raises StoreUnusable for a database of a newer version or of another program.
    """
    if db.execute("PRAGMA user_version").fetchone()[0] == len(MIGRATIONS):
        return
    db.execute("BEGIN IMMEDIATE")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise StoreUnusable(
            Message("{path}: made by a newer version of dedup; update dedup, or choose another database", path=path)
        )
    if version == 0 and db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        raise StoreUnusable(Message("{path}: a database of another program; choose another", path=path))
    for statement in (statement for migration in MIGRATIONS[version:] for statement in migration):
        db.execute(statement)
    db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    db.execute("COMMIT")
