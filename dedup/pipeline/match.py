"""Photos -> verdicts and groups: what the store does not know yet is searched, verified and confirmed.

pipeline.py loads this only where something is to be done, and after all is read: torch and faiss take a second.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from dedup import index
from dedup.geometry.registration import NOT_ALIGNED_COPY, Aligned, NotAligned
from dedup.grouping import relations
from dedup.grouping.groups import group, missing_pairs
from dedup.images.read import read_pixels
from dedup.models import encoder, pair_head, residual_head
from dedup.models.weights import Weights
from dedup.pipeline.pairs import Pair, read_aligned
from dedup.pipeline.results import file_of, kept_pixels, known_verified, last_alike
from dedup.store.store import Store
from dedup.types.arrays import Floats, Indices, Maps, Neighbours
from dedup.types.pairs import NOTHING_VERIFIED, Candidates, Scores, Verdicts, Verified
from dedup.types.photo_table import among
from dedup.types.report import Compared, Photos
from dedup.types.settings import Settings
from dedup.workers import Failure, Runtime, in_threads

_PAIRS = 128 * pair_head.BATCH  # pairs verified and stored at once; a part of the search has no more
_GUESSED = 64 * pair_head.BATCH  # pairs whose maps are in memory at once
_FEW = 0.1  # of the photos, new to the last search: below it only these are searched for
_ALIGN_BATCH = 24  # pairs aligned by one worker at a time, and stored at once
_ALIGN_LIMIT_S = 600.0  # for so many

Thing = TypeVar("Thing")


def compare(store: Store, weights: Weights, settings: Settings, runtime: Runtime) -> Compared:
    """Return the verdicts on all candidates of the photos found, and the groups that they make.

    Where the last scan found the same contents on the same terms, its candidates are these. Otherwise photos are read
    when they have been searched, for vectors and lists of neighbours take as much memory as they do.
    """
    ids, contents = store.contents()
    last = last_alike(contents, store, weights.name, settings)
    if last:
        photos = store.photos()
        scores, recall = store.candidates(photos.ids), last.recall
        verdicts = verify(scores, photos, store, weights, settings, runtime)
    fresh = last is None or len(missing_pairs(photos.photos, verdicts, settings, store.decisions())) > 0
    if fresh:
        scores, recall = proposed(ids, store, weights, settings, runtime)
        photos = store.photos()
        scores, verdicts = settle(scores, photos, store, weights, settings, runtime)
    groups = group(photos.photos, verdicts, settings, store.decisions())
    verified = known_verified(photos, store, weights.name, settings)
    return Compared(photos, scores, verdicts, groups, verified, recall, fresh)


def proposed(
    ids: Indices, store: Store, weights: Weights, settings: Settings, runtime: Runtime
) -> tuple[Scores, float]:
    """Return what the head says of neighbours, those left out that it refused at a glance, and the search's recall."""
    near, recall = searched(ids, store, weights, settings, runtime)
    k, least = settings.neighbours, settings.min_similarity
    store.keep_neighbours(near, ids, weights=weights.name, k=k, least=least, recall=recall)
    scores = store.scores(ids, weights=weights.name, prefiltered=True)
    listed = index.listed(near, scores.left, scores.right)
    return scores if listed.all() else scores.rows(listed), recall


def searched(
    ids: Indices, store: Store, weights: Weights, settings: Settings, runtime: Runtime
) -> tuple[Neighbours, float]:
    """Return each photo's neighbours, about all pairs of which the head was asked, and the recall of the search.

    Where few photos are new to the last search, or have lost a neighbour, only these are searched for.
    """
    k, least = settings.neighbours, settings.min_similarity
    runtime.progress("searching", 0, 1)
    vectors = index.HalfVectors.of(store.vectors(ids))
    before, fresh, recall = store.neighbours(ids, weights=weights.name, k=k, least=least)
    near = before
    if len(fresh) > _FEW * len(ids):
        near, recall = index.neighbours(vectors, k=k, min_similarity=least)
    elif len(fresh):
        near = index.add_to_neighbours(vectors, near, fresh, k=k, min_similarity=least)
    runtime.progress("searching", 1, 1)
    known = store.scored(ids, weights=weights.name, prefiltered=True)
    changed = np.flatnonzero((near != before).any(1)) if before.shape[1] else None  # no other list has new pairs
    lists = near if changed is None else near[changed]

    def new() -> Iterator[tuple[int, Candidates]]:
        for n, pairs in enumerate(index.pairs_of(lists, vectors, queries=changed), 1):
            asked = index.listed(before, pairs.left, pairs.right) | among(pairs.keys(len(near)), known)
            yield min(n * index.PAIRED, len(lists)), pairs.rows(~asked)

    ask(new(), len(lists), ids, store, weights, runtime, prefilter=True)
    return near, recall


