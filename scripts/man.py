"""Write the man page: `python scripts/man.py DIR` makes DIR/dedup.1 from the help of every command.

It is one page, with the examples; groff_man(7) explains the macros.
"""

import re
import sys
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path

import click

from dedup.cli.main import main
from dedup.files import user_dirs
from dedup.version import __version__


def page() -> str:
    """Return the man page. It holds no path of this machine and no date, so that it is the same everywhere."""
    ctx = click.Context(main, info_name="dedup")
    lines = [
        f'.TH DEDUP 1 "" "dedup {__version__}" "User Commands"',
        ".ad l",  # ragged on the right: a long list of words leaves nothing to adjust
        ".SH NAME",
        r"dedup \- find the near-duplicate photos in a collection",
        ".SH SYNOPSIS",
        *(f".B dedup {name}\n{roff(' '.join(command.collect_usage_pieces(ctx)))}\n.br" for name, command in commands()),
        ".SH DESCRIPTION",
        *text(main.help or ""),
        ".SH COMMANDS",
    ]
    for name, command in commands():
        lines += [f".SS dedup {name}", *text(command.help or "")]
        for option in (param for param in command.params if isinstance(param, click.Option)):
            switches, about = option.get_help_record(click.Context(command, info_name=name, parent=ctx)) or ("", "")
            lines += [".TP", f".B {roff(switches)}", roff(about)]
        lines += [".PP", *text(command.epilog or "")]
    whole = "\n".join(lines).replace(roff(user_dirs.database()), "dedup.db in the user's data folder")
    return whole.replace(roff(user_dirs.config()), "config.toml in the user's settings folder") + "\n"


def commands() -> list[tuple[str, click.Command]]:
    return sorted(main.commands.items())


def text(words: str) -> Iterator[str]:
    """Yield the paragraphs of a help text; paragraphs that click does not wrap are not wrapped here."""
    for n, paragraph in enumerate(cleandoc(words).split("\n\n")):
        kept = paragraph.startswith("\b\n")
        if n:
            yield ".PP"
        yield from [".nf", roff(paragraph.removeprefix("\b\n")), ".fi"] if kept else [roff(paragraph)]


def roff(words: str) -> str:
    """Return the text escaped, so that none of it is a groff request or escape."""
    plain = words.replace("\\", "\\e").replace("-", "\\-")
    plain = re.sub(r"(?<=[a-z]),(?=[a-z])", r",\\:", plain)  # a long list of words may be broken after each comma
    return "\n".join("\\&" + line if line.startswith((".", "'")) else line for line in plain.split("\n"))


if __name__ == "__main__":
    Path(sys.argv[1], "dedup.1").write_text(page(), encoding="utf-8")
