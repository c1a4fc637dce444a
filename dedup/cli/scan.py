"""The commands scan and demo."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from dedup.cli.colours import with_bold_numbers
from dedup.cli.export import why
from dedup.cli.options import (
    FOUND,
    SKIPPED,
    Duration,
    PathWord,
    Probability,
    csv_style,
    database,
    in_language,
    keep_words,
    language_of,
    notes,
)
from dedup.cli.progress import Log, outcome_of
from dedup.cli.stopping import Stopped
from dedup.errors import BadUsage, DedupError, OutOfTime, StoreUnusable
from dedup.languages.language import ENGLISH, Language
from dedup.report.text import printable
from dedup.types.message import Message
from dedup.version import installation

if TYPE_CHECKING:
    from dedup.models.weights import WeightsSpec
    from dedup.store.store import Store
    from dedup.types.report import Report, Run, Totals
    from dedup.types.settings import Settings
    from dedup.workers import Runtime


@click.command(
    epilog=notes(
        "the database, and the files of --output and --json-log. No photo is changed.",
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
    help="Write the groups to FILE (.csv, .json, .html or .parquet).",
)
@csv_style
@click.option("--include", multiple=True, type=click.Choice(["variant", "similar"]),
              help="Also count versions that the kept file does not contain, or report other shots.")  # fmt: skip
@click.option("--min-probability", type=Probability(), default=0.9, show_default=True, metavar="P",
              help="Report copies with at least this probability.")  # fmt: skip
@click.option("--only", is_flag=True, help="Scan PATH alone, without the folders of earlier scans.")
@click.option("--expect-mounted", is_flag=True, help="Fail if a folder of the collection is missing or empty.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Skip files and folders with this name or path.")
@click.option("--follow-symlinks", is_flag=True, help="Scan what symbolic links below PATH lead to.")
@click.option("--protect", multiple=True, metavar="DIR", type=PathWord(),
              help="Always keep the photos in this folder; never remove them.")  # fmt: skip
@click.option("--reference", multiple=True, metavar="DIR", type=PathWord(),
              help="Scan this folder too, only to compare with it.")  # fmt: skip
@click.option("--across", is_flag=True, help="Only duplicates in another folder of the scan than their keeper.")
@click.option("--within", is_flag=True, help="Only duplicates in the same folder of the scan as their keeper.")
@click.option("--keep", metavar="WORD,...", callback=keep_words,
              help="Rules for choosing the keeper, in order. Default: protected,preferred,contains,original,"
                   "pixels,metadata,format,bytes,oldest,path.")  # fmt: skip
@click.option(
    "--prefer", multiple=True, metavar="GLOB", help="Prefer to keep files and folders with this name or path."
)
@click.option(
    "--avoid", multiple=True, metavar="GLOB", help="Keep these files and folders only if there is nothing else."
)
@click.option("--verify/--no-verify", default=True, help="Verify likely copies at full resolution. Default: yes.")
@click.option("--thorough", is_flag=True, help="Verify unlikely copies too; slower, finds a few more strong edits.")
@click.option("--quick", is_flag=True, help="Use embedded thumbnails of JPEGs and HEICs; misses some strong edits.")
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=os.cpu_count() or 1,
    metavar="N",
    help="Number of decoding processes and network threads.",
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True,
              help="Device for the neural networks.")  # fmt: skip
@click.option("--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True,
              help="Run on this machine or on a Ray cluster.")  # fmt: skip
@click.option(
    "--address", metavar="HOST:PORT", help="Address of the Ray cluster; auto: the one that this machine belongs to."
)
@click.option(
    "--work-dir", "work_dir", metavar="DIR_OR_URI", type=PathWord(), help="Where a cluster stores intermediate results."
)
@click.option("--strict", is_flag=True, help="Exit with code 3 also for broken files that the last scan reported.")
@click.option("--fail-if-found", is_flag=True, help="Exit with code 10 if there are duplicates.")
@click.option(
    "--max-time", type=Duration(), metavar="TIME", help="Stop after 90s, 30m or 2h; the next scan continues from there."
)
@click.option("--json-log", metavar="FILE", type=PathWord(), help="Append events to FILE as JSON lines; - is stderr.")
@click.option("--quiet", "-q", is_flag=True, help="Print no progress and no summary.")
@in_language
@database
@click.pass_context
def scan(
    ctx: click.Context, path: tuple[str, ...], output: tuple[str, ...], delimiter: str, bom: bool, only: bool,
    expect_mounted: bool, strict: bool, include: tuple[str, ...], min_probability: float, exclude: tuple[str, ...],
    protect: tuple[str, ...], reference: tuple[str, ...], across: bool, within: bool, keep: tuple[str, ...],
    prefer: tuple[str, ...], avoid: tuple[str, ...], follow_symlinks: bool, verify: bool, thorough: bool, quick: bool,
    workers: int, device: str, engine: str, address: str | None, work_dir: str | None,
    fail_if_found: bool, max_time: int | None, json_log: str | None, quiet: bool, lang: str | None, db: str,
) -> None:  # fmt: skip
    """Find the near-duplicate photos under PATH. Results are cached; the next scan only reads new files.

    PATH joins the folders of earlier scans, which are scanned with it; 'dedup status' lists them, 'dedup forget'
    removes them, --only leaves them out.

    Of a --reference folder nothing is changed or removed, and its photos are no duplicates of each other. It does not
    join the folders of later scans.

    --output, --include, --exclude, --protect, --reference, --prefer and --avoid can be repeated.
    """
    from dedup.files.spellings import existing_folders
    from dedup.files.walk import folder
    from dedup.models.weights import weights_spec
    from dedup.types.settings import Settings
    from dedup.workers import Runtime

    language = language_of(lang)
    outputs = Outputs(output, delimiter, bom, language)
    outputs.check()
    objects = [p for p in path if "://" in p and not os.path.exists(p)]
    if objects and engine != "ray":
        raise BadUsage(f"{objects[0]}: an object store needs --engine ray and --work-dir; see docs/scale.md")
    roots = [p if p in objects else folder(p) for p in path]
    if quick and (not verify or engine == "ray"):
        raise BadUsage("--quick works with neither --no-verify nor --engine ray")
    if follow_symlinks and engine == "ray":
        raise BadUsage("--follow-symlinks does not work with --engine ray")
    if across and within:
        raise BadUsage(Message("{one} or {other}, not both", one="--across", other="--within"))
    if thorough and not verify:
        raise BadUsage(Message("{one} or {other}, not both", one="--thorough", other="--no-verify"))
    settings = Settings(
        min_probability=min_probability,
        include_variant="variant" in include,
        include_similar="similar" in include,
        verify=verify,
        thorough=thorough,
        protect=existing_folders(protect),
        reference=existing_folders(reference, to="reference"),
        folders="across" if across else "within" if within else "all",
        keep=keep,
        prefer=prefer,
        avoid=avoid,
    )
    with Log(json_log, quiet=quiet, seconds=max_time, language=language) as log:
        runtime = Runtime(workers, log.progress, time.time)
        figures = scanned(
            Named(roots, settings.reference, only, expect_mounted, follow_symlinks), outputs, settings, runtime,
            weights_spec(device=device, quick=quick),
            exclude=exclude, db=os.path.abspath(db), log=log, cluster=(address, work_dir) if engine == "ray" else None,
        )  # fmt: skip
    if not quiet and json_log != "-":
        terminal = sys.stdout.isatty()
        click.echo(with_bold_numbers(summary(figures, language)) if terminal else line_of(figures, roots, language))
        if terminal:
            command = next_command(figures, path, output, include) + same_database(ctx)
            click.echo(printable(language.gettext("Next: {command}", command=command)))
    sys.exit(exit_code(figures, fail_if_found=fail_if_found, strict=strict))


@dataclass(frozen=True)
class Named:
    """The folders that a scan names, whether it looks at these alone, whether absent ones are an error, and whether
    symbolic links below them are followed.

    reference: folders that do not join the collection.
    """

    roots: list[str]
    reference: Sequence[str] = ()
    only: bool = False
    expect_mounted: bool = False
    follow_symlinks: bool = False


@dataclass(frozen=True)
class Outputs:
    """The files that a scan writes its groups to, and how CSV files and pages are written."""

    files: Sequence[str] = ()
    delimiter: str = ","
    bom: bool = False
    language: Language = ENGLISH

    def check(self) -> None:
        """Raise BadUsage if the suffix of a file is not a known format."""
        if self.files:
            from dedup.report.tables import format_of  # slow to import; an unchanged rescan does not need it

            for file in self.files:
                format_of(file)


def scanned(
    named: Named, outputs: Outputs, settings: Settings, runtime: Runtime, weights: WeightsSpec,
    *, exclude: Sequence[str], db: str, log: Log, cluster: tuple[str | None, str | None] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Scan, write the groups to the output files, and return the totals.

    cluster: address of a Ray cluster and where it stores intermediate results; None: run on this machine.
    """
    from dedup.pipeline.scan import count_duplicates, find_duplicates
    from dedup.store.store import Store

    log.begin(Message("Listing files"))
    with log.failures(), Store(db, scanning=True) as store, on_record(store, named.roots, log) as figures:
        terms: dict[str, Any] = {
            "exclude": exclude, "store": store, "settings": settings, "runtime": runtime, "weights": weights
        }  # fmt: skip
        if cluster:
            result, counts = on_cluster([*dict.fromkeys((*named.roots, *named.reference))], *cluster, terms)
            figures |= written(result, outputs, store, runtime, log) | counts
        elif outputs.files:
            figures |= written(
                find_duplicates(roots_of(named, exclude, store, log), **terms), outputs, store, runtime, log
            )
        else:
            figures |= totals(*count_duplicates(roots_of(named, exclude, store, log), **terms))
        store.roots.add([root for root in named.roots if not cluster])
    log.event("finished", **figures)
    return figures


