"""The system's trash: files go there by send2trash, and come back by the layout of the freedesktop specification."""

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


def gives_back() -> bool:
    """Return whether find() knows the trash of this system; on Windows and macOS it has another layout."""
    return sys.platform not in ("win32", "darwin")


def find(path: str, *, home_trash: str) -> Iterator[tuple[str, str]]:
    """Yield what the trash holds that lay at this path: the file there, and the file that says where it was."""
    for trash, top in _trashes(path, home_trash):
        info = os.path.join(trash, "info")
        for name in sorted(os.listdir(info)) if os.path.isdir(info) else ():
            with open(os.path.join(info, name), "rb") as f:
                said = re.search(rb"^Path=(.*)$", f.read(1 << 16), re.MULTILINE)
            if said and os.path.join(top, os.fsdecode(unquote_to_bytes(said[1]))) == path:
                yield os.path.join(trash, "files", name.removesuffix(".trashinfo")), os.path.join(info, name)


def _trashes(path: str, home_trash: str) -> Iterator[tuple[str, str]]:
    yield home_trash, os.path.dirname(home_trash)
    top = os.path.dirname(path)
    while not os.path.ismount(top) and top != os.path.dirname(top):
        top = os.path.dirname(top)
    user = str(os.getuid())
    yield os.path.join(top, ".Trash", user), top
    yield os.path.join(top, f".Trash-{user}"), top
