"""How requests ended, by version: what a gateway counts of it and tells the control plane."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from support.gateway_bed import Bed, Gateway
from support.wait import until
from tidegate.dataplane.base.tensors import all_finite, finite


def _ask(gateway: Gateway, *features: Any) -> int:
    body = json.dumps({"features": features}).encode()
    return gateway.request("POST", "/predict/sums", body, {"Content-Type": "application/json"}).status


def test_failures_hangs_and_answers_that_are_no_numbers_are_told_by_version(bed: Bed) -> None:
    bed.replica("1")
    bed.replica("2")
    gateway = bed.gateway(TIDEGATE_REQUEST_TIMEOUT_S="2")
    bed.publish({"1": 100, "2": 0})
    until(lambda: bed.publisher.answered.get("gateway-0") == {}, what="the first report, of nothing")
    assert [_ask(gateway, 1, 2, 3) for _ in range(3)] == [200] * 3
    assert _ask(gateway, 222, 0, 0) == 500
    assert _ask(gateway, [444, 0, 0], [1, 2, 3]) == 200
    assert _ask(gateway, 444, 1, 1) == 200
    assert _ask(gateway, 111, 4, 0) == 504
    counts = {"endpoint": "sums", "version": "1", "requests": 7, "failed": 1, "timed_out": 1, "non_finite": 2}
    until(lambda: bed.publisher.answered["gateway-0"] == {"1": counts}, what="the counts")


def test_a_control_plane_that_is_away_is_told_when_it_is_back(bed: Bed) -> None:
    bed.replica("1")
    gateway = bed.gateway()
    bed.publish({"1": 100})
    bed.publisher.stop()
    assert _ask(gateway, 222, 0, 0) == 500
    bed.publisher.start()
    until(lambda: bed.publisher.answered["gateway-0"].get("1", {}).get("failed") == 1, what="the counts")
    gateway.process.kill()
    gateway.process.wait(10)
    bed.publisher.answered.clear()
    again = bed.gateway()
    assert _ask(again, 222, 0, 0) == 500
    until(lambda: bed.publisher.answered.get("gateway-0", {}).get("1", {}).get("failed") == 2, what="its counts")


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i8", "O"])
@pytest.mark.parametrize("value", [0.5, 6e4, 3e38, 1e308, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rows", [3, 3000])
def test_finite_is_the_same_as_looking_at_each(dtype: str, value: float, rows: int) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        array = np.ones((rows, 4)).astype(dtype)
        array[1, 2] = value if dtype != "i8" else 7
    assert finite(array) == all_finite(array)
    assert finite(array[1:2]) == all_finite(array[1:2])
