"""Truth of an album, ranked pairs -> the figures of the table. Knows nothing of how pairs were ranked.

The universe is every unordered pair of files. A pair that is not in a ranking comes after all that are; at equal scores
the false pairs come first. Strict: two shots of one scene are a false pair. Lenient: they are left out.
"""

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dedup.report.csv_file import value_of
from dedup.training.metrics import average_precision, precision_recall, recall_at

from .edits import ORIGINAL


@dataclass(frozen=True)
class Album:
    """N files with a known truth. Equal photos are versions of one photograph; equal scenes but "", shots of a thing.

    paths: absolute.
    """

    paths: list[str]
    photos: NDArray[np.str_]
    scenes: NDArray[np.str_]
    edits: NDArray[np.str_]


@dataclass(frozen=True)
class Ranking:
    """Pairs of files and how sure a method is of each, as columns; left < right, no pair twice.

    left, right: (P,) int64.   score: (P,), higher is surer.
    """

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    score: NDArray[np.floating]

    def rows(self, rows: NDArray[np.bool_]) -> "Ranking":
        return Ranking(self.left[rows], self.right[rows], self.score[rows])


def read_truth(path: Path, root: Path) -> Album:
    """Return the album that path,photo,scene,edit describes, with paths under root."""
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as f:
        rows = list(csv.DictReader(f))
    photos, scenes, edits = (np.array([row[column] for row in rows]) for column in ("photo", "scene", "edit"))
    return Album([os.path.join(os.path.realpath(root), row["path"]) for row in rows], photos, scenes, edits)


def read_pairs(path: Path, album: Album) -> Ranking:
    """Return the pairs that `dedup export pairs` wrote; pairs of files that the album does not hold are passed over."""
    number = {p: i for i, p in enumerate(album.paths)}
    scores: dict[tuple[int, int], float] = {}
    with path.open(newline="", encoding="utf-8") as f:
        for row in csv.DictReader(f):
            a, b = (number.get(value_of(row[column])) for column in ("path_a", "path_b"))
            if a is not None and b is not None and row["probability"]:
                scores[min(a, b), max(a, b)] = float(row["probability"])
    left, right = np.array(list(scores), np.int64).reshape(-1, 2).T
    return Ranking(left, right, np.array(list(scores.values()), np.float64))


def copies(album: Album, ranking: Ranking) -> NDArray[np.bool_]:
    return album.photos[ranking.left] == album.photos[ranking.right]


def shots(album: Album, ranking: Ranking) -> NDArray[np.bool_]:
    """Return which pairs are two shots of one scene, and no copies."""
    scene = album.scenes[ranking.left]
    return (scene == album.scenes[ranking.right]) & (scene != "") & ~copies(album, ranking)


def lenient(album: Album, ranking: Ranking) -> Ranking:
    return ranking.rows(~shots(album, ranking))


