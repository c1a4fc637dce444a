"""Object stores: URI -> listing, bytes. pyarrow handles S3, Google Cloud Storage, Azure and HDFS; fsspec the rest.

A cluster keeps its intermediate files here too: a folder that all machines see is treated like an object store.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from hashlib import sha256
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlencode

from dedup.errors import BadUsage
from dedup.files.walk import is_listed
from dedup.types.photo import File, Skipped

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem


def is_uri(path: str) -> bool:
    """Return whether this is the URI of an object (s3://bucket/key) and not the path of a file."""
    return re.match(r"[a-z][a-z0-9+.-]+://", path) is not None


def located(path: str) -> tuple[FileSystem, str]:
    """Return the file system of a URI or an absolute path, and the path within it.

    Raises BadUsage if there is no such store, or if pyarrow is not installed.
    """
    if not is_uri(path):
        return _root("file:///")[0], path
    scheme, _, rest = path.partition("://")
    bucket, _, key = rest.partition("/")
    system, base = _root(f"{scheme}://{bucket}")
    return system, f"{base.rstrip('/')}/{key}".rstrip("/")  # not parsed as a URI: a key may contain ? and #


@lru_cache(maxsize=64)
def _root(uri: str) -> tuple[FileSystem, str]:
    try:
        from pyarrow.fs import FileSystem
    except ImportError:
        raise BadUsage(f"{uri}: pyarrow is not installed: pip install 'dedup-photos[ray]'") from None
    try:
        system, base = FileSystem.from_uri(uri + _endpoint(uri))
    except (ValueError, OSError) as error:
        raise BadUsage(f"{uri}: no such store ({error})") from error
    return system, base


def _endpoint(uri: str) -> str:
    """Return the query string for an S3 server named by AWS_ENDPOINT_URL: pyarrow does not read that variable."""
    scheme, _, host = os.environ.get("AWS_ENDPOINT_URL", "").partition("://")
    return "?" + urlencode({"scheme": scheme, "endpoint_override": host}) if host and uri.startswith("s3://") else ""


def walk(root: str, *, exclude: Sequence[str] = ()) -> Iterator[File | Skipped]:
    """Yield the objects below a URI that walk.walk() would list if they were files. Raises BadUsage."""
    from pyarrow.fs import FileSelector, FileType

    system, base = located(root)
    try:
        found = system.get_file_info(FileSelector(base, recursive=True))
    except OSError as error:
        raise BadUsage(f"{root}: cannot be listed ({error})") from error
    for info in found:
        below = info.path[len(base) :].lstrip("/")
        path = f"{root.rstrip('/')}/{below}"
        if info.type == FileType.File and is_listed(below, root, exclude):
            number = int.from_bytes(sha256(os.fsencode(path)).digest()[:7])  # a unique inode number for each object
            times = info.mtime_ns or 0
            yield File(path, info.size, times, times, 0, number)


def opened(path: str) -> IO[bytes]:
    """Return an object, opened for reading. Raises OSError."""
    system, name = located(path)
    file: IO[bytes] = system.open_input_file(name)
    return file


def put(path: str, data: Any) -> None:
    """Write bytes, or any buffer, under a name: all of them or nothing. Raises OSError."""
    system, name = located(path)
    if is_uri(path):  # an object appears when its last byte is written
        with system.open_output_stream(name) as stream:
            stream.write(data)
        return
    os.makedirs(os.path.dirname(name), exist_ok=True)
    temporary = f"{name}.{socket.gethostname()}.{os.getpid()}.part"
    try:
        with open(temporary, "wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, name)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def get(path: str) -> bytes:
    """Return the bytes that put() wrote. Raises OSError."""
    with opened(path) as stream:
        return stream.read()


def names(folder: str) -> set[str]:
    """Return the names in a folder of a store, without unfinished ones; none if the folder does not exist."""
    from pyarrow.fs import FileSelector

    system, base = located(folder)
    found = system.get_file_info(FileSelector(base, allow_not_found=True))
    return {info.base_name for info in found if not info.base_name.endswith(".part")}
