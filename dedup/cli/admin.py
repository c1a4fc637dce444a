"""The commands status, history, forget, config, schedule and completion."""

from __future__ import annotations

import json
import os
import re
import sys
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import get_completion_class

from dedup.cli.options import (
    Duration,
    PathWord,
    commands_beside,
    database,
    in_language,
    language_of,
    notes,
    options_of,
    settings_in,
)
from dedup.errors import BadUsage
from dedup.report.text import printable
from dedup.types.message import Message

if TYPE_CHECKING:
    from dedup.cli.scheduler import Job
    from dedup.languages.language import Language
    from dedup.types.report import Attempt


_SHELLS = {
    "bash": "~/.local/share/bash-completion/completions/dedup",
    "zsh": "~/.zfunc/_dedup",
    "fish": "~/.config/fish/completions/dedup.fish",
}


@click.command(epilog=notes("nothing.", "dedup status"))
@in_language
@database
def status(lang: str | None, db: str) -> None:
    """Print the contents, size and age of the database."""
    from dedup.store.store import Store

    with Store(os.path.abspath(db)) as store:
        counts, last, roots = store.counts(), store.runs.last(), store.roots.load()
        size = sum(os.path.getsize(db + end) for end in ("", "-wal") if os.path.exists(db + end))
    language = language_of(lang)
    say, count = language.gettext, language.ngettext
    click.echo(f"{printable(os.path.abspath(db))}, {language.bytes(size)}")
    files, photos = count("{n} file", "{n} files", counts["file"]), count("{n} photo", "{n} photos", counts["photo"])
    pairs = count("{n} pair compared", "{n} pairs compared", counts["pair"])
    click.echo(f"{files}, {photos}, {pairs}")
    click.echo(printable(say("roots: {folders}", folders=", ".join(roots)) if roots else say("roots: none")))
    if last is None:
        click.echo(say("no finished scan"))
    else:
        about = {"when": language.minute(last.ended_at), "weights": last.weights_name}
        line = say("last scan finished {when}: {folders}, with {weights}", folders=", ".join(last.roots), **about)
        click.echo(printable(line))


@click.command(epilog=notes("nothing.", "dedup history"))
@in_language
@database
def history(lang: str | None, db: str) -> None:
    """List the last scans, with their results and errors."""
    from dedup.store.store import Store

    with Store(os.path.abspath(db)) as store:
        language = language_of(lang)
        lines = [attempt_line(run, language) for run in store.runs.attempts()]
    click.echo("\n".join(map(printable, lines)) or language.gettext("no scan yet"))


def attempt_line(run: Attempt, language: Language) -> str:
    """Return one line about a scan."""
    when = language.minute(run.started_at)
    took = "" if run.ended_at is None else language.duration(max(0.0, run.ended_at - run.started_at))
    if run.outcome == "finished":
        about = {name: run.result[name] for name in ("photos", "new", "duplicates", "skipped")}
        what = language.gettext(
            "{photos:,} photos, {new:,} new, {duplicates:,} duplicates, {skipped:,} skipped", **about
        )
    elif run.outcome is None:
        what = language.gettext("did not end: killed, or still running")
    else:
        what = f"{run.outcome}: {run.result.get('error', '')}"
    return f"{when}  {took:>12}  {', '.join(run.roots)}: {what}"


@click.command(epilog=notes("the database. No photo is changed.", "dedup forget ~/Photos/Old"))
@click.argument("path", nargs=-1, required=True, metavar="PATH...", type=PathWord())
@in_language
@database
def forget(path: tuple[str, ...], lang: str | None, db: str) -> None:
    """Remove files and folders from the database. The files themselves are not touched."""
    from dedup.store.store import Store

    language = language_of(lang)
    count = language.ngettext
    with Store(os.path.abspath(db), changing=True) as store:
        for folder in path:
            files, photos = store.forget(os.path.abspath(folder))
            known = {"files": count("{n} file", "{n} files", files), "photos": count("{n} photo", "{n} photos", photos)}
            line = language.gettext("{folder}: {files} and {photos} forgotten", folder=folder, **known)
            click.echo(printable(line))


@click.command(epilog=notes("the database. No photo is changed.", "dedup relocate /media/old /media/new"))
@click.argument("old", metavar="OLD", type=PathWord())
@click.argument("new", metavar="NEW", type=PathWord())
@in_language
@database
def relocate(old: str, new: str, lang: str | None, db: str) -> None:
    """Record that folder OLD is now at NEW.

    For example a disk that is mounted elsewhere. Its files are not read again. To undo an earlier apply, undo
    it first: its journal has the old paths.
    """
    from dedup.pipeline.collection import relocate as record
    from dedup.store.store import Store

    with Store(os.path.abspath(db), changing=True) as store:
        files, same = record(os.path.abspath(old), os.path.abspath(new), store)
    count = language_of(lang).ngettext
    changed = count("{n} of them changed or missing", "{n} of them changed or missing", files - same)
    about = "; ".join([count("{n} file", "{n} files", files), *([changed] if same < files else [])])
    click.echo(printable(f"{old} -> {new}: {about}"))


