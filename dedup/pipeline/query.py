"""Queries about files that were not scanned: which scanned photos match them, and how two of them are related."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dedup import index
from dedup.errors import UnreadablePhoto
from dedup.files.walk import walk
from dedup.geometry import edits
from dedup.geometry.registration import Aligned
from dedup.grouping import containment, relations, selection
from dedup.grouping.prior import ASSUMED
from dedup.images.read import Task, read_photo, read_pixels
from dedup.models import encoder
from dedup.models.weights import Weights
from dedup.pipeline import judge
from dedup.pipeline.context import Context
from dedup.pipeline.explain import comparison
from dedup.pipeline.match import maps_of
from dedup.pipeline.pairs import Pair, PairImages, read_images
from dedup.types.arrays import SIDE, Indices, Maps
from dedup.types.pairs import NOTHING_VERIFIED, Candidates, Comparison, Match, Relation
from dedup.types.photo import File, Photo, Picture, Reading, Rejected, Skipped
from dedup.workers import Failure, Runtime

Query = tuple[Photo, NDArray[np.uint8]]  # a file to query, and its pixels for the encoder


def find_matches(images: Sequence[str], context: Context) -> tuple[list[Match], list[Skipped]]:
    """Return which files of the last scan match these files, the likeliest first, and which could not be read."""
    store, settings, weights = context.store, context.settings, context.weights.load()
    with store.last_listing() as found:
        photos, last = found.photos(), store.runs.last()
    assert last is not None
    queries, skipped = read_queries(images, context.runtime)
    vectors, maps = encoder.encode(weights.fast_encoder, [pixels for _, pixels in queries], device=weights.device)
    if not queries or not photos.photos:
        return [], skipped
    theirs = encoder.unit(store.features.vectors(photos.ids))
    Q, everyone = len(queries), [*(photo for photo, _ in queries), *photos.photos]
    left, right = index.nearest(theirs, encoder.unit(vectors), k=settings.neighbours)
    stored = maps_of(store, photos.ids)

    def all_maps(numbers: Indices) -> Maps:  # the queries come first
        query, out = numbers < Q, np.empty((len(numbers), *maps.shape[1:]), np.int8)
        out[query], out[~query] = maps[numbers[query]], stored(numbers[~query] - Q)
        return out

    similarity = np.einsum("pd,pd->p", encoder.unit(vectors)[left], theirs[right])
    scores = judge.score(Candidates(left, right + Q, similarity), all_maps, weights)
    least = selection.least_chance(len(photos.ids), thorough=settings.thorough)
    likely = scores.rows(selection.selected_for_verification(scores, weights.gate, least=least))
    batches = judge.verify(
        likely, everyone, all_maps, weights, context.runtime, collection=len(photos.ids), thorough=settings.thorough
    )
    verified = NOTHING_VERIFIED.followed_by(*(batch.verified for batch in batches))
    unverified = np.isin(scores.keys(len(everyone)), likely.keys(len(everyone)))
    unverified &= ~np.isin(scores.keys(len(everyone)), verified.keys(len(everyone)))
    verdicts = relations.relate(everyone, scores, verified, {}, prior=last.prior)
    verdicts = relations.inconclusive(verdicts, unverified)
    matches = []
    for row, (q, i) in enumerate(zip(verdicts.left.tolist(), verdicts.right.tolist(), strict=True)):
        same = everyone[q].sha256 == everyone[i].sha256
        relation = Relation.EXACT if same else Relation(int(verdicts.relation[row]))
        copy = 1.0 if same else float(verdicts.copy[row])
        if relation <= Relation.COPY and copy >= settings.min_probability:
            path, files = everyone[q].files[0].path, everyone[i].files
            matches += [Match(path, f.path, relation, copy, float(verdicts.similarity[row])) for f in files]
    return sorted(matches, key=lambda m: (m.query, m.relation, -m.probability, m.path)), skipped


def compare_two(left: str, right: str, *, weights: Weights, runtime: Runtime) -> Comparison:
    """Return the verdict on two files, and what it rests on. Raises UnreadablePhoto.

    Nothing is known of the collection that they are from: its prior is the assumed one.
    """
    queries = [_one_query(path, runtime) for path in (left, right)]
    photos = [photo for photo, _ in queries]
    vectors, maps = encoder.encode(weights.fast_encoder, [pixels for _, pixels in queries], device=weights.device)
    pair = Candidates(np.array([0]), np.array([1]), encoder.unit(vectors).prod(0).sum(keepdims=True))
    scores = judge.score(pair, lambda rows: maps[rows], weights)
    batches = list(judge.verify(scores, photos, lambda rows: maps[rows], weights, runtime, collection=len(photos)))
    verified = NOTHING_VERIFIED.followed_by(*(batch.verified for batch in batches))
    if not len(verified):
        raise UnreadablePhoto(f"{left}, {right}: the two could not be read together; try again")
    if verified.copy[0] >= 0.5:
        verified = judge.compare(verified, photos, runtime)
    sources = [photo.source for photo in photos]
    pixels = dict(runtime.run(read_pixels, set(sources)))
    ((_, images),) = runtime.run(read_images, [Pair(0, sources[0], sources[1], ())])
    if not isinstance(images, PairImages):
        raise UnreadablePhoto(f"{left}, {right}: {images.reason if isinstance(images, Failure) else images}")
    digests = {n: d if isinstance(d := pixels[source], bytes) else None for n, source in enumerate(sources)}
    verdicts = relations.relate(photos, scores, verified, digests, prior=ASSUMED)
    exact = photos[0].sha256 == photos[1].sha256
    relation = Relation.EXACT if exact else Relation(int(verdicts.relation[0]))
    change = ""
    if relation <= Relation.COPY:
        sizes = [(p.width, p.height) for p in photos]
        change = edits.edit_between(verified.transform[0], *sizes).words
    contained = ""
    if not exact and relation <= Relation.COPY:
        losses = int(verdicts.left_loss[0]), int(verdicts.right_loss[0])
        inside = float(verdicts.left_inside[0]), float(verdicts.right_inside[0])
        contained = containment.in_words(losses, photos[0], photos[1], inside)
    found = comparison(
        relation,
        1.0 if exact else float(verdicts.copy[0]),
        float(verdicts.similarity[0]),
        change,
        images=[*images.images],
        maps=maps,
        canvas=next((p for batch in batches for p in batch.aligned if isinstance(p, Aligned)), None),
        weights=weights,
    )
    return replace(found, contained=contained)


def _one_query(path: str, runtime: Runtime) -> Query:
    """Return what a file holds. Raises UnreadablePhoto."""
    found, skipped = read_queries([path], runtime)
    if not found:
        raise UnreadablePhoto(f"{path}: {skipped[0].reason}" if skipped else f"{path}: nothing to read")
    return found[0]


def read_queries(images: Sequence[str], runtime: Runtime) -> tuple[list[Query], list[Skipped]]:
    """Return what the files hold, in the order of their paths, and those that cannot be read."""
    found = list(walk(images))
    tasks = [Task(f, SIDE) for f in found if isinstance(f, File)]
    skipped = [f for f in found if isinstance(f, Skipped)]
    queries = []
    for task, result in runtime.run(read_photo, tasks):
        match result:
            case Reading(sha256, size, Picture() as p):
                about = (sha256.hex(), size, p.width, p.height, p.format, p.taken_at, p.camera, (task.file,))
                queries.append((Photo(*about, facts=p.facts), p.pixels))
            case Rejected():
                skipped.append(result.skipped)
            case Failure():
                skipped.append(Skipped(task.file.path, result.reason))
    return sorted(queries, key=lambda q: q[0].files[0].path), sorted(skipped, key=lambda s: s.path)
