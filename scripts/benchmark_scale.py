#!/usr/bin/env python3
"""Measure how search and grouping grow with the number of photos.

    python scripts/benchmark_scale.py [--sizes 10000 100000 1000000] [--dims 128]

Draws vectors that lie as those of photos do: each near one of many scenes, and one photo in twenty with a copy at a
cosine of 0.6 to 0.99. Each size runs in a process of its own. Found: the share of the planted copies that exact search
has among the neighbours of a photo and the search of a scan has too, of 1,000 that are looked up.
"""

import argparse
import multiprocessing
import resource
import sys
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dedup import index
from dedup.columns import PhotoColumns, photo_columns
from dedup.group import group, missing_pairs
from dedup.types import Candidates, Floats, Indices, Relation, Settings, Vectors, Verdicts

SEED = 20261124
LOOKED_UP = 1000


@dataclass(frozen=True)
class Row:
    """Seconds and MB; `pairs`: a photo."""

    search: float
    search_peak: float
    grown: float
    pairs: float
    found: float
    said: float
    group: float
    peak: float
    groups: int


def drawn(count: int, dims: int, rng: np.random.Generator) -> tuple[Vectors, Indices, Indices]:
    """Return vectors (N, D) of unit norm, and which of them are copies of which."""
    copies = count // 21
    scenes = unit(rng.standard_normal((max(8, count // 300), dims), np.float32) + 1.0 * direction(dims, rng))
    vectors = np.empty((count, dims), np.float32)
    for start in range(0, count, 1 << 16):
        part = slice(start, min(start + (1 << 16), count))
        noise = unit(rng.standard_normal((part.stop - part.start, dims), np.float32))
        near = rng.uniform(0.45, 0.85, (len(noise), 1)).astype(np.float32)
        vectors[part] = unit(near * scenes[rng.integers(len(scenes), size=len(noise))] + np.sqrt(1 - near**2) * noise)
    original = rng.permutation(count - copies)[:copies]
    copy = np.arange(count - copies, count)
    cosine = (1 - 0.4 * rng.beta(1.2, 3, (copies, 1))).clip(0.6, 0.99).astype(np.float32)
    away = rng.standard_normal((copies, dims), np.float32)
    away = unit(away - (away * vectors[original]).sum(1, keepdims=True) * vectors[original])
    vectors[copy] = unit(cosine * vectors[original] + np.sqrt(1 - cosine**2) * away)
    return vectors, original, copy


def direction(dims: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a vector that all photos share a part of: two photos of different things have a cosine above 0."""
    return rng.standard_normal((1, dims), np.float32)


def unit(x: NDArray[np.float32]) -> NDArray[np.float32]:
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x


def found_share(vectors: Vectors, original: Indices, copy: Indices, pairs: Candidates, k: int) -> float:
    """Return the share of copies among the k exact neighbours that are among the pairs, of some that are looked up."""
    some = slice(None, None, max(1, len(copy) // LOOKED_UP))
    asked, near = index.nearest(vectors, vectors[copy[some]], k=k + 1)
    exact = np.isin(copy[some][asked] * len(vectors) + near, copy * len(vectors) + original)
    keys = original[some][asked[exact]] * len(vectors) + copy[some][asked[exact]]
    return float(np.isin(keys, pairs.keys(len(vectors))).mean())


def judged(pairs: Candidates, original: Indices, copy: Indices) -> Verdicts:
    """Return the verdicts of a head that is always right."""
    N = int(copy[-1]) + 1
    true = np.isin(pairs.keys(N), original * N + copy)
    probability: Floats = np.where(true, np.float32(0.99), np.float32(0.001))
    relation = np.where(true, Relation.COPY, Relation.UNRELATED).astype(np.int8)
    return Verdicts(pairs.left, pairs.right, pairs.similarity, probability, np.zeros_like(probability), relation)


def photos_of(count: int) -> PhotoColumns:
    size, time, camera = 3_000_000, "2026-01-01T00:00:00", "Camera"
    photos = ((n, n.to_bytes(32), size + n, 4000, 3000, "JPEG", time, camera, 0, None, 0) for n in range(count))
    files = ((n, b"/photos/%04d/IMG_%07d.jpg" % (n // 1000, n), size + n, n, n, 1, n) for n in range(count))
    return photo_columns(photos, files)[0]


def measured(count: int, dims: int, rows: "multiprocessing.Queue[Row]") -> None:
    vectors, original, copy = drawn(count, dims, np.random.default_rng(SEED))
    settings = Settings()
    started = time.perf_counter()
    near, said = index.neighbours(vectors, k=settings.neighbours, min_similarity=settings.min_similarity)
    pairs = index.pairs_of(near, vectors)
    search, search_peak = time.perf_counter() - started, peak_mb()
    started = time.perf_counter()
    new = np.arange(0, count, 100)
    index.grown(vectors, near, new, k=settings.neighbours, min_similarity=settings.min_similarity)
    grown = time.perf_counter() - started
    del near
    found = found_share(vectors, original, copy, pairs, settings.neighbours)
    del vectors
    verdicts, photos = judged(pairs, original, copy), photos_of(count)
    started = time.perf_counter()
    assert not len(missing_pairs(photos, verdicts, settings))
    groups = len(group(photos, verdicts, settings))
    grouping = time.perf_counter() - started
    rows.put(Row(search, search_peak, grown, len(pairs) / count, found, said, grouping, peak_mb(), groups))


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--dims", type=int, default=128)
    args = parser.parse_args()
    print(
        "| photos | search s | peak MB | search for 1 % s | pairs a photo | found | recall it states "
        "| grouping s | peak MB | groups |"
    )
    print("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    context = multiprocessing.get_context("spawn")
    for size in args.sizes:
        rows: multiprocessing.Queue[Row] = context.Queue()
        process = context.Process(target=measured, args=(size, args.dims, rows))
        process.start()
        r = rows.get()
        process.join()
        print(
            f"| {size:,} | {r.search:.1f} | {r.search_peak:,.0f} | {r.grown:.1f} | {r.pairs:.1f} | {r.found:.2%} "
            f"| {r.said:.2%} | {r.group:.1f} | {r.peak:,.0f} | {r.groups:,} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
