import numpy as np
import pytest

from dedup.index import (
    PAIRED,
    HalfVectors,
    add_to_neighbours,
    cosines,
    listed,
    nearest,
    nearest_pairs,
    neighbours,
    pairs_of,
)
from dedup.models.encoder import unit
from dedup.types.arrays import Vectors
from dedup.types.pairs import Candidates


def clustered(n: int, *, dims: int = 32, copies: int = 4, seed: int = 0) -> Vectors:
    """Return n unit vectors in sets of `copies` that lie close together."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((n // copies + 1, dims))
    x = np.repeat(centres, copies, axis=0)[:n] + 0.1 * rng.standard_normal((n, dims))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def columns(pairs: Candidates) -> list[tuple[int, int]]:
    return list(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True))


def test_exact_pairs_equal_those_of_the_full_matrix() -> None:
    vectors = clustered(200)
    pairs, recall = nearest_pairs(vectors, k=5, min_similarity=0.3)
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, -2)
    wanted = set()
    for i, row in enumerate(similarity):
        wanted |= {(min(i, int(j)), max(i, int(j))) for j in np.argsort(-row)[:5] if row[j] >= 0.3}
    assert set(columns(pairs)) == wanted
    assert recall == 1.0
    np.testing.assert_allclose(pairs.similarity, [similarity[a, b] for a, b in columns(pairs)], atol=1e-6)


def test_each_pair_is_there_once_left_before_right_in_order() -> None:
    pairs, _ = nearest_pairs(clustered(100), k=10, min_similarity=-1)
    assert columns(pairs) == sorted(set(columns(pairs)))
    assert (pairs.left < pairs.right).all()


def test_inverted_index_finds_nearly_all_copies_and_states_its_recall() -> None:
    vectors = clustered(6000)
    exact, _ = nearest_pairs(vectors, k=8, min_similarity=0.3)
    found, recall = nearest_pairs(vectors, k=8, min_similarity=0.3, exact_limit=1000)
    near = cosines(vectors, exact.left, exact.right) > 0.8
    copies = set(columns(Candidates(exact.left[near], exact.right[near], exact.similarity[near])))
    assert len(copies & set(columns(found))) / len(copies) > 0.99
    measured = len(set(columns(exact)) & set(columns(found))) / len(exact)
    assert 0.3 < recall < 1.0
    assert abs(recall - measured) < 0.1


@pytest.mark.parametrize("n", [0, 1, 2])
def test_collections_of_none_one_and_two_photos(n: int) -> None:
    pairs, recall = nearest_pairs(np.ones((n, 4), np.float32) / 2, k=40, min_similarity=0.2)
    assert columns(pairs) == ([(0, 1)] if n == 2 else [])
    assert recall == 1.0


def test_many_equal_vectors_give_k_candidates_each_and_not_all_pairs() -> None:
    pairs, _ = nearest_pairs(np.tile(np.float32([1, 0, 0, 0]), (500, 1)), k=10, min_similarity=0.2)
    assert len(pairs) <= 500 * 10


def test_k_of_zero_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        nearest_pairs(clustered(10), k=0, min_similarity=0)


def test_nearest_returns_the_photos_of_each_query() -> None:
    vectors = clustered(40, copies=1)
    query, found = nearest(vectors, vectors[[3, 7]], k=1)
    assert (query.tolist(), found.tolist()) == ([0, 1], [3, 7])


def test_exact_search_in_parts_finds_the_nearest_of_all_parts() -> None:
    vectors = clustered(70_000, dims=8, copies=1)
    asked = vectors[[5, 69_990]]
    _, found = nearest(vectors, asked, k=30)
    wanted = np.argsort(-(asked @ vectors.T), axis=1)[:, :30]
    assert (wanted > 66_000).any()
    assert (found.reshape(2, 30) == wanted).all()


def test_vectors_held_in_half_precision_give_the_same_pairs_as_in_single() -> None:
    half = clustered(3000, copies=20).astype(np.float16)
    wide, taken = unit(half), HalfVectors.of(half)
    fresh = np.arange(0, 3000, 7)
    old, _ = neighbours(wide, k=8, min_similarity=0.3, queries=np.setdiff1d(np.arange(3000), fresh))
    near = np.full((3000, 8), -1, np.int32)
    near[np.setdiff1d(np.arange(3000), fresh)] = old
    for exact_limit in (0, 5000):
        one, other = (nearest_pairs(v, k=8, min_similarity=0.3, exact_limit=exact_limit) for v in (wide, taken))
        assert columns(one[0]) == columns(other[0])
        assert (one[0].similarity == other[0].similarity).all()
        assert one[1] == other[1]
    assert (
        add_to_neighbours(wide, near, fresh, k=8, min_similarity=0.3)
        == add_to_neighbours(taken, near, fresh, k=8, min_similarity=0.3)
    ).all()


def test_cosine_of_equal_vectors_is_not_above_one() -> None:
    vectors = clustered(300)
    same = np.arange(300)
    assert cosines(vectors, same, same).max() <= 1


def test_cosine_of_a_pair_does_not_depend_on_its_row() -> None:
    vectors = clustered(50)
    a, b = np.arange(0, 40), np.arange(10, 50)
    assert (cosines(vectors, a, b)[7:9] == cosines(vectors, a[7:9], b[7:9])).all()


@pytest.mark.parametrize("few", [1, 7, 100], ids=lambda n: f"{n} new")
def test_neighbours_updated_with_new_photos_are_those_of_a_full_search(few: int) -> None:
    vectors = clustered(400, copies=20)  # more than k are near each other, so that new ones push old ones out
    fresh = np.random.default_rng(1).choice(400, few, replace=False)
    old = np.delete(np.arange(400), fresh)
    before, _ = neighbours(vectors[old], k=8, min_similarity=0.3)
    near = np.full((400, 8), -1, np.int32)
    near[old] = np.where(before >= 0, old[before], -1)
    wanted, _ = neighbours(vectors, k=8, min_similarity=0.3)
    assert (near[old] != wanted[old]).any()
    assert (add_to_neighbours(vectors, near, fresh, k=8, min_similarity=0.3) == wanted).all()


def test_neighbours_are_ordered_by_similarity_and_ties_by_number() -> None:
    vectors = np.float32([[1, 0], [0.8, 0.6], [0.6, 0.8], [0.8, -0.6], [-1, 0]])
    near, _ = neighbours(vectors, k=3, min_similarity=0)
    assert near[0].tolist() == [1, 3, 2]
    assert near[4].tolist() == [-1, -1, -1]


def test_pairs_come_in_parts_each_pair_once_whichever_lists_the_other() -> None:
    vectors = clustered(2 * PAIRED + 5, copies=9)
    near, _ = neighbours(vectors, k=4, min_similarity=0.3)
    parts = list(pairs_of(near, vectors))
    assert len(parts) == 3
    pairs = [pair for part in parts for pair in columns(part)]
    rows, others = np.nonzero(near >= 0)[0], near[near >= 0]
    wanted = {(int(min(i, j)), int(max(i, j))) for i, j in zip(rows, others, strict=True)}
    assert len(rows) < 2 * len(wanted), "some are listed by one of the two only"
    assert len(pairs) == len(set(pairs))
    assert set(pairs) == wanted


def test_pairs_of_some_photos_are_those_in_their_lists() -> None:
    vectors, some = clustered(60, copies=9), np.array([3, 4, 50])
    near, _ = neighbours(vectors, k=4, min_similarity=0.3, queries=some)
    assert set(columns(*pairs_of(near, vectors, queries=some))) == {
        (int(min(i, j)), int(max(i, j))) for i, row in zip(some, near, strict=True) for j in row if j >= 0
    }


def test_listed_holds_for_pairs_in_either_list() -> None:
    near = np.int32([[1, -1], [2, 3], [-1, -1], [0, -1]])
    left, right = np.array([0, 0, 0, 1, 1, 2]), np.array([1, 2, 3, 2, 3, 3])
    assert listed(near, left, right).tolist() == [True, False, True, True, True, False]
