"""What is stored of each photo: descriptors and the digest of its pixels, by database number."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dedup.store.database import Database
from dedup.types.arrays import Indices

_AT_ONCE = 1000  # photos asked for by one statement


class Features:
    def __init__(self, database: Database) -> None:
        self._db = database

    def vectors(self, ids: Indices) -> NDArray[np.float16]:
        """Return the vectors (N, D) float16 of photos by their database numbers (N,)."""
        return self._columns("vector", np.float16, ids)

    def maps(self, ids: Indices) -> NDArray[np.int8]:
        """Return the spatial maps (N, S * C) int8 of photos by their database numbers (N,)."""
        return self._columns("map", np.int8, ids)

    def _columns(self, column: str, dtype: type[Any], ids: Indices) -> NDArray[Any]:
        numbers, rows = np.unique(ids, return_inverse=True)
        once = len(numbers) == len(ids)  # write each where it belongs: a second copy of all could be half a gigabyte
        place = np.argsort(ids) if once else np.arange(len(numbers))
        out: NDArray[Any] = np.empty((0, 1), dtype)
        for start in range(0, len(numbers), _AT_ONCE):
            some = numbers[start : start + _AT_ONCE].tolist()
            sql = f"SELECT {column} FROM descriptor WHERE photo IN ({','.join(map(str, some))}) ORDER BY photo"
            found = np.frombuffer(b"".join(value for (value,) in self._db.rows(sql)), dtype).reshape(len(some), -1)
            if not start:
                out = np.empty((len(numbers), found.shape[1]), dtype)
            out[place[start : start + len(some)]] = found
        return out if once else out[rows]

    def pixels(self, ids: Indices) -> list[bytes | None]:
        """Return the SHA-256 of the decoded pixels of photos; None where it is not known."""
        sql = "SELECT pixels_sha256 FROM photo WHERE id = ?"
        return [self._db.rows(sql, (number,))[0][0] for number in ids.tolist()]

    def add_pixels(self, number: int, digest: bytes) -> None:
        """Store the SHA-256 of the decoded pixels of a photo."""
        with self._db.change() as db:
            db.execute("UPDATE photo SET pixels_sha256 = ? WHERE id = ?", (digest, number))