def roots_of(named: Named, exclude: Sequence[str], store: Store, log: Log) -> tuple[str, ...]:
    """Return the folders to scan, and warn of those of the collection that are absent. Raises DedupError for these
    if they are expected.
    """
    from dedup.files.symlinks import link_targets
    from dedup.pipeline.collection import collection

    found = collection((*named.roots, *named.reference), store, only=named.only)
    for root, count in found.absent.items():
        known = {"root": root, "count": count}
        about = (
            Message("{root}: empty, but the database has photos of it: {count:,}", **known)
            if os.path.isdir(root)
            else Message("{root}: missing, but the database has photos of it: {count:,}", **known)
        )
        if named.expect_mounted:
            command = f"dedup forget {shlex.quote(root)}"
            raise DedupError(Message("{problem}; mount it, or forget it: {command}", problem=about, command=command))
        log.warn(Message("{problem}; they are kept for when it is there again", problem=about))
    linked = link_targets(found.roots if named.follow_symlinks else (), exclude=exclude)
    for link in linked.unlisted:
        log.warn(Message("{link}: leads to a folder that cannot be listed", link=link))
    return (*found.roots, *linked.roots)


def written(result: Report, outputs: Outputs, store: Store, runtime: Runtime, log: Log) -> dict[str, Any]:
    """Write the groups to the output files and return the totals."""
    from dedup.pipeline.results import totals_of
    from dedup.report import tables
    from dedup.report.csv_file import CsvStyle

    style = CsvStyle(outputs.delimiter, outputs.bom)
    for file in outputs.files:
        log.begin(Message("Writing {path}", path=printable(file)))
        explained = why(result, store, runtime.workers)
        tables.write(
            result,
            "groups",
            tables.format_of(file),
            file,
            explained=explained,
            style=style,
            language=outputs.language,
        )
    return totals(result.run, totals_of(result))


