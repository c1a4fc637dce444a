"""How the paths of Linux, macOS and Windows compare, and which names they cannot have. Pure: knows no disk.

system: as sys.platform; any of them can be asked about on any.
"""

from __future__ import annotations

import ntpath
import posixpath
import re
import sys
import unicodedata

_EXTENDED = re.compile(r"\\\\[?.]\\(UNC\\)?", re.IGNORECASE)  # \\?\C:\a and \\?\UNC\server\share\a, which may be long
_DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\xb9\xb2\xb3])( *\.| *$|:)", re.IGNORECASE)
_IMPOSSIBLE = re.compile(r'[<>:"|?*\x00-\x1f]|[ .]$')
_LONGEST = 259  # characters, unless Windows is told to allow long paths


def nfc(text: str) -> str:
    """Return a text in Unicode form NFC."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def slashed(path: str, system: str = sys.platform) -> str:
    """Return a path with slashes where Windows has backslashes."""
    return path.replace("\\", "/") if system == "win32" else path


def comparable(path: str, system: str = sys.platform) -> str:
    """Return a text that is the same for every way to write a path, so far as links and short names do not matter.

    Windows takes letters of any case and both slashes, macOS letters of any case and in any Unicode form. A volume
    of theirs that tells more names apart is the exception.
    """
    if system == "win32":
        plain = _EXTENDED.sub(lambda found: r"\\" if found[1] else "", path, count=1)
        return ntpath.normcase(ntpath.normpath(plain))
    return nfc(path).casefold() if system == "darwin" else path


def is_inside(path: str, folder: str, system: str = sys.platform) -> bool:
    """Return whether an absolute path is that of a folder, or lies below it."""
    separator = "\\" if system == "win32" else "/"
    inner, outer = comparable(path, system), comparable(folder, system).rstrip(separator)
    return inner.rstrip(separator) == outer or inner.startswith(outer + separator)


def names_a_folder(word: str, system: str = sys.platform) -> bool:
    """Return whether a word of the command line can only be a path: it has a separator, or a drive (D:)."""
    if system == "win32":
        return "/" in word or "\\" in word or bool(ntpath.splitdrive(word)[0])
    return posixpath.sep in word


def forbidden_name(path: str, system: str = sys.platform) -> str:
    """Return the first name in a path that Windows gives no file: of a device, or with a character that none may have.

    Empty if there is none, as on every other system.
    """
    if system != "win32":
        return ""
    parts = re.split(r"[\\/]+", ntpath.splitdrive(path)[1])
    return next((p for p in parts if p.strip(".") and (_DEVICES.match(p) or _IMPOSSIBLE.search(p))), "")


def is_too_long(path: str, system: str = sys.platform) -> bool:
    """Return whether Windows finds nothing at an absolute path that is there, unless long paths are enabled."""
    return system == "win32" and len(path) > _LONGEST and not _EXTENDED.match(path)
