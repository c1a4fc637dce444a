"""What one process of a cluster does at a time.

Each function does one part of one stage: it reads what it needs from the store, writes what comes of it to the store,
and may be done again, anywhere.

    describe   a slice of the listing -> its photos, as a scan of these files alone would know them
    spread     photos -> a copy for each of the cells that a photo is near
    join       a cell -> the pairs within it, and what the head says of them
    near       the pairs of a cell -> those that may become matches
    send_*     photos and pairs -> the lot of pairs, then the batch of connected photos, that they belong to
    look       a lot of pairs -> what a second look says of them
    matched    the pairs of a lot -> those that match
    settle     a batch -> grouped as a scan would do it
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dedup import decide, encode, index, objects, stages, verify
from dedup.cluster import tables
from dedup.group import group
from dedup.recall import kept_looks, kept_pixels
from dedup.runners import Machine
from dedup.store import Photos, Store
from dedup.types import Decisions, File, Floats, Indices, Relation, Scores, Settings, Vectors
from dedup.version import decoders
from dedup.weights import Weights, shipped

OVERLAP = 6  # cells that a photo is copied to; its neighbours are looked for in the nearest
_ROW_BITS = 24  # of a photo's number: its row in its shard; the rest is the number of the shard
_ALL_SETTLED_NS = 1 << 62  # no file is too young: a shard is named after the times of its files
NEARLY_EQUAL = 0.98  # cosine; decide.py may find such photos to be identical


@dataclass(frozen=True)
class Job:
    """What all tasks of a scan know. at: folder or URI of the store. run: what this scan writes, below it."""

    at: str
    run: str
    settings: Settings
    decisions: Decisions
    device: str


@dataclass(frozen=True)
class Slice:
    """Files to describe together. key: stands for their names, sizes and times, and for what reads them."""

    key: str
    files: tuple[File, ...]


@dataclass(frozen=True)
class Bundle:
    """Tables to pass on together, each with its number."""

    number: int
    tables: tuple[tuple[int, str], ...]


def weights_on(device: str) -> Weights:
    """Return the weights, loaded once in each process."""
    return shipped(device=device).load()


def machine_of(job: Job) -> Machine:
    return Machine(1, lambda stage, done, of: None, time.time)


@contextmanager
def empty_store(files: Sequence[File], weights: Weights) -> Iterator[Store]:
    """Give a store of one task's own, at the beginning of a scan of these files."""
    with TemporaryDirectory(prefix="dedup-") as folder, Store(f"{folder}/task.db", scanning=True) as store:
        store.begin(files, weights=weights.name, reader=decoders())
        yield store


def describe(job: Job, some: Slice) -> None:
    """Read, decode and encode files; write photos and skipped.

    Where a file may do better another time, the slice is not done: the next scan tries it again.
    """
    weights = weights_on(job.device)
    with empty_store(some.files, weights) as store:
        begun = time.monotonic()
        stages.describe(store.unknown(), store, weights, machine_of(job), started_ns=_ALL_SETTLED_NS)
        photos = store.photos()
        table = tables.files_table(photos.photos, store.vectors(photos.ids), store.maps(photos.ids))
        skipped, again = store.skipped(), bool(store.unknown())
    name = f"{some.key}{'.again' if again else ''}.parquet"
    about = {"photos": len(table), "skipped": len(skipped), "seconds": round(time.monotonic() - begun, 3)}
    tables.write(f"{job.at}/skipped/{name}", tables.skipped_table(skipped), about=about)
    tables.write(f"{job.at}/photos/{name}", table, about=about)  # the last: what says that the slice is done


def sample(job: Job, share: float, bundle: Bundle) -> tuple[Indices, NDArray[np.void], Vectors]:
    """Return numbers, SHA-256 and vectors of about this share of the photos of some shards, the same whoever asks."""
    ids, digests, vectors = [np.empty(0, np.int64)], [np.empty(0, "V32")], [np.empty((0, encode.DIMS), np.float32)]
    for number, name in bundle.tables:
        table = tables.read(f"{job.at}/photos/{name}", ["sha256", "vector"])
        rows = np.flatnonzero([int.from_bytes(d[:4]) < share * 2**32 for d in table["sha256"].to_pylist()])
        if len(rows):
            some = tables.taken(table, rows)
            ids.append((number << _ROW_BITS) + rows)
            digests.append(tables.digests_in(some))
            vectors.append(encode.unit(tables.vectors_in(some)))
    return np.concatenate(ids), np.concatenate(digests), np.concatenate(vectors)


