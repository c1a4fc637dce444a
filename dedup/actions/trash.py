"""The system's trash. send2trash moves files there; they are found again by the layout of the freedesktop.org
Trash specification 1.0."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from urllib.parse import unquote_to_bytes

from send2trash import send2trash


def send(path: str) -> None:
    """Move a file to the trash. Raises OSError."""
    send2trash(path)


def is_restorable() -> bool:
    """Return whether find() knows the layout of this system's trash. It does not on Windows and macOS."""
    return sys.platform not in ("win32", "darwin")


def find(path: str, *, home_trash: str) -> Iterator[tuple[str, str]]:
    """Yield the trashed files that were at this path: the file in the trash, and its .trashinfo file."""
    for trash, top in _trashes(path, home_trash):
        info = os.path.join(trash, "info")
        for name in sorted(os.listdir(info)) if os.path.isdir(info) else ():
            with open(os.path.join(info, name), "rb") as f:
                recorded = re.search(rb"^Path=(.*)$", f.read(1 << 16), re.MULTILINE)
            if recorded and os.path.join(top, os.fsdecode(unquote_to_bytes(recorded[1]))) == path:
                yield os.path.join(trash, "files", name.removesuffix(".trashinfo")), os.path.join(info, name)


def _trashes(path: str, home_trash: str) -> Iterator[tuple[str, str]]:
    """Yield each trash that may hold a path, and the folder that paths in it are relative to."""
    yield home_trash, os.path.dirname(home_trash)
    top = os.path.dirname(path)
    while not os.path.ismount(top) and top != os.path.dirname(top):
        top = os.path.dirname(top)
    user = str(os.getuid())
    yield os.path.join(top, ".Trash", user), top
    yield os.path.join(top, f".Trash-{user}"), top
