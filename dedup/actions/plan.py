"""Report -> Plan: which files would go, which stay, and why; and plans as CSV, edited or not. Changes nothing."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from dedup.errors import BadUsage
from dedup.files.stacks import Kind, companions, kind
from dedup.grouping.groups import matches, reported
from dedup.grouping.ranking import best_files, protected
from dedup.report.csv_file import Row, read_csv
from dedup.types.groups import Group
from dedup.types.pairs import Relation
from dedup.types.photo import File
from dedup.types.plan import Plan, Removal, RemovalStep, Retained
from dedup.types.report import Report

COLUMNS = "action,path,keeper,relation,probability,bytes,reason".split(",")
OTHER_BYTES = "not the same bytes as its keeper"  # why a photo stays that cannot become a link

Listing = Callable[[str], Iterable[File]]


def plan(report: Report, listing: Listing, *, include_similar: bool = False, linking: bool = False) -> Plan:
    """Return what would be done about the groups of a report.

    listing: folder -> the files in it now. Similar photos, protected folders and photos marked to be kept stay.
    linking: the names stay and only bytes are shared, so other bytes than the keeper's stay, and what lies beside too.
    """
    steps: list[RemovalStep] = []
    stays: list[Retained] = []
    for group in report.groups:
        keeper = best_files(report.photos.photos[group.keeper], report.run.settings)[0]
        stays.append(Retained(keeper.path, keeper.path, keeper.size, "kept"))
        for step in _steps(report, group):
            why = _why_it_stays(report, step, include_similar, linking, listing)
            if why:
                stays.append(Retained(step.parts[0].file.path, keeper.path, step.parts[0].file.size, why))
            else:
                steps.append(step)
    return Plan(tuple(steps), tuple(stays)) if linking else _with_companions(steps, stays, listing)


def _steps(report: Report, group: Group) -> Iterator[RemovalStep]:
    """Yield a step for each file of a group but its keeper."""
    photos = report.photos.photos
    kept = photos[group.keeper]
    keeper, *copies = best_files(kept, report.run.settings)
    for file in copies:
        part = Removal(file, kept.sha256, keeper, kept.sha256)
        yield RemovalStep((part,), _root(report, file.path), Relation.EXACT, 1.0, "same bytes")
    for d in group.duplicates:
        for file in photos[d.photo].files:
            part = Removal(file, photos[d.photo].sha256, keeper, kept.sha256)
            yield RemovalStep((part,), _root(report, file.path), d.relation, d.probability, f"kept: {d.reason}")


def _why_it_stays(report: Report, step: RemovalStep, include_similar: bool, linking: bool, listing: Listing) -> str:
    photo = step.parts[0]
    if protected(photo.file.path, report.run.settings):
        return "in a protected folder"
    if step.relation is Relation.SIMILAR and not include_similar:
        return "similar only; --include similar would take it too"
    if step.relation is not Relation.EXACT and photo.sha256 in report.decisions.kept:
        return "marked to be kept"
    if not _is_there(photo.file.path, listing):
        return "already gone"
    return OTHER_BYTES if linking and step.relation is not Relation.EXACT else ""


def _root(report: Report, path: str) -> str:
    """Return the longest scanned folder above a path. Raises BadUsage if there is none."""
    above = [r for r in report.run.roots if path.startswith(r.rstrip(os.sep) + os.sep)]
    if not above:
        raise BadUsage(f"{path}: outside the folders that were scanned")
    return max(above, key=len)


def _with_companions(steps: Sequence[RemovalStep], stays: Sequence[Retained], listing: Listing) -> Plan:
    """Return the plan with what belongs to each photo; one whose RAW or film has no twin beside the keeper stays."""
    going = {step.parts[0].file.path for step in steps}
    keepers = {part.keeper_file.path for step in steps for part in step.parts if part.keeper_file}
    whole, left = [], list(stays)
    taken: set[str] = set()
    for step in steps:
        photo = step.parts[0]
        assert photo.keeper_file is not None
        beside = list(listing(os.path.dirname(photo.file.path)))
        twins = {
            _suffix(f.path): f
            for f in companions(photo.keeper_file.path, listing(os.path.dirname(photo.keeper_file.path)))
        }
        parts, lacks = [photo], ""
        mine = companions(photo.file.path, beside)
        for f in mine:
            hosts = [h.path for h in beside if h not in mine and kind(h.path) in (Kind.SHOT, Kind.RAW)]
            shared = any(h not in going and any(c.path == f.path for c in companions(h, [f])) for h in hosts)
            twin = twins.get(_suffix(f.path))
            if f.path in going or f.path in taken:
                continue
            if f.path in keepers:
                lacks = lacks or f.path
            elif kind(f.path) is Kind.SIDECAR:
                parts += [] if shared else [Removal(f, "", None, "")]
            elif kind(f.path) is Kind.FILM and shared:
                continue
            elif twin is None or twin.size != f.size or twin.path in going or twin.path == f.path:
                lacks = lacks or f.path
            else:
                parts.append(Removal(f, "", twin, ""))
        if lacks:
            why = f"{os.path.basename(lacks)} belongs to it and has no copy beside the keeper"
            left.append(Retained(photo.file.path, photo.keeper_file.path, photo.file.size, why))
        else:
            taken.update(part.file.path for part in parts)
            whole.append(replace(step, parts=tuple(parts)))
    return Plan(tuple(whole), tuple(left))


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def quarantine(folder: str, roots: Sequence[str]) -> str:
    """Return the absolute path of a folder to move files to. Raises BadUsage if a scan would see them there again."""
    path = os.path.realpath(folder)
    for root in map(os.path.realpath, roots):
        if Path(path).is_relative_to(root) or Path(root).is_relative_to(path):
            raise BadUsage(f"--to {folder}: inside a scanned folder, or around it; choose one beside {root}")
    return path


def plan_rows(plan: Plan) -> Iterator[Row]:
    """Yield a row a file, each group's together, those that stay first."""
    rows: list[tuple[str, int, Row]] = []
    for stay in plan.stays:
        values: tuple[object, ...] = ("keep", stay.path, stay.keeper, "", None, stay.size, stay.reason)
        rows.append((stay.keeper, 0, dict(zip(COLUMNS, values, strict=True))))
    for step in plan.steps:
        photo = step.parts[0]
        assert photo.keeper_file is not None
        for part in step.parts:
            reason = step.reason if part is photo else f"belongs to {os.path.basename(photo.file.path)}"
            relation, probability = (step.relation.word, step.probability) if part is photo else ("", None)
            values = ("remove", part.file.path, photo.keeper_file.path, relation, probability, part.file.size, reason)
            rows.append((photo.keeper_file.path, 1, dict(zip(COLUMNS, values, strict=True))))
    return (row for _, _, row in sorted(rows, key=lambda r: r[:2]))


