"""The command line: words in, one call, words out. torch and faiss are imported inside the commands that need them."""

from __future__ import annotations

import json
import os
import sys
import time
import tomllib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click
from platformdirs import user_config_dir, user_data_dir

from dedup import __version__
from dedup.errors import BadUsage, DedupError

if TYPE_CHECKING:
    from dedup.actions import Outcome
    from dedup.pipeline import Report
    from dedup.types import Plan

_SKIPPED, _FOUND = 3, 10  # exit codes besides those of errors.py


class Commands(click.Group):
    """Turn any DedupError into one line and its exit code. Other exceptions are bugs: they show."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except DedupError as error:
            click.echo(f"Error: {printable(str(error))}", err=True)
            ctx.exit(error.exit_code)


def printable(text: str) -> str:
    """Return the text with control characters and undecodable bytes escaped, for a terminal or a log line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def read_config(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    """Make the options of a TOML file the defaults of this command: [scan] for `scan`, the top for all."""
    path = value or os.path.join(user_config_dir("dedup"), "config.toml")
    if value is None and not os.path.exists(path):
        return
    try:
        with open(path, "rb") as f:
            config = tomllib.load(f)
    except OSError as error:
        raise BadUsage(f"{path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadUsage(f"{path}: not TOML: {error}") from error
    options = {name: {p.name for p in command.params} for name, command in main.commands.items()}
    ctx.default_map, unknown = {}, []
    for key, value in config.items():
        if isinstance(value, dict):  # [scan]: options of one command; anything else: of every command that has it
            unknown += [f"{key}.{k}" for k in value if k.replace("-", "_") not in options.get(key, set())]
        elif not any(key.replace("-", "_") in names for names in options.values()):
            unknown.append(key)
    if unknown:
        raise BadUsage(f"{path}: no such option: {', '.join(unknown)}")
    mine = config.get(ctx.info_name or "", {})
    for key, value in (config | mine).items():
        if key.replace("-", "_") in options.get(ctx.info_name or "", set()):
            ctx.default_map[key.replace("-", "_")] = value


def database(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command --db and --config."""
    default = os.path.join(user_data_dir("dedup"), "dedup.db")
    db = click.option("--db", metavar="FILE", envvar="DEDUP_DB", default=default, show_default=True,
                      help="Where to remember what was seen.")  # fmt: skip
    config = click.option("--config", metavar="FILE", envvar="DEDUP_CONFIG", is_eager=True, expose_value=False,
                          callback=read_config, help="Read options from a TOML file.")  # fmt: skip
    return config(db(command))


def keep_words(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Return the words of --keep, those of the default order without it."""
    from dedup.types import KEEP

    if value is None:
        return KEEP
    words = [word.strip() for word in value.split(",")]
    unknown = [word for word in words if word not in KEEP]
    if unknown or not words or len(set(words)) < len(words):
        what = f"'{unknown[0]}' is none of them" if unknown else "each once, one at least"
        raise BadUsage(f"--keep takes words of {', '.join(KEEP)}; {what}")
    return tuple(words)


@click.group(cls=Commands, context_settings={"auto_envvar_prefix": "DEDUP", "help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Find near-duplicate photos. A scan changes no photo.

    \b
    Exit codes: 0 done; 1 failed; 2 wrong usage; 3 done, but some files were skipped;
    4 another run holds this database; 10 duplicates were found (scan --fail-if-found).
    """


@main.command()
@click.argument("path", nargs=-1, required=True, metavar="PATH...")
@click.option("--output", "-o", multiple=True, metavar="FILE", help="Write the groups to FILE (.csv or .json).")
@click.option("--include", type=click.Choice(["similar"]), help="Report other shots of one scene too.")
@click.option("--min-probability", type=click.FloatRange(0, 1), default=0.9, show_default=True, metavar="P",
              help="How sure a copy must be.")  # fmt: skip
@click.option("--exclude", multiple=True, metavar="GLOB", help="Leave out files and folders of this name or path.")
@click.option("--protect", multiple=True, metavar="DIR", help="Keep the photos of this folder first.")
@click.option("--keep", metavar="WORD,...", callback=keep_words,
              help="What decides who is kept, the first word first. Default: protected,preferred,pixels,original,"
                   "bytes,metadata,oldest,path.")  # fmt: skip
@click.option("--prefer", multiple=True, metavar="GLOB", help="Keep files and folders of this name or path.")
@click.option("--avoid", multiple=True, metavar="GLOB", help="Keep anything rather than these files and folders.")
@click.option(
    "--confirm/--no-confirm", default=True, help="Look at the files of likely copies once more. Default: yes."
)
@click.option("--workers", type=click.IntRange(1), default=os.cpu_count() or 1, metavar="N", help="Decoding processes.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True,
              help="Where the networks run.")  # fmt: skip
@click.option("--fail-if-found", is_flag=True, help="Exit with 10 if there are duplicates.")
@click.option("--json-log", is_flag=True, help="Tell stderr what happens, as JSON lines.")
@click.option("--quiet", "-q", is_flag=True, help="No progress, no summary.")
@database
def scan(
    path: tuple[str, ...], output: tuple[str, ...], include: str | None, min_probability: float,
    exclude: tuple[str, ...], protect: tuple[str, ...], keep: tuple[str, ...], prefer: tuple[str, ...],
    avoid: tuple[str, ...], confirm: bool, workers: int, device: str, fail_if_found: bool, json_log: bool, quiet: bool,
    db: str,
) -> None:  # fmt: skip
    """Find the near-duplicate photos under PATH, and remember what was seen."""
    from dedup import report
    from dedup.pipeline import Machine, find_duplicates
    from dedup.store import Store
    from dedup.types import Settings
    from dedup.weights import load_shipped

    formats = [report.format_of(file) for file in output]
    roots = [folder(p) for p in path]
    settings = Settings(
        min_probability=min_probability,
        include_similar=include == "similar",
        confirm=confirm,
        protect=tuple(os.path.abspath(folder) for folder in protect),
        keep=keep,
        prefer=prefer,
        avoid=avoid,
    )
    log = Log(json_lines=json_log, quiet=quiet)
    with Store(os.path.abspath(db), scanning=True) as store:
        log.event("started", roots=roots)
        machine = Machine(workers, chosen_device(device), log.progress, time.time)
        result = find_duplicates(
            roots, exclude=exclude, store=store, weights=load_shipped(device=machine.device),
            settings=settings, machine=machine,
        )  # fmt: skip
    log.close()
    for file, format in zip(output, formats, strict=True):
        report.write(result, "groups", format, file)
    log.event("finished", **totals(result))
    if not quiet and not json_log:
        click.echo(summary(result))
    sys.exit(exit_code(result, fail_if_found=fail_if_found))


def folder(path: str) -> str:
    """Return the absolute path of a folder to scan. Raises BadUsage if it is a file."""
    if os.path.isfile(path):
        raise BadUsage(f"{path}: a file, not a folder; scan its folder, or ask with 'dedup find' what matches it")
    return os.path.abspath(path)


def chosen_device(device: str) -> str:
    """Return the torch device; auto is the GPU where there is one."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise BadUsage("--device cuda: torch sees no GPU here; use --device auto")
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"


def totals(result: Report) -> dict[str, Any]:
    """Return the figures of a scan that a person or a script asks for first."""
    photos = result.photos.photos
    duplicates = [(len(photos[g.keeper].files) - 1, g.keeper) for g in result.groups]
    duplicates += [(len(photos[d.photo].files), d.photo) for g in result.groups for d in g.duplicates]
    return {
        "files": sum(len(p.files) for p in photos) + len(result.skipped),
        "photos": sum(len(p.files) for p in photos),
        "groups": len(result.groups),
        "duplicates": sum(n for n, _ in duplicates),
        "bytes": sum(n * photos[i].size for n, i in duplicates),
        "skipped": sum(s.picture for s in result.skipped),
        "other": sum(not s.picture for s in result.skipped),
        "recall": round(result.run.recall, 4),
        "seconds": round(result.run.ended_at - result.run.started_at, 1),
    }


def summary(result: Report) -> str:
    """Return what a person reads in five seconds."""
    t = totals(result)
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


def plural(word: str, count: int) -> str:
    return word if count == 1 else word + "s"


def human_bytes(size: float) -> str:
    for unit in ("bytes", "KB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def human_time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def exit_code(result: Report, *, fail_if_found: bool) -> int:
    if fail_if_found and result.groups:
        return _FOUND
    return _SKIPPED if any(s.picture for s in result.skipped) else 0


class Log:
    """Tells a person at a terminal, or a program that reads lines, how far a run is. Silent for anybody else."""

    def __init__(self, *, json_lines: bool, quiet: bool) -> None:
        self.json_lines, self.stage, self.told = json_lines, "", 0.0
        self.bar: Any = None
        self.bars = not json_lines and not quiet and sys.stderr.isatty()

    def event(self, name: str, **what: Any) -> None:
        if self.json_lines:
            click.echo(json.dumps({"time": round(time.time(), 3), "event": name, **what}), err=True)

    def progress(self, stage: str, done: int, of: int) -> None:
        if self.json_lines and (done == of or time.monotonic() - self.told > 5):
            self.told = time.monotonic()
            self.event("progress", stage=stage, done=done, of=of)
        if self.bars:
            self._draw(stage, done, of)

    def _draw(self, stage: str, done: int, of: int) -> None:
        from tqdm import tqdm

        if stage != self.stage or self.bar is None:
            self.close()
            self.stage = stage
            self.bar = tqdm(total=of, desc=stage.capitalize(), unit="", leave=False, dynamic_ncols=True)
        self.bar.total = of
        self.bar.update(done - self.bar.n)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


@main.command()
@click.argument("table", type=click.Choice(["groups", "pairs", "photos", "skipped", "decisions"]), default="groups")
@click.option("--format", "format_", type=click.Choice(["csv", "json"]), help="Default: by the suffix of FILE, or csv.")
@click.option("--output", "-o", metavar="FILE", help="Default: standard output.")
@database
def export(table: str, format_: str | None, output: str | None, db: str) -> None:
    """Write what the last scan found: groups, the pairs that were compared, photos, files skipped, or decisions."""
    from dedup import report
    from dedup.pipeline import last_report
    from dedup.store import Store

    format_ = format_ or (report.format_of(output) if output else "csv")
    with Store(os.path.abspath(db)) as store:
        report.write(last_report(store), table, format_, output)


@main.command()
@click.argument("image", nargs=-1, required=True, metavar="IMAGE...")
@click.option("--min-probability", type=click.FloatRange(0, 1), default=0.9, show_default=True, metavar="P",
              help="How sure a copy must be.")  # fmt: skip
@database
def find(image: tuple[str, ...], min_probability: float, db: str) -> None:
    """Print which photos of the last scan match IMAGE, as CSV."""
    from dedup import report
    from dedup.pipeline import Machine, find_matches
    from dedup.store import Store
    from dedup.types import Settings
    from dedup.weights import load_shipped

    settings = Settings(min_probability=min_probability)
    with Store(os.path.abspath(db)) as store:
        machine = Machine(min(len(image), os.cpu_count() or 1), "cpu", lambda stage, done, of: None, time.time)
        matches, skipped = find_matches(
            [os.path.abspath(i) for i in image], store=store, weights=load_shipped(), settings=settings, machine=machine
        )
    report.write_csv(sys.stdout, report.MATCHES, report.match_rows(matches))
    for s in skipped:
        click.echo(printable(f"{s.path}: skipped: {s.reason}"), err=True)
    sys.exit(_SKIPPED if skipped else 0)


@main.command()
@click.argument("left", metavar="A")
@click.argument("right", metavar="B")
@click.option("--figure", metavar="PNG", help="Draw why: both photos, their features, the difference, what counted.")
def compare(left: str, right: str, figure: str | None) -> None:
    """Print how photo A is related to photo B, how surely, and what was done to it."""
    from dedup import figure as drawing
    from dedup.pipeline import Machine, compare_two
    from dedup.weights import load_shipped

    if figure and not figure.lower().endswith(".png"):
        raise BadUsage(f"--figure {figure}: the name must end in .png")
    if figure and os.path.exists(figure):
        raise BadUsage(f"--figure {figure}: is there already; choose another name")
    machine = Machine(1, "cpu", lambda stage, done, of: None, time.time)
    found = compare_two(os.path.abspath(left), os.path.abspath(right), weights=load_shipped(), machine=machine)
    words = [found.relation.word, f"probability of a copy {found.probability:.4f}", found.change]
    line = ", ".join(word for word in words if word)
    if figure:
        try:
            drawing.draw(found, line).save(figure, "PNG")
        except OSError as error:
            raise DedupError(f"{figure}: cannot be written ({error.strerror or error})") from error
    click.echo(line)


@main.command()
@database
def status(db: str) -> None:
    """Print what the database holds, how big it is and how fresh."""
    from dedup.store import Store

    with Store(os.path.abspath(db)) as store:
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


@main.command()
@click.argument("path", nargs=-1, required=True, metavar="PATH...")
@database
def forget(path: tuple[str, ...], db: str) -> None:
    """Remove files and folders from the database. The files themselves stay."""
    from dedup.store import Store

    with Store(os.path.abspath(db), changing=True) as store:
        for folder in path:
            files, photos = store.forget(os.path.abspath(folder))
            gone = f"{files:,} {plural('file', files)} and {photos:,} {plural('photo', photos)}"
            click.echo(printable(f"{folder}: {gone} forgotten"))


@main.command()
@click.argument("plan", required=False, metavar="[PLAN.csv]")
@click.option("--to", default="trash", show_default=True, metavar="trash|DIR|hardlink|reflink|delete",
              help="Where duplicates go, or what takes their place.")  # fmt: skip
@click.option("--output", "-o", metavar="FILE", help="Write the plan to FILE (.csv), to be edited and applied.")
@click.option("--include", type=click.Choice(["similar"]), help="Act on other shots of one scene too.")
@click.option("--yes", is_flag=True, help="Do it. Without, the plan is printed and nothing is changed.")
@click.option("--really-delete", is_flag=True, help="Confirm --to delete, which cannot be taken back.")
@database
def apply(
    plan: str | None, to: str, output: str | None, include: str | None, yes: bool, really_delete: bool, db: str
) -> None:
    """Print what would be done about the duplicates of the last scan, or about those of PLAN.csv; do it with --yes."""
    from functools import cache

    from dedup import actions, report
    from dedup.pipeline import last_report
    from dedup.plan import COLUMNS, plan_rows, read_plan
    from dedup.plan import plan as planned
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
    if each:
        click.echo("Nothing was changed; --yes does it.")


def carry_out(todo: Plan, to: str, result: Report, db: str) -> int:
    """Do what a plan says, with a journal; return how many files were left alone though they should not have been."""
    from dedup import actions, journal

    folder = journal.folder_of(db)
    run = journal.new_run(folder, time.time())
    with journal.Journal(os.path.join(folder, f"{run}.jsonl")) as lines:
        outcomes = actions.apply(
            todo.steps, to=to, journal=lines, scanned_ns=int(result.run.started_at * 1e9),
            protect=result.run.settings.protect,
        )  # fmt: skip
        failed = tell(outcomes)
    click.echo(f"'dedup undo --run {run}' takes it back." if to != "delete" else "Deleted for good.")
    return failed


def quarantine(folder: str, roots: tuple[str, ...]) -> str:
    """Return the absolute path of a folder to move files to. Raises BadUsage if a scan would see them there again."""
    path = os.path.realpath(folder)
    for root in map(os.path.realpath, roots):
        if os.path.commonpath([path, root]) in (path, root):
            raise BadUsage(f"--to {folder}: inside a scanned folder, or around it; choose one beside {root}")
    return path


def tell(outcomes: Iterable[Outcome]) -> int:
    """Print what became of each file; return how many were left alone though they should not have been."""
    failed = 0
    for outcome in outcomes:
        failed += not outcome.done
        line = outcome.words if outcome.words.startswith(outcome.path) else f"{outcome.path}: {outcome.words}"
        click.echo(printable(line), err=not outcome.done)
    return failed


@main.command()
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
        with journal.Journal(os.path.join(folder, f"{run}.jsonl")) as lines:
            failed = tell(actions.undo(entries, journal=lines, home_trash=os.path.join(user_data_dir(), "Trash")))
    sys.exit(_SKIPPED if failed else 0)


@main.command()
@click.argument("decision", type=click.Choice(["not-duplicate", "keep", "undecided"]), required=False)
@click.argument("path", nargs=-1, metavar="[PATH]...")
@click.option("--group", type=click.IntRange(1), metavar="N", help="All photos of group N of 'dedup export groups'.")
@click.option("--from", "from_", metavar="FILE", help="Take the decisions that 'dedup export decisions' wrote.")
@database
def mark(decision: str | None, path: tuple[str, ...], group: int | None, from_: str | None, db: str) -> None:
    """Remember that photos are no duplicates of each other, or are to be kept, whatever they are called later."""
    from itertools import combinations

    from dedup import report
    from dedup.pipeline import last_report
    from dedup.store import Store
    from dedup.types import Decisions

    if bool(from_) == bool(decision):
        raise BadUsage("say not-duplicate, keep or undecided, and which photos; or --from FILE")
    with Store(os.path.abspath(db), changing=True) as store:
        if from_:
            decisions = report.read_decisions(from_)
            store.decide(decisions)
            click.echo(f"{len(decisions.apart) + len(decisions.kept):,} decisions taken over")
            return
        result = last_report(store)
        wanted = {os.path.abspath(p) for p in path}
        if group:
            wanted |= {row["path"] for row in report.group_rows(result) if row["group"] == group}
        known = {f.path: p.sha256 for p in result.photos.photos for f in p.files}
        unknown = sorted(wanted - known.keys())
        if unknown or not wanted:
            raise BadUsage(f"{unknown[0]}: not a photo of the last scan" if unknown else "which photos?")
        photos = sorted({known[p] for p in wanted})
        if decision == "undecided":
            click.echo(f"{store.undecide(photos):,} decisions taken back")
            return
        if decision == "not-duplicate" and len(photos) < 2:
            raise BadUsage("two different photos at least; files of the same bytes are duplicates")
        pairs = frozenset(combinations(photos, 2))
        store.decide(Decisions(apart=pairs) if decision == "not-duplicate" else Decisions(kept=frozenset(photos)))
        click.echo(f"{len(pairs) if decision == 'not-duplicate' else len(photos):,} decisions remembered")
