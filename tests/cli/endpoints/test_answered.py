from typing import Any

import pytest

from tidegate.cli.endpoints.answered import answered_table, failing
from tidegate.wire.parts import AnsweredView
from tidegate.wire.rest import Endpoint, ReplicaCount, VariantView


def _endpoint(*answered: AnsweredView | None) -> Endpoint:
    variants: list[Any] = [
        VariantView(str(number), 50.0, "ready", "", ReplicaCount(1, 1), answered=one)
        for number, one in enumerate(answered, start=1)
    ]
    return Endpoint("churn", "http://x", "ready", "", {}, variants)


QUIET = AnsweredView(300.0, 0, 0, 0, 0)
WELL = AnsweredView(300.0, 200, 0, 0, 0)
BAD = AnsweredView(300.0, 200, 10, 6, 4)
PART = AnsweredView(300.0, 200, 10, 6, 4, gateways_silent=1)


@pytest.mark.parametrize(
    ("answered", "share"),
    [
        ([], "unknown"),
        ([None], "unknown"),
        ([WELL, None], "unknown"),
        ([QUIET], "-"),
        ([WELL], "0%"),
        ([WELL, BAD], "5.0%"),
        ([PART], "10.0% or more"),
    ],
)
def test_the_share_of_an_endpoint(answered: list[AnsweredView | None], share: str) -> None:
    assert failing(_endpoint(*answered)) == share


def test_each_version_has_its_counts() -> None:
    head, shown = answered_table(_endpoint(BAD, WELL, None))
    assert head == "requests of the last 300 s"
    rows = [line.split() for line in shown.splitlines()]
    assert ["1", "200", "10", "(5.0%)", "6", "(3.0%)", "4", "(2.0%)"] in rows
    assert ["2", "200", "0", "0", "0"] in rows
    assert ["3", "unknown", "unknown", "unknown", "unknown"] in rows


def test_a_silent_gateway_is_told() -> None:
    assert "there may be more" in answered_table(_endpoint(PART))[0]
