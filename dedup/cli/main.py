"""The command line program and its top-level error handling."""

from __future__ import annotations

import atexit
import errno
import gc
import io
import os
import sys
from typing import Any

import click

from dedup.cli.admin import completion, config_, forget, history, relocate, schedule, status
from dedup.cli.apply import apply, mark, undo
from dedup.cli.export import compare, export, find
from dedup.cli.options import language_of, notes
from dedup.cli.review import review
from dedup.cli.scan import demo, scan
from dedup.cli.stopping import Stopped, stopping_on_signals
from dedup.errors import BadUsage, DedupError, OutOfTime
from dedup.languages.language import Language
from dedup.report.text import printable
from dedup.types.message import Message, sentence_of
from dedup.version import __version__

_COLLECTED = 50_000  # new objects after which the collector looks for garbage
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO)


class Commands(click.Group):
    """Print a DedupError as one line and exit with its code. Any other exception is a bug and shows its traceback."""

    def main(self, *words: Any, **more: Any) -> Any:
        # torch creates some 300,000 objects that live until the end; to look for garbage among them takes 0.4 s
        gc.set_threshold(_COLLECTED)
        atexit.register(gc.freeze)
        for name in ("stdout", "stderr"):
            if getattr(sys, name) is None:  # closed by the parent process
                setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  (for the life of the process)
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # file names that the locale cannot encode
        return super().main(*words, **more)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with stopping_on_signals():
                return super().invoke(ctx)
        except Stopped as error:
            click.echo(_language(ctx).gettext("stopped by {signal}", signal=error), err=True)
            ctx.exit(OutOfTime.exit_code)
        except DedupError as error:
            language = _language(ctx)
            said = language.say(sentence_of(error))
            text = said if isinstance(error, OutOfTime) else language.gettext("Error: {message}", message=said)
            click.echo(printable(text), err=True)
            ctx.exit(error.exit_code)
        except OSError as error:
            if error.errno not in _FULL or error.filename is not None:
                raise
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115  (the rest of the old buffer cannot be written either)
            click.echo(f"Error: standard output cannot be written ({error.strerror})", err=True)
            ctx.exit(DedupError.exit_code)


def _language(ctx: click.Context) -> Language:
    """Return the language of --lang, as far as it was read, or that of the environment."""
    return language_of(ctx.meta.get("dedup.lang"))


@click.group(cls=Commands, context_settings={"auto_envvar_prefix": "DEDUP", "help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version")
def main() -> None:
    """Find near-duplicate photos. A scan changes no photo.

    \b
    Exit codes: 0 done; 1 failed; 2 wrong usage; 3 done, but some files were skipped;
    4 another run uses this database; 10 duplicates were found (scan --fail-if-found).

    \b
    Start with 'dedup scan ~/Photos', or with 'dedup demo' if you have no photos at hand.
    """


@main.command("help", epilog=notes("nothing.", "dedup help scan"))
@click.argument("command", required=False, metavar="[COMMAND]")
@click.pass_context
def help_(ctx: click.Context, command: str | None) -> None:
    """Print the help of the program or of one COMMAND."""
    program = ctx.find_root()
    if command is None:
        click.echo(program.get_help())
        return
    if command not in main.commands:
        raise BadUsage(Message("no such command: {command}; '{help}' lists them", command=command, help="dedup help"))
    about = main.commands[command]
    click.echo(about.get_help(click.Context(about, info_name=command, parent=program)))


for _command in (
    *(scan, export, find, compare, status, history, forget, relocate),
    *(apply, undo, mark),
    *(config_, schedule, review, demo, completion),
):
    main.add_command(_command)