def settle(
    scores: Scores, photos: Photos, store: Store, weights: Weights, settings: Settings, runtime: Runtime
) -> tuple[Scores, Verdicts]:
    """Return the candidates, what grouping needs and nobody proposed among them, and the verdicts on them."""
    N = len(photos.ids)
    while True:
        verdicts = verify(scores, photos, store, weights, settings, runtime)
        missing = missing_pairs(photos.photos, verdicts, settings, store.decisions())
        if not len(missing):
            return scores, verdicts
        wanted = missing.keys(N)
        known = store.scored(photos.ids, weights=weights.name, prefiltered=False)
        asked = with_cosines(missing.rows(~among(wanted, known)), photos, store)
        ask([(len(asked), asked)], len(asked), photos.ids, store, weights, runtime, prefilter=False)
        answers = store.scores(photos.ids, weights=weights.name, prefiltered=False)
        scores = scores.followed_by(answers.rows(np.isin(answers.keys(N), wanted)))
        scores = scores.rows(np.argsort(scores.keys(N)))


def with_cosines(pairs: Candidates, photos: Photos, store: Store) -> Candidates:
    """Return the pairs with how near their vectors are."""
    numbers, ends = np.unique(np.stack([pairs.left, pairs.right]), return_inverse=True)
    vectors = index.HalfVectors.of(store.vectors(photos.ids[numbers]))
    return replace(pairs, similarity=index.cosines(vectors, *ends.reshape(2, -1)))


def ask(
    parts: Iterable[tuple[int, Candidates]],
    of: int,
    ids: Indices,
    store: Store,
    weights: Weights,
    runtime: Runtime,
    *,
    prefilter: bool,
) -> None:
    """Ask the head about pairs, and keep what it says.

    parts: how far that is after some pairs, and these.   glance: leave out those that a glance refuses.
    """

    def asked() -> Iterator[tuple[int, Candidates, Callable[[Indices], Maps]]]:
        before = 0
        for done, pairs in parts:
            for start in range(0, len(pairs), _PAIRS):
                some = pairs.rows(slice(start, start + _PAIRS))
                numbers = np.unique(np.concatenate([some.left, some.right]))
                maps = by_number(numbers, maps_of(store, ids[numbers]))
                yield done if start + _PAIRS >= len(pairs) else before, some, maps
            before = done

    def answered(task: tuple[int, Candidates, Callable[[Indices], Maps]]) -> tuple[int, Scores]:
        done, pairs, maps = task
        gate = weights.prefilter if prefilter else None
        return done, pair_head.score_pairs(
            pairs, maps, weights.head, weights.calibration, prefilter=gate, device=weights.device
        )

    for done, scores in in_threads(answered, asked(), begin=encoder.one_thread, threads=runtime.workers):
        store.add_scores(scores, ids, weights=weights.name, prefiltered=prefilter)
        runtime.progress("comparing", done, of)


def verify(
    scores: Scores, photos: Photos, store: Store, weights: Weights, settings: Settings, runtime: Runtime
) -> Verdicts:
    """Return the verdicts after the files of what may be copies were looked at once more.

    Which they are is for relations.py to say; and every pair that makes a duplicate of a keeper is one of them.
    """
    pixels, decisions = known_pixels(scores, photos, store, runtime), store.decisions()
    if not settings.verify:
        return relations.relate(photos.photos, scores, NOTHING_VERIFIED, pixels)
    N, keys = len(photos.ids), scores.keys(len(photos.ids))
    wanted, tried = relations.selected_for_verification(scores, weights.gate), np.zeros(len(scores), bool)
    while True:
        known = store.verified_pairs(photos.ids, weights=weights.name)
        verify_pairs(scores.rows(wanted & ~tried & ~among(keys, known)), photos, store, weights, runtime)
        tried |= wanted
        verified = store.verified(photos.ids, weights=weights.name)
        verdicts = relations.relate(photos.photos, scores, verified, pixels)
        groups = group(photos.photos, verdicts, settings, decisions)
        wanted = relations.keeper_pairs(scores, groups, N)
        if not (wanted & ~tried).any():
            return verdicts


