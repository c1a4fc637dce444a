"""The whole method, in the order it runs:

files -> read and decode -> encode -> index -> verify -> confirm -> group -> report
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dedup import confirm, encode, files, index, verify
from dedup.group import group, missing_pairs
from dedup.read import Reading, Rejected, Task, decoders, read_photo, read_pixels
from dedup.runners import Failure, run
from dedup.store import Photos, Run, Store
from dedup.types import (
    NOTHING_DECIDED,
    Candidates,
    Decisions,
    File,
    Group,
    Indices,
    Maps,
    Relation,
    Scores,
    Settings,
    Skipped,
    Verdicts,
)
from dedup.weights import Weights

_SHARD = 4 * encode.BATCH  # photos encoded and stored at once: what a crash costs
_PAIRS = 64 * verify.BATCH  # pairs verified and stored at once

Progress = Callable[[str, int, int], None]  # stage, done, of


@dataclass(frozen=True)
class Report:
    """What one scan found. Files found = files of photos + skipped."""

    run: Run
    photos: Photos
    skipped: list[Skipped]
    verdicts: Verdicts
    groups: list[Group]
    decisions: Decisions = NOTHING_DECIDED


@dataclass(frozen=True, slots=True)
class Match:
    """A file of the last scan that matches a file somebody asked about."""

    query: str
    path: str
    relation: Relation
    probability: float
    similarity: float


@dataclass(frozen=True)
class Machine:
    """What the work is done with; nothing here changes the result."""

    workers: int
    device: str
    progress: Progress
    clock: Callable[[], float]  # seconds since the epoch


def find_duplicates(
    roots: Sequence[str],
    *,
    exclude: Sequence[str],
    store: Store,
    weights: Weights,
    settings: Settings,
    machine: Machine,
) -> Report:
    """Return the groups of near-duplicate photos under `roots`. Changes no file but the store.

    What the store knows already is not done again: files by their times, photos by content, pairs by both contents.
    """
    started = machine.clock()
    store.begin(files.walk(roots, exclude=exclude), weights=weights.name, reader=decoders())
    describe(store, weights, machine, started_ns=int(started * 1e9))
    photos = store.photos()
    verdicts, recall, fresh = compare(photos, store, weights, settings, machine)
    groups = group(photos.photos, verdicts, settings, store.decisions())
    done = Run(started, machine.clock(), tuple(roots), settings, weights.name, recall, store.contents())
    store.finish(done, verdicts if fresh else None, photos.ids)
    return Report(done, photos, store.skipped(), verdicts, groups, store.decisions())


def last_report(store: Store) -> Report:
    """Return the report of the last finished scan, from the store alone. Raises StoreUnusable if there is none."""
    store.recollect()
    last = store.last_run()
    assert last is not None
    photos = store.photos()
    verdicts = verify.decide(store.candidates(photos.ids))
    wanted = confirm.perhaps_identical(photos.photos, verdicts)
    pixels = dict(zip(wanted.tolist(), store.pixels(photos.ids[wanted]), strict=True))
    verdicts = confirm.confirm(photos.photos, verdicts, pixels)
    decisions = store.decisions()
    groups = group(photos.photos, verdicts, last.settings, decisions)
    return Report(last, photos, store.skipped(), verdicts, groups, decisions)


def find_matches(
    images: Sequence[str], *, store: Store, weights: Weights, settings: Settings, machine: Machine
) -> tuple[list[Match], list[Skipped]]:
    """Return which files of the last scan match these files, the surest first, and which could not be read."""
    store.recollect()
    photos = store.photos()
    queries, skipped = read_queries(images, machine)
    pictures = [reading.picture.pixels for _, reading in queries if reading.picture is not None]
    vectors, maps = encode.encode(weights.encoder, pictures, device=machine.device)
    if not queries or not photos.photos:
        return [], skipped
    theirs = encode.unit(store.vectors(photos.ids))
    Q = len(queries)
    left, right = index.nearest(theirs, encode.unit(vectors), k=settings.neighbours)

    def all_maps(numbers: Indices) -> Maps:  # the queries first, then the photos
        stored = store.maps(photos.ids[numbers[numbers >= Q] - Q]).reshape(-1, *maps.shape[1:])
        return np.concatenate([maps[numbers[numbers < Q]], stored])

    similarity = np.einsum("pd,pd->p", encode.unit(vectors)[left], theirs[right])
    scores = verify.verify(
        Candidates(left, right + Q, similarity), all_maps, weights.head, weights.calibration, device=machine.device
    )
    verdicts = verify.decide(scores)
    matches = []
    for q, i, relation, copy, s in zip(left, right, verdicts.relation, verdicts.copy, similarity, strict=True):
        path, reading = queries[q]
        photo = photos.photos[i]
        if reading.sha256.hex() == photo.sha256:
            relation, copy = Relation.EXACT, 1.0
        if relation <= Relation.COPY and copy >= settings.min_probability:
            matches += [Match(path, f.path, Relation(int(relation)), float(copy), float(s)) for f in photo.files]
    return sorted(matches, key=lambda m: (m.query, m.relation, -m.probability, m.path)), skipped


def read_queries(images: Sequence[str], machine: Machine) -> tuple[list[tuple[str, Reading]], list[Skipped]]:
    """Return what the files hold, in the order of their paths, and those that cannot be read."""
    found = list(files.walk(images))
    tasks = [Task(f, encode.SIDE) for f in found if isinstance(f, File)]
    skipped = [f for f in found if isinstance(f, Skipped)]
    readings = []
    for task, result in run(read_photo, tasks, workers=machine.workers):
        match result:
            case Reading():
                readings.append((task.file.path, result))
            case Rejected():
                skipped.append(result.skipped)
            case Failure():
                skipped.append(Skipped(task.file.path, result.reason))
    return sorted(readings, key=lambda pair: pair[0]), sorted(skipped, key=lambda s: s.path)


# files -> read and decode -> encode


def describe(store: Store, weights: Weights, machine: Machine, *, started_ns: int) -> None:
    """Read, decode and encode the files that the store does not know, and keep what comes of it, shard by shard."""
    unknown = store.unknown()
    done = 0
    for shard in shards(read_files(unknown, store, machine)):
        pictures = [r.picture.pixels for _, r in shard if isinstance(r, Reading) and r.picture is not None]
        vectors, maps = encode.encode(weights.encoder, pictures, device=machine.device)
        store.add(shard, vectors, maps, started_ns=started_ns)
        done += len(shard)
        machine.progress("reading", done, len(unknown))


def read_files(
    unknown: Sequence[list[File]], store: Store, machine: Machine
) -> Iterator[tuple[list[File], Reading | Rejected]]:
    """Yield what was read of each inode, with all of its files, in any order."""
    links = {same[0].path: same for same in unknown}
    tasks = (Task(same[0], encode.SIDE, store.digests_of_size(same[0].size)) for same in unknown)
    for task, result in run(read_photo, tasks, workers=machine.workers):
        if isinstance(result, Failure):
            result = Rejected(Skipped(task.file.path, result.reason), lasting=True)
        yield links[task.file.path], result


def shards(
    readings: Iterator[tuple[list[File], Reading | Rejected]],
) -> Iterator[list[tuple[list[File], Reading | Rejected]]]:
    """Yield readings in lists that hold at most _SHARD pictures."""
    shard = []
    for reading in readings:
        shard.append(reading)
        if len(shard) == _SHARD:
            yield shard
            shard = []
    if shard:
        yield shard


# index -> verify -> confirm


def compare(
    photos: Photos, store: Store, weights: Weights, settings: Settings, machine: Machine
) -> tuple[Verdicts, float, bool]:
    """Return the verdicts on all candidates, the recall of the search, and whether there was one.

    Where the last scan found the same contents on the same terms, its candidates are these.
    """
    last = store.last_run()
    if last is not None and (last.contents, last.weights, last.settings) == (store.contents(), weights.name, settings):
        verdicts = second_look(verify.decide(store.candidates(photos.ids)), photos, store, machine)
        if not len(missing_pairs(photos.photos, verdicts, settings, store.decisions())):
            return verdicts, last.recall, False
    machine.progress("searching", 0, 1)
    vectors = encode.unit(store.vectors(photos.ids))
    candidates, recall = index.nearest_pairs(vectors, k=settings.neighbours, min_similarity=settings.min_similarity)
    machine.progress("searching", 1, 1)
    while True:  # until grouping needs no pair that nobody proposed
        scores = judge(candidates, photos, store, weights, machine)
        verdicts = second_look(verify.decide(scores), photos, store, machine)
        missing = missing_pairs(photos.photos, verdicts, settings, store.decisions())
        if not len(missing):
            return verdicts, recall, True
        similarity = index.cosines(vectors, missing.left, missing.right)
        candidates = joined(candidates, replace(missing, similarity=similarity))


def judge(candidates: Candidates, photos: Photos, store: Store, weights: Weights, machine: Machine) -> Scores:
    """Return what the head says of the candidates, asking it only what the store does not know."""

    def maps(numbers: Indices) -> Maps:
        return store.maps(photos.ids[numbers]).reshape(len(numbers), -1, encode.CHANNELS)

    wanted = candidates.keys(len(photos.ids))
    known = store.scores(photos.ids, weights=weights.name).keys(len(photos.ids))
    new = candidates.rows(~np.isin(wanted, known))
    for start in range(0, len(new), _PAIRS):
        some = new.rows(slice(start, start + _PAIRS))
        scores = verify.verify(some, maps, weights.head, weights.calibration, device=machine.device)
        store.add_scores(scores, photos.ids, weights=weights.name)
        machine.progress("comparing", start + len(some), len(new))
    known_now = store.scores(photos.ids, weights=weights.name)
    return known_now.rows(np.isin(known_now.keys(len(photos.ids)), wanted))


def second_look(verdicts: Verdicts, photos: Photos, store: Store, machine: Machine) -> Verdicts:
    """Return the verdicts after confirm.py has had the pixels it asks for."""
    wanted = confirm.perhaps_identical(photos.photos, verdicts)
    known = dict(zip(wanted.tolist(), store.pixels(photos.ids[wanted]), strict=True))
    unknown = {(p.files[0].path, p.sha256): i for i, p in ((i, photos.photos[i]) for i in known if known[i] is None)}
    for done, (task, result) in enumerate(run(read_pixels, unknown, workers=machine.workers), 1):
        if isinstance(result, bytes):
            known[unknown[task]] = result
            store.add_pixels(int(photos.ids[unknown[task]]), result)
        machine.progress("confirming", done, len(unknown))
    return confirm.confirm(photos.photos, verdicts, known)


def joined(some: Candidates, more: Candidates) -> Candidates:
    """Return both lists of pairs in one."""
    return Candidates(
        np.concatenate([some.left, more.left]),
        np.concatenate([some.right, more.right]),
        np.concatenate([some.similarity, more.similarity]),
    )
