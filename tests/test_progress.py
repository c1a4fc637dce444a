"""The time left of a scan, and the lines that say it."""

import pytest

from dedup.cli.estimate import Estimate
from dedup.cli.progress import line_of
from dedup.languages.language import ENGLISH


def test_rate_and_time_left_are_those_of_the_stage_and_of_what_follows() -> None:
    estimate = Estimate()
    estimate.update("reading", 0, 1000, 10.0)
    assert (estimate.rate, estimate.seconds_left) == (0.0, None)
    estimate.update("reading", 200, 1000, 12.0)
    assert estimate.rate == 100.0
    assert estimate.at_least
    left = estimate.seconds_left
    assert left is not None
    assert 8.0 < left < 10.0  # 8 s of reading, and a bound for the later stages


def test_last_stage_needs_no_bound() -> None:
    estimate = Estimate()
    estimate.update("reading", 1, 2, 0.0)
    estimate.update("verifying", 0, 90, 1.0)
    estimate.update("verifying", 30, 90, 4.0)
    assert (estimate.number, estimate.at_least, estimate.seconds_left) == (4, False, 6.0)


def test_stage_that_begins_in_the_middle_counts_only_what_it_did_since() -> None:
    estimate = Estimate()
    estimate.update("comparing", 900, 1000, 0.0)
    estimate.update("comparing", 950, 1000, 10.0)
    assert estimate.rate == 5.0


@pytest.mark.parametrize(
    ("stage", "line"),
    [
        ("reading", "[1/4] Reading 128/50,000, 64 photos/s, at least about 14 min left"),
        ("verifying", "[4/4] Verifying 128/50,000, 64 pairs/s, about 13 min left"),
        ("comparing pixels", "Comparing pixels 128/50,000"),
    ],
)
def test_line_says_stage_count_rate_and_time_left(stage: str, line: str) -> None:
    estimate = Estimate()
    estimate.update(stage, 0, 50_000, 0.0)
    estimate.update(stage, 128, 50_000, 2.0)
    assert line_of(estimate, ENGLISH) == line
