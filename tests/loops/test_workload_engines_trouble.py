"""The reconcile loop while an engine that places replicas itself is away, slow, or refuses: nothing is lost by it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from support.control import ME, add_version
from support.wait import until
from support.workload_bench import Bench
from tidegate.core.workloads import EngineScaling
from tidegate.errors import EngineRefused
from tidegate.wire.rest import ScaleRequest


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    for version in ("1", "2"):
        add_version(made.container, "churn", version)
    yield made
    made.container.close()


def scaled_by_the_engine(bench: Bench, count: int) -> None:
    """An endpoint that its engine has scaled to `count`."""
    bench.deploy()
    bench.steps()
    bench.container.endpoints.scale("churn", ScaleRequest(min=1, max=5, target="cpu=70", autoscaler="engine"), ME)
    bench.steps()
    (spec,) = bench.engine.specs.values()
    bench.engine.specs[spec.key] = replace(spec, count=count)  # as its autoscaler decides
    bench.steps()
    assert len(bench.routed()["1"][1]) == count


def test_what_an_engine_scaled_serves_on_while_it_does_not_answer(bench: Bench) -> None:
    scaled_by_the_engine(bench, 4)
    before = bench.routed()
    bench.engine.unavailable = "nothing answers at https://10.0.0.1:6443"
    bench.steps(6, each_s=5.0)
    assert bench.routed() == before, "how many it wants is unknown, and not the minimum"
    bench.loop = bench.new_loop(token=3)
    bench.steps(6, each_s=5.0)
    assert bench.routed() == before, "nor after a restart"
    bench.engine.unavailable = ""
    bench.steps()
    assert bench.routed() == before


def test_an_engine_that_never_answered_is_said_of_what_was_never_made_since_when(bench: Bench) -> None:
    bench.engine.unavailable = "nothing answers at https://10.0.0.1:6443"
    bench.deploy()
    bench.steps(6, each_s=5.0)
    since = "kubernetes has not answered since 1970-01-01 00:16:45Z (nothing answers at https://10.0.0.1:6443)"
    assert bench.status() == ("deploying", f"version 1: {since}")
    bench.engine.unavailable = ""
    bench.steps()
    assert bench.status() == ("ready", "")


def test_an_engine_that_is_away_is_said_of_what_serves_on(bench: Bench) -> None:
    bench.deploy()
    bench.steps()
    bench.engine.unavailable = "nothing answers at https://10.0.0.1:6443"
    bench.steps(1)
    (variant,) = bench.container.endpoints.get("churn").variants
    assert (variant.status, variant.replicas.ready) == ("ready", 1)
    assert variant.reason.startswith("kubernetes has not answered since 1970-01-01 00:16:41Z (nothing answers")
    bench.engine.unavailable = ""
    bench.steps(1)
    (variant,) = bench.container.endpoints.get("churn").variants
    assert (variant.status, variant.reason) == ("ready", "")


def test_an_engine_that_hangs_from_the_first_is_said_to_have_said_nothing(bench: Bench) -> None:
    hangs = bench.engine.hangs = threading.Event()
    bench.deploy()
    bench.steps(2, each_s=5.0)
    try:
        assert bench.status() == ("deploying", "version 1: kubernetes has not answered since 1970-01-01 00:16:45Z")
    finally:
        hangs.set()


def test_a_deletion_that_is_refused_keeps_the_loop_from_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.deploy("1")
    bench.steps()
    (key,) = bench.engine.specs
    stranger = replace(key, endpoint="stranger")
    bench.engine.specs[stranger] = replace(bench.engine.specs[key], key=stranger)
    delete, refused = bench.engine.delete, True

    def refusing(key: object, token: int) -> None:
        if refused:
            raise EngineRefused("Deployment stranger is somebody else's: delete it by hand")
        delete(key, token)  # type: ignore[arg-type]

    monkeypatch.setattr(bench.engine, "delete", refusing)
    bench.steps()
    bench.deploy("2")
    bench.steps()
    assert bench.routed()["2"][0] == 100
    refused = False
    bench.steps(each_s=1.0)
    assert stranger not in bench.engine.specs, "it is tried again"


def test_an_observation_that_is_refused_is_unknown_and_keeps_the_loop_from_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.deploy("1")
    bench.steps()
    before = bench.routed()

    def refusing() -> None:
        raise EngineRefused("namespace 'default' has more Deployments than are listed")

    with monkeypatch.context() as patch:
        patch.setattr(bench.engine, "observe", refusing)
        bench.steps()
        assert bench.routed() == before
    bench.steps()
    assert (bench.routed(), bench.status()) == (before, ("ready", ""))


def test_bounds_that_change_while_an_engine_hangs_are_asked_for_once_it_answers(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    scaled_by_the_engine(bench, 2)
    hangs = threading.Event()
    apply = bench.engine.apply

    def slow(spec: object) -> None:
        hangs.wait(30)
        apply(spec)  # type: ignore[arg-type]

    monkeypatch.setattr(bench.engine, "apply", slow)
    for high in (6, 7):
        bench.container.endpoints.scale("churn", ScaleRequest(max=high), ME)
        bench.steps(1)
    hangs.set()
    monkeypatch.undo()

    def asked() -> bool:
        bench.steps(1, each_s=0.01)
        return [one.scaling for one in bench.engine.specs.values()] == [EngineScaling(1, 7, "cpu", 70.0)]

    started = bench.now
    until(asked, what="the newest bounds")
    assert bench.now - started < 30, "not only when it is asked again for what it was asked for before"
