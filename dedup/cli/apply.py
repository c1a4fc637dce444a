"""The commands that act: apply and undo change files, mark records decisions."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from dedup.cli.colours import coloured, with_bold_numbers
from dedup.cli.options import SKIPPED, PathWord, database, in_language, language_of, notes
from dedup.cli.stopping import Stopped
from dedup.errors import BadUsage, OutOfTime, StoreUnusable
from dedup.files import user_dirs
from dedup.report.text import printable
from dedup.types.message import Message

if TYPE_CHECKING:
    from dedup.languages.language import Language
    from dedup.types.plan import Outcome, Plan
    from dedup.types.report import Report

NOTHING_CHANGED = Message("no file was changed")


@click.command(
    epilog=notes(
        "without --yes, only the file of --output. With it, duplicates are removed, with a journal for undo.",
        "dedup apply",
        "dedup apply --yes",
        "dedup apply --output plan.csv",
        "dedup apply plan.csv --to ~/Away --yes",
    )
)
@click.argument("plan", required=False, metavar="[PLAN.csv]", type=PathWord())
@click.option("--to", default="trash", show_default=True, metavar="trash|DIR|hardlink|reflink|delete",
              type=PathWord("trash", "hardlink", "reflink", "delete"),
              help="Where to move duplicates, or what replaces them.")  # fmt: skip
@click.option(
    "--output", "-o", metavar="FILE", type=PathWord(), help="Write the plan to FILE (.csv), to edit and apply it."
)
@click.option("--include", multiple=True, type=click.Choice(["variant", "similar"]),
              help="Also remove versions that the kept file does not contain, or other shots of a scene.")  # fmt: skip
@click.option("--merge-sidecars", is_flag=True, help="Move sidecars to keepers that have none.")
@click.option("--remove-empty", is_flag=True, help="Remove folders too that become empty.")
@click.option("--yes", is_flag=True, help="Carry the plan out. Without it, the plan is printed and nothing is changed.")
@click.option("--dry-run", is_flag=True, help="Print the plan and change nothing. This is the default.")
@click.option("--really-delete", is_flag=True, help="Confirm --to delete, which cannot be undone.")
@in_language
@database
def apply(
    plan: str | None, to: str, output: str | None, include: tuple[str, ...], merge_sidecars: bool,
    remove_empty: bool, yes: bool, dry_run: bool, really_delete: bool, lang: str | None, db: str,
) -> None:  # fmt: skip
    """Preview removals; --yes carries them out.

    The removals are those of the last scan, or those of PLAN.csv, which --output writes.
    """
    from dedup.actions.apply import LINKS, destination
    from dedup.actions.plan import make_plan
    from dedup.actions.plan_file import COLUMNS, plan_rows, read_plan
    from dedup.files.stacks import Folders
    from dedup.files.walk import files_in
    from dedup.pipeline.results import load_results
    from dedup.report import tables
    from dedup.report.csv_file import write_rows
    from dedup.store.store import Store
    from dedup.types.pairs import Relation

    if yes and dry_run:
        raise BadUsage(Message("{one} or {other}, not both", one="--yes", other="--dry-run"))
    if to == "delete" and yes and not really_delete:
        raise BadUsage(
            Message(
                "{option} cannot be undone; add {confirmation}, or move the files away with {other}",
                option="--to delete",
                confirmation="--really-delete",
                other="--to DIR",
            )
        )
    if output and tables.format_of(output) != "csv":
        raise BadUsage(Message("{path}: a plan is written as .csv", path=output))
    language, db, failed, refused = language_of(lang), os.path.abspath(db), 0, list[str]()
    with stopping(NOTHING_CHANGED), Store(db, changing=True) as store:
        result = load_results(store)
        to = destination(to, result.run.roots)
        if plan is None:
            wanted = [Relation[word.upper()] for word in include]
            todo = make_plan(
                result, Folders(files_in), include=wanted, linking=to in LINKS, merge_sidecars=merge_sidecars
            )
        else:
            todo, refused = read_plan(plan, result, Folders(files_in), merge_sidecars=merge_sidecars)
        for line in refused:
            click.echo(printable(language.say(line)), err=True)
        if output:
            write_rows(output, COLUMNS, plan_rows(todo))
        show(todo, to, language, each=not yes)
        if yes and todo.steps:
            failed = carry_out(todo, to, result, db, language, remove_empty=remove_empty)
    sys.exit(SKIPPED if failed or refused else 0)


def show(todo: Plan, to: str, language: Language, *, each: bool) -> None:
    """Print the totals of a plan, and with `each` its files."""
    from dedup.actions.plan import OTHER_BYTES
    from dedup.actions.plan_file import plan_rows
    from dedup.grouping.members import reclaimed
    from dedup.report.cards import RELATIONS

    actions = {"keep": Message("keep"), "remove": Message("remove")}
    relations = {relation.word: name for relation, name in RELATIONS.items()}
    for row in plan_rows(todo) if each else ():
        action, relation, size = row["action"], row["relation"], language.bytes(row["bytes"])
        path, reason = printable(row["path"]), printable(language.say(row["reason"]))
        done, related = language.say(actions[action]), language.say(relations.get(relation, ""))
        about = "; ".join(text for text in (size, coloured(relation, related), reason) if text)
        click.echo(f"{coloured(action, f'{done:<6}')} {path}  ({about})")
    others = sum(r.reason == OTHER_BYTES for r in todo.retained)
    if others:
        click.echo(
            language.ngettext(
                "{n} duplicate skipped: not the same bytes, which a {link} would lose",
                "{n} duplicates skipped: not the same bytes, which a {link} would lose",
                others,
                link=to,
            )
        )
    removed = [part.file for step in todo.steps for part in step.parts if not part.target]
    count, size = len(removed), language.bytes(reclaimed(removed))
    totals = language.ngettext(
        "{n} file to remove, {size} to reclaim", "{n} files to remove, {size} to reclaim", count, size=size
    )
    click.echo(with_bold_numbers(totals))
    if each and todo.steps:
        click.echo(printable(language.say(next_step(to))))


def next_step(to: str) -> Message:
    """Return what --yes would do with a plan that was printed."""
    yes, surely = "--yes", "--yes --really-delete"
    return {
        "trash": Message("Nothing was changed; {option} moves them to the trash.", option=yes),
        "hardlink": Message("Nothing was changed; {option} makes each a hard link to its keeper.", option=yes),
        "reflink": Message("Nothing was changed; {option} makes each share the bytes of its keeper.", option=yes),
        "delete": Message("Nothing was changed; {option} deletes them permanently.", option=surely),
    }.get(to, Message("Nothing was changed; {option} moves them to {folder}.", option=yes, folder=to))


def carry_out(todo: Plan, to: str, result: Report, db: str, language: Language, *, remove_empty: bool) -> int:
    """Carry out a plan, with a journal; return how many files were skipped that should not have been."""
    from dedup.actions import journal
    from dedup.actions.apply import Apply, apply

    folder = journal.folder_of(db)
    run = journal.new_run(folder, time.time())
    with journal.Journal(journal.path_of(folder, run)) as lines:
        outcomes = apply(
            todo.steps, Apply.of(result, to, user_dirs.for_actions(), remove_empty=remove_empty), journal=lines
        )

        def state() -> Message:
            if journal.last_run(folder) != run:
                return NOTHING_CHANGED
            if to == "delete":
                return Message("what was deleted until then is deleted permanently")
            return Message("'{command}' undoes what was done until then", command="dedup undo --run " + run)

        failed = report_outcomes(outcomes, state, language)
    if journal.last_run(folder) == run:
        command = f"dedup undo --run {run}"
        click.echo(
            language.gettext("Deleted permanently.")
            if to == "delete"
            else language.gettext("'{command}' undoes it.", command=command)
        )
    return failed


def report_outcomes(outcomes: Iterable[Outcome], state: Callable[[], Message], language: Language) -> int:
    """Print the outcome for each file; return how many were not done.

    state: says after Ctrl-C or a signal how things stand. Raises OutOfTime then.
    """
    failed = 0
    with stopping(state):
        for outcome in outcomes:
            failed += not outcome.done
            click.echo(printable(language.say(outcome.line)), err=not outcome.done)
    return failed


@contextmanager
def stopping(state: Callable[[], Message] | Message) -> Iterator[None]:
    """Raise OutOfTime, with how things stand, if a signal stops the block."""
    try:
        yield
    except Stopped as caught:
        said = state if isinstance(state, Message) else state()
        raise OutOfTime(Message("stopped by {signal}; {state}", signal=str(caught), state=said)) from None


@click.command(epilog=notes("files that an apply removed are restored; its journal records that.", "dedup undo"))
@click.option("--run", metavar="ID", help="Undo this run. Default: the newest one that was not undone.")
@in_language
@database
def undo(run: str | None, lang: str | None, db: str) -> None:
    """Undo an apply, as far as possible. Overwrites nothing, and may run twice."""
    from dedup.actions import journal
    from dedup.actions.undo import undo as undo_run
    from dedup.store.lock import StoreLock

    db = os.path.abspath(db)
    folder = journal.folder_of(db)
    if not os.path.exists(db) and not os.path.exists(folder):
        raise StoreUnusable(
            Message("{path}: no such database; name the one that apply used with {option}", path=db, option="--db")
        )
    with StoreLock(db):  # undo needs the journal alone: the database may be damaged or gone
        run = run or journal.last_run(folder)
        if run is None:
            click.echo(language_of(lang).gettext("Nothing to undo."))
            return
        entries = journal.read(folder, run)
        with journal.Journal(journal.path_of(folder, run)) as lines:
            outcomes = undo_run(entries, journal=lines, dirs=user_dirs.for_actions())
            rest = Message("the next '{command}' undoes the rest", command="dedup undo")
            failed = report_outcomes(outcomes, lambda: rest, language_of(lang))
    sys.exit(SKIPPED if failed else 0)


@click.command(
    epilog=notes("the database. No photo.", "dedup mark not-duplicate a.jpg b.jpg", "dedup mark keep --group 3")
)
@click.argument("decision", type=click.Choice(["not-duplicate", "keep", "clear"]), required=False)
@click.argument("path", nargs=-1, metavar="[PATH]...", type=PathWord())
@click.option("--group", type=click.IntRange(1), metavar="N", help="All photos of group N in 'dedup export groups'.")
@click.option(
    "--from", "from_", metavar="FILE", type=PathWord(), help="Read the decisions that 'dedup export decisions' wrote."
)
@in_language
@database
def mark(
    decision: str | None, path: tuple[str, ...], group: int | None, from_: str | None, lang: str | None, db: str
) -> None:
    """Record that photos are not duplicates, or are to be kept. Decisions belong to content, not to names."""
    from itertools import combinations

    from dedup.pipeline.results import load_results
    from dedup.report import tables
    from dedup.store.store import Store
    from dedup.types.groups import Decisions

    if bool(from_) == bool(decision):
        raise BadUsage(
            Message(
                "give {words}, and the photos; or {option}", words="not-duplicate, keep, clear", option="--from FILE"
            )
        )
    with Store(os.path.abspath(db), changing=True) as store:
        if from_:
            decisions = tables.read_decisions(from_)
            store.decisions.add(decisions)
            count = len(decisions.apart) + len(decisions.kept)
        else:
            photos = chosen(load_results(store), path, group)
            if decision == "clear":
                count = store.decisions.clear(photos)
            elif decision == "keep":
                count = len(photos)
                store.decisions.add(Decisions(kept=frozenset(photos)))
            elif len(photos) < 2:
                raise BadUsage(
                    Message("name at least two different photos; files with the same bytes are always duplicates")
                )
            else:
                pairs = frozenset(combinations(photos, 2))
                count = len(pairs)
                store.decisions.add(Decisions(apart=pairs))
    language = language_of(lang)
    if decision == "clear":
        click.echo(language.ngettext("{n} decision cleared", "{n} decisions cleared", count))
    else:
        click.echo(language.ngettext("{n} decision recorded", "{n} decisions recorded", count))


def chosen(result: Report, path: Sequence[str], group: int | None) -> list[str]:
    """Return the SHA-256 of the photos in these files and in a group. Raises BadUsage if there are none."""
    from dedup.report.tables import group_rows

    wanted = {os.path.abspath(p) for p in path}
    if group:
        members = {row["path"] for row in group_rows(result) if row["group"] == group}
        if not members:
            raise BadUsage(
                Message(
                    "there is no group {group}; '{command}' has {count:,}",
                    group=group,
                    command="dedup export groups",
                    count=len(result.groups),
                )
            )
        wanted |= members
    if not wanted:
        raise BadUsage(Message("no photos: name some, or a {option}", option="--group"))
    known = {f.path: p.sha256 for p in result.photos.photos for f in p.files}
    unknown = sorted(wanted - known.keys())
    if unknown:
        raise BadUsage(Message("{path}: not a photo of the last scan; scan its folder first", path=unknown[0]))
    return sorted({known[p] for p in wanted})
