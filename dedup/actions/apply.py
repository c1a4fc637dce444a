"""Plan -> disk, with a journal, and back. Every file is looked at again right before it is touched."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dedup.actions import file_ops, trash
from dedup.actions.journal import Entry, Journal, begun
from dedup.errors import ActionFailed, BadUsage
from dedup.types.pairs import Relation
from dedup.types.photo import File
from dedup.types.plan import Removal, RemovalStep

LINKS = ("hardlink", "reflink")
DESTINATIONS = ("trash", *LINKS, "delete")
_YOUNG_NS = 3_000_000_000  # a file this young when the scan began may have changed within the grain of its times


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file. done: False if it was left alone though it should not have been."""

    path: str
    done: bool
    words: str

    @property
    def line(self) -> str:
        """The words, with the file they are about named once."""
        return self.words if self.words.startswith(self.path) else f"{self.path}: {self.words}"


def apply(
    steps: Sequence[RemovalStep], *, to: str, journal: Journal, scanned_ns: int, protect: Sequence[str] = ()
) -> Iterator[Outcome]:
    """Yield what became of each file, as it happens. A file that fails is left alone, and the rest goes on.

    to: one of DESTINATIONS or a folder. scanned_ns: when the last scan began. Raises BadUsage, before anything is done,
    if nothing would come back from there though it should.
    """
    if to == "trash" and not trash.gives_back():
        raise BadUsage("undo does not know the trash of this system; name a folder to move the files to: --to DIR")
    number = 0
    for step in steps:
        parts = step.parts[:1] if to in LINKS else step.parts  # the name stays, so do its sidecars
        path = parts[0].file.path
        try:
            words = _nothing_to_do(parts[0])
            if words:
                yield Outcome(path, True, words)
                continue
            shas = [_checked(part, to, step.relation, scanned_ns, protect) for part in parts]
            targets = _targets(parts, to, step.root) if to not in DESTINATIONS else [""] * len(parts)
            for part, sha, target in zip(parts, shas, targets, strict=True):
                path, number = part.file.path, number + 1
                _do(part, to, target, sha, journal, number)
                yield Outcome(path, True, f"-> {target or to}")
        except ActionFailed as error:
            yield Outcome(path, False, str(error))
        except OSError as error:
            yield Outcome(path, False, f"{path}: {error.strerror or error}; it was left alone")


def _nothing_to_do(part: Removal) -> str:
    now = file_ops.seen(part.file.path)
    if now is None:
        return "already gone"
    assert part.keeper_file is not None
    keeper_file = file_ops.seen(part.keeper_file.path)
    if keeper_file and (keeper_file.device, keeper_file.inode) == (now.device, now.inode):
        return "the same file as its keeper under another name; nothing to win back"
    return ""


def _checked(part: Removal, to: str, relation: Relation, scanned_ns: int, protect: Sequence[str]) -> str:
    """Return the SHA-256 of a file that may be taken away. Raises ActionFailed if it may not."""
    path = part.file.path
    folder = os.path.realpath(os.path.dirname(path))
    if any(Path(folder).is_relative_to(os.path.realpath(p)) for p in protect):
        raise ActionFailed(f"{path}: in a protected folder; it was left alone")
    if to in LINKS and relation is not Relation.EXACT:
        raise ActionFailed(f"{path}: not the same bytes as its keeper; a {to} would lose its own")
    surely = to in (*LINKS, "delete")
    sha = _unchanged(part.file, part.sha256, surely, scanned_ns)
    if part.keeper_file is not None:
        other = _unchanged(part.keeper_file, part.keeper_sha256, surely, scanned_ns)
        if not part.sha256 and sha != other:
            raise ActionFailed(f"{path}: not the same as {part.keeper_file.path}; nothing of this photo was touched")
    return sha


def _unchanged(file: File, sha256: str, surely: bool, scanned_ns: int) -> str:
    """Return the SHA-256 of a file that is the one that was scanned; read again if its times leave a doubt."""
    now = file_ops.seen(file.path)
    if now is None:
        raise ActionFailed(f"{file.path}: gone since the scan; nothing was done")
    if (now.size, now.mtime_ns, now.device, now.inode) != (file.size, file.mtime_ns, file.device, file.inode):
        raise ActionFailed(f"{file.path}: changed after the scan; nothing was done. Scan again")
    doubt = now.ctime_ns != file.ctime_ns or max(now.mtime_ns, now.ctime_ns) > scanned_ns - _YOUNG_NS
    if sha256 and not surely and not doubt:
        return sha256
    found = file_ops.digest(file.path)
    if sha256 and found != sha256:
        raise ActionFailed(f"{file.path}: other bytes than at the scan; nothing was done. Scan again")
    return found


def _targets(parts: Sequence[Removal], folder: str, root: str) -> list[str]:
    """Return free names in the quarantine, below the same folders as under the root; one number for the whole unit."""
    n = 1
    while True:
        names = [os.path.join(folder, os.path.relpath(part.file.path, root)) for part in parts]
        if n > 1:
            names = [f"{stem} ({n}){suffix}" for stem, suffix in map(os.path.splitext, names)]
        if not any(map(os.path.lexists, names)):
            return names
        n += 1


def _temporary(path: str, run: str, number: int) -> str:
    return os.path.join(os.path.dirname(path), f".dedup-{run}-{number}.part")


