"""The command line: words in, one call, words out. torch and faiss are imported inside the commands that need them."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import re
import shlex
import sys
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial
from importlib.util import find_spec
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem, get_completion_class

from dedup import places
from dedup.errors import BadUsage, DedupError, OutOfTime, StoreUnusable
from dedup.version import __version__
from dedup.words import human_bytes, human_time, plural, printable, roughly

if TYPE_CHECKING:
    from dedup.actions import Outcome
    from dedup.recall import Report
    from dedup.runners import Machine
    from dedup.schedule import Job
    from dedup.store import Attempt, Run, Store
    from dedup.types import Comparison, Couple, Explained, Plan, Settings, Totals
    from dedup.weights import Shipped

_SKIPPED, _FOUND = 3, 10  # exit codes besides those of errors.py
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
_FIRST_S = 3.0  # a run that will be over by then needs no explanation
_EXPLANATION = """\
Reading {files} new files, each once: {left} to go. Then photos that look alike are compared, and likely copies looked
at again, which takes longer the more of them there are. No photo is changed. Ctrl-C stops; the next scan goes on there,
and reads only what is new."""


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


def options_of(command: click.Command) -> dict[str, click.Option]:
    """Return the options that a file may set, by their names there."""
    options = {max(p.opts, key=len)[2:]: p for p in command.params if isinstance(p, click.Option)}
    return {name: option for name, option in options.items() if name != "config"}


def read_config(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    """Make the options of a TOML file the defaults of this command: [scan] for `scan`, the top for all."""
    path = value or places.config()
    ctx.meta["dedup.config"] = path if value or os.path.exists(path) else None
    ctx.default_map = {}
    for command, name, set_to in settings_in(ctx.meta["dedup.config"]):
        if command == ctx.info_name:
            ctx.default_map[name] = set_to


def settings_in(path: str | None) -> list[tuple[str, str, Any]]:
    """Return (command, option, value) of all that a TOML file sets. Raises BadUsage, naming what is wrong in it."""
    if path is None:
        return []
    try:
        with open(path, "rb") as f:
            config = tomllib.load(f)
    except OSError as error:
        raise BadUsage(f"{path}: cannot be read ({error.strerror}); name another with --config") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadUsage(f"{path}: not TOML: {error}") from error
    known = {name: options_of(command) for name, command in main.commands.items()}
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
    """Raise BadUsage if an option cannot have this value."""
    wanted = "a list" if option.multiple else "true or false" if option.is_flag else "one value"
    kind = "a list" if isinstance(value, list) else "true or false" if isinstance(value, bool) else "one value"
    if kind != wanted:
        raise BadUsage(f"{where}: {wanted} is wanted, not {json.dumps(value, default=str)}")
    try:
        option.process_value(click.Context(click.Command("")), value)
    except (click.BadParameter, BadUsage) as error:
        raise BadUsage(f"{where}: {getattr(error, 'message', error)}") from error


def database(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command --db and --config."""
    db = click.option("--db", metavar="FILE", type=PathWord(), envvar="DEDUP_DB", default=places.database(),
                      show_default=True, help="Where to remember what was seen.")  # fmt: skip
    config = click.option("--config", metavar="FILE", type=PathWord(), envvar="DEDUP_CONFIG", is_eager=True,
                          expose_value=False, callback=read_config,
                          help=f"Read options from a TOML file. Default: {places.config()}, if there.")  # fmt: skip
    return config(db(command))


def notes(changes: str, *examples: str) -> str:
    """Return the end of the help of a command: what it changes on disk, and words to copy."""
    return f"Changes on disk: {changes}\n\n\b\nExamples:\n" + "\n".join(f"  {example}" for example in examples)


def keep_words(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Return the words of --keep, those of the default order without it."""
    from dedup.group import keep_order
    from dedup.types import KEEP

    return KEEP if value is None else keep_order([word.strip() for word in value.split(",")])


class PathWord(click.ParamType[str]):
    """A path, or one of these words; shells complete both. Whether it can be used is for the command to say."""

    name = "path"
    envvar_list_splitter = os.pathsep

    def __init__(self, *words: str) -> None:
        self.words = words

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not isinstance(value, str) or not value:
            self.fail(f"{value!r} is no path; '.' is the folder that you are in", param, ctx)
        return os.path.expanduser(value)  # no shell does it in --db=~/a.db, nor in a config file

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


class Duration(click.ParamType[int]):
    """Seconds, written as 90s, 30m or 2h."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = re.fullmatch(r"([1-9]\d*)([smh])", str(value))
        if match is None:
            self.fail(f"'{value}' is no time; write 90s, 30m or 2h", param, ctx)
        return int(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]


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


@main.command(
    epilog=notes(
        "the database, and the files of --output and --json-log. No photo.",
        "dedup scan ~/Photos",
        "dedup scan ~/Phone /mnt/nas/Photos --protect /mnt/nas/Photos -o report.html",
    )
)
@click.argument("path", nargs=-1, required=True, metavar="PATH...", type=PathWord())
@click.option(
    "--output",
    "-o",
    multiple=True,
    metavar="FILE",
    type=PathWord(),
    help="Write the groups to FILE (.csv, .json or .html).",
)
@click.option("--include", type=click.Choice(["similar"]), help="Report other shots of one scene too.")
@click.option("--min-probability", type=Probability(), default=0.9, show_default=True, metavar="P",
              help="How sure a copy must be.")  # fmt: skip
@click.option("--exclude", multiple=True, metavar="GLOB", help="Leave out files and folders of this name or path.")
@click.option("--protect", multiple=True, metavar="DIR", type=PathWord(),
              help="Keep the photos of this folder first, and remove none of them.")  # fmt: skip
@click.option("--keep", metavar="WORD,...", callback=keep_words,
              help="What decides who is kept, the first word first. Default: protected,preferred,pixels,original,"
                   "bytes,metadata,oldest,path.")  # fmt: skip
@click.option("--prefer", multiple=True, metavar="GLOB", help="Keep files and folders of this name or path.")
@click.option("--avoid", multiple=True, metavar="GLOB", help="Keep anything rather than these files and folders.")
@click.option(
    "--confirm/--no-confirm", default=True, help="Look at the files of likely copies once more. Default: yes."
)
@click.option("--quick", is_flag=True, help="Go by the thumbnails inside camera JPEGs; misses some strong edits.")
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=os.cpu_count() or 1,
    metavar="N",
    help="Decoding processes, and threads for the networks.",
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True,
              help="Where the networks run.")  # fmt: skip
