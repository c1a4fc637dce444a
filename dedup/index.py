"""Vectors -> Candidates: which photos are near which. The only module that imports faiss.

Candidates are generous: recall is the index's job, precision the head's.
"""

from __future__ import annotations

from collections.abc import Iterator

import faiss
import numpy as np

from dedup.types import Candidates, Floats, Indices, Vectors

EXACT_LIMIT = 200_000  # photos; exact search of so many takes about as long as decoding 4,000 of them
_BLOCK = 4096  # queries at once
_PROBES = 32  # cells looked into, of about 4 * sqrt(N)
_SAMPLE = 1000  # photos that the recall is measured on


def nearest_pairs(
    vectors: Vectors,
    *,
    k: int,
    min_similarity: float,
    exact_limit: int = EXACT_LIMIT,
    queries: Indices | None = None,
) -> tuple[Candidates, float]:
    """Return each photo's k nearest neighbours as pairs, and the recall of the search.

    Each pair once, left < right, in the order of (left, right). Exact up to `exact_limit` photos, recall 1; an
    inverted-file index above, whose recall is measured against exact search on evenly spaced photos.
    vectors: (N, D), unit norm. queries: the photos whose neighbours are wanted, if not all. Raises ValueError if k < 1.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    N = len(vectors)
    exact = exact_limit >= N
    asked = np.arange(N) if queries is None else queries
    index = _flat(vectors) if exact else _inverted(vectors)
    parts = [np.empty(0, np.int64)]
    for near, far in _neighbours(index, vectors, asked, k=k):
        sure = cosines(vectors, near, far) >= min_similarity
        near, far = near[sure], far[sure]
        parts.append(np.minimum(near, far) * N + np.maximum(near, far))
    del index
    pairs = np.concatenate(parts)
    parts.clear()
    pairs.sort()  # in place; and so in the order of (left, right)
    pairs = pairs[np.concatenate([[True], pairs[1:] != pairs[:-1]])] if len(pairs) else pairs
    recall = 1.0 if exact else _recall(vectors, pairs, k=k, min_similarity=min_similarity)
    left, right = np.divmod(pairs, max(N, 1))
    return Candidates(left, right, cosines(vectors, left, right)), recall


def nearest(vectors: Vectors, queries: Vectors, *, k: int) -> tuple[Indices, Indices]:
    """Return (query, photo) columns: the k photos nearest to each query (M, D), by exact search."""
    _, found = _flat(vectors).search(queries, min(k, len(vectors)))
    return np.repeat(np.arange(len(queries)), found.shape[1]), found.ravel()


def cells(sample: Vectors, *, count: int) -> Vectors:
    """Return (count, D), the centres of so many cells that vectors like these (M, D) fall into evenly."""
    quantiser = faiss.Kmeans(sample.shape[1], count, spherical=True, seed=1, min_points_per_centroid=1)
    quantiser.train(sample)
    centres: Vectors | None = quantiser.centroids
    assert centres is not None
    return centres


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


def _neighbours(index: faiss.Index, vectors: Vectors, queries: Indices, *, k: int) -> Iterator[tuple[Indices, Indices]]:
    """Yield (query, neighbour) columns of some queries at a time, a photo's own row left out."""
    for start in range(0, len(queries), _BLOCK):
        block = queries[start : start + _BLOCK]
        _, found = index.search(vectors[block], min(k + 1, len(vectors)))  # (B, k + 1); -1 where there are fewer
        other = (found >= 0) & (found != block[:, None])
        other &= other.cumsum(1) <= k  # among many equals a photo may not find itself
        yield np.repeat(block, other.sum(1)), found[other]


def _recall(vectors: Vectors, pairs: Indices, *, k: int, min_similarity: float) -> float:
    """Return the share of true neighbours, at least min_similarity near, of evenly spaced photos that were found.

    pairs: left * N + right, in ascending order.
    """
    N = len(vectors)
    found = true = 0
    for near, far in _neighbours(_flat(vectors), vectors, np.arange(0, N, max(1, N // _SAMPLE)), k=k):
        sure = cosines(vectors, near, far) >= min_similarity
        wanted = (np.minimum(near, far) * N + np.maximum(near, far))[sure]
        at = np.searchsorted(pairs, wanted).clip(max=max(len(pairs) - 1, 0))
        true += len(wanted)
        found += int((pairs[at] == wanted).sum()) if len(pairs) else 0
    return found / true if true else 1.0