def _do(part: Removal, to: str, target: str, sha: str, journal: Journal, number: int) -> None:
    """Take one file away, with a line in the journal before and after. Raises ActionFailed or OSError."""
    path = part.file.path
    temporary = _temporary(target or path, os.path.basename(journal.path), number)
    was = os.lstat(path)
    journal.write(
        do=number, to=to if to in DESTINATIONS else "folder", path=path, target=target, sha256=sha,
        inode=was.st_ino, mode=was.st_mode & 0o7777, mtime_ns=was.st_mtime_ns, temporary=temporary,
        keeper=part.keeper_file.path if part.keeper_file else "",
    )  # fmt: skip
    try:
        _act(part, to, target, sha, temporary)
    except (ActionFailed, OSError):
        if os.path.lexists(path) and os.path.samestat(was, os.lstat(path)) and not os.path.lexists(target or temporary):
            journal.write(left=number)
        raise
    journal.write(done=number)


def _act(part: Removal, to: str, target: str, sha: str, temporary: str) -> None:
    path = part.file.path
    if to == "trash":
        trash.send(path)
    elif to == "delete":
        os.unlink(path)
    elif to in LINKS:
        assert part.keeper_file is not None
        was = os.lstat(path)
        try:
            if to == "hardlink":
                os.link(part.keeper_file.path, temporary, follow_symlinks=os.link not in os.supports_follow_symlinks)
            else:
                file_ops.clone(part.keeper_file.path, temporary)
                os.chmod(temporary, was.st_mode & 0o7777)
                os.utime(temporary, ns=(was.st_atime_ns, was.st_mtime_ns))
            os.replace(temporary, path)  # never a moment without the file
        except OSError:
            file_ops.discard(temporary)
            raise
    else:
        folder = os.path.dirname(target)
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as error:
            words = f"{path}: left alone, since the folder {folder} cannot be made ({error.strerror})"
            raise ActionFailed(words) from error
        file_ops.move(path, target, sha=sha, temporary=temporary)


def undo(entries: Sequence[Entry], *, journal: Journal, home_trash: str) -> Iterator[Outcome]:
    """Yield what became of each file of a run, the last first. Looks at the disk, so it may run twice; overwrites
    nothing. The run counts as undone when nothing is left that could still be taken back."""
    complete = True
    done = {entry["done"] for entry in entries if "done" in entry}
    for entry in reversed(begun(entries)):
        try:
            outcome = Outcome(entry["path"], *_undone(entry, entry["do"] in done, home_trash))
        except ActionFailed as error:
            outcome = Outcome(entry["path"], False, str(error))
        except OSError as error:
            outcome = Outcome(entry["path"], False, f"{error.strerror or error}; it was left as it is")
        complete &= outcome.done or entry["to"] == "delete"
        yield outcome
    if complete:
        journal.write(undone=True)


def _undone(entry: Entry, done: bool, home_trash: str) -> tuple[bool, str]:
    """Return whether a file is as it was, and in words."""
    path, sha, to = entry["path"], entry["sha256"], entry["to"]
    if os.path.lexists(path):  # a crash may have left half of a step beside it
        _clear(entry, done)
    if to == "hardlink":
        return _unlinked(entry)
    if os.path.lexists(path):
        same = file_ops.seen(path) is not None and file_ops.digest(path) == sha
        return same, "in its place" if same else "something else lies there now; it was not overwritten"
    if to in ("delete", "reflink"):
        return False, "deleted for good" if to == "delete" else "gone since then"
    places = [(entry["target"], "")] if to == "folder" else list(trash.find(path, home_trash=home_trash))
    for place, note in places:
        if file_ops.seen(place) is not None and file_ops.digest(place) == sha:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            temporary = _temporary(path, "undo", entry["do"])
            file_ops.discard(temporary)  # of an undo that was killed
            file_ops.move(place, path, sha=sha, temporary=temporary)
            if note:
                os.unlink(note)
            return True, f"brought back from {place}"
    return False, f"not found any more in {entry['target'] or 'the trash'}"


def _clear(entry: Entry, done: bool) -> None:
    """Remove what a crash left: a copy that was not finished, or one that was while the source still stood."""
    file_ops.discard(entry["temporary"])
    target = entry["target"]
    if not done and target and file_ops.seen(target) is not None and file_ops.seen(entry["path"]) is not None:
        apart = not os.path.samefile(target, entry["path"])
        if apart and file_ops.digest(target) == entry["sha256"] == file_ops.digest(entry["path"]):
            os.unlink(target)


def _unlinked(entry: Entry) -> tuple[bool, str]:
    """Give what became a hard link bytes and times of its own again, wherever its keeper is by now."""
    path, sha, temporary = entry["path"], entry["sha256"], entry["temporary"]
    if file_ops.seen(path) is None:
        return False, "gone since then"
    if file_ops.digest(path) != sha:
        return False, "changed since then, under this name or another of the same file; it was left alone"
    now = os.lstat(path)
    if now.st_ino == entry["inode"] or (now.st_nlink == 1 and now.st_mtime_ns == entry["mtime_ns"]):
        return True, "in its place"
    file_ops.copy(path, temporary, sha=sha)
    os.chmod(temporary, entry["mode"])
    os.utime(temporary, ns=(entry["mtime_ns"], entry["mtime_ns"]))
    os.replace(temporary, path)
    return True, f"a file of its own again, no longer a link to {entry['keeper']}"