@click.option("--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True,
              help="This machine, or a Ray cluster.")  # fmt: skip
@click.option("--address", metavar="HOST:PORT", help="The Ray cluster; auto: the one this machine is in.")
@click.option("--store", "at", metavar="DIR_OR_URI", type=PathWord(), help="Where a cluster keeps what it has done.")
@click.option("--fail-if-found", is_flag=True, help="Exit with 10 if there are duplicates.")
@click.option(
    "--max-time", type=Duration(), metavar="TIME", help="Stop after 90s, 30m or 2h; the next scan goes on there."
)
@click.option(
    "--json-log", metavar="FILE", type=PathWord(), help="Add what happens to FILE, as JSON lines; - is stderr."
)
@click.option("--quiet", "-q", is_flag=True, help="No progress, no summary.")
@database
@click.pass_context
def scan(
    ctx: click.Context, path: tuple[str, ...], output: tuple[str, ...], include: str | None, min_probability: float,
    exclude: tuple[str, ...], protect: tuple[str, ...], keep: tuple[str, ...], prefer: tuple[str, ...],
    avoid: tuple[str, ...], confirm: bool, quick: bool, workers: int, device: str, engine: str, address: str | None,
    at: str | None, fail_if_found: bool, max_time: int | None, json_log: str | None, quiet: bool, db: str,
) -> None:  # fmt: skip
    """Find the near-duplicate photos under PATH. What was seen is remembered: the next scan reads what is new.

    --output, --exclude, --protect, --prefer and --avoid may stand more than once.
    """
    from dedup.files import folder
    from dedup.runners import Machine
    from dedup.types import Settings
    from dedup.weights import shipped

    check_outputs(output)
    objects = [p for p in path if "://" in p and not os.path.exists(p)]
    if objects and engine != "ray":
        raise BadUsage(f"{objects[0]}: an object store is scanned with --engine ray and --store; see docs/scale.md")
    roots = [p if p in objects else folder(p) for p in path]
    missing = [p for p in protect if not os.path.exists(p)]
    if missing:
        raise BadUsage(f"--protect {missing[0]}: no such folder, so nothing would be protected")
    if quick and (not confirm or engine == "ray"):
        raise BadUsage("--quick needs the second look, and is for one machine: leave out --no-confirm and --engine ray")
    settings = Settings(
        min_probability=min_probability,
        include_similar=include == "similar",
        confirm=confirm,
        protect=tuple(map(os.path.abspath, protect)),
        keep=keep,
        prefer=prefer,
        avoid=avoid,
    )
    with Log(json_log, quiet=quiet, seconds=max_time) as log:
        machine = Machine(workers, log.progress, time.time)
        figures = scanned(
            roots, output, settings, machine, shipped(device=device, quick=quick), exclude=exclude,
            db=os.path.abspath(db), log=log, cluster=(address, at) if engine == "ray" else None,
        )  # fmt: skip
    if not quiet and json_log != "-":
        click.echo(summary(figures) if sys.stdout.isatty() else line_of(figures, roots))
        if sys.stdout.isatty():
            click.echo(printable(f"Next: {next_command(figures, path, output, include)}{same_database(ctx)}"))
    sys.exit(exit_code(figures, fail_if_found=fail_if_found))


def check_outputs(output: Sequence[str]) -> None:
    """Raise BadUsage if a name stands for no format."""
    if output:
        from dedup.report import format_of  # loads more than a scan that finds nothing new takes

        for file in output:
            format_of(file)


