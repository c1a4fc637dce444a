"""Folders and globs as a user types them -> as a scan of some roots sees them.

A scan lists files under the roots as they were given, which may be symbolic links. A protected folder, or a glob with
an absolute path, may lead to the same files by another way.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from dedup.errors import BadUsage
from dedup.files.path_rules import is_inside, nfc, slashed
from dedup.types.message import Message
from dedup.types.settings import Settings


def existing_folders(folders: Iterable[str], *, to: str = "protect") -> tuple[str, ...]:
    """Return the absolute paths of folders, as they are spelled on disk.

    Raises BadUsage if a folder does not exist; to: what they are for.
    """
    found = {folder: existing(os.path.abspath(folder)) for folder in folders}
    for folder, path in found.items():
        if path is None:
            raise BadUsage(
                Message("{option} {folder}: no such folder; nothing would be protected", option=to, folder=folder)
            )
    return tuple(path for path in found.values() if path is not None)


def as_scanned(settings: Settings, roots: Sequence[str]) -> Settings:
    """Return settings whose folders and globs have every path by which a scan of these roots may see them.

    Raises BadUsage if duplicates across roots are asked for and there is only one.
    """
    if settings.folders == "across" and len(set(roots)) < 2:
        raise BadUsage(Message("{option}: only one folder is scanned; name another one", option="across"))
    protect, reference = (
        tuple(dict.fromkeys(path for folder in folders for path in spellings(folder, roots)))
        for folders in (settings.protect, settings.reference)
    )
    prefer, avoid = (spelled_globs(globs, roots) for globs in (settings.prefer, settings.avoid))
    named = () if settings.folders == "all" else tuple(roots)
    return replace(settings, protect=protect, reference=reference, prefer=prefer, avoid=avoid, roots=named)


def spelled_globs(globs: Iterable[str], roots: Sequence[str]) -> tuple[str, ...]:
    """Return globs, and for each with an absolute path the globs for other paths that a scan may see it by."""
    found: list[str] = []
    for glob in globs:
        found.append(glob)
        literal = re.match(r"[^*?\[]*(?=/)|[^*?\[]*$", slashed(glob))
        if os.path.isabs(glob) and literal is not None:
            folder = literal[0] or "/"
            others = (other for other in spellings(folder, roots) if other != folder)
            found += [re.sub(r"([*?\[])", r"[\1]", other) + glob[len(literal[0]) :] for other in others]
    return tuple(dict.fromkeys(found))


def spellings(path: str, roots: Sequence[str]) -> list[str]:
    """Return an absolute path, its real path, and its paths below each root that leads to it, without repetitions."""
    real = os.path.realpath(path)
    found = [path, real]
    for root in roots:
        real_root = os.path.realpath(root)
        if is_inside(real, real_root):
            found.append(os.path.normpath(os.path.join(root, os.path.relpath(real, real_root))))
        elif is_inside(real_root, real):
            found.append(root)
    return list(dict.fromkeys(found))


def existing(path: str) -> str | None:
    """Return an absolute path as it is spelled on disk; None if there is none.

    Letters may be in another Unicode form, and of another case where the file system does not tell them apart.
    """
    folder, name = os.path.split(path)
    if folder == path or not name:
        return path if os.path.exists(path) else None
    parent = existing(folder)
    if parent is None or not os.path.isdir(parent):
        return None
    spelled = os.path.join(parent, name)
    try:
        entries = os.listdir(parent)
    except OSError:
        entries = []
    if name in entries:
        return spelled
    there = os.path.exists(spelled)
    alike = (os.path.join(parent, e) for e in entries if nfc(e).casefold() == nfc(name).casefold())
    same = (e for e in alike if (os.path.samefile(e, spelled) if there else nfc(os.path.basename(e)) == nfc(name)))
    return next(same, spelled if there else None)
