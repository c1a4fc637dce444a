"""Report -> Plan: which files would be removed, which are kept, and why. Changes nothing on disk."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from dedup.errors import BadUsage
from dedup.files.stacks import Folders, Kind, kind
from dedup.grouping.ranking import best_files, protected
from dedup.types.groups import Group
from dedup.types.pairs import Relation
from dedup.types.photo import File
from dedup.types.plan import Plan, Removal, RemovalStep, Retained
from dedup.types.report import Report

OTHER_BYTES = "not the same bytes as its keeper"  # why a duplicate is retained that cannot become a link


def make_plan(report: Report, folders: Folders, *, include: Collection[Relation] = (), linking: bool = False) -> Plan:
    """Return what to do about the groups of a report.

    Files in protected folders and photos marked to be kept are retained, and so are variants and similar photos unless
    `include` names their relation.
    folders: of the files as they are now. linking: duplicates become links under their own names, so those with other
    bytes than their keeper are retained, and companions are not touched.
    """
    steps: list[RemovalStep] = []
    retained: list[Retained] = []
    for group in report.groups:
        keeper = best_files(report.photos.photos[group.keeper], report.run.settings)[0]
        retained.append(Retained(keeper.path, keeper.path, keeper.size, "kept"))
        for step in _steps(report, group):
            reason = _reason_to_retain(report, step, include, linking, folders)
            if reason:
                file = step.parts[0].file
                retained.append(Retained(file.path, keeper.path, file.size, reason))
            else:
                steps.append(step)
    return Plan(tuple(steps), tuple(retained)) if linking else with_companions(steps, retained, folders)


def _steps(report: Report, group: Group) -> Iterator[RemovalStep]:
    """Yield a step for each file of a group but its keeper."""
    photos = report.photos.photos
    kept = photos[group.keeper]
    keeper, *copies = best_files(kept, report.run.settings)
    for file in copies:
        part = Removal(file, kept.sha256, keeper, kept.sha256)
        yield RemovalStep((part,), root_of(report, file.path), Relation.EXACT, 1.0, "same bytes")
    for d in group.duplicates:
        for file in photos[d.photo].files:
            part = Removal(file, photos[d.photo].sha256, keeper, kept.sha256)
            yield RemovalStep(
                (part,), root_of(report, file.path), d.relation, d.probability, f"kept: {d.reason}", d.lost
            )


def _reason_to_retain(
    report: Report, step: RemovalStep, include: Collection[Relation], linking: bool, folders: Folders
) -> str:
    """Return why a duplicate is not removed, or an empty string."""
    photo = step.parts[0]
    if protected(photo.file.path, report.run.settings):
        return "in a protected folder"
    if step.relation is Relation.SIMILAR and Relation.SIMILAR not in include:
        return "only similar; --include similar would remove it too"
    if step.relation is Relation.VARIANT and Relation.VARIANT not in include:
        return f"a variant: the kept file is {step.lost}; --include variant would remove it too"
    if step.relation is not Relation.EXACT and photo.sha256 in report.decisions.kept:
        return "marked to be kept"
    if not folders.holds(photo.file.path):
        return "already gone"
    return OTHER_BYTES if linking and step.relation is not Relation.EXACT else ""


def root_of(report: Report, path: str) -> str:
    """Return the innermost scanned folder that holds a path. Raises BadUsage if there is none."""
    above = [r for r in report.run.roots if path.startswith(r.rstrip(os.sep) + os.sep)]
    if not above:
        raise BadUsage(f"{path}: outside the folders that were scanned")
    return max(above, key=len)


def with_companions(steps: Sequence[RemovalStep], retained: Sequence[Retained], folders: Folders) -> Plan:
    """Return the plan with the companions of each photo added to its step.

    A photo is retained if one of its companions, a RAW or a video, has no copy beside the keeper.
    """
    removed = {step.parts[0].file.path for step in steps}
    keepers = {part.keeper_file.path for step in steps for part in step.parts if part.keeper_file}
    complete, others = [], list(retained)
    for step in steps:
        photo = step.parts[0]
        assert photo.keeper_file is not None
        parts, missing = _companion_parts(photo, removed, keepers, folders)
        if missing:
            reason = f"{os.path.basename(missing)} belongs to it and has no copy beside the keeper"
            others.append(Retained(photo.file.path, photo.keeper_file.path, photo.file.size, reason))
        else:
            removed.update(part.file.path for part in parts)
            complete.append(replace(step, parts=(photo, *parts)))
    return Plan(tuple(complete), tuple(others))


def _companion_parts(
    photo: Removal, removed: set[str], keepers: set[str], folders: Folders
) -> tuple[list[Removal], str]:
    """Return the companions to remove with a photo, and the first one that forbids to remove it, if any.

    removed: paths that other steps remove. keepers: paths that must stay.
    """
    assert photo.keeper_file is not None
    twins = {_suffix(f.path): f for f in folders.companions(photo.keeper_file.path)}
    parts: list[Removal] = []
    mine = folders.companions(photo.file.path)
    for f in (f for f in mine if f.path not in removed):
        if f.path in keepers:
            return [], f.path
        twin = twins.get(_suffix(f.path))
        in_use = _is_in_use(f, photo.file, mine, removed, folders)
        if kind(f.path) is Kind.SIDECAR:
            parts += [] if in_use else [Removal(f, "", None, "")]
        elif kind(f.path) is Kind.VIDEO and in_use:
            continue
        elif twin is None or twin.size != f.size or twin.path in removed or twin.path == f.path:
            return [], f.path
        else:
            parts.append(Removal(f, "", twin, ""))
    return parts, ""


def _is_in_use(companion: File, photo: File, mine: Sequence[File], removed: set[str], folders: Folders) -> bool:
    """Return whether a companion belongs to another picture too, and that one is not removed."""
    ours = {photo.path, *(f.path for f in mine)}
    return any(host not in removed and host not in ours for host in folders.hosts(companion.path))


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def quarantine(folder: str, roots: Sequence[str]) -> str:
    """Return the absolute path of a folder to move files to. Raises BadUsage if a scan would find them there again."""
    path = os.path.realpath(folder)
    for root in map(os.path.realpath, roots):
        if Path(path).is_relative_to(root) or Path(root).is_relative_to(path):
            raise BadUsage(f"--to {folder}: inside a scanned folder, or around it; choose one beside {root}")
    return path
