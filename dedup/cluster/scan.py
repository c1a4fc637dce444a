"""The whole method on many machines, in the order it runs. All it needs of a machine is run(fn, items).

list -> describe -> cells -> search -> score -> verify -> connect -> group -> report
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
from dedup.files.spellings import as_scanned, spelled_globs
from dedup.files.walk import walk
from dedup.grouping import relations, selection
from dedup.grouping.prior import estimated_prior
from dedup.models.encoder import DIMS
from dedup.models.weights import WeightsSpec, device_of
from dedup.pipeline.judge import depth_first_order
from dedup.pipeline.results import judging_name, load_results
from dedup.store.store import Store
from dedup.types.arrays import Floats, Indices
from dedup.types.pairs import NOTHING_FOUND, Candidates, Gate, Scores, Verdicts, Verified
from dedup.types.photo import File, Skipped
from dedup.types.report import Photos, Report, Run
from dedup.types.settings import Settings
from dedup.version import decoders
from dedup.workers import Failure, Runtime

Item = TypeVar("Item")
Runner = Callable[[Callable[[Item], Any], Iterable[Item]], Iterator[tuple[Item, Any]]]

_SAMPLES = 256  # photos a cell that the cells are learned from
_ASKED = 1000  # photos that the recall is measured on


@dataclass(frozen=True, slots=True)
class Sizes:
    """How the work is divided. Decides the memory of a task; of the result, only where cells end."""

    slice: int = 1024  # files described together, on average
    bundle: int = 16  # shards shuffled together
    cell: int = 4_000  # photos whose home is one cell
    overlap: int = 32  # cells that a photo is copied to; its neighbours are searched for in the nearest
    block: int = 1_000  # pairs verified together
    batch: int = 2_000  # connected photos grouped together


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

    at: the work directory, a folder that all machines see or a URI; results of finished tasks are kept there and not
    computed again. In the end the photos in groups are written to `store`, as if it had scanned them; the report covers
    these and the skipped files. Raises DedupError, naming the part, if a part of the comparison fails each time.
    """
    started = runtime.clock()
    stage = Stages(run, runtime)
    folders = [root for root in roots if not object_store.is_uri(root)]
    listed = list(chain.from_iterable(listing(roots, spelled_globs(exclude, folders))))
    skipped = [f for f in listed if isinstance(f, Skipped)]
    slices = list(slices_of([f for f in listed if isinstance(f, File)], weights, sizes))
    base = Job(at, "", as_scanned(settings, folders), store.decisions.load(), device_of(weights.device))
    shards, failed = describe(base, slices, stage)
    job = replace(base, run=f"{at}/runs/{run_key(base, shards, weights, sizes)}")
    for shard in shards:
        skipped += tables.skipped_in(tables.read(f"{at}/skipped/{shard}"))
    photos = [tables.rows(f"{at}/photos/{shard}") for shard in shards]
    job = replace(job, photos=sum(photos))
    cells = compare(job, shards, job.photos, sizes, stage)
    recall = recall_of(job, shards, job.photos, cells, sizes, stage)
    pairs, chosen, unlikely = possible_matches(job, cells, weights.gate, stage)
    blocks = verify(job, shards, pairs, chosen, sizes, stage)
    job = replace(job, prior=prior_of(job, blocks, unlikely, stage))
    batches = connect(job, pairs, chosen, blocks, sizes, stage)
    group(job, shards, cells, blocks, batches, sizes, stage)
    report = collect(job, batches, [*skipped, *failed], roots, started, recall, store, weights, runtime)
    return report, {"files": job.photos + len(skipped) + len(failed), "photos": job.photos}


def listing(roots: Sequence[str], exclude: Sequence[str]) -> Iterator[Iterable[File | Skipped]]:
    """Yield the files below each URI, and below all folders together."""
    yield walk([root for root in roots if not object_store.is_uri(root)], exclude=exclude)
    for root in dict.fromkeys(root.rstrip("/") for root in roots if object_store.is_uri(root)):
        if not any(root.startswith(f"{other.rstrip('/')}/") for other in roots):
            yield object_store.walk(root, exclude=exclude)


