"""The commands export, find and compare, which print what a scan found or what a pair looks like."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from dedup.cli.colours import coloured
from dedup.cli.options import SKIPPED, PathWord, Probability, csv_style, database, in_language, language_of, notes
from dedup.errors import BadUsage, DedupError
from dedup.report.text import printable
from dedup.types.message import Message

if TYPE_CHECKING:
    from dedup.store.store import Store
    from dedup.types.pairs import Comparison, Explained, PhotoPair
    from dedup.types.report import Report

_FORMATS = ("csv", "json", "html", "parquet")  # spelled out, so that --help loads no table


class Table(click.Choice[str]):
    """The name of a table. The name of a format gets an answer with the right form."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value in _FORMATS:
            self.fail(f"'{value}' is a format; write: dedup export groups --format {value}", param, ctx)
        table: str = super().convert(value, param, ctx)
        return table


@click.command(
    epilog=notes(
        "the file of --output; without it, nothing.", "dedup export groups -o report.html", "dedup export skipped"
    )
)
@click.argument("table", type=Table(["groups", "pairs", "photos", "folders", "skipped", "decisions"]), default="groups")
@click.option("--format", "format_", type=click.Choice(_FORMATS), help="Default: from the suffix of FILE, or csv.")
@click.option("--output", "-o", metavar="FILE", type=PathWord(), help="Default: standard output.")
@csv_style
@in_language
@database
def export(
    table: str, format_: str | None, output: str | None, delimiter: str, bom: bool, lang: str | None, db: str
) -> None:
    """Write the results of the last scan as a table or a page.

    Tables: groups, the pairs that were compared, photos, folders of nothing but duplicates, skipped files, decisions.
    Only groups can be a page (html).
    """
    from dedup.pipeline.results import load_results
    from dedup.report import tables
    from dedup.report.csv_file import CsvStyle
    from dedup.store.store import Store

    if format_ == "parquet" and output is None:
        raise BadUsage(Message("parquet is not text; name a file with {option}", option="--output"))
    format_ = format_ or (tables.format_of(output) if output else "csv")
    with Store(os.path.abspath(db)) as store:
        result = load_results(store)
        explained, style = why(result, store, os.cpu_count() or 1), CsvStyle(delimiter, bom)
        tables.write(result, table, format_, output, explained=explained, style=style, language=language_of(lang))


def why(report: Report, store: Store, workers: int) -> Explained:
    """Return a function that explains verdicts of a report. It loads the weights when it is first called."""

    def explain(pairs: Sequence[PhotoPair]) -> Iterator[Comparison | str]:
        from dedup.models.weights import load_weights
        from dedup.pipeline.explain import explain_pairs

        return explain_pairs(pairs, report, store, load_weights(), workers=workers)

    return explain


@click.command(epilog=notes("nothing.", "dedup find holiday.jpg"))
@click.argument("image", nargs=-1, required=True, metavar="IMAGE...", type=PathWord())
@click.option("--min-probability", type=Probability(), default=0.9, show_default=True, metavar="P",
              help="Print copies with at least this probability.")  # fmt: skip
@in_language
@database
def find(image: tuple[str, ...], min_probability: float, lang: str | None, db: str) -> None:
    """Print the photos of the last scan that match IMAGE, as CSV."""
    from dedup.models.weights import weights_spec
    from dedup.pipeline.context import Context
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
            matches, skipped = find_matches(images, Context(store, weights_spec(), settings, runtime))
    write_rows(None, tables.MATCHES, tables.match_rows(matches))
    for s in skipped:
        said = Message("{path}: skipped: {reason}", path=s.path, reason=s.reason)
        click.echo(printable(language_of(lang).say(said)), err=True)
    sys.exit(SKIPPED if skipped else 0)


@click.command(
    epilog=notes(
        "the file of --figure, which must not exist yet; without it, nothing.",
        "dedup compare a.jpg b.jpg --figure why.png",
    )
)
@click.argument("left", metavar="A", type=PathWord())
@click.argument("right", metavar="B", type=PathWord())
@click.option(
    "--figure",
    metavar="PNG",
    type=PathWord(),
    help="Draw an explanation: both photos, their features, the difference, the weights.",
)
def compare(left: str, right: str, figure: str | None) -> None:
    """Print the relation of photos A and B.

    In one line: the relation, its probability, and what was done to A. Nothing is known of a collection that both are
    from, so that 7 in 10 pairs as alike as to be verified are taken to be copies. A scan estimates that share.
    """
    from dedup.models.weights import load_weights
    from dedup.pipeline.query import compare_two
    from dedup.report import figure as drawing
    from dedup.workers import Runtime, worker_pool

    if figure and not figure.lower().endswith(".png"):
        raise BadUsage(Message("{path}: the name must end in {suffix}", path=figure, suffix=".png"))
    if figure and os.path.exists(figure):
        raise BadUsage(Message("{path}: is there already; choose another name", path=figure))
    with worker_pool(Runtime(1, lambda stage, done, of: None, time.time)) as runtime:
        found = compare_two(os.path.abspath(left), os.path.abspath(right), weights=load_weights(), runtime=runtime)
    if figure:
        try:
            drawing.draw(found, found.words).save(figure, "PNG")
        except OSError as error:
            raise DedupError(
                Message(
                    "{path}: cannot be written ({error}); choose another name",
                    path=figure,
                    error=error.strerror or error,
                )
            ) from error
    relation = found.relation.word
    click.echo(coloured(relation) + found.words.removeprefix(relation))
