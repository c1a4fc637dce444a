"""The whole method, in the order it runs:

files -> read and decode -> encode -> index -> verify -> confirm -> group -> report
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from dedup import change, confirm, encode, files, index, verify
from dedup.align import Aligned
from dedup.errors import UnreadablePhoto
from dedup.group import group, missing_pairs
from dedup.read import Pair, Reading, Rejected, Task, decoders, read_aligned, read_image, read_photo, read_pixels
from dedup.runners import Failure, in_threads, run
from dedup.store import Photos, Run, Store
from dedup.types import (
    NOTHING_DECIDED,
    NOTHING_SEEN,
    Candidates,
    Comparison,
    Decisions,
    File,
    Floats,
    Group,
    Indices,
    Looks,
    Maps,
    Photo,
    Picture,
    Relation,
    Scores,
    Settings,
    Skipped,
    Vectors,
    Verdicts,
)
from dedup.weights import Weights

_SHARD = 4 * encode.BATCH  # photos encoded and stored at once: what a crash costs
_PAIRS = 16 * verify.BATCH  # pairs verified and stored at once
_GUESSED = 64 * verify.BATCH  # pairs whose maps are in memory at once
_LOOKS = 24  # pairs aligned by one worker at a time, and stored at once
_LOOKS_LIMIT_S = 600.0  # for so many

Query = tuple[Photo, NDArray[np.uint8]]  # a file that somebody asks about, and its pixels for the encoder
Progress = Callable[[str, int, int], None]  # stage, done, of
Found = tuple[list[File], Reading | Rejected]  # the files of one inode, and what was read of it
Shard = list[Found]
Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Report:
    """What one scan found. Files found = files of photos + skipped."""

    run: Run
    photos: Photos
    skipped: list[Skipped]
    verdicts: Verdicts
    groups: list[Group]
    decisions: Decisions = NOTHING_DECIDED
    looks: Looks = NOTHING_SEEN


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
    looks = kept_looks(photos, store, weights.name, settings)
    return Report(done, photos, store.skipped(), verdicts, groups, store.decisions(), looks)


def last_report(store: Store) -> Report:
    """Return the report of the last finished scan, from the store alone. Raises StoreUnusable if there is none."""
    store.recollect()
    last = store.last_run()
    assert last is not None
    photos = store.photos()
    scores, looks = store.candidates(photos.ids), kept_looks(photos, store, last.weights, last.settings)
    verdicts = confirm.confirm(photos.photos, scores, looks, kept_pixels(scores, photos, store))
    decisions = store.decisions()
    groups = group(photos.photos, verdicts, last.settings, decisions)
    return Report(last, photos, store.skipped(), verdicts, groups, decisions, looks)


def find_matches(
    images: Sequence[str], *, store: Store, weights: Weights, settings: Settings, machine: Machine
) -> tuple[list[Match], list[Skipped]]:
    """Return which files of the last scan match these files, the surest first, and which could not be read."""
    store.recollect()
    photos = store.photos()
    queries, skipped = read_queries(images, machine)
    vectors, maps = encode.encode(weights.encoder, [pixels for _, pixels in queries], device=machine.device)
    if not queries or not photos.photos:
        return [], skipped
    theirs = encode.unit(store.vectors(photos.ids))
    Q, everyone = len(queries), [*(photo for photo, _ in queries), *photos.photos]
    left, right = index.nearest(theirs, encode.unit(vectors), k=settings.neighbours)

    def all_maps(numbers: Indices) -> Maps:
        asked, found = numbers < Q, np.empty((len(numbers), *maps.shape[1:]), np.int8)
        found[asked] = maps[numbers[asked]]
        found[~asked] = maps_of(store, photos.ids[numbers[~asked] - Q])
        return found

    similarity = np.einsum("pd,pd->p", encode.unit(vectors)[left], theirs[right])
    scores, looks, _ = ask(Candidates(left, right + Q, similarity), everyone, all_maps, weights, machine)
    verdicts = confirm.confirm(everyone, scores, looks, {})
    matches = []
    for row, (q, i) in enumerate(zip(verdicts.left.tolist(), verdicts.right.tolist(), strict=True)):
        same = everyone[q].sha256 == everyone[i].sha256
        relation = Relation.EXACT if same else Relation(int(verdicts.relation[row]))
        copy = 1.0 if same else float(verdicts.copy[row])
        if relation <= Relation.COPY and copy >= settings.min_probability:
            query, found = everyone[q].files[0].path, everyone[i].files
            matches += [Match(query, f.path, relation, copy, float(verdicts.similarity[row])) for f in found]
    return sorted(matches, key=lambda m: (m.query, m.relation, -m.probability, m.path)), skipped


def compare_two(left: str, right: str, *, weights: Weights, machine: Machine) -> Comparison:
    """Return the verdict on two files, and what it rests on. Raises UnreadablePhoto."""
    queries: list[Query] = []
    for path in (left, right):
        found, skipped = read_queries([path], machine)
        if not found:
            raise UnreadablePhoto(f"{path}: {skipped[0].reason}" if skipped else f"{path}: nothing to read")
        queries += found
    photos = [photo for photo, _ in queries]
    vectors, maps = encode.encode(weights.encoder, [pixels for _, pixels in queries], device=machine.device)
    pair = Candidates(np.array([0]), np.array([1]), encode.unit(vectors).prod(0).sum(keepdims=True))
    scores, looks, aligned = ask(pair, photos, lambda rows: maps[rows], weights, machine, every=True)
    sources = [file_of(photo) for photo in photos]
    pixels = dict(run(read_pixels, set(sources), workers=machine.workers))
    images = dict(run(read_image, set(sources), workers=machine.workers))
    digests = {n: d if isinstance(d := pixels[source], bytes) else None for n, source in enumerate(sources)}
    verdicts = confirm.confirm(photos, scores, looks, digests)
    exact = photos[0].sha256 == photos[1].sha256
    sizes = [(p.width, p.height) for p in photos]
    relation = Relation.EXACT if exact else Relation(int(verdicts.relation[0]))
    copied = relation <= Relation.COPY and len(looks) > 0
    return Comparison(
        relation=relation,
        probability=1.0 if exact else float(verdicts.copy[0]),
        similarity=float(verdicts.similarity[0]),
        change=change.change(looks.transform[0], sizes[0], sizes[1]).words if copied else "",
        images=[image for source in sources if isinstance(image := images[source], np.ndarray)],
        maps=maps,
        seen=verify.explain(weights.head, maps[0], maps[1]),
        canvas=(aligned[0].first, aligned[0].second) if aligned else None,
        seen_twice=confirm.explain(weights.second, aligned[0]) if aligned else None,
    )


def ask(
    pairs: Candidates,
    photos: Sequence[Photo],
    maps: Callable[[Indices], Maps],
    weights: Weights,
    machine: Machine,
    *,
    every: bool = False,
) -> tuple[Scores, Looks, list[Aligned]]:
    """Return what head and second look say of pairs that no store knows. every: look at all of them twice.

    As in a scan the photo of the smaller SHA-256 is laid upon the other, so that all three say the same of a pair.
    """
    scores = verify.verify(pairs, maps, weights.head, weights.calibration, device=machine.device)
    some = scores.rows(confirm.worth_a_look(scores) | every)
    digests = [[photos[i].sha256 for i in side.tolist()] for side in (some.left, some.right)]
    turned = np.array([a > b for a, b in zip(*digests, strict=True)], bool)
    first, second = np.where(turned, some.right, some.left), np.where(turned, some.left, some.right)
    one, other = maps(first), maps(second)
    logits = verify.pair_logits(weights.head, one, other, some.similarity, device=machine.device)
    columns = zip(first.tolist(), second.tolist(), verify.transforms(weights.head, one, other), strict=True)
    tasks = [
        (Pair(row, file_of(photos[a]), file_of(photos[b]), tuple(guesses)),)
        for row, (a, b, guesses) in enumerate(columns)
    ]
    results = ((task[0].number, result) for task, result in run(read_aligned, tasks, workers=machine.workers))
    seen = {row: result[0] for row, result in results if not isinstance(result, Failure) and result[0] is not None}
    rows = np.array(sorted(seen), np.int64)
    aligned = [seen[row] for row in rows.tolist()]
    looks = look_at(aligned, some.rows(rows), logits[rows], weights, machine)
    looks.transform[turned[rows]] = np.linalg.inv(looks.transform[turned[rows]])
    return scores, looks, aligned


def file_of(photo: Photo) -> tuple[str, str]:
    """Return the path of the first file of a photo, and the SHA-256 that it should have."""
    return photo.files[0].path, photo.sha256


def read_queries(images: Sequence[str], machine: Machine) -> tuple[list[Query], list[Skipped]]:
    """Return what the files hold, in the order of their paths, and those that cannot be read."""
    found = list(files.walk(images))
    tasks = [Task(f, encode.SIDE) for f in found if isinstance(f, File)]
    skipped = [f for f in found if isinstance(f, Skipped)]
    queries = []
    for task, result in run(read_photo, tasks, workers=machine.workers):
        match result:
            case Reading(sha256, size, Picture() as p):
                facts = (sha256.hex(), size, p.width, p.height, p.format, p.taken_at, p.camera, (task.file,))
                queries.append((Photo(*facts), p.pixels))
            case Rejected():
                skipped.append(result.skipped)
            case Failure():
                skipped.append(Skipped(task.file.path, result.reason))
    return sorted(queries, key=lambda q: q[0].files[0].path), sorted(skipped, key=lambda s: s.path)


# files -> read and decode -> encode


def describe(store: Store, weights: Weights, machine: Machine, *, started_ns: int) -> None:
    """Read, decode and encode the files that the store does not know, and keep what comes of it, shard by shard."""
    unknown = store.unknown()
    done = 0

    def encoded(shard: Shard) -> tuple[Shard, NDArray[np.float16], Maps]:
        pictures = [r.picture.pixels for _, r in shard if isinstance(r, Reading) and r.picture is not None]
        return shard, *encode.encode(weights.encoder, pictures, device=machine.device)

    for shard, vectors, maps in in_threads(
        encoded, shards(read_files(unknown, store, machine)), begin=encode.one_thread
    ):
        store.add(shard, vectors, maps, started_ns=started_ns)
        done += len(shard)
        machine.progress("reading", done, len(unknown))


def read_files(unknown: Sequence[list[File]], store: Store, machine: Machine) -> Iterator[Found]:
    """Yield what was read of each inode, with all of its files, in any order."""
    links = {same[0].path: same for same in unknown}
    tasks = (Task(same[0], encode.SIDE, store.digests_of_size(same[0].size)) for same in unknown)
    for task, result in run(read_photo, tasks, workers=machine.workers):
        if isinstance(result, Failure):
            result = Rejected(Skipped(task.file.path, result.reason), lasting=True)
        yield links[task.file.path], result


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


# index -> verify -> confirm


def compare(
    photos: Photos, store: Store, weights: Weights, settings: Settings, machine: Machine
) -> tuple[Verdicts, float, bool]:
    """Return the verdicts on all candidates, the recall of the search, and whether there was one.

    Where the last scan found the same contents on the same terms, its candidates are these.
    """
    last = store.last_run()
    if last is not None and (last.contents, last.weights, last.settings) == (store.contents(), weights.name, settings):
        verdicts = second_look(store.candidates(photos.ids), photos, store, weights, settings, machine)
        if not len(missing_pairs(photos.photos, verdicts, settings, store.decisions())):
            return verdicts, last.recall, False
    machine.progress("searching", 0, 1)
    vectors = encode.unit(store.vectors(photos.ids))
    candidates, recall = index.nearest_pairs(vectors, k=settings.neighbours, min_similarity=settings.min_similarity)
    machine.progress("searching", 1, 1)
    return settle(candidates, vectors, photos, store, weights, settings, machine), recall, True


def settle(
    candidates: Candidates,
    vectors: Vectors,
    photos: Photos,
    store: Store,
    weights: Weights,
    settings: Settings,
    machine: Machine,
) -> Verdicts:
    """Return the verdicts on the candidates, and on what grouping needs and nobody proposed. vectors: (N, D)."""
    while True:
        scores = judge(candidates, photos, store, weights, machine)
        verdicts = second_look(scores, photos, store, weights, settings, machine)
        missing = missing_pairs(photos.photos, verdicts, settings, store.decisions())
        if not len(missing):
            return verdicts
        similarity = index.cosines(vectors, missing.left, missing.right)
        candidates = joined(candidates, replace(missing, similarity=similarity))


def judge(candidates: Candidates, photos: Photos, store: Store, weights: Weights, machine: Machine) -> Scores:
    """Return what the head says of the candidates, asking it only what the store does not know."""
    wanted = candidates.keys(len(photos.ids))
    known = store.scores(photos.ids, weights=weights.name).keys(len(photos.ids))
    new = candidates.rows(~np.isin(wanted, known))
    done = 0

    def asked() -> Iterator[tuple[Candidates, Callable[[Indices], Maps]]]:
        for start in range(0, len(new), _PAIRS):
            some = new.rows(slice(start, start + _PAIRS))
            numbers = np.unique(np.concatenate([some.left, some.right]))
            yield some, by_number(numbers, maps_of(store, photos.ids[numbers]))

    def answered(pairs: tuple[Candidates, Callable[[Indices], Maps]]) -> Scores:
        return verify.verify(*pairs, weights.head, weights.calibration, device=machine.device)

    for scores in in_threads(answered, asked(), begin=encode.one_thread):
        store.add_scores(scores, photos.ids, weights=weights.name)
        done += len(scores)
        machine.progress("comparing", done, len(new))
    known_now = store.scores(photos.ids, weights=weights.name)
    return known_now.rows(np.isin(known_now.keys(len(photos.ids)), wanted))


def second_look(
    scores: Scores, photos: Photos, store: Store, weights: Weights, settings: Settings, machine: Machine
) -> Verdicts:
    """Return the verdicts after the files of what may be copies were looked at once more.

    Which they are is for confirm.py to say; and every pair that makes a duplicate of a keeper is one of them.
    """
    pixels, decisions = known_pixels(scores, photos, store, machine), store.decisions()
    if not settings.confirm:
        return confirm.confirm(photos.photos, scores, NOTHING_SEEN, pixels)
    N, keys = len(photos.ids), scores.keys(len(photos.ids))
    wanted, tried = confirm.worth_a_look(scores), np.zeros(len(scores), bool)
    while True:
        known = store.looks(photos.ids, weights=weights.name).keys(N)
        take_looks(scores.rows(wanted & ~tried & ~np.isin(keys, known)), photos, store, weights, machine)
        tried |= wanted
        looks = store.looks(photos.ids, weights=weights.name)
        verdicts = confirm.confirm(photos.photos, scores, looks, pixels)
        groups = group(photos.photos, verdicts, settings, decisions)
        stars = [sorted((g.keeper, d.photo)) for g in groups for d in g.duplicates if d.relation >= Relation.COPY]
        left, right = np.array(stars, np.int64).reshape(-1, 2).T
        wanted = np.isin(keys, left * N + right)
        if not (wanted & ~tried).any():
            return verdicts


def known_pixels(scores: Scores, photos: Photos, store: Store, machine: Machine) -> dict[int, bytes | None]:
    """Return the digests of the pixels that confirm.py asks for; None where they cannot be had any more."""
    known = kept_pixels(scores, photos, store)
    unknown = {(p.files[0].path, p.sha256): i for i, p in ((i, photos.photos[i]) for i in known if known[i] is None)}
    for done, (task, result) in enumerate(run(read_pixels, unknown, workers=machine.workers), 1):
        if isinstance(result, bytes):
            known[unknown[task]] = result
            store.add_pixels(int(photos.ids[unknown[task]]), result)
        machine.progress("confirming", done, len(unknown))
    return known


def kept_pixels(scores: Scores, photos: Photos, store: Store) -> dict[int, bytes | None]:
    """Return what the store knows of the pixels that confirm.py asks for."""
    wanted = confirm.perhaps_identical(photos.photos, scores)
    return dict(zip(wanted.tolist(), store.pixels(photos.ids[wanted]), strict=True))


def kept_looks(photos: Photos, store: Store, weights: str, settings: Settings) -> Looks:
    """Return what second looks said of pairs of these photos; nothing where they are not wanted."""
    return store.looks(photos.ids, weights=weights) if settings.confirm else NOTHING_SEEN


def take_looks(scores: Scores, photos: Photos, store: Store, weights: Weights, machine: Machine) -> None:
    """Look at the files of these pairs, and keep what is seen."""
    files = [file_of(photo) for photo in photos.photos]
    logits = np.zeros((len(scores), 3), np.float32)

    def tasks() -> Iterator[tuple[Pair, ...]]:
        order = together(scores)
        for start in range(0, len(order), _GUESSED):
            rows = order[start : start + _GUESSED]
            some = scores.rows(rows)
            left, right = (maps_of(store, photos.ids[side]) for side in (some.left, some.right))
            logits[rows] = verify.pair_logits(weights.head, left, right, some.similarity, device=machine.device)
            guesses = verify.transforms(weights.head, left, right)
            columns = zip(rows.tolist(), some.left.tolist(), some.right.tolist(), guesses, strict=True)
            pairs = [Pair(row, files[a], files[b], tuple(guess)) for row, a, b, guess in columns]
            parts = [tuple(pairs[n : n + _LOOKS]) for n in range(0, len(pairs), _LOOKS)]
            yield from interleaved(parts, machine.workers)

    done = 0
    for task, result in run(read_aligned, tasks(), workers=machine.workers, limit_s=_LOOKS_LIMIT_S):
        done += len(task)
        machine.progress("looking twice", done, len(scores))
        if isinstance(result, Failure):  # the head's verdict stands
            continue
        seen = [(pair.number, aligned) for pair, aligned in zip(task, result, strict=True) if aligned is not None]
        rows = np.array([row for row, _ in seen], np.int64)
        looks = look_at([aligned for _, aligned in seen], scores.rows(rows), logits[rows], weights, machine)
        store.add_looks(looks, photos.ids, weights=weights.name)


def interleaved(tasks: Sequence[Thing], workers: int) -> list[Thing]:
    """Return the tasks in an order that gives each worker neighbours, who share pictures, when dealt out in turn."""
    share = -(-len(tasks) // workers)
    return [tasks[n] for row in range(share) for n in range(row, len(tasks), share)]


def look_at(aligned: Sequence[Aligned], scores: Scores, logits: Floats, weights: Weights, machine: Machine) -> Looks:
    """Return what the second look says of pairs on their canvases. logits: (P, 3), what the head said of them."""
    judged = confirm.look_logits(weights.second, aligned, logits, scores.similarity, device=machine.device)
    copy, similar = weights.second_calibration.probabilities(judged)
    plain = np.array([one.plain for one in aligned], bool)
    transform = np.array([one.transform for one in aligned], np.float64).reshape(-1, 3, 3)
    return Looks(scores.left, scores.right, scores.similarity, copy, similar, plain, transform)


def together(scores: Scores) -> Indices:
    """Return the rows of pairs in an order in which the pairs of one photo are near each other (depth first)."""
    beside: dict[int, list[int]] = defaultdict(list)
    likeliest = np.argsort(scores.copy, kind="stable")  # last: what is pushed last is visited first
    for a, b in zip(scores.left[likeliest].tolist(), scores.right[likeliest].tolist(), strict=True):
        beside[a].append(b)
        beside[b].append(a)
    place: dict[int, int] = {}
    stack = sorted(beside, reverse=True)
    while stack:
        photo = stack.pop()
        if photo not in place:
            place[photo] = len(place)
            stack.extend(beside[photo])
    left, right = (np.array([place[i] for i in side.tolist()], np.int64) for side in (scores.left, scores.right))
    return np.lexsort((np.maximum(left, right), np.minimum(left, right)))


def maps_of(store: Store, ids: Indices) -> Maps:
    """Return the maps (M, S, C) of photos by their database number."""
    return store.maps(ids).reshape(len(ids), encode.GRID**2, encode.CHANNELS)


def by_number(numbers: Indices, maps: Maps) -> Callable[[Indices], Maps]:
    """Return what gives the maps of photos by their numbers; `numbers` are those of `maps`, in ascending order."""
    return lambda wanted: maps[np.searchsorted(numbers, wanted)]


def joined(some: Candidates, more: Candidates) -> Candidates:
    """Return both lists of pairs in one."""
    return Candidates(
        np.concatenate([some.left, more.left]),
        np.concatenate([some.right, more.right]),
        np.concatenate([some.similarity, more.similarity]),
    )
