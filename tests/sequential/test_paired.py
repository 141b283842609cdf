"""Pairs of answers of a live version and its shadow."""

from __future__ import annotations

from tidegate.sequential.paired import paired


def test_discordant_pairs_decide() -> None:
    found = paired(8000, 200, 300, 1500)
    assert found.winner == "b"
    assert found.significant
    assert found.lower is not None
    assert found.upper is not None
    assert 0 <= found.lower < 0.01 < found.upper
    assert "right more often" in found.verdict
    assert paired(8000, 300, 200, 1500).winner == "a"


def test_equal_versions_are_not_told_apart() -> None:
    found = paired(8000, 250, 251, 1499)
    assert not found.significant
    assert found.winner is None
    assert found.lower is not None
    assert found.upper is not None
    assert found.lower < 0 < found.upper


def test_nothing_is_known_without_pairs_and_little_with_few() -> None:
    assert paired(0, 0, 0, 0).difference is None
    few = paired(5, 0, 1, 0)
    assert few.p_value == 1.0
    assert few.lower is not None
    assert few.lower < 0
