"""One review: the groups of the last scan, the decisions on them, and the plan that follows. Knows nothing of the web.

The list shows the groups as the scan alone forms them, so that their numbers do not depend on decisions. After each
decision, grouping runs again for the photos connected with the changed ones; this gives each photo its planned fate.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256 as sha256_of
from itertools import combinations, product
from threading import RLock

import numpy as np

from dedup.actions import file_ops
from dedup.actions.plan import make_plan
from dedup.errors import ActionFailed, BadUsage
from dedup.files.stacks import Folders
from dedup.files.walk import files_in
from dedup.geometry.edits import describe_edits
from dedup.geometry.homography import inverse
from dedup.grouping.duplicate_folders import duplicate_folders, photos_by_folder
from dedup.grouping.groups import components, group, matches
from dedup.grouping.members import files_in_root, reclaimed
from dedup.grouping.ranking import best_files, protected
from dedup.pipeline.results import load_results
from dedup.report.cards import Card, Shot, cards, shot, shots_of
from dedup.store.store import Store
from dedup.types.arrays import Homography
from dedup.types.groups import NOTHING_DECIDED, Decisions, Duplicate, Group
from dedup.types.message import Message
from dedup.types.pairs import PhotoPair, Relation
from dedup.types.photo import File
from dedup.types.plan import Plan
from dedup.types.report import DuplicateFolder, Report

SORT_KEYS: dict[str, Callable[[Card], tuple[float, int]]] = {  # by the words of report.cards.ORDERS
    "path": lambda c: (0, c.number),
    "bytes": lambda c: (-c.bytes, c.number),
    "sure": lambda c: (-c.probability, c.number),
    "doubtful": lambda c: (c.probability, c.number),
}


_Member = tuple[str, int]  # the root of a group, empty if all are grouped together, and a photo of the group


@dataclass(frozen=True, slots=True)
class GroupFilter:
    """Which groups to list, and in which order. The default lists all of them."""

    text: str = ""  # in a file name or folder
    relation: str = ""
    least: float = 0.0  # lowest probability of any photo in the group
    status: str = ""  # open or decided
    order: str = "path"


@dataclass(frozen=True, slots=True)
class PlannedFate:
    """What the plan does with one photo: keep, remove, or separate (the photo is in no group any more)."""

    role: str
    marked: bool  # the user marked this photo
    keeper: str  # SHA-256 of the keeper of its group; empty for a separate one
    note: str = ""  # why a duplicate is kept that nobody marked


class Review:
    """The state of one server. Every method may be called from any thread."""

    def __init__(self, db: str) -> None:
        self.db = db
        self.lock = RLock()
        self._history: list[tuple[Decisions, Decisions, int]] = []  # added, removed, group number
        with Store(db) as store:
            self._load(load_results(store))

    def _load(self, report: Report) -> None:
        self.report, self.decisions = report, report.decisions
        photos, settings = report.photos.photos, report.run.settings
        undecided = group(photos, report.verdicts, settings)
        self.cards = list(cards(undecided, photos, settings, report.verified))
        self._roots = ("", *settings.roots)  # of groups
        self._photos_by_folder = photos_by_folder(report)
        self._folders: list[DuplicateFolder] | None = None  # by the decisions so far
        self._index_of = {p.sha256: i for i, p in enumerate(photos)}
        self._texts = ["\n".join(card.paths).lower() for card in self.cards]
        self._matches = matches(photos, report.verdicts, settings, NOTHING_DECIDED)
        self._index_components(report)
        self._numbers_of: dict[int, list[int]] = defaultdict(list)  # photo -> its groups in the list
        for card in self.cards:
            for s in card.shots:
                self._numbers_of[s.index].append(card.number)
        self._keeper_of: dict[_Member, int] = {}  # the keeper of the group that a photo is in now
        self._duplicate: dict[_Member, Duplicate] = {}  # its relation to that keeper
        for g in report.groups:
            self._add_group(g)
        self._reclaimed: dict[int, int] = {}  # number of a decided group -> bytes that its plan frees
        for card in self.cards:
            self._update_reclaimed(card.number)

    def _index_components(self, report: Report) -> None:
        """Index the connected components of the match graph: a decision can only affect its own component."""
        self._components = [sorted(c) for c in components(self._matches, set(self._matches))]
        self._component_of = np.full(len(report.photos.photos), -1)  # -1: matches no other photo
        for n, members in enumerate(self._components):
            self._component_of[members] = n
        left, right = self._component_of[report.verdicts.left], self._component_of[report.verdicts.right]
        self._rows: dict[int, list[int]] = defaultdict(list)  # component -> rows of its verdicts
        for row in np.flatnonzero((left >= 0) & (left == right)).tolist():
            self._rows[int(left[row])].append(row)

    def _add_group(self, g: Group) -> None:
        self._keeper_of |= {(g.root, i): g.keeper for i in (g.keeper, *(d.photo for d in g.duplicates))}
        self._duplicate |= {(g.root, d.photo): d for d in g.duplicates}

    def _update_reclaimed(self, number: int) -> None:
        card = self.card(number)
        self._reclaimed.pop(number, None)
        if self._all_keepers_marked(card):
            self._reclaimed[number] = self.reclaimable(card)

    def refresh(self) -> None:
        """Load what another program has changed since: a new scan, or new decisions."""
        with self.lock, Store(self.db) as store:
            run = store.runs.last()
            if run is not None and (run.started_at, run.ended_at) != self._scanned_at():
                self._load(load_results(store))
            elif store.decisions.load() != self.decisions:
                self._regroup(store.decisions.load(), self._numbers_of)

    def _scanned_at(self) -> tuple[float, float]:
        return self.report.run.started_at, self.report.run.ended_at

    # Listing

    def listed(self, chosen: GroupFilter) -> list[Card]:
        """Return the groups that pass the filter, in its order."""
        text = chosen.text.strip().lower()
        with self.lock:
            found = [
                card
                for card, names in zip(self.cards, self._texts, strict=True)
                if text in names
                and (not chosen.relation or card.relation.word == chosen.relation)
                and card.probability >= chosen.least
                and self._has_status(card, chosen)
            ]
        return sorted(found, key=SORT_KEYS[chosen.order])

    def folders(self) -> list[tuple[DuplicateFolder, int]]:
        """Return the folders whose photos all have a kept copy elsewhere, by the decisions so far, and how many groups
        of each are open.
        """
        with self.lock:
            if self._folders is None:
                now = replace(self.report, groups=self._groups(), decisions=self.decisions)
                self._folders = duplicate_folders(now, self._photos_by_folder)
            return [(folder, len(self._open_in(folder))) for folder in self._folders]

    def accept_folder(self, shown: str) -> int:
        """Accept all open groups that hold a photo of a folder, as one step for undo(); return how many there were.

        shown: fingerprint of the folder. Raises BadUsage if it is another one by now.
        """
        with self.lock:
            folder = next((folder for folder, _ in self.folders() if folder_fingerprint(folder) == shown), None)
            numbers = self._open_in(folder) if folder else []
            if not numbers:
                raise BadUsage(
                    Message("this folder has changed since it was shown; nothing was decided. Check it again")
                )
            self.accept(numbers)
            return len(numbers)

    def _groups(self) -> list[Group]:
        """Return the groups that the decisions so far give, in no particular order."""
        stars: dict[_Member, list[Duplicate]] = {}
        for (root, photo), keeper in self._keeper_of.items():
            star = stars.setdefault((root, keeper), [])
            star += [] if photo == keeper else [self._duplicate[root, photo]]
        return [Group(keeper, tuple(star), root) for (root, keeper), star in stars.items()]

    def _open_in(self, folder: DuplicateFolder) -> list[int]:
        """Return the numbers of the open groups that hold a photo of a folder."""
        inside = os.path.join(folder.path, "")
        return [c.number for c in self.cards if not self.is_decided(c) and any(p.startswith(inside) for p in c.paths)]

    def _has_status(self, card: Card, chosen: GroupFilter) -> bool:
        return not chosen.status or self.is_decided(card) == (chosen.status == "decided")

    def card(self, number: int) -> Card:
        """Return a group by its number, with every photo that would be removed in favour of one of its members.

        Keeping another photo than the proposed one can add duplicates that only this other photo matches.
        Raises BadUsage if there is no such group.
        """
        if not 1 <= number <= len(self.cards):
            raise BadUsage(Message("there is no group {number}", number=number))
        card, photos, settings = self.cards[number - 1], self.report.photos.photos, self.report.run.settings
        own, root = {s.index for s in card.shots}, card.shots[0].root
        component = int(self._component_of[card.shots[0].index])
        connected = self._components[component] if component >= 0 else []
        added = [i for i in connected if i not in own and self._keeper_of.get((root, i)) in own]
        done = describe_edits(photos, self.report.verified)
        pairs = (Group(self._keeper_of[root, i], (self._duplicate[root, i],), root) for i in added)
        shots = (shots_of(pair, photos, settings, done)[1] for pair in pairs)
        return replace(card, shots=(*card.shots, *shots)) if added else card

    def shot(self, sha256: str) -> Shot | None:
        """Return a photo by its SHA-256 if it is in a group or matches a photo that is."""
        index = self._index_of.get(sha256, -1)
        if index < 0 or (index not in self._numbers_of and self._component_of[index] < 0):
            return None
        return shot(self.report.photos.photos, index, self.report.run.settings)

    def pair(self, left: str, right: str) -> tuple[Report, PhotoPair | None]:
        """Return the report, and the numbers in it of two photos by their SHA-256; None if they do not match."""
        with self.lock:
            a, b = (self._index_of.get(sha256, -1) for sha256 in (left, right))
            return self.report, (a, b) if b in self._matches.get(a, {}) else None

    def transform(self, first: int, second: int) -> Homography | None:
        """Return the homography from one photo to another that verification found, by their numbers; None if none."""
        verified, (left, right) = self.report.verified, sorted((first, second))
        rows = np.flatnonzero((verified.left == left) & (verified.right == right))
        if not len(rows):
            return None
        found: Homography = verified.transform[rows[0]]
        return inverse(found) if first > second else found

    def sha256(self, index: int) -> str:
        """Return the SHA-256 of a photo by its number."""
        return self.report.photos.photos[index].sha256

    def short_folder(self, shot: Shot) -> str:
        """Return the folder of a photo, without what lies above the scanned folder that holds it."""
        folder = shot.folder
        above = [root.rstrip(os.sep) for root in self.report.run.roots]
        root = max((r for r in above if folder == r or folder.startswith(r + os.sep)), key=len, default="")
        return folder.removeprefix(os.path.dirname(root)).lstrip(os.sep) if root else folder

    def neighbours(self, number: int, chosen: GroupFilter) -> tuple[int, int]:
        """Return the numbers of the groups before and after this one in the list; 0 where there is none.

        The group itself need not be in the list any more: a decision may have taken it off.
        """
        order = self.listed(replace(chosen, status=""))
        at = next((n for n, card in enumerate(order) if card.number == number), -1)
        before = (card.number for card in reversed(order[: max(at, 0)]) if self._has_status(card, chosen))
        after = (card.number for card in order[at + 1 :] if self._has_status(card, chosen))
        return next(before, 0), next(after, 0)

    def fate(self, shot: Shot) -> PlannedFate:
        """Return what the plan does with a photo, by the decisions so far."""
        kept = self.decisions.kept
        keeper = self._keeper_of.get((shot.root, shot.index))
        if keeper is None:
            return PlannedFate("separate", True, "")
        sha256 = self.report.photos.photos[keeper].sha256
        if keeper == shot.index or shot.photo.sha256 in kept:
            return PlannedFate("keep", shot.photo.sha256 in kept, sha256)
        note = self._retained(shot, self._duplicate[shot.root, shot.index])
        return PlannedFate("keep" if note else "remove", False, sha256, note)

    def _retained(self, shot: Shot, duplicate: Duplicate) -> str:
        """Return why a plan keeps a duplicate by default, empty if it does not."""
        if duplicate.relation is Relation.VARIANT:
            return Message("a variant: the keeper is {lost}", lost=duplicate.lost)
        if duplicate.relation is Relation.SIMILAR:
            return Message("only similar, so it is not removed")
        files = (shot.file, *shot.copies)
        all_protected = all(protected(f.path, self.report.run.settings) for f in files)
        return Message("in a protected folder") if all_protected else ""

    def fingerprint(self, shown: Iterable[Card]) -> str:
        """Return a digest of the photos of groups and what the plan does with each.

        A page sends it with a decision, so that a decision is never stored for anything that the page did not show.
        """
        lines = (f"{card.number} {s.photo.sha256} {self.fate(s)}\n" for card in shown for s in card.shots)
        return sha256_of("".join(lines).encode()).hexdigest()

    def is_decided(self, card: Card) -> bool:
        """Return whether the user chose or accepted every keeper of the group."""
        return card.number in self._reclaimed

    def _all_keepers_marked(self, card: Card) -> bool:
        photos = self.report.photos.photos
        return all(photos[k].sha256 in self.decisions.kept for k in self._keepers(card))

    def _keepers(self, card: Card) -> set[int]:
        keepers = (self._keeper_of.get((s.root, s.index)) for s in card.shots)
        return {keeper for keeper in keepers if keeper is not None}

    def reclaimable(self, card: Card) -> int:
        """Return the bytes that the plan frees in this group, by the decisions so far."""
        return reclaimed(f for s in card.shots for f in self.removed_files(s))

    def removed_files(self, shot: Shot) -> list[File]:
        """Return the files of a photo that the plan removes, by the decisions so far."""
        fate, settings = self.fate(shot), self.report.run.settings
        files = [shot.file, *shot.copies]
        if fate.role == "remove":
            kept = self.report.photos.photos[self._index_of[fate.keeper]]
        elif fate.keeper == shot.photo.sha256:
            kept, files = shot.photo, [*shot.copies]
        else:
            return []
        keeper = next(iter(files_in_root(best_files(kept, settings), shot.root, settings)))
        own = (keeper.device, keeper.inode)
        return [f for f in files if not protected(f.path, settings) and (f.device, f.inode) != own]

    def totals(self) -> dict[str, int]:
        return {"groups": len(self.cards), "decided": len(self._reclaimed), "bytes": sum(self._reclaimed.values())}

    # Deciding

    def decide(self, number: int, action: str, sha256: str = "") -> list[int]:
        """Store a decision on a group; return the numbers of the groups that it changes.

        accept: keep the keepers as proposed. keep: keep this photo instead of those that match it. toggle: keep this
        photo besides the others that are kept, or no longer. keep-all: keep every photo. not-duplicate: this one is no
        duplicate of the others. clear: forget the decisions on this group. Raises BadUsage.
        """
        with self.lock:
            return self._decide(*self._changes(self.card(number), action, sha256), number)

    def _changes(self, card: Card, action: str, sha256: str) -> tuple[Decisions, Decisions]:
        """Return the decisions to add and those to remove for an action."""
        members = [s.photo.sha256 for s in card.shots]
        if action in ("keep", "toggle", "not-duplicate") and sha256 not in members:
            raise BadUsage(Message("this photo is not in the group"))
        among = frozenset((a, b) for a, b in combinations(sorted(members), 2))
        with_it = frozenset(pair for pair in among if sha256 in pair)
        photos = self.report.photos.photos
        if action == "accept":
            return Decisions(kept=frozenset(photos[k].sha256 for k in self._keepers(card))), NOTHING_DECIDED
        if action == "keep":
            matching = {photos[i].sha256 for i in self._matches.get(self._index_of[sha256], {})}
            return Decisions(kept=frozenset([sha256])), Decisions(kept=frozenset(matching & set(members)))
        if action == "toggle":
            return self._toggled(card, sha256)
        if action == "keep-all":
            return Decisions(kept=frozenset(members)), NOTHING_DECIDED
        if action == "not-duplicate" and len(members) > 1:
            return Decisions(apart=with_it), Decisions(kept=frozenset([sha256]))
        if action == "clear":
            return NOTHING_DECIDED, Decisions(among, frozenset(members))
        raise BadUsage(f"there is no such decision: {action}")

    def _toggled(self, card: Card, sha256: str) -> tuple[Decisions, Decisions]:
        """Return the changes after which one photo more or less is kept, and the fates of the others are as shown."""
        fates = {s.photo.sha256: self.fate(s) for s in card.shots}
        if fates[sha256].note or fates[sha256].role == "separate":
            why = fates[sha256].note or Message("it is in no group")
            raise BadUsage(Message("it is kept anyway: {reason}", reason=why))
        kept = {sha for sha, fate in fates.items() if fate.role == "keep" and not fate.note} ^ {sha256}
        if not kept:
            raise BadUsage(Message("keep at least one photo of the group"))
        return Decisions(kept=frozenset(kept)), Decisions(kept=frozenset(fates.keys() - kept))

    def accept(self, numbers: Sequence[int]) -> None:
        """Accept many groups as proposed, as one step for undo()."""
        with self.lock:
            kept = [self._changes(self.card(n), "accept", "")[0].kept for n in numbers]
            self._decide(Decisions(kept=frozenset().union(*kept)), NOTHING_DECIDED, numbers[0])

    def undo(self) -> tuple[int, list[int]]:
        """Undo the last decision of this review; return its group and the groups that this changes. Raises BadUsage."""
        with self.lock:
            if not self._history:
                raise BadUsage(Message("there is no decision to undo"))
            added, removed, number = self._history[-1]
            _, changed = self._store(removed, added)
            self._history.pop()
            return number, changed

    def _decide(self, add: Decisions, remove: Decisions, number: int) -> list[int]:
        difference, changed = self._store(add, remove)
        if difference != (NOTHING_DECIDED, NOTHING_DECIDED):
            self._history.append((*difference, number))
        return changed

    def _store(self, add: Decisions, remove: Decisions) -> tuple[tuple[Decisions, Decisions], list[int]]:
        """Return the decisions that were really added and removed, and the groups that this changes."""
        with Store(self.db, changing=True) as store:
            before = store.decisions.load()
            store.decisions.add(add, instead=remove)
            after = store.decisions.load()
        added = Decisions(after.apart - before.apart, after.kept - before.kept)
        removed = Decisions(before.apart - after.apart, before.kept - after.kept)
        shas = {sha for d in (added, removed) for sha in (*d.kept, *(s for pair in d.apart for s in pair))}
        touched = {self._index_of[sha] for sha in shas if sha in self._index_of}
        return (added, removed), self._regroup(after, touched)

    def _regroup(self, decisions: Decisions, photos: Iterable[int]) -> list[int]:
        """Use these decisions, and group the components of these photos again; return the groups that this changes."""
        self.decisions, self._folders = decisions, None
        touched = set(photos)
        parts = {int(self._component_of[i]) for i in touched} - {-1}
        for part in parts:
            self._regroup_component(part)
        members = touched.union(*(self._components[part] for part in parts))
        changed = {number for i in members for number in self._numbers_of.get(i, ())}
        for number in changed:
            self._update_reclaimed(number)
        return sorted(changed)

    def _regroup_component(self, component: int) -> None:
        report, members = self.report, self._components[component]
        verdicts = report.verdicts.rows(np.array(self._rows[component], np.int64))
        left, right = np.searchsorted(members, verdicts.left), np.searchsorted(members, verdicts.right)
        for member in product(self._roots, members):
            self._keeper_of.pop(member, None)
            self._duplicate.pop(member, None)
        photos = [report.photos.photos[i] for i in members]
        for g in group(photos, replace(verdicts, left=left, right=right), report.run.settings, self.decisions):
            duplicates = tuple(replace(d, photo=members[d.photo]) for d in g.duplicates)
            self._add_group(Group(members[g.keeper], duplicates, g.root))

    # Planning

    def plan(self, *, everything: bool, linking: bool = False) -> Plan:
        """Return what apply would do now: with the decided groups, or with all of them."""
        with Store(self.db) as store:
            return planned(load_results(store), everything=everything, linking=linking)


def folder_fingerprint(folder: DuplicateFolder) -> str:
    """Return a digest of what a page says of a folder."""
    return sha256_of(repr(folder).encode()).hexdigest()


def state_of(shot: Shot) -> str:
    """Return in words how the file differs from what was scanned, empty if it does not."""
    try:
        now = file_ops.stat_file(shot.file.path)
    except (ActionFailed, OSError):
        return Message("no longer readable")
    if now is None:
        return Message("gone since the scan")
    same = (now.size, now.mtime_ns) == (shot.file.size, shot.file.mtime_ns)
    return "" if same else Message("changed after the scan")


def planned(report: Report, *, everything: bool, linking: bool) -> Plan:
    """Return the plan for all groups, or for those whose keeper the user chose or accepted."""
    photos, kept = report.photos.photos, report.decisions.kept
    groups = [g for g in report.groups if everything or photos[g.keeper].sha256 in kept]
    return make_plan(replace(report, groups=groups), Folders(files_in), linking=linking)
