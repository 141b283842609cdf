"""Guards of deployments on a real store, with gateways' counts that the tests make up."""

from __future__ import annotations

from typing import Any

import pytest

from support.canary_bed import Bed
from support.control import ME
from tidegate.errors import UnknownCanary
from tidegate.store.tables import FailedReplicaRow
from tidegate.wire.parts import AnsweredView
from tidegate.wire.rest import DeployRequest, TrafficRequest


def _deployed(bed: Bed, **more: Any) -> None:
    bed.endpoints.deploy("churn", DeployRequest("churn", "2", **more), ME)
    bed.routed()


def test_a_deployment_that_fails_goes_back_to_stable(bed: Bed) -> None:
    _deployed(bed)
    assert bed.canaries.get("churn").kind == "guard"
    bed.counts = AnsweredView(60.0, 5, 5, 0, 0)
    found = bed.look()
    assert (found.state, bed.asked) == ("aborted", {"1": 100.0})
    assert found.reason.startswith("5 of 5 requests failed or timed out (5 with 500, 0 timed out)")
    newest = bed.container.endpoints.history("churn")[0]
    assert (newest.action, newest.actor, newest.restores) == ("rollback", "guard", 1)


def test_a_guard_ends_in_silence(bed: Bed) -> None:
    _deployed(bed)
    bed.counts = AnsweredView(60.0, 500, 0, 0, 0)
    bed.look()
    assert bed.canaries.get("churn").state == "running"
    bed.now += 700.0
    bed.steps.step()
    with pytest.raises(UnknownCanary):
        bed.canaries.get("churn")
    assert bed.asked == {"2": 100.0}


def test_people_who_change_the_traffic_end_it(bed: Bed) -> None:
    _deployed(bed)
    bed.look()
    bed.endpoints.set_traffic("churn", TrafficRequest({"2": 90, "3": 10}), ME)
    bed.counts = AnsweredView(60.0, 50, 50, 0, 0)
    bed.now += 10.0
    bed.steps.step()
    assert bed.asked == {"2": 90.0, "3": 10.0}


def test_the_same_deployment_again_leaves_its_guard(bed: Bed) -> None:
    _deployed(bed)
    bed.look()
    _deployed(bed)
    bed.counts = AnsweredView(60.0, 50, 50, 0, 0)
    found = bed.look()
    assert (found.state, bed.asked) == ("aborted", {"1": 100.0})


def test_there_is_no_guard_where_it_is_not_wanted_or_nothing_was_before(bed: Bed) -> None:
    with pytest.raises(UnknownCanary):
        bed.canaries.get("churn")
    _deployed(bed, guard=False)
    with pytest.raises(UnknownCanary):
        bed.canaries.get("churn")


def test_a_fault_of_the_platform_is_no_fault_of_the_version(bed: Bed) -> None:
    """No gateway reports; replicas were killed from outside, as an engine does that goes away."""
    _deployed(bed)
    bed.look()
    with bed.container.store.transaction() as tx:
        for place in range(3):
            about: dict[str, Any] = {"at": bed.now, "kind": "crash", "backend": "local", "handle": {}, "log": []}
            tx.add(FailedReplicaRow(replica=f"r{place}", endpoint="churn", version="2", exit_code=-9, **about))
    assert bed.look().state == "running"
    assert bed.asked == {"2": 100.0}
