"""Vectors -> Candidates: which photos are near which. The only module that imports faiss.

Candidates are generous: recall is the index's job, precision the head's.
"""

from __future__ import annotations

import faiss
import numpy as np

from dedup.types import Candidates, Floats, Indices, Vectors

EXACT_LIMIT = 200_000  # photos; exact search of so many takes about as long as decoding 4,000 of them
_BLOCK = 4096  # queries at once
_PROBES = 16  # cells looked into, of about 4 * sqrt(N)
_SAMPLE = 1000  # photos that the recall is measured on


def nearest_pairs(
    vectors: Vectors, *, k: int, min_similarity: float, exact_limit: int = EXACT_LIMIT
) -> tuple[Candidates, float]:
    """Return each photo's k nearest neighbours as pairs, and the recall of the search.

    Each pair once, left < right, in the order of (left, right). Exact up to `exact_limit` photos, recall 1; an
    inverted-file index above, whose recall is measured against exact search on evenly spaced photos.
    vectors: (N, D), unit norm. Raises ValueError if k < 1.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    N = len(vectors)
    exact = exact_limit >= N
    near, far = _neighbours(_flat(vectors) if exact else _inverted(vectors), vectors, np.arange(N), k=k)
    recall = 1.0 if exact else _recall(vectors, near, far, k=k, min_similarity=min_similarity)
    left, right = np.minimum(near, far), np.maximum(near, far)
    pairs = np.unique(left * N + right)  # also puts them in order
    left, right = np.divmod(pairs, max(N, 1))
    similarity = cosines(vectors, left, right)
    sure = similarity >= min_similarity
    return Candidates(left[sure], right[sure], similarity[sure]), recall


def nearest(vectors: Vectors, queries: Vectors, *, k: int) -> tuple[Indices, Indices]:
    """Return (query, photo) columns: the k photos nearest to each query (M, D), by exact search."""
    _, found = _flat(vectors).search(queries, min(k, len(vectors)))
    return np.repeat(np.arange(len(queries)), found.shape[1]), found.ravel()


def cosines(vectors: Vectors, left: Indices, right: Indices) -> Floats:
    """Return (P,) float32, the cosine of each pair; the same whatever search proposed it."""
    similarity = np.empty(len(left), np.float32)
    for start in range(0, len(left), 1 << 18):
        part = slice(start, start + (1 << 18))
        similarity[part] = np.einsum("pd,pd->p", vectors[left[part]], vectors[right[part]])
    return similarity.clip(-1, 1)  # rounding may go beyond


def _flat(vectors: Vectors) -> faiss.Index:
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return index


def _inverted(vectors: Vectors) -> faiss.Index:
    """Return cells of one byte a component, trained on evenly spaced photos."""
    N, D = vectors.shape
    cells = int(4 * np.sqrt(N))
    index = faiss.index_factory(D, f"IVF{cells},SQ8", faiss.METRIC_INNER_PRODUCT)
    index.train(vectors[:: max(1, N // (50 * cells))])
    index.add(vectors)
    faiss.ParameterSpace().set_index_parameter(index, "nprobe", _PROBES)
    return index


def _neighbours(index: faiss.Index, vectors: Vectors, queries: Indices, *, k: int) -> tuple[Indices, Indices]:
    """Return (query, neighbour) columns, a photo's own row left out."""
    nears, fars = [], []
    for start in range(0, len(queries), _BLOCK):
        block = queries[start : start + _BLOCK]
        _, found = index.search(vectors[block], min(k + 1, len(vectors)))  # (B, k + 1); -1 where there are fewer
        other = (found >= 0) & (found != block[:, None])
        other &= other.cumsum(1) <= k  # among many equals a photo may not find itself
        nears.append(np.repeat(block, other.sum(1)))
        fars.append(found[other])
    if not nears:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    return np.concatenate(nears), np.concatenate(fars)


def _recall(vectors: Vectors, near: Indices, far: Indices, *, k: int, min_similarity: float) -> float:
    """Return the share of true neighbours, at least min_similarity near, of evenly spaced photos that were found."""
    N = len(vectors)
    sample = np.arange(0, N, max(1, N // _SAMPLE))
    a, b = _neighbours(_flat(vectors), vectors, sample, k=k)
    true = cosines(vectors, a, b) >= min_similarity
    found = np.isin(a[true] * N + b[true], near * N + far)
    return float(found.mean()) if len(found) else 1.0
