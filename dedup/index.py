"""Vectors -> Candidates: the nearest neighbours of each photo. The only module that imports faiss.

The index favours recall; precision is the work of the stages that follow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray

from dedup.types.arrays import Floats, Indices, Neighbours, Vectors
from dedup.types.pairs import NOTHING_FOUND, Candidates

EXACT_LIMIT = 200_000  # photos up to which search is exact; it takes about as long as decoding 4,000 photos
_BLOCK = 4096  # queries searched at once
PAIRED = 128  # photos whose neighbours become pairs at once
_PAIRS = 1 << 17  # pairs looked up in neighbour lists at once
_PROBES = 32  # cells searched, of about 4 * sqrt(N)
_SAMPLE = 1000  # photos on which recall is measured
_TIES = 9  # neighbours beyond the k-th: the photo itself, and ties with the k-th
_PRODUCTS = 1 << 25  # cosines of new photos with all others computed at once
_COSINES = 1 << 12  # pairs whose cosines are computed at once: their vectors fit into the cache of a core
_WIDE = 1 << 16  # vectors held in single precision at once
_ROUNDING = 1e-5  # difference of a cosine between two ways of computing it, at most


@dataclass(frozen=True)
class HalfVectors:
    """Vectors of unit norm held in half precision, as they are stored, to halve the memory.

    Rows, taken by a slice or by numbers, are float32 and bit for bit those of encoder.unit().
    values: (N, D) float16.   norms: (N,) float32, of the values.
    """

    values: NDArray[np.float16]
    norms: Floats

    @classmethod
    def of(cls, values: NDArray[np.float16]) -> HalfVectors:
        norms = np.empty(len(values), np.float32)
        for start in range(0, len(values), _WIDE):
            part = slice(start, start + _WIDE)
            norms[part] = np.linalg.norm(values[part].astype(np.float32), axis=1)
        return cls(values, norms)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: slice | Indices) -> Vectors:
        wide: Vectors = self.values[rows].astype(np.float32)
        wide /= self.norms[rows, None]
        return wide

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape


VectorSource = Vectors | HalfVectors
_Search = Callable[[Vectors, int], Indices]  # queries (M, D), k -> photos (M, k); -1 where there are fewer


def nearest_pairs(
    vectors: VectorSource,
    *,
    k: int,
    min_similarity: float,
    exact_limit: int = EXACT_LIMIT,
    queries: Indices | None = None,
) -> tuple[Candidates, float]:
    """Return each photo's k nearest neighbours as pairs in the order of (left, right), and the recall of the search.

    See neighbours() and pairs_of().
    """
    near, recall = neighbours(vectors, k=k, min_similarity=min_similarity, exact_limit=exact_limit, queries=queries)
    pairs = NOTHING_FOUND.followed_by(*pairs_of(near, vectors, queries=queries))
    return pairs.rows(np.argsort(pairs.keys(len(vectors)))), recall


def neighbours(
    vectors: VectorSource,
    *,
    k: int,
    min_similarity: float,
    exact_limit: int = EXACT_LIMIT,
    queries: Indices | None = None,
) -> tuple[Neighbours, float]:
    """Return (Q, k), each photo's k nearest of at least min_similarity, and the recall of the search.

    Search is exact, with a recall of 1, up to `exact_limit` photos. Above that it uses an inverted file (Jegou et al.
    2011), whose recall is measured against exact search on evenly spaced photos. Ties are in order of number.
    vectors: (N, D), unit norm.   queries: (Q,), the photos whose neighbours are wanted; None for all.
    Raises ValueError if k < 1.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    N = len(vectors)
    exact = exact_limit >= N
    asked = np.arange(N) if queries is None else queries
    search = _exact(vectors) if exact else _inverted(vectors)
    near = _found_by(search, vectors, asked, k=k, min_similarity=min_similarity)
    del search
    return near, 1.0 if exact else _recall(vectors, near, asked, k=k, min_similarity=min_similarity)


