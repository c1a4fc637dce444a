"""Roots -> the files below them, as stat() saw them. Knows no pixels and never opens a file.

Left out without a word, because nobody calls them photos of theirs: hidden files and folders, symbolic links, and
the folders where other programs keep trash and thumbnails (LEFT_OUT, LEFT_OUT_SUFFIXES, LEFT_OUT_OF_LIBRARIES). A
folder that is named as a root is always scanned, whatever it is called.
"""

from __future__ import annotations

import os
import re
import stat
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import translate
from functools import partial
from hashlib import sha256
from operator import attrgetter

from dedup.errors import BadUsage, DedupError
from dedup.types.photo import File, Skipped


def files_in(folder: str) -> tuple[File, ...]:
    """Return the regular files of a folder as lstat sees them; none if it is gone. Raises DedupError otherwise."""
    found = []
    try:
        with os.scandir(folder) as listing:
            for entry in listing:
                if entry.is_file(follow_symlinks=False):
                    s = entry.stat(follow_symlinks=False)
                    found.append(File(entry.path, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_dev, s.st_ino))
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as error:
        raise DedupError(f"{folder}: cannot be listed ({error.strerror or error})") from error
    return tuple(found)


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

_FIGURES = attrgetter("st_size", "st_mtime_ns", "st_ctime_ns", "st_dev", "st_ino")  # those of a File, in its order


@dataclass(frozen=True, slots=True)
class Folder:
    """What stat() saw in one folder, as columns, so that a file costs little more than its name.

    names: of its files, a slash between two.   stats: size, mtime_ns, ctime_ns, device, inode of each in turn.
    """

    path: str
    names: str
    stats: array[int]
    skipped: tuple[Skipped, ...] = ()

    def __iter__(self) -> Iterator[File | Skipped]:
        prefix, one = os.path.join(self.path, ""), iter(self.stats)
        for name, *seen in zip(self.names.split("/"), one, one, one, one, one, strict=False):  # no file: one name, ""
            yield File(prefix + name, *seen)
        yield from self.skipped


@dataclass(frozen=True, slots=True)
class Listing:
    """Every file found, each once, in no particular order."""

    folders: tuple[Folder, ...]

    def __iter__(self) -> Iterator[File | Skipped]:
        for folder in self.folders:
            yield from folder

    def digest(self) -> bytes:
        """Return 32 bytes that no other listing has; the same files in another order are another listing."""
        digest = sha256()
        for folder in self.folders:
            skipped = [(one.path, one.reason, one.picture) for one in folder.skipped]
            about = repr((len(folder.stats), folder.path, folder.names, skipped))  # repr escapes what is not UTF-8
            digest.update(about.encode())
            digest.update(folder.stats)
        return digest.digest()


def walk(roots: Sequence[str], *, exclude: Sequence[str] = ()) -> Listing:
    """Return every regular file below the roots, each once however the roots overlap.

    A root may be a folder, a file, or a symbolic link to either; links below a root are not followed.
    exclude: globs with * ? [...], case-sensitive, compared as a whole with the name, with the absolute path, and with
    the path relative to the root; * also matches a slash. What lies in an excluded folder is not looked at. Roots
    themselves are neither globs nor excluded.
    A folder that cannot be listed and whatever is no regular file come as Skipped.
    Raises BadUsage, before anything is walked, if a root is missing or cannot be read.
    """
    excluded = re.compile("|".join(translate(glob.rstrip("/") or glob) for glob in exclude)) if exclude else None
    return Listing(tuple(_walk_all([_checked(root) for root in roots], excluded)))


def folder(path: str) -> str:
    """Return the absolute path of a folder to scan. Raises BadUsage if it is a file."""
    if os.path.isfile(path):
        raise BadUsage(f"{path}: a file, not a folder; scan its folder, or ask with 'dedup find' what matches it")
    return os.path.abspath(path)


