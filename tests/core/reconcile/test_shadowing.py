"""The version that shadows an endpoint: what the reconciler keeps running for it, and what gateways are told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tidegate.core.endpoints.shadow import ShadowSpec, replicas_for
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

READY = ReplicaObservation(True, True, "unix:/x")
GONE = ReplicaObservation(False, False)
SIGNATURE = Signature("matrix", (TensorSpec("input", "FP64", (-1, 2)),), (TensorSpec("prediction", "INT64", (-1,)),))


def shadowed(share: float = 20.0, version: str = "2", **other: object) -> EndpointFacts:
    facts = EndpointFacts(
        "churn",
        "churn",
        {"1": 100},
        replicas=1,
        generation=3,
        routed={"1": 100},
        shadow=ShadowSpec(version, share, 1.0),
    )
    return replace(facts, **other)  # type: ignore[arg-type]


def replica(version: str, state: ReplicaState = "ready", seen: ReplicaObservation = READY, number: int = 0) -> Replica:
    return Replica(f"r-{version}-{number}", version, state, 990.0, seen=seen, address="unix:/x")


def decide(fleet: Fleet, now: float = 1000.0) -> Plan:
    return plan(fleet, World(now, start_slots=10), ReconcileLimits(keep_previous_s=600))


def told(fleet: Fleet) -> wire.RoutedEndpoint:
    facts = VersionFacts("d" * 64, SIGNATURE, [0.0, 1.0], None, batchable=True)
    return route(fleet, "salt", dict.fromkeys(("1", "2"), facts))


def test_a_shadow_is_started_beside_what_serves_and_has_no_traffic() -> None:
    made = decide(Fleet(shadowed(), (), (replica("1"),)))
    assert made.starts == ("2",)
    endpoint = made.fleet.endpoint
    assert (endpoint.status, endpoint.reason, endpoint.routed) == ("ready", "", {"1": 100})
    view = told(made.fleet)
    assert [(one.name, one.weight) for one in view.variants] == [("1", 100)]
    assert view.shadow is not None
    assert (view.shadow.variant.version, view.shadow.variant.targets, view.shadow.share) == ("2", (), 20.0)


def test_once_it_is_ready_gateways_are_told_where_and_nothing_is_left_to_do() -> None:
    made = decide(Fleet(shadowed(), (), (replica("1"), replica("2"))))
    assert (made.starts, {one.version: one.status for one in made.fleet.variants}) == ((), {"1": "ready", "2": "ready"})
    assert converged(made.fleet)
    shadow = told(made.fleet).shadow
    assert shadow is not None
    assert [one.id for one in shadow.variant.targets] == ["r-2-0"]
    later = decide(made.fleet, 1000.0 + 10 * 600.0)
    assert [one.state for one in later.fleet.replicas] == ["ready", "ready"]


def test_a_shadow_that_was_ended_is_kept_for_a_while_as_any_version_without_traffic() -> None:
    ended = shadowed(shadow=None)
    first = decide(Fleet(ended, (), (replica("1"), replica("2"))))
    assert {one.version: one.status for one in first.fleet.variants} == {"1": "ready", "2": "idle"}
    assert told(first.fleet).shadow is None
    later = decide(first.fleet, 1601.0)
    assert [one.state for one in later.fleet.replicas] == ["ready", "draining"]


def test_a_shadow_that_fails_does_not_touch_the_endpoint() -> None:
    facts = (VariantFacts("2", attempts=4),)
    made = decide(Fleet(shadowed(), facts, (replica("1"), replica("2", "starting", GONE))))
    variants = {one.version: one for one in made.fleet.variants}
    assert variants["2"].status == "failed"
    assert "given up" in variants["2"].reason
    assert (made.fleet.endpoint.status, made.fleet.endpoint.reason) == ("ready", "")


@pytest.mark.parametrize(
    ("share", "live", "wanted"),
    [(20, [1], 1), (20, [5], 1), (20, [6], 2), (100, [4, 2], 4), (1, [0], 0), (50, [], 0), (0.1, [3], 1)],
)
def test_its_replicas_are_its_share_of_the_live_ones(share: float, live: list[int], wanted: int) -> None:
    assert replicas_for(share, live) == wanted


def test_one_replica_at_a_time_so_that_live_ones_have_room_to_start() -> None:
    fleet = Fleet(shadowed(100.0, replicas=3), (), (replica("1"),))
    assert decide(fleet).starts == ("1", "1", "2")


def test_a_shadow_sleeps_with_its_endpoint() -> None:
    facts = shadowed(counts={"1": 0}, may_sleep=True)
    made = decide(Fleet(facts, (), (replica("1"), replica("2"))))
    assert {one.version: one.status for one in made.fleet.variants} == {"1": "asleep", "2": "asleep"}
    assert [one.state for one in made.fleet.replicas] == ["draining", "draining"]


def test_a_version_with_traffic_is_no_shadow() -> None:
    made = decide(Fleet(shadowed(version="1"), (), (replica("1"),)))
    assert made.starts == ()
    assert told(made.fleet).shadow is None
