"""Verdicts -> Groups: who is kept, who duplicates it, and why. Pure: photos and verdicts in, groups out.

A group is a star. The best photo is kept, and only photos that were themselves compared with it, and match it, are
its duplicates; a chain a ~ b ~ c does not make c a duplicate of a.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from fnmatch import translate
from functools import lru_cache

import numpy as np

from dedup.columns import held_by_several
from dedup.errors import BadUsage
from dedup.types import (
    KEEP,
    NOTHING_DECIDED,
    Candidates,
    Decisions,
    Duplicate,
    File,
    Group,
    Photo,
    Relation,
    Settings,
    Verdicts,
)
from dedup.units import one_shot

_Edges = dict[int, dict[int, int]]  # photo -> {photo it was compared with: row of the verdict}


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
    prefer, avoid = _matcher(settings.prefer), _matcher(settings.avoid)
    parts = path.split("/")
    texts = {*parts, *("/".join(parts[:n]) for n in range(2, len(parts) + 1))}
    return any(map(avoid, texts)) - any(map(prefer, texts))


@lru_cache(maxsize=8)
def _matcher(globs: tuple[str, ...]) -> Callable[[str], object]:
    return re.compile("|".join(translate(glob.rstrip("/") or glob) for glob in globs) or r"(?!)").match


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


def group(
    photos: Sequence[Photo], verdicts: Verdicts, settings: Settings, decisions: Decisions = NOTHING_DECIDED
) -> list[Group]:
    """Take the best photo not yet taken, give it its matches not yet taken, repeat.

    Also a group: a photo without matches that several files hold. In the order of the keepers' photo numbers.
    """
    edges, several = _edges(photos, verdicts, settings, decisions), frozenset(held_by_several(photos))
    members = sorted({*edges.matched, *several})
    groups = []
    for keeper, star in _stars(photos, members, edges, settings, decisions):
        if star or keeper in several:
            matched = edges.matched[keeper] if star else {}
            duplicates = (_duplicate(photos, keeper, i, matched[i], verdicts, settings, decisions) for i in star)
            groups.append(Group(keeper, tuple(duplicates)))
    return sorted(groups, key=lambda g: g.keeper)


def missing_pairs(
    photos: Sequence[Photo], verdicts: Verdicts, settings: Settings, decisions: Decisions = NOTHING_DECIDED
) -> Candidates:
    """Return the pairs that grouping needs and nobody looked at, with similarity 0 for want of one.

    The best photo of a connected set should be compared with all of the set, so that fifty versions of one photo are
    one group even if the index proposed only forty neighbours. Asked again after they are verified, until none is left.
    """
    edges = _edges(photos, verdicts, settings, decisions)
    pairs: set[tuple[int, int]] = set()
    left = list(components(edges.matched, set(edges.matched)))
    while left:
        members = left.pop()
        keeper = min(members, key=lambda i: _first(photos[i], settings, decisions))
        unseen = members - edges.seen[keeper] - {keeper}
        if unseen:  # one keeper at a time: its new matches decide who the next one is
            pairs.update((min(keeper, i), max(keeper, i)) for i in unseen)
        else:
            left.extend(components(edges.matched, members - edges.matched[keeper].keys() - {keeper}))
    columns = np.array(sorted(pairs), np.int64).reshape(-1, 2)
    return Candidates(columns[:, 0], columns[:, 1], np.zeros(len(columns), np.float32))


class _Compared:
    """Who matched whom, and who was looked at."""

    def __init__(self) -> None:
        self.matched: _Edges = defaultdict(dict)
        self.seen: dict[int, set[int]] = defaultdict(set)


def matches(
    photos: Sequence[Photo], verdicts: Verdicts, settings: Settings, decisions: Decisions
) -> dict[int, dict[int, int]]:
    """Return, for each photo, those that match it, with the row of their verdict; both ways."""
    return _edges(photos, verdicts, settings, decisions).matched


def reported(verdicts: Verdicts, row: int, settings: Settings) -> Relation:
    """Return the relation that a match is reported with: a copy that is not sure enough passes as similar only."""
    relation = Relation(int(verdicts.relation[row]))
    unsure = relation is Relation.COPY and verdicts.copy[row] < settings.min_probability
    return Relation.SIMILAR if unsure else relation


def _first(photo: Photo, settings: Settings, decisions: Decisions) -> tuple[object, ...]:
    return photo.sha256 not in decisions.kept, *best_photo(photo, settings)


def _apart(one: Photo, other: Photo, decisions: Decisions) -> bool:
    """Return whether two photos are no duplicates of each other whatever they show."""
    first, second = sorted((one.sha256, other.sha256))
    return (first, second) in decisions.apart or one_shot((f.path for f in one.files), (f.path for f in other.files))


def _edges(photos: Sequence[Photo], verdicts: Verdicts, settings: Settings, decisions: Decisions) -> _Compared:
    edges = _Compared()
    sure = (verdicts.relation <= Relation.COPY) & (verdicts.copy >= settings.min_probability)
    shots = (verdicts.relation <= Relation.SIMILAR) & settings.include_similar  # unsure copies among them
    matches = np.flatnonzero(sure | shots)
    left, right = verdicts.left[matches], verdicts.right[matches]
    for row, a, b in zip(matches.tolist(), left.tolist(), right.tolist(), strict=True):
        if not _apart(photos[a], photos[b], decisions):
            edges.matched[a][b] = edges.matched[b][a] = row
    touched = np.zeros(int(verdicts.right.max(initial=-1)) + 1, bool)
    touched[left] = touched[right] = True
    both = np.flatnonzero(touched[verdicts.left] & touched[verdicts.right])
    for a, b in zip(verdicts.left[both].tolist(), verdicts.right[both].tolist(), strict=True):
        edges.seen[a].add(b)
        edges.seen[b].add(a)
    return edges


def _stars(
    photos: Sequence[Photo], members: Sequence[int], edges: _Compared, settings: Settings, decisions: Decisions
) -> Iterator[tuple[int, list[int]]]:
    """Yield each keeper with its duplicates, the best first in both."""
    best = {i: _first(photos[i], settings, decisions) for i in members}
    taken: set[int] = set()
    for keeper in sorted(members, key=best.__getitem__):
        if keeper not in taken:
            star = sorted(edges.matched.get(keeper, {}).keys() - taken, key=best.__getitem__)
            taken.update([keeper, *star])
            yield keeper, star


def components(matched: _Edges, members: set[int]) -> Iterator[set[int]]:
    """Yield the connected sets of two or more among the members."""
    left = set(members)
    while left:
        fringe = [left.pop()]
        component = set(fringe)
        while fringe:
            new = matched[fringe.pop()].keys() & left
            left -= new
            component |= new
            fringe.extend(new)
        if len(component) > 1:
            yield component


def _duplicate(
    photos: Sequence[Photo],
    keeper: int,
    i: int,
    row: int,
    verdicts: Verdicts,
    settings: Settings,
    decisions: Decisions,
) -> Duplicate:
    marked = "marked to be kept"
    return Duplicate(
        i,
        reported(verdicts, row, settings),
        float(verdicts.copy[row]),
        float(verdicts.similarity[row]),
        marked if photos[keeper].sha256 in decisions.kept else keep_reason(photos[keeper], photos[i], settings),
    )
