"""Pairs of a report -> what their verdicts rest on, by what the store keeps and by one more look at the files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from dedup.geometry.edits import describe_edits
from dedup.models import pair_head, residual_head
from dedup.models.weights import QUICK, Weights
from dedup.pipeline.match import maps_of
from dedup.pipeline.pairs import Pair, Seen, read_seen
from dedup.pipeline.results import file_of
from dedup.store.store import Store
from dedup.types.arrays import Indices
from dedup.types.pairs import Candidates, Comparison, PhotoPair, Relation
from dedup.types.report import Report
from dedup.workers import Failure, run


def explained(
    couples: Sequence[PhotoPair], report: Report, store: Store, weights: Weights, *, workers: int
) -> Iterator[Comparison | str]:
    """Yield, for each pair and in their order, what its verdict rests on, or why that cannot be had any more."""
    pairs = (to_read(report, couple, n) for n, couple in enumerate(couples))
    answers, early = run(read_seen, pairs, workers=workers), dict[int, Seen | str | Failure]()
    for n, couple in enumerate(couples):
        while n not in early:
            pair, answer = next(answers)
            early[pair.number] = answer
        yield told(couple, early.pop(n), report, store, weights)


def to_read(report: Report, couple: PhotoPair, number: int = 0) -> Pair:
    """Return the pair as a worker is to read it: the smaller SHA-256 to the left, as a scan looks at it."""
    first, second = (file_of(report.photos.photos[i]) for i in sorted(couple))
    verified = report.verified
    return Pair(number, first, second, tuple(verified.transform[_rows(verified, couple)]))


def told(
    couple: PhotoPair, seen: Seen | str | Failure, report: Report, store: Store, weights: Weights
) -> Comparison | str:
    """Return what the verdict on a pair rests on. seen: what read_seen() said of its files."""
    if not isinstance(seen, Seen):
        return seen.reason if isinstance(seen, Failure) else seen
    if report.run.weights.removesuffix(QUICK) != weights.name:
        return "the scan was made by another version of dedup; scan again"
    verdicts, rows = report.verdicts, _rows(report.verdicts, couple)
    if not len(rows):
        return "the two were not compared"
    maps = maps_of(store, report.photos.ids[list(couple)])
    canvas, row, verified = seen.canvas, int(rows[0]), report.verified
    return Comparison(
        relation=Relation(int(verdicts.relation[row])),
        probability=float(verdicts.copy[row]),
        similarity=float(verdicts.similarity[row]),
        change=describe_edits(report.photos.photos, verified.rows(_rows(verified, couple)))(*couple),
        images=[*seen.images][:: -1 if couple[0] > couple[1] else 1],
        maps=maps,
        seen=pair_head.explain(weights.head, maps[0], maps[1]),
        canvas=(canvas.first, canvas.second) if canvas else None,
        residual=residual_head.explain(weights.residual_head, canvas) if canvas else None,
    )


def _rows(pairs: Candidates, couple: PhotoPair) -> Indices:
    """Return the row of a pair; nothing if it is not among them."""
    left, right = sorted(couple)
    return np.flatnonzero((pairs.left == left) & (pairs.right == right))
