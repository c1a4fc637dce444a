#!/usr/bin/env python3
"""Measure how well dedup and its peers tell the copies of a photo from other photos.

    pip install -c constraints.txt '.[bench]'
    python scripts/benchmark_accuracy.py PHOTOS_DIR [--output DIR]
    python scripts/benchmark_accuracy.py ALBUM_DIR --truth truth.csv [--output DIR]
    python scripts/benchmark_accuracy.py PHOTOS_DIR --labels labels.csv [--output DIR]

Makes an album of edited copies of the photos under PHOTOS_DIR, with other photos and plain pictures added, or takes an
album whose truth is known (path,photo,scene,edit). Runs the dedup command line and every peer that is installed. Writes
to the output folder: accuracy.md, the tables that are printed; accuracy.png, precision against recall; errors.csv, the
false pairs with the highest probability. With --labels (a,b,label) the photos are real ones with hardly any copies, and
accuracy.md says how many pairs are reported that are none. docs/accuracy.md explains the figures.
"""

import argparse
import csv
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from accuracy import keepers, labelled, score
from accuracy.edits import EDITS, make_album
from accuracy.peers import PEERS, LeftOut, ranking_of, usable
from accuracy.score import Album, Ranking

from dedup import __version__
from dedup.models.weights import load_weights
from dedup.report.csv_file import cell
from dedup.training.metrics import precision_recall
from dedup.types.settings import Settings

SEED = 20261124
THRESHOLD = Settings().min_probability
Results = dict[str, tuple[Ranking, float, str]]  # method -> its ranking, the threshold it comes with, that in words


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def dedup_ranking(album: Album, root: Path, output: Path, *, workers: int) -> Ranking:
    """Return the pairs that the dedup command line compared."""
    db, pairs = output / "dedup.db", output / "pairs.csv"
    command = [sys.executable, "-m", "dedup"]
    scanned = subprocess.run(
        [*command, "scan", os.path.realpath(root), "--db", db, "--workers", str(workers), "--quiet"], check=False
    )
    if scanned.returncode not in (0, 3):  # 3: some pictures were skipped, and count as not found
        sys.exit(f"dedup scan failed with {scanned.returncode}")
    for table_name in ("groups", "pairs"):
        target = output / f"{table_name}.csv"
        subprocess.run([*command, "export", table_name, "--db", db, "--output", target], check=True)
    return score.read_pairs(pairs, album)


def all_results(album: Album, root: Path, output: Path, *, workers: int) -> tuple[Results, list[str]]:
    """Return the ranking of each method, dedup first, and a line for each peer that is left out."""
    started = time.perf_counter()
    ours = dedup_ranking(album, root, output, workers=workers)
    note(f"dedup: {time.perf_counter() - started:.0f} s")
    results: Results = {f"dedup {__version__}": (ours, THRESHOLD, f"probability {THRESHOLD}")}
    left_out = []
    for peer in PEERS:
        started = time.perf_counter()
        try:
            name = f"{peer.name} ({usable(peer)})"
            results[name] = ranking_of(peer, album.paths, workers=workers), peer.usual, peer.said
            note(f"{name}: {time.perf_counter() - started:.0f} s")
        except LeftOut as reason:
            left_out.append(f"{peer.name}: {reason}")
            note(f"left out: {left_out[-1]}")
    return results, left_out


# Tables


