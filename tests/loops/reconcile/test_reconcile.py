"""The loop around the decision: what it writes, in which order, and what one failure costs the rest."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import update
from sqlalchemy.orm import Session

from support.control import ME, add_version, container_at, digest_for
from support.memory_backend import MemoryBackend
from support.wait import until
from tidegate.core.endpoints.effective import AutomatedReplicas, AutomatedWeights, Share, Split
from tidegate.core.engines.placement import PROCESSES
from tidegate.core.reconcile.fleet import GatewayFacts, ReconcileLimits
from tidegate.errors import NotLeader, StoreUnavailable
from tidegate.loops.metrics import LoopMetrics
from tidegate.loops.reconcile.adoption import adopt
from tidegate.loops.reconcile.reconcile import (
    CALM_S,
    CHANGING_S,
    WAKING_LOOKS_S,
    WAKING_S,
    ReconcileDependencies,
    Reconciler,
)
from tidegate.loops.reconcile.replica_engine import ReplicaEngine
from tidegate.services.models.intake import Intake
from tidegate.store.endpoints import automation
from tidegate.store.endpoints.endpoints import add_note, failed_replicas_of, get_endpoint, replicas_of
from tidegate.store.endpoints.history import Entry
from tidegate.store.fleet.fleet import load_snapshot
from tidegate.store.tables import EndpointRow, LeaseRow, ReplicaRow, VariantRow
from tidegate.wire.gateways.snapshot import Snapshot, decode_snapshot
from tidegate.wire.rest import DeployRequest, RollbackRequest, ScaleRequest, TrafficRequest
from tidegate.wiring import Container


class Bench:
    """A loop on a real store, with time in the test's hand."""

    def __init__(self, folder: Path) -> None:
        self.container: Container = container_at(folder / "data")
        self.backend = MemoryBackend()
        self.now, self.set_by_s = 1000.0, 0.0
        self.written = 0
        self.registry = CollectorRegistry()
        self.gateways: tuple[GatewayFacts, ...] = ()
        self.dependencies = self.make_dependencies()
        self.loop = Reconciler(self.dependencies)

    def make_dependencies(self) -> ReconcileDependencies:
        store = self.container.store
        return ReconcileDependencies(
            store=store,
            engine=ReplicaEngine(self.backend, store, self.container.manifests.path, self.clock, token=2),
            placement=PROCESSES,
            snapshot_written=self.count,
            gateways=lambda: (self.gateways, 60.0),
            metrics=LoopMetrics(self.registry),
            limits=ReconcileLimits(keep_previous_s=0, drain_s=5),
            clock=self.clock,
            ticks=lambda: self.now,
        )

    def dependencies_of_next_term(self) -> ReconcileDependencies:
        store, path = self.container.store, self.container.manifests.path
        return replace(self.dependencies, engine=ReplicaEngine(self.backend, store, path, self.clock, token=2))

    def clock(self) -> float:
        return self.now + self.set_by_s

    def count(self) -> None:
        self.written += 1

    def deploy(self, model: str, version: str = "1", replicas: int = 1) -> None:
        self.container.endpoints.deploy(model, DeployRequest(model, version, replicas), ME)

    def steps(self, count: int = 3) -> None:
        for _ in range(count):
            self.now += 0.2
            self.loop.step()

    def says(self, revision: int, in_use: Collection[str] = ()) -> None:
        """What the one gateway says."""
        self.gateways = (GatewayFacts("gateway-0", revision, in_use=frozenset(in_use)),)

    def status(self, endpoint: str) -> str:
        return self.container.endpoints.get(endpoint).status

    def snapshot(self) -> Snapshot:
        with self.container.store.reading() as tx:
            return decode_snapshot(load_snapshot(tx)[1].encode())

    def failures(self, scope: str) -> float:
        return self.registry.get_sample_value("tidegate_reconcile_failures_total", {"scope": scope}) or 0.0


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    for model in ("churn", "fraud"):
        add_version(made.container, model, "1")
        add_version(made.container, model, "2", label="v2")
    yield made
    made.container.close()