def scanned(
    roots: list[str], output: Sequence[str], settings: Settings, machine: Machine, weights: Shipped,
    *, exclude: Sequence[str], db: str, log: Log, cluster: tuple[str | None, str | None] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Return the figures of a scan; by then the groups are written to the output files.

    cluster: address of a Ray cluster, and where it keeps what it has done; None: this machine.
    """
    from dedup.pipeline import count_duplicates, find_duplicates
    from dedup.store import Store

    with log.failures(), Store(db, scanning=True) as store, on_record(store, roots, log) as figures:
        terms: dict[str, Any] = {
            "exclude": exclude, "store": store, "settings": settings, "machine": machine, "weights": weights
        }  # fmt: skip
        if cluster:
            result, counts = on_cluster(roots, *cluster, terms)
            figures |= written(result, output, store, machine) | counts
        elif output:
            figures |= written(find_duplicates(roots, **terms), output, store, machine)
        else:
            figures |= totals(*count_duplicates(roots, **terms))
    log.event("finished", **figures)
    return figures


def written(result: Report, output: Sequence[str], store: Store, machine: Machine) -> dict[str, Any]:
    """Write the groups to the output files; return the figures."""
    from dedup import report
    from dedup.recall import totals_of

    for file in output:
        explained = why(result, store, machine.workers)
        report.write(result, "groups", report.format_of(file), file, explained=explained)
    return totals(result.run, totals_of(result))


def next_command(figures: dict[str, Any], path: Sequence[str], output: Sequence[str], include: str | None) -> str:
    """Return what a person would type next, and what it is good for."""
    if figures["groups"] and any(file.lower().endswith(".html") for file in output):
        return "dedup apply"  # prints a plan, and changes nothing
    if figures["groups"]:
        return "dedup review" if can_review() and has_display() else "dedup export groups -o report.html"
    if figures["skipped"]:
        return "dedup export skipped"
    if figures["photos"] and not include:
        return f"dedup scan --include similar {shlex.join(path)}"
    return "dedup find IMAGE" if figures["photos"] else "dedup scan FOLDER"


def can_review() -> bool:
    """Return whether the extra `review` is installed."""
    return all(find_spec(package) for package in ("starlette", "uvicorn"))


def has_display() -> bool:
    """Return whether a browser could be seen by who reads this."""
    desktop = sys.platform in ("win32", "darwin") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
    return sys.stdout.isatty() and bool(desktop)


def same_database(ctx: click.Context) -> str:
    """Return the words that make the next command see what this one saw, where they were typed."""
    typed = ctx.get_parameter_source("db") is ParameterSource.COMMANDLINE
    return f" --db {shlex.quote(ctx.params['db'])}" if typed else ""


def on_cluster(
    roots: list[str], address: str | None, at: str | None, terms: dict[str, Any]
) -> tuple[Report, dict[str, int]]:
    """Return what a Ray cluster finds, and how many files and photos there were besides those of the report."""
    try:
        from dedup.cluster import engine
        from dedup.cluster.scan import find_duplicates
    except ModuleNotFoundError as error:
        raise BadUsage(f"--engine ray needs {error.name}: pip install 'dedup[ray]'") from error
    from dedup.weights import device_of

    if not at:
        raise BadUsage("--engine ray needs --store: a folder that all machines see, or s3://bucket/folder")
    machine = terms["machine"]
    with engine.cluster(address, workers=machine.workers):
        device = device_of(terms["weights"].device)
        run = partial(engine.run, device=device)
        place = at.rstrip("/") if "://" in at else os.path.abspath(at)
        return find_duplicates(roots, at=place, run=run, **terms)


@contextmanager
def on_record(store: Store, roots: list[str], log: Log) -> Iterator[dict[str, Any]]:
    """Give a place for the figures of a scan, and write down in the store what became of it."""
    photos = store.count("photo")
    number = store.begun(roots, started_at=time.time())
    figures: dict[str, Any] = {}
    try:
        log.event("started", roots=roots)
        yield figures
        figures["new"] = store.count("photo") - photos
        store.ended(number, "finished", figures, ended_at=time.time())
    except (DedupError, KeyboardInterrupt) as caught:
        stopped = OutOfTime("stopped by Ctrl-C; what was read is kept, and the next scan goes on there")
        error = caught if isinstance(caught, DedupError) else stopped
        with suppress(StoreUnusable):
            store.ended(number, outcome_of(error), {"error": str(error)}, ended_at=time.time())
        raise error from caught.__cause__


def outcome_of(error: DedupError) -> str:
    return "stopped" if isinstance(error, OutOfTime) else "failed"


def totals(run: Run, counted: Totals) -> dict[str, Any]:
    """Return the figures of a scan that a person or a script asks for first."""
    return asdict(counted) | {"recall": round(run.recall, 4), "seconds": round(run.ended_at - run.started_at, 1)}


def summary(figures: dict[str, Any]) -> str:
    """Return what a person at a terminal reads in five seconds."""
    t = figures
    if not t["files"]:
        return "No files found."
    lines = [
        f"{t['photos']:>9,} {plural('photo', t['photos'])} in {human_time(t['seconds'])}",
        f"{t['groups']:>9,} {plural('group', t['groups'])} with {t['duplicates']:,} "
        f"{plural('duplicate', t['duplicates'])}, {human_bytes(t['bytes'])} to win back",
        f"{t['skipped']:>9,} skipped (dedup export skipped says why)" if t["skipped"] else "",
        f"{t['other']:>9,} other {plural('file', t['other'])}, no pictures" if t["other"] else "",
        f"{t['recall']:>9.2%} of the neighbours found by the index" if t["recall"] < 1 else "",
    ]
    return "\n".join(line for line in lines if line)


def line_of(figures: dict[str, Any], roots: Sequence[str]) -> str:
    """Return the same in one line that a mail or a log makes sense of."""
    if not figures["files"]:
        return f"dedup scan {printable(', '.join(roots))}: no files found"
    first, *rest = (" ".join(line.split()) for line in summary(figures).splitlines())
    said = "; ".join([first, f"{figures['new']:,} new", *rest])
    return f"dedup scan {printable(', '.join(roots))}: {said}"


def exit_code(figures: dict[str, Any], *, fail_if_found: bool) -> int:
    if fail_if_found and figures["groups"]:
        return _FOUND
    return _SKIPPED if figures["skipped"] else 0


class Log:
    """Tells a person at a terminal, or a program that reads lines, how far a run is. Silent for anybody else."""

    def __init__(self, json_log: str | None, *, quiet: bool, seconds: int | None) -> None:
        self.stage, self.told = "", 0.0
        self.bar: Any = None
        self.lines = None if json_log is None else Lines.to(json_log)
        self.bars = json_log != "-" and not quiet and sys.stderr.isatty()
        self.seconds, self.begun = seconds, time.monotonic()
        self.explained = False

    def event(self, name: str, **what: Any) -> None:
        if self.lines is not None:
            line = json.dumps({"time": round(time.time(), 3), "event": name, **what})
            self.lines.emit(logging.makeLogRecord({"msg": line}))

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Tell of what is raised, on its way."""
        try:
            yield
        except DedupError as error:
            self.event(outcome_of(error), error=str(error))
            raise

    def progress(self, stage: str, done: int, of: int) -> None:
        """Tell, and raise OutOfTime if the time is up: all that is told of is stored."""
        if done == of or time.monotonic() - self.told > 5:
            self.told = time.monotonic()
            self.event("progress", stage=stage, done=done, of=of)
        if self.bars:
            self._draw(stage, done, of)
            self._explain(stage, done, of)
        if self.seconds is not None and time.monotonic() - self.begun >= self.seconds and done < of:
            raise OutOfTime(f"stopped after {human_time(self.seconds)}, as --max-time says: {stage} is at {done:,} of "
                            f"{of:,}; the next scan goes on there")  # fmt: skip

    def _draw(self, stage: str, done: int, of: int) -> None:
        from tqdm import tqdm

        if stage != self.stage or self.bar is None:
            self.close()
            self.stage = stage
            self.bar = tqdm(total=of, desc=stage.capitalize(), unit="", leave=False, dynamic_ncols=True)
        self.bar.total = of
        self.bar.update(done - self.bar.n)

    def _explain(self, stage: str, done: int, of: int) -> None:
        """Say once, after the first seconds of a longer run, what is going on and about how long it will be."""
        took = time.monotonic() - self.begun
        left = took * (of - done) / max(1, done)
        if stage == "reading" and not self.explained and took >= _FIRST_S and left >= _FIRST_S:
            self.explained = True
            self.bar.write(_EXPLANATION.format(files=f"{of:,}", left=roughly(left)), file=sys.stderr)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *about: object) -> None:
        self.close()
        if self.lines is not None:
            with suppress(OSError):  # of a full disk; it was told
                self.lines.close()


