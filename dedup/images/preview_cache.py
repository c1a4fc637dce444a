"""Preview cache: small JPEGs of photos that are expensive to decode, kept on disk during a scan.

Verification needs such a photo (HEIC, PNG, a large JPEG) again, long after it was read for the encoder, at a twentieth
of its size. It sees the same with the cache and without: see decode.decode_for_verification().
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress

MAX_BYTES = 2 << 30  # of previews in a scan, about 40,000 photos; the others are decoded again
_SUFFIX = ".previews"
_NAME = re.compile("[0-9a-f]{64}[.]jpg")


@contextmanager
def folder_of(database: str) -> Iterator[str | None]:
    """Provide a hidden folder beside the database until the scan ends; None if it cannot be made.

    It is hidden so that no scan looks for photos there. A scan locks its database, so a folder that exists already was
    left by a scan that was killed, and is emptied. A folder that holds anything else is left as it is and not used.
    """
    parent, name = os.path.split(database)
    folder = os.path.join(parent, f".{name}{_SUFFIX}")
    _remove(folder)
    try:
        os.mkdir(folder, 0o700)
    except OSError:  # previews only save time
        yield None
        return
    try:
        yield folder
    finally:
        _remove(folder)


def _remove(folder: str) -> None:
    """Remove the previews in a folder, and the folder if nothing else is in it."""
    with suppress(OSError):
        for name in os.listdir(folder):
            if _NAME.fullmatch(name):
                os.remove(os.path.join(folder, name))
        os.rmdir(folder)


def write(folder: str, sha256: str, preview: bytes) -> int:
    """Write the preview of a photo; return the number of bytes written, 0 if that failed."""
    path = _path(folder, sha256)
    try:
        with open(path, "wb", opener=_private) as f:
            f.write(preview)
    except OSError:
        with suppress(OSError):
            os.remove(path)
        return 0
    return len(preview)


def read(folder: str, sha256: str) -> bytes | None:
    """Return the preview of a photo, or None if the cache does not hold it."""
    try:
        with open(_path(folder, sha256), "rb") as f:
            return f.read()
    except OSError:
        return None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _path(folder: str, sha256: str) -> str:
    return os.path.join(folder, sha256 + ".jpg")
