"""What people may ask of the number of replicas, what becomes of it, and what they are told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from support.control import ME, NewDatabase, add_version, container_at, lead_elsewhere
from tidegate.core.engines.placement import Placement
from tidegate.errors import Conflict, InvalidArgument, NotLeader, UnknownEndpoint
from tidegate.services.endpoints.scaling import Decisions
from tidegate.store.fleet.fleets import Fleets
from tidegate.store.tables import EndpointRow
from tidegate.wire.endpoints.scaling import Scale, ScaleDecision
from tidegate.wire.rest import DeployRequest, ScaleRequest, ScalingView, TrafficRequest
from tidegate.wiring import Container


@pytest.fixture
def platform(tmp_path: Path, migrated_database: NewDatabase) -> Iterator[Container]:
    container = container_at(tmp_path / "data", database_url=migrated_database())
    for number in ("1", "2"):
        add_version(container, "churn", number)
    container.endpoints.deploy("churn", DeployRequest("churn", "1", replicas=2), ME)
    yield container
    container.close()


def _scale(platform: Container, **asked: Any) -> ScalingView | None:
    return platform.endpoints.scale("churn", ScaleRequest(**asked), ME).scaling


def test_what_is_not_given_stays_and_else_is_as_the_platform_says(platform: Container) -> None:
    assert platform.endpoints.get("churn").scaling is None
    assert _scale(platform, max=4) == ScalingView(1, 4, "cpu", 70.0, 60.0, 6.0, 300.0)
    assert _scale(platform, target="concurrency=2.5") == ScalingView(1, 4, "concurrency", 2.5, 60.0, 6.0, 300.0)
    assert _scale(platform, min=2, down_s=30.0) == ScalingView(2, 4, "concurrency", 2.5, 60.0, 6.0, 30.0)
    now = platform.endpoints.get("churn")
    assert (now.revision, now.variants[0].replicas.desired) == (4, 2)
    newest, before, *_ = platform.endpoints.history("churn")
    assert (newest.action, newest.automated) == ("scale", False)
    assert before.note == "1 to 4 replicas by concurrency=2.5 (was 1 to 4 replicas by cpu=70)"


def test_the_platforms_settings_hold_where_nothing_is_said(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "min_replicas": 2,
        "max_replicas": 30,
        "target_cpu_utilization": 40,
        "replicas_limit": 50,
    }
    platform = container_at(tmp_path / "data", **settings)
    try:
        add_version(platform, "churn", "1")
        platform.endpoints.deploy("churn", DeployRequest("churn", "1"), ME)
        assert _scale(platform, autoscaler="tidegate") == ScalingView(2, 30, "cpu", 40.0, 60.0, 6.0, 300.0)
        with pytest.raises(InvalidArgument, match="from 1 to 50, this platform's limit"):
            _scale(platform, max=51)
        with pytest.raises(InvalidArgument, match="from 1 to 50"):
            _scale(platform, replicas=51)
    finally:
        platform.close()


def test_a_number_ends_it_however_it_is_given(platform: Container) -> None:
    _scale(platform, max=4)
    platform.endpoints.deploy("churn", DeployRequest("churn", "2"), ME)
    platform.endpoints.set_traffic("churn", TrafficRequest({"1": 50, "2": 50}), ME)
    assert platform.endpoints.get("churn").scaling is not None
    assert _scale(platform, replicas=2) is None
    assert platform.endpoints.history("churn")[0].note == "a fixed number of replicas (was 1 to 4 replicas by cpu=70)"
    _scale(platform, max=4)
    assert platform.endpoints.deploy("churn", DeployRequest("churn", "1", replicas=2), ME).scaling is None


@pytest.mark.parametrize(
    ("asked", "field", "told"),
    [
        ({}, "replicas", "say how many replicas"),
        ({"replicas": 2, "min": 1}, "replicas", "give either"),
        ({"replicas": 2, "autoscaler": "tidegate"}, "replicas", "give either"),
        ({"min": 5, "max": 4}, "min", "the minimum of replicas, 5, is above the maximum, 4"),
        ({"min": 11}, "min", "above the maximum, 10"),
        ({"max": 101}, "max", "from 1 to 100"),
        ({"min": 0}, "idle_s", "a minimum of 0 needs --idle"),
        ({"min": -1}, "min", "0 or more"),
        ({"target": "concurrency=0"}, "target", "above 0"),
        ({"target": "concurrency=nan"}, "target", "above 0"),
        ({"target": "rps=inf"}, "target", "above 0"),
        ({"target": "rps=-5"}, "target", "above 0"),
        ({"target": "cpu=150"}, "target", "in percent"),
        ({"target": "latency_p95=100"}, "target", "not supported yet"),
        ({"target": "concurrency=1,cpu=70"}, "target", "has no number"),
        ({"target": "gpu=5"}, "target", "there is no metric 'gpu'"),
        ({"target": "x" * 10_000}, "target", "up to 64 characters"),
        ({"target": "concurrency"}, "target", "has no '='"),
        ({"stable_s": float("nan")}, "stable_s", "from 6 to 300"),
        ({"down_s": -1.0}, "down_s", "from 0"),
        ({"idle_s": 300.0}, "idle_s", "--idle needs a minimum of 0"),
        ({"min": 1, "autoscaler": "engine"}, "autoscaler", "replicas on local are counted by autoscaler tidegate"),
        ({"autoscaler": "none"}, "autoscaler", "neither 'tidegate', the platform's own, nor 'engine'"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    platform: Container, asked: dict[str, Any], field: str, told: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        _scale(platform, **asked)
    assert told in caught.value.message
    assert caught.value.details["field"] == field
    now = platform.endpoints.get("churn")
    assert (now.scaling, now.revision) == (None, 1)


def test_what_is_gone_or_going_is_not_scaled(platform: Container) -> None:
    with pytest.raises(UnknownEndpoint):
        platform.endpoints.scale("nothing", ScaleRequest(max=4), ME)
    with pytest.raises(UnknownEndpoint):
        platform.scales.get("nothing")
    _scale(platform, max=4)
    platform.endpoints.delete("churn", ME)
    with pytest.raises(Conflict, match="being deleted"):
        _scale(platform, max=5)
    assert {one.rule for one in platform.scales.get("churn").versions} == {"fixed"}


def test_a_target_of_processors_is_refused_where_they_are_not_measured(platform: Container) -> None:
    endpoints = replace(platform.endpoints, can_start=lambda _where: None)
    in_containers = replace(endpoints, placement=Placement("docker"))
    with pytest.raises(InvalidArgument, match="the CPU of replicas on docker is not measured"):
        in_containers.scale("churn", ScaleRequest(max=4), ME)
    assert in_containers.scale("churn", ScaleRequest(target="rps=5"), ME).scaling is not None
    endpoints.scale("churn", ScaleRequest(target="cpu=50"), ME)
    with pytest.raises(InvalidArgument, match=r"on docker is not measured.*as 'tidegate scale' does with --target"):
        endpoints.deploy("churn", DeployRequest("churn", "1", backend="docker"), ME)
    assert endpoints.get("churn").backend == "local"


def test_why_there_are_as_many_is_told(platform: Container) -> None:
    fixed = platform.scales.get("churn")
    assert (fixed.scaling, fixed.replicas) == (None, 2)
    assert [(one.version, one.desired, one.rule) for one in fixed.versions] == [("1", 2, "fixed")]
    _scale(platform, max=4)
    (before,) = platform.scales.get("churn").versions
    assert (before.desired, before.rule, before.samples) == (2, "unknown", None)
    decision = ScaleDecision("1", 3, 2, "panic", "a rush")
    platform.scales.decisions.put({"churn": [decision], "gone": []})
    assert platform.scales.get("churn").versions == [decision]
    assert Decisions().of("churn") == {}


def test_a_standby_tells_what_the_leader_decided(platform: Container) -> None:
    _scale(platform, max=4)
    platform.scales.decisions.put({"churn": [ScaleDecision("1", 9, 9, "panic", "of a former term")]})
    lead_elsewhere(platform, "http://other:8800")
    decision, asked = ScaleDecision("1", 3, 2, "panic", "a rush"), []

    def of_leader(url: str, name: str) -> Scale:
        asked.append((url, name))
        return Scale(name, 1, None, [decision])

    told = replace(platform.scales, of_leader=of_leader).get("churn")
    assert (told.versions, asked) == ([decision], [("http://other:8800", "churn")])
    assert told.scaling == platform.endpoints.get("churn").scaling

    def silent(url: str, _name: str) -> Scale:
        raise NotLeader(f"the control plane at {url}, which leads, was asked: it does not answer")

    (unknown,) = replace(platform.scales, of_leader=silent).get("churn").versions
    assert (unknown.rule, unknown.desired) == ("unknown", 2)
    assert "http://other:8800, which leads, was asked: it does not answer" in unknown.reason


@pytest.mark.parametrize(
    "kept", [{"min_replicas": 1}, {"min_replicas": 1, "max_replicas": 4, "metric": "moods", "target": 1.0}, [1]]
)
def test_what_another_release_wrote_is_shown_as_unreadable_until_it_is_set_anew(platform: Container, kept: Any) -> None:
    def damage() -> None:
        with platform.store.transaction() as tx:
            tx.execute(update(EndpointRow).values(scaling=kept))

    damage()
    (shown,) = platform.endpoints.shown.all()
    assert shown.scaling is None
    assert "cannot be read" in shown.reason
    assert "tidegate scale churn --replicas N" in shown.reason
    assert {(one.rule, one.desired) for one in platform.scales.get("churn").versions} == {("unknown", 2)}
    with platform.store.reading() as tx:
        (fleet,) = Fleets(Placement("local"), "").read(tx)
    assert fleet.fleet.endpoint.name == "churn", "the reconcile loop goes on"
    platform.endpoints.deploy("churn", DeployRequest("churn", "2"), ME)
    with platform.store.reading() as tx:
        assert tx.scalars(select(EndpointRow)).one().scaling == kept, "who changes something else loses nothing"
    assert platform.endpoints.scale("churn", ScaleRequest(replicas=2), ME).reason == ""
    assert platform.endpoints.history("churn")[0].note == "a fixed number of replicas (was unreadable)"
    damage()
    assert _scale(platform, max=4, target="rps=5") == ScalingView(1, 4, "rps", 5.0, 60.0, 6.0, 300.0)
    assert "cannot be read" not in platform.endpoints.get("churn").reason


def test_what_an_engine_counts_is_told_as_its_own_decision(platform: Container) -> None:
    _scale(platform, max=4)
    with platform.store.transaction() as tx:
        scaling = {"min_replicas": 1, "max_replicas": 4, "metric": "cpu", "target": 70.0, "autoscaler": "engine"}
        tx.execute(update(EndpointRow).values(scaling=scaling))
    (one,) = platform.scales.get("churn").versions
    assert (one.rule, one.reason) == ("engine", "the engine decides by rules of its own, and does not say why")