class Lines(RotatingFileHandler):
    """A log of at most six files of a megabyte. One that cannot be written any more is given up, and that is said."""

    @classmethod
    def to(cls, path: str) -> logging.Handler:
        """Open the log; - is stderr. Raises BadUsage."""
        if path == "-":
            return logging.StreamHandler(sys.stderr)
        try:
            return cls(path, maxBytes=1_000_000, backupCount=5, encoding="utf-8")
        except OSError as error:
            raise BadUsage(f"{path}: the log cannot be written ({error.strerror})") from error

    def handleError(self, record: logging.LogRecord) -> None:
        if self.level <= logging.CRITICAL:
            click.echo(printable(f"{self.baseFilename}: the log cannot be written any more"), err=True)
        self.setLevel(logging.CRITICAL + 1)


@main.command(
    epilog=notes(
        "the file of --output; without it, nothing.", "dedup export groups -o report.html", "dedup export skipped"
    )
)
@click.argument("table", type=click.Choice(["groups", "pairs", "photos", "skipped", "decisions"]), default="groups")
@click.option(
    "--format", "format_", type=click.Choice(["csv", "json", "html"]), help="Default: by the suffix of FILE, or csv."
)
@click.option("--output", "-o", metavar="FILE", type=PathWord(), help="Default: standard output.")
@database
def export(table: str, format_: str | None, output: str | None, db: str) -> None:
    """Write what the last scan found, as a table or a page.

    The tables: groups, the pairs that were compared, photos, files skipped, decisions. Only groups are a page (html).
    """
    from dedup import report
    from dedup.recall import last_report
    from dedup.store import Store

    format_ = format_ or (report.format_of(output) if output else "csv")
    with Store(os.path.abspath(db)) as store:
        result = last_report(store)
        report.write(result, table, format_, output, explained=why(result, store, os.cpu_count() or 1))


