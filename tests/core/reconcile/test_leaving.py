"""When a replica that left the snapshot may be asked to end: the table of `core.reconcile.leaving`, row by row."""

from __future__ import annotations

import math

import pytest

from tidegate.core.ports import ReplicaObservation
from tidegate.core.reconcile.fleet import GatewayFacts, ReconcileLimits, Replica, ReplicaState, World
from tidegate.core.reconcile.leaving import all_let_go, release
from tidegate.core.reconcile.replicas import judge

LIMITS = ReconcileLimits(drain_s=5, gateway_silent_s=30, leave_s=60)
LEFT_AT, REVISION = 1000.0, 7
LEAVING = Replica("r-1", "1", "draining", 0.0, draining_at=LEFT_AT, drain_revision=REVISION)


def says(
    revision: int | None, *, silent_s: float = 0.0, in_use: tuple[str, ...] = (), name: str = "g-0"
) -> GatewayFacts:
    return GatewayFacts(name, revision, silent_s, frozenset(in_use))


@pytest.mark.parametrize(
    ("gateways", "left_s", "free", "why"),
    [
        ([says(7)], 0.1, True, "no gateway uses it"),
        ([says(9), says(8, name="g-1")], 0.1, True, "no gateway uses it"),
        ([says(6)], 0.1, False, "g-0 routes by revision 6"),
        ([says(6)], 59.9, False, "g-0 routes by revision 6"),
        ([says(9), says(6, name="g-1")], 20, False, "g-1 routes by revision 6"),
        ([says(None)], 20, False, "g-0 has not said"),
        ([says(7, in_use=("r-1",))], 20, False, "g-0 waits for its answer"),
        ([says(7, in_use=("r-2",))], 0.1, True, "no gateway uses it"),
        ([says(6), says(6, name="g-1"), says(None, name="g-2")], 20, False, "and 2 more"),
        # Who holds it up for ever does not.
        ([says(6)], 60, True, "the 60 s that gateways have for it are over: g-0 routes by revision 6"),
        ([says(7, in_use=("r-1",))], 60, True, "g-0 waits for its answer"),
        ([says(7), says(6, silent_s=30, name="g-1")], 0.1, True, "no gateway uses it"),
        ([says(7), says(6, silent_s=29.9, name="g-1")], 6, False, "g-1 routes by revision 6"),
        ([says(7), says(7, silent_s=40, in_use=("r-1",), name="g-1")], 0.1, True, "no gateway uses it"),
        # Nobody is there who could say something: time alone is left.
        ([], 4.9, False, "to be heard of"),
        ([], 5, True, "no gateway has been heard of"),
        ([says(6, silent_s=30)], 4.9, False, "to be heard of"),
        ([says(6, silent_s=30)], 5, True, "no gateway has been heard of"),
    ],
)
def test_a_replica_is_let_go_of_before_it_ends(
    gateways: list[GatewayFacts], left_s: float, free: bool, why: str
) -> None:
    found = release(LEAVING, World(LEFT_AT + left_s, gateways=tuple(gateways)), LIMITS)
    assert (found.free, why in found.why) == (free, True), found.why


@pytest.mark.parametrize(("listening_s", "free"), [(0.0, False), (4.9, False), (5.0, True), (math.inf, True)])
def test_a_control_plane_that_has_just_started_waits_to_hear_of_gateways(listening_s: float, free: bool) -> None:
    assert release(LEAVING, World(LEFT_AT + 3600, listening_s=listening_s), LIMITS).free is free


def test_a_replica_whose_revision_is_not_written_yet_is_held() -> None:
    fresh = Replica("r-1", "1", "draining", 0.0, draining_at=LEFT_AT)
    assert not release(fresh, World(LEFT_AT, gateways=(says(10**9),)), LIMITS).free


@pytest.mark.parametrize(
    ("gateways", "left_s", "free", "why"),
    [
        ([says(7), says(8, name="g-1")], 0.0, True, "no gateway"),
        ([says(7), says(6, name="g-1")], 59, False, "g-1"),
        ([says(7), says(6, name="g-1")], 60, True, "g-1 did not let go"),
        ([says(7, in_use=("r-9",))], 1, False, "g-0"),
        ([says(None)], 1, False, "g-0"),
        ([says(6, silent_s=31)], 4, False, "heard of"),
        ([], 5, True, "heard of"),
    ],
)
def test_the_replicas_of_a_host_are_let_go_of_together(
    gateways: list[GatewayFacts], left_s: float, free: bool, why: str
) -> None:
    found = all_let_go(gateways, REVISION, left_s, LIMITS)
    assert (found.free, why in found.why) == (free, True), found.why


@pytest.mark.parametrize(("state", "ends"), [("draining", "stop"), ("stopping", "kill")])
def test_a_clock_that_was_set_back_adds_nothing_to_the_wait(state: ReplicaState, ends: str) -> None:
    leaving = Replica(
        "r-1",
        "1",
        state,
        0.0,
        draining_at=LEFT_AT,
        stopping_at=LEFT_AT,
        seen=ReplicaObservation(alive=True, ready=True),
    )
    set_back = LEFT_AT - 3600
    waits = judge(leaving, World(set_back), LIMITS)
    assert (waits.action, waits.replica is not None) == (None, True)
    after = judge(waits.replica or leaving, World(set_back + 60), LIMITS)
    assert after.action is not None
    assert after.action.kind == ends
