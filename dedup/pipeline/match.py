"""Photos in the store -> scores and results of verification: what is stored is not computed again.

scan.py loads this only where something must be computed, and after the files are read: torch and faiss take a second.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from dedup import index
from dedup.images.read import read_pixels
from dedup.models import encoder, pair_head
from dedup.pipeline import judge
from dedup.pipeline.context import Context
from dedup.pipeline.judge import MapsOf
from dedup.pipeline.results import judging_name, stored_pixels, stored_verified
from dedup.store.store import Store
from dedup.types.arrays import Indices, Maps, Neighbours
from dedup.types.pairs import Candidates, Loss, Scores, Verified
from dedup.types.photo_table import among
from dedup.types.report import Photos
from dedup.workers import in_threads

_PAIRS = 64 * pair_head.BATCH  # pairs scored and stored at once; a part of the search has no more
_FEW = 0.1  # share of photos that are new to the last search; below it, only these are searched for


@dataclass(frozen=True)
class Search:
    """Each photo's neighbours now and in the last search, (N, K) and (N, K or 0), and the recall of the search.

    ids: (N,), the database numbers of the photos.
    """

    ids: Indices
    vectors: index.HalfVectors
    near: Neighbours
    before: Neighbours
    recall: float


def search(ids: Indices, context: Context) -> Search:
    """Return each photo's neighbours; if few photos are new or have lost a neighbour, only these are searched for."""
    store, settings, progress = context.store, context.settings, context.runtime.progress
    k, least = settings.neighbours, settings.min_similarity
    progress("searching", 0, 1)
    vectors = index.HalfVectors.of(store.features.vectors(ids))
    name = judging_name(context.weights.name, settings)
    before, fresh, recall = store.pairs.neighbours(ids, weights_name=name, k=k, min_similarity=least)
    near = before
    if len(fresh) > _FEW * len(ids):
        near, recall = index.neighbours(vectors, k=k, min_similarity=least)
    elif len(fresh):
        near = index.add_to_neighbours(vectors, near, fresh, k=k, min_similarity=least)
    progress("searching", 1, 1)
    return Search(ids, vectors, near, before, recall)


def score(found: Search, context: Context) -> tuple[Scores, float]:
    """Return the scores of all pairs of neighbours that may be related, and the recall of the search."""
    store, settings = context.store, context.settings
    weights_name = judging_name(context.weights.name, settings)
    ids, vectors, near, before, recall = found.ids, found.vectors, found.near, found.before, found.recall
    del found  # the vectors of a million photos take 256 MB
    known = store.pairs.scored(ids, weights_name=weights_name, prefiltered=True)
    changed = np.flatnonzero((near != before).any(1)) if before.shape[1] else None  # no other list has new pairs
    lists = near if changed is None else near[changed]
    parts = (
        (
            min(n * index.PAIRED, len(lists)),
            pairs.rows(~(index.listed(before, pairs.left, pairs.right) | among(pairs.keys(len(near)), known))),
        )
        for n, pairs in enumerate(index.pairs_of(lists, vectors, queries=changed), 1)
    )
    _score_new(parts, len(lists), ids, context, related=True)
    del vectors
    store.pairs.replace_neighbours(
        near, ids, weights_name=weights_name, k=settings.neighbours, min_similarity=settings.min_similarity,
        recall=recall,
    )  # fmt: skip
    scores = store.pairs.scores(ids, weights_name=weights_name, prefiltered=True)
    listed = index.listed(near, scores.left, scores.right)
    return scores if listed.all() else scores.rows(listed), recall


def with_missing(scores: Scores, missing: Candidates, photos: Photos, context: Context) -> Scores:
    """Return the scores with those of the pairs that grouping needs, in the order of (left, right)."""
    store, ids, weights_name = context.store, photos.ids, judging_name(context.weights.name, context.settings)
    wanted = missing.keys(len(ids))
    known = store.pairs.scored(ids, weights_name=weights_name, prefiltered=False)
    new = _with_cosines(missing.rows(~among(wanted, known)), photos, store)
    _score_new([(len(new), new)], len(new), ids, context, related=False)
    stored = store.pairs.scores(ids, weights_name=weights_name, prefiltered=False)
    scores = scores.followed_by(stored.rows(among(stored.keys(len(ids)), np.sort(wanted))))
    return scores.rows(np.argsort(scores.keys(len(ids))))


