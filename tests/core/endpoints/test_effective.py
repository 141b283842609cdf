"""What is in effect: people's spec, or what an automation put in its place, and how gateways are told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tidegate.core.endpoints.effective import (
    Automated,
    AutomatedReplicas,
    AutomatedWeights,
    Effective,
    Share,
    Spec,
    Split,
    check_split,
    effective,
    shares_of,
)
from tidegate.core.ports import ReplicaObservation
from tidegate.core.reconcile.fleet import EndpointFacts, Fleet, Plan, ReconcileLimits, Replica, World
from tidegate.core.reconcile.plan import plan
from tidegate.core.routing.assign import WeightedVariants
from tidegate.core.routing.snapshot import VersionFacts, route
from tidegate.errors import InvalidArgument
from tidegate.wire.decoding import convert
from tidegate.wire.gateways.snapshot import Snapshot, decode_snapshot, encode_snapshot
from tidegate.wire.signature import Signature, TensorSpec

SPLIT = Split("exp-salt", (Share("control", "1", 60.0), Share("treatment", "2", 40.0)))
RAMP = Split(
    "canary-salt",
    (Share("baseline", "1", 50.0), Share("canary", "2", 50.0), Share("stable", "1", 0.0)),
    coverage=0.1,
    uncovered="stable",
    phase=2,
)
SAME = Split("aa-salt", (Share("a", "1", 50.0), Share("b", "1", 50.0)))
READY = ReplicaObservation(True, True, "unix:/x")
FACTS = VersionFacts(
    "d",
    Signature("matrix", (TensorSpec("input", "FP64", (-1, 2)),), (TensorSpec("y", "FP64", (-1,)),)),
    [0],
    None,
    True,
)


def running(split: Split = SPLIT, revision: int = 3) -> AutomatedWeights:
    return AutomatedWeights("experiment", "blue", revision, split, {"1": 100.0})


@pytest.mark.parametrize(
    ("traffic_revision", "in_effect"),
    [(0, True), (3, True), pytest.param(4, False, id="people have set the traffic since")],
)
def test_weights_of_an_automation_hold_until_people_set_theirs(traffic_revision: int, in_effect: bool) -> None:
    now = effective(Spec({"1": 100.0}, 1, traffic_revision, 99), Automated(running()))
    split = replace(SPLIT, experiment="blue")
    assert (now.traffic, now.split) == (({"1": 60.0, "2": 40.0}, split) if in_effect else ({"1": 100.0}, None))
    assert (now.weights is not None) == in_effect


@pytest.mark.parametrize(
    ("replicas_revision", "counts"),
    [(0, {"1": 7, "2": 2}), (5, {"2": 2}), pytest.param(6, {}, id="people have fixed their number since")],
)
def test_each_version_has_the_autoscalers_number_until_people_fix_it(
    replicas_revision: int, counts: dict[str, int]
) -> None:
    decided = {"1": AutomatedReplicas(7, 4, share=10.0), "2": AutomatedReplicas(2, 5, share=10.0)}
    now = effective(Spec({"1": 100.0}, 3, 99, replicas_revision), Automated(replicas=decided))
    assert now == Effective({"1": 100.0}, 3, counts=counts, shares=dict.fromkeys(counts, 10.0))
    assert now.wanted("1") == counts.get("1", 3)


def test_without_automation_each_version_is_a_variant_of_its_own_name() -> None:
    now = effective(Spec({"1": 90.0, "2": 10.0, "3": 0.0}, 1), Automated())
    assert shares_of(now.traffic, now.split) == (Share("1", "1", 90.0), Share("2", "2", 10.0))


@pytest.mark.parametrize(
    ("shares", "told"),
    [
        ((Share("a", "1", 50.0), Share("a", "2", 50.0)), "named twice"),
        ((Share("a", "1", 50.0), Share("b", "2", 40.0)), "add up to 90"),
        ((Share("2", "1", 50.0), Share("b", "2", 50.0)), "another name"),
        ((Share("A B", "1", 50.0), Share("b", "2", 50.0)), "not allowed"),
        ((), "no version"),
    ],
)
def test_splits_that_make_no_sense_are_refused(shares: tuple[Share, ...], told: str) -> None:
    with pytest.raises(InvalidArgument, match=told):
        check_split(Split("salt", shares))
    with pytest.raises(InvalidArgument, match="salt"):
        check_split(Split("", SPLIT.shares))


def _fleet(*versions: str, **settings: Any) -> Fleet:
    replicas = tuple(Replica(f"r-{v}", v, "ready", 0.0, address="unix:/x", seen=READY) for v in versions)
    return Fleet(EndpointFacts("churn", "churn", **settings), (), replicas)


def _decide(fleet: Fleet) -> Plan:
    return plan(fleet, World(1000.0, 0.0, 10), ReconcileLimits())


def test_a_split_is_routed_once_every_version_of_it_is_ready() -> None:
    spec: dict[str, Any] = {"traffic": SPLIT.by_version, "replicas": 1, "generation": 2, "split": SPLIT}
    waiting = _decide(_fleet("1", **spec, routed={"1": 100.0})).fleet.endpoint
    assert (waiting.routed, waiting.routed_split, waiting.status) == ({"1": 100.0}, None, "deploying")
    there = _decide(_fleet("1", "2", **spec, routed={"1": 100.0})).fleet.endpoint
    assert (there.routed, there.routed_split, there.status) == (SPLIT.by_version, SPLIT, "ready")


def test_a_split_over_one_version_is_a_change_though_its_weight_stays() -> None:
    made = _decide(_fleet("1", traffic={"1": 100.0}, replicas=1, generation=2, routed={"1": 100.0}, split=SAME))
    assert made.fleet.endpoint.routed_split == SAME
    assert made.events[0] == "churn: traffic is now a=50 b=50, it was 1=100"
    back = EndpointFacts("churn", "churn", {"1": 100.0}, 1, 3, routed={"1": 100.0}, routed_split=SAME)
    assert _decide(Fleet(back, (), made.fleet.replicas)).fleet.endpoint.routed_split is None


def test_each_version_gets_the_number_of_replicas_decided_for_it() -> None:
    spec: dict[str, Any] = {"traffic": {"1": 50.0, "2": 50.0}, "replicas": 2, "generation": 2}
    made = _decide(_fleet("1", "2", **spec, routed={"1": 50.0, "2": 50.0}, counts={"1": 4}))
    assert sorted(made.starts) == ["1", "1", "1", "2"]
    assert [one.reason for one in made.fleet.variants] == ["1 of 4 replicas ready", "1 of 2 replicas ready"]


def test_gateways_get_named_variants_and_the_experiments_salt_while_it_is_routed() -> None:
    facts = {"1": FACTS, "2": FACTS}
    plain = route(_fleet("1", traffic={"1": 100.0}, replicas=1, generation=1, routed={"1": 100.0}), "own", facts)
    assert (plain.salt, plain.assignment_salt, [one.name for one in plain.variants]) == ("own", "", ["1"])
    assert plain.experiment == ""
    assert b"assignment_salt" not in encode_snapshot(Snapshot(1, (plain,))), "as it was, byte for byte"
    settings: dict[str, Any] = {"traffic": {"1": 100.0}, "replicas": 1, "generation": 1, "routed": {"1": 100.0}}
    split = route(_fleet("1", "2", **settings, routed_split=replace(SAME, experiment="aa")), "own", facts)
    (split,) = decode_snapshot(encode_snapshot(Snapshot(1, (split,)))).endpoints
    shown = [(one.name, one.version, one.weight) for one in split.variants]
    assert shown == [("a", "1", 50.0), ("b", "1", 50.0), ("2", "2", 0.0)], "version 2 is reached by pins alone"
    assert (split.salt, split.assignment_salt, split.experiment) == ("own", "aa-salt", "aa")


def test_two_experiments_of_one_endpoint_draw_independent_buckets() -> None:
    assignment = WeightedVariants({"control": 50.0, "treatment": 50.0})
    units = [f"user-{number}" for number in range(4000)]
    first, second = ({unit: assignment.variant(salt, unit) for unit in units} for salt in ("exp-1", "exp-2"))
    both = sum(first[unit] == second[unit] for unit in units)
    assert 1800 < both < 2200, "half of them meet by chance; 2000 expected, six standard deviations"


def test_a_ramp_counts_to_versions_what_takes_part_and_what_does_not() -> None:
    assert RAMP.by_version == {"1": 95.0, "2": 5.0}
    assert [(share.variant, share.weight) for share in shares_of({}, RAMP)] == [
        ("baseline", 5.0),
        ("canary", 5.0),
        ("stable", 90.0),
    ]
    ended, whole = replace(RAMP, coverage=0.0), replace(RAMP, coverage=1.0)
    assert (ended.by_version, whole.by_version) == ({"1": 100.0}, {"1": 50.0, "2": 50.0})
    assert [share.variant for share in shares_of({}, ended)] == ["stable"]
    assert [share.variant for share in shares_of({}, whole)] == ["baseline", "canary"]
    assert sum(replace(RAMP, coverage=1 / 3).by_version.values()) == pytest.approx(100, abs=1e-6)


def test_a_split_that_was_written_before_there_were_ramps_covers_everybody() -> None:
    shares = [
        {"variant": "control", "version": "1", "weight": 60.0},
        {"variant": "treatment", "version": "2", "weight": 40.0},
    ]
    assert convert({"salt": "exp-salt", "shares": shares, "experiment": ""}, Split) == SPLIT


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"coverage": 1.5}, "0 to 1"),
        ({"coverage": float("nan")}, "0 to 1"),
        ({"uncovered": ""}, "none of the split"),
        ({"uncovered": "other"}, "baseline, canary, stable"),
        ({"phase": 0}, "from 1"),
    ],
)
def test_a_ramp_that_makes_no_sense_is_refused(changed: dict[str, Any], told: str) -> None:
    check_split(RAMP)
    with pytest.raises(InvalidArgument, match=told):
        check_split(replace(RAMP, **changed))


def test_gateways_are_told_of_a_ramp_and_give_the_units_it_covers() -> None:
    spec: dict[str, Any] = {"traffic": RAMP.by_version, "replicas": 1, "generation": 1}
    endpoint = EndpointFacts("churn", "churn", routed=RAMP.by_version, split=RAMP, routed_split=RAMP, **spec)
    made = route(Fleet(endpoint), "salt", {"1": FACTS, "2": FACTS})
    told = decode_snapshot(encode_snapshot(Snapshot(1, (made,)))).endpoints[0]
    assert told == made
    assert (told.coverage, told.uncovered, told.phase) == (0.1, "stable", 2)
    assert {(one.name, one.weight, one.share) for one in told.variants} == {
        ("baseline", 5.0, 50.0),
        ("canary", 5.0, 50.0),
        ("stable", 90.0, 0.0),
    }