def slices_of(found: Sequence[File], weights: WeightsSpec, sizes: Sizes) -> Iterator[Slice]:
    """Yield the files in the order of their paths, cut after names that hash to a certain value.

    A file that is added or removed then changes one slice and not all that follow.
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
    """Return a slice whose key is a digest of the files, the decoders and the weights."""
    about = [weights.name, decoders(), [(os.fsencode(f.path).hex(), f.size, f.mtime_ns) for f in some]]
    return Slice(digest_of(about), tuple(some))


def digest_of(about: Any) -> str:
    return sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]


def run_key(job: Job, shards: Sequence[str], weights: WeightsSpec, sizes: Sizes) -> str:
    """Return a digest of everything that decides the result."""
    decisions = [sorted(job.decisions.apart), sorted(job.decisions.kept)]
    return digest_of([shards, weights.name, asdict(job.settings), decisions, asdict(sizes)])


@dataclass(frozen=True)
class Stages:
    """Runs the tasks of one stage after the other, and reports progress."""

    run: Runner[Any]
    runtime: Runtime

    def results(self, name: str, fn: Callable[[Item], Any], items: Sequence[Item]) -> Iterator[tuple[Item, Any]]:
        for done, (item, result) in enumerate(self.run(fn, items), 1):
            yield item, result
            self.runtime.progress(name, done, len(items))

    def all(self, name: str, fn: Callable[[Item], Any], items: Sequence[Item]) -> list[Any]:
        """Return all results, in the order of the items. Raises DedupError if one fails each time."""
        found = {}
        for item, result in self.results(name, fn, items):
            if isinstance(result, Failure):
                which = item.number if isinstance(item, Bundle) else item
                raise DedupError(
                    f"{name}: part {which} failed each time ({result.reason}); scan again to continue there"
                )
            found[item] = result
        return [found[item] for item in items]


def describe(job: Job, slices: Sequence[Slice], stage: Stages) -> tuple[list[str], list[Skipped]]:
    """Return the names of the shards, in order, and the files of slices that failed."""
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
    """Return the tables in bundles."""
    every = list(enumerate(names))
    starts = range(0, len(every), sizes.bundle)
    return [Bundle(n, tuple(every[start : start + sizes.bundle])) for n, start in enumerate(starts)]


def shuffle(stage: Stages, job: Job, fn: Callable[..., None], to: str, kind: str, bundles: Sequence[Bundle]) -> None:
    """Write the rows of all bundles for the parts that they belong to, unless that is done."""
    there = tables.written_parts(f"{job.run}/{to}-{kind}")
    todo = [bundle for bundle in bundles if str(bundle.number) not in there]
    stage.all("shuffling", fn, todo)


def compare(job: Job, shards: Sequence[str], photos: int, sizes: Sizes, stage: Stages) -> list[int]:
    """Search for pairs and score them; return the cells in which they were scored.

    Vectors are copied to all cells that a photo is near; maps, a dozen times as large, only where a pair needs them.
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
    shuffle(stage, job, partial(tasks.assign, job, sizes.overlap), "cell", "vectors", bundles)
    there = tables.written_parts(f"{job.run}/candidates")
    stage.all("searching", partial(tasks.search, job, sizes.bundle), [c for c in cells if str(c) not in there])
    shuffle(stage, job, partial(tasks.shuffle_maps, job), "cell", "maps", bundles)
    there = object_store.names(f"{job.run}/pairs")
    stage.all("comparing", partial(tasks.score, job), [c for c in cells if f"{c}.parquet" not in there])
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
        near = stage.all("measuring", partial(tasks.nearest_of_asked, job), bundles)
        query, number, names, cosine = (np.concatenate(column) for column in zip(*near, strict=True))
        true = neighbours_among(query, number, names, cosine, digests, job.settings)
        tasks.save_array(f"{job.run}/true.npy", true)
        seen = np.any(stage.all("measuring", partial(tasks.found_in_cell, job), cells), axis=0)
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


