"""A lock on the folders that an apply or an undo changes, whichever database asks for it.

The locks of a user are in one folder: NAME.lock is held while a run lasts, and NAME.json says which folder it is about.
The kernel releases a lock when its process ends, so none has to be removed by hand.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from filelock import FileLock, Timeout

from dedup.actions.file_ops import make_folder, missing_folders
from dedup.errors import StoreBusy
from dedup.files.path_rules import is_inside
from dedup.types.message import Message

_WAIT_S = 10.0  # for another process that is just about to take or release its locks


@contextmanager
def locked(roots: Sequence[str], folder: str) -> Iterator[None]:
    """Hold a lock on folders and all that is below them. Raises StoreBusy if another run holds one that overlaps.

    folder: for the locks. If it cannot be written there is no lock; the checks of each step alone protect the files.
    """
    with ExitStack() as stack:
        if _can_be_written(folder):
            try:
                with FileLock(os.path.join(folder, "all.lock"), timeout=_WAIT_S, mode=0o600):
                    real = sorted({os.path.realpath(root) for root in roots})
                    _check_free(real, folder)
                    for root in real:
                        _take(root, folder, stack)
            except Timeout:
                raise StoreBusy(Message("another apply or undo is starting; run this again")) from None
        yield


def _can_be_written(folder: str) -> bool:
    try:
        for missing in missing_folders(folder):
            with suppress(FileExistsError):  # another process has just made it
                make_folder(missing)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def _check_free(roots: Sequence[str], folder: str) -> None:
    """Raise StoreBusy if a lock that is held overlaps with one of the roots."""
    for name in os.listdir(folder):
        if name.endswith(".json"):
            with suppress(OSError, ValueError):
                other = json.loads(Path(folder, name).read_bytes())
                if any(_overlap(root, other) for root in roots) and _is_held(Path(folder, name)):
                    raise StoreBusy(
                        Message("{folder}: another apply or undo is changing this folder; wait for it", folder=other)
                    )


def _overlap(one: str, other: str) -> bool:
    return is_inside(one, other) or is_inside(other, one)


def _is_held(record: Path) -> bool:
    try:
        with FileLock(record.with_suffix(".lock"), timeout=0, mode=0o600):
            return False
    except Timeout:
        return True


def _take(root: str, folder: str, stack: ExitStack) -> None:
    name = os.path.join(folder, sha256(os.fsencode(root)).hexdigest()[:32])
    stack.enter_context(FileLock(f"{name}.lock", timeout=0, mode=0o600))
    with open(os.open(f"{name}.json", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as f:
        json.dump(root, f)
