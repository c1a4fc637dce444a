"""Which files of a group count as duplicates, by the folders that they lie in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dedup.grouping.ranking import below, best_files
from dedup.types.groups import Group
from dedup.types.photo import File, Photo
from dedup.types.settings import Settings


@dataclass(frozen=True, slots=True)
class Members:
    """The files of a group.

    keeper: the file that is kept.   copies: the others with its bytes.   files: those of each duplicate, in the order
    of Group.duplicates, the one to keep first.
    """

    keeper: File
    copies: tuple[File, ...]
    files: tuple[tuple[File, ...], ...]


def root_of(path: str, roots: Sequence[str]) -> str:
    """Return the innermost root that a file lies in; "" if none."""
    return max((root for root in roots if path == root or below(path, root)), key=len, default="")


def is_reference(path: str, settings: Settings) -> bool:
    """Return whether a file is only compared against."""
    return any(below(path, folder) for folder in settings.reference)


def counts(path: str, keeper: str, settings: Settings) -> bool:
    """Return whether a file counts as a duplicate of the file that is kept."""
    if is_reference(path, settings):
        return False
    if settings.folders == "all":
        return True
    same = root_of(path, settings.roots) == root_of(keeper, settings.roots)
    return same == (settings.folders == "within")


def files_in_root(files: Iterable[File], root: str, settings: Settings) -> tuple[File, ...]:
    """Return those files that belong to a root; all of them if it is empty."""
    return tuple(f for f in files if not root or root_of(f.path, settings.roots) == root)


def members(group: Group, photos: Sequence[Photo], settings: Settings) -> Members:
    """Return the files of a group."""
    keeper, *copies = files_in_root(best_files(photos[group.keeper], settings), group.root, settings)

    def counted(files: Iterable[File]) -> tuple[File, ...]:
        return tuple(f for f in files if counts(f.path, keeper.path, settings))

    others = (counted(best_files(photos[d.photo], settings)) for d in group.duplicates)
    return Members(keeper, counted(copies), tuple(others))


def in_order(groups: Sequence[Group], photos: Sequence[Photo], settings: Settings) -> list[Group]:
    """Return the groups as every report numbers them: in the order of the paths of the files to keep."""
    return sorted(groups, key=lambda g: members(g, photos, settings).keeper.path)