@click.command(
    "config",
    context_settings={"allow_interspersed_args": False},
    epilog=notes("nothing.", "dedup config show", "dedup config show scan --exclude '*.tmp'"),
)
@click.argument("action", type=click.Choice(["show"]))
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[COMMAND [WORD]...]")
@click.pass_context
def config_(ctx: click.Context, action: str, words: tuple[str, ...]) -> None:
    """Print every option and where its value comes from.

    With COMMAND and its arguments, print the options as that command would see them. The output is a valid config file.
    """
    commands = commands_beside(ctx)
    named = bool(words) and not words[0].startswith("-")
    if named and words[0] not in commands:
        raise BadUsage(
            Message(
                "{command}: no such command; there are {commands}",
                command=words[0],
                commands=", ".join(sorted(commands)),
            )
        )
    names, rest = ([words[0]], list(words[1:])) if named else (list(commands), list(words))
    for name in names:
        command = commands[name]
        parsed = command.make_context(name, rest.copy(), parent=ctx.find_root(), resilient_parsing=True)
        settings_in(parsed.meta.get("dedup.config"), commands)  # raises BadUsage for a bad file
        if name == names[0]:
            click.echo(f"# config file: {printable(parsed.meta.get('dedup.config') or 'none')}")
        if options_of(command):
            click.echo(f"\n[{name}]")
        for key, option in options_of(command).items():
            source = parsed.get_parameter_source(str(option.name))
            click.echo(setting(key, option, parsed.params.get(str(option.name)), source.name if source else "DEFAULT"))


def setting(key: str, option: click.Option, value: Any, source: str) -> str:
    """Return one line of a config file; a comment if the option has no value."""
    if isinstance(option.type, Duration) and value is not None:
        value = f"{value}s"
    elif isinstance(value, tuple) and not option.multiple:
        value = ",".join(value)
    text = f"# {key} =" if value is None else f"{key} = {json.dumps(value)}"
    words = {"COMMANDLINE": "command line", "ENVIRONMENT": "environment", "DEFAULT_MAP": "file"}
    return printable(f"{text:<50}  # {words.get(source, 'default')}")


@click.command(
    epilog=notes(
        "install and remove change the timers or tasks of this user; list changes nothing.",
        "dedup schedule install ~/Photos --at 03:00",
        "dedup schedule remove ~/Photos",
    )
)
@click.argument("action", type=click.Choice(["install", "list", "remove"]))
@click.argument("path", nargs=-1, metavar="[PATH]...", type=PathWord())
@click.option("--daily", is_flag=True, help="Run every day; the default.")
@click.option("--weekly", is_flag=True, help="Run on Sundays.")
@click.option("--at", metavar="HH:MM", default="03:00", show_default=True, help="Start time.")
@click.option("--backend", "kind", default="auto", show_default=True, help="What starts the scan.",
              type=click.Choice(["auto", "systemd", "cron", "launchd", "schtasks"]))  # fmt: skip
@database
@click.pass_context
def schedule(
    ctx: click.Context, action: str, path: tuple[str, ...], daily: bool, weekly: bool, at: str, kind: str, db: str
) -> None:
    """Schedule scans of PATH, list them, or remove one.

    Scheduled scans run at low priority. All options of the scan but --db come from the config file. Remove a job by
    its name in the list or by its PATHs.
    """
    from dedup.cli import scheduler as jobs
    from dedup.files.walk import folder

    kind = jobs.available() if kind == "auto" else kind
    if action == "list":
        for name, about in jobs.listed(kind).items():
            click.echo(printable(f"{name}  {about}"))
        return
    if not path:
        raise BadUsage(Message("{command}: which folders? Name them after it", command="dedup schedule " + action))
    paths, db = [folder(p) for p in path if not jobs.is_name(p)], os.path.abspath(db)
    if action == "remove":
        for name in [p for p in path if jobs.is_name(p)] or [jobs.name_of(paths, db)]:
            jobs.remove(name, kind)
            click.echo(f"{name}: removed")
        return
    click.echo(printable_lines(jobs.install(job_of(paths, db, ctx.meta["dedup.config"], daily, weekly, at), kind)))


def job_of(paths: list[str], db: str, config: str | None, daily: bool, weekly: bool, at: str) -> Job:
    """Return the job that these arguments describe. Raises BadUsage."""
    from dedup.cli import scheduler as jobs

    time_ = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", at)
    missing = [p for p in paths if not os.path.isdir(p)]
    if time_ is None or (daily and weekly) or missing:
        if daily and weekly:
            raise BadUsage(Message("{one} or {other}, not both", one="--daily", other="--weekly"))
        if missing:
            raise BadUsage(Message("{path}: no such folder", path=missing[0]))
        raise BadUsage(Message("{option}: write HH:MM, as 03:00", option="--at " + at))
    words = [sys.executable, "-P", "-m", "dedup", "scan", "--db", db]  # -P: do not import a folder named dedup
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
    """Print a shell completion script.

    Write it to the file shown in the examples (the folder must exist) and start a new shell. zsh reads ~/.zfunc if
    ~/.zshrc has 'fpath=(~/.zfunc $fpath)' above compinit.
    """
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(ctx.find_root().command, {}, "dedup", "_DEDUP_COMPLETE").source())