def why(report: Report, store: Store, workers: int) -> Explained:
    """Return what tells what verdicts of a report rest on; the weights are loaded when it is asked."""

    def told(couples: Sequence[Couple]) -> Iterator[Comparison | str]:
        from dedup.weights import load_shipped
        from dedup.why import explained

        return explained(couples, report, store, load_shipped(), workers=workers)

    return told


@main.command(epilog=notes("nothing.", "dedup find holiday.jpg"))
@click.argument("image", nargs=-1, required=True, metavar="IMAGE...", type=PathWord())
@click.option("--min-probability", type=Probability(), default=0.9, show_default=True, metavar="P",
              help="How sure a copy must be.")  # fmt: skip
@database
def find(image: tuple[str, ...], min_probability: float, db: str) -> None:
    """Print which photos of the last scan match IMAGE, as CSV."""
    from dedup import report
    from dedup.ask import find_matches
    from dedup.runners import Machine
    from dedup.store import Store
    from dedup.types import Settings
    from dedup.weights import load_shipped

    settings = Settings(min_probability=min_probability)
    with Store(os.path.abspath(db)) as store:
        machine = Machine(min(len(image), os.cpu_count() or 1), lambda stage, done, of: None, time.time)
        matches, skipped = find_matches(
            [os.path.abspath(i) for i in image], store=store, weights=load_shipped(), settings=settings, machine=machine
        )
    report.write_rows(None, report.MATCHES, report.match_rows(matches))
    for s in skipped:
        click.echo(printable(f"{s.path}: skipped: {s.reason}"), err=True)
    sys.exit(_SKIPPED if skipped else 0)


@main.command(
    epilog=notes(
        "the file of --figure, which must be new; without it, nothing.", "dedup compare a.jpg b.jpg --figure why.png"
    )
)
@click.argument("left", metavar="A", type=PathWord())
@click.argument("right", metavar="B", type=PathWord())
@click.option(
    "--figure",
    metavar="PNG",
    type=PathWord(),
    help="Draw why: both photos, their features, the difference, what counted.",
)
def compare(left: str, right: str, figure: str | None) -> None:
    """Print how photo A is related to photo B. In one line: how, how surely, and what was done to A."""
    from dedup import figure as drawing
    from dedup.ask import compare_two
    from dedup.runners import Machine
    from dedup.weights import load_shipped

    if figure and not figure.lower().endswith(".png"):
        raise BadUsage(f"--figure {figure}: the name must end in .png")
    if figure and os.path.exists(figure):
        raise BadUsage(f"--figure {figure}: is there already; choose another name")
    machine = Machine(1, lambda stage, done, of: None, time.time)
    found = compare_two(os.path.abspath(left), os.path.abspath(right), weights=load_shipped(), machine=machine)
    if figure:
        try:
            drawing.draw(found, found.words).save(figure, "PNG")
        except OSError as error:
            raise DedupError(f"{figure}: cannot be written ({error.strerror or error}); choose another name") from error
    click.echo(found.words)


@main.command(epilog=notes("nothing.", "dedup status", "dedup status --runs"))
@click.option("--runs", is_flag=True, help="Print the last scans instead: when, how long, what was new, what failed.")
@database
def status(runs: bool, db: str) -> None:
    """Print what the database holds, how big it is and how fresh."""
    from dedup.store import Store

    with Store(os.path.abspath(db)) as store:
        if runs:
            click.echo("\n".join(map(printable, map(told, store.attempts()))) or "no scan yet")
            return
        counts, last = store.counts(), store.last_run()
        size = sum(os.path.getsize(db + end) for end in ("", "-wal") if os.path.exists(db + end))
    click.echo(f"{printable(os.path.abspath(db))}, {human_bytes(size)}")
    figures = [f"{counts[table]:,} {plural(table, counts[table])}" for table in ("file", "photo", "pair")]
    click.echo(f"{', '.join(figures)} compared")
    if last is None:
        click.echo("no finished scan")
    else:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(last.ended_at))
        click.echo(f"last scan finished {when}: {printable(', '.join(last.roots))}, with {last.weights}")


def told(run: Attempt) -> str:
    """Return a line about a scan."""
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.started_at))
    took = "" if run.ended_at is None else human_time(max(0.0, run.ended_at - run.started_at))
    what = {
        None: "did not end: killed, or still running",
        "finished": "{photos:,} photos, {new:,} new, {duplicates:,} duplicates, {skipped:,} skipped",
    }.get(run.outcome, f"{run.outcome}: {run.result.get('error', '')}")
    what = what.format_map(run.result) if run.outcome == "finished" else what
    return f"{when}  {took:>12}  {', '.join(run.roots)}: {what}"


