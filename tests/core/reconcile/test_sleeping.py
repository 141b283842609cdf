"""Endpoints that sleep while nothing asks for them: what the reconciler decides, and what gateways are told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tidegate.core.ports import ReplicaObservation
from tidegate.core.reconcile.fleet import (
    EndpointFacts,
    Fleet,
    Plan,
    ReconcileLimits,
    Replica,
    ReplicaState,
    VariantFacts,
    World,
)
from tidegate.core.reconcile.plan import converged, plan
from tidegate.core.routing.snapshot import VersionFacts, route
from tidegate.wire.gateways import snapshot as wire
from tidegate.wire.signature import Signature, TensorSpec

LIMITS = ReconcileLimits(keep_previous_s=600)
RUNS, READY, GONE = (
    ReplicaObservation(True, False, "unix:/x"),
    ReplicaObservation(True, True, "unix:/x"),
    ReplicaObservation(False, False),
)
SIGNATURE = Signature("matrix", (TensorSpec("input", "FP64", (-1, 2)),), (TensorSpec("prediction", "INT64", (-1,)),))


def sleepy(
    counts: dict[str, int], traffic: dict[str, float] | None = None, routed: dict[str, float] | None = None
) -> EndpointFacts:
    return EndpointFacts(
        "churn",
        "churn",
        traffic or {"1": 100},
        replicas=2,
        generation=3,
        counts=counts,
        routed={"1": 100} if routed is None else routed,
        may_sleep=True,
    )


def replica(version: str, state: ReplicaState, seen: ReplicaObservation) -> Replica:
    return Replica(f"r-{version}", version, state, 990.0, seen=seen, address="unix:/x")


def decide(fleet: Fleet, now: float = 1000.0) -> Plan:
    return plan(fleet, World(now, start_slots=10), LIMITS)


def told(fleet: Fleet) -> wire.RoutedEndpoint:
    facts = VersionFacts("d" * 64, SIGNATURE, [0.0, 1.0], None, batchable=True)
    return route(fleet, "salt", dict.fromkeys(("1", "2"), facts))


def wakes(endpoint: wire.RoutedEndpoint) -> bool:
    return any(one.wakes for one in endpoint.variants)


def test_a_version_of_which_none_is_wanted_leaves_and_the_endpoint_sleeps() -> None:
    made = decide(Fleet(sleepy({"1": 0}), (), (replica("1", "ready", READY),)))
    assert [one.state for one in made.fleet.replicas] == ["draining"]
    endpoint, (variant,) = made.fleet.endpoint, made.fleet.variants
    assert (endpoint.status, endpoint.routed, variant.status) == ("asleep", {"1": 100}, "asleep")
    assert "until a request comes" in endpoint.reason
    asleep = decide(replace(made.fleet, replicas=()))
    assert asleep.starts == ()
    assert converged(asleep.fleet)
    view = told(asleep.fleet)
    assert (wakes(view), [one.targets for one in view.variants]) == (True, [()])


def test_a_version_that_is_wanted_again_starts_and_gateways_go_on_waiting_meanwhile() -> None:
    woken = decide(Fleet(replace(sleepy({"1": 1}), status="asleep"), (VariantFacts("1", status="asleep"),)))
    assert woken.starts == ("1",)
    assert woken.fleet.endpoint.status == "deploying"
    assert wakes(told(woken.fleet))
    there = decide(replace(woken.fleet, replicas=(replica("1", "starting", READY),)))
    assert there.fleet.endpoint.status == "ready"
    assert not wakes(told(there.fleet))
    assert [len(one.targets) for one in told(there.fleet).variants] == [1]


def test_a_version_that_fails_on_waking_is_not_waited_for_and_tried_anew_after_its_next_sleep() -> None:
    dead = replace(GONE, exit_code=1, log_tail=("no torch",))
    failed = decide(Fleet(sleepy({"1": 1}), (), (replica("1", "starting", dead),)))
    view = told(failed.fleet)
    assert (wakes(view), "no torch" in view.reason) == (False, True)
    asleep = decide(replace(failed.fleet, endpoint=replace(failed.fleet.endpoint, counts={"1": 0})))
    assert (asleep.fleet.endpoint.status, asleep.fleet.variants[0].attempts) == ("asleep", 0)
    assert wakes(told(asleep.fleet))


def test_a_version_that_fails_on_waking_keeps_nobody_from_waiting_for_another() -> None:
    split: dict[str, float] = {"1": 90, "2": 10}
    dead = replace(GONE, exit_code=1, log_tail=("no torch",))
    replicas = replica("1", "starting", RUNS), replica("2", "starting", dead)
    failed = decide(Fleet(sleepy({"1": 1, "2": 1}, split, split), (), replicas))
    view = told(failed.fleet)
    assert {one.version: one.wakes for one in view.variants} == {"1": True, "2": False}
    assert "no torch" in view.reason


def test_a_quarantined_version_is_not_said_to_sleep() -> None:
    given_up = VariantFacts("1", attempts=5, cause="needs torch", quarantined_generation=3)
    made = decide(Fleet(sleepy({"1": 0}), (given_up,)))
    assert (made.fleet.endpoint.status, made.fleet.variants[0].status) == ("failed", "failed")
    view = told(made.fleet)
    assert (wakes(view), "needs torch" in view.reason) == (False, True)


def test_what_the_platform_lacks_fails_no_waking() -> None:
    line = 'tidegate-error: {"code": "out_of_resources", "error": "no memory left"}'
    dead = replace(GONE, exit_code=1, log_tail=(line,))
    made = decide(Fleet(sleepy({"1": 1}), (), (replica("1", "starting", dead),)))
    assert made.fleet.variants[0].attempts == 0
    assert wakes(told(made.fleet)), "requests wait for the next try, within their deadline"


@pytest.mark.parametrize("counts", [{"1": 0}, {"1": 0, "2": 0}, {"1": 0, "2": 1}])
def test_a_sleeping_endpoint_wakes_for_a_new_version_and_proves_it(counts: dict[str, int]) -> None:
    before = Fleet(replace(sleepy(counts, {"2": 100}), status="asleep"), (VariantFacts("1", status="asleep"),))
    made = decide(before)
    assert set(made.starts) == {"2"}
    assert (made.fleet.endpoint.status, made.fleet.endpoint.routed) == ("deploying", {"1": 100})
    proven = decide(replace(made.fleet, replicas=(replica("2", "starting", READY),)))
    assert proven.fleet.endpoint.routed == {"2": 100}


def test_a_sleeping_version_keeps_no_other_from_being_added() -> None:
    target: dict[str, float] = {"1": 90, "2": 10}
    made = decide(Fleet(sleepy({"1": 0, "2": 1}, target), (), (replica("2", "starting", READY),)))
    assert made.fleet.endpoint.routed == target


def test_an_endpoint_that_may_not_sleep_has_its_requests_answered_at_once() -> None:
    fleet = Fleet(replace(sleepy({}), may_sleep=False))
    assert not wakes(told(decide(fleet).fleet))
    assert told(decide(fleet).fleet).reason == "no replica of version 1 is ready"


def test_what_was_decided_before_people_asked_for_a_minimum_ends_no_replica() -> None:
    asked_for_one = replace(sleepy({"1": 0}), may_sleep=False)
    made = decide(Fleet(asked_for_one, (), (replica("1", "ready", READY),)))
    assert ([one.state for one in made.fleet.replicas], made.fleet.endpoint.status) == (["ready"], "ready")
    assert decide(Fleet(asked_for_one)).starts == ("1",), "it wakes without another decision"


@pytest.mark.parametrize("counts", [{"1": 0}, {}], ids=["--min 1", "--replicas 2"])
def test_who_waits_for_waking_goes_on_waiting_when_people_ask_that_it_never_sleeps(counts: dict[str, int]) -> None:
    asleep = decide(Fleet(sleepy({"1": 0}))).fleet
    asked = replace(asleep.endpoint, may_sleep=False, counts=counts, generation=4)
    made = decide(replace(asleep, endpoint=asked))
    assert set(made.starts) == {"1"}
    assert wakes(told(made.fleet))
    assert wakes(told(decide(replace(made.fleet, replicas=(replica("1", "starting", RUNS),))).fleet))
    there = decide(replace(made.fleet, replicas=(replica("1", "starting", READY),)))
    assert not wakes(told(there.fleet))
    lost = decide(replace(there.fleet, replicas=(replace(there.fleet.replicas[0], seen=GONE),)))
    assert not wakes(told(lost.fleet)), "it did not sleep: requests are told at once that none is ready"


def test_one_that_fails_on_waking_is_said_to_fail_when_people_ask_that_it_never_sleeps() -> None:
    asleep = decide(Fleet(sleepy({"1": 0}))).fleet
    dead = replace(GONE, exit_code=1, log_tail=("no torch",))
    asked = replace(asleep.endpoint, may_sleep=False, counts={})
    failed = decide(replace(asleep, endpoint=asked, replicas=(replica("1", "starting", dead),)))
    view = told(failed.fleet)
    assert (wakes(view), "no torch" in view.reason) == (False, True)
