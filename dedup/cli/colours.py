"""Colours at a terminal, for relations, actions and numbers. None with NO_COLOR; click.echo drops them in a pipe."""

from __future__ import annotations

import os
import re

import click

_COLOURS = {
    **dict.fromkeys(("keep", "exact", "identical"), "green"),
    "copy": "cyan",
    "variant": "yellow",
    **dict.fromkeys(("similar", "remove"), "magenta"),
}


def coloured(word: str, text: str | None = None) -> str:
    """Return a text, or the word itself, in the colour of a relation or action; other words as they are."""
    colour = _COLOURS.get(word)
    shown = word if text is None else text
    return click.style(shown, fg=colour) if colour and _is_wanted() else shown


def with_bold_numbers(text: str) -> str:
    """Return lines with the number that each begins with in bold."""
    if not _is_wanted():
        return text
    return re.sub(
        r"^ *\d[\d,.’\u00a0\u202f]*%?", lambda number: click.style(number[0], bold=True), text, flags=re.MULTILINE
    )


def _is_wanted() -> bool:
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
