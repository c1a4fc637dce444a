"""The lock on a database: one process at a time changes it. The kernel releases it when the process ends."""

from __future__ import annotations

import os
from contextlib import suppress
from types import TracebackType

from filelock import FileLock, Timeout

from dedup.errors import StoreBusy, StoreUnusable
from dedup.types.message import Message


class StoreLock:
    """The lock on a database, by its real path; a context manager. It needs no database that can be opened."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._lock = FileLock(os.path.realpath(path) + ".lock")

    def acquire(self) -> None:
        """Take the lock. Raises StoreBusy if another process holds it, StoreUnusable if it cannot be written."""
        try:
            _make_private(os.path.dirname(self._lock.lock_file))
            os.close(os.open(self._lock.lock_file, os.O_RDWR | os.O_CREAT, 0o600))  # filelock would wait for permission
            self._lock.acquire(timeout=0)
        except Timeout:
            raise StoreBusy(
                Message("{path}: another run is using this database; wait for it, or choose another", path=self.path)
            ) from None
        except OSError as error:
            raise StoreUnusable(
                Message(
                    "{path}: cannot be written ({error}); choose another",
                    path=self.path,
                    error=error.strerror or error,
                )
            ) from error

    def release(self) -> None:
        self._lock.release()

    def __enter__(self) -> StoreLock:
        self.acquire()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.release()


def _make_private(folder: str) -> None:
    """Create a folder and those above it for this user alone; makedirs() would give only the last one this mode."""
    if not os.path.isdir(folder):
        _make_private(os.path.dirname(folder))
        with suppress(FileExistsError):
            os.mkdir(folder, 0o700)
