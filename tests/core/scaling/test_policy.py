from dataclasses import replace
from typing import Any

import pytest

from tidegate.core.engines.capabilities import CLOUDRUN, DOCKER, ECS, ENGINE, KUBERNETES, LOCAL
from tidegate.core.engines.placement import Placement
from tidegate.core.scaling.policy import (
    Scaling,
    ScalingDefaults,
    ScalingRequest,
    check_measured,
    check_scaling,
    scaling_of,
    target_of,
    words,
)
from tidegate.errors import InvalidArgument

SPEC = Scaling(1, 10, "concurrency", 5.0)


def test_what_can_be_is_taken() -> None:
    check_scaling(SPEC)
    check_scaling(replace(SPEC, min_replicas=0, idle_s=300.0))
    check_scaling(replace(SPEC, min_replicas=100, max_replicas=100))
    check_scaling(replace(SPEC, metric="cpu", target=100.0))
    check_scaling(replace(SPEC, max_replicas=500), replicas_limit=500)


@pytest.mark.parametrize(
    ("change", "field", "told"),
    [
        ({"min_replicas": 11}, "min", "the minimum of replicas, 11, is above the maximum, 10"),
        ({"min_replicas": -1}, "min", "it must be 0 or more"),
        (
            {"max_replicas": 101},
            "max",
            "the maximum of replicas is 101: it must be from 1 to 100, this platform's limit",
        ),
        ({"max_replicas": 0, "min_replicas": 0}, "max", "from 1 to 100"),
        ({"target": 0.0}, "target", "the target of concurrency must be a number above 0, and is 0"),
        ({"target": float("nan")}, "target", "and is nan"),
        ({"target": float("inf")}, "target", "and is inf"),
        ({"target": -3.0}, "target", "and is -3"),
        ({"metric": "cpu", "target": 150.0}, "target", "in percent"),
        ({"metric": "memory"}, "target", "there is no metric 'memory': choose one of concurrency, rps, cpu"),
        ({"metric": "latency_p95"}, "target", "not supported yet"),
        ({"min_replicas": 0}, "idle_s", "a minimum of 0 needs --idle"),
        ({"idle_s": 60.0}, "idle_s", "--idle needs a minimum of 0, and it is 1"),
        ({"min_replicas": 0, "idle_s": float("nan")}, "idle_s", "from 1 to 86400"),
        ({"stable_s": 5.0}, "stable_s", "from 6 to 300, and is 5"),
        ({"stable_s": 301.0}, "stable_s", "from 6 to 300"),
        ({"panic_s": 0.0}, "panic_s", "from 1"),
        ({"panic_threshold": 0.5}, "panic_threshold", "from 1"),
        ({"down_s": -1.0}, "down_s", "from 0"),
        ({"down_s": float("nan")}, "down_s", "from 0"),
        ({"rate_s": 0.0}, "rate_s", "from 1"),
        ({"up_factor": 0.0}, "up_factor", "from 1"),
        ({"up_step": 0}, "up_step", "from 1"),
        ({"down_factor": 1.0}, "down_factor", "from 1.01"),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason(change: dict[str, Any], field: str, told: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check_scaling(replace(SPEC, **change))
    assert caught.value.details["field"] == field
    assert told in caught.value.message


def test_a_target_is_a_metric_and_a_number() -> None:
    assert target_of("concurrency=2.5") == ("concurrency", 2.5)
    assert target_of("cpu=70") == ("cpu", 70.0)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rps", "--target 'rps' has no '=': write it as rps=5"),
        ("rps=", "has no number"),
        ("rps=many", "has no number"),
        ("rps=0", "above 0"),
        ("rps=nan", "above 0"),
        ("memory=5", "there is no metric 'memory'"),
        ("latency_p95=50ms", "not supported yet"),
        ("", "there is no metric ''"),
    ],
)
def test_a_target_that_cannot_be_read_is_refused(text: str, told: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        target_of(text)
    assert told in caught.value.message


def test_an_engine_counts_what_it_can_see() -> None:
    by_engine = replace(SPEC, metric="cpu", target=70.0, autoscaler=ENGINE)
    check_measured(by_engine, Placement(KUBERNETES))
    check_measured(by_engine, Placement(CLOUDRUN))
    check_measured(replace(by_engine, metric="concurrency", min_replicas=0), Placement(CLOUDRUN))
    check_scaling(replace(by_engine, min_replicas=0))
    assert words(by_engine) == "1 to 10 replicas by the engine's own rules, cpu=70"


@pytest.mark.parametrize(
    ("backend", "change", "field", "told"),
    [
        (LOCAL, {"autoscaler": ENGINE}, "autoscaler", "counted by autoscaler tidegate, not by 'engine'"),
        (DOCKER, {"autoscaler": ENGINE}, "autoscaler", "counted by autoscaler tidegate"),
        (ECS, {"autoscaler": ENGINE}, "autoscaler", "counted by autoscaler tidegate"),
        (CLOUDRUN, {}, "autoscaler", "counted by autoscaler engine, not by 'tidegate'"),
        (KUBERNETES, {"autoscaler": ENGINE}, "target", "kubernetes counts replicas by cpu, not by concurrency"),
        (CLOUDRUN, {"autoscaler": ENGINE, "metric": "rps"}, "target", "by cpu or concurrency, not by rps"),
        (KUBERNETES, {"autoscaler": ENGINE, "metric": "cpu", "min_replicas": 0}, "min", "keeps at least one replica"),
        (KUBERNETES, {"autoscaler": ENGINE, "metric": "cpu", "idle_s": 60.0}, "idle_s", "leave --idle out"),
        (ECS, {"metric": "cpu"}, "target", "the CPU of replicas on ecs is not measured yet"),
    ],
)
def test_who_counts_replicas_and_by_what_depends_on_where_they_run(
    backend: str, change: dict[str, Any], field: str, told: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check_measured(replace(SPEC, **change), Placement(backend))
    assert told in caught.value.message
    assert caught.value.details["field"] == field


def test_an_endpoint_that_sleeps_can_be_handed_to_its_engine() -> None:
    asleep = replace(SPEC, min_replicas=0, idle_s=300.0)
    asked = ScalingRequest(target="cpu=70", autoscaler=ENGINE)
    assert scaling_of(asked, asleep, ScalingDefaults()).idle_s is None, "it decides itself when they sleep"
    handed = scaling_of(asked, replace(SPEC, down_s=30.0), ScalingDefaults())
    assert handed.down_s == SPEC.down_s, "nothing is kept and shown that has no effect"
    document = ScalingRequest(1, 10, "cpu=70", 60.0, 6.0, 300.0, None, ENGINE)
    assert scaling_of(document, None, ScalingDefaults()) == handed, (
        "a document says the windows also where none are set"
    )


@pytest.mark.parametrize("window", ["stable_s", "panic_s", "down_s"])
def test_a_window_that_an_engine_would_not_heed_is_refused(window: str) -> None:
    asked = ScalingRequest(target="cpu=70", autoscaler=ENGINE, **{window: 30.0})  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match=f"leave {window} out, or give --autoscaler tidegate") as caught:
        scaling_of(asked, SPEC, ScalingDefaults())
    assert caught.value.details["field"] == window


def test_a_refusal_never_advises_what_the_engine_refuses_too() -> None:
    for change in ({"metric": "rps"}, {"metric": "cpu", "target": 70.0, "min_replicas": 0, "idle_s": 60.0}):
        with pytest.raises(InvalidArgument) as caught:
            check_measured(replace(SPEC, autoscaler=ENGINE, **change), Placement(CLOUDRUN))
        assert "tidegate" not in caught.value.message
