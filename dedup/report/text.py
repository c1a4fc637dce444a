"""Numbers and names -> text for a terminal or a page."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return the text with control characters and undecodable bytes escaped, for a terminal or a log line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def plural(word: str, count: int) -> str:
    return word if count == 1 else word + "s"


def roughly(seconds: float) -> str:
    """Return an estimated time, rounded as coarsely as an estimate deserves."""
    if seconds < 55:
        return f"about {max(1, round(seconds / 10)) * 10} s"
    return f"about {round(seconds / 60)} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"
