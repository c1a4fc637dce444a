"""Numbers and names -> text for a terminal or a page."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return the text with control characters and undecodable bytes escaped, for a terminal or a log line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
