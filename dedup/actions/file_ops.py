"""What is done to one file on disk: moved, linked, cloned, read. Nothing here ever overwrites a file."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import stat
import sys
from hashlib import sha256

from dedup.errors import ActionFailed
from dedup.types.photo import File

_AT_FDCWD, _NOREPLACE = -100, 1
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # not on Windows
_FICLONE = 0x40049409
_NOTHING = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)  # a name so long was never given
_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)


def seen(path: str) -> File | None:
    """Return the regular file at a path, None if there is nothing. Raises ActionFailed for anything else."""
    try:
        s = os.lstat(path)
    except OSError as error:
        if error.errno not in _NOTHING:
            raise
        return None
    if not stat.S_ISREG(s.st_mode):
        raise ActionFailed(f"{path}: no longer a regular file; it was left alone")
    return File(path, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_dev, s.st_ino)


def digest(path: str) -> str:
    """Return the SHA-256 of the bytes of a file, a link not followed."""
    with open(os.open(path, os.O_RDONLY | _NO_LINK), "rb") as f:
        hashed = sha256()
        while chunk := f.read(1 << 20):
            hashed.update(chunk)
    return hashed.hexdigest()


def discard(path: str) -> None:
    """Remove a file if it is there."""
    try:
        os.unlink(path)
    except OSError as error:
        if error.errno not in _NOTHING:
            raise


def rename(source: str, target: str) -> None:
    """Give a file another name on its filesystem. Raises FileExistsError if that name is taken."""
    if sys.platform == "win32":
        os.rename(source, target)  # never over another there
        return
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is not None:
        if not renameat2(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), _NOREPLACE):
            return
        code = ctypes.get_errno()
        if code not in _UNSUPPORTED:
            raise OSError(code, os.strerror(code), source, None, target)
    if os.path.lexists(target):  # filesystems that cannot do both at once
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
    os.rename(source, target)


def move(source: str, target: str, *, sha: str, temporary: str) -> None:
    """Move a file, across filesystems by way of a copy that is whole and checked before the source goes."""
    try:
        rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        before = os.lstat(source)
        copy(source, temporary, sha=sha)
        rename(temporary, target)
        sync_folder(os.path.dirname(target))
        after = os.lstat(source)
        if (after.st_ino, after.st_size, after.st_mtime_ns) != (before.st_ino, before.st_size, before.st_mtime_ns):
            raise ActionFailed(f"{source}: changed while it was copied; it was left alone") from error
        os.unlink(source)


def copy(source: str, target: str, *, sha: str) -> None:
    """Make a new file of the same bytes and times. Raises ActionFailed if they are not those of the digest."""
    try:
        with open(source, "rb") as reader, open(target, "xb") as writer:
            shutil.copyfileobj(reader, writer, 1 << 20)
            writer.flush()
            os.fsync(writer.fileno())
        shutil.copystat(source, target)
        if digest(target) != sha:
            raise ActionFailed(f"{source}: its copy differs from what was scanned; it was left alone")
    except FileExistsError:
        raise
    except BaseException:
        discard(target)
        raise


def clone(source: str, target: str) -> None:
    """Make a new file that shares its bytes with the source until either changes. Raises OSError where it cannot."""
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
    """Make the names in a folder last through a power cut."""
    if sys.platform == "win32":
        return  # no folder can be opened there
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
