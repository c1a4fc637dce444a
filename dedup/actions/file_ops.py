"""Operations on single files: stat, digest, rename, move, copy, clone. None of them overwrites a file."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import shutil
import stat
import sys
from base64 import b64decode, b64encode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

from dedup.errors import ActionFailed
from dedup.types.message import Message
from dedup.types.photo import File

_AT_FDCWD, _NOREPLACE = -100, 1
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # not on Windows
_FICLONE = 0x40049409
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)  # no file can have a name that is too long
_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)
_ACL = "system.posix_acl_access"
_PATH_MAX = 4095  # bytes, without the terminating NUL (Linux)


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a file has besides its bytes: owner, permissions, time, and extended attributes, which include ACLs."""

    uid: int
    gid: int
    mode: int  # permission bits
    mtime_ns: int
    xattrs: Mapping[str, bytes]

    @classmethod
    def of(cls, path: str) -> Self:
        """Return the attributes of a file; a symbolic link is not followed. Raises OSError."""
        s = os.lstat(path)
        return cls(s.st_uid, s.st_gid, stat.S_IMODE(s.st_mode), s.st_mtime_ns, _xattrs(path))

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return what to_json() turned into JSON."""
        xattrs = {name: b64decode(value) for name, value in values["xattrs"].items()}
        return cls(values["uid"], values["gid"], values["mode"], values["mtime_ns"], xattrs)

    def to_json(self) -> dict[str, Any]:
        xattrs = {name: b64encode(value).decode("ascii") for name, value in self.xattrs.items()}
        return {"uid": self.uid, "gid": self.gid, "mode": self.mode, "mtime_ns": self.mtime_ns, "xattrs": xattrs}

    def set_on(self, path: str) -> None:
        """Give a file these attributes, as far as its file system has them.

        Raises ActionFailed if the owner or group cannot be kept for want of permission.
        """
        now = Attributes.of(path)
        if (now.uid, now.gid) != (self.uid, self.gid):
            self._set_owner(path)
        if now.mode != self.mode or now.uid != self.uid:  # a change of the owner clears some permission bits
            os.chmod(path, self.mode)
        for name in sorted({*self.xattrs, *(n for n in now.xattrs if n.startswith(_ACL))}):
            value = self.xattrs.get(name)
            with suppress(OSError):  # the file system has none, or the system assigns this one itself
                if value is None:
                    os.removexattr(path, name, follow_symlinks=False)  # an ACL that the folder passes on
                elif now.xattrs.get(name) != value:
                    os.setxattr(path, name, value, follow_symlinks=False)
        os.utime(path, ns=(self.mtime_ns, self.mtime_ns))

    def difference(self, other: Attributes) -> str:
        """Return the first attribute that two files do not share, in words; empty if they could be one file.

        Times are not compared, nor labels that the system assigns itself (security.*).
        """
        mine, theirs = ({n: v for n, v in a.xattrs.items() if not n.startswith("security.")} for a in (self, other))
        if self.uid != other.uid:
            return Message("owner")
        if self.gid != other.gid:
            return Message("owning group")
        if self.mode != other.mode or mine.pop(_ACL, None) != theirs.pop(_ACL, None):
            return Message("permissions")
        return "" if mine == theirs else Message("extended attributes")

    def _set_owner(self, path: str) -> None:
        try:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)
        except PermissionError as error:
            if os.geteuid() != 0:  # for root, it is the file system that has no owners
                raise ActionFailed(Message("only root can keep the owner of {path} in a copy", path=path)) from error


def _xattrs(path: str) -> dict[str, bytes]:
    if not hasattr(os, "listxattr"):
        return {}
    found = {}
    with suppress(OSError):  # no support, or no permission
        for name in os.listxattr(path, follow_symlinks=False):
            with suppress(OSError):
                found[name] = os.getxattr(path, name, follow_symlinks=False)
    return found


def stat_file(path: str) -> File | None:
    """Return the regular file at a path, or None if nothing is there. Raises ActionFailed for anything else."""
    try:
        s = os.lstat(path)
    except OSError as error:
        if error.errno not in _ABSENT:
            raise
        return None
    if not stat.S_ISREG(s.st_mode):
        raise ActionFailed(Message("{path} is not a regular file", path=path))
    return File.from_stat(path, s)


def open_file(path: str) -> int:
    """Return a descriptor to read a file; symbolic links are not followed. Raises OSError."""
    return os.open(path, os.O_RDONLY | _NO_LINK)


def digest(path: str) -> str:
    """Return the SHA-256 of a file, in 64 hex digits. Symbolic links are not followed. Raises OSError."""
    return digest_of(open_file(path))


def digest_of(descriptor: int) -> str:
    """Return the SHA-256 of an open file, in 64 hex digits, and close it."""
    with open(descriptor, "rb") as f:
        hashed = hashlib.sha256()
        while chunk := f.read(1 << 20):
            hashed.update(chunk)
    return hashed.hexdigest()


def real_path(path: str) -> str:
    """Return the path with the symbolic links of its folder resolved."""
    return os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))


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
            discard(target)  # the source is still there, and newer
            raise ActionFailed(Message("changed while it was copied")) from error
        os.unlink(source)


def copy(source: str, target: str, *, sha256: str) -> None:
    """Copy a file with its attributes to a new name. Raises ActionFailed if the copy does not have this SHA-256."""
    attributes = Attributes.of(source)
    try:
        with (
            open(source, "rb") as reader,
            open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as writer,
        ):
            shutil.copyfileobj(reader, writer, 1 << 20)
            writer.flush()
            os.fsync(writer.fileno())
        attributes.set_on(target)
        if digest(target) != sha256:
            raise ActionFailed(Message("its copy differs from what was scanned"))
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
    """Return the hidden name, in the folder of a path, for a copy that is not complete yet."""
    return os.path.join(os.path.dirname(path), f".dedup-{run}-{number}.part")


def aside_name(path: str, run: str, number: int) -> str:
    """Return the hidden name, in the folder of a path, for the file while its removal is checked."""
    folder = os.path.dirname(path)
    name = os.path.join(folder, f".dedup-{run}-{number}.aside")
    return name if len(os.fsencode(name)) <= _PATH_MAX else os.path.join(folder, f".{number:x}")


def probe_name(folder: str, run: str) -> str:
    """Return the hidden name in a folder for a file that shows whether undo finds what goes to the trash."""
    return os.path.join(folder, f".dedup-{run}.probe")


def missing_folders(folder: str) -> list[str]:
    """Return the folders that make_folder() has to make for this one to exist, the outermost first."""
    missing: list[str] = []
    while not os.path.lexists(folder):
        missing.insert(0, folder)
        folder = os.path.dirname(folder)
    return missing


def make_folder(folder: str, *, mode: int = 0o700, owner: tuple[int, int] | None = None) -> None:
    """Make one folder with exactly these permissions, whatever the umask.

    owner: uid and gid; only root can set them.
    """
    os.mkdir(folder, mode)
    os.chmod(folder, mode)
    if owner is not None and hasattr(os, "geteuid") and os.geteuid() == 0:
        with suppress(PermissionError):  # the file system has no owners
            os.chown(folder, *owner)
