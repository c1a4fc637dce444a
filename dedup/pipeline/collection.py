"""Which folders a scan looks at: those that it names, and those of earlier scans."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dedup.errors import BadUsage
from dedup.files.walk import has_files, lstat
from dedup.store.store import Store
from dedup.types.message import Message
from dedup.types.photo import File


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


def relocate(old: str, new: str, store: Store) -> tuple[int, int]:
    """Record that a folder of the collection is at another path now, as a disk that is mounted elsewhere.

    Return how many files moved with it, and how many of them a scan need not read again: those with the size and times
    that they had. Device and inode numbers may be others. Raises BadUsage if nothing is known below the old path, if
    the new folder does not exist, or if one of them is inside the other.
    """
    if not os.path.isdir(new):
        raise BadUsage(Message("{folder}: no such folder; mount the disk first", folder=new))
    if old == new or old.startswith(os.path.join(new, "")) or new.startswith(os.path.join(old, "")):
        raise BadUsage(Message("{old} and {new}: one is inside the other", old=old, new=new))
    known = store.roots.files_below(old)
    if not known:
        raise BadUsage(
            Message(
                "{folder}: the database knows no files there; '{command}' lists its folders",
                folder=old,
                command="dedup status",
            )
        )
    files, same = [], 0
    for file in known:
        path = new + file.path[len(old) :]
        now = lstat(path)
        unchanged = now is not None and _times(now) == _times(file)
        same += unchanged
        files.append((file.path, now if now is not None and unchanged else replace(file, path=path)))
    store.roots.move(old, new, files)
    return len(files), same


def _times(file: File) -> tuple[int, int, int]:
    return file.size, file.mtime_ns, file.ctime_ns
