"""Vectors -> Candidates: which photos are near which. The only module that imports faiss.

Candidates are generous: recall is the index's job, precision the head's.
"""

from __future__ import annotations

import faiss
import numpy as np

from dedup.types import Candidates, Floats, Indices, Neighbours, Vectors

EXACT_LIMIT = 200_000  # photos; exact search of so many takes about as long as decoding 4,000 of them
_BLOCK = 4096  # queries at once
_PROBES = 32  # cells looked into, of about 4 * sqrt(N)
_SAMPLE = 1000  # photos that the recall is measured on
_TIES = 9  # neighbours beyond the k-th: the photo itself, and some as near as that one
_PRODUCTS = 1 << 25  # cosines at once
_SLIGHTLY = 1e-5  # by how much a cosine may depend on how it was computed


def nearest_pairs(
    vectors: Vectors,
    *,
    k: int,
    min_similarity: float,
    exact_limit: int = EXACT_LIMIT,
    queries: Indices | None = None,
) -> tuple[Candidates, float]:
    """Return each photo's k nearest neighbours as pairs, and the recall of the search: see neighbours(), pairs_of()."""
    near, recall = neighbours(vectors, k=k, min_similarity=min_similarity, exact_limit=exact_limit, queries=queries)
    return pairs_of(near, vectors, queries=queries), recall


def neighbours(
    vectors: Vectors,
    *,
    k: int,
    min_similarity: float,
    exact_limit: int = EXACT_LIMIT,
    queries: Indices | None = None,
) -> tuple[Neighbours, float]:
    """Return (Q, k), each photo's k nearest of at least min_similarity, and the recall of the search.

    Exact up to `exact_limit` photos, recall 1; an inverted-file index above, whose recall is measured against exact
    search on evenly spaced photos. Equally near ones are in the order of their numbers.
    vectors: (N, D), unit norm. queries: (Q,), the photos whose neighbours are wanted, if not all. Raises ValueError if
    k < 1.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    N = len(vectors)
    exact = exact_limit >= N
    asked = np.arange(N) if queries is None else queries
    index = _flat(vectors) if exact else _inverted(vectors)
    near = _found_by(index, vectors, asked, k=k, min_similarity=min_similarity)
    del index
    return near, 1.0 if exact else _recall(vectors, near, asked, k=k, min_similarity=min_similarity)


def grown(vectors: Vectors, near: Neighbours, fresh: Indices, *, k: int, min_similarity: float) -> Neighbours:
    """Return (N, k), what neighbours() would by exact search, given the lists (N, k) of all photos but the fresh ones.

    Only the fresh photos are compared with the others; each may come into the list of any of them.
    """
    N = len(vectors)
    near = near.copy()
    near[fresh] = _found_by(_flat(vectors), vectors, fresh, k=k, min_similarity=min_similarity)
    last = near[:, k - 1].astype(np.int64)
    full = np.flatnonzero(last >= 0)
    least = np.full(N, min_similarity, np.float32)  # what it takes to come into a list
    least[full] = cosines(vectors, full, last[full])
    least[fresh] = 2  # these are complete
    block, found = max(1, _PRODUCTS // max(N, 1)), [np.empty((2, 0), np.int64)]
    for start in range(0, len(fresh), block):
        some = fresh[start : start + block]
        new, old = np.nonzero(vectors[some] @ vectors.T >= least - _SLIGHTLY)  # (B, D) @ (D, N)
        found.append(np.stack([old, some[new]]))
    rows, others = np.concatenate(found, axis=1)
    touched = np.unique(rows)
    before = near[touched]
    kept = before >= 0
    rows = np.concatenate([rows, np.repeat(touched, kept.sum(1))])
    others = np.concatenate([others, before[kept]])
    near[touched] = _ranked(vectors, rows, others, touched, k=k, min_similarity=min_similarity)
    return near


def pairs_of(near: Neighbours, vectors: Vectors, *, queries: Indices | None = None) -> Candidates:
    """Return the photos (N or Q) and their neighbours (Q, k) as pairs, each once, in the order of (left, right)."""
    left = pair_keys(near, len(vectors), queries=queries)
    right = left % max(len(vectors), 1)
    left //= max(len(vectors), 1)  # in place: a million photos have 36 million pairs
    return Candidates(left, right, cosines(vectors, left, right))


def pair_keys(near: Neighbours, photos: int, *, queries: Indices | None = None) -> Indices:
    """Return Candidates.keys() of pairs_of(), in ascending order."""
    asked = np.arange(len(near)) if queries is None else queries
    ends = np.concatenate([[0], (near >= 0).sum(1).cumsum()])
    keys: Indices = np.empty(ends[-1], np.int64)
    for start in range(0, len(near), _BLOCK):  # 300 MB at a million photos, and only once
        some = near[start : start + _BLOCK]
        there = some >= 0
        query, other = np.repeat(asked[start : start + _BLOCK], there.sum(1)), some[there].astype(np.int64)
        keys[ends[start] : ends[start + len(some)]] = np.minimum(query, other) * photos + np.maximum(query, other)
    keys.sort()  # in place
    return keys[np.concatenate([[True], keys[1:] != keys[:-1]])] if len(keys) else keys


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


def _found_by(index: faiss.Index, vectors: Vectors, queries: Indices, *, k: int, min_similarity: float) -> Neighbours:
    """Return (Q, k), what the index finds near some photos."""
    near = np.empty((len(queries), k), np.int32)
    for start in range(0, len(queries), _BLOCK):
        block = queries[start : start + _BLOCK]
        _, found = index.search(
            vectors[block], min(k + _TIES, len(vectors))
        )  # (B, k + _TIES); -1 where there are fewer
        there = found >= 0
        rows, others = np.repeat(block, there.sum(1)), found[there]
        near[start : start + len(block)] = _ranked(vectors, rows, others, block, k=k, min_similarity=min_similarity)
    return near


def _ranked(
    vectors: Vectors, rows: Indices, others: Indices, wanted: Indices, *, k: int, min_similarity: float
) -> Neighbours:
    """Return (Q, k), for each of the wanted photos the nearest of its others but itself; -1 where there are fewer.

    rows, others: (M,), which photo may have which neighbour.
    """
    similarity = cosines(vectors, rows, others)
    near = (similarity >= min_similarity) & (rows != others)
    rows, others, similarity = rows[near], others[near], similarity[near]
    order = np.lexsort((others, -similarity, rows))
    rows, others = rows[order], others[order]
    rank = np.arange(len(rows)) - np.searchsorted(rows, rows)
    first = rank < k
    place = np.full(len(vectors), -1)
    place[wanted] = np.arange(len(wanted))
    out = np.full((len(wanted), k), -1, np.int32)
    out[place[rows[first]], rank[first]] = others[first]
    return out


def _recall(vectors: Vectors, near: Neighbours, asked: Indices, *, k: int, min_similarity: float) -> float:
    """Return the share of true pairs, at least min_similarity near, of evenly spaced photos that were found."""
    sample = asked[:: max(1, len(asked) // _SAMPLE)]
    N = len(vectors)
    true = pair_keys(_found_by(_flat(vectors), vectors, sample, k=k, min_similarity=min_similarity), N, queries=sample)
    found = pair_keys(near, N, queries=asked)
    at = np.searchsorted(found, true).clip(max=max(len(found) - 1, 0))
    return float((found[at] == true).mean()) if len(true) and len(found) else float(not len(true))
