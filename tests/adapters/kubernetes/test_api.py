"""The client against an API server: objects, preconditions, conflicts, refusals, rights, watches."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from support.kubernetes.cluster import FakeCluster
from support.wait import until
from tidegate.adapters.kubernetes import api as api_module
from tidegate.adapters.kubernetes.api import KubernetesApi, connect
from tidegate.adapters.kubernetes.kinds import DEPLOYMENT, EVENT, POD, SECRET, SERVICE
from tidegate.adapters.kubernetes.refusals import Gone
from tidegate.adapters.kubernetes.transport import Request
from tidegate.errors import ChangedMeanwhile, Conflict, EngineDenied, EngineRefused, EngineUnavailable, InvalidArgument


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


def test_objects_are_made_read_and_deleted(api: KubernetesApi) -> None:
    assert (api.namespace, api.version()) == ("default", "v1.36.2")
    assert api.get(SECRET, "one") is None
    made = api.apply(secret())
    assert made["data"] == {"key": "dmFsdWU="}
    assert api.get(SECRET, "one") == made
    assert api.apply(secret()) == made  # nothing to change is no change
    api.delete(SECRET, "one", uid=made["metadata"]["uid"])
    assert api.get(SECRET, "one") is None
    api.delete(SECRET, "one")  # what is gone is no error


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


def test_preconditions_keep_what_somebody_changed_meanwhile(api: KubernetesApi) -> None:
    first = api.apply(secret())["metadata"]
    api.patch(SECRET, "one", {"metadata": {"annotations": {"a": "1"}}})
    old = {"metadata": {"resourceVersion": first["resourceVersion"], "annotations": {"a": "2"}}}
    with pytest.raises(ChangedMeanwhile, match="secrets 'one' was changed in the cluster"):
        api.patch(SECRET, "one", old)
    with pytest.raises(ChangedMeanwhile):
        api.delete(SECRET, "one", uid="of another")
    with pytest.raises(ChangedMeanwhile):
        api.delete(SECRET, "one", resource_version=first["resourceVersion"])
    late = secret()
    late["metadata"]["resourceVersion"] = first["resourceVersion"]
    late["metadata"]["annotations"] = {"b": "3"}
    with pytest.raises(ChangedMeanwhile):
        api.apply(late)
    with pytest.raises(ChangedMeanwhile):
        api.apply({**secret("none"), "metadata": {"name": "none", "resourceVersion": "5"}})
    found = api.get(SECRET, "one")
    assert found is not None
    assert found["metadata"]["annotations"] == {"a": "1"}
    with pytest.raises(EngineUnavailable, match="secrets 'gone' is gone"):
        api.patch(SECRET, "gone", {"metadata": {"annotations": {"a": "1"}}})


def test_a_field_of_another_manager_is_a_conflict_that_names_them(cluster: FakeCluster, api: KubernetesApi) -> None:
    api.apply(deployment())
    generation = cluster.objects("deployments")[0]["metadata"]["generation"]
    other = "/apis/apps/v1/namespaces/default/deployments/churn"
    body = {"spec": {"replicas": 4}}
    query = {"fieldManager": "kubectl-edit"}
    api._transport.call(Request("PATCH", other, query, body, "application/merge-patch+json"))
    with pytest.raises(Conflict, match=r"'kubectl-edit' holds spec.replicas") as caught:
        api.apply(deployment(2))
    assert caught.value.details == {"managers": ["kubectl-edit"], "fields": ["spec.replicas"]}
    assert cluster.objects("deployments")[0]["spec"]["replicas"] == 4
    assert api.apply(deployment(4))["spec"]["replicas"] == 4  # the same value is shared
    assert api.apply(deployment(2), force=True)["metadata"]["generation"] == generation + 2


def test_a_count_that_we_patched_ourselves_is_no_conflict(api: KubernetesApi) -> None:
    api.apply(deployment())
    scaled = api.patch(DEPLOYMENT, "churn", {"spec": {"replicas": 3}}, subresource="scale")
    assert (scaled["kind"], scaled["spec"]) == ("Scale", {"replicas": 3})
    assert api.apply(deployment(2))["spec"]["replicas"] == 2


def test_fields_that_are_applied_no_longer_go_away(api: KubernetesApi) -> None:
    first = deployment()
    first["metadata"]["annotations"] = {"a": "1", "b": "2"}
    api.apply(first)
    api.patch(DEPLOYMENT, "churn", {"metadata": {"annotations": {"c": "3"}}})
    del first["metadata"]["annotations"]["b"]
    assert api.apply(first)["metadata"]["annotations"] == {"a": "1", "c": "3"}


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


def test_a_watch_tells_what_changes_and_ends_in_time(cluster: FakeCluster, api: KubernetesApi) -> None:
    start = api.list(SECRET).resource_version
    events = api.watch(SECRET, "app=churn", start, 30)
    first = next(events)
    assert (first.type, first.resource_version) == ("BOOKMARK", start)
    made = api.apply(secret())
    api.apply({**secret("other"), "metadata": {"name": "other"}})
    api.patch(SECRET, "one", {"metadata": {"labels": {"app": "else"}}})
    told = [event for event in (next(events) for _ in range(4)) if event.type != "BOOKMARK"]
    assert [event.type for event in told[:2]] == ["ADDED", "DELETED"]  # without its label it is gone for this watch
    assert told[0].object == made
    events.close()  # type: ignore[attr-defined]
    seen = [event.type for event in api.watch(SECRET, "", start, 1)]
    assert seen[:4] == ["BOOKMARK", "ADDED", "ADDED", "MODIFIED"]
    assert set(seen[4:]) == {"BOOKMARK"}


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


def test_deleting_a_deployment_deletes_what_it_owns(cluster: FakeCluster, api: KubernetesApi) -> None:
    made = api.apply(deployment(2))
    owned = secret()
    owned["metadata"]["ownerReferences"] = [
        {"apiVersion": "apps/v1", "kind": "Deployment", "name": "churn", "uid": made["metadata"]["uid"]}
    ]
    api.apply(owned)
    until(lambda: len(api.list(POD, "app=churn").items) == 2, 10, "two pods")
    api.delete(DEPLOYMENT, "churn")
    until(lambda: not api.list(SECRET).items and not cluster.objects("replicasets"), 10, "the end of what it owned")
    assert all(pod["metadata"].get("deletionTimestamp") for pod in api.list(POD).items)


def test_quotas_and_the_restricted_standard_keep_pods_away(cluster: FakeCluster, api: KubernetesApi) -> None:
    cluster.policies.namespaces["default"] = {"pod-security.kubernetes.io/enforce": "restricted"}
    api.apply(deployment())
    failed = until(lambda: _failure(api), 10, "a failure")
    assert 'violates PodSecurity "restricted:latest"' in failed
    cluster.policies.namespaces["default"] = {}
    cluster.policies.quota = {"pods": "1"}
    api.patch(DEPLOYMENT, "churn", {"spec": {"replicas": 3}}, subresource="scale")
    failed = until(lambda: (found := _failure(api)) and "exceeded quota" in found and found, 10, "another")
    assert "requested: pods=1, used: pods=1, limited: pods=1" in failed
    told = [one["reason"] for one in api.list(EVENT).items]
    assert set(told) == {"FailedCreate"}


def _failure(api: KubernetesApi) -> str:
    found = api.get(DEPLOYMENT, "churn")
    assert found is not None
    conditions = found.get("status", {}).get("conditions", [])
    return next((one["message"] for one in conditions if one["type"] == "ReplicaFailure"), "")


def test_applying_the_same_twice_asks_for_nothing_new(cluster: FakeCluster, api: KubernetesApi) -> None:
    first = api.apply(deployment())
    until(lambda: len(api.list(POD).items) == 1, 10, "a pod")
    again = api.apply(copy.deepcopy(deployment()))
    assert again["metadata"]["generation"] == first["metadata"]["generation"]
    assert again["metadata"]["managedFields"] == first["metadata"]["managedFields"]
