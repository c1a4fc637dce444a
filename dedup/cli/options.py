"""Options and parameter types that several commands share, and the config file."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from typing import Any

import click
from click.shell_completion import CompletionItem

from dedup.errors import BadUsage
from dedup.files import user_dirs
from dedup.languages.language import Language, code_of, codes, load, of_environment

SKIPPED, FOUND = 3, 10  # additional exit codes; the others are in errors.py


def commands_beside(ctx: click.Context) -> Mapping[str, click.Command]:
    """Return all commands of the program, by their names."""
    program = ctx.find_root().command
    assert isinstance(program, click.Group)
    return program.commands


def options_of(command: click.Command) -> dict[str, click.Option]:
    """Return the options that a config file may set, by their names in it."""
    options = {max(p.opts, key=len)[2:]: p for p in command.params if isinstance(p, click.Option)}
    return {name: option for name, option in options.items() if name != "config"}


def read_config(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    """Make the options of a TOML file the defaults of this command: [scan] for `scan`, the top for all."""
    path = value or user_dirs.config()
    ctx.meta["dedup.config"] = path if value or os.path.exists(path) else None
    ctx.default_map = {}
    for command, name, set_to in settings_in(ctx.meta["dedup.config"], commands_beside(ctx)):
        if command == ctx.info_name:
            ctx.default_map[name] = set_to


def settings_in(path: str | None, commands: Mapping[str, click.Command]) -> list[tuple[str, str, Any]]:
    """Return every (command, option, value) that a TOML file sets. Raises BadUsage, naming the bad entry."""
    if path is None:
        return []
    try:
        with open(path, "rb") as f:
            config = tomllib.load(f)
    except OSError as error:
        raise BadUsage(f"{path}: cannot be read ({error.strerror}); name another with --config") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadUsage(f"{path}: not TOML: {error}") from error
    known = {name: options_of(command) for name, command in commands.items()}
    tops = [(name, key, v) for key, v in config.items() if not isinstance(v, dict) for name in known]
    mine = [(name, key, v) for name, values in config.items() if isinstance(values, dict) for key, v in values.items()]
    tops, mine = ([(name, key.replace("_", "-"), v) for name, key, v in some] for some in (tops, mine))
    unknown = [f"{name}.{key}" for name, key, _ in mine if key not in known.get(name, {})]
    unknown += sorted({key for _, key, _ in tops if not any(key in options for options in known.values())})
    if unknown:
        raise BadUsage(f"{path}: no such option: {', '.join(unknown)}; 'dedup config show' lists all")
    found = [(name, known[name][key], v) for name, key, v in (*tops, *mine) if key in known[name]]
    for name, option, v in found:
        check_setting(option, v, f"{path}: {name}.{max(option.opts, key=len)[2:]}")
    return [(name, str(option.name), v) for name, option, v in found]


def check_setting(option: click.Option, value: Any, where: str) -> None:
    """Raise BadUsage if the value does not fit the option."""
    wanted = "a list" if option.multiple else "true or false" if option.is_flag else "one value"
    kind = "a list" if isinstance(value, list) else "true or false" if isinstance(value, bool) else "one value"
    if kind != wanted:
        raise BadUsage(f"{where}: expected {wanted}, not {json.dumps(value, default=str)}")
    try:
        option.process_value(click.Context(click.Command("")), value)
    except (click.BadParameter, BadUsage) as error:
        raise BadUsage(f"{where}: {getattr(error, 'message', error)}") from error


def database(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --db and --config to a command."""
    db = click.option("--db", metavar="FILE", type=PathWord(), envvar="DEDUP_DB", default=user_dirs.database(),
                      show_default=True, help="Database file.")  # fmt: skip
    config = click.option("--config", metavar="FILE", type=PathWord(), envvar="DEDUP_CONFIG", is_eager=True,
                          expose_value=False, callback=read_config,
                          help=f"Config file (TOML). Default: {user_dirs.config()}, if it exists.")  # fmt: skip
    return config(db(command))


class LanguageCode(click.ParamType[str]):
    """The code of a language that there is a catalogue for."""

    name = "language"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        code = code_of(str(value))
        if code is None:
            self.fail(f"'{value}': there is no such language; there are {', '.join(codes())}", param, ctx)
        return code

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(code) for code in codes() if code.startswith(incomplete)]


def in_language(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --lang to a command."""
    return click.option("--lang", type=LanguageCode(), metavar="CODE", envvar="DEDUP_LANG", is_eager=True,
                        callback=_note_language,
                        help=f"Language of pages and summaries: {', '.join(codes())}. "
                             "Default: that of the environment.")(command)  # fmt: skip


def _note_language(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Note the language for errors, which are printed where the options of the command are no longer known."""
    ctx.meta["dedup.lang"] = value
    return value


def language_of(lang: str | None) -> Language:
    """Return the language of --lang, or that of the environment."""
    return load(lang) if lang else of_environment(os.environ)


def csv_style(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --delimiter and --bom to a command."""
    delimiter = click.option("--delimiter", type=Delimiter(), default=",", show_default=True, metavar="CHAR",
                             help="Separator of CSV columns, or tab.")  # fmt: skip
    bom = click.option("--bom", is_flag=True, help="Begin CSV files with a byte order mark, for Excel.")
    return delimiter(bom(command))


def notes(changes: str, *examples: str) -> str:
    """Return the epilogue of a command's help: what it changes on disk, and examples."""
    return f"Changes on disk: {changes}\n\n\b\nExamples:\n" + "\n".join(f"  {example}" for example in examples)


def keep_words(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Return the words of --keep, or the default order."""
    from dedup.grouping.ranking import keep_order
    from dedup.types.settings import KEEP

    try:
        return KEEP if value is None else keep_order([word.strip() for word in value.split(",")])
    except BadUsage as error:  # of the argument `keep`
        raise BadUsage(f"--{error}") from error


class PathWord(click.ParamType[str]):
    """A path, or one of the given words; shells complete both. The command itself checks whether it is usable."""

    name = "path"
    envvar_list_splitter = os.pathsep

    def __init__(self, *words: str) -> None:
        self.words = words

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not isinstance(value, str) or not value:
            self.fail(f"{value!r} is not a path; use '.' for the current folder", param, ctx)
        return os.path.expanduser(value)  # shells do not expand ~ in --db=~/a.db, nor in config files

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        words = [CompletionItem(word) for word in self.words if word.startswith(incomplete)]
        return [CompletionItem(incomplete, type="file"), *words]


class Probability(click.FloatRange):
    """A number in [0, 1]."""

    def __init__(self) -> None:
        super().__init__(0, 1)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if number != number:
            self.fail(f"{value} is not in the range 0<=x<=1.", param, ctx)
        return number


class Delimiter(click.ParamType[str]):
    """One character, or the word tab."""

    name = "delimiter"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        character = "\t" if value == "tab" else str(value)
        if len(character) != 1 or character in "\"\r\n'" or character.isalnum():
            self.fail(f"{value!r} cannot separate columns; use one character such as ';', or tab", param, ctx)
        return character


class Duration(click.ParamType[int]):
    """A duration in seconds, written as 90s, 30m or 2h."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = re.fullmatch(r"([1-9]\d*)([smh])", str(value))
        if match is None:
            self.fail(f"'{value}' is not a duration; use 90s, 30m or 2h", param, ctx)
        return int(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]
