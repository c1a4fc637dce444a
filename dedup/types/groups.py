"""Groups of duplicates, and what the user decided of photos."""

from __future__ import annotations

from dataclasses import dataclass

from dedup.types.message import Message
from dedup.types.pairs import Relation


@dataclass(frozen=True, slots=True)
class Duplicate:
    """One photo of a group besides the keeper. All figures are those of the pair (keeper, duplicate)."""

    photo: int
    relation: Relation  # COPY if the keeper contains it, otherwise VARIANT or SIMILAR
    probability: float  # that both are one photograph
    similarity: float  # cosine
    reason: Message  # why the other one is kept
    lost: str = ""  # of a VARIANT: what the keeper is, or is without, so that something would be lost


@dataclass(frozen=True, slots=True)
class Group:
    """One photo to keep, and the photos that match it.

    A star, not a connected component: each duplicate was compared with the keeper itself,
    because an action may remove the duplicate and leave only the keeper.
    root: of a scan within roots, the one whose files these are; grouping/members.py tells the files of a group.
    """

    keeper: int
    duplicates: tuple[Duplicate, ...]
    root: str = ""


@dataclass(frozen=True, slots=True)
class Decisions:
    """What the user decided of photos, by their SHA-256, so that it outlives any name.

    apart: pairs that are no duplicates, the smaller digest first. kept: photos that are to be kept.
    """

    apart: frozenset[tuple[str, str]] = frozenset()
    kept: frozenset[str] = frozenset()


NOTHING_DECIDED = Decisions()
