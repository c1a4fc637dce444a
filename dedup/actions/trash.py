"""The system's trash. send2trash moves files there; they are found again by the layout of the freedesktop.org
Trash specification 1.0."""

from __future__ import annotations

import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from urllib.parse import unquote_to_bytes

from send2trash import send2trash

from dedup.actions.file_ops import real_path


def send(path: str) -> None:
    """Move a file to the trash. Raises OSError."""
    send2trash(path)


def is_restorable() -> bool:
    """Return whether Contents knows the layout of this system's trash. It does not on Windows and macOS."""
    return sys.platform not in ("win32", "darwin")


class Contents:
    """The files in the trash of each volume, by the path that they had. Each trash is listed once.

    home_trash: the trash of the home file system.
    """

    def __init__(self, home_trash: str) -> None:
        self._home_trash = home_trash
        self._listed: dict[str, dict[str, list[tuple[str, str]]]] = {}

    def find(self, path: str) -> list[tuple[str, str]]:
        """Return the trashed files that were at this real path: each file in the trash, and its .trashinfo file."""
        found = []
        for trash, top in self._trashes(path):
            if trash not in self._listed:
                self._listed[trash] = _by_path(trash, top)
            found += self._listed[trash].get(path, [])
        return found

    def _trashes(self, path: str) -> Iterator[tuple[str, str]]:
        """Yield each trash that may hold a path, and the folder that paths in it are relative to."""
        yield self._home_trash, os.path.dirname(self._home_trash)
        top = os.path.dirname(path)
        while not os.path.ismount(top) and top != os.path.dirname(top):
            top = os.path.dirname(top)
        user = str(os.getuid())
        yield os.path.join(top, ".Trash", user), top
        yield os.path.join(top, f".Trash-{user}"), top


def _by_path(trash: str, top: str) -> dict[str, list[tuple[str, str]]]:
    """Return what one trash holds, by the real path that each file had."""
    info, found = os.path.join(trash, "info"), defaultdict(list)
    for name in sorted(os.listdir(info)) if os.path.isdir(info) else ():
        with open(os.path.join(info, name), "rb") as f:
            recorded = re.search(rb"^Path=(.*)$", f.read(1 << 16), re.MULTILINE)
        if recorded:
            path = os.path.normpath(os.path.join(top, os.fsdecode(unquote_to_bytes(recorded[1]))))
            file = os.path.join(trash, "files", name.removesuffix(".trashinfo"))
            found[real_path(path)].append((file, os.path.join(info, name)))
    return found