def neighbours(job: Job, bundle: Bundle) -> tuple[Indices, Indices, NDArray[np.void], Floats]:
    """Return (query, number, SHA-256, cosine) columns: what is nearest in some shards to each vector of asked.npy.

    By exact search, one more than a scan asks for, since a photo finds itself; each content once.
    """
    ids, digests, vectors = sample(job, 1.0, bundle)
    first = np.unique(digests, return_index=True)[1]
    if not len(first):
        return np.empty(0, np.int64), ids, digests, np.empty(0, np.float32)
    asked = load_array(f"{job.run}/asked.npy")
    query, row = index.nearest(vectors[first], asked, k=job.settings.neighbours + 1)
    row = first[row]
    return query, ids[row], digests[row], np.einsum("pd,pd->p", asked[query], vectors[row])


def pairs_found(job: Job, cell: int) -> NDArray[np.bool_]:
    """Return which of the pairs (2, M) of true.npy were found in a cell."""
    pairs = tables.read(f"{job.run}/pairs/{cell}.parquet", ["left", "right"])
    ends = np.stack([tables.numbers(pairs, side) for side in ("left", "right")])
    true = load_array(f"{job.run}/true.npy")
    return np.isin(_named(true), _named(np.sort(ends, axis=0)))


def _named(pairs: Indices) -> NDArray[np.void]:
    """Return (M,), one value for each of M pairs (2, M)."""
    return np.ascontiguousarray(pairs.T).view("V16").ravel()


def save_array(path: str, array: NDArray[Any]) -> None:
    buffer = io.BytesIO()
    np.save(buffer, array)
    objects.put(path, buffer.getvalue())


@lru_cache(maxsize=4)
def load_array(path: str) -> NDArray[Any]:
    array: NDArray[Any] = np.load(io.BytesIO(objects.get(path)))
    return array


def spread(job: Job, bundle: Bundle) -> None:
    """Write each photo of some shards once for every cell it is near, the nearest of them its home."""
    centres = load_array(f"{job.run}/cells.npy")
    found = []
    for number, name in bundle.tables:
        table = tables.read(f"{job.at}/photos/{name}", ["sha256", "vector", "map"])
        if not len(table):
            continue
        row, cell = index.nearest(centres, encode.unit(tables.vectors_in(table)), k=OVERLAP)
        home = np.ones(len(row), bool)
        home[1:] = row[1:] != row[:-1]
        about = {"part": cell.astype(np.int32), "home": home, "id": (number << _ROW_BITS) + row}
        found.append(tables.with_columns(tables.taken(table, row), **about))
    tables.write_parts(f"{job.run}/cell-photos", bundle.number, found)


def join(job: Job, cell: int) -> None:
    """Write the pairs of the photos at home in a cell, with what the head says of them; left has the smaller SHA-256.

    Two files of the same bytes are a pair too, with certainty: the first of them stands for both.
    """
    found = tables.read_part(f"{job.run}/cell-photos", cell)
    if not found:
        return
    table = tables.together(found)
    table = tables.taken(table, tables.in_order(table, "sha256", "id"))
    ids, home, digests = tables.numbers(table, "id"), tables.numbers(table, "home"), tables.digests_in(table)
    first = np.ones(len(ids), bool)
    first[1:] = digests[1:] != digests[:-1]
    stands = np.flatnonzero(first)[np.cumsum(first) - 1]  # row of the first file of the same bytes
    copies = np.flatnonzero(home & ~first)
    photos = tables.taken(table, first)
    vectors, maps = encode.unit(tables.vectors_in(photos)), tables.maps_in(photos)
    settings, weights = job.settings, weights_on(job.device)
    candidates, _ = index.nearest_pairs(
        vectors,
        k=settings.neighbours,
        min_similarity=settings.min_similarity,
        exact_limit=len(vectors),
        queries=np.flatnonzero(home[first]),
    )
    scores = verify.verify(
        candidates, lambda some: maps[some], weights.head, weights.calibration, device=weights.device
    )
    own, sure = ids[first], np.ones(len(copies), np.float32)
    pairs = {
        "left": np.concatenate([own[scores.left], ids[stands[copies]]]),
        "right": np.concatenate([own[scores.right], ids[copies]]),
        "similarity": np.concatenate([scores.similarity, sure]),
        "copy": np.concatenate([scores.copy, sure]),
        "similar": np.concatenate([scores.similar, 0 * sure]),
        "same": np.arange(len(scores) + len(copies)) >= len(scores),
    }
    tables.write(f"{job.run}/pairs/{cell}.parquet", tables.columns_table(pairs))