def verify(scores: Scores, photos: Photos, context: Context, *, collection: int) -> Verified:
    """Verify the pairs whose results are not stored, and return all stored results for these photos.

    collection: the number of photos that were compared, of which these may be a part.
    """
    store, weights, settings, runtime = context.store, context.weights, context.settings, context.runtime
    if settings.verify:
        name = judging_name(weights.name, settings)
        known = store.pairs.verified_pairs(photos.ids, weights_name=name)
        new = scores.rows(~among(scores.keys(len(photos.ids)), known))
        done = 0
        if len(new):
            maps = maps_of(store, photos.ids)
            for batch in judge.verify(
                new, photos.photos, maps, weights.load(), runtime, collection=collection, thorough=settings.thorough,
                quick=weights.quick,
            ):  # fmt: skip
                store.pairs.add_verified(batch.verified, photos.ids, weights_name=name)
                done += batch.tried
                runtime.progress("verifying", done, len(new))
    return stored_verified(photos, store, weights.name, settings)


def compare(wanted: Scores, verified: Verified, photos: Photos, context: Context) -> bool:
    """Compare at full resolution those of some pairs that were verified to be copies, and return whether there are any.

    The results are stored with those of verification. A pair whose files cannot be read counts as not verified.
    """
    N = len(photos.ids)
    among_wanted = among(verified.keys(N), np.sort(wanted.keys(N))) & (verified.copy >= 0.5)
    pairs = verified.rows(among_wanted & ((verified.left_loss & Loss.UNCOMPARED) != 0))
    if len(pairs):
        compared = judge.compare(pairs, photos.photos, context.runtime)
        name = judging_name(context.weights.name, context.settings)
        context.store.pairs.add_verified(compared, photos.ids, weights_name=name)
    return len(pairs) > 0


def known_pixels(scores: Scores, photos: Photos, context: Context) -> dict[int, bytes | None]:
    """Return the SHA-256 of the pixels that relations.relate() needs; None where a file has changed or is gone."""
    known = stored_pixels(scores, photos, context.store)
    unknown = {photos.photos[i].source: i for i in known if known[i] is None}
    for done, (source, result) in enumerate(context.runtime.run(read_pixels, unknown), 1):
        if isinstance(result, bytes):
            known[unknown[source]] = result
            context.store.features.add_pixels(int(photos.ids[unknown[source]]), result)
        context.runtime.progress("comparing pixels", done, len(unknown))
    return known


def maps_of(store: Store, ids: Indices) -> MapsOf:
    """Return a function that gives the maps (M, S, C) of photos by their positions (M,) in `ids`."""

    def maps(numbers: Indices) -> Maps:
        return store.features.maps(ids[numbers]).reshape(len(numbers), encoder.GRID**2, encoder.CHANNELS)

    return maps


def _score_new(
    parts: Iterable[tuple[int, Candidates]], of: int, ids: Indices, context: Context, *, related: bool
) -> None:
    """Score pairs and store the scores. parts: some pairs, each with the progress (out of `of`) after them.

    related: only of those that may be related; `ids` are all photos of the collection.
    """
    store, weights, settings, runtime = context.store, context.weights.load(), context.settings, context.runtime
    name = judging_name(weights.name, settings)

    def batches() -> Iterator[tuple[int, Candidates, MapsOf]]:
        before = 0
        for done, pairs in parts:
            for start in range(0, len(pairs), _PAIRS):
                some = pairs.rows(slice(start, start + _PAIRS))
                numbers = np.unique(np.concatenate([some.left, some.right]))
                maps = maps_of(store, ids)(numbers)  # in this thread: SQLite's connection belongs to it
                yield done if start + _PAIRS >= len(pairs) else before, some, _by_number(numbers, maps)
            before = done

    def scored(batch: tuple[int, Candidates, MapsOf]) -> tuple[int, Scores]:
        done, pairs, maps = batch
        if related:
            return done, judge.score_related(pairs, maps, weights, collection=len(ids), thorough=settings.thorough)
        return done, judge.score(pairs, maps, weights)

    for done, scores in in_threads(scored, batches(), begin=encoder.one_thread, threads=runtime.workers):
        store.pairs.add_scores(scores, ids, weights_name=name, prefiltered=related)
        runtime.progress("comparing", done, of)


def _with_cosines(pairs: Candidates, photos: Photos, store: Store) -> Candidates:
    """Return the pairs with the cosines of their vectors."""
    numbers, ends = np.unique(np.stack([pairs.left, pairs.right]), return_inverse=True)
    vectors = index.HalfVectors.of(store.features.vectors(photos.ids[numbers]))
    return replace(pairs, similarity=index.cosines(vectors, *ends.reshape(2, -1)))


def _by_number(numbers: Indices, maps: Maps) -> MapsOf:
    """Return a function that gives maps by photo numbers; `numbers` are those of `maps`, in ascending order."""
    return lambda wanted: maps[np.searchsorted(numbers, wanted)]
