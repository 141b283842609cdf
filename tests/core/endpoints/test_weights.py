import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.core.endpoints.weights import check_weights
from tidegate.errors import InvalidArgument


@pytest.mark.parametrize(
    "weights", [{"1": 100}, {"1": 90, "2": 10}, {"1": 33.3, "2": 33.3, "3": 33.4}, {"1": 100, "2": 0}]
)
def test_weights_that_add_up_are_taken(weights: dict[str, float]) -> None:
    check_weights(weights)


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        ({}, "no version"),
        ({"1": 90, "2": 20}, "add up to 110"),
        ({"1": 99.99}, "add up to 99.99"),
        ({"1": -10, "2": 110}, "version 1 is -10"),
        ({"1": math.nan}, "from 0 to 100"),
        ({"1": math.inf}, "from 0 to 100"),
    ],
)
def test_others_are_refused_with_their_sum_or_the_version_at_fault(weights: dict[str, float], told: str) -> None:
    with pytest.raises(InvalidArgument, match=told):
        check_weights(weights)


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=20))
def test_any_shares_scaled_to_100_are_taken(shares: list[int]) -> None:
    check_weights({str(number): 100 * share / sum(shares) for number, share in enumerate(shares)})
