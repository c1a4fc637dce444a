"""Operations on single files: stat, digest, rename, move, copy, clone. None of them overwrites a file."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import shutil
import stat
import sys

from dedup.errors import ActionFailed
from dedup.types.photo import File

_AT_FDCWD, _NOREPLACE = -100, 1
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # not on Windows
_FICLONE = 0x40049409
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)  # no file can have a name that is too long
_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)


def stat_file(path: str) -> File | None:
    """Return the regular file at a path, or None if nothing is there. Raises ActionFailed for anything else."""
    try:
        s = os.lstat(path)
    except OSError as error:
        if error.errno not in _ABSENT:
            raise
        return None
    if not stat.S_ISREG(s.st_mode):
        raise ActionFailed(f"skipped: {path} is not a regular file")
    return File.from_stat(path, s)


def digest(path: str) -> str:
    """Return the SHA-256 of a file, in 64 hex digits. Symbolic links are not followed. Raises OSError."""
    with open(os.open(path, os.O_RDONLY | _NO_LINK), "rb") as f:
        hashed = hashlib.sha256()
        while chunk := f.read(1 << 20):
            hashed.update(chunk)
    return hashed.hexdigest()


def discard(path: str) -> None:
    """Remove a file if it is there."""
    try:
        os.unlink(path)
    except OSError as error:
        if error.errno not in _ABSENT:
            raise


def rename(source: str, target: str) -> None:
    """Rename a file within its file system. Raises FileExistsError if the new name is taken."""
    if sys.platform == "win32":
        os.rename(source, target)  # never overwrites on Windows
        return
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is not None:
        if not renameat2(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), _NOREPLACE):
            return
        code = ctypes.get_errno()
        if code not in _UNSUPPORTED:
            raise OSError(code, os.strerror(code), source, None, target)
    if os.path.lexists(target):  # file systems without an atomic check
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
    os.rename(source, target)


def move(source: str, target: str, *, sha256: str, temporary: str) -> None:
    """Move a file. To another file system it is copied, and the source removed once the copy is complete and checked.

    Raises ActionFailed if the source changed meanwhile.
    """
    try:
        rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        before = os.lstat(source)
        copy(source, temporary, sha256=sha256)
        rename(temporary, target)
        sync_folder(os.path.dirname(target))
        after = os.lstat(source)
        if (after.st_ino, after.st_size, after.st_mtime_ns) != (before.st_ino, before.st_size, before.st_mtime_ns):
            raise ActionFailed(f"skipped: {source} changed while it was copied") from error
        os.unlink(source)


def copy(source: str, target: str, *, sha256: str) -> None:
    """Copy a file with its times to a new name. Raises ActionFailed if the copy does not have this SHA-256."""
    try:
        with open(source, "rb") as reader, open(target, "xb") as writer:
            shutil.copyfileobj(reader, writer, 1 << 20)
            writer.flush()
            os.fsync(writer.fileno())
        shutil.copystat(source, target)
        if digest(target) != sha256:
            raise ActionFailed(f"skipped: the copy of {source} differs from what was scanned")
    except FileExistsError:
        raise
    except BaseException:
        discard(target)
        raise


def clone(source: str, target: str) -> None:
    """Make a reflink: a new file that shares its blocks with the source until either changes. Raises OSError."""
    try:
        import fcntl
    except ModuleNotFoundError as error:  # on Windows
        raise OSError(errno.EOPNOTSUPP, "no reflinks on this system") from error

    with open(source, "rb") as reader, open(target, "xb") as writer:
        try:
            fcntl.ioctl(writer.fileno(), _FICLONE, reader.fileno())
        except OSError:
            os.unlink(target)
            raise


def sync_folder(folder: str) -> None:
    """Write the entries of a folder to disk, so that they survive a power cut."""
    if sys.platform == "win32":
        return  # Windows opens no folders
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def temporary_beside(path: str, run: str, number: int) -> str:
    """Return the hidden name, in the folder of a path, for a file that is not complete yet."""
    return os.path.join(os.path.dirname(path), f".dedup-{run}-{number}.part")