def possible_matches(job: Job, cells: Sequence[int], gate: Gate, stage: Stages) -> tuple[Columns, Indices, int]:
    """Return the pairs that may become matches, as columns, each once; the rows whose files must be read; and how many
    pairs are too unlikely for that.

    Here and in connect() one process holds the numbers of all such pairs, 41 bytes each, and no descriptor.
    """
    found = stage.all("connecting", partial(tasks.possible_matches, job), cells)
    pairs = {name: np.concatenate([some[name] for some in found]) for name in (found[0] if found else ())}
    if not pairs:
        return pairs, np.empty(0, np.int64), 0
    ids, ends = np.unique(np.stack([pairs["left"], pairs["right"]]), return_inverse=True)
    ends = ends.reshape(2, -1)
    once = np.unique(ends.min(0) * len(ids) + ends.max(0), return_index=True)[1]
    pairs = {name: column[once] for name, column in pairs.items()}
    scores = Scores(*ends[:, once], *(pairs[name] for name in ("similarity", "copy", "similar")))
    scores = scores.rows(~pairs["same"])
    least = selection.least_chance(job.photos, thorough=job.settings.thorough)
    chosen = selection.selected_for_verification(scores, gate, least=least)
    unlikely = selection.count_unlikely(scores, gate, chosen, photos=job.photos)
    rows = np.flatnonzero(~pairs["same"])
    pairs["verify"] = np.zeros(len(once), bool)
    pairs["verify"][rows[chosen]] = True
    order = rows[depth_first_order(scores)]  # pairs with a file in common are verified together: it is read once
    chosen_rows = order[pairs["verify"][order] | (pairs["similarity"][order] >= relations.NEARLY_EQUAL)]
    return pairs, chosen_rows, unlikely


def verify(job: Job, shards: Sequence[str], pairs: Columns, chosen: Indices, sizes: Sizes, stage: Stages) -> int:
    """Verify the chosen pairs, block by block; return how many blocks."""
    blocks = ceil(len(chosen) / sizes.block)
    if blocks and "block.npy" not in object_store.names(job.run):
        for block in range(blocks):
            rows = chosen[block * sizes.block : (block + 1) * sizes.block]
            some = tables.columns_table({name: column[rows] for name, column in pairs.items()})
            tables.write(f"{job.run}/blocks/{block}.parquet", some)
        block_of = np.arange(len(chosen)) // sizes.block
        ends = np.concatenate([pairs["left"][chosen], pairs["right"][chosen]])
        tasks.save_array(f"{job.run}/block.npy", np.unique(np.stack([ends, np.tile(block_of, 2)]), axis=1))
    bundles = bundles_of(shards, sizes) if blocks else []
    shuffle(stage, job, partial(tasks.shuffle_photos, job, "block"), "block", "photos", bundles)
    there = object_store.names(f"{job.run}/verified")
    stage.all("verifying", partial(tasks.verify, job), [n for n in range(blocks) if f"{n}.parquet" not in there])
    return blocks


def prior_of(job: Job, blocks: int, unlikely: int, stage: Stages) -> float:
    """Return the prior of the collection."""
    if "prior.npy" not in object_store.names(job.run):
        found = stage.all("verifying", partial(tasks.copies_at_assumed, job), range(blocks))
        prior = estimated_prior(np.concatenate([np.empty(0, np.float32), *found]), unlikely)
        tasks.save_array(f"{job.run}/prior.npy", np.array(prior))
    return float(tasks.load_array(f"{job.run}/prior.npy"))


