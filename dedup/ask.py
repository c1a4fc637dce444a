"""Questions about files that no scan has to know: what matches them, and how two of them are related."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from dedup import change, confirm, decide, encode, files, index, matching, verify
from dedup.align import Aligned, Unlike
from dedup.errors import UnreadablePhoto
from dedup.read import Pair, Reading, Rejected, Task, read_aligned, read_image, read_photo, read_pixels
from dedup.recall import file_of
from dedup.runners import Failure, Machine
from dedup.store import Store
from dedup.types import (
    SIDE,
    Candidates,
    Comparison,
    File,
    Indices,
    Looks,
    Maps,
    Match,
    Photo,
    Picture,
    Relation,
    Scores,
    Settings,
    Skipped,
)
from dedup.weights import Weights

Query = tuple[Photo, NDArray[np.uint8]]  # a file that somebody asks about, and its pixels for the encoder


def find_matches(
    images: Sequence[str], *, store: Store, weights: Weights, settings: Settings, machine: Machine
) -> tuple[list[Match], list[Skipped]]:
    """Return which files of the last scan match these files, the surest first, and which could not be read."""
    store.recollect()
    photos = store.photos()
    queries, skipped = read_queries(images, machine)
    vectors, maps = encode.encode(weights.encoder, [pixels for _, pixels in queries], device=weights.device)
    if not queries or not photos.photos:
        return [], skipped
    theirs = encode.unit(store.vectors(photos.ids))
    Q, everyone = len(queries), [*(photo for photo, _ in queries), *photos.photos]
    left, right = index.nearest(theirs, encode.unit(vectors), k=settings.neighbours)

    def all_maps(numbers: Indices) -> Maps:
        asked, found = numbers < Q, np.empty((len(numbers), *maps.shape[1:]), np.int8)
        found[asked] = maps[numbers[asked]]
        found[~asked] = matching.maps_of(store, photos.ids[numbers[~asked] - Q])
        return found

    similarity = np.einsum("pd,pd->p", encode.unit(vectors)[left], theirs[right])
    scores, looks, _ = ask(Candidates(left, right + Q, similarity), everyone, all_maps, weights, machine)
    verdicts = decide.decide(everyone, scores, looks, {})
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
    vectors, maps = encode.encode(weights.encoder, [pixels for _, pixels in queries], device=weights.device)
    pair = Candidates(np.array([0]), np.array([1]), encode.unit(vectors).prod(0).sum(keepdims=True))
    scores, looks, seen = ask(pair, photos, lambda rows: maps[rows], weights, machine, every=True)
    aligned = [one for one in seen if isinstance(one, Aligned)]
    sources = [file_of(photo) for photo in photos]
    pixels = dict(machine.run(read_pixels, set(sources)))
    images = dict(machine.run(read_image, set(sources)))
    digests = {n: d if isinstance(d := pixels[source], bytes) else None for n, source in enumerate(sources)}
    verdicts = decide.decide(photos, scores, looks, digests)
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
) -> tuple[Scores, Looks, list[Aligned | Unlike]]:
    """Return what head and second look say of pairs that no store knows. every: look at all of them twice.

    As in a scan the photo of the smaller SHA-256 is laid upon the other, so that all three say the same of a pair.
    """
    scores = verify.verify(pairs, maps, weights.head, weights.calibration, device=weights.device)
    some = scores.rows(decide.worth_a_look(scores, weights.line) | every)
    digests = [[photos[i].sha256 for i in side.tolist()] for side in (some.left, some.right)]
    turned = np.array([a > b for a, b in zip(*digests, strict=True)], bool)
    first, second = np.where(turned, some.right, some.left), np.where(turned, some.left, some.right)
    one, other = maps(first), maps(second)
    logits = verify.pair_logits(weights.head, one, other, some.similarity, device=weights.device)
    found = verify.transforms(weights.head, one, other, device=weights.device)
    columns = zip(first.tolist(), second.tolist(), found, strict=True)
    tasks = [
        (Pair(row, file_of(photos[a]), file_of(photos[b]), tuple(guesses)),)
        for row, (a, b, guesses) in enumerate(columns)
    ]
    results = ((task[0].number, result) for task, result in machine.run(read_aligned, tasks))
    seen = {row: result[0] for row, result in results if not isinstance(result, Failure) and result[0] is not None}
    rows = np.array(sorted(seen), np.int64)
    aligned = [seen[row] for row in rows.tolist()]
    looks = matching.look_at(aligned, some.rows(rows), logits[rows], weights)
    looks.transform[turned[rows]] = np.linalg.inv(looks.transform[turned[rows]])
    return scores, looks, aligned


def read_queries(images: Sequence[str], machine: Machine) -> tuple[list[Query], list[Skipped]]:
    """Return what the files hold, in the order of their paths, and those that cannot be read."""
    found = list(files.walk(images))
    tasks = [Task(f, SIDE) for f in found if isinstance(f, File)]
    skipped = [f for f in found if isinstance(f, Skipped)]
    queries = []
    for task, result in machine.run(read_photo, tasks):
        match result:
            case Reading(sha256, size, Picture() as p):
                facts = (sha256.hex(), size, p.width, p.height, p.format, p.taken_at, p.camera, (task.file,))
                queries.append((Photo(*facts), p.pixels))
            case Rejected():
                skipped.append(result.skipped)
            case Failure():
                skipped.append(Skipped(task.file.path, result.reason))
    return sorted(queries, key=lambda q: q[0].files[0].path), sorted(skipped, key=lambda s: s.path)
