import math

import numpy as np
import pytest
from numpy.random import Generator, default_rng
from test_relations import photos, scores, verified, words

from dedup.grouping.prior import ASSUMED, at_prior, estimated_prior
from dedup.grouping.relations import relate


def drawn(share: float, rng: Generator, *, count: int = 4000) -> np.ndarray:
    """Return probabilities at ASSUMED of pairs of which a share are copies, by a judge whose odds are exact."""
    copies = int(share * count)
    evidence = rng.normal(np.where(np.arange(count) < copies, 4.0, -4.0), math.sqrt(8))  # a log-likelihood ratio
    return (1 / (1 + np.exp(-(evidence + math.log(ASSUMED / (1 - ASSUMED)))))).astype(np.float32)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.4])
def test_prior_is_the_share_of_copies(share: float) -> None:
    assert estimated_prior(drawn(share, default_rng(1)), 0) == pytest.approx(share, abs=0.015)


def test_probabilities_at_the_prior_are_the_shares_of_copies() -> None:
    copy = drawn(0.02, default_rng(2), count=40_000)
    true = np.arange(len(copy)) < 800
    at, _ = at_prior(copy, np.zeros_like(copy), estimated_prior(copy, 0))
    for low, high in ((0.5, 0.9), (0.9, 1.0)):
        within, before = (at >= low) & (at < high), (copy >= low) & (copy < high)
        assert at[within].mean() == pytest.approx(true[within].mean(), abs=0.08)
        assert copy[before].mean() > true[before].mean() + 0.3  # what it would be without


def test_few_pairs_change_the_prior_little() -> None:
    assert estimated_prior(np.empty(0, np.float32), 0) == ASSUMED
    assert estimated_prior(np.float32([0.01]), 0) > 0.95 * ASSUMED
    assert estimated_prior(np.float32([0.01] * 30), 0) < 0.6 * ASSUMED


def test_prior_is_never_higher_than_assumed() -> None:
    assert estimated_prior(np.full(1000, 0.999, np.float32), 0) == ASSUMED


def test_prior_does_not_depend_on_the_order_of_the_pairs() -> None:
    copy = drawn(0.1, default_rng(3))
    assert estimated_prior(copy, 0) == estimated_prior(copy[::-1], 0)


def test_probabilities_at_a_prior_by_hand() -> None:
    copy, similar = np.float32([0.9, 1.0, 0.0]), np.float32([0.08, 0.0, 0.3])
    less, other = at_prior(copy, similar, 0.1)
    assert less.tolist() == pytest.approx([0.3, 1.0, 0.0], abs=1e-6)  # odds of 9 * (1/9) / (7/3)
    assert other.tolist() == pytest.approx([0.56, 0.0, 0.3], abs=1e-6)  # similar keeps its share of the rest
    assert at_prior(copy, similar, ASSUMED) == (copy, similar)


def test_what_is_a_copy_in_an_album_is_none_where_hardly_any_are() -> None:
    some, said = photos((1, 2), (3, 4)), scores((0, 1, 0.9))
    seen = verified((0, 1, 0.9, 0.09, False))
    assert words(relate(some, said, seen, {})) == ["copy"]
    found = relate(some, said, seen, {}, prior=0.05)
    assert (words(found), found.copy[0] < 0.2) == (["similar"], True)
    by_the_pair_head = relate(some, scores((0, 1, 0.9), copy=0.9), verified(), {}, prior=0.05)
    assert words(by_the_pair_head) == ["copy"]


def test_pairs_too_unlikely_to_be_verified_count_as_no_copies() -> None:
    copy = drawn(0.3, default_rng(4))
    assert estimated_prior(copy, len(copy)) == pytest.approx(0.15, abs=0.04)
