"""Whole canaries by the code that judges real ones: all default guardrails, at every step, at many looks."""

from __future__ import annotations

import pytest

from lib.whole_canaries import Traffic, canary
from tidegate.core.canary.grammar import DEFAULTS
from tidegate.services.canaries.judging import ALPHA

CANARIES = 60
"""Of each kind; `benchmarks/experiments.py --sections canaries` has thousands."""


def taken_back(traffic: Traffic, canaries: int, first: int = 0) -> int:
    return sum(canary(traffic, seed).guardrail is not None for seed in range(first, first + canaries))


def test_an_equal_version_goes_all_the_way_and_one_of_which_a_tenth_fails_does_not() -> None:
    few = Traffic(requests=(150, 200), stable=600, looks=3)
    assert taken_back(few, 8) <= 1
    assert taken_back(Traffic(requests=(150, 200), stable=600, looks=3, fails=(0.01, 0.15)), 5) >= 4
    ended = canary(Traffic(fails=(0.0, 1.0)), 1)
    assert (ended.guardrail, ended.step) == ("errors", 0)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "traffic",
    [
        pytest.param(Traffic(), id="equal"),
        pytest.param(Traffic(keys=20, bad_keys=0.15), id="clients of which every request fails"),
        pytest.param(Traffic(fails=(0.01, 0.02), slower=1.5), id="at its margins"),
    ],
)
def test_canaries_that_keep_their_bounds_are_taken_back_as_often_as_is_said_at_most(traffic: Traffic) -> None:
    assert {one.name for one in DEFAULTS} == {"errors", "latency", "non_finite", "drift", "crashes"}
    assert taken_back(traffic, CANARIES) <= CANARIES * ALPHA
