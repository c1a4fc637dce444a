"""Group companion files: RAW and JPEG of one shot, the video of a Live Photo, voice memos, sidecars, edits.

Decided by the names in one folder, as cameras, phones and exporters assign them. Opens no file.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable
from enum import Enum

from dedup.types.photo import OF_SUFFIX, RAW_SUFFIXES, RECORDING_SUFFIXES, SIDECAR_SUFFIXES, File, picture_of

_PICTURES = frozenset(".jpg .jpeg .jpe .heic .heif .hif .png .tif .tiff .webp .avif .jxl".split())
_MEDIA = frozenset((*_PICTURES, *RAW_SUFFIXES, *RECORDING_SUFFIXES))

# Names are compared in lower case and in NFC.
_EDIT_PREFIX = re.compile(r"^(img_)[eo](?=\d+$)")  # IMG_E1234 is the edit of IMG_1234; IMG_O1234.AAE belongs to both
# What programs add to the name of an edit or a merge: Google Photos in the languages of its users and on a phone (~2),
# osxphotos, Lightroom, and phones that keep the plain shot beside a merged one.
_EDIT_SUFFIX = re.compile(
    r"(-(edited|effects|smile|mix|bearbeitet|bewerkt|modifié|modificato|ha editado|editat|edytowane|編集済み)"
    r"|~\d+|_edited|-edit(-\d+)?|-enhanced(-nr|-sr)*|[-_]hdr|-pano|\.cover)$"
)
# PXL_1.RAW-01.COVER.jpg and PXL_1.RAW-02.ORIGINAL.dng, PXL_1.PORTRAIT-01.COVER.jpg and PXL_1.PORTRAIT-02.ORIGINAL.jpg
_PIXEL_PAIR = re.compile(r"\.[a-z_]+-\d\d(\.mp)?\.(cover|original)$")
_COPY_NUMBER = re.compile(r"\((\d+)\)$")
_TAKEOUT_SUFFIX = "supplemental-metadata"  # IMG_1.jpg.supplemental-metadata.json, cut anywhere
_TAKEOUT_LENGTH = 46  # characters of a name in Google Takeout, before .json


class Kind(Enum):
    RAW = "camera RAW"
    PICTURE = "picture"
    RECORDING = "video or voice memo"
    SIDECAR = "sidecar"
    OTHER = "other"


def kind(path: str) -> Kind:
    """Return what kind of file the suffix names."""
    suffix = _suffix(path)
    kinds = {
        Kind.RAW: RAW_SUFFIXES,
        Kind.PICTURE: _PICTURES,
        Kind.RECORDING: RECORDING_SUFFIXES,
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
        self._real: dict[str, str] = {}

    def real(self, path: str) -> str:
        """Return the real path of the folder of a file."""
        folder = os.path.dirname(path)
        if folder not in self._real:
            self._real[folder] = os.path.realpath(folder)
        return self._real[folder]

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
        folder = os.path.dirname(path)
        if folder not in self._stacks:
            stacks = self._stacks[folder] = defaultdict(list)
            for file in self._files_in(folder):
                for key in _keys(file.path):
                    stacks[key].append(file)
        found = {f.path: f for key in _keys(path) for f in self._stacks[folder].get(key, ())}
        return list(found.values())


def _belongs(path: str, picture: str) -> bool:
    """Return whether a file belongs to a picture in the same folder."""
    if path == picture:
        return False
    match kind(path):
        case Kind.SIDECAR if _suffix(path) == ".json":
            return _is_takeout_of(path, picture)
        case Kind.SIDECAR:
            host = os.path.splitext(path)[0]  # IMG_1.jpg.xmp belongs to IMG_1.jpg alone
            if kind(host) in (Kind.RAW, Kind.PICTURE):
                return _name(host) == _name(picture)
            return _key(path) == _key(picture)
        case Kind.RECORDING:
            of = picture_of(_name(path))
            return _key(path) == _key(picture) if of is None or _stem(path) == _stem(picture) else of == _name(picture)
        case Kind.RAW | Kind.PICTURE:
            return same_stack(path, picture)
    return False


def _is_takeout_of(path: str, picture: str) -> bool:
    """Return whether a JSON file of Google Takeout describes a picture, or the original of an edited picture.

    IMG_1.jpg.json, IMG_1.json, IMG_1.jpg.supplemental-metadata.json and any shorter form of that; for a second picture
    of the same name, IMG_1(1).jpg, the number is at the end: IMG_1.jpg(1).json. Names are cut after 46 characters.
    """
    about, number = _without_number(_stem(path))
    stem, of_picture = _without_number(_stem(picture))
    originals = {stem, _EDIT_SUFFIX.sub("", stem)}
    return number == of_picture and any(_describes(about, original, _suffix(picture)) for original in originals)


def _describes(about: str, stem: str, suffix: str) -> bool:
    """Return whether the name of a JSON file, without .json and number, is one that Takeout gives for a picture."""
    name = stem + suffix
    return (
        about in (name, stem)
        or (about.startswith(f"{name}.") and _TAKEOUT_SUFFIX.startswith(about[len(name) + 1 :]))
        or (len(name) > _TAKEOUT_LENGTH and about == name[:_TAKEOUT_LENGTH])
    )


def _stack(path: str) -> tuple[str, str]:
    """Return the folder and the key that all files of one stack share."""
    return os.path.dirname(path), _key(path)


def _keys(path: str) -> list[str]:
    """Return the keys to find a file by. Names that Takeout cuts are found by their beginning as well."""
    name = _stem(path) if _suffix(path) == ".json" else _name(path)
    return [_key(path), *([f"{name[:_TAKEOUT_LENGTH]}..."] if len(name) >= _TAKEOUT_LENGTH else [])]


def _key(path: str) -> str:
    """Return what is left of a name without suffixes, and without what marks an edit or a companion.

    Files of one stack have the same key; files with the same key need not be of one stack.
    """
    stem, number = _without_number(_stem(path))
    if _suffix(path) == ".json" and "." in stem:
        head, tail = stem.rsplit(".", 1)
        stem = head if _TAKEOUT_SUFFIX.startswith(tail) else stem
    before = ""
    while stem != before:  # PXL_1.MP~2.jpg, IMG_1-edited.jpg.json
        before = stem
        inner, suffix = os.path.splitext(stem)
        stem = inner if suffix in _MEDIA else stem
        of_suffix = OF_SUFFIX.match(stem)
        stem = of_suffix[1] if of_suffix else stem
        for mark in (_PIXEL_PAIR, _EDIT_SUFFIX):
            stem = mark.sub("", stem)
    return _EDIT_PREFIX.sub(r"\1", stem) + number


def _without_number(stem: str) -> tuple[str, str]:
    """Return a name without the number of a copy at its end, and that: IMG_1(2) -> IMG_1, (2)."""
    number = _COPY_NUMBER.search(stem)
    return (stem[: number.start()], number[0]) if number else (stem, "")


def _name(path: str) -> str:
    return unicodedata.normalize("NFC", os.path.basename(path)).lower()


def _stem(path: str) -> str:
    return os.path.splitext(_name(path))[0]


def _suffix(path: str) -> str:
    return os.path.splitext(_name(path))[1]


def _is_edit(path: str) -> bool:
    stem, _ = _without_number(_stem(path))
    return _EDIT_PREFIX.match(stem) is not None or _EDIT_SUFFIX.search(stem) is not None
