"""Roots -> what the symbolic links below them lead to, so that it can be scanned as roots of its own.

Files keep one path each, their real one: a link in a circle, or two links to one folder, add nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from dedup.files.globs import glob_matcher
from dedup.files.walk import is_listed


def link_targets(roots: Sequence[str], *, exclude: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the real paths of folders and files that links below the roots lead to, directly or by other links.

    Those that a walk of the roots lists anyway are left out, and so are links that are hidden or excluded, and links
    that lead nowhere. exclude: globs, as walk() takes them.
    """
    excluded, found = glob_matcher(exclude), dict[str, None]()
    waiting, done = list(roots), set[str]()
    while waiting:
        root = waiting.pop()
        for link in _links(root, exclude, done):
            below = link[len(os.path.join(root, "")) :]
            target = os.path.realpath(link)
            if excluded is not None and any(map(excluded, (os.path.basename(link), link, below))):
                continue
            if target not in found and os.path.exists(target):
                found[target] = None
                waiting += [target] if os.path.isdir(target) else []
    real_roots = list(map(os.path.realpath, roots))
    return tuple(
        target
        for target in found
        if not any(_is_within(target, other, exclude) for other in (*real_roots, *(f for f in found if f != target)))
    )


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


def _is_within(path: str, root: str, exclude: Sequence[str]) -> bool:
    """Return whether a walk of the root lists what is at a path."""
    with suppress(ValueError):
        below = str(Path(path).relative_to(root))
        return path == root or is_listed(f"{below}/x" if os.path.isdir(path) else below, root, exclude)
    return False
