"""What is Kubernetes' own of the workloads on it; what all engines have in common is in tests/conformance/workloads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from support.images import plain_model
from support.kubernetes import rest
from support.kubernetes.cluster import FakeCluster, running_cluster
from support.kubernetes.containers import Image
from support.replicas import packaged
from support.wait import until
from tidegate.adapters.kubernetes.api import connect
from tidegate.adapters.kubernetes.rights import RIGHTS
from tidegate.adapters.kubernetes.workloads import ClusterParts, KubernetesWorkloads
from tidegate.core.engines.placement import Placement
from tidegate.core.images.delivery import Delivery
from tidegate.core.manifests.replica_pods import workload_name
from tidegate.core.workloads import EngineScaling, WorkloadKey, WorkloadSpec, WorkloadState
from tidegate.errors import EngineDenied, EngineRefused, InvalidArgument

SLEEPS = Image(("python", "-c", "import time; time.sleep(600)"))
KEY = WorkloadKey("churn", "1", Placement("kubernetes"))
NAME = workload_name(KEY)

Make = Callable[..., KubernetesWorkloads]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    return packaged(plain_model(folder / "plain"), folder)[0]


@pytest.fixture
def spec(manifest: Path) -> WorkloadSpec:
    return WorkloadSpec(KEY, "churn", manifest, 1, 1)


def _adapters(cluster: FakeCluster) -> Iterator[Make]:
    made: list[KubernetesWorkloads] = []

    def make(platform: str = "0a1b2c3d") -> KubernetesWorkloads:
        api = connect(cluster.kubeconfig(), None, {})
        made.append(
            KubernetesWorkloads(
                ClusterParts(api, platform, lambda name: f"key of {name}", lambda _: Delivery("it:1"), 1.0)
            )
        )
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def adapter(cluster: FakeCluster) -> Iterator[Make]:
    """On a cluster without a node."""
    yield from _adapters(cluster)


@pytest.fixture
def with_node(tmp_path: Path) -> Iterator[FakeCluster]:
    with running_cluster(tmp_path / "cluster") as running:
        running.images["it:1"] = SLEEPS
        yield running


def _deployment(cluster: FakeCluster) -> dict[str, Any]:
    (found,) = cluster.objects("deployments")
    return found


def _state(workloads: KubernetesWorkloads, holds: Callable[[WorkloadState], object], what: str) -> WorkloadState:
    """Once the caches have it."""

    def look() -> WorkloadState | None:
        return next((one for one in workloads.observe() if holds(one)), None)

    found = until(look, what=what)
    assert found is not None
    return found


def _applied_until(workloads: KubernetesWorkloads, spec: WorkloadSpec, there: Callable[[], list[Any]]) -> bool:
    workloads.apply(spec)
    return bool(there())


def test_a_count_that_somebody_else_set_is_said_and_left_until_it_is_taken_back(
    cluster: FakeCluster, adapter: Make, spec: WorkloadSpec
) -> None:
    workloads = adapter()
    workloads.apply(spec)
    cluster.change("deployments", NAME, lambda it: it["spec"].update(replicas=5))
    said = _state(workloads, lambda one: one.desired == 5, "the change").problem
    assert "to 5 replicas, and Tidegate asked for 1" in said
    assert f"kubectl scale deployment {NAME} --replicas=1" in said
    workloads.apply(replace(spec, count=3))
    assert _deployment(cluster)["spec"]["replicas"] == 5
    cluster.change("deployments", NAME, lambda it: it["spec"].update(replicas=1))
    assert _state(workloads, lambda one: one.desired == 1, "the change back").problem == ""
    workloads.apply(replace(spec, count=3))
    assert _deployment(cluster)["spec"]["replicas"] == 3


def test_a_paused_deployment_is_left_alone_and_still_deleted(
    cluster: FakeCluster, adapter: Make, spec: WorkloadSpec
) -> None:
    workloads = adapter()
    workloads.apply(spec)
    cluster.change("deployments", NAME, lambda it: it["metadata"]["annotations"].update({"tidegate.io/paused": "true"}))
    assert "is paused by its annotation" in _state(workloads, lambda one: one.problem, "the pause").problem
    workloads.apply(replace(spec, count=4))
    assert _deployment(cluster)["spec"]["replicas"] == 1
    workloads.delete(KEY, 1)
    assert cluster.objects("deployments") == []


def test_what_somebody_deleted_is_made_again(cluster: FakeCluster, adapter: Make, spec: WorkloadSpec) -> None:
    workloads, spec = adapter(), replace(spec, count=2)
    workloads.apply(spec)
    for kind in ("services", "poddisruptionbudgets"):
        cluster.delete(kind, NAME)
        until(partial(_applied_until, workloads, spec, partial(cluster.objects, kind)), what=kind)
    before = _deployment(cluster)["metadata"]["uid"]
    cluster.delete("deployments", NAME)
    until(lambda: not any(one.desired for one in workloads.observe()), what="the end of the Deployment")
    workloads.apply(spec)
    assert _deployment(cluster)["metadata"]["uid"] != before
    until(lambda: [one["metadata"]["name"] for one in cluster.objects("secrets")] == [NAME], what="its Secret")


def test_a_secret_that_somebody_deleted_is_made_again_once_a_pod_lacks_it(
    with_node: FakeCluster, spec: WorkloadSpec
) -> None:
    for make in _adapters(with_node):
        workloads = make()
        workloads.apply(spec)
        shown = _state(workloads, lambda one: one.instances and one.instances[0].seen.address, "a pod")
        with_node.delete("secrets", NAME)
        with_node.delete("pods", str(shown.instances[0].handle.data["pod"]))
        waits = _state(workloads, lambda one: any(each.waits for each in one.instances), "a pod that waits")
        assert any("secret" in each.waits.lower() for each in waits.instances)
        workloads.apply(spec)
        assert [one["metadata"]["name"] for one in with_node.objects("secrets")] == [NAME]
        _state(workloads, lambda one: not any(each.waits for each in one.instances), "the pod")


def test_a_pod_that_no_node_takes_waits_and_its_events_are_its_log(with_node: FakeCluster, spec: WorkloadSpec) -> None:
    with_node.node.memory = "1Mi"
    for make in _adapters(with_node):
        workloads = make()
        workloads.apply(spec)
        shown = _state(workloads, lambda one: any(each.waits for each in one.instances), "a pod that waits")
        assert "Insufficient memory" in shown.instances[0].waits
        assert "Warning FailedScheduling" in workloads.logs(shown.instances[0].handle, 10)[-1]


def test_what_the_namespace_refuses_is_said_of_the_workload(with_node: FakeCluster, spec: WorkloadSpec) -> None:
    with_node.policies.quota = {"pods": "0"}
    for make in _adapters(with_node):
        workloads = make()
        workloads.apply(spec)
        said = _state(workloads, lambda one: one.problem, "the refusal").problem
        assert "quota leaves no room for another pod" in said


def test_two_replicas_have_a_budget_for_disruptions_and_one_has_none(
    cluster: FakeCluster, adapter: Make, spec: WorkloadSpec
) -> None:
    workloads = adapter()
    for count, budgets in ((1, 0), (2, 1), (3, 1), (1, 0)):
        workloads.apply(replace(spec, count=count))
        assert len(cluster.objects("poddisruptionbudgets")) == budgets, count
        assert _deployment(cluster)["spec"]["replicas"] == count


def test_what_somebody_else_made_of_the_same_name_is_not_deleted(
    cluster: FakeCluster, adapter: Make, spec: WorkloadSpec
) -> None:
    workloads, api = adapter(), connect(cluster.kubeconfig(), None, {})
    workloads.apply(spec)
    selector = {"matchLabels": {"tidegate.io/workload": NAME}}
    theirs = {"metadata": {"name": NAME}, "spec": {"minAvailable": 1, "selector": selector}}
    api.apply({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", **theirs})
    cluster.delete("services", NAME)
    until(partial(_applied_until, workloads, spec, partial(cluster.objects, "services")), what="the Service")
    assert [one["metadata"]["name"] for one in cluster.objects("poddisruptionbudgets")] == [NAME]


def test_the_engine_counts_where_it_scales_and_the_platform_again_afterwards(
    cluster: FakeCluster, adapter: Make, spec: WorkloadSpec
) -> None:
    workloads = adapter()
    scaled = replace(spec, scaling=EngineScaling(2, 9, "cpu", 70))
    workloads.apply(scaled)
    assert _deployment(cluster)["spec"]["replicas"] == 2
    (scaler,) = cluster.objects("horizontalpodautoscalers")
    assert (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) == (2, 9)
    cluster.change("deployments", NAME, lambda it: it["spec"].update(replicas=7))
    assert _state(workloads, lambda one: one.desired == 7, "the engine's count").problem == ""
    workloads.apply(scaled)
    assert _deployment(cluster)["spec"]["replicas"] == 7
    workloads.apply(replace(spec, count=3))
    assert cluster.objects("horizontalpodautoscalers") == []
    assert _deployment(cluster)["spec"]["replicas"] == 3


def test_what_the_engine_cannot_scale_by_makes_nothing(cluster: FakeCluster, adapter: Make, spec: WorkloadSpec) -> None:
    with pytest.raises(InvalidArgument, match="cannot scale by rps"):
        adapter().apply(replace(spec, scaling=EngineScaling(1, 9, "rps", 70)))
    assert cluster.objects("deployments") == []


def test_a_deployment_of_another_platform_is_not_taken_over(
    cluster: FakeCluster, adapter: Make, spec: WorkloadSpec
) -> None:
    adapter("ffffffff").apply(spec)
    with pytest.raises(EngineRefused, match=r"not this platform's \(it is that of ffffffff\): set NAMESPACE"):
        adapter().apply(spec)


def test_a_restart_by_a_person_is_said(cluster: FakeCluster, adapter: Make, spec: WorkloadSpec) -> None:
    workloads = adapter()
    workloads.apply(spec)
    fields: dict[str, Any] = {
        "f:spec": {"f:template": {"f:metadata": {"f:annotations": {"f:kubectl.kubernetes.io/restartedAt": {}}}}}
    }
    entry = {"manager": "kubectl-rollout", "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": fields}
    cluster.change("deployments", NAME, lambda it: it["metadata"]["managedFields"].append(entry))
    assert "'kubectl-rollout' changed the pods" in _state(workloads, lambda one: one.problem, "the change").problem


def test_rights_that_are_missing_are_named_when_something_is_deployed(cluster: FakeCluster, adapter: Make) -> None:
    workloads = adapter()
    workloads.check(Placement("kubernetes"))
    verbs = {"deployments": ["get", "list", "watch", "patch", "delete"], "pods": ["get", "patch", "delete"]}
    cluster.policies.rules = [
        {"apiGroups": ["*"], "resources": [right.resource], "verbs": verbs.get(right.resource, ["*"])}
        for right in RIGHTS
    ]
    with pytest.raises(EngineDenied) as denied:
        adapter().check(Placement("kubernetes"))
    assert '{apiGroups: ["apps"], resources: ["deployments"], verbs: ["create"]}' in denied.value.message
    assert '{apiGroups: [""], resources: ["pods"], verbs: ["list", "watch"]}' in denied.value.message


def test_a_cluster_that_is_too_old_is_refused_before_anything_is_made(
    cluster: FakeCluster, adapter: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest, "VERSION", {"gitVersion": "v1.29.9"})
    with pytest.raises(EngineRefused, match=r"is v1\.29\.9, and 1\.30 or newer is needed"):
        adapter().check(Placement("kubernetes"))
