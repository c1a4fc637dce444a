"""The system's trash. send2trash moves files there; Contents finds them again, by the layout that each system has:

- Linux and others: the freedesktop.org Trash specification 1.0, a .trashinfo file for each trashed one.
- Windows: $Recycle.Bin on each volume, with a folder for each user and a record $I... for each file $R....
- macOS: ~/.Trash, and .Trashes/UID on other volumes, without records; a file keeps its inode or its time there.
"""

from __future__ import annotations

import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import unquote_to_bytes

from send2trash import send2trash

from dedup.actions.file_ops import digest, real_path, stat_file
from dedup.errors import ActionFailed
from dedup.files.path_rules import comparable
from dedup.types.message import Message

_Place = tuple[str, str]  # a file in a trash, and its record there; "" if there is none


def send(path: str) -> None:
    """Move a file to the trash. Raises OSError."""
    send2trash(path)


def gives_back(path: str, home_trash: str) -> bool:
    """Return whether a file is found in the trash that is made at this path and sent there. It is deleted then.

    Raises OSError, and ActionFailed if the trash cannot be read.
    """
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as f:
        f.write(os.urandom(32))
    file, sha256 = stat_file(path), digest(path)
    assert file is not None
    send(path)
    found = Contents(home_trash).find(real_path(path), inode=file.inode, mtime_ns=file.mtime_ns)
    ours = [place for place in found if os.path.isfile(place[0]) and digest(place[0]) == sha256]
    for each in (part for place in ours for part in place if part):
        os.unlink(each)
    return bool(ours)


class Contents:
    """The files in the trash of each volume, by what they were. Each trash is listed once.

    home_trash: the trash of the home file system; not used on Windows.
    """

    def __init__(self, home_trash: str) -> None:
        self._home_trash = home_trash
        self._listed: dict[str, dict[object, list[_Place]]] = {}

    def find(self, path: str, *, inode: int, mtime_ns: int) -> list[_Place]:
        """Return the trashed files that may be the one that was at this real path, with these numbers.

        Raises ActionFailed if a trash cannot be read.
        """
        keys = (f"inode {inode}", f"time {mtime_ns}") if sys.platform == "darwin" else (comparable(path, sys.platform),)
        found: list[_Place] = []
        for trash, top in self._trashes(path):
            if trash not in self._listed:
                self._listed[trash] = _listing(trash, top)
            found += [place for key in keys for place in self._listed[trash].get(key, [])]
        return list(dict.fromkeys(found))

    def _trashes(self, path: str) -> Iterator[tuple[str, str]]:
        """Yield each trash that may hold a path, and the folder that paths in it are relative to."""
        top = os.path.dirname(path)
        while not os.path.ismount(top) and top != os.path.dirname(top):
            top = os.path.dirname(top)
        if sys.platform == "win32":
            users = os.path.join(top, "$Recycle.Bin")
            yield from ((os.path.join(users, name), top) for name in _names(users))
            return
        user = str(os.getuid())
        yield self._home_trash, os.path.dirname(self._home_trash)
        if sys.platform == "darwin":
            yield os.path.join(top, ".Trashes", user), top
        else:
            yield os.path.join(top, ".Trash", user), top
            yield os.path.join(top, f".Trash-{user}"), top


def _listing(trash: str, top: str) -> dict[object, list[_Place]]:
    """Return what one trash holds, by the keys of Contents.find()."""
    found: dict[object, list[_Place]] = defaultdict(list)
    if sys.platform == "darwin":
        for name in _names(trash):
            with suppress(FileNotFoundError):
                s = os.lstat(os.path.join(trash, name))
                for key in (f"inode {s.st_ino}", f"time {s.st_mtime_ns}"):
                    found[key].append((os.path.join(trash, name), ""))
        return found
    records = _of_windows(trash) if sys.platform == "win32" else _of_freedesktop(trash, top)
    for path, place in records:
        found[comparable(path, sys.platform)].append(place)
    return found


def _names(folder: str) -> list[str]:
    """Return the names in a folder; none if it is not there, or is another user's on Windows. Raises ActionFailed."""
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError as error:
        if sys.platform == "win32":
            return []
        raise ActionFailed(_unreadable(folder, str(error.strerror))) from error


def _unreadable(folder: str, error: str) -> Message:
    if sys.platform == "darwin":
        return Message(
            "{folder} cannot be read ({error}); give the terminal Full Disk Access in the privacy settings",
            folder=folder,
            error=error,
        )
    return Message("{folder} cannot be read ({error})", folder=folder, error=error)


def _of_freedesktop(trash: str, top: str) -> Iterator[tuple[str, _Place]]:
    """Yield the real path that each file had, and its place."""
    info = os.path.join(trash, "info")
    for name in _names(info):
        with open(os.path.join(info, name), "rb") as f:
            recorded = re.search(rb"^Path=(.*)$", f.read(1 << 16), re.MULTILINE)
        if recorded:
            path = os.path.normpath(os.path.join(top, os.fsdecode(unquote_to_bytes(recorded[1]))))
            file = os.path.join(trash, "files", name.removesuffix(".trashinfo"))
            yield real_path(path), (file, os.path.join(info, name))


def _of_windows(trash: str) -> Iterator[tuple[str, _Place]]:
    """Yield the path that each file of one user had, and its place."""
    for name in _names(trash):
        if name.upper().startswith("$I"):
            record = os.path.join(trash, name)
            with suppress(OSError), open(record, "rb") as f:
                yield original_path(f.read(1 << 17)), (os.path.join(trash, f"$R{name[2:]}"), record)


def original_path(record: bytes) -> str:
    """Return the path that a file had, from its record in the recycle bin of Windows; "" if it is no record.

    All numbers are little-endian: version (8 bytes), size (8), time of deletion (8, FILETIME), and the path in UTF-16.
    In version 1 (Vista to 8.1) it has 260 characters, in version 2 (10 and 11) as many as 4 bytes before it say.
    """
    version = int.from_bytes(record[:8], "little")
    length, start = (260, 24) if version == 1 else (int.from_bytes(record[24:28], "little"), 28)
    if version not in (1, 2):
        return ""
    text = record[start : start + 2 * length]
    return text[: len(text) // 2 * 2].decode("utf-16-le", "surrogatepass").partition("\0")[0]
