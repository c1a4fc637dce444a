"""The tasks of a cluster scan. Each does one part of one stage and can be repeated anywhere.

A task reads its input from the work directory and writes its result there.

    describe          files -> their photos, as a scan of these files alone would store them
    assign            vectors -> a copy for each of the cells that a photo is near
    search            a cell -> the pairs within it, for the cells that score them, and which maps these need
    shuffle_maps      maps -> the cells that need them
    score             a cell -> the scores of its pairs
    possible_matches  the pairs of a cell -> those that may become matches
    shuffle_photos    photos -> the block of pairs, later the batch of connected photos, that they belong to
    shuffle_pairs     pairs -> the batch of connected photos that they belong to
    verify            a block of pairs -> the results of verification
    copies_at_assumed the pairs of a block -> their probabilities, from which the prior follows
    matches           the pairs of a block -> those that match
    group_batch       a batch -> grouped as a scan would do it
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

from dedup import index
from dedup.cluster import tables
from dedup.files import object_store
from dedup.grouping import relations, selection
from dedup.grouping.prior import ASSUMED
from dedup.models import encoder, pair_head
from dedup.models.weights import Weights, weights_spec
from dedup.pipeline import extract, judge, match
from dedup.pipeline.context import Context
from dedup.pipeline.results import judging_name, stored_pixels
from dedup.pipeline.scan import verify_and_group
from dedup.store.listing import ScanListing
from dedup.store.store import Store
from dedup.types.arrays import Floats, Indices, Maps, Vectors
from dedup.types.groups import Decisions
from dedup.types.pairs import NOTHING_SCORED, Candidates, Relation, Scores
from dedup.types.photo import File
from dedup.types.report import Photos
from dedup.types.settings import Settings
from dedup.version import decoders
from dedup.workers import Runtime

_RUNTIME = Runtime(1, lambda stage, done, of: None, time.time)  # the share of its node that a task uses
_ROW_BITS = 24  # of a photo's number: its row in its shard; the rest is the number of the shard
_ALL_SETTLED_NS = 1 << 62  # no file is too recent: a shard is named after the times of its files
_PAIRS = 32 * pair_head.BATCH  # pairs scored at once


@dataclass(frozen=True)
class Job:
    """What all tasks of a scan know.

    at: work directory, a folder or URI.   run: folder of this scan below it.   photos: of the whole collection.
    prior: likewise, once it is known.
    """

    at: str
    run: str
    settings: Settings
    decisions: Decisions
    device: str
    photos: int = 0
    prior: float = ASSUMED


@dataclass(frozen=True)
class Slice:
    """Files to describe together. key: digest of their names, sizes and times, and of the decoders and weights."""

    key: str
    files: tuple[File, ...]


@dataclass(frozen=True)
class Bundle:
    """Tables to shuffle together, each with its number."""

    number: int
    tables: tuple[tuple[int, str], ...]


def weights_on(device: str) -> Weights:
    """Return the weights, loaded once in each process."""
    return weights_spec(device=device).load()


@contextmanager
def task_store(files: Sequence[File], weights_name: str) -> Iterator[tuple[Store, ScanListing]]:
    """Give a database of the task's own, with these files listed."""
    with (
        TemporaryDirectory(prefix="dedup-") as folder,
        Store(f"{folder}/task.db", scanning=True) as store,
        store.listing(files, weights_name=weights_name, reader=decoders()) as found,
    ):
        yield store, found


def context_of(store: Store, job: Job) -> Context:
    return Context(store, weights_spec(device=job.device), job.settings, _RUNTIME)


def describe(job: Job, some: Slice) -> None:
    """Read, decode and encode files; write photos and skipped files.

    A slice with a file that could not be read this time is not finished: the next scan tries it again.
    """
    begun = time.monotonic()
    with task_store(some.files, weights_spec(device=job.device).name) as (store, found):
        context, unknown = context_of(store, job), found.unknown()
        readings = extract.read(unknown, found, context)
        extract.encode(readings, found, context, started_ns=_ALL_SETTLED_NS, count=len(unknown))
        photos = found.photos()
        table = tables.files_table(photos.photos, store.features.vectors(photos.ids), store.features.maps(photos.ids))
        skipped, again = found.skipped(), bool(found.unknown())
    name = f"{some.key}{'.again' if again else ''}.parquet"
    about = {"photos": len(table), "skipped": len(skipped), "seconds": round(time.monotonic() - begun, 3)}
    tables.write(f"{job.at}/skipped/{name}", tables.skipped_table(skipped), about=about)
    tables.write(f"{job.at}/photos/{name}", table, about=about)  # last: it marks the slice as done


