"""What is asked of AWS for a workload."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tidegate.adapters.ecs import definition as d
from tidegate.core.engines.fargate import fargate_size
from tidegate.core.engines.placement import Placement
from tidegate.core.workloads import WorkloadKey, WorkloadSpec
from tidegate.errors import InvalidArgument
from tidegate.settings import Settings


@pytest.mark.parametrize(
    ("cpus", "memory_mib", "expected"),
    [
        (None, None, (512, 1024)),
        (0.25, 512, (256, 512)),
        (0.25, 513, (256, 1024)),
        (0.3, 512, (512, 1024)),
        (1.0, None, (1024, 2048)),
        (None, 9000, (2048, 9216)),
        (8.0, 17000, (8192, 20480)),
        (16.0, 122880, (16384, 122880)),
    ],
)
def test_fargate_sizes_are_rounded_up(cpus: float | None, memory_mib: int | None, expected: tuple[int, int]) -> None:
    assert fargate_size(cpus, None if memory_mib is None else memory_mib << 20) == expected


@pytest.mark.parametrize(("cpus", "memory_mib", "field"), [(17.0, 1024, "cpus"), (1.0, 122881, "memory_bytes")])
def test_more_than_fargate_has_is_refused(cpus: float, memory_mib: int, field: str) -> None:
    with pytest.raises(InvalidArgument, match="TIDEGATE_ECS_LAUNCH_TYPE=EC2") as found:
        fargate_size(cpus, memory_mib << 20)
    assert found.value.details["field"] == field


@pytest.mark.parametrize(
    "key",
    [
        WorkloadKey("churn", "3", Placement("ecs")),
        WorkloadKey("churn", "3", Placement("ecs", 1.0, 1 << 31), "onnx-fp32"),
        WorkloadKey("churn", "3", Placement("ecs", 0.1, None)),
    ],
)
def test_tags_say_which_workload_it_is(key: WorkloadKey, spec: WorkloadSpec) -> None:
    tags = d.tags_of("0a1b2c3d", replace(spec, key=key), "sha256:ab")
    again = d.key_of(d.read_tags({"tags": d.aws_tags(tags)}))
    assert again == key
    assert again is not None
    assert again.suffix == key.suffix


@pytest.mark.parametrize(
    "tags", [{}, {"tidegate:endpoint": "a", "tidegate:version": "1", "tidegate:placement": "what=1"}]
)
def test_tags_that_this_release_cannot_read_are_of_no_workload(tags: dict[str, str]) -> None:
    assert d.key_of(tags) is None


def test_a_slow_start_is_waited_for(spec: WorkloadSpec) -> None:
    check = d.health_check(replace(spec, cold_start_s=40.0), Settings())
    assert (check["startPeriod"], check["retries"]) == (160, 3)
    longest = d.health_check(replace(spec, cold_start_s=400.0), Settings())
    assert (longest["startPeriod"], longest["retries"]) == (300, 10)


def test_gpus_are_not_on_fargate(spec: WorkloadSpec) -> None:
    container = d.TaskContainer("image", {}, "key", "eu-west-1", gpus=1)
    with pytest.raises(InvalidArgument, match="no GPUs"):
        d.task_definition("name", spec, Settings(), container)
    made = d.task_definition("name", spec, Settings(ecs_launch_type="EC2"), container)
    assert made["containerDefinitions"][0]["resourceRequirements"] == [{"type": "GPU", "value": "1"}]


def test_a_capacity_provider_is_in_place_of_the_launch_type(spec: WorkloadSpec) -> None:
    asked = d.service("name", spec, Settings(ecs_capacity_provider="FARGATE_SPOT", ecs_subnets="a, b"), "arn")
    assert "launchType" not in asked
    assert asked["capacityProviderStrategy"] == [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]
    assert asked["networkConfiguration"]["awsvpcConfiguration"] == {"subnets": ["a", "b"], "assignPublicIp": "DISABLED"}


def test_a_name_that_is_too_long_says_how_long_it_may_be() -> None:
    with pytest.raises(InvalidArgument, match="up to 225"):
        d.workload_name("0a1b2c3d", WorkloadKey("e" * 240, "1", Placement("ecs")))
