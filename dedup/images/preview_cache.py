"""Proofs: small JPEGs of photos that are dear to decode (HEIC, PNG, large JPEGs), on disk while a scan lasts.

The second look wants such a photo again, long after it was read for the encoder, at a twentieth of its size. What is
seen of a photo is the same with a proof and without: see decode.decode_proof().
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress

MOST = 2 << 30  # bytes of proofs in a scan, about 40,000 photos; the others are decoded again
_SUFFIX = ".proofs"
_NAME = re.compile("[0-9a-f]{64}[.]jpg")


@contextmanager
def folder_of(database: str) -> Iterator[str | None]:
    """Have a hidden folder beside the database for as long as the scan lasts; None where it cannot be made.

    Hidden, because no scan looks for photos there. Whoever scans holds the database alone, so a folder that is there
    was left by a scan that was killed; one with other things in it is somebody else's, and left alone.
    """
    parent, name = os.path.split(database)
    folder = os.path.join(parent, f".{name}{_SUFFIX}")
    _remove(folder)
    try:
        os.mkdir(folder, 0o700)
    except OSError:  # proofs save time and nothing else
        yield None
        return
    try:
        yield folder
    finally:
        _remove(folder)


def _remove(folder: str) -> None:
    """Remove the proofs in a folder, and the folder if there is nothing else in it."""
    with suppress(OSError):
        for name in os.listdir(folder):
            if _NAME.fullmatch(name):
                os.remove(os.path.join(folder, name))
        os.rmdir(folder)


def keep(folder: str, sha256: str, proof: bytes) -> int:
    """Write the proof of a photo; return the bytes kept, none where the disk will not take it."""
    path = _path(folder, sha256)
    try:
        with open(path, "wb") as f:
            f.write(proof)
    except OSError:
        with suppress(OSError):
            os.remove(path)
        return 0
    return len(proof)


def kept(folder: str, sha256: str) -> bytes | None:
    """Return the proof of a photo, if there is one."""
    try:
        with open(_path(folder, sha256), "rb") as f:
            return f.read()
    except OSError:
        return None


def _path(folder: str, sha256: str) -> str:
    return os.path.join(folder, sha256 + ".jpg")
