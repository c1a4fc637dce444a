"""The whole method on many machines, in the order it runs. What it needs of a machine is run(fn, items), nothing else.

list -> describe -> cells -> find -> judge -> look twice -> connect -> settle -> report
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from hashlib import sha256
from itertools import chain
from math import ceil
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dedup import index
from dedup.cluster import tables, tasks
from dedup.cluster.tables import Columns
from dedup.cluster.tasks import Bundle, Job, Slice
from dedup.errors import DedupError
from dedup.files import object_store
from dedup.files.walk import walk
from dedup.grouping import relations
from dedup.models.encoder import DIMS
from dedup.models.weights import WeightsSpec, device_of
from dedup.pipeline.match import depth_first_order
from dedup.pipeline.results import last_report
from dedup.store.store import Store
from dedup.types.arrays import Floats, Indices
from dedup.types.pairs import Candidates, Gate, Scores, Verdicts, Verified
from dedup.types.photo import File, Skipped
from dedup.types.report import Report, Run
from dedup.types.settings import Settings
from dedup.version import decoders
from dedup.workers import Failure, Runtime

Item = TypeVar("Item")
Runner = Callable[[Callable[[Item], Any], Iterable[Item]], Iterator[tuple[Item, Any]]]

_SAMPLES = 256  # photos a cell that the cells are learned from
_ASKED = 1000  # photos that the recall is measured on


@dataclass(frozen=True, slots=True)
class Sizes:
    """How the work is cut up; decides what a task holds in memory, and nothing of the result but where cells end."""

    slice: int = 1024  # files described together, on average
    bundle: int = 16  # shards that pass on their photos together
    cell: int = 4_000  # photos at home in one
    overlap: int = 32  # cells that a photo is copied to; its neighbours are looked for in the nearest
    lot: int = 1_000  # pairs looked at twice together
    batch: int = 2_000  # connected photos settled together


def find_duplicates(
    roots: Sequence[str],
    *,
    exclude: Sequence[str],
    store: Store,
    at: str,
    weights: WeightsSpec,
    settings: Settings,
    runtime: Runtime,
    run: Runner[Any],
    sizes: Sizes = Sizes(),
) -> tuple[Report, dict[str, int]]:
    """Return the groups of near-duplicate photos under `roots`, folders or URIs, and how many files there were.

    at: a folder that all machines see, or a URI, where everything is kept that was done; it is not done again. In the
    end the photos that are in groups come to `store`, as if it had scanned them; the report knows of these and of what
    was skipped. Raises DedupError, naming the part, if a part of the comparison fails each time.
    """
    started = runtime.clock()
    stage = Stages(run, runtime)
    listed = list(chain.from_iterable(listing(roots, exclude)))
    skipped = [f for f in listed if isinstance(f, Skipped)]
    slices = list(slices_of([f for f in listed if isinstance(f, File)], weights, sizes))
    base = Job(at, "", settings, store.decisions(), device_of(weights.device))
    shards, failed = describe(base, slices, stage)
    job = replace(base, run=f"{at}/runs/{run_key(base, shards, weights, sizes)}")
    for shard in shards:
        skipped += tables.skipped_in(tables.read(f"{at}/skipped/{shard}"))
    photos = [tables.rows(f"{at}/photos/{shard}") for shard in shards]
    cells = compare(job, shards, sum(photos), sizes, stage)
    recall = recall_of(job, shards, sum(photos), cells, sizes, stage)
    pairs, worth = near_pairs(job, cells, weights.gate, stage)
    lots = look(job, shards, pairs, worth, sizes, stage)
    batches = connect(job, pairs, worth, lots, sizes, stage)
    settle(job, shards, cells, lots, batches, sizes, stage)
    report = collect(job, batches, [*skipped, *failed], roots, started, recall, store, weights, runtime)
    return report, {"files": sum(photos) + len(skipped) + len(failed), "photos": sum(photos)}


def listing(roots: Sequence[str], exclude: Sequence[str]) -> Iterator[Iterable[File | Skipped]]:
    """Yield what is below each URI, and below all folders together."""
    yield walk([root for root in roots if not object_store.is_uri(root)], exclude=exclude)
    for root in dict.fromkeys(root.rstrip("/") for root in roots if object_store.is_uri(root)):
        if not any(root.startswith(f"{other.rstrip('/')}/") for other in roots):
            yield object_store.walk(root, exclude=exclude)


def slices_of(found: Sequence[File], weights: WeightsSpec, sizes: Sizes) -> Iterator[Slice]:
    """Yield the files in the order of their paths, cut behind names that hash to a certain value.

    So a file that comes or goes changes one slice and not all that follow.
    """
    some: list[File] = []
    for f in sorted(found, key=lambda f: os.fsencode(f.path)):
        some.append(f)
        ends = int.from_bytes(sha256(os.fsencode(f.path)).digest()[:8]) % sizes.slice == 0
        if ends or len(some) == 4 * sizes.slice:
            yield named(some, weights)
            some = []
    if some:
        yield named(some, weights)


def named(some: Sequence[File], weights: WeightsSpec) -> Slice:
    """Return a slice under a name that stands for the files and for what describes them."""
    about = [weights.name, decoders(), [(os.fsencode(f.path).hex(), f.size, f.mtime_ns) for f in some]]
    return Slice(digest_of(about), tuple(some))


def digest_of(about: Any) -> str:
    return sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]


def run_key(job: Job, shards: Sequence[str], weights: WeightsSpec, sizes: Sizes) -> str:
    """Return a name that stands for all that decides the result."""
    decisions = [sorted(job.decisions.apart), sorted(job.decisions.kept)]
    return digest_of([shards, weights.name, asdict(job.settings), decisions, asdict(sizes)])


@dataclass(frozen=True)
class Stages:
    """Runs the tasks of one stage after the other, and tells how far it is."""

    run: Runner[Any]
    runtime: Runtime

    def results(self, name: str, fn: Callable[[Item], Any], items: Sequence[Item]) -> Iterator[tuple[Item, Any]]:
        for done, (item, result) in enumerate(self.run(fn, items), 1):
            yield item, result
            self.runtime.progress(name, done, len(items))

    def all(self, name: str, fn: Callable[[Item], Any], items: Sequence[Item]) -> list[Any]:
        """Return all results, in the order of the items. Raises DedupError if one cannot be had."""
        found = {}
        for item, result in self.results(name, fn, items):
            if isinstance(result, Failure):
                which = item.number if isinstance(item, Bundle) else item
                raise DedupError(f"{name}: part {which} failed each time ({result.reason}); scan again to go on there")
            found[item] = result
        return [found[item] for item in items]


def describe(job: Job, slices: Sequence[Slice], stage: Stages) -> tuple[list[str], list[Skipped]]:
    """Return the names of the shards, in order, and the files of slices that could not be done."""
    there = object_store.names(f"{job.at}/photos")
    todo = [s for s in slices if f"{s.key}.parquet" not in there]
    failed = {}
    for some, result in stage.results("reading", partial(tasks.describe, job), todo):
        if isinstance(result, Failure):
            failed[some.key] = [Skipped(f.path, f"shard {some.key}: {result.reason}") for f in some.files]
    there = object_store.names(f"{job.at}/photos")
    names = (f"{s.key}{'' if f'{s.key}.parquet' in there else '.again'}.parquet" for s in slices if s.key not in failed)
    return list(names), list(chain.from_iterable(failed.values()))


def bundles_of(names: Sequence[str], sizes: Sizes) -> list[Bundle]:
    """Return bundles of so many tables."""
    every = list(enumerate(names))
    starts = range(0, len(every), sizes.bundle)
    return [Bundle(n, tuple(every[start : start + sizes.bundle])) for n, start in enumerate(starts)]


def send(stage: Stages, job: Job, fn: Callable[..., None], to: str, kind: str, bundles: Sequence[Bundle]) -> None:
    """Write the rows of all bundles for the parts they belong to, as far as that is not done."""
    there = tables.written_parts(f"{job.run}/{to}-{kind}")
    todo = [bundle for bundle in bundles if str(bundle.number) not in there]
    stage.all("sorting", fn, todo)


def compare(job: Job, shards: Sequence[str], photos: int, sizes: Sizes, stage: Stages) -> list[int]:
    """Find the pairs of near photos and ask the head about them; return the cells they were judged in.

    Vectors go to all cells that a photo is near, and maps, a dozen times as large, only where a pair needs them.
    """
    count = max(1, ceil(photos / sizes.cell))
    if "cells.npy" not in object_store.names(job.run):
        share = min(1.0, _SAMPLES * count / max(photos, 1))
        sampled = stage.all("sampling", partial(tasks.sample, job, share), bundles_of(shards, sizes))
        vectors = np.concatenate([np.empty((0, DIMS), np.float32), *(some for _, _, some in sampled)])
        count = max(1, min(count, len(vectors) // 2))
        tasks.save_array(f"{job.run}/cells.npy", index.cells(vectors, count=count) if len(vectors) else vectors)
    cells = range(len(tasks.load_array(f"{job.run}/cells.npy")))
    bundles = bundles_of(shards, sizes)
    send(stage, job, partial(tasks.spread, job, sizes.overlap), "cell", "vectors", bundles)
    there = tables.written_parts(f"{job.run}/candidates")
    stage.all("searching", partial(tasks.find, job, sizes.bundle), [c for c in cells if str(c) not in there])
    send(stage, job, partial(tasks.send_maps, job), "cell", "maps", bundles)
    there = object_store.names(f"{job.run}/pairs")
    stage.all("comparing", partial(tasks.judge, job), [c for c in cells if f"{c}.parquet" not in there])
    return list(cells)


def recall_of(job: Job, shards: Sequence[str], photos: int, cells: Sequence[int], sizes: Sizes, stage: Stages) -> float:
    """Return the share of true neighbours that were found in the cells, measured on about _ASKED photos.

    Each part of the shards is searched exactly for them, and the nearest of all parts are the true ones.
    """
    if len(cells) <= sizes.overlap:  # every photo is in every cell, which is searched exactly
        return 1.0
    if "recall.npy" not in object_store.names(job.run):
        bundles = bundles_of(shards, sizes)
        sampled = stage.all("measuring", partial(tasks.sample, job, min(1.0, _ASKED / photos)), bundles)
        digests, vectors = (np.concatenate(column) for column in list(zip(*sampled, strict=True))[1:])
        digests, first = np.unique(digests, return_index=True)
        tasks.save_array(f"{job.run}/asked.npy", vectors[first])
        near = stage.all("measuring", partial(tasks.neighbours, job), bundles)
        query, number, names, cosine = (np.concatenate(column) for column in zip(*near, strict=True))
        true = neighbours_among(query, number, names, cosine, digests, job.settings)
        tasks.save_array(f"{job.run}/true.npy", true)
        seen = np.any(stage.all("measuring", partial(tasks.pairs_found, job), cells), axis=0)
        tasks.save_array(f"{job.run}/recall.npy", np.array(seen.mean() if len(seen) else 1.0))
    return float(tasks.load_array(f"{job.run}/recall.npy"))


def neighbours_among(
    query: Indices,
    number: Indices,
    names: NDArray[np.void],
    cosine: Floats,
    asked: NDArray[np.void],
    settings: Settings,
) -> Indices:
    """Return (2, M), the pairs of each query and its true neighbours, as numbers of the first files of both contents.

    The columns (P,) hold what may be near each query; asked: (Q,), the SHA-256 of the queries.
    """
    content = np.unique(np.concatenate([asked, names]), return_inverse=True)[1]
    mine, theirs = content[: len(asked)], content[len(asked) :]
    first = np.full(int(content.max(initial=0)) + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, theirs, number)
    once = np.unique(query * len(first) + theirs, return_index=True)[1]
    query, theirs, cosine = query[once], theirs[once], cosine[once]
    near = (theirs != mine[query]) & (cosine >= settings.min_similarity)
    query, theirs, cosine = query[near], theirs[near], cosine[near]
    order = np.lexsort((-cosine, query))
    rank = np.arange(len(order)) - np.searchsorted(query[order], query[order])
    rows = order[rank < settings.neighbours]
    return np.sort(np.stack([first[mine[query[rows]]], first[theirs[rows]]]), axis=0)


def near_pairs(job: Job, cells: Sequence[int], line: Gate, stage: Stages) -> tuple[Columns, Indices]:
    """Return the pairs that may become matches, in columns, each once; and the rows that relations.py must see.

    Here and in connect() one process holds numbers of all such pairs, 41 bytes each, and no descriptor.
    """
    found = stage.all("connecting", partial(tasks.near, job), cells)
    pairs = {name: np.concatenate([some[name] for some in found]) for name in (found[0] if found else ())}
    if not pairs:
        return pairs, np.empty(0, np.int64)
    ids, ends = np.unique(np.stack([pairs["left"], pairs["right"]]), return_inverse=True)
    ends = ends.reshape(2, -1)
    once = np.unique(ends.min(0) * len(ids) + ends.max(0), return_index=True)[1]
    pairs = {name: column[once] for name, column in pairs.items()}
    scores = Scores(*ends[:, once], *(pairs[name] for name in ("similarity", "copy", "similar")))
    scores = scores.rows(~pairs["same"])
    chosen = relations.selected_for_verification(scores, line)
    rows = np.flatnonzero(~pairs["same"])
    pairs["look"] = np.zeros(len(once), bool)
    pairs["look"][rows[chosen]] = True
    order = rows[depth_first_order(scores)]  # pairs with a file in common are looked at together: it is read once
    return pairs, order[pairs["look"][order] | (pairs["similarity"][order] >= tasks.NEARLY_EQUAL)]


def look(job: Job, shards: Sequence[str], pairs: Columns, worth: Indices, sizes: Sizes, stage: Stages) -> int:
    """Look at the files of the pairs that are worth it, lot by lot; return how many lots."""
    lots = ceil(len(worth) / sizes.lot)
    if lots and "lot.npy" not in object_store.names(job.run):
        for lot in range(lots):
            rows = worth[lot * sizes.lot : (lot + 1) * sizes.lot]
            tables.write(f"{job.run}/lots/{lot}.parquet", tables.columns_table({n: c[rows] for n, c in pairs.items()}))
        lot_of = np.arange(len(worth)) // sizes.lot
        ends = np.concatenate([pairs["left"][worth], pairs["right"][worth]])
        tasks.save_array(f"{job.run}/lot.npy", np.unique(np.stack([ends, np.tile(lot_of, 2)]), axis=1))
    send(stage, job, partial(tasks.send_photos, job, "lot"), "lot", "photos", bundles_of(shards, sizes) if lots else [])
    there = object_store.names(f"{job.run}/look")
    stage.all("looking twice", partial(tasks.look, job), [n for n in range(lots) if f"{n}.parquet" not in there])
    return lots


def connect(job: Job, pairs: Columns, worth: Indices, lots: int, sizes: Sizes, stage: Stages) -> int:
    """Write which photo is in which batch: photos that may come into one group are in one. Return how many batches."""
    if "batch.npy" not in object_store.names(job.run):
        seen = np.zeros(len(next(iter(pairs.values()), ())), bool)
        seen[worth] = True
        least = ~seen & (pairs["copy"] >= 0.5) if pairs else seen
        least |= ~seen & pairs["same"] if pairs else seen
        if job.settings.include_similar and pairs:
            least |= pairs["similar"] >= 0.5
        none = np.empty(0, np.int64)
        found = stage.all("connecting", partial(tasks.matched, job), range(lots))
        sure = (pairs["left"][least], pairs["right"][least]) if pairs else (none, none)
        left, right = (np.concatenate(side) for side in zip(sure, *found, strict=True))
        ids, ends = np.unique(np.stack([left, right]), return_inverse=True)
        one, other = ends.reshape(2, -1)
        label = labels(one, other, len(ids))
        component, count = np.unique(label, return_inverse=True, return_counts=True)[1:]
        batch = np.unique((np.cumsum(count) - count) // sizes.batch, return_inverse=True)[1]
        tasks.save_array(f"{job.run}/batch.npy", np.stack([ids, batch[component]]))
    return int(tasks.load_array(f"{job.run}/batch.npy")[1].max(initial=-1)) + 1


def labels(left: Indices, right: Indices, count: int) -> Indices:
    """Return (count,), the least of the photos that each is connected with by pairs, itself among them."""
    label = np.arange(count)
    while True:
        least = np.minimum(label[left], label[right])
        before = label.copy()
        for side in (left, right):
            np.minimum.at(label, before[side], least)
        label = label[label]  # halves the way to the least
        if (label == before).all():
            return label


def settle(
    job: Job, shards: Sequence[str], cells: Sequence[int], lots: int, batches: int, sizes: Sizes, stage: Stages
) -> None:
    """Group the photos of each batch."""
    if batches:
        send(stage, job, partial(tasks.send_photos, job, "batch"), "batch", "photos", bundles_of(shards, sizes))
        for kind, numbers in (("pairs", cells), ("look", range(lots))):
            bundles = bundles_of([f"{n}.parquet" for n in numbers], sizes)
            send(stage, job, partial(tasks.send_pairs, job, kind), "batch", kind, bundles)
    there = object_store.names(f"{job.run}/grouped")
    stage.all("settling", partial(tasks.settle, job), [n for n in range(batches) if f"{n}.parquet" not in there])


def collect(
    job: Job,
    batches: int,
    skipped: Sequence[Skipped],
    roots: Sequence[str],
    started: float,
    recall: float,
    store: Store,
    weights: WeightsSpec,
    runtime: Runtime,
) -> Report:
    """Bring the photos of all groups and what was seen of them to the store, and return what it says then."""
    grouped = [tables.read(f"{job.run}/grouped/{n}.parquet") for n in range(batches)]
    files_of = chain.from_iterable(tables.files_in(table) for table in grouped)
    store.begin(chain(files_of, skipped), weights=weights.name, reader=decoders())
    for table in grouped:
        vectors, maps = tables.vectors_in(table), tables.maps_in(table)
        store.add(tables.readings_in(table), vectors, maps, started_ns=int(started * 1e9))
    photos = store.photos()
    digests = np.array([bytes.fromhex(p.sha256) for p in photos.photos], "V32")
    verdicts = []
    for n in range(batches if len(digests) else 0):
        scores, verified, seen = (
            tables.read(f"{job.run}/{kind}/{n}.parquet") for kind in ("scores", "looks", "verdicts")
        )
        store.add_scores(tables.pairs_in(Scores, scores, digests), photos.ids, weights=weights.name, prefiltered=False)
        store.add_verified(tables.pairs_in(Verified, verified, digests), photos.ids, weights=weights.name)
        verdicts.append(tables.pairs_in(Verdicts, seen, digests))
        for row in tables.read(f"{job.run}/pixels/{n}.parquet").to_pylist():
            at = int(np.searchsorted(digests, np.void(row["sha256"])))
            if at < len(digests) and digests[at].tobytes() == row["sha256"]:
                store.add_pixels(int(photos.ids[at]), row["pixels"])
    left, right = (
        np.concatenate([getattr(v, side) for v in verdicts] or [np.empty(0, np.int64)]) for side in ("left", "right")
    )
    every = Candidates(left, right, np.zeros(len(left), np.float32))
    done = Run(started, runtime.clock(), tuple(roots), job.settings, weights.name, recall, photos.photos.contents())
    store.finish(done, every, photos.ids)
    return last_report(store)