def protected(folders: Iterable[str]) -> tuple[str, ...]:
    """Return the absolute paths of folders to protect. Raises BadUsage if one is not there."""
    paths = tuple(map(os.path.abspath, folders))
    missing = [path for path in paths if not os.path.exists(path)]
    if missing:
        raise BadUsage(f"protect {missing[0]}: no such folder, so nothing would be protected")
    return paths


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


def _walk_all(roots: list[tuple[str, os.stat_result]], excluded: re.Pattern[str] | None) -> Iterator[Folder]:
    named: set[str] = set()  # real paths of files that are roots
    done: set[str] = set()  # real paths of folders listed
    for root, seen in roots:
        real = os.path.realpath(root)
        if stat.S_ISREG(seen.st_mode) and real not in named:
            named.add(real)
            yield Folder(*os.path.split(root), array("q", _FIGURES(seen)))
    for root, seen in roots:
        if stat.S_ISDIR(seen.st_mode):
            yield from _walk(root, named, done, excluded)


def _walk(root: str, named: set[str], done: set[str], excluded: re.Pattern[str] | None) -> Iterator[Folder]:
    prefix = len(os.path.join(root, ""))
    # No link is followed below a root, so the real path of a folder is that of the root and the same tail.
    waiting = [(root, os.path.realpath(root))]
    while waiting:
        folder, real = waiting.pop()
        if real in done:
            continue
        done.add(real)
        left_out = partial(_is_unwanted, folder, real, named, prefix, excluded) if named or excluded else None
        try:
            with _opened(folder) as place, os.scandir(place) as entries:
                files, folders = _sorted(folder, entries, left_out)
        except OSError as error:
            yield Folder(folder, "", array("q"), (Skipped(folder, f"{_words(error)}: the folder cannot be listed"),))
            continue
        yield files
        library = folder.lower().endswith(LIBRARY_SUFFIXES)
        below = [name for name in folders if not _is_left_out(name.lower(), in_library=library)]
        waiting += [(os.path.join(folder, name), os.path.join(real, name)) for name in below]


@contextmanager
def _opened(folder: str) -> Iterator[str | int]:
    """Give what scandir() lists: where the system can, the open folder, below which it looks up a name and no path."""
    if os.scandir not in os.supports_fd:
        yield folder
        return
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield place
    finally:
        os.close(place)


def _sorted(
    folder: str, entries: Iterable[os.DirEntry[str]], left_out: Callable[[str], bool] | None
) -> tuple[Folder, list[str]]:
    """Return the files among the entries of a folder, and the names of its folders; neither hidden ones nor links.

    A scan that finds nothing new spends its time in this loop.
    """
    names, folders, stats, skipped = [], [], array("q"), []
    for entry in entries:
        name = entry.name
        try:
            if name.startswith(".") or entry.is_symlink() or (left_out and left_out(name)):
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(name)
                continue
            seen = entry.stat(follow_symlinks=False)
        except OSError as error:
            skipped.append(Skipped(os.path.join(folder, name), _words(error)))
            continue
        if stat.S_ISREG(seen.st_mode):
            names.append(name)
            stats.extend(_FIGURES(seen))
        else:
            skipped.append(Skipped(os.path.join(folder, name), "not a regular file", picture=False))
    return Folder(folder, "/".join(names), stats, tuple(skipped)), folders


def _is_unwanted(
    folder: str, real: str, named: set[str], prefix: int, excluded: re.Pattern[str] | None, name: str
) -> bool:
    """Return whether an entry of a folder is excluded, or was found as a root already."""
    path = os.path.join(folder, name)
    texts = (name, path, path[prefix:])
    return os.path.join(real, name) in named or (excluded is not None and any(map(excluded.match, texts)))


def _is_left_out(name: str, *, in_library: bool) -> bool:
    return name in LEFT_OUT or name.endswith(LEFT_OUT_SUFFIXES) or (in_library and name in LEFT_OUT_OF_LIBRARIES)


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
