"""Verdicts -> groups: which photo is kept, which are its duplicates, and why. Pure: photos and verdicts in, groups out.

A group is a star. One photo is kept, and only photos that were themselves compared with it, and match it, are its
duplicates; a chain a ~ b ~ c does not make c a duplicate of a.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field

import numpy as np

from dedup.files.stacks import share_a_stack
from dedup.grouping.containment import contained, shortfall
from dedup.grouping.ranking import Standing, best_photo, keep_reason, loss_of, standings
from dedup.types.groups import NOTHING_DECIDED, Decisions, Duplicate, Group
from dedup.types.pairs import Candidates, Relation, Verdicts
from dedup.types.photo import Photo
from dedup.types.photo_table import with_exact_duplicates
from dedup.types.settings import Settings

_Edges = dict[int, dict[int, int]]  # photo -> {photo it was compared with: row of the verdict}


def group(
    photos: Sequence[Photo],
    verdicts: Verdicts,
    settings: Settings,
    decisions: Decisions = NOTHING_DECIDED,
) -> list[Group]:
    """Return the groups, in the order of the keepers' photo numbers: of each set of photos that match each other take
    the best one with its matches, then the best of those that are left, and so on.

    A photo without matches that several files hold is a group too.
    """
    question = _Question(photos, verdicts, settings, decisions)
    compared = _compared(photos, verdicts, settings, decisions)
    groups: dict[int, Group] = {}
    alone = set(with_exact_duplicates(photos))
    left = list(components(compared.matched, set(compared.matched)))
    while left:
        members = left.pop()
        ranked, how = question.ranked(members, compared.matched)
        keeper, matches = ranked[0], compared.matched[ranked[0]]
        star = [i for i in ranked if i in matches]
        duplicates = tuple(question.duplicate(keeper, i, matches[i], (how[keeper], how[i])) for i in star)
        groups[keeper] = Group(keeper, duplicates)
        alone -= {keeper, *star}
        left.extend(components(compared.matched, members - {keeper, *star}))
    groups |= {i: Group(i, ()) for i in alone}
    return [groups[keeper] for keeper in sorted(groups)]


def missing_pairs(
    photos: Sequence[Photo],
    verdicts: Verdicts,
    settings: Settings,
    decisions: Decisions = NOTHING_DECIDED,
) -> Candidates:
    """Return the pairs that grouping needs and that were not compared yet, with similarity 0.

    The best photo of a connected set should be compared with all of the set, so that fifty versions of one photo are
    one group even if the index proposed only forty neighbours. Called again after they are verified, until none is
    left.
    """
    question = _Question(photos, verdicts, settings, decisions)
    compared = _compared(photos, verdicts, settings, decisions)
    pairs: set[tuple[int, int]] = set()
    left = list(components(compared.matched, set(compared.matched)))
    while left:
        members = left.pop()
        ranked, _ = question.ranked(members, compared.matched)
        keeper = ranked[0]
        unseen = members - compared.seen[keeper] - {keeper}
        if unseen:  # one keeper at a time: its new matches decide who the next one is
            pairs.update((min(keeper, i), max(keeper, i)) for i in unseen)
        else:
            left.extend(components(compared.matched, members - compared.matched[keeper].keys() - {keeper}))
    columns = np.array(sorted(pairs), np.int64).reshape(-1, 2)
    return Candidates(columns[:, 0], columns[:, 1], np.zeros(len(columns), np.float32))


@dataclass(frozen=True)
class _Question:
    """What decides who is kept."""

    photos: Sequence[Photo]
    verdicts: Verdicts
    settings: Settings
    decisions: Decisions

    def ranked(self, members: Set[int], matched: _Edges) -> tuple[list[int], dict[int, Standing]]:
        """Return the members of a set, the best first, and how each one stands."""
        how = standings(self.photos, members, matched, self.verdicts)

        def key(i: int) -> tuple[object, ...]:
            photo = self.photos[i]
            wished = photo.sha256 not in self.decisions.kept
            return wished, *best_photo(photo, self.settings, how[i])

        return sorted(members, key=key), how

    def duplicate(self, keeper: int, i: int, row: int, standing: tuple[Standing, Standing]) -> Duplicate:
        """Return a photo as a duplicate of a keeper. row: of their verdict.   standing: of both."""
        verdicts, kept, other = self.verdicts, self.photos[keeper], self.photos[i]
        lost = loss_of(verdicts, row, i)
        relation = reported(verdicts, row, self.settings, keeper=keeper)
        return Duplicate(
            i,
            relation,
            float(verdicts.copy[row]),
            float(verdicts.similarity[row]),
            self._reason(keeper, i, row, standing),
            shortfall(lost, other, kept, _inside(verdicts, row, i)) if relation is Relation.VARIANT else "",
        )

    def _reason(self, keeper: int, i: int, row: int, standing: tuple[Standing, Standing]) -> str:
        kept, other = self.photos[keeper], self.photos[i]
        if kept.sha256 in self.decisions.kept:
            return "chosen by you"
        lost = loss_of(self.verdicts, row, keeper)
        words = shortfall(lost, kept, other, _inside(self.verdicts, row, keeper)) if lost > 0 else ""
        rule = keep_reason(kept, other, self.settings, standing)
        return f"the other one is {words}" if words and rule.startswith("contains") else rule


def _inside(verdicts: Verdicts, row: int, photo: int) -> float:
    """Return the share of a photo of a pair that lies in the other one."""
    return float((verdicts.left_inside if verdicts.left[row] == photo else verdicts.right_inside)[row])


@dataclass(frozen=True)
class _Compared:
    """matched: which photos match, with the row of their verdict.   seen: which photos were compared."""

    matched: _Edges = field(default_factory=lambda: defaultdict(dict))
    seen: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))


def matches(
    photos: Sequence[Photo], verdicts: Verdicts, settings: Settings, decisions: Decisions
) -> dict[int, dict[int, int]]:
    """Return, for each photo, those that match it, with the row of their verdict; both ways."""
    return _compared(photos, verdicts, settings, decisions).matched


def reported(verdicts: Verdicts, row: int, settings: Settings, *, keeper: int) -> Relation:
    """Return the relation that the other photo of a pair has to the keeper in a report.

    A copy that is not sure enough is SIMILAR, and one that the keeper does not contain is a VARIANT.
    """
    relation = Relation(int(verdicts.relation[row]))
    if relation is Relation.COPY and verdicts.copy[row] < settings.min_probability:
        return Relation.SIMILAR
    other = int(verdicts.right[row] if verdicts.left[row] == keeper else verdicts.left[row])
    if relation <= Relation.COPY and not contained(loss_of(verdicts, row, other)):
        return Relation.VARIANT
    return relation


def _apart(one: Photo, other: Photo, decisions: Decisions) -> bool:
    """Return whether two photos are no duplicates of each other whatever they show."""
    first, second = sorted((one.sha256, other.sha256))
    return (first, second) in decisions.apart or share_a_stack(
        (f.path for f in one.files), (f.path for f in other.files)
    )


def _compared(photos: Sequence[Photo], verdicts: Verdicts, settings: Settings, decisions: Decisions) -> _Compared:
    found = _Compared()
    sure = (verdicts.relation <= Relation.COPY) & (verdicts.copy >= settings.min_probability)
    shots = (verdicts.relation <= Relation.SIMILAR) & settings.include_similar  # unsure copies among them
    rows = np.flatnonzero(sure | shots)
    left, right = verdicts.left[rows], verdicts.right[rows]
    for row, a, b in zip(rows.tolist(), left.tolist(), right.tolist(), strict=True):
        if not _apart(photos[a], photos[b], decisions):
            found.matched[a][b] = found.matched[b][a] = row
    touched = np.zeros(int(verdicts.right.max(initial=-1)) + 1, bool)
    touched[left] = touched[right] = True
    both = np.flatnonzero(touched[verdicts.left] & touched[verdicts.right])
    for a, b in zip(verdicts.left[both].tolist(), verdicts.right[both].tolist(), strict=True):
        found.seen[a].add(b)
        found.seen[b].add(a)
    return found


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