def sample(job: Job, share: float, bundle: Bundle) -> tuple[Indices, NDArray[np.void], Vectors]:
    """Return numbers, SHA-256 and vectors of about this share of the photos of some shards; always the same ones."""
    ids, digests, vectors = [np.empty(0, np.int64)], [np.empty(0, "V32")], [np.empty((0, encoder.DIMS), np.float32)]
    for number, name in bundle.tables:
        table = tables.read(f"{job.at}/photos/{name}", ["sha256", "vector"])
        rows = np.flatnonzero([int.from_bytes(d[:4]) < share * 2**32 for d in table["sha256"].to_pylist()])
        if len(rows):
            some = tables.taken(table, rows)
            ids.append((number << _ROW_BITS) + rows)
            digests.append(tables.digests_in(some))
            vectors.append(encoder.unit(tables.vectors_in(some)))
    return np.concatenate(ids), np.concatenate(digests), np.concatenate(vectors)


def nearest_of_asked(job: Job, bundle: Bundle) -> tuple[Indices, Indices, NDArray[np.void], Floats]:
    """Return (query, number, SHA-256, cosine) columns: the photos of some shards nearest to each vector of asked.npy.

    Exact search for one more than a scan wants, since a photo finds itself; each content once.
    """
    ids, digests, vectors = sample(job, 1.0, bundle)
    first = np.unique(digests, return_index=True)[1]
    if not len(first):
        return np.empty(0, np.int64), ids, digests, np.empty(0, np.float32)
    asked = load_array(f"{job.run}/asked.npy")
    query, row = index.nearest(vectors[first], asked, k=job.settings.neighbours + 1)
    row = first[row]
    return query, ids[row], digests[row], np.einsum("pd,pd->p", asked[query], vectors[row])


def found_in_cell(job: Job, cell: int) -> NDArray[np.bool_]:
    """Return which of the pairs (2, M) of true.npy were found in a cell, before the prefilter."""
    found = [np.empty((2, 0), np.int64)]
    for pairs in tables.read_part(f"{job.run}/candidates", cell):
        found.append(np.stack([tables.numbers(pairs, side) for side in ("left", "right")]))
    ends = np.concatenate(found, axis=1)
    true = load_array(f"{job.run}/true.npy")
    return np.isin(_named(true), _named(np.sort(ends, axis=0)))


def _named(pairs: Indices) -> NDArray[np.void]:
    """Return (M,), one value for each of M pairs (2, M)."""
    return np.ascontiguousarray(pairs.T).view("V16").ravel()


def save_array(path: str, array: NDArray[Any]) -> None:
    buffer = io.BytesIO()
    np.save(buffer, array)
    object_store.put(path, buffer.getvalue())


@lru_cache(maxsize=4)
def load_array(path: str) -> NDArray[Any]:
    array: NDArray[Any] = np.load(io.BytesIO(object_store.get(path)))
    return array


def assign(job: Job, overlap: int, bundle: Bundle) -> None:
    """Write the vector of each photo of some shards for the cells it is nearest to; the nearest is its home."""
    centres = load_array(f"{job.run}/cells.npy")
    found = []
    for number, name in bundle.tables:
        table = tables.read(f"{job.at}/photos/{name}", ["sha256", "vector"])
        if not len(table):
            continue
        row, cell = index.nearest(centres, encoder.unit(tables.vectors_in(table)), k=overlap)
        home = cell[np.searchsorted(row, row)]
        about: tables.Columns = {
            "part": cell.astype(np.int32),
            "home": home.astype(np.int32),
            "id": (number << _ROW_BITS) + row,
        }
        found.append(tables.with_columns(tables.taken(table, row), **about))
    tables.write_parts(f"{job.run}/cell-vectors", bundle.number, found)


