"""The commands that only look: export, find, compare, status; and forget, which changes the database alone."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from dedup.cli.options import SKIPPED, PathWord, Probability, database, notes
from dedup.errors import BadUsage, DedupError
from dedup.report.text import human_bytes, human_time, plural, printable

if TYPE_CHECKING:
    from dedup.store.store import Store
    from dedup.types.pairs import Comparison, Explained, PhotoPair
    from dedup.types.report import Attempt, Report


@click.command(
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
    from dedup.pipeline.results import last_report
    from dedup.report import tables
    from dedup.store.store import Store

    format_ = format_ or (tables.format_of(output) if output else "csv")
    with Store(os.path.abspath(db)) as store:
        result = last_report(store)
        tables.write(result, table, format_, output, explained=why(result, store, os.cpu_count() or 1))


def why(report: Report, store: Store, workers: int) -> Explained:
    """Return what tells what verdicts of a report rest on; the weights are loaded when it is asked."""

    def told(couples: Sequence[PhotoPair]) -> Iterator[Comparison | str]:
        from dedup.models.weights import load_weights
        from dedup.pipeline.explain import explained

        return explained(couples, report, store, load_weights(), workers=workers)

    return told


@click.command(epilog=notes("nothing.", "dedup find holiday.jpg"))
@click.argument("image", nargs=-1, required=True, metavar="IMAGE...", type=PathWord())
@click.option("--min-probability", type=Probability(), default=0.9, show_default=True, metavar="P",
              help="How sure a copy must be.")  # fmt: skip
@database
def find(image: tuple[str, ...], min_probability: float, db: str) -> None:
    """Print which photos of the last scan match IMAGE, as CSV."""
    from dedup.models.weights import load_weights
    from dedup.pipeline.query import find_matches
    from dedup.report import tables
    from dedup.report.csv_file import write_rows
    from dedup.store.store import Store
    from dedup.types.settings import Settings
    from dedup.workers import Runtime, worker_pool

    settings = Settings(min_probability=min_probability)
    with Store(os.path.abspath(db)) as store:
        images = [os.path.abspath(i) for i in image]
        with worker_pool(
            Runtime(min(len(image), os.cpu_count() or 1), lambda stage, done, of: None, time.time)
        ) as runtime:
            weights = load_weights()
            matches, skipped = find_matches(images, store=store, weights=weights, settings=settings, runtime=runtime)
    write_rows(None, tables.MATCHES, tables.match_rows(matches))
    for s in skipped:
        click.echo(printable(f"{s.path}: skipped: {s.reason}"), err=True)
    sys.exit(SKIPPED if skipped else 0)


@click.command(
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
    from dedup.models.weights import load_weights
    from dedup.pipeline.query import compare_two
    from dedup.report import figure as drawing
    from dedup.workers import Runtime, worker_pool

    if figure and not figure.lower().endswith(".png"):
        raise BadUsage(f"--figure {figure}: the name must end in .png")
    if figure and os.path.exists(figure):
        raise BadUsage(f"--figure {figure}: is there already; choose another name")
    with worker_pool(Runtime(1, lambda stage, done, of: None, time.time)) as runtime:
        found = compare_two(os.path.abspath(left), os.path.abspath(right), weights=load_weights(), runtime=runtime)
    if figure:
        try:
            drawing.draw(found, found.words).save(figure, "PNG")
        except OSError as error:
            raise DedupError(f"{figure}: cannot be written ({error.strerror or error}); choose another name") from error
    click.echo(found.words)


@click.command(epilog=notes("nothing.", "dedup status", "dedup status --runs"))
@click.option("--runs", is_flag=True, help="Print the last scans instead: when, how long, what was new, what failed.")
@database
def status(runs: bool, db: str) -> None:
    """Print what the database holds, how big it is and how fresh."""
    from dedup.store.store import Store

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


@click.command(epilog=notes("the database. No photo.", "dedup forget ~/Photos/Old"))
@click.argument("path", nargs=-1, required=True, metavar="PATH...", type=PathWord())
@database
def forget(path: tuple[str, ...], db: str) -> None:
    """Remove files and folders from the database. The files themselves stay."""
    from dedup.store.store import Store

    with Store(os.path.abspath(db), changing=True) as store:
        for folder in path:
            files, photos = store.forget(os.path.abspath(folder))
            gone = f"{files:,} {plural('file', files)} and {photos:,} {plural('photo', photos)}"
            click.echo(printable(f"{folder}: {gone} forgotten"))
