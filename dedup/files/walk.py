"""Roots -> the files below them, as stat() describes them. Opens no file.

Ignored without a report, because they hold no photos of the user: hidden files and folders, symbolic links, and the
folders where other programs keep trash and thumbnails (IGNORED, IGNORED_SUFFIXES, IGNORED_IN_LIBRARIES). A root is
always scanned, whatever its name.
"""

from __future__ import annotations

import os
import stat
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256

from dedup.errors import BadUsage, DedupError
from dedup.files.globs import glob_matcher
from dedup.files.path_rules import is_too_long
from dedup.files.spellings import existing
from dedup.types.message import Message
from dedup.types.photo import File, Skipped, figures


def files_in(folder: str) -> tuple[File, ...]:
    """Return the regular files of a folder; none if it does not exist. Raises DedupError if it cannot be listed."""
    found = []
    try:
        with os.scandir(folder) as listing:
            for entry in listing:
                if entry.is_file(follow_symlinks=False):
                    found.append(File.from_stat(entry.path, _status(entry, folder)))
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as error:
        raise DedupError(
            Message("{path}: cannot be listed ({error})", path=folder, error=error.strerror or error)
        ) from error
    return tuple(found)


def _status(entry: os.DirEntry[str], folder: str) -> os.stat_result:
    """Return the lstat() of an entry of a folder. Raises OSError."""
    status = entry.stat(follow_symlinks=False)
    return status if status.st_ino else os.lstat(os.path.join(folder, entry.name))  # Windows lists no inodes


def lstat(path: str) -> File | None:
    """Return the regular file at a path; None if there is none, or if it cannot be reached."""
    try:
        s = os.lstat(path)
    except OSError:
        return None
    return File.from_stat(path, s) if stat.S_ISREG(s.st_mode) else None


# Trash, snapshots and thumbnails of NAS systems, Windows, Linux and macOS; compared in lower case.
IGNORED = frozenset(
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
        "__macosx",  # macOS adds it to ZIP archives
    }
)
IGNORED_SUFFIXES = (".lrdata", ".lrcat-data", ".cocatalogdb")  # previews of Lightroom and of Capture One

# In a library of Apple Photos, iPhoto or Aperture these hold smaller copies of the files in originals/ or Masters/.
LIBRARY_SUFFIXES = (".photoslibrary", ".photolibrary", ".migratedphotolibrary", ".aplibrary")
IGNORED_IN_LIBRARIES = frozenset(
    {"resources", "database", "private", "internal", "external", "scopes", "thumbnails", "previews", "caches"}
)


@dataclass(frozen=True, slots=True)
class Folder:
    """The files of one folder as columns, which take little more memory than their names.

    names: joined by slashes.   stats: size, mtime_ns, ctime_ns, device and inode of the first file, the second, ...
    """

    path: str
    names: str
    stats: array[int]
    skipped: tuple[Skipped, ...] = ()

    def __iter__(self) -> Iterator[File | Skipped]:
        prefix, stats = os.path.join(self.path, ""), iter(self.stats)
        columns = [stats] * 5  # one iterator, so that zip() takes five values for each name
        for name, *values in zip(self.names.split("/"), *columns, strict=False):  # without files, names is ""
            yield File(prefix + name, *values)
        yield from self.skipped


@dataclass(frozen=True, slots=True)
class Listing:
    """Every file found, each once, in no defined order."""

    folders: tuple[Folder, ...]

    def __iter__(self) -> Iterator[File | Skipped]:
        for folder in self.folders:
            yield from folder

    def digest(self) -> bytes:
        """Return the SHA-256 of the listing. It depends on the order of the files."""
        digest = sha256()
        for folder in self.folders:
            skipped = [(s.path, s.reason, s.picture) for s in folder.skipped]
            about = repr((len(folder.stats), folder.path, folder.names, skipped))  # repr escapes what is not UTF-8
            digest.update(about.encode())
            digest.update(folder.stats)
        return digest.digest()


def walk(roots: Sequence[str], *, exclude: Sequence[str] = ()) -> Listing:
    """Return every regular file below the roots, each once however the roots overlap.

    A root may be a folder, a file, or a symbolic link to either; links below a root are not followed.
    exclude: globs with * ? [...], case-sensitive, that must match the whole name, the absolute path, or the path
    relative to the root; * also matches a slash. Excluded folders are not entered. Roots are not globs, and are never
    excluded.
    Folders that cannot be listed, and files that are not regular, are Skipped.
    Raises BadUsage, before anything is listed, if a root is missing or cannot be read.
    """
    excluded = glob_matcher(exclude)
    return Listing(tuple(_walk_all([_checked(root) for root in roots], excluded)))


def has_files(root: str) -> bool:
    """Return whether the path is a file, or a folder with at least one file in it or below."""
    return os.path.isfile(root) or any(names for _, _, names in os.walk(root))


def folder(path: str) -> str:
    """Return the absolute path of a folder to scan, as it is spelled on disk. Raises BadUsage if it is a file."""
    if os.path.isfile(path):
        raise BadUsage(
            Message(
                "{path}: a file, not a folder; scan its folder, or search for its matches with '{command}'",
                path=path,
                command="dedup find",
            )
        )
    absolute = os.path.abspath(path)
    return existing(absolute) or absolute


