"""How many replicas of a version are wanted while its engine counts them."""

from __future__ import annotations

import pytest

from tidegate.core.engines.capabilities import KUBERNETES
from tidegate.core.engines.placement import Placement
from tidegate.core.reconcile.fleet import EndpointFacts, Replica
from tidegate.core.reconcile.workloads import counted, key_of
from tidegate.core.workloads import EngineScaling, WorkloadState

PODS = Placement(KUBERNETES)


def endpoint(traffic: dict[str, float], routed: dict[str, float]) -> EndpointFacts:
    return EndpointFacts(
        "churn", "churn", traffic, 1, 1, routed=routed, placement=PODS, engine_scaling=EngineScaling(1, 6, "cpu", 70.0)
    )


def running(**versions: int) -> list[Replica]:
    return [
        Replica(f"{version}-{number}", version.removeprefix("v"), "ready", 0.0, form="", placement=PODS)
        for version, count in versions.items()
        for number in range(count)
    ]


@pytest.mark.parametrize(
    ("traffic", "begins"),
    [({"2": 100.0}, 4), ({"1": 75.0, "2": 25.0}, 1), ({"1": 50.0, "2": 50.0}, 2), ({"1": 99.0, "2": 1.0}, 1)],
)
def test_a_new_version_begins_with_its_share_of_what_serves(traffic: dict[str, float], begins: int) -> None:
    facts = endpoint(traffic, {"1": 100.0})
    states = [WorkloadState(key_of(facts, "1"), 1, 4)]
    found = counted(facts, states, running(v1=4))
    assert found.wanted("2") == begins
    assert found.wanted("1") == 4


def test_with_nothing_running_it_begins_as_people_said_and_what_the_engine_decided_holds() -> None:
    first = endpoint({"1": 100.0}, {})
    assert counted(first, [], []).wanted("1") == 1
    assert counted(first, [WorkloadState(key_of(first, "1"), 1, 40)], []).wanted("1") == 6, "within the bounds"


def test_while_the_engine_does_not_say_as_many_are_wanted_as_there_are() -> None:
    facts = endpoint({"1": 100.0}, {"1": 100.0})
    assert counted(facts, None, running(v1=5)).wanted("1") == 5
