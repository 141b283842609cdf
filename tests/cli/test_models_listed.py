"""The list of models in a terminal: the newest versions of each, and that there are older ones."""

from __future__ import annotations

from tidegate.cli.models.catalog import HEADERS, _rows
from tidegate.wire.rest import Model, Version


def test_a_list_says_how_many_older_versions_it_leaves_out() -> None:
    versions = [Version(str(number), None, "d", "ready", None, None, {}) for number in (30, 29)]
    rows = _rows([Model("churn", versions, version_count=30), Model("fraud", versions, version_count=2)])
    assert [row[:2] for row in rows] == [
        ["churn", "30"],
        ["churn", "29"],
        ["churn", "and 28 older"],
        ["fraud", "30"],
        ["fraud", "29"],
    ]
    assert {len(row) for row in rows} == {len(HEADERS)}
    assert len(_rows([Model("of an earlier release", versions)])) == 2