def next_command(figures: dict[str, Any], path: Sequence[str], output: Sequence[str], include: Sequence[str]) -> str:
    """Return the command that the user most likely wants next."""
    if figures["groups"] and any(file.lower().endswith(".html") for file in output):
        return "dedup apply"  # prints a plan and changes nothing
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
    """Return whether a browser window can be opened for this user."""
    desktop = sys.platform in ("win32", "darwin") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
    return sys.stdout.isatty() and bool(desktop)


def same_database(ctx: click.Context) -> str:
    """Return the --db option for the suggested command if it was given on the command line."""
    typed = ctx.get_parameter_source("db") is ParameterSource.COMMANDLINE
    return f" --db {shlex.quote(ctx.params['db'])}" if typed else ""


def on_cluster(
    roots: list[str], address: str | None, work_dir: str | None, terms: dict[str, Any]
) -> tuple[Report, dict[str, int]]:
    """Scan on a Ray cluster; return the report and the numbers of all files and photos."""
    try:
        from dedup.cluster import ray_runner
        from dedup.cluster.scan import find_duplicates
    except ModuleNotFoundError as error:
        raise BadUsage(
            Message(
                "{command} needs {package}: {install}",
                command="--engine ray",
                package=error.name,
                install=installation("ray"),
            )
        ) from error
    from dedup.models.weights import device_of

    if not work_dir:
        raise BadUsage("--engine ray needs --work-dir: a folder that all machines share, or s3://bucket/folder")
    runtime = terms["runtime"]
    with ray_runner.cluster(address, workers=runtime.workers):
        device = device_of(terms["weights"].device)
        run = partial(ray_runner.run, device=device)
        place = work_dir.rstrip("/") if "://" in work_dir else os.path.abspath(work_dir)
        return find_duplicates(roots, at=place, run=run, **terms)