def test_deployed_version_is_started_routed_and_published(bench: Bench) -> None:
    bench.deploy("churn", replicas=2)
    bench.steps()
    assert bench.status("churn") == "ready"
    (endpoint,) = bench.snapshot().endpoints
    (variant,) = endpoint.variants
    assert (variant.version, variant.weight, variant.model) == ("1", 100, "churn")
    assert {target.address for target in variant.targets} == {f"unix:/{name}.sock" for name in bench.backend.running}
    assert variant.signature.inputs[0].name == "input"


def test_a_replica_that_no_longer_answers_is_looked_at_again_soon(bench: Bench) -> None:
    bench.deploy("churn")
    bench.steps()
    assert bench.loop.step() == CALM_S
    bench.backend.ready = False
    assert bench.loop.step() == CHANGING_S


def test_an_unchanged_fleet_writes_no_snapshot(bench: Bench) -> None:
    bench.deploy("churn")
    bench.steps()
    revision, written = bench.snapshot().revision, bench.written
    bench.steps()
    assert (bench.snapshot().revision, bench.written) == (revision, written)


def test_the_old_version_leaves_the_snapshot_before_it_is_stopped(bench: Bench) -> None:
    bench.deploy("churn", "1")
    bench.steps()
    (old,) = bench.backend.running
    bench.deploy("churn", "2")
    bench.steps(4)
    assert [v.version for v in bench.snapshot().endpoints[0].variants] == ["2"]
    bench.says(bench.snapshot().revision - 1)
    bench.now += 20
    bench.steps(2)
    assert ("stop", old) not in bench.backend.done, "the gateway has not said that it routes past it"
    view = next(one for one in bench.container.endpoints.get("churn").variants if one.version == "1")
    assert (view.status, "gateway-0 routes by revision" in view.reason) == ("stopping", True)
    bench.says(bench.snapshot().revision, in_use={old})
    bench.steps(2)
    assert ("stop", old) not in bench.backend.done, "the gateway still waits for an answer of it"
    bench.says(bench.snapshot().revision)
    bench.steps(2)
    assert ("stop", old) in bench.backend.done
    assert bench.status("churn") == "ready"


def test_a_replica_that_no_snapshot_lists_leaves_without_another_one(bench: Bench) -> None:
    bench.deploy("churn", replicas=2)
    bench.steps()
    silent, steady = bench.backend.running
    bench.backend.ready, bench.backend.steady = False, {steady}
    bench.steps(20)
    revision = bench.snapshot().revision
    assert [target.id for target in bench.snapshot().endpoints[0].variants[0].targets] == [steady]
    bench.says(revision)
    bench.container.endpoints.scale("churn", ScaleRequest(1), ME)
    bench.steps(4)
    assert bench.snapshot().revision == revision
    assert ("stop", silent) in bench.backend.done, "no gateway has to say anything anew"


def test_starts_are_bounded_over_all_endpoints(bench: Bench) -> None:
    bench.backend.ready = False
    bench.deploy("churn", replicas=3)
    bench.deploy("fraud", replicas=3)
    bench.steps(5)
    assert len(bench.backend.running) == 2


def test_an_engine_that_cannot_start_is_a_failed_start_with_its_reason(bench: Bench) -> None:
    bench.backend.refuses = "churn"
    bench.deploy("churn")
    bench.steps()
    view = bench.container.endpoints.get("churn")
    assert view.status == "deploying"
    assert "no process could be started" in view.reason
    bench.backend.refuses = None
    bench.now += 5
    bench.steps()
    assert bench.status("churn") == "ready"