def connect(job: Job, pairs: Columns, chosen: Indices, blocks: int, sizes: Sizes, stage: Stages) -> int:
    """Write which photo is in which batch; photos that may share a group share a batch. Return how many batches."""
    if "batch.npy" not in object_store.names(job.run):
        in_block = np.zeros(len(next(iter(pairs.values()), ())), bool)
        in_block[chosen] = True
        sure = ~in_block & ((pairs["copy"] >= 0.5) | pairs["same"]) if pairs else in_block
        if job.settings.include_similar and pairs:
            sure |= pairs["similar"] >= 0.5
        none = np.empty(0, np.int64)
        found = stage.all("connecting", partial(tasks.matches, job), range(blocks))
        ends = (pairs["left"][sure], pairs["right"][sure]) if pairs else (none, none)
        left, right = (np.concatenate(side) for side in zip(ends, *found, strict=True))
        ids, at = np.unique(np.stack([left, right]), return_inverse=True)
        one, other = at.reshape(2, -1)
        label = labels(one, other, len(ids))
        component, count = np.unique(label, return_inverse=True, return_counts=True)[1:]
        batch = np.unique((np.cumsum(count) - count) // sizes.batch, return_inverse=True)[1]
        tasks.save_array(f"{job.run}/batch.npy", np.stack([ids, batch[component]]))
    return int(tasks.load_array(f"{job.run}/batch.npy")[1].max(initial=-1)) + 1


def labels(left: Indices, right: Indices, count: int) -> Indices:
    """Return (count,), the smallest number among the photos that each is connected with, itself included."""
    label = np.arange(count)
    while True:
        least = np.minimum(label[left], label[right])
        before = label.copy()
        for side in (left, right):
            np.minimum.at(label, before[side], least)
        label = label[label]  # halves the distance to the smallest
        if (label == before).all():
            return label


def group(
    job: Job, shards: Sequence[str], cells: Sequence[int], blocks: int, batches: int, sizes: Sizes, stage: Stages
) -> None:
    """Group the photos of each batch."""
    if batches:
        photos = partial(tasks.shuffle_photos, job, "batch")
        shuffle(stage, job, photos, "batch", "photos", bundles_of(shards, sizes))
        for kind, numbers in (("pairs", cells), ("verified", range(blocks))):
            bundles = bundles_of([f"{n}.parquet" for n in numbers], sizes)
            shuffle(stage, job, partial(tasks.shuffle_pairs, job, kind), "batch", kind, bundles)
    there = object_store.names(f"{job.run}/grouped-photos")
    stage.all("grouping", partial(tasks.group_batch, job), [n for n in range(batches) if f"{n}.parquet" not in there])


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
    """Write the photos of all groups and their pairs to the store, and return the report."""
    grouped = [tables.read(f"{job.run}/grouped-photos/{n}.parquet") for n in range(batches)]
    photo_files = chain.from_iterable(tables.files_in(table) for table in grouped)
    files: Iterable[File | Skipped] = chain[File | Skipped](photo_files, skipped)
    with store.listing(files, weights_name=weights.name, reader=decoders()) as found:
        for table in grouped:
            vectors, maps = tables.vectors_in(table), tables.maps_in(table)
            found.add(tables.readings_in(table), vectors, maps, started_ns=int(started * 1e9))
        photos = found.photos()
        digests = np.array([bytes.fromhex(p.sha256) for p in photos.photos], "V32")
        numbers = range(batches if len(digests) else 0)
        name = judging_name(weights.name, job.settings)
        verdicts = [add_batch(job, n, photos, digests, store, name) for n in numbers]
        unverified = [
            tables.pairs_in(Candidates, tables.read(f"{job.run}/grouped-unverified/{n}.parquet"), digests)
            for n in numbers
        ]
        every = NOTHING_FOUND.followed_by(*(Candidates(v.left, v.right, v.similarity) for v in verdicts))
        about = (tuple(roots), job.settings, weights.name, recall, photos.photos.contents(), job.prior)
        done = Run(started, runtime.clock(), *about)
        failures = found.new_failures()
        store.runs.add(done, found, every, photos.ids, unverified=NOTHING_FOUND.followed_by(*unverified))
    return replace(load_results(store), new_failures=failures)


def add_batch(
    job: Job, batch: int, photos: Photos, digests: NDArray[np.void], store: Store, weights_name: str
) -> Verdicts:
    """Write the pairs of a batch to the store; return their verdicts. digests: (N,), the SHA-256 of the photos."""
    scores, verified, verdicts = (
        tables.read(f"{job.run}/grouped-{kind}/{batch}.parquet") for kind in ("scores", "verified", "verdicts")
    )
    pairs = store.pairs
    pairs.add_scores(tables.pairs_in(Scores, scores, digests), photos.ids, weights_name=weights_name, prefiltered=False)
    pairs.add_verified(tables.pairs_in(Verified, verified, digests), photos.ids, weights_name=weights_name)
    for row in tables.read(f"{job.run}/grouped-pixels/{batch}.parquet").to_pylist():
        at = int(np.searchsorted(digests, np.void(row["sha256"])))
        if at < len(digests) and digests[at].tobytes() == row["sha256"]:
            store.features.add_pixels(int(photos.ids[at]), row["pixels"])
    return tables.pairs_in(Verdicts, verdicts, digests)
