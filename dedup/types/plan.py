"""What an action would remove and keep."""

from __future__ import annotations

from dataclasses import dataclass

from dedup.types.pairs import (
    Relation,
)
from dedup.types.photo import File


@dataclass(frozen=True, slots=True)
class Removal:
    """One file that a step takes away, and the file that stays in its place."""

    file: File
    sha256: str  # empty where no scan has read it: a sidecar, a film
    keeper_file: File | None  # None for a sidecar, which goes with its photo
    keeper_sha256: str


@dataclass(frozen=True, slots=True)
class RemovalStep:
    """One photo that a plan takes away, with the files that belong to it."""

    parts: tuple[Removal, ...]  # the photo first
    root: str  # the scanned folder it lies in
    relation: Relation
    probability: float
    reason: str


@dataclass(frozen=True, slots=True)
class Retained:
    """One file that a plan leaves where it is, and why."""

    path: str
    keeper: str
    size: int
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    steps: tuple[RemovalStep, ...]
    stays: tuple[Retained, ...]
