"""Plan -> disk, with a journal. Every file is checked again right before it is touched. undo.py reverses it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from dedup.actions import file_ops, trash
from dedup.actions.journal import Journal
from dedup.errors import ActionFailed, BadUsage
from dedup.types.pairs import Relation
from dedup.types.photo import AGE_MARGIN_NS, File
from dedup.types.plan import Outcome, Removal, RemovalStep

LINKS = ("hardlink", "reflink")
DESTINATIONS = ("trash", *LINKS, "delete")


def apply(
    steps: Sequence[RemovalStep], *, to: str, journal: Journal, scanned_ns: int, protect: Sequence[str] = ()
) -> Iterator[Outcome]:
    """Yield the outcome for each file as it happens. A file that fails is skipped, and the rest continues.

    to: one of DESTINATIONS, or a folder. scanned_ns: when the last scan began, in nanoseconds since the epoch.
    Raises BadUsage, before anything is done, if undo could not restore files from this system's trash.
    """
    if to == "trash" and not trash.is_restorable():
        raise BadUsage("undo does not know the trash of this system; name a folder to move the files to: --to DIR")
    number = 0
    for step in steps:
        parts = step.parts[:1] if to in LINKS else step.parts  # a link keeps the name, so its sidecars stay valid
        path = parts[0].file.path
        try:
            reason = _nothing_to_do(parts[0])
            if reason:
                yield Outcome(path, True, reason)
                continue
            digests = [_check(part, to, step.relation, scanned_ns, protect) for part in parts]
            targets = _free_names(parts, to, step.root) if to not in DESTINATIONS else [""] * len(parts)
            for part, digest, target in zip(parts, digests, targets, strict=True):
                path, number = part.file.path, number + 1
                _remove(part, to, target, digest, journal, number)
                yield Outcome(path, True, f"-> {target or to}")
        except ActionFailed as error:
            yield Outcome(path, False, str(error))
        except OSError as error:
            yield Outcome(path, False, f"skipped: {error.strerror or error}")


def _nothing_to_do(part: Removal) -> str:
    """Return why a file needs no action, or an empty string."""
    now = file_ops.stat_file(part.file.path)
    if now is None:
        return "already gone"
    assert part.keeper_file is not None
    keeper = file_ops.stat_file(part.keeper_file.path)
    if keeper and (keeper.device, keeper.inode) == (now.device, now.inode):
        return "a hard link of the file that is kept; nothing to reclaim"
    return ""


def _check(part: Removal, to: str, relation: Relation, scanned_ns: int, protect: Sequence[str]) -> str:
    """Return the SHA-256 of a file that may be removed. Raises ActionFailed if it may not."""
    path = part.file.path
    folder = Path(os.path.realpath(os.path.dirname(path)))
    if any(folder.is_relative_to(os.path.realpath(p)) for p in protect):
        raise ActionFailed("skipped: in a protected folder")
    if to in LINKS and relation is not Relation.EXACT:
        raise ActionFailed(f"skipped: not the same bytes as its keeper; a {to} would lose its own")
    always_hash = to in (*LINKS, "delete")
    digest = _check_unchanged(part.file, part.sha256, always_hash, scanned_ns, "")
    if part.keeper_file is not None:
        whose = f"its keeper {part.keeper_file.path} "
        kept = _check_unchanged(part.keeper_file, part.keeper_sha256, always_hash, scanned_ns, whose)
        if not part.sha256 and digest != kept:
            raise ActionFailed(f"skipped, with its photo: not the same bytes as {part.keeper_file.path}")
    return digest


def _check_unchanged(file: File, sha256: str, always_hash: bool, scanned_ns: int, whose: str) -> str:
    """Return the SHA-256 of a file that is still the one that was scanned. Raises ActionFailed if it is not.

    It is read again if always_hash is set, or if its times do not exclude a change.
    """
    now = file_ops.stat_file(file.path)
    if now is None:
        raise ActionFailed(f"skipped: {whose}is gone since the scan")
    if (now.size, now.mtime_ns, now.device, now.inode) != (file.size, file.mtime_ns, file.device, file.inode):
        raise ActionFailed(f"skipped: {whose}changed after the scan; scan again")
    uncertain = now.ctime_ns != file.ctime_ns or max(now.mtime_ns, now.ctime_ns) > scanned_ns - AGE_MARGIN_NS
    if sha256 and not always_hash and not uncertain:
        return sha256
    found = file_ops.digest(file.path)
    if sha256 and found != sha256:
        raise ActionFailed(f"skipped: {whose}has other bytes than at the scan; scan again")
    return found


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


def _remove(part: Removal, to: str, target: str, digest: str, journal: Journal, number: int) -> None:
    """Remove one file, with a line in the journal before and after. Raises ActionFailed or OSError."""
    path = part.file.path
    temporary = file_ops.temporary_beside(target or path, os.path.basename(journal.path), number)
    before = os.lstat(path)
    journal.write(
        do=number, to=to if to in DESTINATIONS else "folder", path=path, target=target, sha256=digest,
        inode=before.st_ino, mode=before.st_mode & 0o7777, mtime_ns=before.st_mtime_ns, temporary=temporary,
        keeper=part.keeper_file.path if part.keeper_file else "",
    )  # fmt: skip
    try:
        _act(part, to, target, digest, temporary)
    except (ActionFailed, OSError):
        in_place = os.path.lexists(path) and os.path.samestat(before, os.lstat(path))
        if in_place and not os.path.lexists(target or temporary):
            journal.write(left=number)
        raise
    journal.write(done=number)


def _act(part: Removal, to: str, target: str, digest: str, temporary: str) -> None:
    path = part.file.path
    if to == "trash":
        trash.send(path)
    elif to == "delete":
        os.unlink(path)
    elif to in LINKS:
        assert part.keeper_file is not None
        _replace_by_link(path, part.keeper_file.path, to, temporary)
    else:
        folder = os.path.dirname(target)
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as error:
            raise ActionFailed(f"skipped: the folder {folder} cannot be made ({error.strerror})") from error
        file_ops.move(path, target, sha256=digest, temporary=temporary)


def _replace_by_link(path: str, keeper: str, to: str, temporary: str) -> None:
    """Replace a file by a hard link or a reflink of its keeper, atomically: the name always exists."""
    before = os.lstat(path)
    try:
        if to == "hardlink":
            os.link(keeper, temporary, follow_symlinks=os.link not in os.supports_follow_symlinks)
        else:
            file_ops.clone(keeper, temporary)
            os.chmod(temporary, before.st_mode & 0o7777)
            os.utime(temporary, ns=(before.st_atime_ns, before.st_mtime_ns))
        os.replace(temporary, path)
    except OSError:
        file_ops.discard(temporary)
        raise
