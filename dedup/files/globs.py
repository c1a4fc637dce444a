"""Globs -> one regular expression."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import translate
from functools import lru_cache


@lru_cache(maxsize=16)
def _compiled(globs: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(translate(glob.rstrip("/") or glob) for glob in globs))


def glob_pattern(globs: Sequence[str]) -> re.Pattern[str] | None:
    """Return a pattern whose match() succeeds if any glob matches the whole text, or None without globs.

    Globs have * ? [...] and are case-sensitive; * also matches a slash, and a slash at the end is ignored.
    """
    return _compiled(tuple(globs)) if globs else None
