"""Numbers that people write: what is none, is none everywhere."""

from __future__ import annotations

import pytest

from tidegate.wire.numbers import finite, finite_number


@pytest.mark.parametrize("text", ["nan", "NaN", "inf", "-Infinity", "1e999", "", "  ", "much", "1,5", "0x10"])
def test_what_is_no_number(text: str) -> None:
    assert finite_number(text) is None


@pytest.mark.parametrize(("text", "value"), [("0", 0.0), (" -2.5\n", -2.5), ("1e-9", 1e-9), ("1e308", 1e308)])
def test_what_is_one(text: str, value: float) -> None:
    assert finite_number(text) == value


def test_zero_is_a_value_and_no_missing_one() -> None:
    assert finite(0.0) == 0.0
    assert finite(1e308 * 10) is None
