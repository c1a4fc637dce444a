"""Report -> rows -> CSV, JSON or HTML. Knows nothing of how the result was found.

CSV is RFC 4180, UTF-8, a header first. Two things are written so that they can be read back: bytes of a path that are
not UTF-8, as \\udcXX, and cells that a spreadsheet would run as a formula, with an apostrophe before them.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from typing import IO

import numpy as np

from dedup.errors import BadUsage
from dedup.geometry.edits import describe_edits
from dedup.grouping.duplicate_folders import duplicate_folders, photos_by_folder
from dedup.grouping.members import in_order, members
from dedup.languages.language import ENGLISH, Language
from dedup.report.csv_file import PLAIN, CsvStyle, Row, read_csv, text_stream, write_csv
from dedup.report.parquet_file import write_parquet
from dedup.types.groups import Decisions
from dedup.types.message import Message
from dedup.types.pairs import Explained, Match, Relation
from dedup.types.photo import Facts, File
from dedup.types.photo_table import with_exact_duplicates
from dedup.types.report import Report

GROUPS = "group,role,path,relation,probability,keeper,width,height,bytes,format,taken_at,sha256,reason,lost".split(",")
PAIRS = "path_a,path_b,relation,probability,similarity,contained".split(",")
PHOTOS = (
    "path,width,height,bytes,format,taken_at,camera,sha256,"
    "frames,pictures,video,gain_map,depth_map,alpha,bits,grey,edited,damaged"
).split(",")
SKIPPED = "path,reason".split(",")
CONTAINED = {(True, True): "both", (True, False): "left", (False, True): "right", (False, False): "no"}
FOLDERS = "folder,photos,bytes,others,kept_in".split(",")
DECISIONS = "decision,sha256_a,sha256_b,path_a,path_b".split(",")
MATCHES = "query,path,relation,probability,similarity".split(",")


def group_rows(report: Report) -> Iterator[Row]:
    """Yield a row for each file, the keeper first in each group; groups in the order of their keepers' paths."""
    settings, photos = report.run.settings, report.photos.photos
    done = describe_edits(photos, report.verified)

    for number, group in enumerate(in_order(report.groups, photos, settings), 1):
        files = members(group, photos, settings)
        keeper = files.keeper
        found: list[tuple[File, int, str, float | None, str, str]] = [(keeper, group.keeper, "", None, "", "")]
        found += [(f, group.keeper, Relation.EXACT.word, 1.0, "same bytes", "") for f in files.copies]
        for d, counted in zip(group.duplicates, files.files, strict=True):
            found += [(f, d.photo, d.relation.word, d.probability, d.reason, d.lost) for f in counted]
        for n, (file, i, relation, probability, reason, lost) in enumerate(found):
            photo = photos[i]
            yield {
                "group": number,
                "role": "duplicate" if n else "keep",
                "path": file.path,
                "relation": relation,
                "probability": probability,
                "keeper": keeper.path,
                "width": photo.width,
                "height": photo.height,
                "bytes": photo.size,
                "format": photo.format,
                "taken_at": photo.taken_at or "",
                "sha256": photo.sha256,
                "reason": f"kept: {reason}" if reason else "",
                "lost": f"the kept one is {lost}" if lost else "",
                "change": done(group.keeper, i) if n else "",
            }


def pair_rows(report: Report) -> Iterator[Row]:
    """Yield a row for each pair that was compared, the surest first, then in the order of the photos' SHA-256.

    A photo is named by the first of its paths; its other files come first, each as exact to that one. contained: which
    of both the other one shows all of.
    """
    photos, verdicts = report.photos.photos, report.verdicts
    for files in (photos[i].files for i in with_exact_duplicates(photos)):
        for other in files[1:]:
            yield dict(zip(PAIRS, (files[0].path, other.path, Relation.EXACT.word, 1.0, 1.0, "both"), strict=True))
    left_contained, right_contained = verdicts.left_contained, verdicts.right_contained
    for row in np.lexsort((verdicts.right, verdicts.left, -verdicts.copy)).tolist():
        left, right = (photos[int(side[row])].files[0].path for side in (verdicts.left, verdicts.right))
        inside = (bool(left_contained[row]), bool(right_contained[row]))
        if left > right:
            left, right, inside = right, left, inside[::-1]
        relation = Relation(int(verdicts.relation[row])).word
        scores = float(verdicts.copy[row]), float(verdicts.similarity[row])
        yield dict(zip(PAIRS, (left, right, relation, *scores, CONTAINED[inside]), strict=True))


def photo_rows(report: Report) -> Iterator[Row]:
    """Yield a row for each file that is a photo, in the order of their paths."""
    files = sorted(((f.path, photo) for photo in report.photos.photos for f in photo.files), key=lambda pair: pair[0])
    for path, p in files:
        values = (path, p.width, p.height, p.size, p.format, p.taken_at or "", p.camera or "", p.sha256)
        known = [_fact(p.facts, name) for name in PHOTOS[len(values) :]]
        yield dict(zip(PHOTOS, (*values, *known), strict=True))