@main.command(epilog=notes("the database. No photo.", "dedup forget ~/Photos/Old"))
@click.argument("path", nargs=-1, required=True, metavar="PATH...", type=PathWord())
@database
def forget(path: tuple[str, ...], db: str) -> None:
    """Remove files and folders from the database. The files themselves stay."""
    from dedup.store import Store

    with Store(os.path.abspath(db), changing=True) as store:
        for folder in path:
            files, photos = store.forget(os.path.abspath(folder))
            gone = f"{files:,} {plural('file', files)} and {photos:,} {plural('photo', photos)}"
            click.echo(printable(f"{folder}: {gone} forgotten"))


@main.command(
    epilog=notes(
        "without --yes, only the file of --output. With it, duplicates leave their folders, as a journal tells.",
        "dedup apply",
        "dedup apply --yes",
        "dedup apply --output plan.csv",
        "dedup apply plan.csv --to ~/Away --yes",
    )
)
@click.argument("plan", required=False, metavar="[PLAN.csv]", type=PathWord())
@click.option("--to", default="trash", show_default=True, metavar="trash|DIR|hardlink|reflink|delete",
              type=PathWord("trash", "hardlink", "reflink", "delete"),
              help="Where duplicates go, or what takes their place.")  # fmt: skip
@click.option(
    "--output", "-o", metavar="FILE", type=PathWord(), help="Write the plan to FILE (.csv), to be edited and applied."
)
@click.option("--include", type=click.Choice(["similar"]), help="Act on other shots of one scene too.")
@click.option("--yes", is_flag=True, help="Do it. Without, the plan is printed and nothing is changed.")
@click.option("--really-delete", is_flag=True, help="Confirm --to delete, which cannot be taken back.")
@database
def apply(
    plan: str | None, to: str, output: str | None, include: str | None, yes: bool, really_delete: bool, db: str
) -> None:
    """Show what would become of the duplicates; do it with --yes.

    Of all that the last scan found, or of those in PLAN.csv, which --output writes.
    """
    from functools import cache

    from dedup import actions, report
    from dedup.plan import COLUMNS, plan_rows, quarantine, read_plan
    from dedup.plan import plan as planned
    from dedup.recall import last_report
    from dedup.store import Store
    from dedup.units import files_in

    if to == "delete" and yes and not really_delete:
        raise BadUsage("--to delete cannot be taken back; add --really-delete, or move the files away with --to DIR")
    if output and report.format_of(output) != "csv":
        raise BadUsage(f"{output}: a plan is written as .csv")
    db, failed, refused = os.path.abspath(db), 0, list[str]()
    with Store(db, changing=True) as store:
        result = last_report(store)
        to = to if to in actions.PLACES else quarantine(to, result.run.roots)
        if plan is None:
            linking = to in actions.LINKS
            todo = planned(result, cache(files_in), include_similar=include == "similar", linking=linking)
        else:
            todo, refused = read_plan(plan, result, cache(files_in))
        for line in refused:
            click.echo(printable(line), err=True)
        if output:
            report.write_rows(output, COLUMNS, plan_rows(todo))
        show(todo, to, each=not yes)
        if yes and todo.steps:
            failed = carry_out(todo, to, result, db)
    sys.exit(_SKIPPED if failed or refused else 0)


def show(todo: Plan, to: str, *, each: bool) -> None:
    """Print what a plan comes to, and each of its files where that is all that is done."""
    from dedup.plan import OTHER_BYTES, plan_rows

    for row in plan_rows(todo) if each else ():
        size = human_bytes(row["bytes"])
        click.echo(printable(f"{row['action']:<6} {row['path']}  ({size}; {row['relation']} {row['reason']})"))
    stay = sum(s.reason == OTHER_BYTES for s in todo.stays)
    if stay:
        click.echo(f"{stay:,} {plural('duplicate', stay)} left out: not the same bytes, which a {to} would lose")
    won = sum({(p.file.device, p.file.inode): p.file.size for s in todo.steps for p in s.parts}.values())
    count = sum(len(step.parts) for step in todo.steps)
    click.echo(f"{count:,} {plural('file', count)} to remove, {human_bytes(won)} to win back")
    if each and todo.steps:
        words = {
            "trash": "--yes moves them to the trash",
            "hardlink": "--yes makes each a hard link to its keeper",
            "reflink": "--yes makes each share the bytes of its keeper",
            "delete": "--yes --really-delete deletes them for good",
        }.get(to, f"--yes moves them to {to}")
        click.echo(printable(f"Nothing was changed; {words}."))


def carry_out(todo: Plan, to: str, result: Report, db: str) -> int:
    """Do what a plan says, with a journal; return how many files were left alone though they should not have been."""
    from dedup import actions, journal

    folder = journal.folder_of(db)
    run = journal.new_run(folder, time.time())
    with journal.Journal(journal.path_of(folder, run)) as lines:
        outcomes = actions.apply(
            todo.steps, to=to, journal=lines, scanned_ns=int(result.run.started_at * 1e9),
            protect=result.run.settings.protect,
        )  # fmt: skip
        back = f"'dedup undo --run {run}' takes it back" if to != "delete" else "deleted for good"
        failed = tell(outcomes, stopped=f"stopped by Ctrl-C; of what was done until then: {back}")
    if journal.last_run(folder) == run:
        click.echo(f"{back[0].upper()}{back[1:]}.")
    return failed


