"""What is stored of pairs of photos: the neighbours that the search found, scores, and results of verification.

Photos are given by `ids` (N,), their database numbers; pairs come back with the positions of both photos in it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dedup.store.database import Database
from dedup.types.arrays import Indices, Neighbours
from dedup.types.pairs import Candidates, Scores, Verified
from dedup.types.photo_table import among, stacked, transposed

_ROWS = 100_000  # pairs written at once
# scores by these weights; in the columns of old databases the prefilter is `glanced` and verification `look`
_SCORES = "SELECT a, b, similarity, copy, similar FROM pair WHERE weights = ? AND glanced >= ?"
_SCORED = "SELECT a, b FROM pair WHERE weights = ? AND glanced >= ?"


class Pairs:
    def __init__(self, database: Database) -> None:
        self._db = database

    def neighbours(
        self, ids: Indices, *, weights_name: str, k: int, min_similarity: float
    ) -> tuple[Neighbours, Indices, float]:
        """Return what the last search with these settings found near each photo, (N, k) as positions in `ids`;
        the photos whose neighbours are not known, or not all of them; and the recall of that search.

        (N, 0) if there was no such search.
        """
        sql = "SELECT recall FROM searched WHERE (weights, k, least) = (?, ?, ?)"
        searched = self._db.rows(sql, (weights_name, k, min_similarity))
        if not searched:
            return np.empty((len(ids), 0), np.int32), np.arange(len(ids)), 1.0
        near, known = np.full((len(ids), k), -1, np.int32), np.zeros(len(ids), bool)
        numbers = _numbers_of(ids)
        for number, others in self._db.each("SELECT photo, others FROM neighbour"):
            row = numbers[number] if number < len(numbers) else -1
            if row >= 0:
                found = np.frombuffer(others, "<i4")
                there = numbers[np.minimum(found, len(numbers) - 1)]
                there[found >= len(numbers)] = -1
                known[row] = (there >= 0).all()
                there = there[there >= 0]
                near[row, : len(there)] = there
        return near, np.flatnonzero(~known), float(searched[0][0])

    def replace_neighbours(
        self, near: Neighbours, ids: Indices, *, weights_name: str, k: int, min_similarity: float, recall: float
    ) -> None:
        """Store the result (N, k) of a search in place of that of the one before."""
        numbers = ids.astype("<i4")
        rows = ((number, numbers[some[some >= 0]].tobytes()) for number, some in zip(ids.tolist(), near, strict=True))
        with self._db.change() as db:
            db.execute("DELETE FROM searched")
            db.execute("DELETE FROM neighbour")
            db.execute("INSERT INTO searched VALUES (?, ?, ?, ?)", (weights_name, k, min_similarity, recall))
            db.executemany("INSERT INTO neighbour VALUES (?, ?)", rows)

    def add_scores(self, scores: Scores, ids: Indices, *, weights_name: str, prefiltered: bool) -> None:
        """Store scores. prefiltered: the search proposed these pairs, and neither the prefilter nor one way of the pair
        head rejected them; False: grouping asked for them.
        """
        a, b = _ordered(ids, scores.left, scores.right)
        columns = (a, b, scores.similarity, scores.copy, scores.similar)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        with self._db.change() as db:
            db.executemany(
                f"REPLACE INTO pair VALUES (?, ?, ?, ?, ?, ?, NULL, {prefiltered:d})",
                ((a, b, weights_name, *probabilities) for a, b, *probabilities in rows),
            )

    def scores(self, ids: Indices, *, weights_name: str, prefiltered: bool) -> Scores:
        """Return all stored scores of pairs of these photos, in the order of (left, right).

        prefiltered: only those that the search proposed and nothing rejected. What grouping asked for does not answer
        the next search: a report would depend on what was scanned before.
        """
        return self._scores(_SCORES, (weights_name, prefiltered), ids)

    def scored(self, ids: Indices, *, weights_name: str, prefiltered: bool) -> Indices:
        """Return (P,), Candidates.keys() of what scores() returns, in ascending order."""
        return self._keys(_SCORED, (weights_name, prefiltered), ids)

    def candidates(self, ids: Indices) -> Scores:
        """Return the scores of the last run's candidates, in the order of (left, right)."""
        sql = """SELECT a, b, similarity, copy, similar FROM pair
                 WHERE run = (SELECT pairs FROM run ORDER BY id DESC LIMIT 1)"""
        return self._scores(sql, (), ids)

    def mark_candidates(self, db: sqlite3.Connection, candidates: Candidates, ids: Indices, number: int) -> None:
        """Make these pairs, and no others of these photos, the ones marked with a number; few of millions change."""
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

    def unverified(self, ids: Indices) -> Indices:
        """Return (P,), Candidates.keys() of the last run's pairs that should have been verified and could not be."""
        return self._keys("SELECT a, b FROM unverified", (), ids)

    def replace_unverified(self, db: sqlite3.Connection, pairs: Candidates, ids: Indices) -> None:
        """Store the pairs that could not be verified in place of those of the run before."""
        a, b = _ordered(ids, pairs.left, pairs.right)
        db.execute("DELETE FROM unverified")
        db.executemany("INSERT INTO unverified VALUES (?, ?)", zip(a.tolist(), b.tolist(), strict=True))

    def add_verified(self, verified: Verified, ids: Indices, *, weights_name: str) -> None:
        """Store results of verification."""
        v = verified
        columns = (ids[v.left], ids[v.right], v.similarity, v.copy, v.similar, v.plain)
        transforms = [np.ascontiguousarray(t, "<f8").tobytes() for t in v.transform]
        losses = (v.left_loss.tolist(), v.right_loss.tolist())
        rows = zip(*(column.tolist() for column in columns), transforms, *losses, strict=True)
        with self._db.change() as db:
            db.executemany(
                "REPLACE INTO look VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [(left, right, weights_name, *result) for left, right, *result in rows],
            )

    def verified(self, ids: Indices, *, weights_name: str) -> Verified:
        """Return all stored results of verifying pairs of these photos, in the order of (left, right)."""
        sql = """SELECT "left", "right", similarity, copy, similar, plain, transform, left_loss, right_loss
                 FROM look WHERE weights = ?"""
        kinds = [*[np.float32] * 3, bool, "V72", np.int64, np.int64]
        columns = _pair_columns(self._db.each(sql, (weights_name,)), ids, kinds)
        left, right, similarity, copy, similar, plain, transform, left_loss, right_loss = columns
        transforms = np.frombuffer(transform, "<f8").reshape(-1, 3, 3)
        return Verified(left, right, similarity, copy, similar, plain, transforms, left_loss, right_loss)

    def verified_pairs(self, ids: Indices, *, weights_name: str) -> Indices:
        """Return (P,), Candidates.keys() of what verified() returns, in ascending order."""
        return self._keys('SELECT "left", "right" FROM look WHERE weights = ?', (weights_name,), ids)

    def _scores(self, sql: str, values: Sequence[Any], ids: Indices) -> Scores:
        return Scores(*_pair_columns(self._db.each(sql, values), ids, [np.float32] * 3))

    def _keys(self, sql: str, values: Sequence[Any], ids: Indices) -> Indices:
        left, right = _pair_columns(self._db.each(sql, values), ids, [])
        keys: Indices = left * len(ids) + right
        return keys