def _fact(facts: Facts | None, name: str) -> str | int | bool:
    """Return a fact of a photo; empty if it was read by a version that did not look for it."""
    value: str | int | bool = "" if facts is None else getattr(facts, name)
    return bool(value) if name == "video" and facts is not None else value


def folder_rows(report: Report) -> Iterator[Row]:
    """Yield a row for each folder whose photos all have a kept copy elsewhere, in the order of their paths."""
    for f in duplicate_folders(report, photos_by_folder(report)):
        yield dict(zip(FOLDERS, (f.path, f.photos, f.bytes, f.others, f.kept_in), strict=True))


def skipped_rows(report: Report) -> Iterator[Row]:
    """Yield a row a file that is none, in the order of their paths."""
    for skipped in report.skipped:
        yield {"path": skipped.path, "reason": skipped.reason}


def decision_rows(report: Report) -> Iterator[Row]:
    """Yield a row a decision; the paths are where the photos lay at the last scan, and nothing depends on them."""
    rows = [("not-duplicate", a, b) for a, b in sorted(report.decisions.apart)]
    rows += [("keep", digest, "") for digest in sorted(report.decisions.kept)]
    wanted = {digest for _, *both in rows for digest in both}
    paths = {photo.sha256: photo.files[0].path for photo in report.photos.photos if photo.sha256 in wanted}
    for word, a, b in rows:
        yield dict(zip(DECISIONS, (word, a, b, paths.get(a, ""), paths.get(b, "")), strict=True))


def read_decisions(path: str) -> Decisions:
    """Return the decisions of a CSV file. Raises BadUsage, with the row, if it holds anything else."""
    apart, kept = set(), set()
    for n, row in read_csv(path)[1]:
        a, b = sorted((row.get("sha256_a", ""), row.get("sha256_b", "")))
        whole = re.fullmatch(r"[0-9a-f]{64}", b)
        if row.get("decision") == "not-duplicate" and whole and re.fullmatch(r"[0-9a-f]{64}", a) and a != b:
            apart.add((a, b))
        elif row.get("decision") == "keep" and whole and not a:
            kept.add(b)
        else:
            raise BadUsage(f"{path}: row {n}: no decision; 'dedup export decisions' shows how they are written")
    return Decisions(frozenset(apart), frozenset(kept))


def match_rows(matches: Iterable[Match]) -> Iterator[Row]:
    """Yield a row a match, in their order."""
    for m in matches:
        yield dict(zip(MATCHES, (m.query, m.path, m.relation.word, m.probability, m.similarity), strict=True))


TABLES: dict[str, tuple[list[str], Callable[[Report], Iterator[Row]]]] = {
    "groups": (GROUPS, group_rows),
    "pairs": (PAIRS, pair_rows),
    "photos": (PHOTOS, photo_rows),
    "folders": (FOLDERS, folder_rows),
    "skipped": (SKIPPED, skipped_rows),
    "decisions": (DECISIONS, decision_rows),
}
FORMATS = ("csv", "json", "html", "parquet")


def format_of(path: str) -> str:
    """Return the format that the suffix of an output file stands for. Raises BadUsage if it is none of FORMATS."""
    suffix = os.path.splitext(path)[1].lower().lstrip(".")
    if suffix not in FORMATS:
        raise BadUsage(
            Message("{path}: the name must end in {suffix}", path=path, suffix=", ".join(f".{f}" for f in FORMATS))
        )
    return suffix


def write(
    report: Report,
    table: str,
    format: str,
    output: str | None,
    *,
    explained: Explained | None = None,
    style: CsvStyle = PLAIN,
    language: Language = ENGLISH,
) -> None:
    """Write one of TABLES to a file, all of it or nothing, or to standard output. Raises DedupError if that fails.

    explained: says what verdicts rest on; without it an HTML page has no figures. language: of the HTML page alone.
    """
    if format == "html" and table != "groups":
        raise BadUsage(f"html shows groups; write {table} as csv or json")
    if format == "parquet":
        if output is None:
            raise BadUsage("parquet needs a file; name one with `output`")
        write_parquet(output, *_named(report, table))
        return
    with text_stream(output) as f:
        if format == "html":
            from dedup.report.html import page  # Jinja2 is for those who want it

            f.writelines(page(report, explained, workers=os.cpu_count() or 1, language=language))
        elif format == "csv":
            write_csv(f, *_named(report, table), style)
        else:
            _write_json(f, report, table)


def _named(report: Report, table: str) -> tuple[list[str], Iterator[Row]]:
    columns, rows = TABLES[table]
    return columns, rows(report)


def _write_json(f: IO[str], report: Report, table: str) -> None:
    """Write an object with what decided the result, and the rows, one on a line."""
    settings = {name: getattr(report.run.settings, name) for name in report.run.settings.__slots__}
    run = report.run
    about = {"weights": run.weights_name, "recall": run.recall, "prior": run.prior, "settings": settings}
    f.write(json.dumps(about)[:-1] + f', "{table}": [')
    for n, row in enumerate(_named(report, table)[1]):
        f.write(("," if n else "") + "\n" + json.dumps(row))  # ASCII only: lone surrogates as \\udcXX
    f.write("\n]}\n")
