"""Verdicts -> Groups: who is kept, who duplicates it, and why. Pure: photos and verdicts in, groups out.

A group is a star. The best photo is kept, and only photos that were themselves compared with it, and match it, are
its duplicates; a chain a ~ b ~ c does not make c a duplicate of a.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from dedup.files.stacks import share_a_stack
from dedup.grouping.ranking import (
    best_photo,
    keep_reason,
)
from dedup.types.groups import NOTHING_DECIDED, Decisions, Duplicate, Group
from dedup.types.pairs import Candidates, Relation, Verdicts
from dedup.types.photo import Photo
from dedup.types.photo_table import with_exact_duplicates
from dedup.types.settings import Settings

_Edges = dict[int, dict[int, int]]  # photo -> {photo it was compared with: row of the verdict}


def group(
    photos: Sequence[Photo], verdicts: Verdicts, settings: Settings, decisions: Decisions = NOTHING_DECIDED
) -> list[Group]:
    """Take the best photo not yet taken, give it its matches not yet taken, repeat.

    Also a group: a photo without matches that several files hold. In the order of the keepers' photo numbers.
    """
    edges, several = _edges(photos, verdicts, settings, decisions), frozenset(with_exact_duplicates(photos))
    members = sorted({*edges.matched, *several})
    groups = []
    for keeper, star in _stars(photos, members, edges, settings, decisions):
        if star or keeper in several:
            matched = edges.matched[keeper] if star else {}
            duplicates = (_duplicate(photos, keeper, i, matched[i], verdicts, settings, decisions) for i in star)
            groups.append(Group(keeper, tuple(duplicates)))
    return sorted(groups, key=lambda g: g.keeper)


def missing_pairs(
    photos: Sequence[Photo], verdicts: Verdicts, settings: Settings, decisions: Decisions = NOTHING_DECIDED
) -> Candidates:
    """Return the pairs that grouping needs and nobody looked at, with similarity 0 for want of one.

    The best photo of a connected set should be compared with all of the set, so that fifty versions of one photo are
    one group even if the index proposed only forty neighbours. Asked again after they are verified, until none is left.
    """
    edges = _edges(photos, verdicts, settings, decisions)
    pairs: set[tuple[int, int]] = set()
    left = list(components(edges.matched, set(edges.matched)))
    while left:
        members = left.pop()
        keeper = min(members, key=lambda i: _first(photos[i], settings, decisions))
        unseen = members - edges.seen[keeper] - {keeper}
        if unseen:  # one keeper at a time: its new matches decide who the next one is
            pairs.update((min(keeper, i), max(keeper, i)) for i in unseen)
        else:
            left.extend(components(edges.matched, members - edges.matched[keeper].keys() - {keeper}))
    columns = np.array(sorted(pairs), np.int64).reshape(-1, 2)
    return Candidates(columns[:, 0], columns[:, 1], np.zeros(len(columns), np.float32))


class _Compared:
    """Who matched whom, and who was looked at."""

    def __init__(self) -> None:
        self.matched: _Edges = defaultdict(dict)
        self.seen: dict[int, set[int]] = defaultdict(set)


def matches(
    photos: Sequence[Photo], verdicts: Verdicts, settings: Settings, decisions: Decisions
) -> dict[int, dict[int, int]]:
    """Return, for each photo, those that match it, with the row of their verdict; both ways."""
    return _edges(photos, verdicts, settings, decisions).matched


def reported(verdicts: Verdicts, row: int, settings: Settings) -> Relation:
    """Return the relation that a match is reported with: a copy that is not sure enough passes as similar only."""
    relation = Relation(int(verdicts.relation[row]))
    unsure = relation is Relation.COPY and verdicts.copy[row] < settings.min_probability
    return Relation.SIMILAR if unsure else relation


def _first(photo: Photo, settings: Settings, decisions: Decisions) -> tuple[object, ...]:
    return photo.sha256 not in decisions.kept, *best_photo(photo, settings)


def _apart(one: Photo, other: Photo, decisions: Decisions) -> bool:
    """Return whether two photos are no duplicates of each other whatever they show."""
    first, second = sorted((one.sha256, other.sha256))
    return (first, second) in decisions.apart or share_a_stack(
        (f.path for f in one.files), (f.path for f in other.files)
    )


def _edges(photos: Sequence[Photo], verdicts: Verdicts, settings: Settings, decisions: Decisions) -> _Compared:
    edges = _Compared()
    sure = (verdicts.relation <= Relation.COPY) & (verdicts.copy >= settings.min_probability)
    shots = (verdicts.relation <= Relation.SIMILAR) & settings.include_similar  # unsure copies among them
    matches = np.flatnonzero(sure | shots)
    left, right = verdicts.left[matches], verdicts.right[matches]
    for row, a, b in zip(matches.tolist(), left.tolist(), right.tolist(), strict=True):
        if not _apart(photos[a], photos[b], decisions):
            edges.matched[a][b] = edges.matched[b][a] = row
    touched = np.zeros(int(verdicts.right.max(initial=-1)) + 1, bool)
    touched[left] = touched[right] = True
    both = np.flatnonzero(touched[verdicts.left] & touched[verdicts.right])
    for a, b in zip(verdicts.left[both].tolist(), verdicts.right[both].tolist(), strict=True):
        edges.seen[a].add(b)
        edges.seen[b].add(a)
    return edges


def _stars(
    photos: Sequence[Photo], members: Sequence[int], edges: _Compared, settings: Settings, decisions: Decisions
) -> Iterator[tuple[int, list[int]]]:
    """Yield each keeper with its duplicates, the best first in both."""
    best = {i: _first(photos[i], settings, decisions) for i in members}
    taken: set[int] = set()
    for keeper in sorted(members, key=best.__getitem__):
        if keeper not in taken:
            star = sorted(edges.matched.get(keeper, {}).keys() - taken, key=best.__getitem__)
            taken.update([keeper, *star])
            yield keeper, star


def components(matched: _Edges, members: set[int]) -> Iterator[set[int]]:
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
    photos: Sequence[Photo],
    keeper: int,
    i: int,
    row: int,
    verdicts: Verdicts,
    settings: Settings,
    decisions: Decisions,
) -> Duplicate:
    marked = "marked to be kept"
    return Duplicate(
        i,
        reported(verdicts, row, settings),
        float(verdicts.copy[row]),
        float(verdicts.similarity[row]),
        marked if photos[keeper].sha256 in decisions.kept else keep_reason(photos[keeper], photos[i], settings),
    )