def count_copies(album: Album) -> int:
    sizes = np.unique(album.photos, return_counts=True)[1]
    return int((sizes * (sizes - 1) // 2).sum())


def figures(album: Album, ranking: Ranking) -> dict[str, float]:
    """Return uAP, recall at 90, 99 and 100 % precision, and recall when one in a million false pairs passes."""
    true, wanted = copies(album, ranking), count_copies(album)
    n = len(album.paths)
    found = {"uAP": average_precision(ranking.score, true, positives=wanted)}
    for name, precision in (("R@P90", 0.9), ("R@P99", 0.99), ("R@P100", 1.0)):
        found[name] = recall_at(ranking.score, true, positives=wanted, precision=precision)
    found["R@1e-6"] = recall_at_false(ranking.score, true, wanted, most=1e-6 * (n * (n - 1) // 2 - wanted))
    return found


def recall_at_false(score: NDArray[np.floating], true: NDArray[np.bool_], positives: int, *, most: float) -> float:
    """Return the recall at the lowest threshold that at most so many false pairs pass."""
    precision, recall = precision_recall(score, true, positives=positives)
    false = (1 - precision) * np.arange(1, len(true) + 1)
    good = np.flatnonzero(false <= most + 1e-6)  # a count, but for rounding
    return float(recall[good[-1]]) if len(good) else 0.0


def threshold_at(album: Album, ranking: Ranking, *, precision: float) -> float:
    """Return the lowest threshold that still has this precision; infinity if there is none."""
    true = copies(album, ranking)
    precisions, _ = precision_recall(ranking.score, true, positives=count_copies(album))
    in_order = -np.sort(-ranking.score)
    whole = np.diff(in_order, append=-np.inf) != 0  # a threshold cuts between unequal scores only
    good = np.flatnonzero(whole & (precisions >= precision))
    return float(in_order[good[-1]]) if len(good) else float("inf")


def recall_by_edit(album: Album, ranking: Ranking, *, threshold: float) -> dict[str, float]:
    """Return, for each kind of edit, the share of its pairs with their originals at this threshold or above."""
    passed = ranking.rows(copies(album, ranking) & (ranking.score >= threshold))
    found = dict(zip(*np.unique(_edit_of(album, passed.left, passed.right), return_counts=True), strict=True))
    pairs = all_pairs(len(album.paths))
    there = album.photos[pairs[0]] == album.photos[pairs[1]]
    kinds, counts = np.unique(_edit_of(album, pairs[0][there], pairs[1][there]), return_counts=True)
    return {str(k): found.get(k, 0) / int(n) for k, n in zip(kinds, counts, strict=True) if k}


def _edit_of(album: Album, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.str_]:
    """Return the edit of each pair that has the original on one side, "" of any other."""
    a, b = album.edits[left], album.edits[right]
    one = (a == ORIGINAL) != (b == ORIGINAL)
    return np.where(one, np.where(a == ORIGINAL, b, a), "")


def all_pairs(n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return np.triu_indices(n, k=1)


def at_threshold(album: Album, ranking: Ranking, *, threshold: float) -> dict[str, float]:
    """Return precision and recall at a threshold, and how many shots of a scene and unrelated pairs pass it."""
    passed = ranking.rows(ranking.score >= threshold)
    true, of_scene = copies(album, passed), shots(album, passed)
    return {
        "precision": float(true.mean()) if len(true) else 1.0,
        "recall": float(true.sum() / count_copies(album)),
        "false_similar": int(of_scene.sum()),
        "false_unrelated": int((~true & ~of_scene).sum()),
    }


def unrelated_photos(album: Album) -> NDArray[np.int64]:
    """Return originals of which no two show one photograph or one scene."""
    originals = np.flatnonzero(album.edits == ORIGINAL)
    thing = np.where(album.scenes == "", album.photos, np.char.add("scene ", album.scenes))[originals]
    return originals[np.sort(np.unique(thing, return_index=True)[1])]


def false_among_unrelated(album: Album, ranking: Ranking, *, threshold: float) -> tuple[int, int]:
    """Return how many photos of unrelated things the album has, and how many pairs of them pass the threshold."""
    some = unrelated_photos(album)
    among = np.isin(ranking.left, some) & np.isin(ranking.right, some) & (ranking.score >= threshold)
    return len(some), int(among.sum())


BINS = ((0.0, 0.1), (0.1, 0.5), (0.5, 0.9), (0.9, 0.99), (0.99, 1.0), (0.9, 1.0))  # the last: what is reported


def calibration(album: Album, ranking: Ranking) -> Iterator[tuple[float, float, int, float, float, float]]:
    """Yield, bin by bin: its edges, pairs, mean probability, share of true ones, and that share without shots."""
    true, of_scene = copies(album, ranking), shots(album, ranking)
    for low, high in BINS:
        within = (ranking.score >= low) & ((ranking.score < high) | (high == 1.0))
        if within.any():
            n = int(within.sum())
            apart = true[within & ~of_scene]
            share = float(apart.mean()) if len(apart) else float("nan")
            yield low, high, n, float(ranking.score[within].mean()), float(true[within].mean()), share
