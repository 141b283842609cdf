"""The platform's own objects on Kubernetes: its schemas take them, they belong together, and say whose they are."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from tidegate.core.engines.placement import Placement
from tidegate.core.images.delivery import Delivery, Fetch
from tidegate.core.manifests.pods import LEAVING_S
from tidegate.core.manifests.replica_pods import (
    Belonging,
    Contents,
    Workload,
    deployment,
    key_of_object,
    of_platform,
    resources_of,
    start_probe,
    token_of,
    workload_name,
)
from tidegate.core.workloads import EngineScaling, WorkloadKey, WorkloadSpec
from tidegate.errors import InvalidArgument

PLACED = Placement("kubernetes")
IMAGE = f"registry.example.com/team/churn@sha256:{'a' * 64}"
FETCH = Fetch("http://tidegate-control:8800", "/internal/v1/packages/churn/3", "d" * 64, 100 << 20)
IN_IMAGE = Contents(Delivery(IMAGE), "d" * 64, drain_s=20)
FETCHED = replace(IN_IMAGE, delivery=Delivery("tidegate:0.9", FETCH, "pull"))
HPA = EngineScaling(2, 9, "cpu", 70)


def _work(placement: Placement = PLACED, **spec: Any) -> Workload:
    key = WorkloadKey(spec.pop("endpoint", "churn"), "3", placement, spec.pop("form", ""))
    asked = WorkloadSpec(key, "churn", Path("3.json"), spec.pop("count", 1), spec.pop("token", 7), **spec)
    return Workload("0a1b2c3d", asked)


def _objects(work: Workload, contents: Contents = IN_IMAGE) -> list[dict[str, Any]]:
    own = Belonging(work, "uid-1")
    found = [deployment(work, contents), own.secret("k" * 64), own.service(), own.budget(), own.autoscaler()]
    return [one for one in found if one is not None]


def _pod(work: Workload, contents: Contents = IN_IMAGE) -> Any:
    return deployment(work, contents)["spec"]["template"]["spec"]


EVERY = (
    (_work(), IN_IMAGE),
    (_work(count=3, form="onnx"), IN_IMAGE),
    (_work(replace(PLACED, cpus=1.5, memory_bytes=3 << 30), scaling=HPA), IN_IMAGE),
    (_work(cold_start_s=40.0), FETCHED),
    (_work(), replace(IN_IMAGE, gpu=True)),
)


@pytest.mark.parametrize(("work", "contents"), EVERY)
def test_the_schemas_of_kubernetes_take_every_object(work: Workload, contents: Contents) -> None:
    for one in _objects(work, contents):
        kubernetes_validate.validate(one, "1.37", strict=True)


def test_what_belongs_to_a_deployment_is_owned_by_it_and_finds_its_pods() -> None:
    work = _work(count=2, scaling=HPA)
    made, *others = _objects(work)
    assert [one["kind"] for one in others] == ["Secret", "Service", "PodDisruptionBudget", "HorizontalPodAutoscaler"]
    assert {one["metadata"]["name"] for one in (made, *others)} == {workload_name(work.spec.key)}
    for one in others:
        (owner,) = one["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["uid"]) == ("Deployment", made["metadata"]["name"], "uid-1")
        assert of_platform("0a1b2c3d") == ",".join(
            f"{name}={one['metadata']['labels'][name]}"
            for name in ("tidegate.io/platform", "app.kubernetes.io/component")
        )
    labels, selector = made["spec"]["template"]["metadata"]["labels"], made["spec"]["selector"]["matchLabels"]
    assert selector.items() <= labels.items()
    secret, service, budget, scaler = others
    assert service["spec"]["selector"] == budget["spec"]["selector"]["matchLabels"] == selector
    assert service["spec"]["clusterIP"] == "None"
    assert scaler["spec"]["scaleTargetRef"]["name"] == made["metadata"]["name"]
    assert base64.b64decode(secret["data"]["api-key"]) == b"k" * 64
    (key,) = (one for one in _pod(work)["containers"][0]["env"] if one["name"] == "TIDEGATE_API_KEY")
    assert key["valueFrom"]["secretKeyRef"] == {"name": secret["metadata"]["name"], "key": "api-key"}


def test_the_key_of_a_workload_is_read_back_from_its_deployment_and_its_pods() -> None:
    work = _work(replace(PLACED, cpus=2, memory_request_bytes=1 << 29), form="onnx", token=12)
    made = deployment(work, IN_IMAGE)
    for metadata in (made["metadata"], made["spec"]["template"]["metadata"]):
        assert key_of_object(metadata) == work.spec.key
        assert token_of(metadata) == 12
    assert key_of_object({"labels": {}, "annotations": {}}) is None
    assert key_of_object({"name": "somebody's"}) is None
    assert token_of({"annotations": {"tidegate.io/token": "many"}}) == 0


def test_placement_and_form_tell_names_apart() -> None:
    keys = [_work().spec.key, _work(form="onnx").spec.key, _work(replace(PLACED, cpus=2)).spec.key]
    names = [workload_name(key) for key in keys]
    assert len(set(names)) == 3
    assert all(name.startswith("tidegate-churn-v3-") for name in names)
    longest = 63 - len("tidegate--v3-") - 8
    assert len(workload_name(WorkloadKey("a" * longest, "3", PLACED))) == 63
    with pytest.raises(InvalidArgument, match=rf"has 64 characters, and 63 are allowed.* up to {longest}$"):
        workload_name(WorkloadKey("a" * (longest + 1), "3", PLACED))


def test_nothing_runs_before_its_key_is_there() -> None:
    assert deployment(_work(count=5), IN_IMAGE)["spec"]["replicas"] == 0


def test_a_replica_is_managed_drains_before_it_is_ended_and_says_why_it_ended() -> None:
    pod = _pod(_work())
    (container,) = pod["containers"]
    assert container["args"] == ["--host", "0.0.0.0", "--port", "8000", "--managed"]
    assert "command" not in container
    assert "initContainers" not in pod
    assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"
    assert {"name": "TIDEGATE_DRAIN_S", "value": "20"} in container["env"]
    assert pod["terminationGracePeriodSeconds"] > LEAVING_S + 20
    assert container["livenessProbe"]["httpGet"]["path"] == "/health"
    assert container["readinessProbe"]["httpGet"]["path"] == "/v2/health/ready"


def test_a_version_that_no_image_has_is_fetched_first_with_the_replicas_own_key() -> None:
    pod = _pod(_work(), FETCHED)
    (first,), (container,) = pod["initContainers"], pod["containers"]
    assert first["image"] == container["image"] == "tidegate:0.9"
    assert first["args"][: first["args"].index("--credential")] == [
        *("--url", FETCH.url, "--version-path", FETCH.version_path, "--digest", FETCH.digest),
    ]
    assert first["env"] == [one for one in container["env"] if one["name"] == "TIDEGATE_API_KEY"]
    assert first["securityContext"] == container["securityContext"]
    assert container["command"][-2:] == ["--manifest", "/model/manifest.json"]
    writes, reads = ([one for one in each["volumeMounts"] if one["name"] == "model"] for each in (first, container))
    assert writes == [{"name": "model", "mountPath": "/model"}]
    assert reads == [{"name": "model", "mountPath": "/model", "readOnly": True}]
    volumes = {one["name"]: one["emptyDir"]["sizeLimit"] for one in pod["volumes"]}
    assert volumes == {"tmp": "256Mi", "model": "216Mi"}, "room for two of it, as one replaces another, and some more"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, (0.25, 0.5, 512 << 20, 1 << 30)),
        ({"cpus": 2, "memory_bytes": 4 << 30}, (2, 2, 4 << 30, 4 << 30)),
        ({"cpus": 2, "cpu_request": 0.5}, (0.5, 2, 512 << 20, 1 << 30)),
        ({"cpu_request": 1, "memory_request_bytes": 3 << 30}, (1, 1, 3 << 30, 3 << 30)),
        ({"cpu_request": 0.1, "memory_request_bytes": 64 << 20}, (0.1, 0.5, 64 << 20, 1 << 30)),
    ],
)
def test_requests_and_limits_of_a_placement(given: dict[str, Any], expected: tuple[float, ...]) -> None:
    found = resources_of(replace(PLACED, **given))
    assert (found.cpu_request, found.cpu_limit, found.memory_request_bytes, found.memory_limit_bytes) == expected


@pytest.mark.parametrize(("cold_start_s", "tries"), [(None, 300), (0.5, 60), (40, 160), (10_000, 3600)])
def test_a_start_takes_as_long_as_the_measured_one_lets_one_expect(cold_start_s: float | None, tries: int) -> None:
    probe = start_probe(cold_start_s)
    assert probe.every_s * probe.tries_max == tries
    asked = _pod(_work(cold_start_s=cold_start_s))["containers"][0]["startupProbe"]
    each_s = max(asked["periodSeconds"], asked["timeoutSeconds"])
    assert each_s * asked["failureThreshold"] == tries, (
        "one that hangs has no longer than one that says it is not ready"
    )


def test_a_budget_is_for_two_and_more() -> None:
    assert Belonging(_work(count=1), "u").budget() is None
    assert Belonging(_work(count=2), "u").budget() is not None
    assert Belonging(_work(count=9, scaling=replace(HPA, min=1)), "u").budget() is None


def test_the_engine_scales_by_percent_of_the_limit_and_refuses_what_it_cannot_measure() -> None:
    def target(work: Workload) -> Any:
        scaler = Belonging(work, "u").autoscaler()
        assert scaler is not None
        (metric,) = scaler["spec"]["metrics"]
        return metric["resource"]["target"]

    assert target(_work(scaling=HPA)) == {"type": "AverageValue", "averageValue": "350m"}
    assert target(_work(replace(PLACED, cpus=4), scaling=HPA))["averageValue"] == "2800m"
    for scaling, said in (
        (replace(HPA, metric="concurrency"), "cannot scale by concurrency by itself.*--autoscaler tidegate"),
        (replace(HPA, min=0), "keeps at least one replica: give --min 1"),
    ):
        with pytest.raises(InvalidArgument, match=said):
            Belonging(_work(scaling=scaling), "u").autoscaler()
