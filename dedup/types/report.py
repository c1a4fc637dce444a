"""What a scan found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dedup.types.arrays import Indices
from dedup.types.groups import NOTHING_DECIDED, Decisions, Group
from dedup.types.pairs import (
    NOTHING_VERIFIED,
    Scores,
    Verdicts,
    Verified,
)
from dedup.types.photo import Skipped
from dedup.types.photo_table import PhotoColumns
from dedup.types.settings import Settings


@dataclass(frozen=True)
class Report:
    """What one scan found. Files found = files of photos + skipped."""

    run: Run
    photos: Photos
    skipped: list[Skipped]
    verdicts: Verdicts
    groups: list[Group]
    decisions: Decisions = NOTHING_DECIDED
    verified: Verified = NOTHING_VERIFIED
    new_failures: int = 0  # skipped files that the scan before did not report


@dataclass(frozen=True)
class Compared:
    """What comparing photos gives.

    scores: what the head said of the candidates.   recall: of the search.   fresh: they are not those of the last scan.
    """

    photos: Photos
    scores: Scores
    verdicts: Verdicts
    groups: list[Group]
    verified: Verified
    recall: float
    fresh: bool


@dataclass(frozen=True, slots=True)
class Totals:
    """What a scan found, counted."""

    files: int
    photos: int  # files that are one
    groups: int
    duplicates: int  # files of groups besides those to keep
    bytes: int  # of the duplicates
    skipped: int  # files that should have been photos
    other: int  # files that are plainly something else
    across: int  # duplicates in another root than their keeper
    new_failures: int  # of the skipped, those that the scan before did not report


@dataclass(frozen=True, slots=True)
class Run:
    """A finished scan. Times in seconds since the epoch; recall is that of the candidate search."""

    started_at: float
    ended_at: float
    roots: tuple[str, ...]
    settings: Settings
    weights_name: str
    recall: float
    contents: bytes  # stands for the set of photos found


@dataclass(frozen=True, slots=True)
class Attempt:
    """A scan that was begun. Times in seconds since the epoch; without an end it was killed, or still runs."""

    started_at: float
    ended_at: float | None
    roots: tuple[str, ...]
    outcome: str | None  # finished, stopped or failed
    result: dict[str, Any]  # figures of a finished scan; "error" of one that failed or was stopped


@dataclass(frozen=True)
class Photos:
    """The photos of a run, in the order of their SHA-256; ids[i] is what the database calls photo i."""

    photos: PhotoColumns
    ids: Indices
