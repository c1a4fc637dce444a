"""Roots -> the files below them, as stat() saw them. Knows no pixels and never opens a file.

Left out without a word, because nobody calls them photos of theirs: hidden files and folders, symbolic links, and
the folders where other programs keep trash and thumbnails (LEFT_OUT, LEFT_OUT_SUFFIXES, LEFT_OUT_OF_LIBRARIES). A
folder that is named as a root is always scanned, whatever it is called.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from fnmatch import translate

from dedup.errors import BadUsage
from dedup.types import File, Skipped

# Trash, snapshots and thumbnails of NAS systems, Windows, Linux and macOS; compared in lower case.
LEFT_OUT = frozenset(
    {
        "@eadir",  # Synology: thumbnails
        "@tmp",
        "#recycle",
        "#snapshot",
        "@recycle",  # QNAP
        "@recently-snapshot",
        "$recycle.bin",  # Windows
        "recycler",
        "system volume information",
        "lost+found",  # ext4
        "__macosx",  # what macOS adds to a ZIP
    }
)
LEFT_OUT_SUFFIXES = (".lrdata", ".lrcat-data", ".cocatalogdb")  # previews of Lightroom and of Capture One

# Inside a library of Apple Photos, iPhoto or Aperture: smaller copies of what lies in originals/ or Masters/.
LIBRARY_SUFFIXES = (".photoslibrary", ".photolibrary", ".migratedphotolibrary", ".aplibrary")
LEFT_OUT_OF_LIBRARIES = frozenset(
    {"resources", "database", "private", "internal", "external", "scopes", "thumbnails", "previews", "caches"}
)


def walk(roots: Sequence[str], *, exclude: Sequence[str] = ()) -> Iterator[File | Skipped]:
    """Return every regular file below the roots, each once however the roots overlap, in no particular order.

    A root may be a folder, a file, or a symbolic link to either; links below a root are not followed.
    exclude: globs with * ? [...], case-sensitive, compared as a whole with the name, with the absolute path, and with
    the path relative to the root; * also matches a slash. What lies in an excluded folder is not looked at. Roots
    themselves are neither globs nor excluded.
    A folder that cannot be listed and whatever is no regular file come as Skipped.
    Raises BadUsage, before anything is walked, if a root is missing or cannot be read.
    """
    excluded = re.compile("|".join(translate(glob.rstrip("/") or glob) for glob in exclude)) if exclude else None
    return _walk_all([_checked(root) for root in roots], excluded)


def folder(path: str) -> str:
    """Return the absolute path of a folder to scan. Raises BadUsage if it is a file."""
    if os.path.isfile(path):
        raise BadUsage(f"{path}: a file, not a folder; scan its folder, or ask with 'dedup find' what matches it")
    return os.path.abspath(path)


def _checked(root: str) -> tuple[str, os.stat_result]:
    """Return the root as an absolute path, links in it left as they are, and what it leads to."""
    if not root:
        raise BadUsage("an empty path is no folder; '.' is the current one")  # abspath would make it the current one
    path = os.path.abspath(root)
    shown = path if path.isprintable() else repr(path)
    try:
        seen = os.stat(path)
        if stat.S_ISDIR(seen.st_mode):
            os.scandir(path).close()
    except (FileNotFoundError, NotADirectoryError):
        raise BadUsage(
            f"{shown}: no such file or folder; look for a typing error, or a drive that is not mounted"
        ) from None
    except OSError as error:
        raise BadUsage(f"{shown}: {_words(error)}") from None
    if not stat.S_ISDIR(seen.st_mode) and not stat.S_ISREG(seen.st_mode):
        raise BadUsage(f"{shown}: neither a folder nor a file")
    return path, seen


def _walk_all(roots: list[tuple[str, os.stat_result]], excluded: re.Pattern[str] | None) -> Iterator[File | Skipped]:
    done: set[str] = set()  # real paths of folders listed and of files named as roots
    for root, seen in roots:
        real = os.path.realpath(root)
        if stat.S_ISREG(seen.st_mode) and real not in done:
            done.add(real)
            yield _file(root, seen)
    for root, seen in roots:
        if stat.S_ISDIR(seen.st_mode):
            yield from _walk(root, done, excluded)


def _walk(root: str, done: set[str], excluded: re.Pattern[str] | None) -> Iterator[File | Skipped]:
    prefix = len(os.path.join(root, ""))
    # No link is followed below a root, so the real path of a folder is that of the root and the same tail.
    waiting = [(root, os.path.realpath(root))]
    while waiting:
        folder, real = waiting.pop()
        if real in done:
            continue
        done.add(real)
        try:
            with os.scandir(folder) as listing:
                entries = list(listing)
        except OSError as error:
            yield Skipped(folder, f"{_words(error)}: the folder cannot be listed")
            continue
        library = folder.lower().endswith(LIBRARY_SUFFIXES)
        for entry in entries:
            if entry.name.startswith(".") or entry.is_symlink():
                continue
            if excluded and _is_excluded(excluded, entry, prefix):
                continue
            if entry.is_dir(follow_symlinks=False):
                if not _is_left_out(entry.name.lower(), in_library=library):
                    waiting.append((entry.path, os.path.join(real, entry.name)))
            elif os.path.join(real, entry.name) not in done:
                yield _stat(entry)


def _is_excluded(excluded: re.Pattern[str], entry: os.DirEntry[str], prefix: int) -> bool:
    return any(excluded.match(text) for text in (entry.name, entry.path, entry.path[prefix:]))


def _is_left_out(name: str, *, in_library: bool) -> bool:
    return name in LEFT_OUT or name.endswith(LEFT_OUT_SUFFIXES) or (in_library and name in LEFT_OUT_OF_LIBRARIES)


def _stat(entry: os.DirEntry[str]) -> File | Skipped:
    try:
        return _file(entry.path, entry.stat(follow_symlinks=False))
    except OSError as error:
        return Skipped(entry.path, _words(error))


def _file(path: str, seen: os.stat_result) -> File | Skipped:
    if not stat.S_ISREG(seen.st_mode):
        return Skipped(path, "not a regular file", picture=False)
    return File(path, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_dev, seen.st_ino)


def _words(error: OSError) -> str:
    """Return what went wrong in lower case, without the path."""
    if isinstance(error, FileNotFoundError):
        return "vanished during the scan"
    return (error.strerror or str(error)).lower()


def chosen(below: str, root: str, exclude: Sequence[str]) -> bool:
    """Return whether walk() would come to a file of this path below the root, and not leave it out."""
    excluded = re.compile("|".join(translate(glob.rstrip("/") or glob) for glob in exclude)) if exclude else None
    parts = below.split("/")
    for n, name in enumerate(parts, 1):
        tail = "/".join(parts[:n])
        texts = (name, f"{root.rstrip('/')}/{tail}", tail)
        library = n > 1 and parts[n - 2].lower().endswith(LIBRARY_SUFFIXES)
        folder = n < len(parts)
        if (
            name.startswith(".")
            or (excluded and any(map(excluded.match, texts)))
            or (folder and _is_left_out(name.lower(), in_library=library))
        ):
            return False
    return True
