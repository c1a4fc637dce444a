"""The command line: words in, one call, words out."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any

import click

from dedup.cli.admin import completion, config_, schedule
from dedup.cli.apply import apply, mark, undo
from dedup.cli.export import compare, export, find, forget, status
from dedup.cli.review import review
from dedup.cli.scan import demo, scan
from dedup.errors import DedupError, OutOfTime
from dedup.report.text import printable
from dedup.version import __version__

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO)


class Commands(click.Group):
    """Turn any DedupError into one line and its exit code. Other exceptions are bugs: they show."""

    def main(self, *words: Any, **more: Any) -> Any:
        for name in ("stdout", "stderr"):
            if getattr(sys, name) is None:  # closed by who started this, so nobody reads it
                setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  (for the life of the process)
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # a name that the locale cannot write
        return super().main(*words, **more)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except DedupError as error:
            kind = "" if isinstance(error, OutOfTime) else "Error: "
            click.echo(f"{kind}{printable(str(error))}", err=True)
            ctx.exit(error.exit_code)
        except OSError as error:
            if error.errno not in _FULL or error.filename is not None:
                raise
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115  (what is left in the old one cannot be written either)
            click.echo(f"Error: what this prints cannot be written ({error.strerror})", err=True)
            ctx.exit(DedupError.exit_code)


@click.group(cls=Commands, context_settings={"auto_envvar_prefix": "DEDUP", "help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Find near-duplicate photos. A scan changes no photo.

    \b
    Exit codes: 0 done; 1 failed; 2 wrong usage; 3 done, but not with every file;
    4 another run holds this database; 10 duplicates were found (scan --fail-if-found).

    \b
    Begin with 'dedup scan ~/Photos', or, without photos at hand, with 'dedup demo'.
    """


for _command in (
    *(scan, export, find, compare, status, forget),
    *(apply, undo, mark),
    *(config_, schedule, review, demo, completion),
):
    main.add_command(_command)
