"""Counts in sentences."""

from __future__ import annotations

import pytest

from tidegate.wire.counts import counted


@pytest.mark.parametrize(("number", "said"), [(0, "0 requests"), (1, "1 request"), (1204, "1204 requests")])
def test_one_is_singular(number: int, said: str) -> None:
    assert counted(number, "request") == said
