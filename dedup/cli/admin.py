"""The commands that set dedup up: config, schedule, completion."""

from __future__ import annotations

import json
import os
import re
import sys
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import get_completion_class

from dedup.cli.options import Duration, PathWord, commands_beside, database, notes, options_of, settings_in
from dedup.errors import BadUsage
from dedup.report.text import printable

if TYPE_CHECKING:
    from dedup.cli.scheduler import Job


_SHELLS = {
    "bash": "~/.local/share/bash-completion/completions/dedup",
    "zsh": "~/.zfunc/_dedup",
    "fish": "~/.config/fish/completions/dedup.fish",
}


@click.command(
    "config",
    context_settings={"allow_interspersed_args": False},
    epilog=notes("nothing.", "dedup config show", "dedup config show scan --exclude '*.tmp'"),
)
@click.argument("action", type=click.Choice(["show"]))
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[COMMAND [WORD]...]")
@click.pass_context
def config_(ctx: click.Context, action: str, words: tuple[str, ...]) -> None:
    """Print every option, and where its value came from.

    As a COMMAND with these words would see it, or every command. What is printed is a config file itself.
    """
    commands = commands_beside(ctx)
    named = bool(words) and not words[0].startswith("-")
    if named and words[0] not in commands:
        raise BadUsage(f"{words[0]}: no such command; there are {', '.join(sorted(commands))}")
    names, rest = ([words[0]], list(words[1:])) if named else (list(commands), list(words))
    for name in names:
        command = commands[name]
        seen = command.make_context(name, rest.copy(), parent=ctx.find_root(), resilient_parsing=True)
        settings_in(seen.meta.get("dedup.config"), commands)  # says what is wrong in the file
        if name == names[0]:
            click.echo(f"# config file: {printable(seen.meta.get('dedup.config') or 'none')}")
        if options_of(command):
            click.echo(f"\n[{name}]")
        for key, option in options_of(command).items():
            source = seen.get_parameter_source(str(option.name))
            click.echo(setting(key, option, seen.params.get(str(option.name)), source.name if source else "DEFAULT"))


def setting(key: str, option: click.Option, value: Any, source: str) -> str:
    """Return a line of a config file; without a value it is a comment."""
    if isinstance(option.type, Duration) and value is not None:
        value = f"{value}s"
    elif isinstance(value, tuple) and not option.multiple:
        value = ",".join(value)
    text = f"# {key} =" if value is None else f"{key} = {json.dumps(value)}"
    words = {"COMMANDLINE": "command line", "ENVIRONMENT": "environment", "DEFAULT_MAP": "file"}
    return printable(f"{text:<50} # {words.get(source, 'default')}")


@click.command(
    epilog=notes(
        "install and remove change the timers of this user (systemd, cron or launchd); list changes nothing.",
        "dedup schedule install ~/Photos --at 03:00",
        "dedup schedule remove ~/Photos",
    )
)
@click.argument("action", type=click.Choice(["install", "list", "remove"]))
@click.argument("path", nargs=-1, metavar="[PATH]...", type=PathWord())
@click.option("--daily", is_flag=True, help="Every day; the default.")
@click.option("--weekly", is_flag=True, help="On Sundays.")
@click.option("--at", metavar="HH:MM", default="03:00", show_default=True, help="When it begins.")
@click.option("--with", "kind", type=click.Choice(["auto", "systemd", "cron", "launchd"]), default="auto",
              show_default=True, help="What starts it.")  # fmt: skip
@database
@click.pass_context
def schedule(
    ctx: click.Context, action: str, path: tuple[str, ...], daily: bool, weekly: bool, at: str, kind: str, db: str
) -> None:
    """Scan PATH at set times, list such jobs, or remove one.

    They run at low priority. All options of the scan but --db come from the config file. A job is removed by its name
    in the list or by its PATHs.
    """
    from dedup.cli import scheduler as jobs
    from dedup.files.walk import folder

    kind = jobs.available() if kind == "auto" else kind
    if action == "list":
        for name, about in jobs.listed(kind).items():
            click.echo(printable(f"{name}  {about}"))
        return
    if not path:
        raise BadUsage(f"dedup schedule {action}: which folders? Name them after it")
    paths, db = [folder(p) for p in path if not jobs.is_name(p)], os.path.abspath(db)
    if action == "remove":
        for name in [p for p in path if jobs.is_name(p)] or [jobs.name_of(paths, db)]:
            jobs.remove(name, kind)
            click.echo(f"{name}: removed")
        return
    click.echo(printable_lines(jobs.install(job_of(paths, db, ctx.meta["dedup.config"], daily, weekly, at), kind)))


def job_of(paths: list[str], db: str, config: str | None, daily: bool, weekly: bool, at: str) -> Job:
    """Return the job that the words of the command line ask for. Raises BadUsage."""
    from dedup.cli import scheduler as jobs

    time_ = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", at)
    missing = [p for p in paths if not os.path.isdir(p)]
    if time_ is None or (daily and weekly) or missing:
        wrong = f"{missing[0]}: no such folder" if missing else f"--at {at}: write HH:MM, as 03:00"
        raise BadUsage("--daily or --weekly, not both" if daily and weekly else wrong)
    words = [sys.executable, "-P", "-m", "dedup", "scan", "--db", db]  # -P: a folder named dedup is no program
    words += ["--config", os.path.abspath(config)] if config else []
    when = f"{'Sundays' if weekly else 'daily'} at {int(time_[1]):02}:{time_[2]}"
    about = printable(f"{when}: dedup scan {' '.join(paths)}")
    hour, minute = int(time_[1]), int(time_[2])
    return jobs.Job(jobs.name_of(paths, db), about, (*words, "--", *paths), hour, minute, weekly)


def printable_lines(text: str) -> str:
    return "\n".join(map(printable, text.split("\n")))


@click.command(epilog=notes("nothing.", *(f"dedup completion {shell} > {file}" for shell, file in _SHELLS.items())))
@click.argument("shell", type=click.Choice(list(_SHELLS)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what makes a shell complete commands, options and paths.

    Write it where the examples say, into a folder that is there, and start the shell anew. zsh looks into ~/.zfunc if
    ~/.zshrc has 'fpath=(~/.zfunc $fpath)' above compinit.
    """
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(ctx.find_root().command, {}, "dedup", "_DEDUP_COMPLETE").source())
