"""Groups -> cards: what the report and the review show of a group. Opens no file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dedup.files.object_store import is_uri
from dedup.geometry.edits import DescribeEdit, describe_edits
from dedup.grouping.members import in_order, members, promised, reclaimed
from dedup.grouping.ranking import best_files
from dedup.languages.language import Language
from dedup.report.text import printable
from dedup.types.groups import NOTHING_DECIDED, Decisions, Duplicate, Group
from dedup.types.message import Message
from dedup.types.pairs import NOTHING_VERIFIED, Relation, Verified
from dedup.types.photo import File, Photo
from dedup.types.settings import Settings


@dataclass(frozen=True, slots=True)
class Shot:
    """One photo of a group. The fields that relate it to the keeper are empty for the keeper."""

    index: int  # photo number
    photo: Photo
    file: File  # the file to keep of those with these bytes
    copies: tuple[File, ...]  # the other files with these bytes that count
    relation: Relation | None
    probability: float
    reason: str  # why the keeper is preferred
    changes: tuple[str, ...]  # differences from the keeper, in words
    keeper: int  # photo number of the keeper; its own for the keeper
    root: str = ""  # of its group

    @property
    def folder(self) -> str:
        return os.path.dirname(self.file.path)

    @property
    def name(self) -> str:
        return os.path.basename(self.file.path)


@dataclass(frozen=True, slots=True)
class Card:
    """One group, the keeper first."""

    number: int  # as in every other report, from 1
    shots: tuple[Shot, ...]
    bytes: int  # that removing the duplicates frees; none of what is protected or a hard link of the keeper

    @property
    def relation(self) -> Relation:
        """The most distant relation in the group."""
        return max((s.relation for s in self.shots if s.relation is not None), default=Relation.EXACT)

    @property
    def probability(self) -> float:
        """The lowest probability in the group."""
        return min((s.probability for s in self.shots), default=1.0)

    @property
    def paths(self) -> list[str]:
        return [f.path for s in self.shots for f in (s.file, *s.copies)]


def cards(
    groups: Sequence[Group],
    photos: Sequence[Photo],
    settings: Settings,
    verified: Verified = NOTHING_VERIFIED,
    decisions: Decisions = NOTHING_DECIDED,
) -> Iterator[Card]:
    """Yield a card a group, in the order and with the numbers of every other report."""
    done = describe_edits(photos, verified)
    for number, group in enumerate(in_order(groups, photos, settings), 1):
        shots = shots_of(group, photos, settings, done)
        yield Card(number, tuple(shots), reclaimed(promised(group, photos, settings, decisions)))


def shots_of(group: Group, photos: Sequence[Photo], settings: Settings, done: DescribeEdit) -> list[Shot]:
    """Return the photos of a group, the keeper first."""
    files = members(group, photos, settings)
    alone = Shot(group.keeper, photos[group.keeper], files.keeper, files.copies, None, 1.0, "", (), group.keeper)
    shots = [alone]
    shots += (
        _compared(photos, group.keeper, d, counted, done)
        for d, counted in zip(group.duplicates, files.files, strict=True)
    )
    return [replace(s, root=group.root) for s in shots]


def shot(photos: Sequence[Photo], index: int, settings: Settings) -> Shot:
    """Return a photo as itself."""
    file, *copies = best_files(photos[index], settings)
    return Shot(index, photos[index], file, tuple(copies), None, 1.0, "", (), index)


def _compared(photos: Sequence[Photo], keeper: int, d: Duplicate, files: Sequence[File], done: DescribeEdit) -> Shot:
    """Return a photo as a duplicate of another."""
    words = changes(photos[keeper], photos[d.photo], d.relation, done(keeper, d.photo))
    if d.lost:
        words = (Message("the kept one is {lost}", lost=d.lost), *words)
    file, *copies = files
    photo = photos[d.photo]
    return Shot(d.photo, photo, file, tuple(copies), d.relation, d.probability, d.reason, words, keeper)


def changes(kept: Photo, other: Photo, relation: Relation, done: str = "") -> tuple[str, ...]:
    """Return how the other photo differs from the kept one, by their headers, the most visible difference first.

    done: the edit that verification found, in words.
    """
    words = [done] if done else []
    if not done and (other.width, other.height) != (kept.width, kept.height):
        words.append(_resized(kept, other))
    if other.format != kept.format:
        words.append(Message("{found} instead of {whole}", found=other.format, whole=kept.format))
    if other.size * 1.05 < kept.size:
        words.append(Message("{share:.0%} fewer bytes", share=1 - other.size / kept.size))
    elif other.size > kept.size * 1.05:
        words.append(Message("{times:.1f} times the bytes", times=other.size / kept.size))
    metadata = _metadata(kept, other)
    words += [missing for missing, _, ours, theirs in metadata if ours and not theirs]
    words += [added for _, added, ours, theirs in metadata if theirs and not ours]
    if kept.taken_at and other.taken_at and kept.taken_at != other.taken_at:
        words.append(Message("other capture time"))
    same_pixels, same_shape = Message("same pixels, other metadata"), Message("same size and format")
    return tuple(words or [same_pixels if relation is Relation.IDENTICAL else same_shape])


def _resized(kept: Photo, other: Photo) -> Message:
    """Return how one shape became the other, with a tolerance of a pixel on each side."""
    w, h, width, height = kept.width, kept.height, other.width, other.height
    if abs(width * h - height * w) <= max(w, h):
        return Message("{share:.0%} of the width and height", share=width / w)
    if abs(width * w - height * h) <= max(w, h):
        if width == h:
            return Message("rotated 90°")
        return Message("rotated 90°, {share:.0%} of the size", share=width / h)
    return Message("other proportions: cropped, framed or stretched")


def _metadata(kept: Photo, other: Photo) -> list[tuple[Message, Message, object, object]]:
    """Return the facts that metadata can hold: how to say that it is missing, that it is there, and both values."""
    return [
        (Message("no capture time"), Message("has a capture time"), kept.taken_at, other.taken_at),
        (Message("no camera name"), Message("has a camera name"), kept.camera, other.camera),
        (Message("no location"), Message("has a location"), kept.gps, other.gps),
        (Message("no rating"), Message("has a rating"), kept.rating, other.rating),
    ]


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row of the table that compares the photos of a card. best: the positions of the better values."""

    title: Message
    values: tuple[str, ...]
    best: frozenset[int]