def search(job: Job, bundle_size: int, cell: int) -> None:
    """Write the pairs of the photos at home in a cell; left has the smaller SHA-256.

    Each goes to the home of its left photo, where it is scored: the home of the right one may have found it too.
    Two files of the same bytes are a certain pair; the first of them stands for both in all other pairs.
    bundle_size: shards in a bundle.
    """
    found = tables.read_part(f"{job.run}/cell-vectors", cell)
    if not found:
        tables.write_parts(f"{job.run}/candidates", cell, [])
        return
    table = tables.joined(found)
    table = tables.taken(table, tables.in_order(table, "sha256", "id"))
    ids, home, digests = tables.numbers(table, "id"), tables.numbers(table, "home"), tables.digests_in(table)
    first = np.ones(len(ids), bool)
    first[1:] = digests[1:] != digests[:-1]
    candidates, _ = index.nearest_pairs(
        encoder.unit(tables.vectors_in(tables.taken(table, first))),
        k=job.settings.neighbours,
        min_similarity=job.settings.min_similarity,
        exact_limit=len(ids),
        queries=np.flatnonzero(home[first] == cell),
    )
    own, to = ids[first], home[first][candidates.left]
    write_wanted(job, cell, bundle_size, own, candidates, to)
    copies = np.flatnonzero((home == cell) & ~first)
    stands = own[np.cumsum(first) - 1]  # the first file of the same bytes
    pairs = {
        "part": np.concatenate([to, home[copies]]),
        "left": np.concatenate([own[candidates.left], stands[copies]]),
        "right": np.concatenate([own[candidates.right], ids[copies]]),
        "similarity": np.concatenate([candidates.similarity, np.ones(len(copies), np.float32)]),
        "same": np.arange(len(candidates) + len(copies)) >= len(candidates),
    }
    tables.write_parts(f"{job.run}/candidates", cell, [tables.columns_table(pairs)])


def write_wanted(
    job: Job, cell: int, bundle_size: int, ids: Indices, candidates: Candidates, to: NDArray[np.int32]
) -> None:
    """Write for each bundle of shards which cells need which of its maps. to: (P,), the cell of each candidate."""
    cells = int(to.max(initial=0)) + 1
    ends = np.concatenate([candidates.left, candidates.right])
    row, cell_of = np.divmod(np.unique(ends * cells + np.tile(to, 2)), cells)
    part = (ids[row] >> _ROW_BITS) // bundle_size
    wanted: tables.Columns = {"part": part.astype(np.int32), "id": ids[row], "to": cell_of.astype(np.int32)}
    tables.write_parts(f"{job.run}/wanted", cell, [tables.columns_table(wanted)])


def shuffle_maps(job: Job, bundle: Bundle) -> None:
    """Write the maps of some shards for the cells that need them."""
    found = [np.empty((2, 0), np.int64)]
    for some in tables.read_part(f"{job.run}/wanted", bundle.number):
        found.append(np.stack([tables.numbers(some, "id"), tables.numbers(some, "to")]))
    ids, cells = np.unique(np.concatenate(found, axis=1), axis=1)  # several cells may have found pairs for one
    tables.write_parts(f"{job.run}/cell-maps", bundle.number, chosen(job, bundle, ids, cells, columns=["map"]))


def score(job: Job, cell: int) -> None:
    """Write the pairs of a cell that may be related, each once, with their scores."""
    found = tables.read_part(f"{job.run}/candidates", cell)
    names = {"left": np.int64, "right": np.int64, "similarity": np.float32, "same": np.bool_}
    pairs = {
        name: np.concatenate([np.empty(0, kind), *(tables.numbers(some, name) for some in found)])
        for name, kind in names.items()
    }
    sent = tables.read_part(f"{job.run}/cell-maps", cell)
    ids = np.concatenate([np.empty(0, np.int64), *(tables.numbers(some, "id") for some in sent)])
    maps = np.concatenate([tables.maps_in(some) for some in sent]) if sent else np.empty((0, 0, 0), np.int8)
    del sent
    order = np.argsort(ids)
    rows = np.flatnonzero(~pairs["same"])
    left, right = (order[np.searchsorted(ids[order], pairs[side][rows])] for side in ("left", "right"))
    once = np.unique(left * len(ids) + right, return_index=True)[1]  # both homes of a pair may have found it
    rows, left, right = rows[once], left[once], right[once]
    candidates = Candidates(left, right, pairs["similarity"][rows])
    scores = scored(candidates, maps, job)
    passed = np.isin(candidates.keys(len(ids)), scores.keys(len(ids)))
    rows = np.concatenate([rows[passed], np.flatnonzero(pairs["same"])])
    sure = np.ones(len(rows) - len(scores), np.float32)
    about = {"copy": np.concatenate([scores.copy, sure]), "similar": np.concatenate([scores.similar, 0 * sure])}
    columns = {name: column[rows] for name, column in pairs.items()}
    tables.write(f"{job.run}/pairs/{cell}.parquet", tables.columns_table(columns | about))


