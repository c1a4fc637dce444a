#!/usr/bin/env python3
"""Measure a scan on a Ray cluster on this machine: encoding speed by number of workers; data and memory of matching.

    python scripts/benchmark_cluster.py encoding PHOTOS [--workers 1 2]
    python scripts/benchmark_cluster.py matching [--sizes 20000] [--min-similarity 0.6]

Encoding: files a second for each number of workers, and the efficiency relative to one worker. Each worker is bound to
one core (Linux), like a machine of one core; otherwise one worker uses more than one core, since it decodes while it
encodes. Matching: vectors and maps, drawn as in benchmark_scale.py, go through cells, prefilter and pair head. Found:
the share of the planted copies that exact search has among the neighbours of a photo and that the cells have too. Peak:
the largest process of a task. Core s: all tasks of a stage; other programs on the machine affect it less than seconds.
"""

import argparse
import os
import resource
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from benchmark_scale import SEED, drawn, found_share, maps_like

from dedup import index
from dedup.cluster import ray_runner, scan, tables, tasks
from dedup.files.walk import walk
from dedup.models.weights import weights_spec
from dedup.types.arrays import Indices, Vectors
from dedup.types.groups import NOTHING_DECIDED
from dedup.types.photo import File
from dedup.types.settings import Settings
from dedup.workers import Failure, Runtime

MACHINE = Runtime(1, lambda stage, done, of: None, time.time)
SHARD = 4096
MOVED = ("cell-vectors", "candidates", "wanted", "cell-maps")
TASKS = ("assign", "search", "shuffle_maps", "score")


def encoding(photos: str, workers: int) -> float:
    """Return files a second, once every process has loaded what it needs."""
    found = [f for f in walk([photos]) if isinstance(f, File)]
    slices = list(scan.slices_of(found, weights_spec(), scan.Sizes(slice=128)))
    with tempfile.TemporaryDirectory() as at, ray_runner.cluster(None, workers=workers):
        job = tasks.Job(at, at, Settings(), NOTHING_DECIDED, "cpu")
        describe = partial(on_one_core, at, partial(tasks.describe, job))
        warming = 3 * workers
        list(ray_runner.run(describe, slices[:warming]))
        if len(list(Path(at).glob("core *"))) != workers:
            sys.exit(f"{workers} workers did not find a core each")
        begun = time.perf_counter()
        list(ray_runner.run(describe, slices[warming:]))
        return sum(len(s.files) for s in slices[warming:]) / (time.perf_counter() - begun)


def on_one_core(at: str, fn: Callable[[Any], Any], item: Any) -> Any:
    """Return fn(item), computed in a process that is bound to one core, with all processes that it starts."""
    cores = os.sched_getaffinity(0)
    for core in sorted(cores) if len(cores) > 1 else ():
        with suppress(FileExistsError):
            Path(at, f"core {core}").touch(exist_ok=False)
            os.sched_setaffinity(0, {core})
            break
    return fn(item)


def write_photos(at: str, vectors: Vectors, originals: Indices, scene: Indices, rng: np.random.Generator) -> list[str]:
    """Write vectors and maps as a scan would; the SHA-256 of photo n is derived from n."""
    names = []
    for start in range(0, len(vectors), SHARD):
        some = vectors[start : start + SHARD].astype(np.float16)
        maps = maps_like(originals[start : start + SHARD], scene[start : start + SHARD], rng).reshape(len(some), -1)
        columns: dict[str, Any] = {field.name: pa.nulls(len(some), field.type) for field in tables.FILES}
        columns["sha256"] = [n.to_bytes(4) * 8 for n in range(start, start + len(some))]
        columns |= {"vector": tables.fixed(some), "map": tables.fixed(maps)}
        names.append(f"{start:09d}.parquet")
        tables.write(f"{at}/photos/{names[-1]}", pa.table(columns))
    return names


def with_costs(fn: Callable[[Any], Any], item: Any) -> tuple[Any, float, float]:
    """Return fn(item), the seconds of a core that it took, and the MB that this process held at most so far."""
    begun = time.process_time()
    result = fn(item)
    return result, time.process_time() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def matching(count: int, workers: int, min_similarity: float) -> str:
    """Return one row of the table."""
    rng = np.random.default_rng(SEED)
    vectors, original, copy, scene = drawn(count, 128, rng)
    originals = np.arange(count)
    originals[copy] = original
    wanted = index.cosines(vectors, original, copy) >= min_similarity
    original, copy = original[wanted], copy[wanted]
    peaks: list[float] = []
    core_s: defaultdict[str, float] = defaultdict(float)

    def run(fn: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        for item, costs in ray_runner.run(partial(with_costs, fn), items):
            if isinstance(costs, Failure):
                sys.exit(f"a task failed: {costs}")
            result, seconds, peak = costs
            peaks.append(peak)
            core_s[fn.func.__name__] += seconds  # type: ignore[attr-defined]
            yield item, result

    with tempfile.TemporaryDirectory() as at, ray_runner.cluster(None, workers=workers):
        job = tasks.Job(at, f"{at}/run", Settings(min_similarity=min_similarity), NOTHING_DECIDED, "cpu")
        shards = write_photos(at, vectors, originals, scene, rng)
        begun = time.perf_counter()
        cells = scan.compare(job, shards, count, scan.Sizes(bundle=4), scan.Stages(run, MACHINE))
        seconds = time.perf_counter() - begun
        moved = sum(path.stat().st_size for folder in MOVED for path in Path(at, "run", folder).rglob("*.parquet"))
        candidates = [some for cell in cells for some in tables.read_part(f"{at}/run/candidates", cell)]
        left, right = (np.concatenate([tables.numbers(t, side) for t in candidates]) for side in ("left", "right"))
        passed = sum(len(tables.read(f"{at}/run/pairs/{cell}.parquet", ["left"])) for cell in cells)
    left, right = ((side >> 24) * SHARD + (side & (1 << 24) - 1) for side in (left, right))
    keys = np.unique(np.minimum(left, right) * count + np.maximum(left, right))
    found = found_share(vectors, original, copy, np.isin(original * count + copy, keys), Settings().neighbours)
    cores = " | ".join(f"{core_s[task]:.0f}" for task in TASKS)
    return (
        f"| {count:,} | {len(cells)} | {seconds:.0f} | {cores} | {len(keys):,} | {passed:,} "
        f"| {moved / count / 1024:.1f} | {max(peaks):,.0f} | {found:.4f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["encoding", "matching"])
    parser.add_argument("photos", nargs="?")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--sizes", type=int, nargs="+", default=[20_000])
    parser.add_argument("--min-similarity", type=float, default=0.6)
    words = parser.parse_args()
    if words.what == "encoding":
        rates = {n: encoding(words.photos, n) for n in words.workers}
        print("| workers | files a second | efficiency |\n|---:|---:|---:|")
        for n, rate in rates.items():
            print(f"| {n} | {rate:.1f} | {rate / n / rates[words.workers[0]] * words.workers[0]:.2f} |")
    else:
        cores = " | ".join(f"{task}, core s" for task in TASKS)
        print(f"| photos | cells | s | {cores} | pairs | of them scored | KB moved, a photo | MB, peak | found |")
        print("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
        for count in words.sizes:
            print(matching(count, max(words.workers), words.min_similarity), flush=True)


if __name__ == "__main__":
    main()
