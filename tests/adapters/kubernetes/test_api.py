"""The client against an API server: objects, preconditions, conflicts, refusals, rights, watches."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.kubernetes.client_cases import CASES, own_name
from support.kubernetes.cluster import FakeCluster, running_cluster
from support.wait import until
from tidegate.adapters.kubernetes import api as api_module
from tidegate.adapters.kubernetes.api import KubernetesApi, connect
from tidegate.adapters.kubernetes.kinds import DEPLOYMENT, EVENT, POD, SECRET, SERVICE
from tidegate.adapters.kubernetes.refusals import Gone
from tidegate.errors import EngineDenied, EngineRefused, EngineUnavailable, InvalidArgument


@pytest.fixture(scope="module")
def pods(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesApi]:
    """A client of one cluster with a node, for all cases."""
    with running_cluster(tmp_path_factory.mktemp("shared")) as running:
        yield connect(running.kubeconfig(), None, {})


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_what_the_client_relies_on(pods: KubernetesApi, case: Callable[[KubernetesApi, str], None]) -> None:
    case(pods, own_name())


def secret(name: str = "one", **data: str) -> dict[str, Any]:
    head = {"name": name, "labels": {"app": "churn"}}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": head, "stringData": data or {"key": "value"}}


def deployment(replicas: int = 1) -> dict[str, Any]:
    template = {
        "metadata": {"labels": {"app": "churn"}},
        "spec": {"containers": [{"name": "replica", "image": "churn:1"}]},
    }
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": "churn"}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "churn"}, "spec": spec}


def test_lists_go_on_page_by_page_and_select_by_labels(
    cluster: FakeCluster, api: KubernetesApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(7):
        api.apply(secret(f"one-{number}"))
    api.apply({**secret("other"), "metadata": {"name": "other", "labels": {"app": "else"}}})
    monkeypatch.setattr(api_module, "PAGE_OBJECTS", 3)
    cluster.network.asked.clear()
    listed = api.list(SECRET, "app=churn")
    assert [one["metadata"]["name"] for one in listed.items] == [f"one-{number}" for number in range(7)]
    assert len(cluster.network.asked) == 3
    assert len(api.list(SECRET, "app in (else, churn)").items) == 8
    assert api.list(EVENT).items == []
    assert int(listed.resource_version) == cluster.store.version


def test_a_list_that_expired_on_its_way_is_begun_again(
    cluster: FakeCluster, api: KubernetesApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        api.apply(secret(f"one-{number}"))
    monkeypatch.setattr(api_module, "PAGE_OBJECTS", 2)
    expired = iter([True])
    real = cluster.rest.answer

    def forgetful(call: Any) -> Any:
        if "continue" in call.query and next(expired, False):
            cluster.rest.pages.clear()
        return real(call)

    monkeypatch.setattr(cluster.rest, "answer", forgetful)
    assert len(api.list(SECRET).items) == 4


def test_what_is_no_object_is_refused_with_the_field(cluster: FakeCluster, api: KubernetesApi) -> None:
    unknown = deployment()
    unknown["spec"]["template"]["spec"]["containers"][0]["comand"] = ["x"]
    with pytest.raises(EngineRefused, match=r"Kubernetes does not take deployments 'churn'.*comand"):
        api.apply(unknown)
    apart = deployment()
    apart["spec"]["selector"]["matchLabels"] = {"app": "other"}
    with pytest.raises(EngineRefused, match="does not match template"):
        api.apply(apart)
    with pytest.raises(InvalidArgument, match="writes no ConfigMap of v1"):
        api.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}})
    cluster.policies.refuse = lambda plural, _: "no images of strangers" if plural == "deployments" else ""
    with pytest.raises(EngineRefused, match=r"a policy of the cluster refuses deployments 'churn'.*no images of str"):
        api.apply(deployment())


def test_a_namespace_that_is_not_there_is_said(cluster: FakeCluster) -> None:
    there, gone = (connect(cluster.kubeconfig(namespace="team"), name, {}) for name in ("default", None))
    there.check_namespace()
    with pytest.raises(EngineDenied, match=r"there is no namespace 'team' .*kubectl create namespace team, or set NAM"):
        gone.check_namespace()
    with pytest.raises(EngineDenied, match="there is no namespace 'team'"):
        gone.apply(secret())
    assert gone.list(SECRET).items == []  # as the real one answers
    cluster.policies.namespaces["team"] = {"fake/terminating": "true"}
    with pytest.raises(EngineUnavailable, match="namespace 'team' is being deleted"):
        gone.apply(secret())


def test_rights_that_are_missing_are_named_with_their_rule(cluster: FakeCluster, api: KubernetesApi) -> None:
    assert api.can("delete", POD)
    cluster.policies.rules = [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "patch"]}]
    assert [api.can("get", SECRET), api.can("list", SECRET), api.can("get", POD, "log")] == [True, False, False]
    with pytest.raises(EngineDenied) as caught:
        api.list(DEPLOYMENT)
    assert caught.value.message == (
        "user 'system:serviceaccount:default:tidegate' may not list deployments in namespace 'default' at "
        f"{api.where}: "
        'add the rule {apiGroups: ["apps"], resources: ["deployments"], verbs: ["list"]} to its Role'
    )
    with pytest.raises(EngineDenied, match="may not create secrets"):  # applying what is not there makes it
        api.apply(secret())
    with pytest.raises(EngineDenied, match="may not watch services"):
        list(api.watch(SERVICE, "", "1", 1))
    with pytest.raises(EngineDenied, match=r'resources: \["pods/log"\]'):
        api.logs("churn-0", "replica", 5)
    api.check_namespace()  # who may not look cannot say that it is missing


def test_a_watch_from_what_is_forgotten_is_gone(cluster: FakeCluster, api: KubernetesApi) -> None:
    start = api.list(SECRET).resource_version
    watching = api.watch(SECRET, "", start, 30)
    next(watching)
    api.apply(secret())
    cluster.store.forget()
    with pytest.raises(Gone):
        list(watching)
    with pytest.raises(Gone):
        list(api.watch(SECRET, "", start, 1))


@pytest.mark.parametrize("trouble", ["half", "cut"])
def test_a_watch_that_is_cut_is_unavailable(cluster: FakeCluster, api: KubernetesApi, trouble: str) -> None:
    start = api.list(SECRET).resource_version
    cluster.network.half_lines = 1 if trouble == "half" else 0
    watching = api.watch(SECRET, "", start, 30)
    next(watching)
    if trouble == "cut":
        cluster.server.cut_connections()
    api.apply(secret())
    with pytest.raises(EngineUnavailable):
        list(watching)


def test_nonsense_in_a_watch_is_told_from_events(cluster: FakeCluster, api: KubernetesApi) -> None:
    lines = [b"{]\n", b'{"type": "ADDED"}\n', b'{"type": "ADDED", "object": {}}\n', b"[1]\n"]
    for line in lines:
        cluster.network.answers = _watches(line)
        with pytest.raises(EngineUnavailable, match=r"sent what is no event|without a name"):
            list(api.watch(SECRET, "", "1", 1))
    failure = {"type": "ERROR", "object": {"kind": "Status", "code": 500, "message": "etcd is gone"}}
    cluster.network.answers = _watches(json.dumps(failure).encode() + b"\n")
    with pytest.raises(EngineUnavailable, match="etcd is gone"):
        list(api.watch(SECRET, "", "1", 1))


def _watches(line: bytes) -> Callable[[Any], tuple[int, bytes] | None]:
    return lambda call: (200, line) if call.query.get("watch") else None


def test_quotas_and_the_restricted_standard_keep_pods_away(cluster: FakeCluster, api: KubernetesApi) -> None:
    cluster.policies.namespaces["default"] = {"pod-security.kubernetes.io/enforce": "restricted"}
    api.apply(deployment())
    failed = until(lambda: _failure(api), 10, "a failure")
    assert 'violates PodSecurity "restricted:latest"' in failed
    cluster.policies.namespaces["default"] = {}
    cluster.policies.quota = {"pods": "1"}
    api.patch(DEPLOYMENT, "churn", {"spec": {"replicas": 3}}, subresource="scale")
    until(lambda: "exceeded quota" in _failure(api), 10, "another")
    failed = _failure(api)
    assert "requested: pods=1, used: pods=1, limited: pods=1" in failed
    told = [one["reason"] for one in api.list(EVENT).items]
    assert set(told) == {"FailedCreate"}


def _failure(api: KubernetesApi) -> str:
    found = api.get(DEPLOYMENT, "churn")
    assert found is not None
    conditions = found.get("status", {}).get("conditions", [])
    return next((one["message"] for one in conditions if one["type"] == "ReplicaFailure"), "")
