"""Proof, at the step, that the file to be removed and its keeper are two files.

Device and inode numbers cannot tell: one file has two of each if its folder is visible under two paths, by bindfs,
overlayfs, mergerfs, or a network share that is mounted twice. So the duplicate is renamed within its folder first. If
the keeper is a second name for it, the keeper's name is gone now, or the new name shows up in the keeper's folder.

The same check makes two runs safe that remove each other's keepers: each renames its own duplicate before it looks at
its keeper, so at least one of them does not find it.
"""

from __future__ import annotations

import os
import unicodedata

from dedup.actions import file_ops
from dedup.errors import ActionFailed
from dedup.types.message import Message
from dedup.types.photo import File
from dedup.types.plan import Removal

_Signature = tuple[int, int, int, int, int]


class KeeperCheck:
    """Checks that keepers are there with the bytes that were scanned. Each is read once, unless it changes."""

    def __init__(self) -> None:
        self._digests: dict[tuple[str, _Signature], str] = {}

    def digest(self, path: str) -> str:
        """Return the SHA-256 of a keeper that is at this path now. Raises ActionFailed if it is gone or changing."""
        try:
            descriptor = file_ops.open_file(path)  # opened even if its digest is known: file systems cache names
        except FileNotFoundError:
            raise ActionFailed(Message("its keeper {keeper} is gone", keeper=path)) from None
        signature = _signature(File.from_stat(path, os.fstat(descriptor)))
        known = self._digests.get((path, signature))
        if known is None:
            known = file_ops.digest_of(descriptor)
        else:
            os.close(descriptor)
        now = file_ops.stat_file(path)
        if now is None or _signature(now) != signature:
            raise ActionFailed(Message("its keeper {keeper} changed while it was checked", keeper=path))
        self._digests[path, signature] = known
        return known

    def check_distinct(self, part: Removal, path: str, aside: str) -> None:
        """Raise ActionFailed unless the keeper of a file is another file, with the bytes that were scanned.

        path: of the file to be removed. aside: the name in the same folder that it has now.
        """
        assert part.keeper_file is not None
        named, keeper = part.keeper_file.path, file_ops.real_path(part.keeper_file.path)
        if _shows_through(path, aside, keeper):
            raise ActionFailed(Message("{keeper} is the same file under another path", keeper=named))
        if file_ops.stat_file(keeper) is None:
            raise ActionFailed(
                Message(
                    "its keeper {keeper} disappeared with it; "
                    "both are one file under two paths, or another program moved it",
                    keeper=named,
                )
            )
        found = self.digest(keeper)
        if part.keeper_sha256 and found != part.keeper_sha256:
            raise ActionFailed(
                Message("its keeper {keeper} has other bytes than at the scan; scan again", keeper=named)
            )


def _shows_through(path: str, aside: str, keeper: str) -> bool:
    """Return whether the folders of a file and its keeper are one folder under two paths, and both names are equal.

    aside: a new name in the folder of the file. No cache can know it in the other folder.
    """
    folder = os.path.dirname(keeper)
    if folder == os.path.dirname(path) or not os.path.lexists(os.path.join(folder, os.path.basename(aside))):
        return False
    return _folded(path) == _folded(keeper)


def _folded(path: str) -> str:
    """Return the name of a file as a file system compares it that ignores case and Unicode form."""
    return unicodedata.normalize("NFC", os.path.basename(path)).casefold()


def _signature(file: File) -> _Signature:
    return file.device, file.inode, file.size, file.mtime_ns, file.ctime_ns
