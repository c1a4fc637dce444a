"""Globs -> what they match. Names are compared in Unicode form NFC: macOS and others write accents as characters."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from fnmatch import translate
from functools import lru_cache


def glob_matcher(globs: Sequence[str]) -> Callable[[str], bool] | None:
    """Return a function that tells whether any glob matches a whole text; None if there are no globs.

    Globs have * ? [...] and are case-sensitive; * also matches a slash, and a slash at the end is ignored.
    """
    return _matcher(tuple(globs)) if globs else None


@lru_cache(maxsize=16)
def _matcher(globs: tuple[str, ...]) -> Callable[[str], bool]:
    pattern = re.compile("|".join(translate(nfc(glob.rstrip("/") or glob)) for glob in globs))

    def matches(text: str) -> bool:
        return pattern.match(nfc(text)) is not None

    return matches


def nfc(text: str) -> str:
    """Return a text in Unicode form NFC."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)
