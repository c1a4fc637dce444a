"""Groups that dedup reports, truth of an album -> who is kept: how often the original, and what would be lost.

An original is a file that no edit was made of, or a file with the very same pixels. A group counts if it holds one and
another version of the same photograph. A file is removable if the report selects it for removal by default.
"""

import csv
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from dedup.errors import UnreadablePhoto
from dedup.images.decode import pixels_sha256
from dedup.report.csv_file import value_of

from .edits import ORIGINAL
from .score import Album

REMOVABLE = frozenset(("exact", "identical", "copy"))
LOSSLESS = (".png", ".bmp", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class Reported:
    """A group as `dedup export groups` writes it: positions of its files in the album.

    keeper: the file to keep.   removable: those selected for removal.   left: its other files.
    """

    keeper: int
    removable: tuple[int, ...]
    left: tuple[int, ...]

    @property
    def files(self) -> tuple[int, ...]:
        return (self.keeper, *self.removable, *self.left)


def read_groups(path: Path, album: Album) -> list[Reported]:
    """Return the groups; files that the album does not hold are passed over, and groups whose keeper is one."""
    number = {p: i for i, p in enumerate(album.paths)}
    rows: dict[str, list[tuple[int, str, str]]] = {}
    with path.open(newline="", encoding="utf-8") as f:
        for row in csv.DictReader(f):
            at = number.get(value_of(row["path"]))
            if at is not None:
                rows.setdefault(row["group"], []).append((at, row["role"], row["relation"]))
    groups = []
    for files in rows.values():
        kept = [at for at, role, _ in files if role == "keep"]
        if kept:
            others = [(at, relation in REMOVABLE) for at, role, relation in files if role != "keep"]
            removable = tuple(at for at, out in others if out)
            groups.append(Reported(kept[0], removable, tuple(at for at, out in others if not out)))
    return groups


def untouched(album: Album) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return which files are originals or decode to the pixels of the original."""
    found = album.edits == ORIGINAL
    digests = {str(album.photos[i]): _pixels(album.paths[i]) for i in _edited_originals(album)}
    for i in np.flatnonzero(~found):
        same_photo = digests.get(str(album.photos[i]))
        if same_photo is not None and album.paths[i].lower().endswith(LOSSLESS):
            found[i] = _pixels(album.paths[i]) == same_photo
    return found


def _edited_originals(album: Album) -> Iterator[int]:
    edited = set(album.photos[album.edits != ORIGINAL].tolist())
    yield from (int(i) for i in np.flatnonzero(album.edits == ORIGINAL) if album.photos[i] in edited)


def _pixels(path: str) -> str | None:
    try:
        return pixels_sha256(Path(path).read_bytes())
    except (UnreadablePhoto, OSError):
        return None


def with_originals(
    groups: Sequence[Reported], album: Album, originals: np.ndarray[tuple[int], np.dtype[np.bool_]]
) -> list[tuple[Reported, list[int]]]:
    """Return the groups that hold an original and another version of it, each with the originals of that photograph."""
    found = []
    for group in groups:
        files = np.array(group.files)
        for photo in np.unique(album.photos[files]):
            versions = files[album.photos[files] == photo]
            mine = [int(i) for i in versions if originals[i]]
            if mine and len(mine) < len(versions):
                found.append((group, mine))
    return found


def kept_figures(
    groups: Sequence[Reported], album: Album, originals: np.ndarray[tuple[int], np.dtype[np.bool_]]
) -> dict[str, float]:
    """Return how many groups count, the share whose original is kept, the originals lost per 100 of them, and the
    removable files per 1,000 that are no version of the keeper's photograph.
    """
    counted = with_originals(groups, album, originals)
    kept = sum(group.keeper in mine for group, mine in counted)
    lost = sum(set(mine) <= set(group.removable) for group, mine in counted)
    removed = [(album.photos[group.keeper], album.photos[i]) for group in groups for i in group.removable]
    strangers = sum(keeper != other for keeper, other in removed)
    return {
        "groups": len(counted),
        "original kept": kept / max(len(counted), 1),
        "originals lost per 100": 100 * lost / max(len(counted), 1),
        "removable": len(removed),
        "no version of the keeper per 1,000": 1000 * strangers / max(len(removed), 1),
    }


def kept_by_edit(
    groups: Sequence[Reported], album: Album, originals: np.ndarray[tuple[int], np.dtype[np.bool_]]
) -> dict[str, tuple[int, float, int, int]]:
    """Return for each kind of edit: files in groups with their original, the share of them that is removable, how often
    one is kept in place of the original, and how many originals would go for it.
    """
    found: dict[str, list[int]] = {}
    for group, mine in with_originals(groups, album, originals):
        photo = album.photos[mine[0]]
        lost = set(mine) <= set(group.removable)
        for i in group.files:
            if album.photos[i] == photo and i not in mine:
                kept = i == group.keeper
                row = found.setdefault(str(album.edits[i]), [0, 0, 0, 0])
                for n, value in enumerate((True, i in group.removable, kept, kept and lost)):
                    row[n] += value
    return {kind: (row[0], row[1] / row[0], row[2], row[3]) for kind, row in sorted(found.items())}


# Rules that other tools go by


def _pixels_of(path: str) -> int:
    try:
        with Image.open(path) as image:
            return int(image.width * image.height)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return 0


RULES: dict[str, Callable[[str], int]] = {
    "most pixels": lambda path: -_pixels_of(path),
    "largest file": lambda path: -os.path.getsize(path),
    "oldest file": lambda path: os.stat(path).st_mtime_ns,
}


def by_rule(groups: Sequence[Reported], album: Album, rule: Callable[[str], int]) -> list[Reported]:
    """Return the same groups as a tool leaves them that keeps the first file by a rule and removes all others.

    Files that are equal by the rule are taken in the order of their paths.
    """
    chosen = []
    for group in groups:
        first, *others = sorted(group.files, key=lambda i: (rule(album.paths[i]), album.paths[i]))
        chosen.append(Reported(first, tuple(others), ()))
    return chosen
