"""The settings that decide a result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# What decides who is kept, the first word first; grouping/ranking.py knows each of them.
KEEP = (
    *("protected", "preferred", "contains", "original", "pixels"),
    *("metadata", "format", "bytes", "oldest", "path"),
)
KEEP_WORDS = (*KEEP, "edited")

# Which duplicates count: all, those in another root than their keeper, those in the same root.
Counted = Literal["all", "across", "within"]


@dataclass(frozen=True, slots=True)
class Settings:
    """What decides the result, besides the photos and the weights. Written into every report."""

    neighbours: int = 40  # K: candidates a photo
    min_similarity: float = 0.2  # cosine below which a pair is no candidate
    min_probability: float = 0.9  # of a copy, for it to be reported: 18 in 1,000 were wrong where it was fitted
    include_variant: bool = False  # propose to remove versions that show what the kept file does not
    include_similar: bool = False  # report other shots of a scene too
    verify: bool = True  # compare the files themselves before a pair is called a copy
    thorough: bool = False  # examine unlikely ones too: slower, and it finds a few more strong edits
    protect: tuple[str, ...] = ()  # absolute folders whose photos are kept first and never removed
    keep: tuple[str, ...] = KEEP  # words of KEEP_WORDS, in the order in which they decide who is kept
    prefer: tuple[str, ...] = ()  # globs of files and folders to keep rather than others
    avoid: tuple[str, ...] = ()  # globs of files and folders to keep only if there is nothing else
    reference: tuple[str, ...] = ()  # absolute folders to compare against: kept as if protected, and no duplicates
    folders: Counted = "all"
    roots: tuple[str, ...] = ()  # the scanned folders, unless all duplicates count

    @property
    def never_removed(self) -> tuple[str, ...]:
        """The folders of which no file is removed."""
        return (*self.protect, *self.reference)
