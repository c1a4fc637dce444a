"""Roots -> what the symbolic links below them lead to, so that it can be scanned as roots of its own.

Files keep one path each, their real one: a link in a circle, or two links to one folder, add nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dedup.files.globs import glob_matcher
from dedup.files.walk import is_listed


@dataclass(frozen=True, slots=True)
class Targets:
    """roots: real paths of folders and files that a walk of the first roots does not list.   unlisted: links to
    folders that cannot be listed.
    """

    roots: tuple[str, ...]
    unlisted: tuple[str, ...]


def link_targets(roots: Sequence[str], *, exclude: Sequence[str] = ()) -> Targets:
    """Return what links below the roots lead to, directly or by other links.

    Left out are hidden links, links that are excluded or lead to something excluded, and links that lead nowhere, or
    to neither a folder nor a regular file. exclude: globs, as walk() takes them.
    """
    excluded, found, unlisted = glob_matcher(exclude), dict[str, None](), dict[str, None]()
    waiting, done = list(roots), set[str]()
    while waiting:
        root = waiting.pop()
        for link in _links(root, exclude, done):
            target, below = os.path.realpath(link), link[len(os.path.join(root, "")) :]
            texts = (os.path.basename(link), link, below, os.path.basename(target), target)
            if target in found or (excluded is not None and any(map(excluded, texts))):
                continue
            if os.path.isdir(target) and not _can_be_listed(target):
                unlisted[link] = None
            elif os.path.isdir(target):
                found[target] = None
                waiting.append(target)
            elif os.path.isfile(target):
                found[target] = None
    first = set(map(os.path.realpath, roots))
    new = (t for t in found if t not in first and not _is_below(t, {*first, *found}, exclude))
    return Targets(tuple(new), tuple(unlisted))


def _links(root: str, exclude: Sequence[str], done: set[str]) -> Iterable[str]:
    """Yield the symbolic links in the folders below a root that a walk would enter.   done: real paths, added to."""
    for folder, names, files in os.walk(root, followlinks=False):
        real = os.path.realpath(folder)
        if real in done:
            names.clear()
            continue
        done.add(real)
        below = os.path.relpath(folder, root)
        for name in (*names, *files):
            path = os.path.join(folder, name)
            if not name.startswith(".") and os.path.islink(path):
                yield path
        names[:] = [n for n in names if is_listed(os.path.normpath(f"{below}/{n}") + "/x", root, exclude)]


def _can_be_listed(folder: str) -> bool:
    try:
        os.scandir(folder).close()
    except OSError:
        return False
    return True


def _is_below(path: str, roots: set[str], exclude: Sequence[str]) -> bool:
    """Return whether a walk of a root above the path lists what is there."""
    tail = "/x" if os.path.isdir(path) else ""
    above = (str(folder) for folder in Path(path).parents if str(folder) in roots)
    return any(is_listed(os.path.relpath(path, root) + tail, root, exclude) for root in above)
