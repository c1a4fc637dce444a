"""Which files of a group count as duplicates, by the folders that they lie in."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from dedup.grouping.ranking import below, best_files, protected
from dedup.types.groups import Decisions, Group
from dedup.types.pairs import Relation
from dedup.types.photo import File, Photo
from dedup.types.settings import Settings

REMOVED_BY_DEFAULT = (Relation.EXACT, Relation.IDENTICAL, Relation.COPY)


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


def duplicates(group: Group, photos: Sequence[Photo], settings: Settings) -> list[File]:
    """Return the files of a group that count as duplicates of its keeper; variants do if they were asked for."""
    files = members(group, photos, settings)
    others = variants(group, photos, settings)
    return [*files.copies, *(file for some in files.files for file in some if file not in others)]


def variants(group: Group, photos: Sequence[Photo], settings: Settings) -> list[File]:
    """Return the files of a group that are variants of its keeper; none if these were asked for as duplicates."""
    if settings.include_variant:
        return []
    of_each = zip(group.duplicates, members(group, photos, settings).files, strict=True)
    return [file for d, some in of_each if d.relation is Relation.VARIANT for file in some]


def removable(
    group: Group,
    files: Members,
    photos: Sequence[Photo],
    settings: Settings,
    decisions: Decisions,
    *,
    relations: Collection[Relation],
) -> list[File]:
    """Return the files of a group that can be removed to reclaim their bytes, of those with these relations.

    Not those that are protected, or hard links of the keeper, nor photos that are marked to be kept.
    """
    found = [*files.copies]
    for d, counted in zip(group.duplicates, files.files, strict=True):
        if d.relation in relations and photos[d.photo].sha256 not in decisions.kept:
            found += counted
    keeper = (files.keeper.device, files.keeper.inode)
    return [f for f in found if not protected(f.path, settings) and (f.device, f.inode) != keeper]


def promised(group: Group, photos: Sequence[Photo], settings: Settings, decisions: Decisions) -> list[File]:
    """Return the files of a group that a report promises to reclaim, variants among them if they were asked for."""
    relations = [r for r in Relation if r is not Relation.VARIANT or settings.include_variant]
    return removable(group, members(group, photos, settings), photos, settings, decisions, relations=relations)


def reclaimed(files: Iterable[File]) -> int:
    """Return the bytes that removing files frees; hard links count once."""
    return sum({(f.device, f.inode): f.size for f in files}.values())


def in_order(groups: Sequence[Group], photos: Sequence[Photo], settings: Settings) -> list[Group]:
    """Return the groups as every report numbers them: in the order of the paths of the files to keep."""
    return sorted(groups, key=lambda g: members(g, photos, settings).keeper.path)