def table(shots: Sequence[Shot], language: Language) -> list[TableRow]:
    """Return the properties of photos, one value for each; better values are marked only where they differ."""
    photos, files = [s.photo for s in shots], [s.file for s in shots]
    taken = [language.moment(p.taken_at) if p.taken_at else "" for p in photos]
    yes = language.gettext("yes")
    more = [language.ngettext("{n} more", "{n} more", len(s.copies)) if s.copies else "" for s in shots]
    return [
        _row(Message("Pixels"), [f"{p.width} × {p.height}" for p in photos], [p.width * p.height for p in photos]),
        _row(Message("Bytes"), [language.bytes(p.size) for p in photos], [p.size for p in photos]),
        _row(Message("Format"), [p.format for p in photos]),
        _row(Message("Taken"), taken, [bool(p.taken_at) for p in photos]),
        _row(Message("Camera"), [p.camera or "" for p in photos], [bool(p.camera) for p in photos]),
        _row(Message("Location"), [yes if p.gps else "" for p in photos], [p.gps for p in photos]),
        _row(Message("Rating"), ["★" * (p.rating or 0) for p in photos], [p.rating or 0 for p in photos]),
        _row(
            Message("Modified"),
            [language.minute(f.mtime_ns / 1e9) for f in files],
            [-(f.mtime_ns // 1_000_000_000) for f in files],
        ),
        _row(Message("Same bytes"), more),
        _row(Message("Name"), [printable(s.name) for s in shots]),
        _row(Message("Folder"), [printable(s.folder) for s in shots]),
    ]


def _row(title: Message, values: list[str], worth: Sequence[float] = ()) -> TableRow:
    """Return a row. worth: the higher, the better; values that read the same are equally good."""
    best = {n for n, w in enumerate(worth) if w == max(worth)}
    tied = {values[n] for n in best} & {value for n, value in enumerate(values) if n not in best}
    return TableRow(title, tuple(values), frozenset() if tied or len(best) == len(values) else frozenset(best))


def file_uri(path: str) -> str:
    """Return the file: URI of a path, empty for an object in a store."""
    return "" if is_uri(path) else Path(path).as_uri()


RELATIONS = {
    Relation.EXACT: Message("exact"),
    Relation.IDENTICAL: Message("identical"),
    Relation.COPY: Message("copy"),
    Relation.VARIANT: Message("variant"),
    Relation.SIMILAR: Message("similar"),
}
ORDERS = {
    "path": Message("By folder"),
    "bytes": Message("Most space first"),
    "sure": Message("Highest match first"),
    "doubtful": Message("Lowest match first"),
}