def near(job: Job, cell: int) -> dict[str, NDArray[Any]]:
    """Return the columns of those pairs of a cell that may become matches."""
    pairs = tables.columns_in(tables.read(f"{job.run}/pairs/{cell}.parquet"))
    may = shipped().line.worth(pairs["copy"], pairs["similar"], pairs["similarity"])
    may |= pairs["similarity"] >= NEARLY_EQUAL
    may |= job.settings.include_similar & (pairs["similar"] >= 0.5)
    return {name: column[may] for name, column in pairs.items()}


def send_photos(job: Job, to: str, bundle: Bundle) -> None:
    """Write the photos of some shards for the parts that <to>.npy, (2, M) of photo and part, sends them to."""
    ids, parts = load_array(f"{job.run}/{to}.npy")
    found = []
    for number, name in bundle.tables:
        some = slice(*np.searchsorted(ids, [number << _ROW_BITS, (number + 1) << _ROW_BITS]))
        if some.start < some.stop:
            rows = ids[some] & ((1 << _ROW_BITS) - 1)
            table = tables.taken(tables.read(f"{job.at}/photos/{name}"), rows)
            found.append(tables.with_columns(table, part=parts[some].astype(np.int32), id=ids[some]))
    tables.write_parts(f"{job.run}/{to}-photos", bundle.number, found)


def send_pairs(job: Job, kind: str, bundle: Bundle) -> None:
    """Write the pairs of some tables for the batches that both their photos are in; the others are done with."""
    ids, batches = load_array(f"{job.run}/batch.npy")
    found = []
    for _, name in bundle.tables:
        table = tables.read(f"{job.run}/{kind}/{name}")
        left, right = (tables.numbers(table, side) for side in ("left", "right"))
        at, other = (np.searchsorted(ids, end).clip(max=len(ids) - 1) for end in (left, right))
        both = (ids[at] == left) & (ids[other] == right) & (batches[at] == batches[other])
        part = batches[at[both]].astype(np.int32)
        found.append(tables.with_columns(tables.taken(table, both), part=part))
    tables.write_parts(f"{job.run}/batch-{kind}", bundle.number, found)


@contextmanager
def store_of(job: Job, folder: str, part: int) -> Iterator[tuple[Store, Photos, tables.Table]]:
    """Give a store that knows the photos of a part, and their table."""
    table = tables.together(tables.read_part(f"{job.run}/{folder}-photos", part))
    with empty_store(tables.files_in(table), weights_on(job.device)) as store:
        vectors, maps = tables.vectors_in(table), tables.maps_in(table)
        store.add(tables.readings_in(table), vectors, maps, started_ns=_ALL_SETTLED_NS)
        store.decide(job.decisions)
        yield store, store.photos(), table


def look(job: Job, lot: int) -> None:
    """Look at the files of a lot of pairs, and write what is seen and what is made of it."""
    weights, machine = weights_on(job.device), machine_of(job)
    with store_of(job, "lot", lot) as (store, photos, table):
        pairs = tables.read(f"{job.run}/lots/{lot}.parquet")
        scores, rows = scores_among(pairs, table)
        chosen = tables.numbers(pairs, "look")[rows]
        if job.settings.confirm:
            stages.take_looks(scores.rows(chosen), photos, store, weights, machine)
        looks = store.looks(photos.ids, weights=weights.name)
        pixels = stages.known_pixels(scores, photos, store, machine)
        verdicts = decide.decide(photos.photos, scores, looks, pixels)
    ids = np.empty(len(photos.photos), np.int64)
    ids[number_of(table)] = tables.numbers(table, "id")
    tables.write(f"{job.run}/verdict/{lot}.parquet", tables.pairs_table(verdicts, ids))
    tables.write(f"{job.run}/look/{lot}.parquet", tables.pairs_table(looks, ids))


