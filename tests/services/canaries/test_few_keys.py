"""Canaries where a few keys send all of the requests: requests of one key are not independent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from support.canary_bed import EVERY_S, Bed
from tidegate.core.captured import Columns
from tidegate.services.canaries.by_key import CallsByKey
from tidegate.services.canaries.tallies import CanaryTally
from tidegate.wire.experiments.canary import CanaryView


@dataclass
class Recorded:
    """Requests one by one: when, to which variant, of which key, and whether it failed."""

    calls: list[tuple[float, str, str, bool]] = field(default_factory=list)
    read_since: list[float] = field(default_factory=list)

    def add(self, at: float, variant: str, keys: Sequence[str], each: int, *, failing: bool = False) -> None:
        self.calls += [(at + n / 100, variant, key, failing) for key in keys for n in range(each)]

    def rows(
        self, table: str, _endpoint: str, since_s: float, until_s: float, columns: Sequence[str] | None = None
    ) -> Columns:
        failed = table == "failures"
        self.read_since.append(since_s)
        kept = [one for one in self.calls if one[3] == failed and since_s <= one[0] < until_s]
        made: dict[str, Any] = {
            "at": np.array([one[0] for one in kept], dtype=np.float64),
            "variant": np.array([one[1] for one in kept], dtype=object),
            "key": np.array([one[2] for one in kept], dtype=object),
        }
        size = len(kept)
        made |= {"pinned": np.zeros(size, bool), "cached": np.zeros(size, bool), "row": np.zeros(size, np.int64)}
        made |= {"code": np.full(size, 500), "calls": np.ones(size), "sample_rate": np.ones(size)}
        made |= {"duration_ms": np.full(size, 2.0), "output_prediction": np.full(size, 0.5)}
        return {name: made[name] for name in columns or made}

    def labelled(self, *_asked: Any) -> Columns:
        raise NotImplementedError


@pytest.fixture
def recorded(bed: Bed) -> Recorded:
    made = Recorded()
    bed.captured = made  # type: ignore[assignment]
    bed.restart()
    return made


def _step(bed: Bed) -> CanaryView:
    """A look at what came since the step was routed."""
    bed.routed()
    bed.look()
    return bed.look(EVERY_S)


def _names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


def test_five_keys_that_all_fail_beside_five_that_do_not_are_enough(bed: Bed, recorded: Recorded) -> None:
    """None of them was ever seen before, and one of them sends nearly all of the requests."""
    bed.begin(5.0, 25.0, 50.0, 100.0)
    recorded.add(bed.now + 20, "baseline", _names("b", 5), 40)
    recorded.add(bed.now + 20, "canary", ["c0"], 200, failing=True)
    recorded.add(bed.now + 21, "canary", ["c1", "c2", "c3", "c4"], 2, failing=True)
    found = _step(bed)
    assert found.state == "aborted", found
    assert "208 of the 208 requests" in found.reason


def test_two_keys_that_stable_served_well_are_enough(bed: Bed, recorded: Recorded) -> None:
    recorded.add(bed.now - 600, "1", ["c0", "c1"], 50)
    bed.begin()
    recorded.add(bed.now + 20, "baseline", ["b0", "b1"], 40)
    recorded.add(bed.now + 20, "canary", ["c0", "c1"], 10, failing=True)
    found = _step(bed)
    assert found.state == "aborted", found
    assert found.reason.startswith("errors breached: 1 (at least 0.01)")


@pytest.mark.parametrize(
    ("before", "now"),
    [
        pytest.param({"failing": False}, ["c0"], id="one client may have changed what it sends"),
        pytest.param({"failing": True}, ["c0", "c1"], id="both failed before"),
        pytest.param(None, ["c0", "c1"], id="nobody saw them before"),
    ],
)
def test_what_two_keys_do_not_prove(
    bed: Bed, recorded: Recorded, before: dict[str, bool] | None, now: list[str]
) -> None:
    if before is not None:
        recorded.add(bed.now - 600, "1", ["c0", "c1"], 50, **before)
    bed.begin()
    recorded.add(bed.now + 20, "baseline", ["b0", "b1"], 60)
    recorded.add(bed.now + 20, "canary", now, 60, failing=True)
    recorded.add(bed.now + 20, "canary", ["c9"], 60)
    found = _step(bed)
    assert (found.state, found.step) == ("running", 0), "nor does it go on"
    assert found.reason.startswith("errors past what they may be so far, which may be chance")


def test_what_keys_had_before_is_read_once_and_where_it_is_asked_for(bed: Bed, recorded: Recorded) -> None:
    recorded.add(bed.now - 600, "1", ["c0", "c1"], 50)
    bed.begin()
    begun = bed.now
    recorded.add(bed.now + 20, "baseline", ["b0", "b1"], 60)
    recorded.add(bed.now + 20, "canary", ["c0", "c1", "c2"], 60)
    bed.routed()
    bed.look()
    bed.look()
    assert not [since for since in recorded.read_since if since < begun], "nothing fails"
    recorded.add(bed.now + 5, "canary", ["c0", "c1"], 1, failing=True)
    bed.look(20.0)
    bed.look(20.0)
    assert len([since for since in recorded.read_since if since < begun]) == 2, "calls and failures, once"


def test_a_key_is_in_with_its_first_request() -> None:
    at, keys = np.array([3.0, 1.0, 2.0, 4.0]), np.array(["a", "a", "b", None], dtype=object)
    calls = CallsByKey(at, keys, np.array([0.0, 1.0, 0.0, 1.0]), np.array([1.0, 1.0, 1.0, 5.0]))
    assert calls.first() == CanaryTally(6, 7)
    assert calls.by_key() == {"a": CanaryTally(1, 2), "b": CanaryTally(0, 1)}
