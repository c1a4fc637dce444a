"""Which photo of a group is kept, and why."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence

from dedup.errors import BadUsage
from dedup.files.globs import glob_pattern
from dedup.types.groups import Group
from dedup.types.photo import File, Photo
from dedup.types.settings import KEEP, Settings


def keep_order(words: Sequence[str]) -> tuple[str, ...]:
    """Return the words that decide who is kept, as Settings holds them. Raises BadUsage if they are not such words."""
    unknown = [word for word in words if word not in KEEP]
    if unknown or not words or len(set(words)) < len(words):
        what = f"'{unknown[0]}' is none of them" if unknown else "each once, one at least"
        raise BadUsage(f"--keep takes words of {', '.join(KEEP)}; {what}")
    return tuple(words)


def protected(path: str, settings: Settings) -> bool:
    """Return whether the file lies in a folder that the user protects."""
    return any(path == folder or path.startswith(os.path.join(folder, "")) for folder in settings.protect)


def preference(path: str, settings: Settings) -> int:
    """Return -1 for a file that the user prefers, 1 for one to avoid, 0 for all others.

    A glob is compared as a whole with the path and with each folder above it, and with their names.
    """
    if not settings.prefer and not settings.avoid:
        return 0
    prefer, avoid = glob_pattern(settings.prefer), glob_pattern(settings.avoid)
    parts = path.split("/")
    texts = {*parts, *("/".join(parts[:n]) for n in range(2, len(parts) + 1))}
    return any(avoid is not None and avoid.match(text) for text in texts) - any(
        prefer is not None and prefer.match(text) for text in texts
    )


def in_order(groups: Sequence[Group], photos: Sequence[Photo], settings: Settings) -> list[Group]:
    """Return the groups as every report numbers them: in the order of the paths of the files to keep."""
    return sorted(groups, key=lambda g: best_files(photos[g.keeper], settings)[0].path)


def originality(photo: Photo, file: File) -> int:
    """Return 0 for what a camera took, 2 for a screenshot, 1 where nothing tells."""
    screen = photo.format == "PNG" and tuple(sorted((photo.width, photo.height))) in _SCREENS
    named = _SCREENSHOT_NAME.match(file.path.rpartition("/")[2])
    if photo.screenshot or (photo.camera is None and (screen or named)):
        return 2
    return int(photo.camera is None)


_SCREENSHOT_NAME = re.compile(r"screen[ _-]?shot|screen[ _-]?capture|bildschirmfoto|capture d|schermata", re.IGNORECASE)
# Short side, long side, in pixels, of screens that are sold in numbers: computers, then telephones and tablets.
_SCREENS = frozenset(
    tuple(map(int, size.split("x")))
    for size in (
        "768x1366 900x1440 900x1600 1050x1680 1080x1920 1200x1920 1440x2560 1600x2560 1800x2880 2160x3840 1964x3024 "
        "640x1136 750x1334 828x1792 1080x2340 1080x2400 1125x2436 1170x2532 1179x2556 1206x2622 1242x2208 1242x2688 "
        "1284x2778 1290x2796 1320x2868 1440x3120 1440x3200 1536x2048 1620x2160 1640x2360 1668x2388 2048x2732"
    ).split()
)


def _known(photo: Photo) -> list[str]:
    """Return what the photo says of itself beyond its pixels, in words."""
    facts = {"a capture time": photo.taken_at, "a place": photo.gps, "a rating": photo.rating}
    return [word for word, there in facts.items() if there]


_Key = Callable[[Photo, File, Settings], object]
_Why = Callable[[Photo, Photo], str]

# Each word of Settings.keep: what sorts first, of a photo and the best of its files, and what is said of the better.
_RULES: dict[str, tuple[_Key, _Why]] = {
    "protected": (lambda p, f, s: not protected(f.path, s), lambda k, o: "in a protected folder"),
    "preferred": (lambda p, f, s: preference(f.path, s), lambda k, o: "in a folder preferred over the other"),
    "pixels": (lambda p, f, s: -p.width * p.height, lambda k, o: f"{k.width}x{k.height} over {o.width}x{o.height}"),
    "original": (lambda p, f, s: originality(p, f), lambda k, o: "has camera data" if k.camera else "no screenshot"),
    "bytes": (lambda p, f, s: -p.size, lambda k, o: f"{k.size:,} over {o.size:,} bytes"),
    "metadata": (
        lambda p, f, s: -len(_known(p)),
        lambda k, o: "has " + " and ".join(word for word in _known(k) if word not in _known(o)),
    ),
    "oldest": (lambda p, f, s: f.mtime_ns, lambda k, o: "older file"),
    "path": (lambda p, f, s: len(f.path), lambda k, o: "shorter path"),
}


def best_files(photo: Photo, settings: Settings) -> list[File]:
    """Return the files of a photo, the one to keep first."""
    if len(photo.files) == 1:
        return [*photo.files]
    keys = [_RULES[word][0] for word in settings.keep]
    return sorted(photo.files, key=lambda f: (*(key(photo, f, settings) for key in keys), len(f.path), f.path))


def best_photo(photo: Photo, settings: Settings) -> tuple[object, ...]:
    """Return the key that sorts the photo to keep first, a figure a word of settings.keep; no two keys are equal."""
    file = best_files(photo, settings)[0]
    return (*(_RULES[word][0](photo, file, settings) for word in settings.keep), photo.sha256)


def keep_reason(keeper: Photo, other: Photo, settings: Settings) -> str:
    """Return the first criterion by which the keeper is the better one, as a person would say it."""
    ours, theirs = best_photo(keeper, settings), best_photo(other, settings)
    first = next(i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b)
    if first == len(settings.keep):
        return "same in every respect"
    return _RULES[settings.keep[first]][1](keeper, other)
