"""Which folders a scan looks at: those that it names, and those of earlier scans."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from dedup.files.walk import has_files
from dedup.store.store import Store


@dataclass(frozen=True, slots=True)
class Collection:
    """roots: the folders to list.   absent: of the collection, those that are missing or empty, with the number of
    their photos in the database. An absent disk looks like this, so the database keeps these photos.
    """

    roots: tuple[str, ...]
    absent: dict[str, int]


def collection(named: Sequence[str], store: Store, *, only: bool = False) -> Collection:
    """Return the named folders and, unless `only`, those of the collection. Named folders that are missing and unknown
    to the database stay among the roots, for walk() to report.
    """
    every = dict.fromkeys(named) if only else dict.fromkeys((*named, *store.roots.load()))
    known = {root: store.roots.photos_below(root) for root in every if not has_files(root)}
    absent = {root: count for root, count in known.items() if count}
    return Collection(tuple(root for root in every if root not in absent or os.path.isdir(root)), absent)


def root_of(path: str, roots: Sequence[str]) -> str:
    """Return the innermost root that a file lies in; "" if none."""
    above = [root for root in roots if path == root or path.startswith(os.path.join(root, ""))]
    return max(above, key=len, default="")
