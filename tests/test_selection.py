import numpy as np
import pytest

from dedup.grouping.selection import (
    count_unlikely,
    figures,
    least_chance,
    least_related_odds,
    needs_verification,
    selected_for_verification,
)
from dedup.models.weights import WeightsSpec
from dedup.types.pairs import Gate, Scores

ALL, NONE = (Gate(inner=((0.0,),) * 4, outer=(0.0, bias)) for bias in (9.0, -9.0))


def scores(*pairs: tuple[int, int, float], copy: float) -> Scores:
    left, right, similarity = (np.array(column) for column in zip(*pairs, strict=True))
    share = np.full(len(pairs), copy, np.float32)
    return Scores(left, right, similarity.astype(np.float32), share, 0.4 * (1 - share))


def test_chance_needed_is_that_of_the_fit_in_small_collections_and_doubles_its_odds_with_them() -> None:
    assert least_chance(0) == least_chance(1999) == pytest.approx(0.1)
    odds = [p / (1 - p) for p in map(least_chance, (1999, 2000, 3999, 4000, 1_000_000))]
    np.testing.assert_allclose(odds, [odds[0], 2 * odds[0], 2 * odds[0], 4 * odds[0], 512 * odds[0]])
    assert least_chance(1_000_000, thorough=True) == least_chance(0, thorough=True) < least_chance(0)


def test_one_way_of_the_head_must_say_more_in_a_larger_collection_and_never_much() -> None:
    assert least_related_odds(0) == least_related_odds(1999) == -np.inf
    assert np.diff(list(map(least_related_odds, (2000, 3999, 4000, 15_999)))) == pytest.approx(
        [0, np.log(2), np.log(2)]
    )
    assert least_related_odds(2000) < least_related_odds(100_000) == least_related_odds(10_000_000) < -1
    assert least_related_odds(100_000, thorough=True) == -np.inf


def test_fewer_pairs_are_verified_in_a_large_collection(shipped_weights: WeightsSpec) -> None:
    copy = np.linspace(0.005, 0.45, 200).astype(np.float32)
    columns = copy, 0.3 * (1 - copy), np.full(200, 0.6, np.float32)
    chosen = [
        needs_verification(*columns, shipped_weights.gate, least=least_chance(n)) for n in (1000, 10_000, 100_000)
    ]
    assert chosen[0].sum() > chosen[1].sum() > chosen[2].sum()
    assert (chosen[0] | ~chosen[2]).all()


def test_verified_pairs_of_a_photo_are_bounded_and_are_its_likeliest() -> None:
    n = 60  # all copies of each other
    left, right = np.triu_indices(n, 1)
    rng = np.random.default_rng(0)
    copy = rng.uniform(0.5, 1, len(left)).astype(np.float32)
    chosen = selected_for_verification(Scores(left, right, copy, copy, 1 - copy), ALL, least=0.03)
    assert chosen.sum() <= 12 * n
    for i in range(n):
        mine = np.flatnonzero((left == i) | (right == i))
        best = mine[np.argsort(-copy[mine])][:12]
        assert chosen[best].all()


def test_pairs_that_are_surely_unrelated_are_not_verified() -> None:
    assert selected_for_verification(scores((0, 1, 0.5), copy=0.0001), ALL, least=0.03).tolist() == [False]
    assert selected_for_verification(scores((0, 1, 0.5), copy=0.2), ALL, least=0.03).tolist() == [True]


def test_copies_by_the_pair_head_are_verified_whatever_the_gate_says() -> None:
    assert selected_for_verification(scores((0, 1, 0.5), copy=0.49), NONE, least=0.03).tolist() == [False]
    assert selected_for_verification(scores((0, 1, 0.5), copy=0.5), NONE, least=0.03).tolist() == [True]


def test_chance_of_a_gate_by_hand() -> None:
    gate = Gate(inner=((1.0, 0.0), (0.0, -1.0), (2.0, 0.0), (0.5, 0.0)), outer=(2.0, 3.0, -1.0))
    copy, similar, cosine = np.float32([0.5]), np.float32([0.1]), np.float32([0.25])
    # log-odds of a copy 0, of similar against unrelated log(1/4): hidden 0 + 2 * 0.25 + 0.5 = 1 and log 4
    assert gate.chance(figures(copy, similar, cosine))[0] == pytest.approx(
        1 / (1 + np.exp(-(2 * 1 + 3 * np.log(4) - 1)))
    )


def test_shipped_gate_rises_with_the_probability_of_a_copy(shipped_weights: WeightsSpec) -> None:
    copy = np.float32([0.02, 0.1, 0.3])
    for similar in (0.01, 0.5):
        chance = shipped_weights.gate.chance(
            figures(copy, np.full(3, similar, np.float32), np.full(3, 0.6, np.float32))
        )
        assert (np.diff(chance) > 0).all()
    assert chance[-1] > 0.3


def test_unlikely_pairs_are_those_that_a_thorough_scan_would_verify_besides(shipped_weights: WeightsSpec) -> None:
    copy = np.linspace(0.005, 0.45, 40).astype(np.float32)
    found = Scores(*np.arange(80).reshape(2, 40), np.full(40, 0.6, np.float32), copy, 0.3 * (1 - copy))
    gate = shipped_weights.gate
    chosen, all_of_them = (
        selected_for_verification(found, gate, least=least_chance(1000, thorough=thorough))
        for thorough in (False, True)
    )
    assert 0 < chosen.sum() < all_of_them.sum()
    assert count_unlikely(found, gate, chosen, photos=1000) == all_of_them.sum() - chosen.sum()
    assert count_unlikely(found, gate, all_of_them, photos=1000) == 0
