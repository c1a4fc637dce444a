"""Journal -> disk as it was before: every file that apply moved or linked returns to its place."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress

from dedup.actions import file_ops
from dedup.actions.journal import (
    Entry,
    Journal,
    damaged_lines,
    folders_emptied,
    folders_made,
    probes,
    roots_of,
    started,
)
from dedup.actions.locks import locked
from dedup.actions.trash import Contents
from dedup.errors import ActionFailed
from dedup.files.user_dirs import ActionDirs
from dedup.types.message import Message, sentence_of
from dedup.types.plan import Outcome

IN_PLACE = Message("in place")


def undo(entries: Sequence[Entry], *, journal: Journal, dirs: ActionDirs) -> Iterator[Outcome]:
    """Yield the outcome for each file of a run, the last one first. Overwrites nothing.

    It looks at the disk and not only at the journal, so it may run twice, and after a crash. The run counts as undone
    when no file is left that a later undo could restore. Folders that the run made are removed if they are empty, and
    empty folders that it removed are made again.
    Raises StoreBusy if another apply or undo is changing the same folders.
    """
    complete, trash = True, Contents(dirs.trash)
    with locked(roots_of(entries), dirs.locks):
        for number in damaged_lines(entries):
            complete = False
            yield Outcome(
                journal.path,
                False,
                Message("line {number} is damaged; a file that it names is not restored", number=number),
            )
        for entry in reversed(folders_emptied(entries)):
            if not os.path.lexists(entry["emptied"]):
                outcome = _remade(entry)
                complete &= outcome.done
                yield outcome
        for entry in reversed(started(entries)):
            outcome = restored(entry, trash)
            complete &= outcome.done or entry["to"] == "delete"
            yield outcome
        for probe in probes(entries):
            file_ops.discard(probe)
        for folder in reversed(folders_made(entries)):
            with suppress(OSError):  # not empty, or gone
                os.rmdir(folder)
        if complete:
            journal.write(undone=True)


def _remade(entry: Entry) -> Outcome:
    """Return the outcome of making a folder again that was removed because it was empty."""
    folder = entry["emptied"]
    try:
        os.makedirs(os.path.dirname(folder), exist_ok=True)
        file_ops.make_folder(folder)
        file_ops.Attributes.from_json(entry["attributes"]).set_on(folder)
    except (ActionFailed, OSError) as error:
        return Outcome(folder, False, _not_restored(getattr(error, "strerror", None) or sentence_of(error)))
    return Outcome(folder, True, Message("made again"))


def restored(entry: Entry, trash: Contents) -> Outcome:
    """Return the outcome of restoring one file of a journal."""
    try:
        return Outcome(entry["path"], *_restore(entry, trash))
    except ActionFailed as error:
        return Outcome(entry["path"], False, _not_restored(sentence_of(error)))
    except OSError as error:
        return Outcome(entry["path"], False, _not_restored(error.strerror or str(error)))


def _not_restored(reason: str) -> Message:
    return Message("not restored: {reason}", reason=reason)


def _restore(entry: Entry, trash: Contents) -> tuple[bool, str]:
    """Return whether a file is as it was before, and a message. Raises ActionFailed or OSError."""
    path, aside, sha256, to = entry["path"], entry["aside"], entry["sha256"], entry["to"]
    if os.path.lexists(aside):
        return _return_from_aside(entry)
    if to in ("hardlink", "reflink"):
        return _separate(entry)
    if os.path.lexists(path):
        if file_ops.stat_file(path) is None or file_ops.digest(path) != sha256:
            return False, Message("another file has this name now; it was not overwritten")
        _clear_copies(entry)
        return True, IN_PLACE
    for place, record in _places(entry, trash):
        if file_ops.stat_file(place) is not None and file_ops.digest(place) == sha256:
            _move_back(entry, place)
            if record:
                os.unlink(record)
            return True, Message("restored from {place}", place=place)
    if to == "delete":
        return False, Message("deleted permanently")
    target = entry["target"]
    return False, Message("not found in {folder}", folder=target) if target else Message("not found in the trash")


def _places(entry: Entry, trash: Contents) -> Iterator[tuple[str, str]]:
    """Yield where a file may be now, and its record if that is in the trash."""
    if entry["to"] == "trash":
        yield from trash.find(entry["path"], inode=entry["inode"], mtime_ns=entry["attributes"]["mtime_ns"])
    elif entry["target"]:
        yield entry["target"], ""


def _return_from_aside(entry: Entry) -> tuple[bool, str]:
    """Give a file its name back that was only renamed: its removal was not completed."""
    path, aside = entry["path"], entry["aside"]
    file_ops.discard(entry["temporary"])
    is_link = entry["to"] in ("hardlink", "reflink") and file_ops.stat_file(path) is not None
    if is_link and file_ops.digest(path) == entry["sha256"]:
        os.unlink(path)  # it was to replace the original
    if os.path.lexists(path):
        return False, Message("another file has this name now; the original is {path}", path=aside)
    file_ops.rename(aside, path)
    _clear_copies(entry)
    return True, IN_PLACE


def _clear_copies(entry: Entry) -> None:
    """Remove copies that a crash left while the file itself is in place: an unfinished one, or a complete one."""
    file_ops.discard(entry["temporary"])
    target = entry["target"]
    if target and file_ops.stat_file(target) is not None:
        distinct = not os.path.samefile(target, entry["path"])
        if distinct and file_ops.digest(target) == entry["sha256"] == file_ops.digest(entry["path"]):
            os.unlink(target)


def _move_back(entry: Entry, place: str) -> None:
    """Move a file to where it was, with the attributes that it had."""
    path = entry["path"]
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = file_ops.temporary_beside(path, "undo", entry["do"])
    file_ops.discard(temporary)  # of an undo that was killed
    file_ops.move(place, path, sha256=entry["sha256"], temporary=temporary)
    file_ops.Attributes.from_json(entry["attributes"]).set_on(path)


def _separate(entry: Entry) -> tuple[bool, str]:
    """Make a link a file of its own again, whether or not its keeper still exists."""
    path, sha256, temporary = entry["path"], entry["sha256"], entry["temporary"]
    file = file_ops.stat_file(path)
    if file is None:
        return False, Message("gone since the apply")
    file_ops.discard(temporary)  # of a step that was killed
    if file_ops.digest(path) != sha256:
        return False, _not_restored(Message("changed since the apply, under this name or through another hard link"))
    now = os.lstat(path)
    own = now.st_nlink == 1 and now.st_mtime_ns == entry["attributes"]["mtime_ns"]
    if entry["to"] == "reflink" or file.inode == entry["inode"] or own:
        return True, IN_PLACE
    file_ops.copy(path, temporary, sha256=sha256)
    file_ops.Attributes.from_json(entry["attributes"]).set_on(temporary)
    os.replace(temporary, path)
    return True, Message("a file of its own again, no longer a hard link of {keeper}", keeper=entry["keeper"])
