"""Photos and files as columns; a Photo object is created when one is accessed.

A million photos take about 200 MB as columns and more than a gigabyte as objects; a scan uses only those that match.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import sha256
from itertools import groupby, islice
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from dedup.errors import StoreUnusable
from dedup.types.arrays import Indices
from dedup.types.photo import (
    RAW_SUFFIXES,
    RECORDING_SUFFIXES,
    SIDECAR_SUFFIXES,
    Facts,
    File,
    Photo,
    facts_from_json,
    picture_of,
)

Item = TypeVar("Item")

_ROWS = 20_000  # rows converted at a time
_KEPT = 4_000  # Photo objects that are cached
_RECORDINGS = frozenset(map(os.fsencode, RECORDING_SUFFIXES))
_SIDECARS = frozenset(map(os.fsencode, SIDECAR_SUFFIXES))
_COMPANIONS = frozenset(map(os.fsencode, RAW_SUFFIXES | RECORDING_SUFFIXES | SIDECAR_SUFFIXES))
_COMMON = {"{}": "", None: "null"}  # facts as the database has them -> as a column has them


@dataclass(frozen=True, eq=False)
class Texts:
    """Texts, one after another.   ends: (N + 1,) int64, where the one before text i ends; the first is 0."""

    data: NDArray[np.uint8]
    ends: Indices

    def __getitem__(self, i: int) -> bytes:
        start, end = self.ends[i : i + 2].tolist()
        return self.data[start:end].tobytes()


class Items(Sequence[Item]):
    """A sequence whose items are created when they are accessed; a slice is a list."""

    @abstractmethod
    def item(self, n: int) -> Item:
        """Return item n, 0 <= n < len(self)."""

    @overload
    def __getitem__(self, i: int) -> Item: ...

    @overload
    def __getitem__(self, i: slice) -> list[Item]: ...

    def __getitem__(self, i: int | slice) -> Item | list[Item]:
        numbers = range(len(self))
        return [self.item(n) for n in numbers[i]] if isinstance(i, slice) else self.item(numbers[i])


@dataclass(frozen=True, eq=False)
class PhotoColumns(Items[Photo]):
    """N photos in the order of their SHA-256, and their M files in the order of their paths.

    sha256: (N, 32).   sizes: (N, 3), bytes, width, height.   said: (N, 3), gps, rating or -1, screenshot.
    words: format and camera, by codes (N, 2).   taken_at: N, empty if unknown.   facts: N, as Facts.to_json() writes
    them, empty for the common case, "null" if unknown.
    paths: M.   stats: (M, 5), the other figures of a File.   accompanied: (M,) bool, a RAW, a video or a sidecar lies
    beside the file.   order: (M,), the files photo by photo; those of photo i begin at first[i] and end before
    first[i + 1].
    """

    sha256: NDArray[np.uint8]
    sizes: Indices
    said: NDArray[np.int8]
    words: tuple[str | None, ...]
    codes: NDArray[np.int32]
    taken_at: Texts
    facts: Texts
    paths: Texts
    stats: Indices
    accompanied: NDArray[np.bool_]
    order: Indices
    first: Indices

    def __len__(self) -> int:
        return len(self.sha256)

    def item(self, n: int) -> Photo:
        return self._made(n)

    @cached_property
    def _made(self) -> Callable[[int], Photo]:
        return lru_cache(maxsize=_KEPT)(self._photo)  # the same photo is often accessed again

    def _photo(self, n: int) -> Photo:
        gps, rating, screenshot = self.said[n].tolist()
        format, camera = (self.words[code] for code in self.codes[n].tolist())
        assert format is not None
        size, width, height = self.sizes[n].tolist()
        start, end = self.first[n : n + 2].tolist()
        rows = self.order[start:end]
        files = tuple(_files(self.paths, self.stats, rows.tolist()))
        return Photo(
            self.sha256[n].tobytes().hex(),
            size,
            width,
            height,
            format,
            self.taken_at[n].decode() or None,
            camera,
            files,
            bool(gps),
            None if rating < 0 else rating,
            bool(screenshot),
            _facts(self.facts[n]),
            frozenset(f.path for f, beside in zip(files, self.accompanied[rows].tolist(), strict=True) if beside),
        )

    @property
    def files(self) -> int:
        """The number of files of all photos."""
        return len(self.order)

    def file_paths(self) -> Iterator[str]:
        """Yield the path of each file of all photos."""
        return (os.fsdecode(self.paths[row]) for row in self.order.tolist())

    def contents(self) -> bytes:
        """Return a digest (32 bytes) of the set of photos, whatever their file names."""
        return sha256(self.sha256.tobytes()).digest()


@dataclass(frozen=True, eq=False)
class Links(Items[list[File]]):
    """M files as K lists, each of the hard links to one inode.

    paths: M.   stats: (M, 5), the other figures of a File.   first: (K + 1,), where those of list k begin.
    """

    paths: Texts
    stats: Indices
    first: Indices

    def __len__(self) -> int:
        return len(self.first) - 1

    def item(self, n: int) -> list[File]:
        start, end = self.first[n : n + 2].tolist()
        return _files(self.paths, self.stats, range(start, end))


def with_exact_duplicates(photos: Sequence[Photo]) -> list[int]:
    """Return the numbers of photos that have more than one file, in ascending order."""
    if isinstance(photos, PhotoColumns):  # avoids creating objects: most photos have one file
        return np.flatnonzero(np.diff(photos.first) > 1).tolist()
    return [i for i, photo in enumerate(photos) if len(photo.files) > 1]


def photo_columns(photos: Iterable[Sequence[Any]], files: Iterable[Sequence[Any]]) -> tuple[PhotoColumns, Indices]:
    """Return photos as columns, and their numbers (N,).

    photos: rows of number, SHA-256, bytes, width, height, format, taken_at, camera, gps, rating, screenshot, facts, in
    the order of SHA-256.   files: rows of the number of a photo, path (bytes), size, mtime_ns, ctime_ns, device, inode,
    in the order of their paths. Those of other photos, or of none, are left out, but they may accompany others.
    """
    codes: dict[str | None, int] = {}
    ids, sha256s, sizes, said, words, *texts = stacked(
        (
            np.array(number, np.int64),
            np.frombuffer(b"".join(digest), np.uint8).reshape(-1, 32),
            np.array(size, np.int64).T,
            np.array([gps, [-1 if stars is None else stars for stars in rating], screenshot], np.int8).T,
            np.array([[codes.setdefault(word, len(codes)) for word in some] for some in (format, camera)], np.int32).T,
            *_joined([(time or "").encode() for time in times]),
            *_joined([_COMMON.get(some, some).encode() for some in facts]),
        )
        for number, digest, *size, format, times, camera, gps, rating, screenshot, facts in transposed(photos, 12)
    )
    named: set[str] = set()
    numbers, accompanied, stats, *paths = stacked(
        (np.array(number, np.int64), np.array(beside, bool), np.array(stats, np.int64).T, *_joined(names))
        for number, names, *stats, beside in transposed(_with_companions(files, named), 8)
    )
    known, by_number = np.flatnonzero(np.isin(numbers, ids)), np.argsort(ids)
    photo = by_number[np.searchsorted(ids, numbers[known], sorter=by_number)]
    order = np.argsort(photo, kind="stable")  # so the files of a photo stay in the order of their paths
    first = np.searchsorted(photo[order], np.arange(len(ids) + 1))
    strings = _texts(*texts[:2]), _texts(*texts[2:]), _texts(*paths)
    if named:
        accompanied |= [os.fsdecode(strings[2][i]).lower() in named for i in range(len(numbers))]
    return PhotoColumns(
        sha256s, sizes, said, tuple(codes), words, *strings, stats, accompanied, known[order], first
    ), ids


def _with_companions(files: Iterable[Sequence[Any]], named: set[str]) -> Iterator[Sequence[Any]]:
    """Yield the rows of photos, each with whether a RAW, recording or sidecar of the same name lies beside the file.

    named: gets the paths, in lower case, of pictures that a video beside them names in another way.
    """
    for _, rows in groupby(files, key=lambda row: _stem(row[1])):
        some = list(rows)  # in the order of their paths those of one name follow each other
        names = [(row, os.path.splitext(row[1])[1].lower()) for row in some]
        named.update(filter(None, (picture_of(os.fsdecode(row[1])) for row, suffix in names if suffix in _RECORDINGS)))
        for row, suffix in names:
            if row[0] is not None:
                yield *row, any(other in _COMPANIONS and other != suffix for _, other in names)


def _stem(path: bytes) -> bytes:
    """Return a path without its suffix; IMG_1.jpg.xmp belongs to IMG_1.jpg."""
    host, suffix = os.path.splitext(path)
    return os.path.splitext(host)[0] if suffix.lower() in _SIDECARS else host


def links(files: Iterable[Sequence[Any]]) -> Links:
    """Return files as columns: rows of path (bytes), size, mtime_ns, ctime_ns, device, inode, by device and inode."""
    stats, *paths = stacked((np.array(stats, np.int64).T, *_joined(names)) for names, *stats in transposed(files, 6))
    other = np.flatnonzero((stats[1:, -2:] != stats[:-1, -2:]).any(1)) + 1
    return Links(_texts(*paths), stats, np.unique(np.concatenate([[0, len(stats)], other])))


def transposed(rows: Iterable[Sequence[Any]], width: int) -> Iterator[list[tuple[Any, ...]]]:
    """Yield the columns of successive blocks of rows, at least once."""
    left = iter(rows)
    while True:
        some = list(islice(left, _ROWS))
        yield list(zip(*some, strict=True)) if some else [()] * width
        if len(some) < _ROWS:
            return


def stacked(parts: Iterable[tuple[NDArray[Any], ...]]) -> list[NDArray[Any]]:
    """Return the columns joined from parts, without holding everything twice at any moment."""
    grown: list[bytearray] = []
    for some in parts:
        grown = grown or [bytearray() for _ in some]
        for column, part in zip(grown, some, strict=True):
            column += part.tobytes()
    ends = [(part.dtype, part.shape[1:]) for part in some]
    return [np.frombuffer(c, dtype).reshape(-1, *shape) for c, (dtype, shape) in zip(grown, ends, strict=True)]


def among(keys: Indices, others: Indices) -> NDArray[np.bool_]:
    """Return which keys (P,) are among others, which are sorted. For repeated lookups; numpy's isin() is far slower."""
    if not len(others):
        return np.zeros(len(keys), bool)
    return np.asarray(others[np.searchsorted(others, keys).clip(max=len(others) - 1)] == keys)


def _facts(text: bytes) -> Facts | None:
    """Return the facts in a column. Raises StoreUnusable if something else is there."""
    try:
        return None if text == b"null" else facts_from_json(text.decode() or "{}")
    except ValueError as error:
        message = "the database holds facts of a photo that dedup did not write; move it away and scan again"
        raise StoreUnusable(message) from error


def _files(paths: Texts, stats: Indices, rows: Iterable[int]) -> list[File]:
    return [File(os.fsdecode(paths[row]), *stats[row].tolist()) for row in rows]


def _joined(texts: Sequence[bytes]) -> tuple[NDArray[np.uint8], Indices]:
    """Return the concatenated texts and their lengths."""
    return np.frombuffer(b"".join(texts), np.uint8), np.array(list(map(len, texts)), np.int64)


def _texts(data: NDArray[np.uint8], lengths: Indices) -> Texts:
    return Texts(data, np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]))
