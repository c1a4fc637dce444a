"""Questions about files that no scan has to know: what matches them, and how two of them are related."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dedup import index
from dedup.errors import UnreadablePhoto
from dedup.files.walk import walk
from dedup.geometry import edits
from dedup.geometry.registration import Aligned, NotAligned
from dedup.grouping import relations
from dedup.images.read import Task, read_photo, read_pixels
from dedup.models import encoder, pair_head, residual_head
from dedup.models.weights import Weights
from dedup.pipeline import match
from dedup.pipeline.pairs import Pair, read_aligned, read_image
from dedup.pipeline.results import file_of
from dedup.store.store import Store
from dedup.types.arrays import SIDE, Indices, Maps
from dedup.types.pairs import Candidates, Comparison, Match, Relation, Scores, Verified
from dedup.types.photo import File, Photo, Picture, Reading, Rejected, Skipped
from dedup.types.settings import Settings
from dedup.workers import Failure, Runtime

Query = tuple[Photo, NDArray[np.uint8]]  # a file that somebody asks about, and its pixels for the encoder


def find_matches(
    images: Sequence[str], *, store: Store, weights: Weights, settings: Settings, runtime: Runtime
) -> tuple[list[Match], list[Skipped]]:
    """Return which files of the last scan match these files, the surest first, and which could not be read."""
    store.recollect()
    photos = store.photos()
    queries, skipped = read_queries(images, runtime)
    vectors, maps = encoder.encode(weights.encoder, [pixels for _, pixels in queries], device=weights.device)
    if not queries or not photos.photos:
        return [], skipped
    theirs = encoder.unit(store.vectors(photos.ids))
    Q, everyone = len(queries), [*(photo for photo, _ in queries), *photos.photos]
    left, right = index.nearest(theirs, encoder.unit(vectors), k=settings.neighbours)

    def all_maps(numbers: Indices) -> Maps:
        asked, found = numbers < Q, np.empty((len(numbers), *maps.shape[1:]), np.int8)
        found[asked] = maps[numbers[asked]]
        found[~asked] = match.maps_of(store, photos.ids[numbers[~asked] - Q])
        return found

    similarity = np.einsum("pd,pd->p", encoder.unit(vectors)[left], theirs[right])
    scores, verified, _ = ask(Candidates(left, right + Q, similarity), everyone, all_maps, weights, runtime)
    verdicts = relations.relate(everyone, scores, verified, {})
    matches = []
    for row, (q, i) in enumerate(zip(verdicts.left.tolist(), verdicts.right.tolist(), strict=True)):
        same = everyone[q].sha256 == everyone[i].sha256
        relation = Relation.EXACT if same else Relation(int(verdicts.relation[row]))
        copy = 1.0 if same else float(verdicts.copy[row])
        if relation <= Relation.COPY and copy >= settings.min_probability:
            query, found = everyone[q].files[0].path, everyone[i].files
            matches += [Match(query, f.path, relation, copy, float(verdicts.similarity[row])) for f in found]
    return sorted(matches, key=lambda m: (m.query, m.relation, -m.probability, m.path)), skipped


def compare_two(left: str, right: str, *, weights: Weights, runtime: Runtime) -> Comparison:
    """Return the verdict on two files, and what it rests on. Raises UnreadablePhoto."""
    queries: list[Query] = []
    for path in (left, right):
        found, skipped = read_queries([path], runtime)
        if not found:
            raise UnreadablePhoto(f"{path}: {skipped[0].reason}" if skipped else f"{path}: nothing to read")
        queries += found
    photos = [photo for photo, _ in queries]
    vectors, maps = encoder.encode(weights.encoder, [pixels for _, pixels in queries], device=weights.device)
    pair = Candidates(np.array([0]), np.array([1]), encoder.unit(vectors).prod(0).sum(keepdims=True))
    scores, verified, seen = ask(pair, photos, lambda rows: maps[rows], weights, runtime, every=True)
    aligned = [one for one in seen if isinstance(one, Aligned)]
    sources = [file_of(photo) for photo in photos]
    pixels = dict(runtime.run(read_pixels, set(sources)))
    images = dict(runtime.run(read_image, set(sources)))
    digests = {n: d if isinstance(d := pixels[source], bytes) else None for n, source in enumerate(sources)}
    verdicts = relations.relate(photos, scores, verified, digests)
    exact = photos[0].sha256 == photos[1].sha256
    sizes = [(p.width, p.height) for p in photos]
    relation = Relation.EXACT if exact else Relation(int(verdicts.relation[0]))
    copied = relation <= Relation.COPY and len(verified) > 0
    return Comparison(
        relation=relation,
        probability=1.0 if exact else float(verdicts.copy[0]),
        similarity=float(verdicts.similarity[0]),
        change=edits.edit_between(verified.transform[0], sizes[0], sizes[1]).words if copied else "",
        images=[image for source in sources if isinstance(image := images[source], np.ndarray)],
        maps=maps,
        seen=pair_head.explain(weights.head, maps[0], maps[1]),
        canvas=(aligned[0].first, aligned[0].second) if aligned else None,
        residual=residual_head.explain(weights.residual_head, aligned[0]) if aligned else None,
    )


def ask(
    pairs: Candidates,
    photos: Sequence[Photo],
    maps: Callable[[Indices], Maps],
    weights: Weights,
    runtime: Runtime,
    *,
    every: bool = False,
) -> tuple[Scores, Verified, list[Aligned | NotAligned]]:
    """Return what head and second look say of pairs that no store knows. every: look at all of them twice.

    As in a scan the photo of the smaller SHA-256 is laid upon the other, so that all three say the same of a pair.
    """
    scores = pair_head.score_pairs(pairs, maps, weights.head, weights.calibration, device=weights.device)
    some = scores.rows(relations.selected_for_verification(scores, weights.gate) | every)
    digests = [[photos[i].sha256 for i in side.tolist()] for side in (some.left, some.right)]
    turned = np.array([a > b for a, b in zip(*digests, strict=True)], bool)
    first, second = np.where(turned, some.right, some.left), np.where(turned, some.left, some.right)
    one, other = maps(first), maps(second)
    logits = pair_head.pair_logits(weights.head, one, other, some.similarity, device=weights.device)
    found = pair_head.transforms(weights.head, one, other, device=weights.device)
    columns = zip(first.tolist(), second.tolist(), found, strict=True)
    tasks = [
        (Pair(row, file_of(photos[a]), file_of(photos[b]), tuple(guesses)),)
        for row, (a, b, guesses) in enumerate(columns)
    ]
    results = ((task[0].number, result) for task, result in runtime.run(read_aligned, tasks))
    seen = {row: result[0] for row, result in results if not isinstance(result, Failure) and result[0] is not None}
    rows = np.array(sorted(seen), np.int64)
    aligned = [seen[row] for row in rows.tolist()]
    verified = match.judge_aligned(aligned, some.rows(rows), logits[rows], weights)
    back = turned[rows]
    verified.transform[back] = np.linalg.inv(verified.transform[back])
    left, right = verified.left_loss, verified.right_loss
    losses = {"left_loss": np.where(back, right, left), "right_loss": np.where(back, left, right)}
    return scores, replace(verified, **losses), aligned


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
