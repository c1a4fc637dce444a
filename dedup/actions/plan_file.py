"""Plan <-> CSV, which a person may edit. Each row is checked against the last scan before it counts."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from dedup.actions.plan import GONE_WITH_KEEPER, protection, root_of, with_companions
from dedup.errors import BadUsage
from dedup.files.stacks import Folders
from dedup.grouping.groups import matches, reported
from dedup.grouping.members import counts
from dedup.report.csv_file import Row, read_csv
from dedup.types.message import Message, sentence_of
from dedup.types.pairs import Relation
from dedup.types.plan import Plan, Removal, RemovalStep
from dedup.types.report import Report

COLUMNS = "action,path,keeper,relation,probability,bytes,reason".split(",")

_Rows = list[tuple[int, dict[str, str]]]  # with the numbers that a spreadsheet shows


def plan_rows(plan: Plan) -> Iterator[Row]:
    """Yield one row a file, grouped by keeper, retained files first."""
    rows: list[tuple[str, int, Row]] = []
    for kept in plan.retained:
        values: tuple[object, ...] = ("keep", kept.path, kept.keeper, "", None, kept.size, kept.reason)
        rows.append((kept.keeper, 0, dict(zip(COLUMNS, values, strict=True))))
    for step in plan.steps:
        photo = step.parts[0]
        assert photo.keeper_file is not None
        for part in step.parts:
            reason = step.reason if part is photo else _reason(part, photo)
            relation, probability = (step.relation.word, step.probability) if part is photo else ("", None)
            values = ("remove", part.file.path, photo.keeper_file.path, relation, probability, part.file.size, reason)
            rows.append((photo.keeper_file.path, 1, dict(zip(COLUMNS, values, strict=True))))
    return (row for _, _, row in sorted(rows, key=lambda r: r[:2]))


def _reason(companion: Removal, photo: Removal) -> Message:
    name = os.path.basename(photo.file.path)
    if companion.target:
        target = os.path.basename(companion.target)
        return Message("belongs to {name}; moves to {target}", name=name, target=target)
    return Message("belongs to {name}", name=name)


def read_plan(path: str, report: Report, folders: Folders, *, merge_sidecars: bool = False) -> tuple[Plan, list[str]]:
    """Return the plan in a file, and a line for each of its rows that is refused.

    A row counts only if the last scan found its file, and found it to match a file that is kept. Raises BadUsage if
    the file is not a plan.
    """
    rows = _read_rows(path)
    steps, refused = _steps_of(rows, path, report, folders)
    plan = with_companions(steps, [], folders, merge_sidecars=merge_sidecars)
    refused += [
        Message("{path}: skipped: {reason}", path=": ".join((path, kept.path)), reason=kept.reason)
        for kept in plan.retained
    ]
    refused += _stray_companions(rows, path, plan, report, folders)
    named = {row["path"] for _, row in rows if row["action"] == "remove"}
    complete = []
    for step in plan.steps:
        unnamed = [p for p in step.parts[1:] if p.file.path not in named and p.keeper_file is not None]
        if unnamed:
            photo, companion = step.parts[0].file.path, unnamed[0].file.path
            why = Message("the plan does not remove {companion}, which belongs to it", companion=companion)
            refused.append(Message("{path}: skipped: {reason}", path=": ".join((path, photo)), reason=why))
        else:
            parts = (step.parts[0], *(p for p in step.parts[1:] if p.file.path in named))
            complete.append(replace(step, parts=parts))
    return Plan(tuple(complete), ()), refused


def _steps_of(rows: _Rows, path: str, report: Report, folders: Folders) -> tuple[list[RemovalStep], list[str]]:
    """Return the steps that the rows ask for, and a line for each row that is refused."""
    known = _Known(report, folders)
    removed = {row["path"] for _, row in rows if row["action"] == "remove"}
    kept: dict[str, list[str]] = defaultdict(list)
    for _, row in rows:
        if row["action"] == "keep":
            kept[row["keeper"]].append(row["path"])
    steps, refused = [], list[str]()
    for number, row in rows:
        if row["action"] == "remove" and (row["path"] in known.number_of or row["relation"]):
            try:
                candidates = [row["keeper"], *kept[row["keeper"]]]
                step = _step_of(row, [k for k in candidates if k not in removed], known)
                steps += [step] if _is_there(step, folders) else []
            except BadUsage as error:
                refused.append(_refused(path, number, row["path"], sentence_of(error)))
    return steps, refused


def _refused(path: str, number: int, name: str, reason: str) -> Message:
    return Message(
        "{path}: row {number}: {name}: refused: {reason}", path=path, number=number, name=name, reason=reason
    )


def _is_there(step: RemovalStep, folders: Folders) -> bool:
    """Return whether the file of a step is there. Raises BadUsage if neither it nor its keeper is."""
    photo = step.parts[0]
    assert photo.keeper_file is not None
    if folders.holds(photo.file.path):
        return True
    if not folders.holds(photo.keeper_file.path):
        raise BadUsage(GONE_WITH_KEEPER)
    return False


def _stray_companions(rows: _Rows, path: str, plan: Plan, report: Report, folders: Folders) -> list[str]:
    """Return a line for each companion, a row without a relation, whose photo is not removed."""
    found = {f.path for photo in report.photos.photos for f in photo.files}
    beside = {part.file.path for step in plan.steps for part in step.parts}
    return [
        _refused(path, number, name, Message("it belongs to no photo that is removed"))
        for number, row in rows
        if row["action"] == "remove" and not row["relation"]
        if (name := row["path"]) not in found and name not in beside and folders.holds(name)
    ]


class _Known:
    """What the last scan found, by path, and which photos match, similar ones included."""

    def __init__(self, report: Report, folders: Folders) -> None:
        photos = report.photos.photos
        self.report, self.photos, self.settings = report, photos, report.run.settings
        self.number_of = {f.path: i for i, photo in enumerate(photos) for f in photo.files}
        self.file_of = {f.path: f for photo in photos for f in photo.files}
        wide = replace(self.settings, include_similar=True)
        self.matched = matches(photos, report.verdicts, wide, report.decisions)
        self._folders = folders

    def protection(self, path: str) -> str:
        return protection(path, self.settings, self._folders)


def _step_of(row: dict[str, str], kept: Sequence[str], known: _Known) -> RemovalStep:
    """Return the step that a row asks for, with the first kept file that it matches. Raises BadUsage if none does."""
    name = row["path"]
    if name not in known.number_of:
        raise BadUsage(Message("not a photo of the last scan"))
    if known.protection(name):
        raise BadUsage(known.protection(name))
    i = known.number_of[name]
    allowed = {i, *known.matched.get(i, {})}
    keeper = next((k for k in kept if known.number_of.get(k) in allowed), None)
    if keeper is None:
        raise BadUsage(Message("it matches no file that is kept"))
    if not counts(name, keeper, known.settings):
        across, option = known.settings.folders == "across", f"--{known.settings.folders}"
        raise BadUsage(
            Message("its keeper is not in another root; the scan was {option}", option=option)
            if across
            else Message("its keeper is not in the same root; the scan was {option}", option=option)
        )
    j = known.number_of[keeper]
    relation, probability = Relation.EXACT, 1.0
    if i != j:
        at = known.matched[i][j]
        relation = reported(known.report.verdicts, at, known.settings, keeper=j)
        probability = float(known.report.verdicts.copy[at])
    if i != j and known.photos[i].sha256 in known.report.decisions.kept:
        raise BadUsage(Message("marked to be kept; '{command}' removes the mark", command="dedup mark clear"))
    if relation in (Relation.SIMILAR, Relation.VARIANT) and row["relation"] != relation.word:
        raise BadUsage(Message("only {relation}; the column relation must say so", relation=relation.word))
    part = Removal(known.file_of[name], known.photos[i].sha256, known.file_of[keeper], known.photos[j].sha256)
    return RemovalStep((part,), root_of(known.report, name), relation, probability, row["reason"])


def _read_rows(path: str) -> _Rows:
    """Return the rows of a plan. Raises BadUsage if the file is not a plan."""
    columns, found = read_csv(path)
    missing = [c for c in ("action", "path", "keeper", "relation") if c not in columns]
    if missing:
        raise BadUsage(
            Message(
                "{path}: not a plan: the column {column} is missing; '{command}' writes one",
                path=path,
                column=missing[0],
                command="dedup apply --output",
            )
        )
    rows = [(n, {k: row.get(k, "") for k in COLUMNS}) for n, row in found]
    names: set[str] = set()
    for n, row in rows:
        if row["action"] not in ("keep", "remove"):
            raise BadUsage(
                Message(
                    "{path}: row {number}: the action must be keep or remove, not '{word}'",
                    path=path,
                    number=n,
                    word=row["action"],
                )
            )
        if row["path"] in names:
            raise BadUsage(
                Message("{path}: row {number}: {name} is listed twice", path=path, number=n, name=row["path"])
            )
        names.add(row["path"])
    return rows