def table(header: Iterable[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    columns = list(header)
    lines = ["| " + " | ".join(columns) + " |", "|---" + "|---:" * (len(columns) - 1) + "|"]
    shown = (
        [f"{v:.3f}" if isinstance(v, float) else f"{v:,}" if isinstance(v, int) else v for v in row] for row in rows
    )
    return [*lines, *("| " + " | ".join(row) + " |" for row in shown), ""]


def views(album: Album, results: Results) -> Iterator[tuple[str, dict[str, Ranking]]]:
    """Yield a title and the rankings: as they are and, where the album has scenes, without pairs of one scene."""
    rankings = {name: ranking for name, (ranking, _, _) in results.items()}
    yield "every pair counted", rankings
    if (album.scenes != "").any():
        yield "pairs of one scene left out", {n: score.lenient(album, r) for n, r in rankings.items()}


def overall_table(album: Album, title: str, rankings: dict[str, Ranking]) -> list[str]:
    rows = {name: score.figures(album, ranking) for name, ranking in rankings.items()}
    header = ("method", *next(iter(rows.values())))
    return [f"Overall, {title}:", "", *table(header, ((name, *row.values()) for name, row in rows.items()))]


def edit_table(album: Album, title: str, rankings: dict[str, Ranking]) -> list[str]:
    """Return the recall of each kind of edit at the threshold where a method has 99 % precision."""
    columns = []
    for ranking in rankings.values():
        threshold = score.threshold_at(album, ranking, precision=0.99)
        columns.append(score.recall_by_edit(album, ranking, threshold=threshold))
    kinds = sorted(columns[0], key=lambda kind: (columns[0][kind], kind))
    rows = [(kind, *(column[kind] for column in columns)) for kind in kinds]
    rows.append(("mean", *(float(np.mean(list(column.values()))) for column in columns)))
    first = f"Recall of each edit against its original, at 99 % precision, {title}:"
    return [first, "", *table(("edit", *rankings), rows)]


def usual_table(album: Album, results: Results) -> list[str]:
    header = ("method", "threshold", "precision", "recall", "false pairs of one scene", "other false pairs")
    rows = [
        (name, said, *score.at_threshold(album, ranking, threshold=usual).values())
        for name, (ranking, usual, said) in results.items()
    ]
    return ["At its own default threshold:", "", *table(header, rows)]


def calibration_table(album: Album, ranking: Ranking) -> list[str]:
    header = ("probability", "pairs", "mean probability", "share of true ones", "the same without pairs of one scene")
    rows = [(f"{low:g} to {high:g}", *row) for low, high, *row in score.calibration(album, ranking)]
    return ["What dedup's probabilities mean:", "", *table(header, rows)]


def false_lines(album: Album, ranking: Ranking) -> list[str]:
    """Return how many pairs of different things dedup calls copies at its default threshold."""
    photos, false = score.false_among_unrelated(album, ranking, threshold=THRESHOLD)
    per_thousand = false * 1000 * 999 / max(photos * (photos - 1), 1)  # pairs grow with the square
    lines = [
        f"Among {photos} unrelated photos, unedited, dedup calls {false} pairs copies at probability {THRESHOLD}: "
        f"{per_thousand:.2f} in 1,000 such photos.",
    ]
    everything = Ranking(*score.all_pairs(len(album.paths)), np.zeros(0))
    of_scene = int(score.shots(album, everything).sum())
    if of_scene:
        called = int(score.at_threshold(album, ranking, threshold=THRESHOLD)["false_similar"])
        lines.append(f"Of {of_scene:,} pairs of one scene it calls {called} copies ({called / of_scene:.1%}).")
    return [*lines, ""]


def keeper_tables(album: Album, groups: list[keepers.Reported]) -> list[str]:
    """Return who is kept in dedup's groups: by dedup, by the rules that other tools go by, and by kind of edit."""
    originals = keepers.untouched(album)
    rows = {f"dedup {__version__}": groups}
    rows |= {rule: keepers.by_rule(groups, album, key) for rule, key in keepers.RULES.items()}
    figures = {name: keepers.kept_figures(some, album, originals) for name, some in rows.items()}
    header = ("who is kept by", *next(iter(figures.values())))
    edits = keepers.kept_by_edit(groups, album, originals).items()
    edit_header = ("edit", "files", "removable", "kept in place of the original", "originals lost for it")
    return [
        *["Who is kept, in the groups that dedup reports:", ""],
        *table(header, ((name, *row.values()) for name, row in figures.items())),
        *["By kind of edit:", ""],
        *table(edit_header, ((kind, *row) for kind, row in edits)),
    ]


def report(album: Album, results: Results, left_out: list[str], groups: list[keepers.Reported]) -> str:
    files, wanted, names = len(album.paths), score.count_copies(album), list(results)
    ours = results[names[0]][0]
    lines = [
        f"{files:,} files, {wanted:,} true pairs of {files * (files - 1) // 2:,}; weights {load_weights().name}.",
        "",
        *(line for view in views(album, results) for line in overall_table(album, *view)),
        *usual_table(album, results),
        *(line for view in views(album, results) for line in edit_table(album, *view)),
        *calibration_table(album, ours),
        *false_lines(album, ours),
        *keeper_tables(album, groups),
        *(f"Left out: {line}" for line in left_out),
    ]
    return "\n".join(lines).rstrip() + "\n"


def labelled_report(album: Album, results: Results, left_out: list[str], labels: labelled.Labels) -> str:
    """Return what is reported among real photos, by what the pairs are, and what dedup's probabilities mean there."""
    (name, (ours, _, _)), *peers = results.items()
    methods = [(name, ours, threshold, f"probability {threshold}") for threshold in labelled.THRESHOLDS]
    methods += [(peer, ranking, usual, said) for peer, (ranking, usual, said) in peers]
    rows = []
    for method, ranking, threshold, said in methods:
        found = labelled.found_by_label(album, ranking, labels, threshold=threshold)
        rows.append((method, said, *found.values(), labelled.wrong_of_10000(album, found)))
    header = ("method", "threshold", *labelled.kinds_of(labels), "wrong in 10,000 photos")
    bins = [(f"{low:g} to {high:g}", *row) for low, high, *row in labelled.reliability(album, ours, labels)]
    lines = [
        f"{len(album.paths):,} files, {len(labels)} labelled pairs; weights {load_weights().name}.",
        "",
        *["Pairs that are reported, by label:", "", *table(header, rows)],
        "What dedup's probabilities mean:",
        "",
        *table(("probability", "pairs", "mean probability", "share of one photograph"), bins),
        *(f"Left out: {line}" for line in left_out),
    ]
    return "\n".join(lines).rstrip() + "\n"


# Plot and errors


def plot(album: Album, results: Results, path: Path) -> None:
    """Draw precision against recall with every pair, and as a dotted line without pairs of one scene."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6), layout="constrained")
    axes = figure.subplots()
    wanted = score.count_copies(album)
    for n, (name, (ranking, _, _)) in enumerate(results.items()):
        for view, style in ((score.lenient(album, ranking), ":"), (ranking, "-")):
            precision, recall = precision_recall(view.score, score.copies(album, view), positives=wanted)
            best = np.maximum.accumulate(precision[::-1])[::-1]
            steps = np.flatnonzero(np.diff(recall, append=-1))  # the last pair at each recall
            label = name if style == "-" else None
            axes.plot(recall[steps], best[steps], style, color=f"C{n}", label=label, lw=2.5 if n == 0 else 1.2)
    axes.set(xlim=(0, 1), ylim=(0, 1.01), xlabel="recall", ylabel="precision")
    axes.set_title("every pair counted; dotted: pairs of one scene left out" if (album.scenes != "").any() else "")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left")
    figure.savefig(path, dpi=110)


def write_errors(album: Album, ranking: Ranking, path: Path, *, most: int) -> None:
    """Write the false pairs with the highest probability. Unlabelled copies in the folder would be among them."""
    false = ranking.rows(~score.copies(album, ranking))
    with path.open("w", newline="", encoding="utf-8") as f:
        rows = csv.writer(f)
        rows.writerow(["path_a", "path_b", "probability", "one_scene"])
        of_scene = score.shots(album, false)
        for n in np.argsort(-false.score, kind="stable")[:most]:
            a, b = (cell(album.paths[side[n]]) for side in (false.left, false.right))
            rows.writerow([a, b, f"{false.score[n]:.6g}", int(of_scene[n])])


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("photos_dir", type=Path, metavar="PHOTOS_DIR")
    ap.add_argument("--truth", type=Path, metavar="FILE", help="score PHOTOS_DIR as it is, by this truth")
    ap.add_argument("--labels", type=Path, metavar="FILE", help="count what is reported in PHOTOS_DIR by these labels")
    ap.add_argument("--output", type=Path, default=Path("accuracy"), metavar="DIR")
    ap.add_argument("--photos", type=int, default=190, metavar="N", help="photos to edit (190)")
    ap.add_argument("--distractors", type=int, default=500, metavar="N", help="other photos among them (500)")
    ap.add_argument("--edits", default=",".join(EDITS), metavar="NAME,...", help=f"of {', '.join(EDITS)}")
    ap.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="processes that read photos")
    a = ap.parse_args()
    edits = a.edits.split(",")
    if unknown := [edit for edit in edits if edit not in EDITS]:
        ap.error(f"no such edit: {', '.join(unknown)}")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        ap.error("matplotlib is not installed: pip install 'dedup-photos[bench]'")
    if not a.photos_dir.is_dir():
        ap.error(f"{a.photos_dir}: no such folder")
    if a.truth and a.labels:
        ap.error("--truth and --labels exclude each other")
    a.output.mkdir(parents=True, exist_ok=True)
    if a.labels:
        try:
            labels = labelled.read_labels(a.labels, a.photos_dir)
        except (OSError, ValueError) as error:
            ap.error(str(error))
        album = labelled.album_of(a.photos_dir)
        results, left_out = all_results(album, a.photos_dir, a.output, workers=a.workers)
        text = labelled_report(album, results, left_out, labels)
        (a.output / "accuracy.md").write_text(text, encoding="utf-8")
        print(text, end="")
        return
    truth, root = a.truth, a.photos_dir
    if truth is None:
        made = a.output / "album"
        if made.exists():
            ap.error(f"{made} is there already; remove it, or score it again: {made}/photos --truth {made}/truth.csv")
        make_album(a.photos_dir, made, edits=edits, photos=a.photos, distractors=a.distractors, seed=SEED)
        truth, root = made / "truth.csv", made / "photos"
    album = score.read_truth(truth, root)
    if not score.count_copies(album):
        ap.error(f"{truth}: no photo in two versions")
    results, left_out = all_results(album, root, a.output, workers=a.workers)
    text = report(album, results, left_out, keepers.read_groups(a.output / "groups.csv", album))
    (a.output / "accuracy.md").write_text(text, encoding="utf-8")
    plot(album, results, a.output / "accuracy.png")
    write_errors(album, next(iter(results.values()))[0], a.output / "errors.csv", most=100)
    print(text, end="")


if __name__ == "__main__":
    main()
