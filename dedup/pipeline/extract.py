"""Files -> photos in the store: unknown files are read by worker processes and encoded here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dedup.images import preview_cache
from dedup.images.read import Task, read_photo, read_sample
from dedup.pipeline.context import Context
from dedup.store.listing import ScanListing
from dedup.types.arrays import SIDE, Maps
from dedup.types.photo import File, Reading, Rejected, Skipped
from dedup.workers import Failure, in_threads

_RECOGNISED = 1000  # files whose new numbers are stored together
_SHARD = 64  # photos encoded and stored together: what a crash loses; fills batches of the encoder

FileReading = tuple[list[File], Reading | Rejected]  # the hard links to one inode, and what was read of it
Shard = list[FileReading]


def recognise(renumbered: Sequence[tuple[File, bytes]], found: ScanListing, context: Context) -> None:
    """Recognise the files of found.renumbered() by samples of their bytes; the others remain unknown."""
    expected = dict(renumbered)
    same: list[File] = []
    for done, (file, sample) in enumerate(context.runtime.run(read_sample, expected), 1):
        if sample == expected[file]:
            same.append(file)
        if len(same) == _RECOGNISED or done == len(expected):
            found.renumber(same)
            same.clear()
        context.runtime.progress("checking", done, len(expected))


def read(unknown: Sequence[list[File]], found: ScanListing, context: Context) -> Iterator[FileReading]:
    """Yield the reading of each inode with all of its files, in any order.

    Files that failed are read once more, in new processes. A failure is lasting only if the bytes caused it both times:
    time, memory and whoever stopped a process may be other the next time.
    """
    runtime, quick = context.runtime, context.weights.quick
    under_way: dict[str, list[File]] = {}
    kept = 0  # bytes of previews

    def tasks() -> Iterator[Task]:
        for same in unknown:
            under_way[same[0].path] = same
            folder = runtime.preview_folder if kept < preview_cache.MAX_BYTES else None
            yield Task(same[0], SIDE, found.digests_of_size(same[0].size), folder, quick)

    failed: list[tuple[Task, bool]] = []  # and whether its bytes were the cause
    for task, result in runtime.run(read_photo, tasks()):
        if isinstance(result, Failure):
            failed.append((task, result.crashed))
        elif isinstance(result, Rejected) and result.lasting and result.skipped.picture:
            failed.append((task, True))
        else:
            kept += result.preview_bytes if isinstance(result, Reading) else 0
            yield under_way.pop(task.file.path), result
    by_bytes = {task.file.path: caused for task, caused in failed}
    for task, result in runtime.run_again(read_photo, [task for task, _ in failed]):
        if isinstance(result, Failure):
            result = Rejected(Skipped(task.file.path, result.reason), lasting=result.crashed)
        if isinstance(result, Rejected):
            result = replace(result, lasting=result.lasting and by_bytes[task.file.path])
        yield under_way.pop(task.file.path), result


def encode(
    readings: Iterator[FileReading], found: ScanListing, context: Context, *, started_ns: int, count: int
) -> None:
    """Encode the pictures and store all readings, shard by shard.

    The threads that encode load torch while the first files are read. started_ns: start of the scan. count: readings to
    come, for the progress.
    """
    weights, runtime, done = context.weights, context.runtime, 0

    def begin() -> None:
        from dedup.models.encoder import one_thread

        one_thread()

    def encoded(shard: Shard) -> tuple[Shard, NDArray[np.float16], Maps]:
        from dedup.models import encoder

        pictures = [r.picture.pixels for _, r in shard if isinstance(r, Reading) and r.picture is not None]
        networks = weights.load()
        return shard, *encoder.encode(networks.fast_encoder, pictures, device=networks.device)

    if count:
        runtime.progress("reading", 0, count)  # the first shard may take as long as torch takes to load
    for shard, vectors, maps in in_threads(encoded, _shards(readings), begin=begin, threads=runtime.workers):
        found.add(shard, vectors, maps, started_ns=started_ns)
        done += len(shard)
        runtime.progress("reading", done, count)


def _shards(readings: Iterator[FileReading]) -> Iterator[Shard]:
    """Yield lists of at most _SHARD readings."""
    shard: Shard = []
    for reading in readings:
        shard.append(reading)
        if len(shard) == _SHARD:
            yield shard
            shard = []
    if shard:
        yield shard
