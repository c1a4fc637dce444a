"""Paths -> what belongs together: RAW and JPEG of one shot, the film of a Live Photo, sidecars, the edit of a phone.

Told by the names in one folder, as cameras and telephones give them. Opens no file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from enum import Enum

from dedup.types.photo import File

RAW_SUFFIXES = frozenset(
    ".cr2 .cr3 .crw .nef .nrw .arw .srf .sr2 .dng .raf .orf .rw2 .pef .srw .x3f .3fr .iiq .raw .rwl .kdc .mrw".split()
)
_SHOTS = frozenset(".jpg .jpeg .jpe .heic .heif .hif .png .tif .tiff .webp .avif .jxl".split())
_FILMS = frozenset((".mov", ".mp4"))
_SIDECARS = frozenset((".xmp", ".aae"))
_EDITED = re.compile(r"(img_)[eo](?=\d+$)")  # IMG_E1234 is the edit of IMG_1234; IMG_O1234.AAE belongs to both


class Kind(Enum):
    RAW = "camera RAW"
    SHOT = "picture"
    FILM = "film"
    SIDECAR = "sidecar"
    OTHER = "something else"


def kind(path: str) -> Kind:
    """Return what the suffix says."""
    suffix = os.path.splitext(path)[1].lower()
    kinds = {Kind.RAW: RAW_SUFFIXES, Kind.SHOT: _SHOTS, Kind.FILM: _FILMS, Kind.SIDECAR: _SIDECARS}
    return next((k for k, suffixes in kinds.items() if suffix in suffixes), Kind.OTHER)


def one_unit(path: str, other: str) -> bool:
    """Return whether two pictures are one shot, so that neither is a duplicate: RAW and JPEG, or a phone's edit."""
    if _shot(path) != _shot(other):
        return False
    raws = (kind(path) is Kind.RAW) != (kind(other) is Kind.RAW)
    return (raws and Kind.SHOT in (kind(path), kind(other))) or _is_edit(path) != _is_edit(other)


def one_shot(paths: Iterable[str], others: Iterable[str]) -> bool:
    """Return whether two pictures are one shot somewhere, given the paths of all files of each."""
    named: dict[tuple[str, str], list[str]] = {}
    for path in paths:
        named.setdefault(_shot(path), []).append(path)
    return any(one_unit(path, other) for other in others for path in named.get(_shot(other), ()))


def companions(path: str, folder: Iterable[File]) -> list[File]:
    """Return the files of its folder that belong to a picture, in the order of their paths."""
    return sorted((f for f in folder if f.path != path and _belongs(f.path, path)), key=lambda f: f.path)


def _belongs(path: str, photo: str) -> bool:
    match kind(path):
        case Kind.SIDECAR:
            host = os.path.splitext(path)[0]  # IMG_1.jpg.xmp is of IMG_1.jpg alone
            return host == photo if kind(host) in (Kind.RAW, Kind.SHOT) else _stem(path) == _stem(photo)
        case Kind.FILM:
            return _stem(path) == _stem(photo)
        case Kind.RAW | Kind.SHOT:
            return one_unit(path, photo)
    return False


def _shot(path: str) -> tuple[str, str]:
    """Return the folder and the name that all files of one shot share."""
    return os.path.dirname(path), _stem(path)


def _stem(path: str) -> str:
    return _EDITED.sub(r"\1", os.path.splitext(os.path.basename(path))[0].lower())


def _is_edit(path: str) -> bool:
    return _EDITED.match(os.path.basename(path).lower()[: -len(os.path.splitext(path)[1]) or None]) is not None
