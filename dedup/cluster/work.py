"""What one process of a cluster does at a time.

Each function does one part of one stage: it reads what it needs from the store, writes what comes of it to the store,
and may be done again, anywhere.

    describe   a slice of the listing -> its photos, as a scan of these files alone would know them
    spread     photos -> a copy for each of the cells that a photo is near
    join       a cell -> the pairs within it, and what the head says of them
    gather     photos and pairs -> the batch of connected photos they belong to
    settle     a batch -> looked at twice and grouped, as a scan would
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

from dedup import confirm, encode, index, objects, pipeline, verify
from dedup.cluster import tables
from dedup.group import group
from dedup.pipeline import Machine, kept_looks, kept_pixels
from dedup.read import decoders
from dedup.store import Store
from dedup.types import Decisions, File, Indices, Scores, Settings, Vectors
from dedup.weights import Weights, load_shipped

OVERLAP = 6  # cells that a photo is copied to; its neighbours are looked for in the nearest
_ROW_BITS = 24  # of a photo's number: its row in its shard; the rest is the number of the shard
_ALL_SETTLED_NS = 1 << 62  # no file is too young: a shard is named after the times of its files
_NEARLY_EQUAL = 0.98  # cosine; confirm.py may find such photos to be identical


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
    """Shards to pass on together, as (number of the shard, its name), and the cells whose pairs go with them."""

    number: int
    shards: tuple[tuple[int, str], ...]
    cells: tuple[int, ...] = ()


@lru_cache(maxsize=1)
def weights_on(device: str) -> Weights:
    """Return the weights, loaded once in each process."""
    return load_shipped(device=device)


def machine_of(job: Job) -> Machine:
    return Machine(1, job.device, lambda stage, done, of: None, time.time)


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
        pipeline.describe(store, weights, machine_of(job), started_ns=_ALL_SETTLED_NS)
        photos = store.photos()
        table = tables.files_table(photos.photos, store.vectors(photos.ids), store.maps(photos.ids))
        skipped, again = store.skipped(), bool(store.unknown())
    name = f"{some.key}{'.again' if again else ''}.parquet"
    about = {"photos": len(table), "skipped": len(skipped), "seconds": round(time.monotonic() - begun, 3)}
    tables.write(f"{job.at}/skipped/{name}", tables.skipped_table(skipped), about=about)
    tables.write(f"{job.at}/photos/{name}", table, about=about)  # the last: what says that the slice is done


def sample(job: Job, share: float, shard: str) -> Vectors:
    """Return the vectors of about this share of a shard, the same whoever asks."""
    table = tables.read(f"{job.at}/photos/{shard}", ["sha256", "vector"])
    chosen = np.array([int.from_bytes(d[:4]) < share * 2**32 for d in table["sha256"].to_pylist()], np.bool_)
    return encode.unit(tables.vectors_in(tables.taken(table, chosen)))


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
    for number, name in bundle.shards:
        table = tables.read(f"{job.at}/photos/{name}", ["sha256", "vector", "map"])
        if not len(table):
            continue
        row, cell = index.nearest(centres, encode.unit(tables.vectors_in(table)), k=OVERLAP)
        home = np.ones(len(row), bool)
        home[1:] = row[1:] != row[:-1]
        about = {"part": cell.astype(np.int32), "home": home, "id": (number << _ROW_BITS) + row}
        found.append(tables.with_columns(tables.taken(table, row), **about))
    if found:
        tables.write_parts(f"{job.run}/spread", bundle.number, tables.together(found))


def join(job: Job, cell: int) -> None:
    """Write the pairs of the photos at home in a cell, with what the head says of them; left has the smaller SHA-256.

    Two files of the same bytes are a pair too, with certainty: the first of them stands for both.
    """
    found = tables.read_part(f"{job.run}/spread", cell)
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
    near, _ = index.nearest_pairs(
        vectors,
        k=settings.neighbours,
        min_similarity=settings.min_similarity,
        exact_limit=len(vectors),
        queries=np.flatnonzero(home[first]),
    )
    scores = verify.verify(near, lambda some: maps[some], weights.head, weights.calibration, device=job.device)
    own, sure = ids[first], np.ones(len(copies), np.float32)
    pairs = {
        "left": np.concatenate([own[scores.left], ids[stands[copies]]]),
        "right": np.concatenate([own[scores.right], ids[copies]]),
        "similarity": np.concatenate([scores.similarity, sure]),
        "copy": np.concatenate([scores.copy, sure]),
        "similar": np.concatenate([scores.similar, 0 * sure]),
    }
    tables.write(f"{job.run}/pairs/{cell}.parquet", tables.columns_table(pairs))


def edges(job: Job, cell: int) -> tuple[Indices, Indices]:
    """Return the pairs of a cell that may end in one group, as the numbers of both photos."""
    table = tables.read(f"{job.run}/pairs/{cell}.parquet")
    near, copy, similar = (tables.numbers(table, name) for name in ("similarity", "copy", "similar"))
    may = (copy >= confirm.WORTH_A_LOOK) | (near >= _NEARLY_EQUAL) | (job.settings.include_similar & (similar >= 0.5))
    left, right = (tables.numbers(table, name)[may] for name in ("left", "right"))
    return left, right


def gather(job: Job, bundle: Bundle) -> None:
    """Write the photos of some shards and the pairs of some cells for the batches they are in; the others are done."""
    ids, batches = load_array(f"{job.run}/batches.npy")
    photos, pairs = [], []
    for number, name in bundle.shards:
        rows = ids[slice(*np.searchsorted(ids, [number << _ROW_BITS, (number + 1) << _ROW_BITS]))]
        if len(rows):
            table = tables.taken(tables.read(f"{job.at}/photos/{name}"), rows & ((1 << _ROW_BITS) - 1))
            part = batches[np.searchsorted(ids, rows)].astype(np.int32)
            photos.append(tables.with_columns(table, part=part, id=rows))
    for cell in bundle.cells:
        table = tables.read(f"{job.run}/pairs/{cell}.parquet")
        ends = [tables.numbers(table, side) for side in ("left", "right")]
        at = [np.searchsorted(ids, end).clip(max=len(ids) - 1) for end in ends]
        both = (ids[at[0]] == ends[0]) & (ids[at[1]] == ends[1]) & (batches[at[0]] == batches[at[1]])
        part = batches[at[0][both]].astype(np.int32)
        pairs.append(tables.with_columns(tables.taken(table, both), part=part))
    for kind, found in (("photos", photos), ("pairs", pairs)):
        if found:
            tables.write_parts(f"{job.run}/batch-{kind}", bundle.number, tables.together(found))


def settle(job: Job, batch: int) -> None:
    """Write what a scan of the photos of a batch finds, given their pairs: the photos in groups, and what was seen."""
    weights, machine = weights_on(job.device), machine_of(job)
    table = tables.together(tables.read_part(f"{job.run}/batch-photos", batch))
    table = tables.taken(table, tables.in_order(table, "sha256", "path"))
    with empty_store(tables.files_in(table), weights) as store:
        store.decide(job.decisions)
        store.add(
            tables.readings_in(table),
            tables.vectors_in(table),
            tables.maps_in(table).reshape(len(table), -1),
            started_ns=_ALL_SETTLED_NS,
        )
        photos = store.photos()
        scores = scores_among(job, batch, table)
        store.add_scores(scores, photos.ids, weights=weights.name)
        vectors = encode.unit(store.vectors(photos.ids))
        verdicts = pipeline.settle(scores, vectors, photos, store, weights, job.settings, machine)
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
    number = np.searchsorted(digests, tables.digests_in(table))
    kept = tables.taken(table, grouped[number]).select(tables.FILES.names)
    tables.write(f"{job.run}/grouped/{batch}.parquet", kept)  # the last: what says that the batch is done


def scores_among(job: Job, batch: int, table: tables.Table) -> Scores:
    """Return what the head said of pairs of a batch, each once; its photos are numbered in the order of SHA-256."""
    pairs = tables.together(tables.read_part(f"{job.run}/batch-pairs", batch))
    number = np.unique(tables.digests_in(table), return_inverse=True)[1]  # of the photo of each row
    ids = tables.numbers(table, "id")
    order = np.argsort(ids)
    ends = [number[order[np.searchsorted(ids[order], tables.numbers(pairs, side))]] for side in ("left", "right")]
    left, right = np.minimum(*ends), np.maximum(*ends)
    columns = (tables.numbers(pairs, name) for name in ("similarity", "copy", "similar"))
    scores = Scores(left, right, *columns)
    once = np.unique(scores.keys(len(number)), return_index=True)[1]  # both cells of a pair may have found it
    return scores.rows(once[left[once] < right[once]])  # two files of the same bytes are one photo
