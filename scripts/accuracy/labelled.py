"""Labels of pairs of real photos, ranked pairs -> how many are wrong. Knows nothing of how pairs were ranked.

Real photos have hardly any copies, and nobody has labelled all pairs: those that some method reported were looked at,
and a pair that is not listed counts as wrong.
"""

import csv
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .score import Album, Ranking

COPY, OVERLAP, UNLISTED = "copy", "overlap", "not listed"
SAME = (COPY, OVERLAP)  # both show one photograph: a copy, or two crops of one larger photograph
THRESHOLDS = (0.5, 0.9, 0.99)
BINS = ((0.5, 0.9), (0.9, 0.99), (0.99, 1.0), (0.9, 1.0))

Labels = Mapping[tuple[str, str], str]  # absolute paths, in order -> what the pair is


def album_of(root: Path) -> Album:
    """Return the files below a folder, each a photo of its own."""
    paths = [str(p) for p in sorted(root.resolve().rglob("*")) if p.is_file()]
    own = np.array([str(n) for n in range(len(paths))])
    return Album(paths, own, np.full(len(paths), ""), np.full(len(paths), "original"))


def read_labels(path: Path, root: Path) -> Labels:
    """Return the labels that a,b,label describes, with paths under root. Raises ValueError for a file without them."""
    with path.open(newline="", encoding="utf-8") as f:
        rows = csv.DictReader(f)
        if not {"a", "b", "label"}.issubset(rows.fieldnames or ()):
            raise ValueError(f"{path}: has no columns a, b and label")
        return {_ordered(*(str(root.resolve() / row[end]) for end in ("a", "b"))): row["label"] for row in rows}


def _ordered(one: str, other: str) -> tuple[str, str]:
    return (one, other) if one < other else (other, one)


def label_of(album: Album, ranking: Ranking, labels: Labels) -> list[str]:
    """Return the label of each pair."""
    ends = zip(ranking.left.tolist(), ranking.right.tolist(), strict=True)
    return [labels.get(_ordered(album.paths[i], album.paths[j]), UNLISTED) for i, j in ends]


def found_by_label(album: Album, ranking: Ranking, labels: Labels, *, threshold: float) -> dict[str, int]:
    """Return how many pairs of each label have this score or more, in the order of `kinds_of`."""
    passed = ranking.rows(ranking.score >= threshold)
    counts = Counter(label_of(album, passed, labels))
    return {kind: counts[kind] for kind in kinds_of(labels)}


def kinds_of(labels: Labels) -> list[str]:
    """Return the labels: those of one photograph, the others, UNLISTED."""
    others = sorted(set(labels.values()) - {*SAME, UNLISTED})
    return [*SAME, *others, UNLISTED]


def wrong_of_10000(album: Album, found: Mapping[str, int]) -> float:
    """Return how many pairs do not show one photograph, for 10,000 photos. Each photo has so many that look like it."""
    wrong = sum(n for kind, n in found.items() if kind not in SAME)
    return wrong * 10_000 / len(album.paths)


def reliability(album: Album, ranking: Ranking, labels: Labels) -> list[tuple[float, float, int, float, float]]:
    """Return, bin by bin: its edges, pairs, mean probability, and the share that shows one photograph."""
    same = np.isin(label_of(album, ranking, labels), SAME)
    found = []
    for low, high in BINS:
        within = (ranking.score >= low) & ((ranking.score < high) | (high == 1.0))
        if within.any():
            found.append(
                (low, high, int(within.sum()), float(ranking.score[within].mean()), float(same[within].mean()))
            )
    return found
