"""One review: the groups of the last scan, what was decided of them, and what follows. Knows nothing of the web.

What is looked at is a group as the scan alone would have it, so that its number stays whatever is decided. What would
become of its photos is asked of group.py again after each decision, for the photos that hang together with it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from threading import RLock

import numpy as np

from dedup.actions import file_ops
from dedup.actions.plan import make_plan
from dedup.errors import ActionFailed, BadUsage
from dedup.files.stacks import Folders
from dedup.files.walk import files_in
from dedup.geometry.edits import describe_edits
from dedup.grouping.groups import components, group, matches
from dedup.pipeline.results import last_report
from dedup.report.cards import Card, Shot, cards, compared, shot
from dedup.store.store import Store
from dedup.types.groups import NOTHING_DECIDED, Decisions, Duplicate, Group
from dedup.types.pairs import PhotoPair
from dedup.types.plan import Plan
from dedup.types.report import Report

ORDERS: dict[str, tuple[str, Callable[[Card], tuple[float, int]]]] = {
    "path": ("By folder", lambda c: (0, c.number)),
    "bytes": ("Most to win back first", lambda c: (-c.bytes, c.number)),
    "sure": ("Surest first", lambda c: (-c.probability, c.number)),
    "doubtful": ("Least sure first", lambda c: (c.probability, c.number)),
}


@dataclass(frozen=True, slots=True)
class GroupFilter:
    """Which groups, in which order. Empty: all of them."""

    text: str = ""  # in a name or folder
    relation: str = ""
    least: float = 0.0  # probability of each of its photos
    status: str = ""  # open or decided
    order: str = "path"


@dataclass(frozen=True, slots=True)
class PlannedFate:
    """What would become of one photo now: keep, go, or apart (in no group any more)."""

    role: str
    marked: bool  # the user said so of it
    keeper: str  # SHA-256 of what is kept in its place


class Review:
    """The state of one server. Every method may be called from any thread."""

    def __init__(self, db: str) -> None:
        self.db = db
        self.lock = RLock()
        self._done: list[tuple[Decisions, Decisions, int]] = []  # added, removed, group
        with Store(db) as store:
            self._load(last_report(store))

    def _load(self, report: Report) -> None:
        self.report, self.decisions = report, report.decisions
        photos, settings = report.photos.photos, report.run.settings
        plain = group(photos, report.verdicts, settings)
        self.cards = list(cards(plain, photos, settings, report.verified))
        self._index_of = {p.sha256: i for i, p in enumerate(photos)}
        self._texts = ["\n".join(card.paths).lower() for card in self.cards]
        self._matched = matches(photos, report.verdicts, settings, NOTHING_DECIDED)
        self._parts = [sorted(c) for c in components(self._matched, set(self._matched))]
        self._part = np.full(len(photos), -1)
        for n, members in enumerate(self._parts):
            self._part[members] = n
        left, right = self._part[report.verdicts.left], self._part[report.verdicts.right]
        self._rows: dict[int, list[int]] = defaultdict(list)  # of the verdicts within each part
        for row in np.flatnonzero((left >= 0) & (left == right)).tolist():
            self._rows[int(left[row])].append(row)
        self._card_of = {s.index: card for card in self.cards for s in card.shots}
        self._keeper_of: dict[int, int] = {}  # photo -> what is kept of the group it is in now
        self._duplicate: dict[int, Duplicate] = {}  # photo -> what it is to that one
        for g in report.groups:
            self._enter(g)
        self._won: dict[int, int] = {}  # group -> bytes, of those that are decided
        for card in self.cards:
            self._weigh(card.number)

    def _enter(self, g: Group) -> None:
        self._keeper_of |= dict.fromkeys((g.keeper, *(d.photo for d in g.duplicates)), g.keeper)
        self._duplicate |= {d.photo: d for d in g.duplicates}

    def _weigh(self, number: int) -> None:
        card = self.card(number)
        self._won.pop(number, None)
        if self._settled(card):
            self._won[number] = self.won(card)

    def refresh(self) -> None:
        """Take over what a scan or a mark of another program has changed."""
        with self.lock, Store(self.db) as store:
            run = store.last_run()
            if run is not None and (run.started_at, run.ended_at) != self._when():
                self._load(last_report(store))
            elif store.decisions() != self.decisions:
                self._decided(store.decisions(), self._card_of)

    def _when(self) -> tuple[float, float]:
        return self.report.run.started_at, self.report.run.ended_at

    # What there is

    def wanted(self, wanted: GroupFilter) -> list[Card]:
        """Return the groups wanted, in the order wanted."""
        text = wanted.text.strip().lower()
        with self.lock:
            found = [
                card
                for card, names in zip(self.cards, self._texts, strict=True)
                if text in names
                and (not wanted.relation or card.relation.word == wanted.relation)
                and card.probability >= wanted.least
                and self._of_status(card, wanted)
            ]
        return sorted(found, key=ORDERS[wanted.order][1])

    def _of_status(self, card: Card, wanted: GroupFilter) -> bool:
        return not wanted.status or self.settled(card) == (wanted.status == "decided")

    def card(self, number: int) -> Card:
        """Return a group by its number, with every photo that would go for one of its own. Raises BadUsage.

        Who keeps another photo than the proposed one may gain duplicates that the proposed one did not match.
        """
        if not 1 <= number <= len(self.cards):
            raise BadUsage(f"there is no group {number}")
        card, photos, settings = self.cards[number - 1], self.report.photos.photos, self.report.run.settings
        mine = {s.index for s in card.shots}
        part = int(self._part[card.shots[0].index])
        guests = [i for i in self._parts[part] if i not in mine and self._keeper_of.get(i) in mine] if part >= 0 else []
        done = describe_edits(photos, self.report.verified)
        shots = (compared(photos, self._keeper_of[i], self._duplicate[i], settings, done) for i in guests)
        return replace(card, shots=(*card.shots, *shots)) if guests else card

    def shot(self, sha256: str) -> Shot | None:
        """Return a photo that is in a group, or hangs together with one that is, by its SHA-256."""
        index = self._index_of.get(sha256, -1)
        if index < 0 or (index not in self._card_of and self._part[index] < 0):
            return None
        return shot(self.report.photos.photos, index, self.report.run.settings)

    def couple(self, left: str, right: str) -> tuple[Report, PhotoPair | None]:
        """Return the report, and the numbers in it of two photos by their SHA-256; None if they do not match."""
        with self.lock:
            a, b = (self._index_of.get(sha256, -1) for sha256 in (left, right))
            return self.report, (a, b) if b in self._matched.get(a, {}) else None

    def sha256(self, index: int) -> str:
        """Return the SHA-256 of a photo by its number."""
        return self.report.photos.photos[index].sha256

    def beside(self, number: int, wanted: GroupFilter) -> tuple[int, int]:
        """Return the groups before and after this one of those wanted; 0 where there is none.

        The group itself need not be wanted any more: a decision may have taken it off the list.
        """
        order = self.wanted(replace(wanted, status=""))
        at = next((n for n, card in enumerate(order) if card.number == number), -1)
        before = (card.number for card in reversed(order[: max(at, 0)]) if self._of_status(card, wanted))
        after = (card.number for card in order[at + 1 :] if self._of_status(card, wanted))
        return next(before, 0), next(after, 0)

    def fate(self, shot: Shot) -> PlannedFate:
        kept = self.decisions.kept
        keeper = self._keeper_of.get(shot.index)
        if keeper is None:
            return PlannedFate("apart", True, "")
        sha256 = self.report.photos.photos[keeper].sha256
        marked = shot.photo.sha256 in kept
        return PlannedFate("keep" if marked or keeper == shot.index else "go", marked, sha256)

    def settled(self, card: Card) -> bool:
        """Return whether nothing would happen to any photo of the group that the user did not decide."""
        return card.number in self._won

    def _settled(self, card: Card) -> bool:
        photos = self.report.photos.photos
        keepers = {self._keeper_of[s.index] for s in card.shots if s.index in self._keeper_of}
        return all(photos[k].sha256 in self.decisions.kept for k in keepers)

    def won(self, card: Card) -> int:
        """Return the bytes that would go of this group, as it stands."""
        fates = [(s, self.fate(s)) for s in card.shots]
        going = [(s.photo.size, len(s.photo.files)) for s, f in fates if f.role == "go"]
        going += [(s.photo.size, len(s.photo.files) - 1) for s, f in fates if f.keeper == s.photo.sha256]
        return sum(size * files for size, files in going)

    def totals(self) -> dict[str, int]:
        return {"groups": len(self.cards), "decided": len(self._won), "bytes": sum(self._won.values())}

    # What is decided

    def decide(self, number: int, action: str, sha256: str = "") -> list[int]:
        """Decide of a group, at once and for good; return the groups that this changes anything for.

        accept: as it stands. keep: this photo instead of what matches it. all: every one. apart: this photo is no
        duplicate of the others. forget: nothing that was said of them. Raises BadUsage.
        """
        with self.lock:
            return self._step(*self._meaning(self.card(number), action, sha256), number)

    def _meaning(self, card: Card, action: str, sha256: str) -> tuple[Decisions, Decisions]:
        members = [s.photo.sha256 for s in card.shots]
        if action in ("keep", "apart") and sha256 not in members:
            raise BadUsage("this photo is not in the group")
        among = frozenset((a, b) for a, b in combinations(sorted(members), 2))
        with_it = frozenset(pair for pair in among if sha256 in pair)
        photos = self.report.photos.photos
        if action == "accept":
            keepers = {self._keeper_of[s.index] for s in card.shots if s.index in self._keeper_of}
            return Decisions(kept=frozenset(photos[k].sha256 for k in keepers)), NOTHING_DECIDED
        if action == "keep":
            near = {photos[i].sha256 for i in self._matched.get(self._index_of[sha256], {})}
            return Decisions(kept=frozenset([sha256])), Decisions(kept=frozenset(near & set(members)))
        if action == "all":
            return Decisions(kept=frozenset(members)), NOTHING_DECIDED
        if action == "apart" and len(members) > 1:
            return Decisions(apart=with_it), Decisions(kept=frozenset([sha256]))
        if action == "forget":
            return NOTHING_DECIDED, Decisions(among, frozenset(members))
        raise BadUsage(f"no such decision: {action}")

    def accept(self, numbers: Sequence[int]) -> None:
        """Decide of many groups as they stand; one step to be taken back."""
        with self.lock:
            kept = [self._meaning(self.card(n), "accept", "")[0].kept for n in numbers]
            self._step(Decisions(kept=frozenset().union(*kept)), NOTHING_DECIDED, numbers[0])

    def take_back(self) -> tuple[int, list[int]]:
        """Take the last decision of this review back; return its group and those it changes. Raises BadUsage."""
        with self.lock:
            if not self._done:
                raise BadUsage("nothing to take back")
            added, removed, number = self._done[-1]
            _, changed = self._store(removed, added)
            self._done.pop()
            return number, changed

    def _step(self, add: Decisions, instead: Decisions, number: int) -> list[int]:
        difference, changed = self._store(add, instead)
        if difference != (NOTHING_DECIDED, NOTHING_DECIDED):
            self._done.append((*difference, number))
        return changed

    def _store(self, add: Decisions, instead: Decisions) -> tuple[tuple[Decisions, Decisions], list[int]]:
        """Return what is new and what is gone among the decisions, and the groups that this changes."""
        with Store(self.db, changing=True) as store:
            before = store.decisions()
            store.decide(add, instead=instead)
            after = store.decisions()
        added = Decisions(after.apart - before.apart, after.kept - before.kept)
        removed = Decisions(before.apart - after.apart, before.kept - after.kept)
        shas = {sha for d in (added, removed) for sha in (*d.kept, *(s for pair in d.apart for s in pair))}
        touched = {self._index_of[sha] for sha in shas if sha in self._index_of}
        return (added, removed), self._decided(after, touched)

    def _decided(self, decisions: Decisions, photos: Iterable[int]) -> list[int]:
        """Take these decisions for what holds, and see to what they change: all that hangs together with photos."""
        self.decisions = decisions
        touched = set(photos)
        parts = {int(self._part[i]) for i in touched}
        for part in parts - {-1}:
            self._group_anew(part)
        members = touched.union(*(self._parts[part] for part in parts - {-1}))
        changed = {self._card_of[i].number for i in members if i in self._card_of}
        for number in changed:
            self._weigh(number)
        return sorted(changed)

    def _group_anew(self, part: int) -> None:
        """Ask group.py again about photos that hang together; those of no part have nothing to be asked."""
        report, members = self.report, self._parts[part]
        some = report.verdicts.rows(np.array(self._rows[part], np.int64))
        left, right = np.searchsorted(members, some.left), np.searchsorted(members, some.right)
        some = replace(some, left=left, right=right)
        for i in members:
            self._keeper_of.pop(i, None)
            self._duplicate.pop(i, None)
        photos = [report.photos.photos[i] for i in members]
        for g in group(photos, some, report.run.settings, self.decisions):
            inside = tuple(replace(d, photo=members[d.photo]) for d in g.duplicates)
            self._enter(Group(members[g.keeper], inside))

    # What follows

    def plan(self, *, everything: bool, linking: bool = False) -> Plan:
        """Return what would be done on disk, of the store as it is now: of what was decided, or of all groups."""
        with Store(self.db) as store:
            return planned(last_report(store), everything=everything, linking=linking)


def state_of(shot: Shot) -> str:
    """Return in words if the file is not what was scanned, empty if it is."""
    try:
        now = file_ops.stat_file(shot.file.path)
    except (ActionFailed, OSError):
        return "cannot be read any more"
    if now is None:
        return "gone since the scan"
    same = (now.size, now.mtime_ns) == (shot.file.size, shot.file.mtime_ns)
    return "" if same else "changed after the scan"


def planned(report: Report, *, everything: bool, linking: bool) -> Plan:
    """Return the plan of all groups, or of those whose keeper the user chose or accepted."""
    photos, kept = report.photos.photos, report.decisions.kept
    groups = [g for g in report.groups if everything or photos[g.keeper].sha256 in kept]
    return make_plan(replace(report, groups=groups), Folders(files_in), linking=linking)
