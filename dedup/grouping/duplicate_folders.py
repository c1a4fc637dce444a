"""Report -> the folders whose photos all have a kept copy elsewhere. Opens no file."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from dedup.grouping.members import REMOVED_BY_DEFAULT, members, reclaimed, removable, root_of
from dedup.types.photo import File
from dedup.types.report import DuplicateFolder, Report

_Removed = tuple[File, str]  # a file that is removed, and the path of the file that is kept instead


def photos_by_folder(report: Report) -> Counter[str]:
    """Return how many files of photos lie directly in each folder."""
    return Counter(map(os.path.dirname, report.photos.photos.file_paths()))


def duplicate_folders(report: Report, photos: Mapping[str, int]) -> list[DuplicateFolder]:
    """Return the folders of which a plan removes every photo by default, in the order of their paths.

    Of folders inside each other only the outermost is returned; none lies above the roots. A keeper in such a folder
    would itself be a photo that stays.
    photos: what photos_by_folder() returns; no decision changes it.
    """
    removed, roots = list(_removed(report)), report.run.roots
    gone = Counter(above for file, _ in removed for above in _folders_above(file.path, roots))
    there: Counter[str] = Counter()
    for folder, count in photos.items():
        for above in _folders_above(os.path.join(folder, "x"), roots):
            there[above] += count
    whole = {folder for folder, count in gone.items() if there[folder] == count}
    found: dict[str, list[_Removed]] = defaultdict(list)
    others: Counter[str] = Counter()
    for file, keeper in removed:
        found[_outermost(file.path, roots, whole)].append((file, keeper))
    for skipped in report.skipped:
        others[_outermost(skipped.path, roots, whole)] += 1
    return [_described(folder, found[folder], others[folder]) for folder in sorted(found) if folder]


def _removed(report: Report) -> Iterator[_Removed]:
    photos, settings = report.photos.photos, report.run.settings
    for group in report.groups:
        files = members(group, photos, settings)
        gone = removable(group, files, photos, settings, report.decisions, relations=REMOVED_BY_DEFAULT)
        yield from ((file, files.keeper.path) for file in gone)


def _folders_above(path: str, roots: Sequence[str]) -> Iterator[str]:
    """Yield the folders that a path lies in, from the innermost to the outermost that is not above all roots."""
    folder = os.path.dirname(path)
    while root_of(folder, roots):
        yield folder
        if os.path.dirname(folder) == folder:
            return
        folder = os.path.dirname(folder)


def _outermost(path: str, roots: Sequence[str], whole: set[str]) -> str:
    """Return the outermost folder above a path that is among some; "" if none is."""
    return next((f for f in reversed(list(_folders_above(path, roots))) if f in whole), "")


def _described(folder: str, removed: Sequence[_Removed], others: int) -> DuplicateFolder:
    kept_in = ""
    with suppress(ValueError):  # on different drives, or one of them in an object store
        kept_in = os.path.commonpath([os.path.dirname(keeper) for _, keeper in removed])
    return DuplicateFolder(folder, len(removed), reclaimed(file for file, _ in removed), others, kept_in)
