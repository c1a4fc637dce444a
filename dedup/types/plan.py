"""What an action would remove and keep."""

from __future__ import annotations

from dataclasses import dataclass

from dedup.types.message import Message
from dedup.types.pairs import Relation
from dedup.types.photo import File


@dataclass(frozen=True, slots=True)
class Removal:
    """One file that a step removes, and the file that is kept instead."""

    file: File
    sha256: str  # empty for a file that no scan reads: a sidecar, a video
    keeper_file: File | None  # None for a sidecar, which is removed with its photo
    keeper_sha256: str
    target: str = ""  # where a sidecar is moved, beside the keeper, instead of being removed


@dataclass(frozen=True, slots=True)
class RemovalStep:
    """One photo that a plan removes, with its companion files."""

    parts: tuple[Removal, ...]  # the photo first
    root: str  # the scanned folder it lies in
    relation: Relation
    probability: float
    reason: str
    lost: str = ""  # of a variant: see types.groups.Duplicate


@dataclass(frozen=True, slots=True)
class Retained:
    """One file that a plan does not change, and why."""

    path: str
    keeper: str
    size: int
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    steps: tuple[RemovalStep, ...]
    retained: tuple[Retained, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened to one file.   done: False if it was skipped or not restored."""

    path: str
    done: bool
    message: str

    @property
    def line(self) -> Message:
        return Message("{path}: {message}", path=self.path, message=self.message)