def _checked(root: str) -> tuple[str, os.stat_result]:
    """Return the absolute path of a root, with its symbolic links unresolved, and the stat() of what it leads to."""
    if not root:
        raise BadUsage(
            Message("an empty path names no folder; '.' is the current one")
        )  # abspath("") is the current folder
    path = os.path.abspath(root)
    shown = path if path.isprintable() else repr(path)
    try:
        target = os.stat(path)
        if stat.S_ISDIR(target.st_mode):
            os.scandir(path).close()
    except (FileNotFoundError, NotADirectoryError):
        raise BadUsage(
            Message("{path}: no such file or folder; check the spelling, or mount the drive", path=shown)
        ) from None
    except OSError as error:
        raise BadUsage(Message("{path}: {message}", path=shown, message=_message(error))) from None
    if not stat.S_ISDIR(target.st_mode) and not stat.S_ISREG(target.st_mode):
        raise BadUsage(Message("{path}: neither a folder nor a file", path=shown))
    return path, target


def _walk_all(roots: list[tuple[str, os.stat_result]], excluded: Callable[[str], bool] | None) -> Iterator[Folder]:
    named: set[str] = set()  # real paths of files that are roots
    done: set[str] = set()  # real paths of folders that were listed
    for root, target in roots:
        real = os.path.realpath(root)
        if stat.S_ISREG(target.st_mode) and real not in named:
            named.add(real)
            yield Folder(*os.path.split(root), array("q", figures(target)))
    for root, target in roots:
        if stat.S_ISDIR(target.st_mode):
            yield from _walk(root, named, done, excluded)


def _walk(root: str, named: set[str], done: set[str], excluded: Callable[[str], bool] | None) -> Iterator[Folder]:
    prefix = len(os.path.join(root, ""))
    # Below a root no link is followed, so a folder's real path is the root's real path and the same relative path.
    waiting = [(root, os.path.realpath(root))]
    while waiting:
        folder, real = waiting.pop()
        if real in done:
            continue
        done.add(real)
        is_unwanted = partial(_is_unwanted, folder, real, named, prefix, excluded) if named or excluded else None
        try:
            with _opened(folder) as place, os.scandir(place) as entries:
                files, folders = _sorted(folder, entries, is_unwanted)
        except OSError as error:
            yield Folder(folder, "", array("q"), (Skipped(folder, f"{_message(error)}: the folder cannot be listed"),))
            continue
        yield files
        library = folder.lower().endswith(LIBRARY_SUFFIXES)
        below = [name for name in folders if not _is_ignored(name.lower(), in_library=library)]
        waiting += [(os.path.join(folder, name), os.path.join(real, name)) for name in below]


@contextmanager
def _opened(folder: str) -> Iterator[str | int]:
    """Give an argument for scandir(): an open folder where supported, so that stat() resolves a name, not a path."""
    if os.scandir not in os.supports_fd:
        yield folder
        return
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield place
    finally:
        os.close(place)


def _sorted(
    folder: str, entries: Iterable[os.DirEntry[str]], is_unwanted: Callable[[str], bool] | None
) -> tuple[Folder, list[str]]:
    """Return the files of a folder, and the names of its subfolders, without hidden ones and links.

    A scan that finds nothing new spends most of its time in this loop.
    """
    names, folders, stats, skipped = [], [], array("q"), []
    for entry in entries:
        name = entry.name
        try:
            if name.startswith(".") or entry.is_symlink() or (is_unwanted and is_unwanted(name)):
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(name)
                continue
            status = _status(entry, folder)
        except OSError as error:
            skipped.append(Skipped(os.path.join(folder, name), _message(error)))
            continue
        if stat.S_ISREG(status.st_mode):
            names.append(name)
            stats.extend(figures(status))
        else:
            skipped.append(Skipped(os.path.join(folder, name), "not a regular file", picture=False))
    return Folder(folder, "/".join(names), stats, tuple(skipped)), folders


def _is_unwanted(
    folder: str, real: str, named: set[str], prefix: int, excluded: Callable[[str], bool] | None, name: str
) -> bool:
    """Return whether an entry of a folder is excluded, or is a root that was listed already."""
    path = os.path.join(folder, name)
    texts = (name, path, path[prefix:])
    return os.path.join(real, name) in named or (excluded is not None and any(map(excluded, texts)))


def _is_ignored(name: str, *, in_library: bool) -> bool:
    return name in IGNORED or name.endswith(IGNORED_SUFFIXES) or (in_library and name in IGNORED_IN_LIBRARIES)


def _message(error: OSError) -> str:
    """Return the message of an error in lower case, without the path."""
    if isinstance(error, FileNotFoundError):
        too_long = is_too_long(str(error.filename))
        return "longer than Windows allows; enable long paths there" if too_long else "vanished during the scan"
    return (error.strerror or str(error)).lower()


def is_listed(below: str, root: str, exclude: Sequence[str]) -> bool:
    """Return whether walk() would list a file with this path below the root."""
    excluded = glob_matcher(exclude)
    parts = below.split("/")
    for n, name in enumerate(parts, 1):
        tail = "/".join(parts[:n])
        texts = (name, f"{root.rstrip('/')}/{tail}", tail)
        library = n > 1 and parts[n - 2].lower().endswith(LIBRARY_SUFFIXES)
        folder = n < len(parts)
        if (
            name.startswith(".")
            or (excluded and any(map(excluded, texts)))
            or (folder and _is_ignored(name.lower(), in_library=library))
        ):
            return False
    return True