def matched(job: Job, lot: int) -> tuple[Indices, Indices]:
    """Return the pairs of a lot that match, as the numbers of both photos."""
    verdicts = tables.columns_in(tables.read(f"{job.run}/verdict/{lot}.parquet"))
    least = Relation.SIMILAR if job.settings.include_similar else Relation.COPY
    rows = verdicts["relation"] <= least
    return verdicts["left"][rows], verdicts["right"][rows]


def settle(job: Job, batch: int) -> None:
    """Write what a scan of the photos of a batch finds, given their pairs: the photos in groups, and what was seen."""
    weights, machine = weights_on(job.device), machine_of(job)
    with store_of(job, "batch", batch) as (store, photos, table):
        scores, _ = scores_among(tables.together(tables.read_part(f"{job.run}/batch-pairs", batch)), table)
        store.add_scores(scores, photos.ids, weights=weights.name)
        for seen in tables.read_part(f"{job.run}/batch-look", batch):
            store.add_looks(tables.looks_in(seen, *places(seen, table)), photos.ids, weights=weights.name)
        vectors = encode.unit(store.vectors(photos.ids))
        verdicts = stages.settle(scores, vectors, photos, store, weights, job.settings, machine)
        groups = group(photos.photos, verdicts, job.settings, job.decisions)
        looks = kept_looks(photos, store, weights.name, job.settings)
        judged = store.scores(photos.ids, weights=weights.name)
        pixels = kept_pixels(judged, photos, store)
    digests = np.unique(tables.digests_in(table))
    grouped = np.zeros(len(digests), bool)
    grouped[[i for g in groups for i in (g.keeper, *(d.photo for d in g.duplicates))]] = True
    known = [number for number, digest in pixels.items() if digest is not None]
    same = {"sha256": digests[known], "pixels": np.array([pixels[number] for number in known], "V32")}
    found = {"verdicts": verdicts, "scores": judged, "looks": looks}
    for kind, some in found.items():
        tables.write(f"{job.run}/{kind}/{batch}.parquet", tables.pairs_table(some, digests))
    tables.write(f"{job.run}/pixels/{batch}.parquet", tables.columns_table(same))
    kept = tables.taken(table, grouped[number_of(table)]).select(tables.FILES.names)
    tables.write(f"{job.run}/grouped/{batch}.parquet", kept)  # the last: what says that the batch is done


def number_of(table: tables.Table) -> Indices:
    """Return which photo each file of a table is of, in the order of SHA-256."""
    number: Indices = np.unique(tables.digests_in(table), return_inverse=True)[1]
    return number


def places(pairs: tables.Table, table: tables.Table) -> tuple[Indices, Indices]:
    """Return both photos of each pair by their place in the order of SHA-256."""
    ids, number = tables.numbers(table, "id"), number_of(table)
    order = np.argsort(ids)
    left, right = (
        number[order[np.searchsorted(ids[order], tables.numbers(pairs, side))]] for side in ("left", "right")
    )
    return left, right


def scores_among(pairs: tables.Table, table: tables.Table) -> tuple[Scores, Indices]:
    """Return what the head said of pairs of the photos of a table, each pair once, and the rows it is in."""
    ends = places(pairs, table)
    left, right = np.minimum(*ends), np.maximum(*ends)
    columns = (tables.numbers(pairs, name) for name in ("similarity", "copy", "similar"))
    scores = Scores(left, right, *columns)
    rows = np.unique(scores.keys(len(table)), return_index=True)[1]  # both cells of a pair may have found it
    rows = rows[left[rows] < right[rows]]  # two files of the same bytes are one photo
    return scores.rows(rows), rows
