"""A pass that finds nothing to do: how many queries it takes, what it plans, and that it misses nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lib.fleets import ReadyEngine, fill, name_of, reconciler
from support.control import ME, container_at
from support.queries import counted
from tidegate.core.endpoints.effective import AutomatedReplicas, AutomatedWeights, Share, Split
from tidegate.core.reconcile.fleet import Fleet, Plan, ReconcileLimits, World
from tidegate.core.reconcile.plan import plan
from tidegate.loops.reconcile import reconcile
from tidegate.loops.reconcile.reconcile import CALM_S, CHANGING_S
from tidegate.store.endpoints import automation
from tidegate.store.endpoints.history import Entry
from tidegate.store.fleet.fleet import load_snapshot, save_snapshot
from tidegate.store.tables import EndpointRow
from tidegate.wire.gateways.snapshot import Snapshot, decode_snapshot
from tidegate.wire.rest import ScaleRequest, TrafficRequest
from tidegate.wiring import Container

ENDPOINTS, VERSIONS, RUNNING = 8, 3, 2
QUERIES = 3  # what changed, one table in turn, the snapshot's revision


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    made = container_at(tmp_path / "data")
    fill(made.store, made.leadership.me.host, ENDPOINTS, VERSIONS, RUNNING)
    yield made
    made.close()


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The endpoints that a plan was made for."""
    names: list[str] = []

    def noting(fleet: Fleet, world: World, limits: ReconcileLimits) -> Plan:
        names.append(fleet.endpoint.name)
        return plan(fleet, world, limits)

    monkeypatch.setattr(reconcile, "plan", noting)
    return names


def snapshot(container: Container) -> Snapshot:
    with container.store.reading() as tx:
        return decode_snapshot(load_snapshot(tx)[1].encode())


def test_an_unchanged_pass_asks_for_changes_and_plans_nothing(container: Container, planned: list[str]) -> None:
    loop = reconciler(container, ReadyEngine())
    loop.step()
    assert sorted(planned) == [name_of(number) for number in range(ENDPOINTS)]
    routed = snapshot(container)
    assert [len(one.variants) for one in routed.endpoints] == [RUNNING] * ENDPOINTS
    planned.clear()
    with counted(container.store) as asked:
        assert loop.step() == CALM_S
    assert len(asked) == QUERIES
    assert planned == []
    assert snapshot(container) == routed


def test_a_change_is_planned_for_the_endpoint_that_changed(container: Container, planned: list[str]) -> None:
    loop = reconciler(container, ReadyEngine())
    loop.step()
    planned.clear()
    container.endpoints.scale(name_of(2), ScaleRequest(2), ME)
    assert loop.step() == CHANGING_S
    assert planned == [name_of(2)]
    container.endpoints.set_traffic(name_of(5), TrafficRequest({"1": 100}), ME)
    for _ in range(20):
        loop.step()
    assert set(planned) == {name_of(2), name_of(5)}
    routed = {one.name: one for one in snapshot(container).endpoints}
    assert [variant.weight for variant in routed[name_of(5)].variants if variant.weight] == [100.0]
    assert [len(variant.targets) for variant in routed[name_of(2)].variants] == [2, 2]


def test_what_an_automation_sets_is_planned_and_routed(container: Container, planned: list[str]) -> None:
    loop = reconciler(container, ReadyEngine())
    loop.step()
    planned.clear()
    with container.store.transaction() as tx:
        by_load, blue = tx.get_one(EndpointRow, name_of(1)), tx.get_one(EndpointRow, name_of(6))
        decided = {"1": AutomatedReplicas(3, 1)}
        assert automation.set_replicas(tx, automation.seen_of(by_load), decided, Entry("autoscale", 1.0))
        split = Split("salt", (Share("a", "1", 50.0), Share("b", "3", 50.0)))
        weights = AutomatedWeights("experiment", "blue", 1, split, {"1": 50.0, "2": 50.0})
        assert automation.set_weights(tx, automation.seen_of(blue), weights, Entry("experiment", 1.0))
    for _ in range(20):
        loop.step()
    assert set(planned) == {name_of(1), name_of(6)}
    routed = {one.name: one for one in snapshot(container).endpoints}
    assert [len(variant.targets) for variant in routed[name_of(1)].variants] == [3, 1]
    named = [(variant.name, variant.version) for variant in routed[name_of(6)].variants if variant.weight]
    assert named == [("a", "1"), ("b", "3")]


def test_a_replica_that_ends_is_noticed_at_once(container: Container, planned: list[str]) -> None:
    engine = ReadyEngine()
    loop = reconciler(container, engine)
    loop.step()
    planned.clear()
    engine.ended.add("r-00003-01")
    assert loop.step() == CHANGING_S
    assert planned == [name_of(3)]
    for _ in range(3):
        loop.step()
    targets = {
        target.id for one in snapshot(container).endpoints for variant in one.variants for target in variant.targets
    }
    assert "r-00003-01" not in targets
    assert len(targets) == ENDPOINTS * RUNNING


def test_a_snapshot_that_somebody_else_wrote_is_followed_by_a_newer_one(container: Container) -> None:
    loop = reconciler(container, ReadyEngine())
    loop.step()
    before = snapshot(container)
    with container.store.transaction() as tx:
        save_snapshot(tx, before.revision + 10, "{}", 0.0)
    loop.step()
    assert snapshot(container).revision == before.revision + 11
    assert snapshot(container).endpoints == before.endpoints