def read_plan(path: str, report: Report, listing: Listing) -> tuple[Plan, list[str]]:
    """Return what a plan file asks for, and a line for each of its rows that is refused.

    A row counts only if the last scan found its file and a match between it and one that stays. Raises BadUsage.
    """
    rows = _read_rows(path)
    known = _Known(report)
    going = {row["path"] for _, row in rows if row["action"] == "remove"}
    staying: dict[str, list[str]] = defaultdict(list)
    for _, row in rows:
        if row["action"] == "keep":
            staying[row["keeper"]].append(row["path"])
    steps, refused = [], []
    for line, row in rows:
        if row["action"] == "remove" and (row["path"] in known.number_of or row["relation"]):
            try:
                named = [row["keeper"], *staying[row["keeper"]]]
                step = _step_of(row, [k for k in named if k not in going], known)
                steps += [step] if _is_there(row["path"], listing) else []
            except BadUsage as error:
                refused.append(f"{path}: row {line}: {row['path']}: refused: {error}")
    asked = _with_companions(steps, [], listing)
    refused += [f"{path}: {stay.path}: left: {stay.reason}" for stay in asked.stays]
    beside = {part.file.path for step in asked.steps for part in step.parts}
    for line, row in rows:  # a companion has no relation; it goes with its photo, if that goes
        name = row["path"]
        stray = row["action"] == "remove" and name not in known.number_of and not row["relation"] and name not in beside
        if stray and _is_there(name, listing):
            refused.append(f"{path}: row {line}: {name}: refused: it belongs to no photo that goes")
    whole = []
    for step in asked.steps:  # a companion goes only if the plan names it
        missing = [p for p in step.parts[1:] if p.file.path not in going and p.keeper_file is not None]
        if missing:
            refused.append(f"{path}: {step.parts[0].file.path}: left: {missing[0].file.path} belongs to it and stays")
        else:
            parts = (step.parts[0], *(p for p in step.parts[1:] if p.file.path in going))
            whole.append(replace(step, parts=parts))
    return Plan(tuple(whole), ()), refused


