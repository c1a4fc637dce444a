"""Verdicts -> Groups: who is kept, who duplicates it, and why. Pure: photos and verdicts in, groups out.

A group is a star. The best photo is kept, and only photos that were themselves compared with it, and match it, are
its duplicates; a chain a ~ b ~ c does not make c a duplicate of a.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from dedup.types import Candidates, Duplicate, File, Group, Photo, Relation, Settings, Verdicts

_Edges = dict[int, dict[int, int]]  # photo -> {photo it was compared with: row of the verdict}


def protected(path: str, settings: Settings) -> bool:
    """Return whether the file lies in a folder that the user protects."""
    return any(path == folder or path.startswith(folder.rstrip("/") + "/") for folder in settings.protect)


def best_file(file: File, settings: Settings) -> tuple[object, ...]:
    """Return the key that sorts the file to keep first: protected, oldest, shortest path."""
    return not protected(file.path, settings), file.mtime_ns, len(file.path), file.path


def best_photo(photo: Photo, settings: Settings) -> tuple[object, ...]:
    """Return the key that sorts the photo to keep first; _CRITERIA says in which order, and no two keys are equal."""
    file = min(photo.files, key=lambda f: best_file(f, settings))
    return (
        not any(protected(f.path, settings) for f in photo.files),
        -photo.width * photo.height,
        photo.camera is None,
        -photo.size,
        photo.taken_at is None,
        file.mtime_ns,
        len(file.path),
        photo.sha256,
    )


def keep_reason(keeper: Photo, other: Photo, settings: Settings) -> str:
    """Return the first criterion by which the keeper is the better one, as a person would say it."""
    ours, theirs = best_photo(keeper, settings), best_photo(other, settings)
    first = next(i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b)
    return (
        "in a protected folder",
        f"{keeper.width}x{keeper.height} over {other.width}x{other.height}",
        "has camera data",
        f"{keeper.size:,} over {other.size:,} bytes",
        "has a capture time",
        "older file",
        "shorter path",
        "same in every respect",
    )[first]


def group(photos: Sequence[Photo], verdicts: Verdicts, settings: Settings) -> list[Group]:
    """Take the best photo not yet taken, give it its matches not yet taken, repeat.

    Also a group: a photo without matches that several files hold. In the order of the keepers' photo numbers.
    """
    edges = _edges(verdicts, settings)
    members = sorted(edges.matched.keys() | {i for i, photo in enumerate(photos) if len(photo.files) > 1})
    groups = []
    for keeper, star in _stars(photos, members, edges, settings):
        if star or len(photos[keeper].files) > 1:
            matched = edges.matched[keeper] if star else {}
            duplicates = (_duplicate(photos, keeper, i, matched[i], verdicts, settings) for i in star)
            groups.append(Group(keeper, tuple(duplicates)))
    return sorted(groups, key=lambda g: g.keeper)


def missing_pairs(photos: Sequence[Photo], verdicts: Verdicts, settings: Settings) -> Candidates:
    """Return the pairs that grouping needs and nobody looked at, with similarity 0 for want of one.

    The best photo of a connected set should be compared with all of the set, so that fifty versions of one photo are
    one group even if the index proposed only forty neighbours. Asked again after they are verified, until none is left.
    """
    edges = _edges(verdicts, settings)
    pairs: set[tuple[int, int]] = set()
    left = list(_components(edges.matched, set(edges.matched)))
    while left:
        members = left.pop()
        keeper = min(members, key=lambda i: best_photo(photos[i], settings))
        unseen = members - edges.seen[keeper] - {keeper}
        if unseen:  # one keeper at a time: its new matches decide who the next one is
            pairs.update((min(keeper, i), max(keeper, i)) for i in unseen)
        else:
            left.extend(_components(edges.matched, members - edges.matched[keeper].keys() - {keeper}))
    columns = np.array(sorted(pairs), np.int64).reshape(-1, 2)
    return Candidates(columns[:, 0], columns[:, 1], np.zeros(len(columns), np.float32))


class _Compared:
    """Who matched whom, and who was looked at."""

    def __init__(self) -> None:
        self.matched: _Edges = defaultdict(dict)
        self.seen: dict[int, set[int]] = defaultdict(set)


def _edges(verdicts: Verdicts, settings: Settings) -> _Compared:
    edges = _Compared()
    sure = (verdicts.relation <= Relation.COPY) & (verdicts.copy >= settings.min_probability)
    shots = (verdicts.relation <= Relation.SIMILAR) & settings.include_similar  # unsure copies among them
    matches = np.flatnonzero(sure | shots)
    left, right = verdicts.left[matches], verdicts.right[matches]
    for row, a, b in zip(matches.tolist(), left.tolist(), right.tolist(), strict=True):
        edges.matched[a][b] = edges.matched[b][a] = row
    touched = np.zeros(int(verdicts.right.max(initial=-1)) + 1, bool)
    touched[left] = touched[right] = True
    both = np.flatnonzero(touched[verdicts.left] & touched[verdicts.right])
    for a, b in zip(verdicts.left[both].tolist(), verdicts.right[both].tolist(), strict=True):
        edges.seen[a].add(b)
        edges.seen[b].add(a)
    return edges


def _stars(
    photos: Sequence[Photo], members: Sequence[int], edges: _Compared, settings: Settings
) -> Iterator[tuple[int, list[int]]]:
    """Yield each keeper with its duplicates, the best first in both."""
    best = {i: best_photo(photos[i], settings) for i in members}
    taken: set[int] = set()
    for keeper in sorted(members, key=best.__getitem__):
        if keeper not in taken:
            star = sorted(edges.matched.get(keeper, {}).keys() - taken, key=best.__getitem__)
            taken.update([keeper, *star])
            yield keeper, star


def _components(matched: _Edges, members: set[int]) -> Iterator[set[int]]:
    """Yield the connected sets of two or more among the members."""
    left = set(members)
    while left:
        fringe = [left.pop()]
        component = set(fringe)
        while fringe:
            new = matched[fringe.pop()].keys() & left
            left -= new
            component |= new
            fringe.extend(new)
        if len(component) > 1:
            yield component


def _duplicate(
    photos: Sequence[Photo], keeper: int, i: int, row: int, verdicts: Verdicts, settings: Settings
) -> Duplicate:
    probability, relation = float(verdicts.copy[row]), Relation(int(verdicts.relation[row]))
    unsure = relation == Relation.COPY and probability < settings.min_probability
    return Duplicate(
        i,
        Relation.SIMILAR if unsure else relation,
        probability,
        float(verdicts.similarity[row]),
        keep_reason(photos[keeper], photos[i], settings),
    )