def tell(outcomes: Iterable[Outcome], *, stopped: str) -> int:
    """Print what became of each file; return how many were left alone though they should not have been.

    stopped: what to say of Ctrl-C.
    """
    failed = 0
    try:
        for outcome in outcomes:
            failed += not outcome.done
            click.echo(printable(outcome.line), err=not outcome.done)
    except KeyboardInterrupt:
        raise OutOfTime(stopped) from None
    return failed


@main.command(epilog=notes("what an apply took away comes back, and its journal says so.", "dedup undo"))
@click.option("--run", metavar="ID", help="Take back this run. Default: the newest that was not taken back.")
@database
def undo(run: str | None, db: str) -> None:
    """Take back what an apply did, as far as it can be. Overwrites nothing, and may run twice."""
    from dedup import actions, journal
    from dedup.store import Store

    db = os.path.abspath(db)
    with Store(db, changing=True):
        folder = journal.folder_of(db)
        run = run or journal.last_run(folder)
        if run is None:
            click.echo("Nothing to take back.")
            return
        entries = journal.read(folder, run)
        with journal.Journal(journal.path_of(folder, run)) as lines:
            outcomes = actions.undo(entries, journal=lines, home_trash=places.trash())
            failed = tell(outcomes, stopped="stopped by Ctrl-C; the next 'dedup undo' takes back the rest")
    sys.exit(_SKIPPED if failed else 0)


@main.command(
    epilog=notes("the database. No photo.", "dedup mark not-duplicate a.jpg b.jpg", "dedup mark keep --group 3")
)
@click.argument("decision", type=click.Choice(["not-duplicate", "keep", "undecided"]), required=False)
@click.argument("path", nargs=-1, metavar="[PATH]...", type=PathWord())
@click.option("--group", type=click.IntRange(1), metavar="N", help="All photos of group N of 'dedup export groups'.")
@click.option(
    "--from", "from_", metavar="FILE", type=PathWord(), help="Take the decisions that 'dedup export decisions' wrote."
)
@database
def mark(decision: str | None, path: tuple[str, ...], group: int | None, from_: str | None, db: str) -> None:
    """Remember that photos are no duplicates, or are to be kept. What counts is their content, not their names."""
    from itertools import combinations

    from dedup import report
    from dedup.recall import last_report
    from dedup.store import Store
    from dedup.types import Decisions

    if bool(from_) == bool(decision):
        raise BadUsage("say not-duplicate, keep or undecided, and which photos; or --from FILE")
    with Store(os.path.abspath(db), changing=True) as store:
        if from_:
            decisions, done = report.read_decisions(from_), "taken over"
            store.decide(decisions)
            count = len(decisions.apart) + len(decisions.kept)
        else:
            photos = chosen(last_report(store), path, group)
            if decision == "undecided":
                count, done = store.undecide(photos), "taken back"
            elif decision == "keep":
                count, done = len(photos), "remembered"
                store.decide(Decisions(kept=frozenset(photos)))
            elif len(photos) < 2:
                raise BadUsage("two different photos at least; files of the same bytes are duplicates")
            else:
                pairs, done = frozenset(combinations(photos, 2)), "remembered"
                count = len(pairs)
                store.decide(Decisions(apart=pairs))
    click.echo(f"{count:,} {plural('decision', count)} {done}")


def chosen(result: Report, path: Sequence[str], group: int | None) -> list[str]:
    """Return the SHA-256 of the photos of these files, and of a group. Raises BadUsage if there are none."""
    from dedup.report import group_rows

    wanted = {os.path.abspath(p) for p in path}
    if group:
        members = {row["path"] for row in group_rows(result) if row["group"] == group}
        if not members:
            raise BadUsage(f"there is no group {group}; 'dedup export groups' has {len(result.groups):,}")
        wanted |= members
    if not wanted:
        raise BadUsage("which photos? Name them, or a --group")
    known = {f.path: p.sha256 for p in result.photos.photos for f in p.files}
    unknown = sorted(wanted - known.keys())
    if unknown:
        raise BadUsage(f"{unknown[0]}: not a photo of the last scan; scan its folder first")
    return sorted({known[p] for p in wanted})


@main.command(
    "config",
    context_settings={"allow_interspersed_args": False},
    epilog=notes("nothing.", "dedup config show", "dedup config show scan --exclude '*.tmp'"),
)
@click.argument("action", type=click.Choice(["show"]))
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[COMMAND [WORD]...]")
def config_(action: str, words: tuple[str, ...]) -> None:
    """Print every option, and where its value came from.

    As a COMMAND with these words would see it, or every command. What is printed is a config file itself.
    """
    named = bool(words) and not words[0].startswith("-")
    if named and words[0] not in main.commands:
        raise BadUsage(f"{words[0]}: no such command; there are {', '.join(sorted(main.commands))}")
    names, rest = ([words[0]], list(words[1:])) if named else (list(main.commands), list(words))
    for name in names:
        command = main.commands[name]
        ctx = command.make_context(
            name, rest.copy(), resilient_parsing=True, auto_envvar_prefix=f"DEDUP_{name.upper()}"
        )
        settings_in(ctx.meta.get("dedup.config"))  # says what is wrong in the file
        if name == names[0]:
            click.echo(f"# config file: {printable(ctx.meta.get('dedup.config') or 'none')}")
        if options_of(command):
            click.echo(f"\n[{name}]")
        for key, option in options_of(command).items():
            source = ctx.get_parameter_source(str(option.name))
            click.echo(setting(key, option, ctx.params.get(str(option.name)), source.name if source else "DEFAULT"))