def scored(candidates: Candidates, maps: Maps, job: Job) -> Scores:
    """Return the scores of the candidates that may be related, in their order."""
    weights, thorough = weights_on(job.device), job.settings.thorough
    parts = (
        judge.score_related(
            candidates.rows(slice(start, start + _PAIRS)), maps.__getitem__, weights, collection=job.photos,
            thorough=thorough,
        )
        for start in range(0, len(candidates), _PAIRS)  # the maps of so many are copied at once
    )  # fmt: skip
    return NOTHING_SCORED.followed_by(*parts)


def possible_matches(job: Job, cell: int) -> tables.Columns:
    """Return the columns of those pairs of a cell that may become matches."""
    pairs = tables.columns_in(tables.read(f"{job.run}/pairs/{cell}.parquet"))
    may = selection.needs_verification(pairs["copy"], pairs["similar"], pairs["similarity"], weights_spec().gate)
    may |= pairs["similarity"] >= relations.NEARLY_EQUAL
    may |= job.settings.include_similar & (pairs["similar"] >= 0.5)
    return {name: column[may] for name, column in pairs.items()}


def shuffle_photos(job: Job, to: str, bundle: Bundle) -> None:
    """Write the photos of some shards for the parts that <to>.npy, (2, M) of photo and part, assigns them to."""
    assigned = chosen(job, bundle, *load_array(f"{job.run}/{to}.npy"))
    tables.write_parts(f"{job.run}/{to}-photos", bundle.number, assigned)


def chosen(
    job: Job, bundle: Bundle, ids: Indices, parts: Indices, *, columns: Sequence[str] | None = None
) -> list[tables.Table]:
    """Return those photos of some shards that are among these, in ascending order, with the part each goes to."""
    found = []
    for number, name in bundle.tables:
        some = slice(*np.searchsorted(ids, [number << _ROW_BITS, (number + 1) << _ROW_BITS]))
        if some.start < some.stop:
            rows = ids[some] & ((1 << _ROW_BITS) - 1)
            table = tables.taken(tables.read(f"{job.at}/photos/{name}", columns), rows)
            found.append(tables.with_columns(table, part=parts[some].astype(np.int32), id=ids[some]))
    return found


def shuffle_pairs(job: Job, kind: str, bundle: Bundle) -> None:
    """Write the pairs of some tables for the batches that both their photos are in, and no others."""
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
def part_store(job: Job, folder: str, part: int) -> Iterator[tuple[Store, Photos, tables.Table]]:
    """Give a database that knows the photos of a part, with these photos and their table."""
    table = tables.joined(tables.read_part(f"{job.run}/{folder}-photos", part))
    with task_store(tables.files_in(table), weights_spec(device=job.device).name) as (store, found):
        vectors, maps = tables.vectors_in(table), tables.maps_in(table)
        found.add(tables.readings_in(table), vectors, maps, started_ns=_ALL_SETTLED_NS)
        store.decisions.add(job.decisions)
        yield store, found.photos(), table