@contextmanager
def on_record(store: Store, roots: list[str], log: Log) -> Iterator[dict[str, Any]]:
    """Yield a dict for the totals of a scan, and record the outcome in the database."""
    photos = store.count("photo")
    number = store.runs.start_attempt(roots, started_at=time.time())
    figures: dict[str, Any] = {}
    try:
        log.event("started", roots=roots)
        yield figures
        figures["new"] = store.count("photo") - photos
        store.runs.end_attempt(number, "finished", figures, ended_at=time.time())
    except (DedupError, Stopped) as caught:
        stopped = OutOfTime(
            Message(
                "stopped by {signal}; what was read is stored, and the next scan continues from there",
                signal=str(caught),
            )
        )
        error = caught if isinstance(caught, DedupError) else stopped
        with suppress(StoreUnusable):
            store.runs.end_attempt(number, outcome_of(error), {"error": str(error)}, ended_at=time.time())
        raise error from caught.__cause__


def totals(run: Run, counted: Totals) -> dict[str, Any]:
    """Return the totals of a scan as one flat dict."""
    return asdict(counted) | {"recall": round(run.recall, 4), "seconds": round(run.ended_at - run.started_at, 1)}


def summary(figures: dict[str, Any], language: Language) -> str:
    """Return the summary for a terminal."""
    t, say, count = figures, language.gettext, language.ngettext

    def column(number: int) -> str:
        return f"{language.number(number):>9}"

    if not t["files"]:
        return say("No files found.")
    duplicates = count("{n} duplicate", "{n} duplicates", t["duplicates"])
    lines = [
        count(
            "{n} photo in {time}",
            "{n} photos in {time}",
            t["photos"],
            n=column(t["photos"]),
            time=language.duration(t["seconds"]),
        ),
        count(
            "{n} group with {duplicates}, {size} to reclaim",
            "{n} groups with {duplicates}, {size} to reclaim",
            t["groups"],
            n=column(t["groups"]),
            duplicates=duplicates,
            size=language.bytes(t["bytes"]),
        ),
        count(
            "{n} of them in another folder than its keeper",
            "{n} of them in another folder than their keeper",
            t["across"],
            n=column(t["across"]),
        )
        if t["across"]
        else "",
        count(
            "{n} variant: the kept file does not show all of it, and {option} counts it",
            "{n} variants: the kept files do not show all of them, and {option} counts them",
            t["variants"],
            n=column(t["variants"]),
            option="--include variant",
        )
        if t["variants"]
        else "",
        count(
            "{n} folder with no photo but duplicates ({command})",
            "{n} folders with no photo but duplicates ({command})",
            t["folders"],
            n=column(t["folders"]),
            command="dedup export folders",
        )
        if t["folders"]
        else "",
        count(
            "{n} skipped ({command} says why)",
            "{n} skipped ({command} says why)",
            t["skipped"],
            n=column(t["skipped"]),
            command="dedup export skipped",
        )
        if t["skipped"]
        else "",
        count(
            "{n} pair not verified, in no group: a file could not be read again, or a process died; scan again",
            "{n} pairs not verified, in no group: a file could not be read again, or a process died; scan again",
            t["unverified"],
            n=column(t["unverified"]),
        )
        if t["unverified"]
        else "",
        count("{n} other file (not an image)", "{n} other files (not images)", t["other"], n=column(t["other"]))
        if t["other"]
        else "",
        say("{percent} recall of the approximate search", percent=language.number(t["recall"], ".2%").rjust(9))
        if t["recall"] < 1
        else "",
    ]
    return "\n".join(line for line in lines if line)


