"""Files -> photos in the store: what it does not know yet is read in other processes, and encoded here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from dedup.images import preview_cache
from dedup.images.read import Task, read_photo
from dedup.models.weights import WeightsSpec
from dedup.store.store import Store
from dedup.types.arrays import SIDE, Maps
from dedup.types.photo import File, Reading, Rejected, Skipped
from dedup.workers import Failure, Runtime, in_threads

_SHARD = 64  # photos encoded and stored at once: what a crash costs; fills batches of the encoder

Found = tuple[list[File], Reading | Rejected]  # the files of one inode, and what was read of it
Shard = list[Found]


def describe_files(
    unknown: Sequence[list[File]], store: Store, weights: WeightsSpec, runtime: Runtime, *, started_ns: int
) -> None:
    """Read, decode and encode the files that the store does not know, and keep what comes of it, shard by shard.

    torch is loaded by the threads that encode, while the first files are read.
    """
    done = 0

    def begin() -> None:
        from dedup.models.encoder import one_thread

        one_thread()

    def encoded(shard: Shard) -> tuple[Shard, NDArray[np.float16], Maps]:
        from dedup.models import encoder

        pictures = [r.picture.pixels for _, r in shard if isinstance(r, Reading) and r.picture is not None]
        networks = weights.load()
        return shard, *encoder.encode(networks.encoder, pictures, device=networks.device)

    for shard, vectors, maps in in_threads(
        encoded,
        shards(read_files(unknown, store, runtime, quick=weights.quick)),
        begin=begin,
        threads=runtime.workers,
    ):
        store.add(shard, vectors, maps, started_ns=started_ns)
        done += len(shard)
        runtime.progress("reading", done, len(unknown))


def read_files(
    unknown: Sequence[list[File]], store: Store, runtime: Runtime, *, quick: bool = False
) -> Iterator[Found]:
    """Yield what was read of each inode, with all of its files, in any order. quick: a thumbnail will do."""
    under_way: dict[str, list[File]] = {}
    kept = 0

    def tasks() -> Iterator[Task]:
        for same in unknown:
            under_way[same[0].path] = same
            folder = runtime.preview_folder if kept < preview_cache.MAX_BYTES else None
            yield Task(same[0], SIDE, store.digests_of_size(same[0].size), folder, quick)

    for task, result in runtime.run(read_photo, tasks()):
        kept += result.preview_bytes if isinstance(result, Reading) else 0
        if isinstance(result, Failure):
            result = Rejected(Skipped(task.file.path, result.reason), lasting=True)
        yield under_way.pop(task.file.path), result


def shards(readings: Iterator[Found]) -> Iterator[Shard]:
    """Yield readings in lists that hold at most _SHARD pictures."""
    shard: Shard = []
    for reading in readings:
        shard.append(reading)
        if len(shard) == _SHARD:
            yield shard
            shard = []
    if shard:
        yield shard