def known_pixels(scores: Scores, photos: Photos, store: Store, runtime: Runtime) -> dict[int, bytes | None]:
    """Return the digests of the pixels that relations.py asks for; None where they cannot be had any more."""
    known = kept_pixels(scores, photos, store)
    unknown = {(p.files[0].path, p.sha256): i for i, p in ((i, photos.photos[i]) for i in known if known[i] is None)}
    for done, (task, result) in enumerate(runtime.run(read_pixels, unknown), 1):
        if isinstance(result, bytes):
            known[unknown[task]] = result
            store.add_pixels(int(photos.ids[unknown[task]]), result)
        runtime.progress("confirming", done, len(unknown))
    return known


def verify_pairs(scores: Scores, photos: Photos, store: Store, weights: Weights, runtime: Runtime) -> None:
    """Look at the files of these pairs, and keep what is seen."""
    logits = np.zeros((len(scores), 3), np.float32)

    def tasks() -> Iterator[tuple[Pair, ...]]:
        order = depth_first_order(scores)
        for start in range(0, len(order), _GUESSED):
            rows = order[start : start + _GUESSED]
            some = scores.rows(rows)
            left, right = (maps_of(store, photos.ids[side]) for side in (some.left, some.right))
            logits[rows] = pair_head.pair_logits(weights.head, left, right, some.similarity, device=weights.device)
            guesses = pair_head.transforms(weights.head, left, right, device=weights.device)
            columns = zip(rows.tolist(), some.left.tolist(), some.right.tolist(), guesses, strict=True)
            pairs = [
                Pair(row, file_of(photos.photos[a]), file_of(photos.photos[b]), tuple(guess), runtime.preview_folder)
                for row, a, b, guess in columns
            ]
            parts = [tuple(pairs[n : n + _ALIGN_BATCH]) for n in range(0, len(pairs), _ALIGN_BATCH)]
            yield from deal_round_robin(parts, runtime.workers)

    def judged(answer: tuple[tuple[Pair, ...], list[Aligned | NotAligned | None] | Failure]) -> tuple[int, Verified]:
        task, result = answer
        found = [None] * len(task) if isinstance(result, Failure) else result  # then the head's verdict stands
        seen = [(pair.number, aligned) for pair, aligned in zip(task, found, strict=True) if aligned is not None]
        rows = np.array([row for row, _ in seen], np.int64)
        return len(task), judge_aligned([aligned for _, aligned in seen], scores.rows(rows), logits[rows], weights)

    done = 0
    answers = runtime.run(read_aligned, tasks(), limit_s=_ALIGN_LIMIT_S)
    for count, verified in in_threads(judged, answers, begin=encoder.one_thread, threads=1):
        store.add_verified(verified, photos.ids, weights=weights.name)
        done += count
        runtime.progress("looking twice", done, len(scores))


def deal_round_robin(tasks: Sequence[Thing], workers: int) -> list[Thing]:
    """Return the tasks in an order that gives each worker neighbours, who share pictures, when dealt out in turn."""
    share = -(-len(tasks) // workers)
    return [tasks[n] for row in range(share) for n in range(row, len(tasks), share)]


def judge_aligned(pairs: Sequence[Aligned | NotAligned], scores: Scores, logits: Floats, weights: Weights) -> Verified:
    """Return what the second look says of pairs. logits: (P, 3), what the head said of them.

    The network is asked about those that lie on a canvas. The others are hardly ever copies, and as similar as before.
    """
    laid = [(row, one) for row, one in enumerate(pairs) if isinstance(one, Aligned)]
    rows, aligned = np.array([row for row, _ in laid], np.int64), [one for _, one in laid]
    judged = residual_head.residual_logits(
        weights.residual_head, aligned, logits[rows], scores.similarity[rows], device=weights.device
    )
    copy, similar = np.minimum(scores.copy, np.float32(NOT_ALIGNED_COPY)), scores.similar.copy()
    copy[rows], similar[rows] = weights.residual_calibration.probabilities(judged)
    plain = np.zeros(len(pairs), bool)
    plain[rows] = [one.plain for one in aligned]
    transform = np.array([one.transform for one in pairs], np.float64).reshape(-1, 3, 3)
    nothing = np.zeros(len(pairs), np.int64)
    return Verified(scores.left, scores.right, scores.similarity, copy, similar, plain, transform, nothing, nothing)


def depth_first_order(scores: Scores) -> Indices:
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
    return store.maps(ids).reshape(len(ids), encoder.GRID**2, encoder.CHANNELS)


def by_number(numbers: Indices, maps: Maps) -> Callable[[Indices], Maps]:
    """Return what gives the maps of photos by their numbers; `numbers` are those of `maps`, in ascending order."""
    return lambda wanted: maps[np.searchsorted(numbers, wanted)]