def line_of(figures: dict[str, Any], roots: Sequence[str], language: Language) -> str:
    """Return the summary in one line, for logs and e-mail."""
    head = f"dedup scan {printable(', '.join(roots))}"
    if not figures["files"]:
        nothing = language.gettext("no files found")
        return f"{head}: {nothing}"
    first, *rest = (" ".join(line.split()) for line in summary(figures, language).splitlines())
    new = language.ngettext("{n} new", "{n} new", figures["new"])
    return f"{head}: {'; '.join([first, new, *rest])}"


def exit_code(figures: dict[str, Any], *, fail_if_found: bool, strict: bool) -> int:
    """Return the exit code. Broken files that the last scan reported already count only if `strict`.

    Pairs that could not be verified always count.
    """
    if fail_if_found and figures["removable"]:
        return FOUND
    return SKIPPED if figures["skipped" if strict else "new_failures"] or figures["unverified"] else 0


@click.command(
    epilog=notes("creates a new folder with everything in it; an existing folder is never used.", "dedup demo")
)
@click.argument("folder", default="dedup-demo", metavar="[FOLDER]", type=PathWord())
@click.option("--no-browser", is_flag=True, help="Do not open the report.")
@in_language
def demo(folder: str, no_browser: bool, lang: str | None) -> None:
    """Create a small album, scan it, and show the report.

    FOLDER (dedup-demo) must not exist yet. Takes about half a minute.
    """
    import webbrowser

    from dedup.cli.demo_album import make_album
    from dedup.models.weights import weights_spec
    from dedup.types.settings import Settings
    from dedup.workers import Runtime

    language, folder = language_of(lang), os.path.abspath(folder)
    page, db = os.path.join(folder, "report.html"), os.path.join(folder, "dedup.db")
    photos = make_album(folder)
    with Log(None, quiet=False, seconds=None, language=language) as log:
        runtime = Runtime(os.cpu_count() or 1, log.progress, time.time)
        figures = scanned(
            Named([photos]),
            Outputs([page], language=language),
            Settings(),
            runtime,
            weights_spec(),
            exclude=(),
            db=db,
            log=log,
        )
    click.echo(with_bold_numbers(summary(figures, language)))
    click.echo(printable(language.gettext("Report: {page}", page=page)))
    if has_display() and not no_browser:
        webbrowser.open(Path(page).as_uri())
    click.echo(language.gettext("Next: {command}", command="dedup scan ~/Photos -o report.html"))
