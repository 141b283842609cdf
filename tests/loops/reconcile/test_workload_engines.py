"""The reconcile loop on an engine that places replicas itself: counts by version, order, failures, adoption."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from support.control import ME, add_version
from support.wait import until
from support.workload_bench import Bench
from tidegate.core.endpoints.effective import AutomatedReplicas
from tidegate.core.engines.capabilities import KUBERNETES
from tidegate.core.engines.placement import PROCESSES, Placement
from tidegate.core.reconcile.failures import ERROR_PREFIX
from tidegate.core.workloads import EngineScaling, WorkloadKey, WorkloadSpec
from tidegate.errors import NotLeader, UnknownEndpoint
from tidegate.store.endpoints import automation
from tidegate.store.endpoints.endpoints import get_endpoint
from tidegate.store.endpoints.history import Entry
from tidegate.wire.rest import RollbackRequest, ScaleRequest, TrafficRequest


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    for version in ("1", "2"):
        add_version(made.container, "churn", version)
    yield made
    made.container.close()


def test_a_deployment_asks_for_a_count_and_routes_to_what_the_engine_made(bench: Bench) -> None:
    bench.deploy(replicas=3)
    bench.steps()
    assert bench.status() == ("ready", "")
    assert bench.engine.calls == [("apply", "1", 3)], "once, and not again while nothing changes"
    assert bench.routed() == {"1": (100, set(bench.engine.running("1")))}
    assert len(bench.engine.running("1")) == 3


def test_a_switch_is_a_new_workload_and_the_old_one_is_kept_then_drained_then_deleted(bench: Bench) -> None:
    bench.deploy("1", replicas=2)
    bench.steps()
    bench.deploy("2", replicas=2)
    bench.steps()
    assert bench.routed()["2"] == (100, set(bench.engine.running("2")))
    assert len(bench.engine.running("1")) == 2, "kept for a rollback"
    bench.container.endpoints.rollback("churn", RollbackRequest(), ME)
    bench.steps()
    assert bench.routed()["1"][0] == 100
    assert bench.engine.made == 4, "a rollback starts nothing anew"
    bench.steps(each_s=110.0)
    bench.let_go()
    bench.steps()
    assert bench.engine.running("2") == []
    assert ("delete", "2", 0) in bench.engine.calls
    assert len(bench.engine.running("1")) == 2


def test_a_split_routes_to_both_workloads(bench: Bench) -> None:
    bench.deploy("1")
    bench.steps()
    bench.container.endpoints.set_traffic("churn", TrafficRequest({"1": 90, "2": 10}), ME)
    bench.steps()
    assert {version: weight for version, (weight, _) in bench.routed().items()} == {"1": 90, "2": 10}
    assert all(targets for _, targets in bench.routed().values())


def test_one_too_many_leaves_the_snapshot_first_and_ends_once_gateways_let_go(bench: Bench) -> None:
    bench.deploy(replicas=3)
    bench.steps()
    bench.let_go()
    bench.container.endpoints.scale("churn", ScaleRequest(replicas=2), ME)
    bench.steps()
    left = set(bench.engine.running("1")) - bench.routed()["1"][1]
    assert len(left) == 1
    assert len(bench.engine.running("1")) == 3, "the gateway has not taken the snapshot"
    bench.let_go()
    bench.steps()
    assert set(bench.engine.running("1")) == bench.routed()["1"][1]
    assert len(bench.engine.running("1")) == 2
    (spec,) = bench.engine.specs.values()
    assert (spec.count, set(spec.ending)) in ((2, left), (2, set()))


def test_what_the_engine_ends_by_itself_leaves_the_snapshot_and_is_no_failure(bench: Bench) -> None:
    bench.deploy(replicas=2)
    bench.steps()
    bench.engine.lingering = True
    evicted = bench.engine.running("1")[0]
    bench.engine.end(evicted)
    bench.steps()
    assert evicted not in bench.routed()["1"][1]
    assert len(bench.routed()["1"][1]) == 2, "the engine has made another"
    assert {spec.count for spec in bench.engine.specs.values()} == {2}, "no third is asked for meanwhile"
    bench.engine.forget_ended()
    bench.steps()
    (variant,) = bench.container.endpoints.get("churn").variants
    assert (variant.status, variant.restarts) == ("ready", 0)


def test_a_crash_is_counted_once_and_healed_by_the_engine(bench: Bench) -> None:
    bench.deploy()
    bench.steps()
    bench.engine.end(bench.engine.running("1")[0], exit_code=-11)
    bench.steps(8)
    (variant,) = bench.container.endpoints.get("churn").variants
    assert (variant.status, variant.restarts) == ("ready", 1), "shown dead again and again, it is one crash"
    failed = bench.container.endpoints.logs("churn", 5)[0].failed
    assert failed is not None
    assert "SIGSEGV" in failed.reason


def test_a_version_that_cannot_be_loaded_is_given_up_and_the_old_one_serves_on(bench: Bench) -> None:
    bench.deploy("1")
    bench.steps()
    bench.engine.unready = {"2"}
    bench.deploy("2")
    bench.steps(2)
    error = ERROR_PREFIX + json.dumps({"code": "missing_library", "error": "it needs xgboost"})
    bench.engine.end(bench.engine.running("2")[0], exit_code=1, tail=(error,))
    bench.steps()
    status, reason = bench.status()
    assert status == "degraded"
    assert "it needs xgboost" in reason
    assert bench.routed()["1"][0] == 100
    assert bench.engine.running("2") == [], "nothing is left to crash for ever"


def test_what_never_answers_is_replaced_and_at_last_given_up(bench: Bench) -> None:
    bench.engine.unready = {"1"}
    bench.deploy()
    bench.steps(700, each_s=2.0)
    status, reason = bench.status()
    assert status == "failed"
    assert "did not become ready within 120 s" in reason
    assert bench.engine.made == 5
    assert bench.engine.running("1") == []


def test_what_the_engine_waits_for_is_said_and_not_held_against_the_version(bench: Bench) -> None:
    bench.engine.waits = "no node has 500m of CPU free: add one, or deploy with less --cpus"
    bench.deploy()
    bench.steps(300, each_s=2.0)
    status, reason = bench.status()
    assert (status, bench.engine.made) == ("deploying", 1)
    assert bench.engine.waits in reason
    bench.engine.waits = ""
    bench.steps()
    assert bench.status() == ("ready", "")


def test_a_quota_is_said_while_there_is_no_instance_to_say_it(bench: Bench) -> None:
    bench.engine.problem = "the quota of pods in namespace team is used up: raise it"
    bench.deploy()
    bench.steps()
    assert bench.engine.problem in bench.status()[1]
    bench.engine.problem = ""
    bench.steps()
    assert bench.status() == ("ready", "")


def test_an_image_that_is_being_built_is_waited_for(bench: Bench) -> None:
    bench.engine.pending = "waits for its image: job j-1 builds it"
    bench.deploy()
    bench.steps()
    assert bench.engine.pending in bench.status()[1]
    bench.engine.pending = ""
    bench.steps(each_s=1.0)
    assert bench.status() == ("ready", "")


def test_what_the_engine_will_not_do_fails_like_a_start_and_is_given_up(bench: Bench) -> None:
    bench.engine.refuses = "the service account may not be used: grant it"
    bench.deploy()
    bench.steps(200, each_s=2.0)
    status, reason = bench.status()
    assert status == "failed"
    assert bench.engine.refuses in reason
    bench.engine.refuses = ""
    bench.deploy()
    bench.steps()
    assert bench.status() == ("ready", "")


def test_an_engine_that_is_away_changes_nothing(bench: Bench) -> None:
    bench.deploy(replicas=2)
    bench.steps()
    before = bench.routed()
    bench.engine.unavailable = "the API server does not answer"
    bench.deploy("2", replicas=2)
    bench.steps(50, each_s=5.0)
    assert bench.routed() == before
    assert bench.status()[0] in ("ready", "deploying")
    bench.engine.unavailable = ""
    bench.steps()
    assert bench.routed()["2"][0] == 100


def test_a_new_leader_adopts_what_runs_and_starts_nothing(bench: Bench) -> None:
    bench.deploy(replicas=2)
    bench.steps()
    before = bench.routed()
    bench.loop = bench.new_loop(token=3)
    bench.steps()
    assert (bench.routed(), bench.engine.made) == (before, 2)
    assert {spec.token for spec in bench.engine.specs.values()} == {3}, "the fence is raised"
    former = bench.new_loop(token=2)
    with pytest.raises(NotLeader):
        former.step()


def test_a_deleted_endpoint_drains_and_leaves_nothing(bench: Bench) -> None:
    bench.deploy(replicas=2)
    bench.steps()
    bench.let_go()
    bench.container.endpoints.delete("churn", ME)
    bench.steps(2)
    assert bench.routed() == {}
    assert len(bench.engine.running("1")) == 2, "the gateway still has the old snapshot"
    bench.let_go()
    bench.steps(6)
    assert bench.engine.specs == {}
    with pytest.raises(UnknownEndpoint):
        bench.container.endpoints.get("churn")


def test_what_nobody_knows_of_is_deleted_also_after_a_restart(bench: Bench) -> None:
    bench.deploy()
    bench.steps()
    key = WorkloadKey("gone", "7", Placement(KUBERNETES))
    bench.engine.apply(WorkloadSpec(key, "gone", Path("m.json"), 1, token=1))
    bench.loop = bench.new_loop(token=3)
    bench.steps()
    assert key not in bench.engine.specs
    assert bench.status() == ("ready", "")


def test_a_sleeping_endpoint_keeps_its_workload_at_none_and_wakes(bench: Bench) -> None:
    bench.deploy()
    bench.steps()
    request = ScaleRequest(min=0, max=3, target="concurrency=1", idle_s=10)
    bench.container.endpoints.scale("churn", request, ME)
    with bench.container.store.transaction() as tx:
        row = get_endpoint(tx, "churn")
        assert row is not None
        seen = automation.seen_of(row)
        asleep = AutomatedReplicas(0, seen.revision, "no request", 100.0)
        assert automation.set_replicas(tx, seen, {"1": asleep}, Entry("scale", bench.now, "autoscaler"))
    bench.let_go()
    bench.steps()
    bench.let_go()
    bench.steps()
    assert bench.status()[0] == "asleep"
    assert [spec.count for spec in bench.engine.specs.values()] == [0]


def test_an_engine_that_nothing_is_on_is_not_asked(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.engine.unavailable = "there is no kubeconfig"
    bench.steps()
    assert not (tmp_path / "engines").exists()
    assert PROCESSES.backend == "local"
    bench.container.close()


def test_an_engine_whose_observation_costs_requests_is_looked_at_as_often_as_it_says(bench: Bench) -> None:
    bench.deploy()
    bench.steps(10, each_s=1.0)
    bench.engine.looks_every_s, bench.engine.looks = 2.0, 0
    bench.steps(10, each_s=1.0)
    assert bench.engine.looks == 5
    assert bench.status() == ("ready", "")


def test_an_engine_that_hangs_keeps_the_loop_from_nothing_and_is_unknown_after_a_while(bench: Bench) -> None:
    bench.deploy()
    bench.steps()
    before = bench.routed()
    hangs = bench.engine.hangs = threading.Event()
    bench.steps(3, each_s=1.0)
    assert (bench.routed(), bench.status()) == (before, ("ready", ""))
    bench.steps(2, each_s=20.0)
    assert bench.routed() == before
    hangs.set()
    bench.engine.hangs = None
    bench.container.endpoints.scale("churn", ScaleRequest(replicas=2), ME)

    def scaled() -> bool:
        bench.steps(1)
        return len(bench.engine.running("1")) == 2

    until(scaled, what="the second replica")


def test_while_the_engine_counts_its_number_is_the_wanted_one(bench: Bench) -> None:
    bench.deploy()
    bench.steps()
    bounds = ScaleRequest(min=1, max=5, target="cpu=70", autoscaler="engine")
    bench.container.endpoints.scale("churn", bounds, ME)
    bench.steps()
    (spec,) = bench.engine.specs.values()
    assert spec.scaling == EngineScaling(1, 5, "cpu", 70.0)
    bench.engine.specs[spec.key] = replace(spec, count=4)  # as its autoscaler decides
    calls = len(bench.engine.calls)
    bench.steps()
    (variant,) = bench.container.endpoints.get("churn").variants
    assert (variant.replicas.desired, variant.replicas.ready) == (4, 4)
    assert len(bench.routed()["1"][1]) == 4
    assert [count for _, _, count in bench.engine.calls[calls:]] in ([], [4]), "it is not set back"
    bench.container.endpoints.scale("churn", ScaleRequest(replicas=2), ME)
    bench.let_go()
    bench.steps()
    bench.let_go()
    bench.steps()
    assert [(one.count, one.scaling) for one in bench.engine.specs.values()] == [(2, None)]
