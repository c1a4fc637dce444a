"""What a scan found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    """The result of a scan. Every file found is a file of a photo or is skipped."""

    run: Run
    photos: Photos
    skipped: list[Skipped]
    verdicts: Verdicts
    groups: list[Group]
    decisions: Decisions = NOTHING_DECIDED
    verified: Verified = NOTHING_VERIFIED
    new_failures: int = 0  # skipped files that the scan before did not report
    unverified: int = 0  # pairs that should have been verified and could not be; they are in no group


@dataclass(frozen=True, slots=True)
class DuplicateFolder:
    """A folder whose photos, with those in all folders below it, have a kept copy elsewhere.

    photos: files.   bytes: of these, hard links counted once.   others: files that are no photos, or cannot be read.
    kept_in: the innermost folder that holds all of the kept copies; "" if there is none.
    """

    path: str
    photos: int
    bytes: int
    others: int
    kept_in: str


@dataclass(frozen=True)
class Compared:
    """The result of comparing photos.

    scores: of the candidates.   recall: of the search.   prior: of the collection, see Run.   fresh: computed now, not
    taken from the last scan.
    unverified: (P,), which candidates should have been verified and could not be.
    """

    photos: Photos
    scores: Scores
    verdicts: Verdicts
    groups: list[Group]
    verified: Verified
    unverified: NDArray[np.bool_]
    recall: float
    prior: float
    fresh: bool


@dataclass(frozen=True, slots=True)
class Totals:
    """The totals of a scan."""

    files: int
    photos: int  # files that are one
    groups: int
    duplicates: int  # files in groups other than the keepers
    removable: int  # of the duplicates, those that are neither protected, nor marked, nor hard links of their keeper
    bytes: int  # of the removable ones, hard links counted once
    skipped: int  # files that should be photos and are not
    other: int  # files that are not images
    across: int  # duplicates in another root than their keeper
    new_failures: int  # of the skipped, those that the scan before did not report
    unverified: int = 0  # pairs that should have been verified and could not be
    variants: int = 0  # files in groups that count as no duplicates: they show or are something that the keeper is not
    folders: int = 0  # whose photos all have a kept copy elsewhere; of those inside each other the outermost


@dataclass(frozen=True, slots=True)
class Run:
    """A finished scan. Times in seconds since the epoch.

    recall: of the candidate search.   prior: the estimated share of copies among the pairs that were verified.
    """

    started_at: float
    ended_at: float
    roots: tuple[str, ...]
    settings: Settings
    weights_name: str
    recall: float
    contents: bytes  # digest of the set of photos found
    prior: float


@dataclass(frozen=True, slots=True)
class Attempt:
    """A scan that was started. Times in seconds since the epoch; without an end it was killed or is still running."""

    started_at: float
    ended_at: float | None
    roots: tuple[str, ...]
    outcome: str | None  # finished, stopped or failed
    result: dict[str, Any]  # totals of a finished scan; "error" of one that failed or was stopped


@dataclass(frozen=True)
class Photos:
    """The photos of a run, in the order of their SHA-256; ids[i] is the database number of photo i."""

    photos: PhotoColumns
    ids: Indices
