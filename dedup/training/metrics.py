"""Scores and labels of pairs -> the figures that methods are compared by."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def precision_recall(
    scores: NDArray[np.float32], true: NDArray[np.bool_], *, positives: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return precision and recall after each pair, the surest first; at equal scores the false ones come first.

    positives: how many true pairs there are, those that are not in the list among them.
    """
    order = np.lexsort((true, -scores))
    hits = np.cumsum(true[order])
    return hits / np.arange(1, len(order) + 1), hits / positives


def average_precision(scores: NDArray[np.float32], true: NDArray[np.bool_], *, positives: int) -> float:
    """Return the micro average precision, uAP."""
    precision, _ = precision_recall(scores, true, positives=positives)
    order = np.lexsort((true, -scores))
    return float((precision * true[order]).sum() / positives)


def recall_at(scores: NDArray[np.float32], true: NDArray[np.bool_], *, positives: int, precision: float) -> float:
    """Return the recall at the lowest threshold that still has this precision."""
    precisions, recalls = precision_recall(scores, true, positives=positives)
    good = np.flatnonzero(precisions >= precision)
    return float(recalls[good[-1]]) if len(good) else 0.0