def setting(key: str, option: click.Option, value: Any, source: str) -> str:
    """Return a line of a config file; without a value it is a comment."""
    if isinstance(option.type, Duration) and value is not None:
        value = f"{value}s"
    elif isinstance(value, tuple) and not option.multiple:
        value = ",".join(value)
    text = f"# {key} =" if value is None else f"{key} = {json.dumps(value)}"
    words = {"COMMANDLINE": "command line", "ENVIRONMENT": "environment", "DEFAULT_MAP": "file"}
    return printable(f"{text:<50} # {words.get(source, 'default')}")


@main.command(
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
    from dedup import schedule as jobs
    from dedup.files import folder

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
    from dedup import schedule as jobs

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


@main.command(
    epilog=notes(
        "decisions go to the database at once; photos move only by Apply on the page, as with 'dedup apply --yes'.",
        "dedup review",
        "dedup review --port 8000 --no-browser",
    )
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, metavar="N", help="Default: any that is free.")
@click.option("--host", metavar="ADDRESS", help="Let others on the network in, with a password: DEDUP_REVIEW_PASSWORD.")
@click.option("--no-browser", is_flag=True, help="Print the address only.")
@database
def review(port: int, host: str | None, no_browser: bool, db: str) -> None:
    """Look at the groups in the browser: choose, apply, undo. Ends with Ctrl-C."""
    import webbrowser

    try:
        from dedup.review.app import serve
    except ModuleNotFoundError as error:
        raise BadUsage(f"dedup review needs {(error.name or '').split('.')[0]}: pip install 'dedup[review]'") from error

    def opened(address: str) -> None:
        click.echo(address)
        click.echo("Ctrl-C ends it.", err=True)
        if not host and not no_browser:
            webbrowser.open(address)

    serve(
        os.path.abspath(db), host=host or "127.0.0.1", port=port, password=network_password() if host else "",
        home_trash=places.trash(), workers=os.cpu_count() or 1, opened=opened,
    )  # fmt: skip


def network_password() -> str:
    """Return the password that a server on a network demands, and say what having one means. Raises BadUsage."""
    password = os.environ.get("DEDUP_REVIEW_PASSWORD", "")
    if not password and sys.stdin.isatty():
        password = click.prompt("Password for this review", hide_input=True, confirmation_prompt=True)
    if len(password) < 8:
        raise BadUsage("--host needs a password of eight characters at least, in DEDUP_REVIEW_PASSWORD or typed here")
    click.echo(
        "Whoever knows the password sees every photo of every group and may move photos away. It travels unencrypted: "
        "use a network that you trust, or an HTTPS proxy.",
        err=True,
    )
    return password


@main.command(epilog=notes("a new folder, with everything in it. It is never one that is there already.", "dedup demo"))
@click.argument("folder", default="dedup-demo", metavar="[FOLDER]", type=PathWord())
@click.option("--no-browser", is_flag=True, help="Do not open the report.")
def demo(folder: str, no_browser: bool) -> None:
    """Draw a small album, scan it, and show the report. It goes into FOLDER (dedup-demo); all takes half a minute."""
    import webbrowser

    from dedup.demo import make_album
    from dedup.runners import Machine
    from dedup.types import Settings
    from dedup.weights import shipped

    folder = os.path.abspath(folder)
    page, db = os.path.join(folder, "report.html"), os.path.join(folder, "dedup.db")
    photos = make_album(folder)
    with Log(None, quiet=False, seconds=None) as log:
        machine = Machine(os.cpu_count() or 1, log.progress, time.time)
        figures = scanned([photos], [page], Settings(), machine, shipped(), exclude=(), db=db, log=log)
    click.echo(summary(figures))
    click.echo(printable(f"Report: {page}"))
    if has_display() and not no_browser:
        webbrowser.open(Path(page).as_uri())
    click.echo("Next: dedup scan ~/Photos -o report.html")


_SHELLS = {
    "bash": "~/.local/share/bash-completion/completions/dedup",
    "zsh": "~/.zfunc/_dedup",
    "fish": "~/.config/fish/completions/dedup.fish",
}


@main.command(epilog=notes("nothing.", *(f"dedup completion {shell} > {file}" for shell, file in _SHELLS.items())))
@click.argument("shell", type=click.Choice(list(_SHELLS)))
def completion(shell: str) -> None:
    """Print what makes a shell complete commands, options and paths.

    Write it where the examples say, into a folder that is there, and start the shell anew. zsh looks into ~/.zfunc if
    ~/.zshrc has 'fpath=(~/.zfunc $fpath)' above compinit.
    """
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(main, {}, "dedup", "_DEDUP_COMPLETE").source())
