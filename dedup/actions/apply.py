"""Plan -> disk, with a journal. Every file is checked again right before it is touched. undo.py reverses it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Self

from dedup.actions import file_ops, trash
from dedup.actions.journal import Entry, Journal
from dedup.actions.keeper import KeeperCheck
from dedup.actions.locks import locked
from dedup.actions.plan import GONE_WITH_KEEPER, HARD_LINK, quarantine
from dedup.actions.undo import restored
from dedup.errors import ActionFailed, BadUsage
from dedup.files.path_rules import is_inside, names_a_folder
from dedup.files.user_dirs import ActionDirs
from dedup.types.message import Message, sentence_of
from dedup.types.pairs import Relation
from dedup.types.photo import AGE_MARGIN_NS, File
from dedup.types.plan import Outcome, Removal, RemovalStep
from dedup.types.report import Report

LINKS = ("hardlink", "reflink")
DESTINATIONS = ("trash", *LINKS, "delete")


def destination(to: str, roots: Sequence[str]) -> str:
    """Return one of DESTINATIONS, or the absolute path of a folder.

    Raises BadUsage for a word that is neither, such as a misspelled one, and for a folder that a scan looks at.
    """
    if to in DESTINATIONS:
        return to
    if not names_a_folder(to):
        raise BadUsage(
            Message(
                "{option}: none of {words}; for a folder of that name write {path}",
                option="--to " + to,
                words=", ".join(DESTINATIONS),
                path="./" + to,
            )
        )
    return quarantine(to, roots)


@dataclass(frozen=True)
class Apply:
    """How to carry out a plan.

    to: one of DESTINATIONS, or a folder. scanned_ns: when the last scan began, in nanoseconds since the epoch.
    roots: the folders that were scanned. protect: folders whose files must not be removed.
    remove_empty: remove folders below the roots too that become empty.
    """

    to: str
    scanned_ns: int
    roots: Sequence[str]
    dirs: ActionDirs
    protect: Sequence[str] = ()
    remove_empty: bool = False

    @classmethod
    def of(cls, report: Report, to: str, dirs: ActionDirs, *, remove_empty: bool = False) -> Self:
        """Return how to carry out a plan of this report."""
        run = report.run
        return cls(to, int(run.started_at * 1e9), run.roots, dirs, run.settings.never_removed, remove_empty)


def apply(steps: Sequence[RemovalStep], how: Apply, *, journal: Journal) -> Iterator[Outcome]:
    """Yield the outcome for each file as it happens. A file that fails is skipped, and the rest continues.

    Raises StoreBusy if another apply or undo is changing these folders.
    """
    with locked(how.roots, how.dirs.locks):
        journal.write(roots=[os.path.realpath(root) for root in how.roots])
        run = _Run(how, journal)
        for step in steps:
            yield from run.carry_out(step)
        if how.remove_empty:
            yield from run.remove_empty_folders()


@dataclass
class _Run:
    """An apply that is under way."""

    how: Apply
    journal: Journal
    keepers: KeeperCheck = field(default_factory=KeeperCheck)
    number: int = 0  # of files so far
    folders: set[str] = field(default_factory=set)  # real paths of those that files were removed from
    trashes: dict[int, bool] = field(default_factory=dict)  # device -> whether undo finds what goes to its trash

    @property
    def _run_name(self) -> str:
        return os.path.splitext(os.path.basename(self.journal.path))[0]

    def carry_out(self, step: RemovalStep) -> Iterator[Outcome]:
        """Yield the outcome for each file of a step: all of them are removed, or none."""
        path = step.parts[0].file.path
        parts = step.parts[:1] if self.how.to in LINKS else step.parts  # a link keeps the name, and its sidecars
        try:
            outcome = self._nothing_to_do(parts[0])
            if outcome:
                yield outcome
                return
            digests = [self._check(part, step.relation) for part in parts]
            targets = self._targets(parts, step.root)
            entries = [self._entry(*each) for each in zip(parts, digests, targets, strict=True)]
            self._remove(parts, entries)
        except ActionFailed as error:
            yield Outcome(path, False, _skipped(sentence_of(error)))
        except OSError as error:
            yield Outcome(path, False, _skipped(error.strerror or str(error)))
        else:
            self.folders.update(os.path.dirname(entry["path"]) for entry in entries)
            yield from (
                Outcome(part.file.path, True, f"-> {target or self.how.to}")
                for part, target in zip(parts, targets, strict=True)
            )

    # Checks, before anything changes

    def _nothing_to_do(self, part: Removal) -> Outcome | None:
        """Return the outcome for a file that needs no action, or None."""
        path = part.file.path
        now = file_ops.stat_file(path)
        assert part.keeper_file is not None
        keeper = file_ops.stat_file(part.keeper_file.path)
        if now is None and keeper is None:
            return Outcome(path, False, _skipped(GONE_WITH_KEEPER))
        if now is None:
            return Outcome(path, True, Message("already gone"))
        if keeper and (keeper.device, keeper.inode) == (now.device, now.inode):
            return Outcome(path, True, HARD_LINK)
        return None

    def _check(self, part: Removal, relation: Relation) -> str:
        """Return the SHA-256 of a file that may be removed. Raises ActionFailed if it may not."""
        to = self.how.to
        folder = os.path.realpath(os.path.dirname(part.file.path))
        if any(is_inside(folder, os.path.realpath(p)) for p in self.how.protect):
            raise ActionFailed(Message("in a protected folder"))
        if to in LINKS and relation is not Relation.EXACT:
            raise ActionFailed(Message("not the same bytes as its keeper; a {link} would lose its own", link=to))
        digest = self._unchanged(part.file, part.sha256, always_hash=to in (*LINKS, "delete"))
        if part.keeper_file is not None:
            self._keeper_unchanged(part.keeper_file)
            if not part.sha256 and digest != self.keepers.digest(part.keeper_file.path):
                raise ActionFailed(
                    Message("{path} has other bytes than {keeper}", path=part.file.path, keeper=part.keeper_file.path)
                )
        return digest

    def _unchanged(self, file: File, sha256: str, *, always_hash: bool) -> str:
        """Return the SHA-256 of a file that is still the one that was scanned. Raises ActionFailed if it is not.

        It is read again if always_hash is set, or if its times do not exclude a change.
        """
        now = file_ops.stat_file(file.path)
        if now is None:
            raise ActionFailed(Message("{path} is gone since the scan", path=file.path))
        if (now.size, now.mtime_ns) != (file.size, file.mtime_ns):
            raise ActionFailed(Message("changed after the scan; scan again"))
        newest = max(now.mtime_ns, now.ctime_ns)
        uncertain = (
            now != file or newest > self.how.scanned_ns - AGE_MARGIN_NS
        )  # numbers change when a disk is remounted
        if sha256 and not always_hash and not uncertain:
            return sha256
        found = file_ops.digest(file.path)
        if sha256 and found != sha256:
            raise ActionFailed(Message("other bytes than at the scan; scan again"))
        return found

    def _keeper_unchanged(self, file: File) -> None:
        now = file_ops.stat_file(file.path)
        if now is None:
            raise ActionFailed(Message("its keeper {keeper} is gone since the scan", keeper=file.path))
        if now.size != file.size:
            raise ActionFailed(Message("its keeper {keeper} changed after the scan; scan again", keeper=file.path))

    def _targets(self, parts: Sequence[Removal], root: str) -> list[str]:
        """Return where each file is moved to; an empty string for one that is not moved to a folder."""
        if self.how.to in DESTINATIONS:
            return [part.target for part in parts]
        names = _free_names(parts, self.how.to, root)
        return [part.target or name for part, name in zip(parts, names, strict=True)]

    def _entry(self, part: Removal, digest: str, target: str) -> Entry:
        """Return the line of the journal for a file."""
        self.number += 1
        path, run = file_ops.real_path(part.file.path), self._run_name
        return {
            "do": self.number,
            "to": "folder" if target else self.how.to,
            "path": path,
            "target": target,
            "sha256": digest,
            "inode": (file_ops.stat_file(path) or part.file).inode,
            "aside": file_ops.aside_name(path, run, self.number),
            "temporary": file_ops.temporary_beside(target or path, run, self.number),
            "keeper": part.keeper_file.path if part.keeper_file else "",
            "attributes": file_ops.Attributes.of(path).to_json(),
        }

    # Changes, each in the journal before it is made

    def _remove(self, parts: Sequence[Removal], entries: Sequence[Entry]) -> None:
        """Remove the files of a step. After a failure, and after Ctrl-C, all of them are restored.

        Raises ActionFailed or OSError.
        """
        for entry in entries:
            self.journal.write(**entry)
        try:
            if self.how.to == "trash":
                self._check_trash(parts[0].file)
            for part, entry in zip(parts, entries, strict=True):
                self._set_aside(part, entry)
            for part, entry in zip(parts, entries, strict=True):
                if part.keeper_file is not None:
                    self.keepers.check_distinct(part, entry["path"], entry["aside"])
            for part, entry in zip(parts, entries, strict=True):
                self._finish(part, entry)
        except BaseException as error:  # Ctrl-C too
            unrestored = self._roll_back(entries)
            if not unrestored or not isinstance(error, (ActionFailed, OSError)):
                raise
            failed = getattr(error, "strerror", None) or sentence_of(error)
            raise ActionFailed(Message("{error}; {unrestored}", error=failed, unrestored=unrestored)) from error
        for entry in entries:
            self.journal.write(done=entry["do"])

    def _check_trash(self, file: File) -> None:
        """Raise ActionFailed if undo would not find in the trash what goes there from the volume of a file.

        A file of our own shows it, once a volume: there may be no trash, and Windows then deletes.
        """
        device = os.lstat(file.path).st_dev  # its number at the scan may be another volume's now
        if device not in self.trashes:
            probe = file_ops.real_path(file_ops.probe_name(os.path.dirname(file.path), self._run_name))
            self.journal.write(probe=probe)
            try:
                self.trashes[device] = trash.gives_back(probe, self.how.dirs.trash)
            finally:
                file_ops.discard(probe)
        if not self.trashes[device]:
            raise ActionFailed(
                Message("undo would not find it in the trash of this disk; use {option}", option="--to DIR")
            )

    def _roll_back(self, entries: Sequence[Entry]) -> str:
        """Restore the files of a step that failed. Return why not, where that failed; otherwise an empty string."""
        unrestored = ""
        for entry in reversed(entries):
            outcome = restored(entry, trash.Contents(self.how.dirs.trash))
            if outcome.done:
                self.journal.write(left=entry["do"])
            else:
                unrestored = outcome.line
        return unrestored

    def remove_empty_folders(self) -> Iterator[Outcome]:
        """Yield an outcome for each folder below the roots that became empty, the inner ones first."""
        roots = [os.path.realpath(root) for root in self.how.roots]
        for start in sorted(self.folders, key=len, reverse=True):
            folder = start
            while any(folder != root and is_inside(folder, root) for root in roots):
                try:
                    if os.listdir(folder):
                        break
                    self.journal.write(emptied=folder, attributes=file_ops.Attributes.of(folder).to_json())
                    os.rmdir(folder)
                except FileNotFoundError:
                    pass  # removed on the way up from another folder
                except OSError as error:
                    yield Outcome(folder, False, _skipped(error.strerror or str(error)))
                    break
                else:
                    yield Outcome(folder, True, Message("removed: empty"))
                folder = os.path.dirname(folder)

    def _set_aside(self, part: Removal, entry: Entry) -> None:
        """Rename a file within its folder. Raises ActionFailed if it is no longer the one that was checked."""
        file_ops.rename(entry["path"], entry["aside"])
        now = file_ops.stat_file(entry["aside"])
        if now is None or (now.size, now.mtime_ns) != (part.file.size, part.file.mtime_ns):
            raise ActionFailed(Message("changed while it was checked; scan again"))

    def _finish(self, part: Removal, entry: Entry) -> None:
        """Remove a file that was set aside and checked."""
        path, aside, target, to = entry["path"], entry["aside"], entry["target"], entry["to"]
        if to == "delete":
            os.unlink(aside)
        elif to in LINKS:
            self._link(part, entry)
            os.unlink(aside)
        elif to == "trash":
            file_ops.rename(aside, path)  # the trash records the name that a file has
            trash.send(path)
            if part.keeper_file is not None and file_ops.stat_file(part.keeper_file.path) is None:
                raise ActionFailed(Message("its keeper {keeper} disappeared", keeper=part.keeper_file.path))
        else:
            self._make_folders(target, path)
            file_ops.move(aside, target, sha256=entry["sha256"], temporary=entry["temporary"])

    def _link(self, part: Removal, entry: Entry) -> None:
        """Make a hard link or a reflink of the keeper, under the name of a file that was set aside."""
        assert part.keeper_file is not None
        path, keeper, temporary = entry["path"], part.keeper_file.path, entry["temporary"]
        attributes = file_ops.Attributes.from_json(entry["attributes"])
        if entry["to"] == "hardlink":
            different = attributes.difference(file_ops.Attributes.of(keeper))
            if different:
                raise ActionFailed(
                    Message(
                        "other {attribute} than {keeper}; a hard link would share them",
                        attribute=different,
                        keeper=keeper,
                    )
                )
            os.link(keeper, temporary, follow_symlinks=os.link not in os.supports_follow_symlinks)
        else:
            file_ops.clone(keeper, temporary)
            attributes.set_on(temporary)
        if file_ops.digest(temporary) != entry["sha256"]:
            raise ActionFailed(
                Message("its keeper {keeper} has other bytes than at the scan; scan again", keeper=keeper)
            )
        file_ops.rename(temporary, path)

    def _make_folders(self, target: str, path: str) -> None:
        """Make the folders of a target, for their owner alone, and record them so that undo can remove them."""
        source = os.stat(os.path.dirname(path))
        folder = os.path.dirname(target)
        try:
            for missing in file_ops.missing_folders(folder):
                self.journal.write(made=missing)
                file_ops.make_folder(missing, owner=(source.st_uid, source.st_gid))
        except OSError as error:
            raise ActionFailed(
                Message("the folder {folder} cannot be made ({error})", folder=folder, error=error.strerror)
            ) from error


def _skipped(reason: str) -> Message:
    return Message("skipped: {reason}", reason=reason)


def _free_names(parts: Sequence[Removal], folder: str, root: str) -> list[str]:
    """Return unused paths below a folder, with the same subfolders as below the root.

    Where one is taken, all files of the step get the same number: "a (2).jpg", "a (2).xmp".
    """
    n = 1
    while True:
        names = [os.path.join(folder, os.path.relpath(part.file.path, root)) for part in parts]
        if n > 1:
            names = [f"{stem} ({n}){suffix}" for stem, suffix in map(os.path.splitext, names)]
        if not any(map(os.path.lexists, names)):
            return names
        n += 1
