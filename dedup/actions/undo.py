"""Journal -> disk as it was before: every file that apply moved or linked returns to its place."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from dedup.actions import file_ops, trash
from dedup.actions.journal import Entry, Journal, started
from dedup.errors import ActionFailed
from dedup.types.plan import Outcome


def undo(entries: Sequence[Entry], *, journal: Journal, home_trash: str) -> Iterator[Outcome]:
    """Yield the outcome for each file of a run, the last one first. Overwrites nothing.

    It looks at the disk and not only at the journal, so it may run twice, and after a crash. The run counts as undone
    when no file is left that a later undo could restore.
    """
    complete = True
    done = {entry["done"] for entry in entries if "done" in entry}
    for entry in reversed(started(entries)):
        try:
            outcome = Outcome(entry["path"], *_undo_entry(entry, entry["do"] in done, home_trash))
        except ActionFailed as error:
            outcome = Outcome(entry["path"], False, str(error))
        except OSError as error:
            outcome = Outcome(entry["path"], False, f"not restored: {error.strerror or error}")
        complete &= outcome.done or entry["to"] == "delete"
        yield outcome
    if complete:
        journal.write(undone=True)


def _undo_entry(entry: Entry, done: bool, home_trash: str) -> tuple[bool, str]:
    """Return whether a file is as it was before, and a message."""
    path, sha256, to = entry["path"], entry["sha256"], entry["to"]
    if os.path.lexists(path):
        _clear_unfinished(entry, done)
    if to == "hardlink":
        return _unlink_copy(entry)
    if os.path.lexists(path):
        same = file_ops.stat_file(path) is not None and file_ops.digest(path) == sha256
        return same, "in place" if same else "another file has this name now; it was not overwritten"
    if to == "delete":
        return False, "deleted permanently"
    if to == "reflink":
        return False, "gone since the apply"
    places = [(entry["target"], "")] if to == "folder" else list(trash.find(path, home_trash=home_trash))
    for place, info in places:
        if file_ops.stat_file(place) is not None and file_ops.digest(place) == sha256:
            _move_back(entry, place)
            if info:
                os.unlink(info)
            return True, f"restored from {place}"
    return False, f"not found in {entry['target'] or 'the trash'}"


def _move_back(entry: Entry, place: str) -> None:
    path = entry["path"]
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = file_ops.temporary_beside(path, "undo", entry["do"])
    file_ops.discard(temporary)  # of an undo that was killed
    file_ops.move(place, path, sha256=entry["sha256"], temporary=temporary)


def _clear_unfinished(entry: Entry, done: bool) -> None:
    """Remove what a crash left: an unfinished copy, or a finished one whose source was not removed yet."""
    file_ops.discard(entry["temporary"])
    target = entry["target"]
    if not done and target and file_ops.stat_file(target) is not None and file_ops.stat_file(entry["path"]) is not None:
        distinct = not os.path.samefile(target, entry["path"])
        if distinct and file_ops.digest(target) == entry["sha256"] == file_ops.digest(entry["path"]):
            os.unlink(target)


def _unlink_copy(entry: Entry) -> tuple[bool, str]:
    """Make a hard link a file of its own again, whether or not its keeper still exists."""
    path, sha256, temporary = entry["path"], entry["sha256"], entry["temporary"]
    if file_ops.stat_file(path) is None:
        return False, "gone since the apply"
    if file_ops.digest(path) != sha256:
        return False, "not restored: changed since the apply, under this name or through another hard link"
    now = os.lstat(path)
    if now.st_ino == entry["inode"] or (now.st_nlink == 1 and now.st_mtime_ns == entry["mtime_ns"]):
        return True, "in place"
    file_ops.copy(path, temporary, sha256=sha256)
    os.chmod(temporary, entry["mode"])
    os.utime(temporary, ns=(entry["mtime_ns"], entry["mtime_ns"]))
    os.replace(temporary, path)
    return True, f"a file of its own again, no longer a hard link of {entry['keeper']}"
