#!/usr/bin/env python3
"""Measure how the cost of a scan grows with the number of photos, without reading them.

    python scripts/benchmark_scale.py [--sizes 10000 100000 1000000] [--compare]

Draws vectors distributed like those of photos: each near one of many scenes, and one photo in twenty with a copy at a
cosine of 0.6 to 0.99. Each size runs in a process of its own. Found: of 1,000 planted copies, the share that exact
search has among the neighbours of a photo and that the search of a scan has too.

With --compare, a database is filled with such photos (3.9 KB each, in the folder for temporary files), and everything
after reading is run except verification, since there are no files: search, prefilter, pair head, groups. A copy has the
map of its original with noise. Other maps are random, but those of one scene have so much in common that one pair in
six passes the prefilter.
"""

import argparse
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dedup import index
from dedup.models.encoder import CHANNELS, DIMS, GRID
from dedup.models.weights import weights_spec
from dedup.pipeline import match
from dedup.pipeline.context import Context
from dedup.pipeline.scan import verify_and_group
from dedup.store.store import Store
from dedup.types.arrays import Indices, Maps, Vectors
from dedup.types.photo import File, Picture, Reading
from dedup.types.report import Run
from dedup.types.settings import Settings
from dedup.version import decoders
from dedup.workers import Runtime

SEED = 20261124
LOOKED_UP = 1000
SHARD = 4096  # photos written at once
IN_COMMON = 0.77  # how strong what the maps of a scene have in common is, against what is their own
CORES = os.cpu_count() or 1