def _numbers_of(ids: Indices) -> Indices:
    """Return an array that gives the position in `ids` of a database number; -1 for others."""
    numbers = np.full(int(ids.max(initial=0)) + 1, -1)
    numbers[ids] = np.arange(len(ids))
    return numbers


def _pair_columns(rows: Iterator[Sequence[Any]], ids: Indices, kinds: Sequence[Any]) -> list[NDArray[Any]]:
    """Return rows of two database numbers and values of these `kinds` as columns, in the order of the pairs.

    Pairs with a photo that is not in `ids` are left out; the smaller position comes first.
    """
    numbers = _numbers_of(ids)

    def parts() -> Iterator[tuple[NDArray[Any], ...]]:
        for a, b, *values in transposed(rows, 2 + len(kinds)):
            ends = np.array([a, b], np.int64)
            found = np.where(ends < len(numbers), numbers[np.minimum(ends, len(numbers) - 1)], -1)
            known = (found >= 0).all(0)
            left, right = np.sort(found[:, known], axis=0)
            yield (left, right, *(np.array(column, kind)[known] for column, kind in zip(values, kinds, strict=True)))

    columns = stacked(parts())
    order = np.lexsort((columns[1], columns[0]))
    for n, column in enumerate(columns):  # one after the other: there may be ten pairs for each photo
        columns[n] = column[order]
    return columns


def _ordered(ids: Indices, left: Indices, right: Indices) -> tuple[Indices, Indices]:
    """Return the database numbers of both photos of each pair, the smaller first."""
    return np.minimum(ids[left], ids[right]), np.maximum(ids[left], ids[right])
