"""The reconciler's decisions, situation by situation."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tidegate.core.endpoints.effective import Share, Split
from tidegate.core.engines.placement import Placement
from tidegate.core.ports import ReplicaObservation
from tidegate.core.reconcile.failures import ERROR_PREFIX
from tidegate.core.reconcile.fleet import (
    EndpointFacts,
    EndpointStatus,
    Fleet,
    GatewayFacts,
    Plan,
    ReconcileLimits,
    Replica,
    ReplicaState,
    VariantFacts,
    World,
)
from tidegate.core.reconcile.plan import converged, next_routed, plan

LIMITS = ReconcileLimits()
RUNS, READY, GONE = (
    ReplicaObservation(True, False, "unix:/x"),
    ReplicaObservation(True, True, "unix:/x"),
    ReplicaObservation(False, False),
)


def endpoint(
    traffic: dict[str, float],
    routed: dict[str, float] | None = None,
    *,
    replicas: int = 1,
    generation: int = 1,
    status: EndpointStatus = "deploying",
) -> EndpointFacts:
    return EndpointFacts("churn", "churn", traffic, replicas, generation, status=status, routed=routed or {})


def replica(
    version: str, state: ReplicaState, seen: ReplicaObservation | None = None, *, name: str = "", at: float = 0.0
) -> Replica:
    return Replica(name or f"r-{version}", version, state, at, seen=seen, address="unix:/x")


def decide(fleet: Fleet, now: float = 1000.0, slots: int = 10, applied: int | None = None) -> Plan:
    gateways = () if applied is None else (GatewayFacts("gateway-0", applied),)
    return plan(fleet, World(now, 0.0, slots, gateways), LIMITS)


def variant_of(made: Plan, version: str) -> VariantFacts:
    return next(variant for variant in made.fleet.variants if variant.version == version)


def test_new_endpoint_starts_its_replicas_and_routes_nothing() -> None:
    made = decide(Fleet(endpoint({"1": 100}, replicas=2)))
    assert made.starts == ("1", "1")
    assert made.fleet.endpoint.routed == {}
    assert made.fleet.endpoint.status == "deploying"
    assert made.fleet.endpoint.observed_generation == 1


def test_starts_stay_within_the_room_there_is() -> None:
    assert len(decide(Fleet(endpoint({"1": 100}, replicas=5)), slots=2).starts) == 2
    assert decide(Fleet(endpoint({"1": 100}, replicas=5)), slots=-1).starts == ()


def test_first_ready_replica_takes_the_traffic() -> None:
    made = decide(Fleet(endpoint({"1": 100}), (), (replica("1", "starting", READY, at=999),)))
    assert made.fleet.endpoint.routed == {"1": 100}
    assert made.fleet.endpoint.status == "ready"
    assert made.fleet.endpoint.reason == ""
    assert variant_of(made, "1").status == "ready"


@pytest.mark.parametrize(
    ("routed", "target", "shares", "ready", "switched"),
    [
        pytest.param({"1": 100}, {"2": 100}, {}, {"1": 4, "2": 4}, False, id="not decided yet"),
        pytest.param({"1": 100}, {"2": 100}, {"2": 100}, {"1": 4, "2": 3}, False, id="not all are there"),
        pytest.param({"1": 100}, {"2": 100}, {"2": 100}, {"1": 4, "2": 4}, True, id="all are there"),
        pytest.param({"1": 90, "2": 10}, {"2": 100}, {"2": 10}, {"1": 4, "2": 4}, False, id="for less traffic"),
        pytest.param({"1": 90, "2": 10}, {"1": 100}, {"1": 90}, {"1": 1, "2": 4}, True, id="hardly more traffic"),
        pytest.param({"1": 100}, {"1": 60, "2": 40}, {"2": 40}, {"1": 1, "2": 4}, True, id="less traffic"),
        pytest.param({"1": 100}, {"2": 100}, {}, {"2": 1}, True, id="nothing serves"),
    ],
)
def test_a_fleet_that_follows_its_load_is_made_ready_for_more_traffic(
    routed: dict[str, float],
    target: dict[str, float],
    shares: dict[str, float],
    ready: dict[str, int],
    switched: bool,
) -> None:
    before = replace(endpoint(target, routed, replicas=4), shares=shares)
    assert (next_routed(before, ready).routed == target) is switched


@pytest.mark.parametrize(
    ("enough", "ready", "switched"), [(2, 1, False), (2, 2, True), (9, 3, False), (9, 4, True), (None, 3, False)]
)
def test_a_switch_waits_for_what_its_share_of_the_load_takes(enough: int | None, ready: int, switched: bool) -> None:
    before = replace(endpoint({"2": 100}, {"1": 100}, replicas=4), shares={"2": 100.0})
    before = replace(before, enough={} if enough is None else {"2": enough})
    assert (next_routed(before, {"1": 4, "2": ready}).routed == {"2": 100}) is switched


def test_old_version_serves_until_every_replica_of_the_new_one_is_ready() -> None:
    serving = [replica("1", "ready", READY, name=f"old{i}") for i in range(2)]
    half = [replica("2", "ready", READY, name="new0"), replica("2", "starting", RUNS, name="new1", at=999)]
    fleet = Fleet(endpoint({"2": 100}, {"1": 100}, replicas=2), (), (*serving, *half))
    made = decide(fleet)
    assert made.fleet.endpoint.routed == {"1": 100}
    assert made.fleet.endpoint.status == "deploying"
    assert "version 1 serves on until then" in made.fleet.endpoint.reason
    whole = replace(fleet, replicas=(*serving, half[0], replica("2", "starting", READY, name="new1", at=999)))
    made = decide(whole)
    assert made.fleet.endpoint.routed == {"2": 100}
    assert variant_of(made, "1").status == "idle"
    assert variant_of(made, "1").idle_since == 1000.0


def test_a_version_that_never_becomes_ready_leaves_the_old_one_serving_and_says_why() -> None:
    failed = VariantFacts("2", attempts=5, cause="needs torch", quarantined_generation=2)
    fleet = Fleet(endpoint({"2": 100}, {"1": 100}, generation=2), (failed,), (replica("1", "ready", READY),))
    made = decide(fleet)
    assert made.fleet.endpoint.routed == {"1": 100}
    assert made.fleet.endpoint.status == "degraded"
    assert "needs torch" in made.fleet.endpoint.reason
    assert "version 1 serves on" in made.fleet.endpoint.reason
    assert made.starts == ()


def test_a_version_given_up_with_one_of_its_replicas_is_not_said_to_be_on_its_way() -> None:
    given_up = VariantFacts("2", attempts=5, cause="needs torch", quarantined_generation=2)
    half, old = replica("2", "ready", READY), replica("1", "ready", READY)
    made = decide(Fleet(endpoint({"2": 100}, {"1": 100}, replicas=2, generation=2), (given_up,), (old, half)))
    assert (made.fleet.endpoint.status, variant_of(made, "2").status) == ("degraded", "degraded")
    assert "1 of 2 replicas ready: given up after 5 failures" in made.fleet.endpoint.reason
    # Where nothing serves, one replica each is enough: what is awaited is the other version's.
    both = endpoint({"2": 50, "3": 50}, replicas=2, generation=2)
    assert decide(Fleet(both, (given_up,), (half,))).fleet.endpoint.status == "deploying"


def test_a_change_by_a_person_lifts_the_quarantine() -> None:
    failed = VariantFacts("2", attempts=5, cause="needs torch", quarantined_generation=2, retry_at=5000.0)
    changed = endpoint({"2": 100}, generation=3)
    assert decide(Fleet(replace(changed, retries={"1": 3, "2": 2}), (failed,))).starts == (), "not of this version"
    made = decide(Fleet(replace(changed, retries={"2": 3}), (failed,)))
    assert made.starts == ("2",)
    assert variant_of(made, "2").attempts == 0


def test_failed_start_waits_before_the_next_and_is_told() -> None:
    dead = ReplicaObservation(False, False, exit_code=-9, log_tail=("loading", "still loading"))
    made = decide(Fleet(endpoint({"1": 100}), (), (replica("1", "starting", dead),)))
    assert made.gone == ("r-1",)
    assert made.starts == ()
    variant = variant_of(made, "1")
    assert variant.attempts == 1
    assert variant.retry_at == 1001.0
    assert "SIGKILL" in made.fleet.endpoint.reason
    assert "still loading" in made.fleet.endpoint.reason
    assert decide(made.fleet, now=1001.0).starts == ("1",)


def test_five_failed_starts_in_a_row_are_the_last() -> None:
    fleet = Fleet(endpoint({"1": 100}), (VariantFacts("1", attempts=4),), (replica("1", "starting", GONE),))
    made = decide(fleet)
    assert variant_of(made, "1").quarantined_generation == 1
    assert variant_of(made, "1").status == "failed"
    assert made.fleet.endpoint.status == "failed"
    assert decide(made.fleet, now=99_999.0).starts == ()


@pytest.mark.parametrize(
    ("code", "last"),
    [
        ("missing_library", True),
        ("invalid_argument", True),
        ("model_load_failed", False),
        ("artifact_damaged", False),
        ("image_pull_failed", False),
        ("other", False),
    ],
)
def test_a_failure_that_will_not_mend_is_not_tried_again(code: str, last: bool) -> None:
    line = f'tidegate-error: {{"code": "{code}", "error": "it needs the library torch"}}'
    dead = ReplicaObservation(False, False, exit_code=1, log_tail=("Traceback", line))
    made = decide(Fleet(endpoint({"1": 100}), (), (replica("1", "starting", dead),)))
    assert (variant_of(made, "1").quarantined_generation is not None) is last
    assert variant_of(made, "1").cause == "it needs the library torch"


def test_a_replica_that_never_answers_is_killed_and_counts_as_a_failed_start() -> None:
    made = decide(Fleet(endpoint({"1": 100}), (), (replica("1", "starting", RUNS, at=1000 - 120),)))
    assert [action.kind for action in made.actions] == ["kill"]
    assert variant_of(made, "1").attempts == 1
    assert "within 120 s" in variant_of(made, "1").cause
    assert made.fleet.replicas[0].state == "stopping"


def test_a_silent_replica_is_unready_then_started_anew() -> None:
    fleet = Fleet(endpoint({"1": 100}, {"1": 100}), (), (replica("1", "ready", RUNS),))
    now = decide(fleet, now=1000.0).fleet
    assert now.replicas[0].state == "ready"
    unready = decide(now, now=1003.0).fleet
    assert unready.replicas[0].state == "unready"
    dead = decide(unready, now=1030.0)
    assert [action.kind for action in dead.actions] == ["kill"]
    assert variant_of(dead, "1").crashes == (1030.0,)
    answers = replace(unready, replicas=(replace(unready.replicas[0], seen=READY),))
    assert decide(answers, now=1010.0).fleet.replicas[0].unready_since is None


def test_one_of_two_replicas_dies_the_endpoint_is_degraded_and_it_is_replaced() -> None:
    both = (replica("1", "ready", READY, name="a"), replica("1", "ready", GONE, name="b"))
    made = decide(Fleet(endpoint({"1": 100}, {"1": 100}, replicas=2), (), both))
    assert made.fleet.endpoint.status == "degraded"
    assert made.fleet.endpoint.routed == {"1": 100}
    assert made.starts == ("1",), "at once: calls wait for it"


def test_all_replicas_die_the_routing_stays() -> None:
    made = decide(Fleet(endpoint({"1": 100}, {"1": 100}, status="ready"), (), (replica("1", "ready", GONE),)))
    assert made.fleet.endpoint.status == "failed"
    assert made.fleet.endpoint.routed == {"1": 100}
    assert made.fleet.endpoint.reason


def test_unknown_is_not_dead() -> None:
    fleet = Fleet(endpoint({"1": 100}, {"1": 100}), (), (replica("1", "ready", None),))
    made = decide(fleet)
    assert made.fleet.replicas == fleet.replicas
    assert not made.gone
    assert not made.actions
    assert not made.starts


def test_crashes_are_counted_within_a_window_and_by_wanted_replicas() -> None:
    recent = tuple(900.0 + i for i in range(4))
    dies = (replica("1", "ready", GONE),)
    fleet = Fleet(endpoint({"1": 100}, {"1": 100}), (VariantFacts("1", crashes=recent),), dies)
    assert variant_of(decide(fleet), "1").quarantined_generation == 1
    assert variant_of(decide(fleet, now=1203.5), "1").quarantined_generation is None
    more = replace(fleet, endpoint=replace(fleet.endpoint, replicas=2))
    assert variant_of(decide(more), "1").quarantined_generation is None


@pytest.mark.parametrize(("before", "retry_at"), [(0, 1000.0), (1, 1000.0), (2, 1001.0), (3, 1002.0), (4, 1004.0)])
def test_each_wanted_replica_may_die_once_before_there_are_pauses(before: int, retry_at: float) -> None:
    crashed = VariantFacts("1", crashes=(990.0,) * before)
    both = (replica("1", "ready", READY, name="a"), replica("1", "ready", GONE, name="b"))
    made = decide(Fleet(endpoint({"1": 100}, {"1": 100}, replicas=2), (crashed,), both))
    assert variant_of(made, "1").retry_at == retry_at
    assert made.starts == (("1",) if retry_at == 1000.0 else ())
    assert decide(made.fleet, now=retry_at).starts == ("1",)


def test_version_without_traffic_is_kept_then_drained_then_stopped() -> None:
    replicas = (replica("1", "ready", READY), replica("2", "ready", READY))
    kept = decide(Fleet(endpoint({"2": 100}, {"2": 100}), (), replicas))
    assert {r.state for r in kept.fleet.replicas} == {"ready"}
    drained = decide(kept.fleet, now=1600.0)
    old = next(r for r in drained.fleet.replicas if r.version == "1")
    assert (old.state, old.draining_at) == ("draining", 1600.0)
    assert drained.actions == ()
    written = replace(drained.fleet, replicas=tuple(replace(r, drain_revision=7) for r in drained.fleet.replicas))
    assert decide(written, now=1601.0, applied=6).actions == ()
    assert [a.kind for a in decide(written, now=1601.0, applied=7).actions] == ["stop"]
    assert [a.kind for a in decide(written, now=1605.0, applied=None).actions] == ["stop"]


def test_stopping_replica_is_killed_after_its_grace() -> None:
    leaving = replace(replica("1", "stopping", RUNS), stopping_at=1000.0)
    fleet = Fleet(endpoint({"2": 100}, {"2": 100}), (), (replica("2", "ready", READY), leaving))
    assert decide(fleet, now=1009.0).actions == ()
    assert [a.kind for a in decide(fleet, now=1010.0).actions] == ["kill"]
    ended = replace(fleet, replicas=(fleet.replicas[0], replace(leaving, seen=GONE)))
    assert decide(ended).gone == ("r-1",)
    assert [v.version for v in decide(ended).fleet.variants] == ["2"]


def test_scale_down_keeps_the_ready_and_the_oldest() -> None:
    replicas = (
        replica("1", "ready", READY, name="young", at=20),
        replica("1", "ready", READY, name="old", at=10),
        replica("1", "starting", RUNS, name="loading", at=995),
    )
    made = decide(Fleet(endpoint({"1": 100}, {"1": 100}), (), replicas))
    assert {r.id: r.state for r in made.fleet.replicas} == {"young": "draining", "old": "ready", "loading": "stopping"}
    assert made.fleet.endpoint.status == "ready"


def test_scale_up_is_deploying_until_all_are_there() -> None:
    made = decide(Fleet(endpoint({"1": 100}, {"1": 100}, replicas=3), (), (replica("1", "ready", READY),)))
    assert made.starts == ("1", "1")
    assert made.fleet.endpoint.status == "deploying"
    assert "1 of 3" in made.fleet.endpoint.reason


def test_abandoned_deployment_stops_loading_at_once() -> None:
    replicas = (replica("1", "ready", READY), replica("2", "starting", RUNS, at=999))
    made = decide(Fleet(endpoint({"1": 100}, {"1": 100}, generation=3), (), replicas))
    assert [(a.kind, a.replica) for a in made.actions] == [("stop", "r-2")]


def test_deleted_endpoint_drains_stops_and_goes() -> None:
    fleet = Fleet(
        replace(endpoint({"1": 100}, {"1": 100}), deleted=True),
        (),
        (replica("1", "ready", READY, name="a"), replica("1", "starting", RUNS, name="b", at=999)),
    )
    made = decide(fleet)
    assert made.fleet.endpoint.status == "deleting"
    assert made.fleet.endpoint.routed == {}
    assert {r.id: r.state for r in made.fleet.replicas} == {"a": "draining", "b": "stopping"}
    assert not made.removed
    ended = replace(made.fleet, replicas=tuple(replace(r, seen=GONE) for r in made.fleet.replicas))
    assert decide(ended).removed


def test_running_it_again_on_its_own_result_changes_nothing() -> None:
    replicas = (replica("1", "ready", READY), replica("2", "ready", READY), replica("3", "starting", RUNS, at=999))
    once = decide(Fleet(endpoint({"1": 50, "2": 50}, {"1": 100}), (), replicas))
    twice = decide(once.fleet)
    assert twice.fleet == once.fleet
    assert twice.starts == () == twice.events


def test_routing_moves_to_a_target_with_one_replica_each_when_nothing_serves() -> None:
    def routed(before: EndpointFacts, ready: dict[str, int]) -> dict[str, float]:
        return next_routed(before, ready).routed

    assert routed(endpoint({"2": 100}, {"1": 100}, replicas=3), {"1": 0, "2": 1}) == {"2": 100}
    assert routed(endpoint({"2": 100}, {"1": 100}, replicas=3), {"1": 1, "2": 2}) == {"1": 100}
    even = endpoint({"1": 90, "2": 10}, {"1": 50, "2": 50}, replicas=3)
    assert routed(even, {"1": 1, "2": 1}) == {"1": 90, "2": 10}


def formed(name: str, state: ReplicaState, form: str | None, at: float = 0.0) -> Replica:
    seen = RUNS if state == "starting" else READY
    return Replica(name, "1", state, at, seen=seen, address="unix:/x", form=form)


def serving(form: str, replicas: tuple[Replica, ...], count: int = 1) -> Fleet:
    """Version 1 serves, and shall be served in this form."""
    return Fleet(replace(endpoint({"1": 100}, {"1": 100}, replicas=count), forms={"1": form}), (), replicas)


def test_a_faster_form_takes_over_once_it_is_ready_and_not_before() -> None:
    begun = decide(serving("trees", (formed("old", "ready", ""),)))
    assert begun.starts == ("1",)
    loading = (formed("old", "ready", ""), formed("new", "starting", "trees", at=999))
    waits = decide(serving("trees", loading))
    assert waits.starts == () == waits.actions
    assert [r.state for r in waits.fleet.replicas] == ["ready", "starting"]
    assert waits.fleet.endpoint.status == "ready"
    swapped = decide(serving("trees", (formed("old", "ready", ""), formed("new", "ready", "trees"))))
    assert {r.id: r.state for r in swapped.fleet.replicas} == {"old": "draining", "new": "ready"}
    assert swapped.starts == ()


def test_of_several_replicas_of_the_old_form_each_stays_until_one_of_the_new_is_ready() -> None:
    replicas = (formed("a", "ready", ""), formed("b", "ready", ""), formed("c", "ready", "trees"))
    made = decide(serving("trees", (*replicas, formed("d", "starting", "trees", at=999)), count=2))
    states = {r.id: r.state for r in made.fleet.replicas}
    assert sorted([states["a"], states["b"]]) == ["draining", "ready"]
    assert (states["c"], states["d"]) == ("ready", "starting")


def test_a_new_form_that_does_not_start_leaves_the_old_one_serving() -> None:
    broken = replace(formed("new", "starting", "trees", at=999), seen=GONE)
    made = decide(serving("trees", (formed("old", "ready", ""), broken)))
    assert [(r.id, r.state) for r in made.fleet.replicas] == [("old", "ready")]
    assert variant_of(made, "1").attempts == 1


def test_a_replica_whose_form_is_unknown_is_left_alone_and_one_still_loading_the_old_form_is_not() -> None:
    assert decide(serving("trees", (formed("old", "ready", None),))).starts == ()
    made = decide(serving("trees", (formed("late", "starting", "", at=999),)))
    assert made.starts == ("1",)
    assert made.fleet.replicas[0].state == "stopping"


@pytest.mark.parametrize("code", ["out_of_resources", "disk_full", "store_unavailable", "part_unavailable"])
@pytest.mark.parametrize("state", ["starting", "ready"])
def test_what_the_platform_lacked_is_told_and_tried_again_and_never_held_against_a_version(
    code: str, state: ReplicaState
) -> None:
    tail = (ERROR_PREFIX + json.dumps({"error": "no file descriptor left", "code": code}),)
    fleet = Fleet(
        endpoint({"1": 100}),
        (VariantFacts("1"),),
        (replica("1", state, ReplicaObservation(False, False, log_tail=tail)),),
    )
    for _ in range(20):
        made = decide(fleet)
        variant = variant_of(made, "1")
        assert (variant.attempts, variant.crashes, variant.restarts) == (0, (), 0)
        assert variant.quarantined_generation is None
        assert variant.cause == "no file descriptor left"
        assert variant.retry_at is not None
        assert decide(made.fleet, now=variant.retry_at).starts == ("1",)
        fleet = replace(made.fleet, replicas=fleet.replicas)


def at_rest() -> Fleet:
    asked = replace(endpoint({"1": 90, "2": 10}, {"1": 90, "2": 10}, status="ready"), observed_generation=1)
    return Fleet(
        asked,
        (VariantFacts("1", "ready"), VariantFacts("2", "ready")),
        (replica("1", "ready", READY), replica("2", "ready", READY)),
    )


def test_what_is_as_it_was_asked_to_be_has_settled() -> None:
    fleet = at_rest()
    assert converged(fleet)
    assert decide(fleet) == Plan(fleet)
    again = replace(fleet, variants=(fleet.variants[0], VariantFacts("2", "ready", restarts=3, retry_at=2000.0)))
    assert converged(again)
    assert decide(again) == Plan(again)
    more = replace(fleet, replicas=(*fleet.replicas, replica("1", "ready", READY, name="r-more")))
    assert not converged(more)
    by_load = replace(more, endpoint=replace(more.endpoint, counts={"1": 2}))
    assert converged(by_load)
    assert decide(by_load) == Plan(by_load)
    split = Split("salt", (Share("a", "1", 90.0), Share("b", "2", 10.0)))
    named = replace(fleet, endpoint=replace(fleet.endpoint, split=split, routed_split=split))
    assert converged(named)
    assert decide(named) == Plan(named)


@pytest.mark.parametrize(
    "changed",
    [
        {"deleted": True},
        {"generation": 2},
        {"status": "degraded"},
        {"traffic": {"1": 100.0}},
        {"replicas": 2},
        {"counts": {"1": 2}},
        {"counts": {"1": 2}, "replicas": 3},
        {"split": Split("salt", (Share("a", "1", 90.0), Share("b", "2", 10.0)))},
        {"routed_split": Split("salt", (Share("a", "1", 90.0), Share("b", "2", 10.0)))},
        {"routed": {"1": 100.0}},
        {"forms": {"1": "trees"}},
        {"placement": Placement("docker")},
    ],
)
def test_an_endpoint_that_is_to_be_something_else_has_not_settled(changed: dict[str, Any]) -> None:
    fleet = at_rest()
    fleet = replace(fleet, replicas=tuple(replace(one, form="") for one in fleet.replicas))
    assert converged(fleet)
    assert not converged(replace(fleet, endpoint=replace(fleet.endpoint, **changed)))


@pytest.mark.parametrize(
    "changed",
    [{"idle_since": 5.0}, {"attempts": 1}, {"crashes": (5.0,)}, {"quarantined_generation": 1}],
)
def test_a_record_that_time_wears_off_has_not_settled(changed: dict[str, Any]) -> None:
    fleet = at_rest()
    first, second = fleet.variants
    assert not converged(replace(fleet, variants=(first, replace(second, **changed))))
    assert not converged(replace(fleet, variants=(first, second, VariantFacts("3", "idle", idle_since=5.0))))


@pytest.mark.parametrize(
    "changed",
    [{"state": "draining"}, {"seen": RUNS}, {"seen": GONE}, {"seen": None}, {"unready_since": 5.0}],
)
def test_a_replica_that_does_not_answer_has_not_settled(changed: dict[str, Any]) -> None:
    fleet = at_rest()
    first, second = fleet.replicas
    assert not converged(replace(fleet, replicas=(first, replace(second, **changed))))
    assert not converged(replace(fleet, replicas=(first,)))
