"""Report -> Plan: which files would be removed, which are kept, and why. Changes nothing on disk."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace

from dedup.errors import BadUsage
from dedup.files.path_rules import forbidden_name, is_inside
from dedup.files.stacks import Folders, Kind, kind
from dedup.grouping.members import is_reference, members
from dedup.grouping.ranking import protected
from dedup.types.groups import Group
from dedup.types.message import Message
from dedup.types.pairs import Relation
from dedup.types.photo import File
from dedup.types.plan import Plan, Removal, RemovalStep, Retained
from dedup.types.report import Report
from dedup.types.settings import Settings

GONE_WITH_KEEPER = Message("gone since the scan, and its keeper too; is the disk mounted?")
HARD_LINK = Message("a hard link of its keeper; nothing to reclaim")
OTHER_BYTES = Message("not the same bytes as its keeper")  # why a duplicate is retained that cannot become a link


def make_plan(
    report: Report,
    folders: Folders,
    *,
    include: Collection[Relation] = (),
    linking: bool = False,
    merge_sidecars: bool = False,
) -> Plan:
    """Return what to do about the groups of a report.

    Files in protected and reference folders, photos marked to be kept and hard links of the keeper are retained, and
    so are variants and similar photos unless `include` names their relation.
    folders: of the files as they are now. linking: duplicates become links under their own names, so those with other
    bytes than their keeper are retained, and companions are not touched. merge_sidecars: see with_companions().
    """
    steps: list[RemovalStep] = []
    retained: list[Retained] = []
    for group in report.groups:
        keeper = members(group, report.photos.photos, report.run.settings).keeper
        retained.append(Retained(keeper.path, keeper.path, keeper.size, Message("kept")))
        for step in _steps(report, group):
            reason = _reason_to_retain(report, step, include, linking, folders)
            if reason:
                file = step.parts[0].file
                retained.append(Retained(file.path, keeper.path, file.size, reason))
            else:
                steps.append(step)
    if linking:
        return Plan(tuple(steps), tuple(retained))
    return with_companions(steps, retained, folders, merge_sidecars=merge_sidecars)


def _steps(report: Report, group: Group) -> Iterator[RemovalStep]:
    """Yield a step for each file of a group but its keeper."""
    photos = report.photos.photos
    kept, files = photos[group.keeper], members(group, photos, report.run.settings)
    for file in files.copies:
        part = Removal(file, kept.sha256, files.keeper, kept.sha256)
        yield RemovalStep((part,), root_of(report, file.path), Relation.EXACT, 1.0, Message("same bytes"))
    for d, counted in zip(group.duplicates, files.files, strict=True):
        for file in counted:
            part = Removal(file, photos[d.photo].sha256, files.keeper, kept.sha256)
            yield RemovalStep(
                (part,),
                root_of(report, file.path),
                d.relation,
                d.probability,
                Message("kept: {reason}", reason=d.reason),
                d.lost,
            )


def _reason_to_retain(
    report: Report, step: RemovalStep, include: Collection[Relation], linking: bool, folders: Folders
) -> str:
    """Return why a duplicate is not removed, or an empty string."""
    photo = step.parts[0]
    unremovable = protection(photo.file.path, report.run.settings, folders)
    if unremovable:
        return unremovable
    if step.relation is Relation.SIMILAR and Relation.SIMILAR not in include:
        return Message("only similar; {option} would remove it too", option="--include similar")
    if step.relation is Relation.VARIANT and Relation.VARIANT not in include:
        option = "--include variant"
        return Message(
            "a variant: the kept file is {lost}; {option} would remove it too", lost=step.lost, option=option
        )
    if step.relation is not Relation.EXACT and photo.sha256 in report.decisions.kept:
        return Message("marked to be kept")
    if not folders.holds(photo.file.path):
        return Message("already gone")
    if is_hard_link(photo):
        return HARD_LINK
    return OTHER_BYTES if linking and step.relation is not Relation.EXACT else ""


def protection(path: str, settings: Settings, folders: Folders) -> str:
    """Return why a file must not be removed, by its path or by its real path; an empty string if it may be."""
    real = folders.real(path)
    if not protected(path, settings) and not _is_inside(real, settings.never_removed):
        return ""
    reference = is_reference(path, settings) or _is_inside(real, settings.reference)
    return Message("in a reference folder") if reference else Message("in a protected folder")


def _is_inside(real: str, folders: Sequence[str]) -> bool:
    return any(is_inside(real, os.path.realpath(folder)) for folder in folders)


def root_of(report: Report, path: str) -> str:
    """Return the innermost scanned folder that holds a path. Raises BadUsage if there is none."""
    if path in report.run.roots:  # a file that a symbolic link leads to
        return os.path.dirname(path)
    above = [r for r in report.run.roots if path.startswith(r.rstrip(os.sep) + os.sep)]
    if not above:
        raise BadUsage(Message("{path}: outside the folders that were scanned", path=path))
    return max(above, key=len)


def is_hard_link(part: Removal) -> bool:
    """Return whether a file and its keeper were one file when they were scanned."""
    keeper = part.keeper_file
    return keeper is not None and (part.file.device, part.file.inode) == (keeper.device, keeper.inode)


def with_companions(
    steps: Sequence[RemovalStep], retained: Sequence[Retained], folders: Folders, *, merge_sidecars: bool
) -> Plan:
    """Return the plan with the companions of each photo added to its step.

    A photo is retained if one of its companions would be lost: a RAW or a video without a copy beside the keeper, or a
    sidecar where the keeper has none. merge_sidecars: such a sidecar is moved to the keeper instead.
    """
    removed = {step.parts[0].file.path for step in steps}
    keepers = {part.keeper_file.path for step in steps for part in step.parts if part.keeper_file}
    companions = _Companions(removed, keepers, folders, merge_sidecars)
    complete, others = [], list(retained)
    for step in steps:
        photo = step.parts[0]
        assert photo.keeper_file is not None
        try:
            parts = companions.of(photo)
        except _Lost as lost:
            others.append(Retained(photo.file.path, photo.keeper_file.path, photo.file.size, lost.reason))
        else:
            complete.append(replace(step, parts=(photo, *parts)))
    return Plan(tuple(complete), tuple(others))


class _Lost(Exception):
    """A companion would be lost with its photo; the reason says which and why."""

    def __init__(self, reason: Message) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class _Companions:
    """Finds what to do with companions.   removed: paths that are removed so far. keepers: paths that must stay."""

    removed: set[str]
    keepers: set[str]
    folders: Folders
    merge_sidecars: bool
    merged: set[str] = field(default_factory=set)  # names that sidecars get beside keepers

    def of(self, photo: Removal) -> list[Removal]:
        """Return the companions to remove, or to move, with a photo. Raises _Lost."""
        assert photo.keeper_file is not None
        twins = {_suffix(f.path): f for f in self.folders.companions(photo.keeper_file.path)}
        mine = self.folders.companions(photo.file.path)
        parts = [
            part
            for f in mine
            if f.path not in self.removed
            and (part := self._part(f, photo, twins.get(_suffix(f.path)), self._is_in_use(f, photo.file, mine)))
        ]
        self.removed.update(part.file.path for part in parts)
        self.merged.update(part.target for part in parts)
        return parts

    def _part(self, f: File, photo: Removal, twin: File | None, in_use: bool) -> Removal | None:
        """Return what to do with one companion; None if it stays. Raises _Lost.

        twin: the companion of the keeper with the same suffix. in_use: another picture that stays needs it.
        """
        name = os.path.basename(f.path)
        if f.path in self.keepers:
            raise _Lost(Message("{name} belongs to it and is kept", name=name))
        if kind(f.path) is Kind.SIDECAR:
            return None if in_use else self._sidecar(f, photo, twin)
        if kind(f.path) is Kind.RECORDING and in_use:
            return None
        if twin is None or twin.size != f.size or twin.path in self.removed or twin.path == f.path:
            raise _Lost(Message("{name} belongs to it and has no copy beside the keeper", name=name))
        return Removal(f, "", twin, "")

    def _sidecar(self, f: File, photo: Removal, twin: File | None) -> Removal:
        assert photo.keeper_file is not None
        if twin is not None and twin.path not in self.removed and twin.path != f.path:
            return Removal(f, "", None, "")
        target = merged_name(f.path, photo.file.path, photo.keeper_file.path)
        if self.merge_sidecars and target not in self.merged and not self.folders.holds(target):
            return Removal(f, "", None, "", target)
        name = os.path.basename(f.path)
        if self.merge_sidecars:
            raise _Lost(Message("{name} belongs to it and the keeper has none", name=name))
        raise _Lost(
            Message(
                "{name} belongs to it and the keeper has none; {option} moves it to the keeper",
                name=name,
                option="--merge-sidecars",
            )
        )

    def _is_in_use(self, companion: File, photo: File, mine: Sequence[File]) -> bool:
        """Return whether a companion belongs to another picture too, and that one is not removed."""
        ours = {photo.path, *(f.path for f in mine)}
        return any(host not in self.removed and host not in ours for host in self.folders.hosts(companion.path))


def merged_name(sidecar: str, photo: str, keeper: str) -> str:
    """Return the path that a sidecar of a photo gets beside its keeper: a.jpg.xmp -> b.jpg.xmp, a.xmp -> b.xmp."""
    names_photo = os.path.basename(sidecar).lower().startswith(os.path.basename(photo).lower())
    return (keeper if names_photo else os.path.splitext(keeper)[0]) + os.path.splitext(sidecar)[1]


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def quarantine(folder: str, roots: Sequence[str]) -> str:
    """Return the absolute path of a folder to move files to.

    Raises BadUsage if a scan would find them there again, or if the system has no folder of this name.
    """
    path = os.path.realpath(folder)
    forbidden = forbidden_name(path)
    if forbidden:
        raise BadUsage(
            Message("{option}: Windows has no folder that is called {name}", option="--to " + folder, name=forbidden)
        )
    for root in map(os.path.realpath, roots):
        if is_inside(path, root) or is_inside(root, path):
            raise BadUsage(
                Message(
                    "{option}: inside a scanned folder, or around it; choose one beside {root}",
                    option="--to " + folder,
                    root=root,
                )
            )
    return path
