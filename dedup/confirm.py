"""Verdicts -> Verdicts: a second look at the files themselves, for what the descriptors cannot tell.

Today that is one question: do two files decode to the very same pixels? Then only metadata or container differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dedup.types import Indices, Photo, Relation, Verdicts

_NEARLY_EQUAL = 0.98  # cosine; equal pixels decoded at two scales are nearer than this


def perhaps_identical(photos: Sequence[Photo], verdicts: Verdicts) -> Indices:
    """Return the photos whose pixels must be known: of the same shape as another that looks the same."""
    rows = _suspect_rows(photos, verdicts)
    return np.unique(np.concatenate([verdicts.left[rows], verdicts.right[rows]]))


def confirm(photos: Sequence[Photo], verdicts: Verdicts, pixels: dict[int, bytes | None]) -> Verdicts:
    """Return the verdicts, those on photos of equal pixels made IDENTICAL, with certainty.

    pixels: SHA-256 of the decoded pixels of the photos that perhaps_identical() names; None where it cannot be had.
    """
    rows = _suspect_rows(photos, verdicts)
    same = [
        row
        for row, a, b in zip(rows.tolist(), verdicts.left[rows].tolist(), verdicts.right[rows].tolist(), strict=True)
        if pixels[a] is not None and pixels[a] == pixels[b]
    ]
    relation, copy, similar = verdicts.relation.copy(), verdicts.copy.copy(), verdicts.similar.copy()
    relation[same], copy[same], similar[same] = Relation.IDENTICAL, 1.0, 0.0
    return replace(verdicts, relation=relation, copy=copy, similar=similar)


def _suspect_rows(photos: Sequence[Photo], verdicts: Verdicts) -> Indices:
    shapes = np.array([(p.width, p.height) for p in photos], np.int64).reshape(-1, 2)
    same_shape = (shapes[verdicts.left] == shapes[verdicts.right]).all(1)
    return np.flatnonzero(same_shape & (verdicts.similarity >= _NEARLY_EQUAL))
