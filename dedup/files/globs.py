"""Globs -> what they match. Names are compared in Unicode form NFC: macOS and others write accents as characters."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from fnmatch import translate
from functools import lru_cache

from dedup.files.path_rules import nfc, slashed


def glob_matcher(globs: Sequence[str], system: str = sys.platform) -> Callable[[str], bool] | None:
    """Return a function that tells whether any glob matches a whole text; None if there are no globs.

    Globs have * ? [...] and are case-sensitive; * also matches a slash, and a slash at the end is ignored. On Windows a
    backslash is a slash.   system: as sys.platform.
    """
    return _matcher(tuple(globs), system) if globs else None


@lru_cache(maxsize=16)
def _matcher(globs: tuple[str, ...], system: str) -> Callable[[str], bool]:
    written = (slashed(glob, system) for glob in globs)
    pattern = re.compile("|".join(translate(nfc(glob.rstrip("/") or glob)) for glob in written))

    def matches(text: str) -> bool:
        return pattern.match(nfc(slashed(text, system))) is not None

    return matches
