"""Pairs of a report -> what their verdicts rest on, from the store and by reading both files once more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from dedup.geometry.canvas import Canvas
from dedup.geometry.edits import describe_edits
from dedup.models import pair_head, residual_head
from dedup.models.weights import QUICK, Weights
from dedup.pipeline.match import maps_of
from dedup.pipeline.pairs import Pair, PairImages, read_images
from dedup.store.store import Store
from dedup.types.arrays import Indices, Maps
from dedup.types.message import Message
from dedup.types.pairs import Candidates, Comparison, PhotoPair, Relation
from dedup.types.report import Report
from dedup.workers import Failure, run


def explain_pairs(
    pairs: Sequence[PhotoPair], report: Report, store: Store, weights: Weights, *, workers: int
) -> Iterator[Comparison | str]:
    """Yield, for each pair and in their order, what its verdict rests on, or why that is no longer known."""
    tasks = (to_read(report, pair, n) for n, pair in enumerate(pairs))
    answers, early = run(read_images, tasks, workers=workers), dict[int, PairImages | str | Failure]()
    for n, pair in enumerate(pairs):
        while n not in early:
            task, answer = next(answers)
            early[task.number] = answer
        yield explain_pair(pair, early.pop(n), report, store, weights)


def to_read(report: Report, pair: PhotoPair, number: int = 0) -> Pair:
    """Return the task for read_images(): the photo with the smaller SHA-256 is the left one, as in verification."""
    left, right = (report.photos.photos[i] for i in sorted(pair))
    verified = report.verified
    return Pair(number, left.source, right.source, tuple(verified.transform[_rows(verified, pair)]))


def explain_pair(
    pair: PhotoPair, images: PairImages | str | Failure, report: Report, store: Store, weights: Weights
) -> Comparison | str:
    """Return what the verdict on a pair rests on, or why that is no longer known. images: from read_images()."""
    if not isinstance(images, PairImages):
        return images.reason if isinstance(images, Failure) else images
    if report.run.weights_name.removesuffix(QUICK) != weights.name:
        return Message("the scan was made by another version of dedup; scan again")
    verdicts, rows = report.verdicts, _rows(report.verdicts, pair)
    if not len(rows):
        return Message("the two were not compared")
    row, verified = int(rows[0]), report.verified
    return comparison(
        Relation(int(verdicts.relation[row])),
        float(verdicts.copy[row]),
        float(verdicts.similarity[row]),
        describe_edits(report.photos.photos, verified.rows(_rows(verified, pair)))(*pair),
        images=[*images.images][:: -1 if pair[0] > pair[1] else 1],
        maps=maps_of(store, report.photos.ids)(np.array(pair)),
        canvas=images.canvas,
        weights=weights,
    )


def comparison(
    relation: Relation,
    probability: float,
    similarity: float,
    change: str,
    *,
    images: list[NDArray[np.uint8]],
    maps: Maps,
    canvas: Canvas | None,
    weights: Weights,
) -> Comparison:
    """Return a verdict with the explanations of both heads. maps: (2, S, C). See Comparison for the others."""
    return Comparison(
        relation,
        probability,
        similarity,
        change,
        images=images,
        maps=maps,
        seen=pair_head.explain(weights.head, maps[0], maps[1]),
        canvas=(canvas.first, canvas.second) if canvas else None,
        residual=residual_head.explain(weights.residual_head, canvas) if canvas else None,
    )


def _rows(pairs: Candidates, pair: PhotoPair) -> Indices:
    """Return the row of a pair (1,); (0,) if it is not among them."""
    left, right = sorted(pair)
    return np.flatnonzero((pairs.left == left) & (pairs.right == right))
