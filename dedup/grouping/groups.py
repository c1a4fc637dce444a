"""Verdicts -> groups: which photo is kept, which are its duplicates, and why. Pure: photos and verdicts in, groups out.

A group is a star. One photo is kept, and only photos that were themselves compared with it, and match it, are its
duplicates; a chain a ~ b ~ c does not make c a duplicate of a.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field, replace

import numpy as np

from dedup.files.stacks import share_a_stack
from dedup.grouping.containment import contained, shortfall
from dedup.grouping.members import counts, files_in_root, is_reference, root_of
from dedup.grouping.ranking import (
    CONTAINS_MORE,
    Standing,
    best_files,
    best_photo,
    keep_reason,
    loss_of,
    standings,
)
from dedup.types.groups import NOTHING_DECIDED, Decisions, Duplicate, Group
from dedup.types.message import Message
from dedup.types.pairs import Candidates, Relation, Verdicts
from dedup.types.photo import Photo
from dedup.types.photo_table import Items, with_exact_duplicates
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

    A photo without matches that several files hold is a group too. Settings.folders and Settings.reference say which
    files count as duplicates; within roots, each root has its own groups.
    """
    compared = _compared(photos, verdicts, settings, decisions)
    several = with_exact_duplicates(photos)
    found: list[Group] = []
    for root in _parts(settings):
        question = _Question(InRoot(photos, root, settings), verdicts, settings, decisions)
        found += _groups_in(question, root, compared, several)
    return sorted(found, key=lambda g: (g.keeper, g.root))


def _groups_in(question: _Question, root: str, compared: _Compared, several: Sequence[int]) -> Iterator[Group]:
    """Yield the groups of the files of one root, or of all if it is empty. several: photos with more than one file."""
    matched = _matched_in(compared.matched, question.photos, root)
    alone = {i for i in several if question.photos[i].files}
    left = list(components(matched, set(matched)))
    while left:
        members = left.pop()
        ranked, how = question.ranked(members, matched)
        keeper, matches = ranked[0], matched[ranked[0]]
        star = [i for i in ranked if i in matches and question.counted(i, keeper)]
        duplicates = tuple(question.duplicate(keeper, i, matches[i], (how[keeper], how[i])) for i in star)
        if star:
            yield Group(keeper, duplicates, root)
            alone -= {keeper, *star}
        left.extend(components(matched, members - {keeper, *star}))
    yield from (Group(i, (), root) for i in alone if question.counted(i, i))


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
    compared = _compared(photos, verdicts, settings, decisions)
    pairs: set[tuple[int, int]] = set()
    for root in _parts(settings):
        question = _Question(InRoot(photos, root, settings), verdicts, settings, decisions)
        pairs |= _missing_in(question, root, compared)
    columns = np.array(sorted(pairs), np.int64).reshape(-1, 2)
    return Candidates(columns[:, 0], columns[:, 1], np.zeros(len(columns), np.float32))


def _missing_in(question: _Question, root: str, compared: _Compared) -> set[tuple[int, int]]:
    """Return the missing pairs among the files of one root, or of all if it is empty."""
    matched = _matched_in(compared.matched, question.photos, root)
    pairs: set[tuple[int, int]] = set()
    left = list(components(matched, set(matched)))
    while left:
        members = left.pop()
        ranked, _ = question.ranked(members, matched)
        keeper = ranked[0]
        unseen = {i for i in members - compared.seen[keeper] - {keeper} if question.counted(i, keeper)}
        if unseen:  # one keeper at a time: its new matches decide who the next one is
            pairs.update((min(keeper, i), max(keeper, i)) for i in unseen)
        else:
            star = {i for i in matched[keeper] if question.counted(i, keeper)}
            left.extend(components(matched, members - star - {keeper}))
    return pairs


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

    def counted(self, i: int, keeper: int) -> bool:
        """Return whether a file of a photo, other than the file that is kept, counts as a duplicate of it."""
        if self.settings.folders == "all" and not self.settings.reference:
            return True
        kept = best_files(self.photos[keeper], self.settings)[0].path
        return any(f.path != kept and counts(f.path, kept, self.settings) for f in self.photos[i].files)

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

    def _reason(self, keeper: int, i: int, row: int, standing: tuple[Standing, Standing]) -> Message:
        kept, other = self.photos[keeper], self.photos[i]
        if kept.sha256 in self.decisions.kept:
            return Message("chosen by you")
        lost = loss_of(self.verdicts, row, keeper)
        words = shortfall(lost, kept, other, _inside(self.verdicts, row, keeper)) if lost > 0 else ""
        rule = keep_reason(kept, other, self.settings, standing)
        return Message("the other one is {lost}", lost=words) if words and rule == CONTAINS_MORE else rule


def _inside(verdicts: Verdicts, row: int, photo: int) -> float:
    """Return the share of a photo of a pair that lies in the other one."""
    return float((verdicts.left_inside if verdicts.left[row] == photo else verdicts.right_inside)[row])


@dataclass(frozen=True)
class _Compared:
    """matched: which photos match, with the row of their verdict.   seen: which photos were compared."""

    matched: _Edges = field(default_factory=lambda: defaultdict(dict))
    seen: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))


@dataclass(frozen=True)
class InRoot(Items[Photo]):
    """Photos with those of their files that belong to one root, or with all if it is empty."""

    photos: Sequence[Photo]
    root: str
    settings: Settings

    def __len__(self) -> int:
        return len(self.photos)

    def item(self, n: int) -> Photo:
        photo = self.photos[n]
        return replace(photo, files=files_in_root(photo.files, self.root, self.settings)) if self.root else photo


def _parts(settings: Settings) -> tuple[str, ...]:
    """Return the roots that are grouped each on its own; an empty one if all files are grouped together."""
    return settings.roots if settings.folders == "within" else ("",)


def _matched_in(matched: _Edges, photos: Sequence[Photo], root: str) -> _Edges:
    """Return the matches among the photos that have a file in a root; all of them if it is empty."""
    if not root:
        return matched
    there = {i for i in matched if photos[i].files}
    among = {i: {j: row for j, row in matched[i].items() if j in there} for i in there}
    return {i: others for i, others in among.items() if others}


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


def _countable(one: Photo, other: Photo, settings: Settings) -> bool:
    """Return whether a file of one photo can count as a duplicate of a file of the other."""
    if settings.reference and all(any(is_reference(f.path, settings) for f in p.files) for p in (one, other)):
        return False  # each has a file that is kept in any case
    if settings.folders == "all":
        return True
    here, there = ({root_of(f.path, settings.roots) for f in p.files} for p in (one, other))
    return bool(here & there) if settings.folders == "within" else len(here | there) > 1


def _compared(photos: Sequence[Photo], verdicts: Verdicts, settings: Settings, decisions: Decisions) -> _Compared:
    found = _Compared()
    sure = (verdicts.relation <= Relation.COPY) & (verdicts.copy >= settings.min_probability)
    shots = (verdicts.relation <= Relation.SIMILAR) & settings.include_similar  # unsure copies among them
    rows = np.flatnonzero(sure | shots)
    left, right = verdicts.left[rows], verdicts.right[rows]
    for row, a, b in zip(rows.tolist(), left.tolist(), right.tolist(), strict=True):
        if not _apart(photos[a], photos[b], decisions) and _countable(photos[a], photos[b], settings):
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