def verify(job: Job, block: int) -> None:
    """Verify a block of pairs; write the results, and the verdicts before the prior of the collection is known.

    It only makes copies less likely, so that all pairs that may match are among these.
    """
    with part_store(job, "block", block) as (store, photos, table):
        context = context_of(store, job)
        pairs = tables.read(f"{job.run}/blocks/{block}.parquet")
        scores, rows = scores_among(pairs, table)
        chosen = tables.numbers(pairs, "verify")[rows]
        verified = match.verify(scores.rows(chosen), photos, context, collection=job.photos)
        unverified = chosen & ~np.isin(scores.keys(len(photos.ids)), verified.keys(len(photos.ids)))
        pixels = match.known_pixels(scores, photos, context)
        verdicts = relations.relate(photos.photos, scores, verified, pixels)
        verdicts = relations.inconclusive(verdicts, unverified & job.settings.verify)
    ids = np.empty(len(photos.photos), np.int64)
    ids[number_of(table)] = tables.numbers(table, "id")
    tables.write(f"{job.run}/block-verdicts/{block}.parquet", tables.pairs_table(verdicts, ids))
    tables.write(f"{job.run}/verified/{block}.parquet", tables.pairs_table(verified, ids))


def copies_at_assumed(job: Job, block: int) -> Floats:
    """Return the probabilities of a copy (P,) of those pairs of a block that were verified and are not plain."""
    found = tables.columns_in(tables.read(f"{job.run}/verified/{block}.parquet", ["copy", "plain"]))
    return np.asarray(found["copy"][~found["plain"]])


def matches(job: Job, block: int) -> tuple[Indices, Indices]:
    """Return the pairs of a block that match, as the numbers of both photos."""
    verdicts = tables.columns_in(tables.read(f"{job.run}/block-verdicts/{block}.parquet"))
    least = Relation.SIMILAR if job.settings.include_similar else Relation.COPY
    rows = verdicts["relation"] <= least
    return verdicts["left"][rows], verdicts["right"][rows]


def group_batch(job: Job, batch: int) -> None:
    """Write what a scan of the photos of a batch finds, given their pairs: the photos in groups, and their pairs."""
    with part_store(job, "batch", batch) as (store, photos, table):
        context = context_of(store, job)
        scores, _ = scores_among(tables.joined(tables.read_part(f"{job.run}/batch-pairs", batch)), table)
        name = judging_name(context.weights.name, job.settings)
        store.pairs.add_scores(scores, photos.ids, weights_name=name, prefiltered=True)
        for part in tables.read_part(f"{job.run}/batch-verified", batch):
            verified = tables.verified_in(part, *places(part, table))
            store.pairs.add_verified(verified, photos.ids, weights_name=name)
        compared = verify_and_group(scores, photos, context, recall=1.0, prior=job.prior, collection=job.photos)
        scores = store.pairs.scores(photos.ids, weights_name=name, prefiltered=False)
        pixels = stored_pixels(scores, photos, store)
    digests = np.unique(tables.digests_in(table))
    grouped = np.zeros(len(digests), bool)
    grouped[[i for g in compared.groups for i in (g.keeper, *(d.photo for d in g.duplicates))]] = True
    known = [number for number, digest in pixels.items() if digest is not None]
    same = {"sha256": digests[known], "pixels": np.array([pixels[number] for number in known], "V32")}
    unverified = compared.scores.rows(compared.unverified)
    kinds = {"verdicts": compared.verdicts, "scores": scores, "verified": compared.verified, "unverified": unverified}
    for kind, some in kinds.items():
        tables.write(f"{job.run}/grouped-{kind}/{batch}.parquet", tables.pairs_table(some, digests))
    tables.write(f"{job.run}/grouped-pixels/{batch}.parquet", tables.columns_table(same))
    kept = tables.taken(table, grouped[number_of(table)]).select(tables.FILES.names)
    tables.write(f"{job.run}/grouped-photos/{batch}.parquet", kept)  # last: it marks the batch as done


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
    """Return the scores of the pairs of a table's photos, each pair once, and the rows that they are in."""
    ends = places(pairs, table)
    left, right = np.minimum(*ends), np.maximum(*ends)
    columns = (tables.numbers(pairs, name) for name in ("similarity", "copy", "similar"))
    scores = Scores(left, right, *columns)
    rows = np.unique(scores.keys(len(table)), return_index=True)[1]
    rows = rows[left[rows] < right[rows]]  # two files of the same bytes are one photo
    return scores.rows(rows), rows