def drawn(count: int, dims: int, rng: np.random.Generator) -> tuple[Vectors, Indices, Indices, Indices]:
    """Return vectors (N, D) of unit norm, the pairs that are copies, and the scene of each (N,)."""
    copies = count // 21
    scenes = unit(rng.standard_normal((max(8, count // 300), dims), np.float32) + direction(dims, rng))
    vectors, scene = np.empty((count, dims), np.float32), np.empty(count, np.int64)
    for start in range(0, count, 1 << 16):
        part = slice(start, min(start + (1 << 16), count))
        noise = unit(rng.standard_normal((part.stop - part.start, dims), np.float32))
        near = rng.uniform(0.45, 0.85, (len(noise), 1)).astype(np.float32)
        scene[part] = rng.integers(len(scenes), size=len(noise))
        vectors[part] = unit(near * scenes[scene[part]] + np.sqrt(1 - near**2) * noise)
    original = rng.permutation(count - copies)[:copies]
    copy = np.arange(count - copies, count)
    cosine = (1 - 0.4 * rng.beta(1.2, 3, (copies, 1))).clip(0.6, 0.99).astype(np.float32)
    away = rng.standard_normal((copies, dims), np.float32)
    away = unit(away - (away * vectors[original]).sum(1, keepdims=True) * vectors[original])
    vectors[copy] = unit(cosine * vectors[original] + np.sqrt(1 - cosine**2) * away)
    scene[copy] = scene[original]
    return vectors, original, copy, scene


def direction(dims: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a vector that is part of all photos, so that photos of different things have a cosine above 0."""
    return rng.standard_normal((1, dims), np.float32)


def unit(x: NDArray[Any]) -> NDArray[np.float32]:
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x


def found_share(
    vectors: index.VectorSource, original: Indices, copy: Indices, found: NDArray[np.bool_], k: int
) -> float:
    """Return the share of copies among the k exact neighbours that were found (C,), for a sample."""
    some = slice(None, None, max(1, len(copy) // LOOKED_UP))
    asked, near = index.nearest(vectors, vectors[copy[some]], k=k + 1)
    exact = np.isin(copy[some][asked] * len(vectors) + near, copy * len(vectors) + original)
    return float(found[some][asked[exact]].mean())


def draw(file: str, count: int) -> None:
    """Write this many vectors in half precision, as a scan stores them, and the pairs that are copies."""
    vectors, original, copy, _ = drawn(count, DIMS, np.random.default_rng(SEED))
    np.savez(file, vectors=vectors.astype(np.float16), original=original, copy=copy)


def search(file: str, count: int) -> str:
    """Return a row of the first table."""
    with np.load(file) as drawing:
        vectors, original, copy = index.HalfVectors.of(drawing["vectors"]), drawing["original"], drawing["copy"]
    settings = Settings()
    started = time.perf_counter()
    near, said = index.neighbours(vectors, k=settings.neighbours, min_similarity=settings.min_similarity)
    pairs = sum(len(some) for some in index.pairs_of(near, vectors))
    seconds, peak = time.perf_counter() - started, peak_mb()
    started = time.perf_counter()
    new = np.arange(0, count, 100)
    index.add_to_neighbours(vectors, near, new, k=settings.neighbours, min_similarity=settings.min_similarity)
    grown = time.perf_counter() - started
    found = found_share(vectors, original, copy, index.listed(near, original, copy), settings.neighbours)
    return f"| {count:,} | {seconds:.1f} | {peak:,.0f} | {grown:.1f} | {pairs / count:.1f} | {found:.2%} | {said:.2%} |"


def files_of(numbers: range) -> Iterator[File]:
    for n in numbers:
        yield File(f"/photos/{n // 1000:04d}/IMG_{n:07d}.jpg", 3_000_000 + n, n, n, 1, n)


def fill(database: str, count: int) -> None:
    """Write the database of a scan that has read this many photos."""
    rng = np.random.default_rng(SEED)
    vectors, original, copy, scene = drawn(count, DIMS, rng)
    of = np.arange(count)
    of[copy] = original
    picture = Picture(np.zeros((1, 1, 3), np.uint8), 4000, 3000, "JPEG", "2026-01-01T00:00:00", "Camera")
    with (
        Store(database, scanning=True) as store,
        store.listing(files_of(range(count)), weights_name=weights_spec().name, reader=decoders()) as found,
    ):
        for start in range(0, count, SHARD):
            numbers = range(start, min(start + SHARD, count))
            maps = maps_like(of[numbers], scene[numbers], rng)
            readings = [([f], Reading(sha256(f.path.encode()).digest(), f.size, picture)) for f in files_of(numbers)]
            found.add(readings, vectors[numbers.start : numbers.stop].astype(np.float16), maps, started_ns=1 << 62)


def maps_like(originals: Indices, scenes: Indices, rng: np.random.Generator) -> Maps:
    """Return the maps (M, S, C) of versions of these photos: similar within a scene, nearly the same for one photo."""
    own = np.stack([_field(0, n) for n in originals.tolist()])
    shared = {n: IN_COMMON * _field(1, n) for n in np.unique(scenes).tolist()}
    depth_first_order = (own + np.stack([shared[n] for n in scenes.tolist()])) / np.sqrt(1 + IN_COMMON**2)
    return depth_first_order.astype(np.int8) + rng.integers(-2, 3, own.shape, np.int8)


def _field(kind: int, number: int) -> NDArray[np.float32]:
    drawing = np.random.default_rng((SEED, kind, number))
    return drawing.integers(-40, 40, (GRID**2, CHANNELS), np.int8).astype(np.float32)


def compare(database: str, count: int) -> str:
    """Return a row of the second table."""
    began, ends = time.perf_counter(), {}

    def progress(stage: str, done: int, of: int) -> None:
        ends[stage] = time.perf_counter() - began, peak_mb()

    weights, settings = weights_spec(), Settings(verify=False)
    weights.load()
    with (
        Store(database, scanning=True) as store,
        store.listing(files_of(range(count)), weights_name=weights.name, reader=decoders()) as files,
    ):
        progress("listing", 1, 1)
        context = Context(store, weights, settings, Runtime(CORES, progress, time.time))
        scores, recall = match.score(match.search(files.contents()[0], context), context)
        found = verify_and_group(scores, files.photos(), context, recall=recall)
        run = Run(0, 1, ("/photos",), settings, weights.name, recall, found.photos.photos.contents(), found.prior)
        store.runs.add(run, files, found.verdicts, found.photos.ids)
        progress("grouping", 1, 1)
    stages = [ends[stage] for stage in ("listing", "searching", "comparing", "grouping")]
    seconds = np.diff([0.0, *(at for at, _ in stages)])
    cells = " | ".join(f"{s:,.0f} | {peak:,.0f}" for s, (_, peak) in zip(seconds, stages, strict=True))
    return f"| {count:,} | {cells} | {len(found.verdicts) / count:.2f} | {len(found.groups):,} |"


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def in_a_process(fn: Callable[..., Any], *args: Any) -> Any:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(fn, *args).result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--compare", action="store_true", help="everything after reading, except verification")
    args = parser.parse_args()
    names = ["photos", "search s", "peak MB", "search for 1 % s", "pairs a photo", "found", "recall it states"]
    if args.compare:
        stages = ("listing", "search", "scoring", "grouping and writing")
        names = ["photos", *(name for stage in stages for name in (f"{stage} s", "peak MB")), "pairs a photo", "groups"]
    print("| " + " | ".join(names) + " |\n" + "|---:" * len(names) + "|")
    for size in args.sizes:
        with tempfile.TemporaryDirectory() as folder:
            if args.compare:
                in_a_process(fill, f"{folder}/scale.db", size)
                print(in_a_process(compare, f"{folder}/scale.db", size), flush=True)
            else:
                in_a_process(draw, f"{folder}/drawn.npz", size)
                print(in_a_process(search, f"{folder}/drawn.npz", size), flush=True)


if __name__ == "__main__":
    main()
