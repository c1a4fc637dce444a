"""Group companion files: RAW and JPEG of one shot, the video of a Live Photo, sidecars, the edit of a phone.

Decided by the names in one folder, as cameras and phones assign them. Opens no file.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from enum import Enum

from dedup.types.photo import RAW_SUFFIXES, SIDECAR_SUFFIXES, VIDEO_SUFFIXES, File

_PICTURES = frozenset(".jpg .jpeg .jpe .heic .heif .hif .png .tif .tiff .webp .avif .jxl".split())
_EDITED = re.compile(r"(img_)[eo](?=\d+$)")  # IMG_E1234 is the edit of IMG_1234; IMG_O1234.AAE belongs to both


class Kind(Enum):
    RAW = "camera RAW"
    PICTURE = "picture"
    VIDEO = "video"
    SIDECAR = "sidecar"
    OTHER = "other"


def kind(path: str) -> Kind:
    """Return what kind of file the suffix names."""
    suffix = os.path.splitext(path)[1].lower()
    kinds = {
        Kind.RAW: RAW_SUFFIXES,
        Kind.PICTURE: _PICTURES,
        Kind.VIDEO: VIDEO_SUFFIXES,
        Kind.SIDECAR: SIDECAR_SUFFIXES,
    }
    return next((k for k, suffixes in kinds.items() if suffix in suffixes), Kind.OTHER)


def same_stack(path: str, other: str) -> bool:
    """Return whether two pictures are one shot, so that neither is a duplicate: RAW and JPEG, or a phone's edit."""
    if _stack(path) != _stack(other):
        return False
    raws = (kind(path) is Kind.RAW) != (kind(other) is Kind.RAW)
    return (raws and Kind.PICTURE in (kind(path), kind(other))) or _is_edit(path) != _is_edit(other)


def share_a_stack(paths: Iterable[str], others: Iterable[str]) -> bool:
    """Return whether two photos are one shot in any folder, given the paths of all files of each."""
    by_stack: dict[tuple[str, str], list[str]] = {}
    for path in paths:
        by_stack.setdefault(_stack(path), []).append(path)
    return any(same_stack(path, other) for other in others for path in by_stack.get(_stack(other), ()))


class Folders:
    """The files of folders as they are now. Each folder is listed once; companions are looked up by name.

    files_in: folder -> its regular files.
    """

    def __init__(self, files_in: Callable[[str], Iterable[File]]) -> None:
        self._files_in = files_in
        self._stacks: dict[str, dict[str, list[File]]] = {}

    def holds(self, path: str) -> bool:
        """Return whether a file is there."""
        return any(f.path == path for f in self._stack_of(path))

    def companions(self, path: str) -> list[File]:
        """Return the files that belong to a picture, in the order of their paths."""
        return sorted((f for f in self._stack_of(path) if _belongs(f.path, path)), key=lambda f: f.path)

    def hosts(self, path: str) -> list[str]:
        """Return the pictures in the folder that a companion belongs to."""
        pictures = (f.path for f in self._stack_of(path) if kind(f.path) in (Kind.PICTURE, Kind.RAW))
        return [picture for picture in pictures if _belongs(path, picture)]

    def _stack_of(self, path: str) -> list[File]:
        folder, stem = _stack(path)
        if folder not in self._stacks:
            stacks = self._stacks[folder] = defaultdict(list)
            for file in self._files_in(folder):
                stacks[_stack(file.path)[1]].append(file)
        return self._stacks[folder].get(stem, [])


def _belongs(path: str, picture: str) -> bool:
    if path == picture:
        return False
    match kind(path):
        case Kind.SIDECAR:
            host = os.path.splitext(path)[0]  # IMG_1.jpg.xmp belongs to IMG_1.jpg alone
            return host == picture if kind(host) in (Kind.RAW, Kind.PICTURE) else _stem(path) == _stem(picture)
        case Kind.VIDEO:
            return _stem(path) == _stem(picture)
        case Kind.RAW | Kind.PICTURE:
            return same_stack(path, picture)
    return False


def _stack(path: str) -> tuple[str, str]:
    """Return the folder and the name that all files of one stack share."""
    host, suffix = os.path.splitext(path)
    is_of_one_file = suffix.lower() in SIDECAR_SUFFIXES and kind(host) in (Kind.RAW, Kind.PICTURE)
    return os.path.dirname(path), _stem(host if is_of_one_file else path)


def _stem(path: str) -> str:
    return _EDITED.sub(r"\1", os.path.splitext(os.path.basename(path))[0].lower())


def _is_edit(path: str) -> bool:
    return _EDITED.match(os.path.splitext(os.path.basename(path))[0].lower()) is not None