def test_what_an_engine_that_is_away_runs_stays_and_what_it_should_run_waits(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidegate.loops.reconcile.replica_engine.WAITS_S", 0.0)
    bench.deploy("churn")
    bench.steps()
    (serving,) = bench.backend.running
    bench.backend.unavailable = "no engine answers: start it"
    bench.container.endpoints.scale("churn", ScaleRequest(3), ME)
    bench.deploy("fraud")
    for _ in range(20):
        bench.now += 60
        bench.steps(1)
    view = bench.container.endpoints.get("churn")
    assert (view.status, view.variants[0].replicas.ready, view.variants[0].restarts) == ("deploying", 1, 0)
    assert view.reason == "version 1: 1 of 3 replicas ready: no engine answers: start it"
    assert [target.id for target in bench.snapshot().endpoints[0].variants[0].targets] == [serving]
    assert bench.container.endpoints.get("fraud").reason == "version 1: no engine answers: start it"
    bench.backend.unavailable = None
    bench.steps(5)
    assert (bench.status("churn"), bench.status("fraud")) == ("ready", "ready")
    assert len(bench.backend.running) == 4
    assert serving in bench.backend.running


def test_room_to_load_bounds_those_that_waited_too(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegate.loops.reconcile.replica_engine.WAITS_S", 0.0)
    bench.backend.unavailable = "no engine answers"
    bench.deploy("churn", replicas=3)
    bench.deploy("fraud", replicas=3)
    bench.steps(10)
    bench.backend.unavailable, bench.backend.ready = None, False
    bench.steps(5)
    assert len(bench.backend.running) == 2
    bench.backend.ready = True
    bench.steps(10)
    assert (bench.status("churn"), bench.status("fraud")) == ("ready", "ready")


def test_other_limits_replace_the_replicas_once_the_new_ones_are_ready(bench: Bench) -> None:
    bench.deploy("churn")
    bench.steps()
    (old,) = bench.backend.running
    bench.backend.ready = False
    request = DeployRequest("churn", "1", backend="docker", memory_bytes=64 << 20)
    replace(bench.container.endpoints, can_start=lambda _where: None).deploy("churn", request, ME)
    bench.backend.steady = {old}
    bench.steps(5)
    assert len(bench.backend.running) == 2
    view = bench.container.endpoints.get("churn")
    assert (view.status, view.variants[0].replicas.ready) == ("deploying", 0), "what was asked for is not there yet"
    assert [target.id for target in bench.snapshot().endpoints[0].variants[0].targets] == [old]
    bench.backend.ready = True
    bench.steps(2)
    assert bench.status("churn") == "ready"
    bench.says(bench.snapshot().revision)
    bench.steps(3)
    assert ("stop", old) in bench.backend.done
    with bench.container.store.reading() as tx:
        (row,) = replicas_of(tx, "churn")
        assert (row.backend, row.memory_bytes) == ("docker", 64 << 20)


def test_what_runs_without_a_row_is_ended(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegate.loops.reconcile.replica_engine.REVERT_EVERY_S", 0.0)
    bench.deploy("churn")
    bench.steps()
    (wanted,) = bench.backend.running
    bench.backend.running["r-stray"], bench.backend.tokens["r-stray"] = "churn", 2  # its row went while it was away
    bench.steps()
    assert list(bench.backend.running) == [wanted]


def test_replicas_that_failed_are_remembered_a_few_of_each_kind_until_the_endpoint_goes(bench: Bench) -> None:
    bench.deploy("churn")
    bench.steps()
    (crashed,) = bench.backend.running
    bench.backend.running.clear()
    bench.backend.refuses = "churn"
    for _ in range(8):
        bench.now += 100
        bench.steps()
    logs = bench.container.endpoints.logs("churn", 10)
    kinds = [(log.failed.kind, log.version) for log in logs if log.failed]
    assert kinds == [("crash", "1"), ("start", "1"), ("start", "1"), ("start", "1")]
    assert logs[0].replica == crashed
    (last,) = logs[-1].lines
    assert "no process could be started" in last, "its end is kept where the engine has no log of it"
    bench.container.endpoints.delete("churn", ME)
    bench.steps()
    with bench.container.store.reading() as tx:
        assert failed_replicas_of(tx, "churn") == []


def test_one_broken_endpoint_does_not_stop_the_others(bench: Bench) -> None:
    bench.backend.breaks_on = "churn"
    bench.deploy("churn")
    bench.deploy("fraud")
    bench.steps()
    assert bench.status("fraud") == "ready"
    assert bench.status("churn") == "deploying"
    assert bench.failures("churn") >= 1
    bench.backend.breaks_on = None
    bench.now += 20
    bench.steps()
    assert bench.status("churn") == "ready", "it is tried again"


def _refused(bench: Bench) -> None:
    with bench.container.store.transaction() as tx:
        row = get_endpoint(tx, "churn")
        assert row is not None
        add_note(tx, row, Entry("refused", bench.now, "@champion", note="version 3: it failed the gate"))


def _repaired(bench: Bench, version: str) -> None:
    Intake(bench.container.models).try_again(digest_for(f"churn {version}"), "its copy was damaged", ME)


@pytest.mark.parametrize(
    ("change", "lifted"),
    [
        pytest.param(_refused, False, id="an alias that is refused"),
        pytest.param(lambda bench: _repaired(bench, "1"), False, id="files of another version"),
        pytest.param(lambda bench: _repaired(bench, "2"), True, id="files of its own"),
        pytest.param(
            lambda bench: bench.container.endpoints.set_traffic("churn", TrafficRequest({"1": 80, "2": 20}), ME),
            True,
            id="its traffic",
        ),
        pytest.param(
            lambda bench: bench.container.endpoints.scale("churn", ScaleRequest(2), ME), True, id="its replicas"
        ),
        pytest.param(lambda bench: bench.deploy("churn", "2"), True, id="its deployment"),
    ],
)
def test_a_version_that_was_given_up_starts_again_only_for_what_concerns_it(
    bench: Bench, change: Callable[[Bench], None], lifted: bool
) -> None:
    bench.deploy("churn", "1")
    bench.steps()
    bench.container.endpoints.set_traffic("churn", TrafficRequest({"1": 90, "2": 10}), ME)
    before = set(bench.backend.running)
    with bench.container.store.transaction() as tx:
        tx.add(VariantRow(endpoint="churn", version="2", attempts=5, cause="needs torch", quarantined_generation=2))
    bench.steps()
    assert set(bench.backend.running) == before
    change(bench)
    bench.steps()
    second = next(one for one in bench.container.endpoints.get("churn").variants if one.version == "2")
    assert (second.given_up, second.replicas.ready > 0) == (not lifted, lifted)


def test_a_version_given_up_halfway_is_told_and_the_same_deployment_starts_the_rest(bench: Bench) -> None:
    bench.deploy("churn", "1", replicas=2)
    bench.steps()
    first = set(bench.backend.running)
    bench.backend.ready, bench.backend.steady = False, set(first)
    bench.deploy("churn", "2", replicas=2)
    bench.steps(2)
    there, lost = sorted(set(bench.backend.running) - first)
    bench.backend.steady.add(there)
    bench.steps(1)
    bench.backend.refuses = "churn"
    del bench.backend.running[lost]
    for _ in range(6):
        bench.now += 100
        bench.steps()
    view = bench.container.endpoints.get("churn")
    assert (view.status, view.traffic, view.target) == ("degraded", {"1": 100.0}, {"2": 100.0})
    assert "1 of 2 replicas ready: given up" in view.reason
    assert "no process could be started" in view.reason
    assert "version 1 serves on" in view.reason
    bench.backend.refuses, bench.backend.ready = None, True
    bench.deploy("churn", "2", replicas=2)
    bench.steps()
    view = bench.container.endpoints.get("churn")
    assert (view.status, view.traffic) == ("ready", {"2": 100.0})


def test_deleted_endpoint_leaves_nothing(bench: Bench) -> None:
    bench.deploy("churn")
    bench.steps()
    bench.container.endpoints.delete("churn", ME)
    bench.steps(1)
    assert bench.snapshot().endpoints == ()
    bench.now += 5
    bench.steps(3)
    assert bench.backend.running == {}
    with bench.container.store.reading() as tx:
        assert tx.get(EndpointRow, "churn") is None
        assert replicas_of(tx, "churn") == []


def test_adoption_keeps_what_runs_and_forgets_what_ended(bench: Bench) -> None:
    bench.deploy("churn", replicas=2)
    bench.steps()
    kept, ended = list(bench.backend.running)
    del bench.backend.running[ended]
    bench.backend.running["r-stray"] = "churn"
    with bench.container.store.transaction() as tx:
        tx.query(VariantRow).one().quarantined_generation = 1
    assert adopt(bench.container.store, bench.backend, bench.dependencies.host, lambda: bench.now) == 1
    assert ("kill", "r-stray") in bench.backend.done
    bench.steps()
    assert kept in bench.backend.running
    view = bench.container.endpoints.get("churn")
    assert view.status == "ready", "a new control plane tries again what an earlier one gave up"
    assert view.variants[0].restarts == 0


def _routed(bench: Bench) -> list[str]:
    (endpoint,) = bench.snapshot().endpoints
    return [target.address for variant in endpoint.variants for target in variant.targets]


def test_containers_of_another_host_are_neither_routed_to_nor_asked_about(bench: Bench) -> None:
    """They were ready when their host's control plane was followed by this one, whose own engine is away."""
    bench.deploy("churn")
    bench.steps()
    with bench.container.store.transaction() as tx:
        mine = tx.query(ReplicaRow).one()
        theirs = ReplicaRow(
            id="r-theirs", endpoint="churn", model="churn", version="1", state="ready", backend="docker", created_at=1.0
        )
        theirs.handle, theirs.address, theirs.host = {"replica": "r-theirs"}, "unix:/run/theirs.sock", "elsewhere"
        tx.add(theirs)
        tx.delete(mine)
    bench.backend.running.clear()
    bench.backend.unavailable = "its engine is away"
    bench.steps()
    assert _routed(bench) == []
    assert bench.status("churn") == "deploying"
    bench.backend.unavailable = None

    def served() -> bool:
        bench.steps()
        return bool(_routed(bench))

    until(served, what="a replica of this host")
    assert _routed(bench) == [f"unix:/{name}.sock" for name in bench.backend.running]
    assert ("kill", "r-theirs") not in bench.backend.done


def test_without_the_database_everything_runs_on_and_the_loop_lives(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.deploy("churn")
    bench.steps()
    running = dict(bench.backend.running)
    gone = threading.Event()
    reading = bench.container.store.reading

    @contextmanager
    def sometimes() -> Iterator[Session]:
        if gone.is_set():
            raise StoreUnavailable
        with reading() as tx:
            yield tx

    monkeypatch.setattr(bench.container.store, "reading", sometimes)
    gone.set()
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            bench.loop.step()
    assert bench.failures("all") == 2
    assert bench.backend.running == running
    gone.clear()
    bench.deploy("churn", "2")
    bench.steps()
    assert bench.status("churn") == "ready"
    assert [action for action, _ in bench.backend.done if action == "kill"] == []


def test_what_a_former_leader_started_too_late_is_ended(bench: Bench) -> None:
    bench.deploy("churn")
    bench.steps()
    (own,) = bench.backend.running
    assert bench.backend.tokens[own] == 2
    bench.backend.running["stale"], bench.backend.tokens["stale"] = "churn", 1
    bench.loop = Reconciler(bench.dependencies_of_next_term())
    bench.steps(1)
    assert ("kill", "stale") in bench.backend.done
    assert set(bench.backend.running) == {own}


def test_a_loop_whose_control_plane_was_replaced_changes_nothing(bench: Bench) -> None:
    bench.deploy("churn")
    bench.steps()
    bench.loop = Reconciler(replace(bench.dependencies, store=bench.container.fenced))
    bench.deploy("churn", "2")
    with bench.container.store.transaction() as tx:
        tx.execute(update(LeaseRow).values(token=LeaseRow.token + 1, holder="another"))
    done, status = list(bench.backend.done), bench.status("churn")
    with pytest.raises(NotLeader):
        bench.loop.step()
    assert bench.backend.done == done
    assert bench.status("churn") == status
    assert bench.failures("all") == bench.failures("churn") == 0
    assert bench.container.leadership.term is None


def _automated(bench: Bench, *shares: Share, salt: str = "exp") -> None:
    """As loops/experiment writes: through the leader's fence, beside the spec."""
    with bench.container.fenced.transaction() as tx:
        row = get_endpoint(tx, "churn")
        assert row is not None
        weights = AutomatedWeights("experiment", "blue", row.revision, Split(salt, shares), {"1": 100.0})
        assert automation.set_weights(tx, automation.seen_of(row), weights, Entry("experiment", bench.now))


def test_an_automation_s_weights_are_routed_once_its_versions_are_ready_and_survive_a_restart(bench: Bench) -> None:
    bench.deploy("churn")
    bench.steps()
    (plain,) = bench.snapshot().endpoints
    _automated(bench, Share("control", "1", 90.0), Share("treatment", "2", 10.0))
    bench.backend.ready = False
    bench.backend.steady = set(bench.backend.running)
    bench.steps()
    assert bench.snapshot().endpoints == (plain,), "nothing is shifted before version 2 is there"
    assert bench.status("churn") == "deploying"
    bench.backend.ready = True
    bench.loop = Reconciler(bench.dependencies_of_next_term())
    bench.steps()
    (endpoint,) = bench.snapshot().endpoints
    assert [(one.name, one.version, one.weight) for one in endpoint.variants] == [
        ("control", "1", 90.0),
        ("treatment", "2", 10.0),
    ]
    assert (endpoint.salt, endpoint.assignment_salt) == (plain.salt, "exp")
    view = bench.container.endpoints.get("churn")
    assert (view.status, view.traffic, view.revision) == ("ready", {"1": 90.0, "2": 10.0}, 1)
    assert view.observed_generation == view.generation == 2
    assert [(one.name, one.weight, one.replicas.ready) for one in view.variants] == [
        ("control", 90.0, 1),
        ("treatment", 10.0, 1),
    ]


def test_two_variants_of_one_version_need_no_more_replicas_and_a_rollback_ends_them(bench: Bench) -> None:
    bench.deploy("churn")
    bench.steps()
    running = dict(bench.backend.running)
    _automated(bench, Share("a", "1", 50.0), Share("b", "1", 50.0))
    bench.steps()
    assert bench.backend.running == running
    assert [one.name for one in bench.snapshot().endpoints[0].variants] == ["a", "b"]
    bench.container.endpoints.rollback("churn", RollbackRequest(), ME)
    bench.steps()
    (endpoint,) = bench.snapshot().endpoints
    assert ([one.name for one in endpoint.variants], endpoint.assignment_salt) == (["1"], "")


def test_the_number_an_autoscaler_decided_is_started_and_ended_until_people_fix_one(bench: Bench) -> None:
    def scaled(count: int) -> None:
        with bench.container.fenced.transaction() as tx:
            row = get_endpoint(tx, "churn")
            assert row is not None
            decided = {"1": AutomatedReplicas(count, row.revision, "load")}
            entry = Entry("autoscale", bench.now, "autoscaler")
            assert automation.set_replicas(tx, automation.seen_of(row), decided, entry)

    bench.deploy("churn", replicas=2)
    bench.steps()
    scaled(4)
    bench.steps()
    assert len(bench.backend.running) == 4
    assert bench.status("churn") == "ready"
    scaled(1)
    bench.now += 10
    bench.steps(5)
    bench.now += 10  # past the time to drain
    bench.steps()
    assert len(bench.backend.running) == 1
    bench.container.endpoints.scale("churn", ScaleRequest(2), ME)
    bench.steps()
    assert len(bench.backend.running) == 2


def test_a_deleted_endpoint_takes_its_automations_along_and_leaves_its_history(bench: Bench) -> None:
    bench.deploy("churn")
    bench.steps()
    _automated(bench, Share("a", "1", 50.0), Share("b", "1", 50.0))
    bench.steps()
    bench.container.endpoints.delete("churn", ME)
    bench.steps()
    bench.now += 10
    bench.steps()
    with bench.container.store.reading() as tx:
        assert get_endpoint(tx, "churn") is None
    actions = [one.action for one in bench.container.endpoints.history("churn")]
    assert actions == ["delete", "experiment", "deploy"]
    bench.deploy("churn", "2")
    bench.steps()
    view = bench.container.endpoints.get("churn")
    assert (view.status, view.traffic, view.automation) == ("ready", {"2": 100.0}, None)


def test_a_replica_that_wakes_is_looked_for_often_and_a_slow_one_as_others_are(bench: Bench) -> None:
    bench.backend.ready = False
    bench.deploy("churn")
    bench.container.endpoints.scale("churn", ScaleRequest(min=0, target="rps=5", idle_s=60.0), ME)
    assert bench.loop.step() == WAKING_S
    bench.now += WAKING_LOOKS_S / 2
    assert bench.loop.step() == WAKING_S
    bench.now += WAKING_LOOKS_S
    assert bench.loop.step() == CHANGING_S


HOUR_S = 3600.0


@pytest.mark.parametrize("set_by_s", [HOUR_S, -HOUR_S], ids=["forward", "back"])
def test_a_clock_that_is_set_neither_cuts_nor_prolongs_what_a_replica_that_leaves_has(
    bench: Bench, set_by_s: float
) -> None:
    bench.deploy("churn")
    bench.steps()
    (old,) = bench.backend.running
    bench.deploy("churn", "2")
    bench.steps(4)
    bench.says(bench.snapshot().revision - 1)
    bench.now += 20
    bench.set_by_s = set_by_s
    bench.steps(3)
    assert ("stop", old) not in bench.backend.done, "the gateway still routes to it"
    bench.now += bench.dependencies.limits.leave_s - 20
    bench.says(bench.snapshot().revision - 1)
    bench.steps(3)
    assert ("stop", old) in bench.backend.done


def test_a_clock_that_is_set_forward_fails_no_replica_that_starts(bench: Bench) -> None:
    bench.backend.ready = False
    bench.deploy("churn")
    bench.steps()
    bench.set_by_s = HOUR_S
    bench.steps(5)
    (variant,) = bench.container.endpoints.get("churn").variants
    assert (len(bench.backend.running), variant.restarts) == (1, 0)
    bench.now += bench.dependencies.limits.ready_timeout_s
    bench.steps()
    (variant,) = bench.container.endpoints.get("churn").variants
    assert variant.restarts == 1


def test_a_clock_that_is_set_back_puts_no_endpoint_in_trouble_off(bench: Bench) -> None:
    bench.backend.breaks_on = "churn"
    bench.deploy("churn")
    bench.steps()
    bench.backend.breaks_on, bench.set_by_s = None, -HOUR_S
    bench.now += 20
    bench.steps()
    assert bench.status("churn") == "ready"


def test_history_tells_once_why_replicas_that_work_are_replaced(bench: Bench) -> None:
    bench.deploy("churn", replicas=3)
    bench.steps(5)
    assert len(bench.backend.running) == 3
    with bench.container.store.transaction() as tx:
        tx.execute(update(ReplicaRow).values(form="trees"))
    bench.steps(8)
    assert bench.status("churn") == "ready"
    entries = [one for one in bench.container.endpoints.history("churn") if one.action == "replace"]
    ((note, actor, automated),) = [(one.note, one.actor, one.automated) for one in entries]
    assert note == ("version 1: its 3 replicas are replaced: served as trees so far, as the original from now on")
    assert (actor, automated) == ("reconcile", True)


def test_history_tells_that_replicas_move(bench: Bench) -> None:
    bench.deploy("churn")
    bench.steps()
    with bench.container.store.transaction() as tx:
        tx.execute(update(ReplicaRow).values(cpus=2.0, memory_bytes=1 << 20))
    bench.steps()
    notes = [one.note for one in bench.container.endpoints.history("churn") if one.action == "replace"]
    assert notes == ["version 1: its replica is replaced: from local with 2 CPUs and 1048576 bytes to local"]