def add_to_neighbours(
    vectors: VectorSource, near: Neighbours, fresh: Indices, *, k: int, min_similarity: float
) -> Neighbours:
    """Return (N, k), what neighbours() returns by exact search, given the lists (N, k) of all photos but fresh ones.

    Only fresh photos are compared with the others; each of them may enter any list.
    """
    N = len(vectors)
    near = near.copy()
    near[fresh] = _found_by(_exact(vectors), vectors, fresh, k=k, min_similarity=min_similarity)
    last = near[:, k - 1].astype(np.int64)
    full = np.flatnonzero(last >= 0)
    least = np.full(N, min_similarity, np.float32)  # the cosine needed to enter a list
    least[full] = cosines(vectors, full, last[full])
    least[fresh] = 2  # more than any cosine: these lists are complete
    found = [np.empty((2, 0), np.int64)]
    for first in range(0, N, _WIDE):
        some_of_all = vectors[first : first + _WIDE]
        for start in range(0, len(fresh), _PRODUCTS // _WIDE):
            some = fresh[start : start + _PRODUCTS // _WIDE]
            new, old = np.nonzero(vectors[some] @ some_of_all.T >= least[first : first + _WIDE] - _ROUNDING)  # (B, N')
            found.append(np.stack([first + old, some[new]]))
    rows, others = np.concatenate(found, axis=1)
    touched = np.unique(rows)
    before = near[touched]
    kept = before >= 0
    rows = np.concatenate([rows, np.repeat(touched, kept.sum(1))])
    others = np.concatenate([others, before[kept]])
    near[touched] = _ranked(vectors, rows, others, touched, k=k, min_similarity=min_similarity)
    return near


def pairs_of(near: Neighbours, vectors: VectorSource, *, queries: Indices | None = None) -> Iterator[Candidates]:
    """Yield the pairs of photos and their neighbours (Q, k), each pair once, those of PAIRED photos at a time.

    Photos that are near each other come together, because they share neighbours, so that a batch of pairs touches fewer
    photos. Pairs are yielded in parts because a million photos have 36 million of them, 700 MB.
    """
    asked, row_of = _rows_of(near, len(vectors), queries)
    order = _similar_together(vectors, asked)
    for start in range(0, len(near), PAIRED):
        rows = order[start : start + PAIRED]
        some = near[rows]
        there = some >= 0
        query, other = np.repeat(asked[rows], there.sum(1)), some[there].astype(np.int64)
        once = (query < other) | ~_in_list(near, row_of[other], query)  # if both list each other, only one yields it
        query, other = query[once], other[once]
        left, right = np.minimum(query, other), np.maximum(query, other)
        yield Candidates(left, right, cosines(vectors, left, right))


def _similar_together(vectors: VectorSource, photos: Indices) -> Indices:
    """Return the rows of photos (Q,) ordered by the nearest of sqrt(Q) of them, so that similar photos are adjacent."""
    few = vectors[photos[:: max(1, int(np.sqrt(len(photos))))]]
    cell = np.empty(len(photos), np.int64)
    for start in range(0, len(photos), _BLOCK):
        cell[start : start + _BLOCK] = _exact(few)(vectors[photos[start : start + _BLOCK]], 1)[:, 0]
    return np.argsort(cell, kind="stable")


def listed(near: Neighbours, left: Indices, right: Indices, *, row_of: Indices | None = None) -> NDArray[np.bool_]:
    """Return whether either photo of each pair (P,) lists the other. near: (Q, k).

    row_of: (N,), the row of each photo's list, -1 where it has none; None if row i is the list of photo i.
    """
    first, second = (left, right) if row_of is None else (row_of[left], row_of[right])
    return _in_list(near, first, right) | _in_list(near, second, left)


def _in_list(near: Neighbours, rows: Indices, others: Indices) -> NDArray[np.bool_]:
    """Return (P,), whether each row of `near` holds the other photo; False for a row of -1."""
    found = np.empty(len(rows), bool)
    for start in range(0, len(rows), _PAIRS):
        part = slice(start, start + _PAIRS)
        found[part] = (near[rows[part]] == others[part, None]).any(1) & (rows[part] >= 0)
    return found


def _rows_of(near: Neighbours, photos: int, queries: Indices | None) -> tuple[Indices, Indices]:
    """Return the photos (Q,) whose lists these are, and the row (N,) of each photo's list, -1 where there is none."""
    asked = np.arange(len(near)) if queries is None else queries
    row_of = np.full(photos, -1)
    row_of[asked] = np.arange(len(asked))
    return asked, row_of


def nearest(vectors: VectorSource, queries: Vectors, *, k: int) -> tuple[Indices, Indices]:
    """Return (query, photo) columns: the k photos nearest to each query (M, D), by exact search."""
    found = _exact(vectors)(queries, min(k, len(vectors)))
    return np.repeat(np.arange(len(queries)), found.shape[1]), found.ravel()


def cells(sample: Vectors, *, count: int) -> Vectors:
    """Return (count, D), the k-means centres of vectors (M, D)."""
    quantiser = faiss.Kmeans(sample.shape[1], count, spherical=True, seed=1, min_points_per_centroid=1)
    quantiser.train(sample)
    centres: Vectors | None = quantiser.centroids
    assert centres is not None
    return centres


def cosines(vectors: VectorSource, left: Indices, right: Indices) -> Floats:
    """Return (P,) float32, the cosine of each pair; it does not depend on the search that proposed the pair."""
    similarity = np.empty(len(left), np.float32)
    for start in range(0, len(left), _COSINES):
        part = slice(start, start + _COSINES)
        photos, ends = np.unique(np.stack([left[part], right[part]]), return_inverse=True)
        wide, (a, b) = vectors[photos], ends.reshape(2, -1)  # each photo is in several pairs but widened once
        similarity[part] = np.einsum("pd,pd->p", wide[a], wide[b])
    return similarity.clip(-1, 1)  # rounding may exceed 1


def _exact(vectors: VectorSource) -> _Search:
    """Return an exact search."""

    def search(queries: Vectors, k: int) -> Indices:
        nearness, found = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
        for start in range(0, len(vectors), _WIDE):
            part = vectors[start : start + _WIDE]
            near, rows = faiss.knn(queries, part, min(k, len(part)), faiss.METRIC_INNER_PRODUCT)
            nearness, found = np.hstack([nearness, near]), np.hstack([found, start + rows])
            if start:  # merge with the best of the parts before, nearest first
                best = np.argsort(-nearness, axis=1, kind="stable")[:, :k]
                nearness = np.take_along_axis(nearness, best, axis=1)
                found = np.take_along_axis(found, best, axis=1)
        return found

    return search


def _inverted(vectors: VectorSource) -> _Search:
    """Return a search by inverted file, one byte a component, trained on evenly spaced photos."""
    N, D = vectors.shape
    cells = int(4 * np.sqrt(N))
    index = faiss.index_factory(D, f"IVF{cells},SQ8", faiss.METRIC_INNER_PRODUCT)
    index.train(vectors[:: max(1, N // (50 * cells))])
    for start in range(0, N, _WIDE):
        index.add(vectors[start : start + _WIDE])
    faiss.ParameterSpace().set_index_parameter(index, "nprobe", _PROBES)
    return lambda queries, k: index.search(queries, k)[1]


def _found_by(search: _Search, vectors: VectorSource, queries: Indices, *, k: int, min_similarity: float) -> Neighbours:
    """Return (Q, k), the neighbours of some photos by a search."""
    near = np.empty((len(queries), k), np.int32)
    for start in range(0, len(queries), _BLOCK):
        block = queries[start : start + _BLOCK]
        found = search(vectors[block], min(k + _TIES, len(vectors)))  # (B, k + _TIES); -1 where there are fewer
        there = found >= 0
        rows, others = np.repeat(block, there.sum(1)), found[there]
        near[start : start + len(block)] = _ranked(vectors, rows, others, block, k=k, min_similarity=min_similarity)
    return near


def _ranked(
    vectors: VectorSource, rows: Indices, others: Indices, wanted: Indices, *, k: int, min_similarity: float
) -> Neighbours:
    """Return (Q, k), the nearest others of each wanted photo, without itself; -1 where there are fewer.

    rows, others: (M,), photos and their possible neighbours.
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


def _recall(vectors: VectorSource, near: Neighbours, asked: Indices, *, k: int, min_similarity: float) -> float:
    """Return the share of the pairs of exact search that were found, measured on evenly spaced photos."""
    sample = asked[:: max(1, len(asked) // _SAMPLE)]
    true = _found_by(_exact(vectors), vectors, sample, k=k, min_similarity=min_similarity)
    _, row_of = _rows_of(near, len(vectors), asked)
    parts = pairs_of(true, vectors, queries=sample)
    found = np.concatenate([listed(near, pairs.left, pairs.right, row_of=row_of) for pairs in parts])
    return float(found.mean()) if len(found) else 1.0