class _Known:
    """What the last scan found, by path, and which photos match, similar ones among them."""

    def __init__(self, report: Report) -> None:
        photos = report.photos.photos
        self.report, self.photos, self.settings = report, photos, report.run.settings
        self.number_of = {f.path: i for i, photo in enumerate(photos) for f in photo.files}
        self.file_of = {f.path: f for photo in photos for f in photo.files}
        wide = replace(self.settings, include_similar=True)
        self.matched = matches(photos, report.verdicts, wide, report.decisions)


def _step_of(row: dict[str, str], staying: Sequence[str], known: _Known) -> RemovalStep:
    """Return the step that a row asks for, with one of the files that stay. Raises BadUsage if no verdict allows it."""
    name = row["path"]
    if name not in known.number_of:
        raise BadUsage("not a photo of the last scan")
    if protected(name, known.settings):
        raise BadUsage("in a protected folder")
    i = known.number_of[name]
    allowed = {i, *known.matched.get(i, {})}
    good = [k for k in staying if known.number_of.get(k) in allowed]
    if not good:
        raise BadUsage("no file that stays was found to match it")
    j = known.number_of[good[0]]
    relation, probability = Relation.EXACT, 1.0
    if i != j:
        at = known.matched[i][j]
        relation = reported(known.report.verdicts, at, known.settings)
        probability = float(known.report.verdicts.copy[at])
    if relation is Relation.SIMILAR and row["relation"] != Relation.SIMILAR.word:
        raise BadUsage("similar only")
    part = Removal(known.file_of[name], known.photos[i].sha256, known.file_of[good[0]], known.photos[j].sha256)
    return RemovalStep((part,), _root(known.report, name), relation, probability, row["reason"])


def _is_there(path: str, listing: Listing) -> bool:
    return any(f.path == path for f in listing(os.path.dirname(path)))


def _read_rows(path: str) -> list[tuple[int, dict[str, str]]]:
    """Return the rows of a plan with the numbers that a spreadsheet gives them."""
    columns, found = read_csv(path)
    lacking = [c for c in ("action", "path", "keeper", "relation") if c not in columns]
    if lacking:
        raise BadUsage(f"{path}: no plan: the column {lacking[0]} is missing; 'dedup apply --output' writes one")
    rows = [(n, {k: row.get(k, "") for k in COLUMNS}) for n, row in found]
    for n, row in rows:
        if row["action"] not in ("keep", "remove"):
            raise BadUsage(f"{path}: row {n}: the action must be keep or remove, not '{row['action']}'")
    seen: set[str] = set()
    for n, row in rows:
        if row["path"] in seen:
            raise BadUsage(f"{path}: row {n}: {row['path']} is there twice")
        seen.add(row["path"])
    return rows
