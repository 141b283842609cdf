"""What the client relies on in an API server: each case runs on the fake cluster, and on a real one where there is one.

A case gets a client in a namespace that has nothing of its name, and in which pods of the restricted standard may be.
"""

from __future__ import annotations

import copy
import json
import secrets
from collections.abc import Callable
from typing import Any

import pytest

from support.wait import until
from tidegate.adapters.kubernetes.api import KubernetesApi
from tidegate.adapters.kubernetes.cache import Informer
from tidegate.adapters.kubernetes.kinds import (
    AUTOSCALER,
    DEPLOYMENT,
    ENDPOINT_SLICE,
    EVENT,
    POD,
    POD_DISRUPTION_BUDGET,
    REPLICA_SET,
    SECRET,
    SERVICE,
)
from tidegate.adapters.kubernetes.transport import ApiRequest
from tidegate.core.manifests.pods import RESTRICTED
from tidegate.errors import ChangedMeanwhile, Conflict, EngineRefused, EngineUnavailable

Object = dict[str, Any]
WITHIN_S = 30.0
STRANGE_UID = "11111111-1111-4111-8111-111111111111"


def secret(name: str, **labels: str) -> Object:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "labels": labels or {"app": "churn"}}}


def deployment(name: str, replicas: int = 1) -> Object:
    """Its image is nowhere, and pulled from nowhere: the pods stay pending."""
    image = {"image": "registry.invalid/churn:1", "imagePullPolicy": "Never"}
    container = {"name": "replica", **image, "securityContext": RESTRICTED}
    pod = {
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    template = {"metadata": {"labels": {"app": name}}, "spec": pod}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def objects_are_made_read_and_deleted(api: KubernetesApi, name: str) -> None:
    assert api.version().startswith("v1.")
    api.check_namespace()
    assert api.get(SECRET, name) is None
    given = {**secret(name), "stringData": {"key": "value"}}
    made = api.apply(given)
    assert made["data"] == {"key": "dmFsdWU="}
    assert api.get(SECRET, name) == made
    assert api.apply(given) == made  # nothing to change is no change
    api.delete(SECRET, name, uid=made["metadata"]["uid"])
    assert api.get(SECRET, name) is None
    api.delete(SECRET, name)  # what is gone is no error
    assert api.logs(name, "replica", 5) == []


def preconditions_keep_what_somebody_changed_meanwhile(api: KubernetesApi, name: str) -> None:
    first = api.apply(secret(name))["metadata"]
    api.patch(SECRET, name, {"metadata": {"annotations": {"a": "1"}}})
    old = {"metadata": {"resourceVersion": first["resourceVersion"], "annotations": {"a": "2"}}}
    with pytest.raises(ChangedMeanwhile, match=f"secrets '{name}' was changed in the cluster"):
        api.patch(SECRET, name, old)
    with pytest.raises(ChangedMeanwhile):
        api.delete(SECRET, name, uid=STRANGE_UID)
    with pytest.raises(ChangedMeanwhile):
        api.delete(SECRET, name, resource_version=first["resourceVersion"])
    late = secret(name)
    late["metadata"] |= {"resourceVersion": first["resourceVersion"], "annotations": {"b": "3"}}
    with pytest.raises(ChangedMeanwhile):
        api.apply(late)
    with pytest.raises(ChangedMeanwhile, match="is another object by now"):
        api.patch(SECRET, name, {"metadata": {"uid": STRANGE_UID, "annotations": {"a": "2"}}})
    found = api.get(SECRET, name)
    assert found is not None
    assert found["metadata"]["annotations"] == {"a": "1"}
    with pytest.raises(EngineUnavailable, match=f"secrets '{name}-gone' is gone"):
        api.patch(SECRET, f"{name}-gone", {"metadata": {"annotations": {"a": "1"}}})


def a_version_keeps_nobody_from_making_what_is_not_there(api: KubernetesApi, name: str) -> None:
    given = secret(name)
    given["metadata"]["resourceVersion"] = "1"
    assert api.apply(given)["metadata"]["name"] == name  # surprising, and so of all that apply after a read


def a_field_of_another_manager_is_a_conflict_that_names_them(api: KubernetesApi, name: str) -> None:
    api.apply(deployment(name))
    path = DEPLOYMENT.path(api.namespace, name)
    for manager, body in (
        ("kubectl-edit", {"spec": {"replicas": 4}}),
        ("somebody", {"metadata": {"annotations": {"a": "theirs"}}}),
    ):
        api._transport.call(ApiRequest("PATCH", path, {"fieldManager": manager}, body, "application/merge-patch+json"))
    with pytest.raises(Conflict, match=r"'kubectl-edit' holds spec\.replicas") as caught:
        api.apply(deployment(name, 2))
    assert caught.value.details == {"managers": ["kubectl-edit"], "fields": ["spec.replicas"]}
    wanted = deployment(name, 2)
    wanted["metadata"]["annotations"] = {"a": "ours"}
    with pytest.raises(Conflict) as caught:
        api.apply(wanted)
    assert caught.value.details["managers"] == ["kubectl-edit", "somebody"]
    found = api.get(DEPLOYMENT, name)
    assert found is not None
    assert found["spec"]["replicas"] == 4
    assert api.apply(deployment(name, 4))["spec"]["replicas"] == 4  # the same value is shared
    assert api.apply(deployment(name, 2), force=True)["spec"]["replicas"] == 2


def a_count_that_we_patched_ourselves_is_no_conflict(api: KubernetesApi, name: str) -> None:
    api.apply(deployment(name))
    scaled = api.patch(DEPLOYMENT, name, {"spec": {"replicas": 3}}, subresource="scale")
    assert (scaled["kind"], scaled["spec"]) == ("Scale", {"replicas": 3})
    assert api.apply(deployment(name, 2))["spec"]["replicas"] == 2


def fields_that_are_applied_no_longer_go_away(api: KubernetesApi, name: str) -> None:
    given = deployment(name)
    given["metadata"]["annotations"] = {"a": "1", "b": "2"}
    api.apply(given)
    api.patch(DEPLOYMENT, name, {"metadata": {"annotations": {"c": "3"}}})
    del given["metadata"]["annotations"]["b"]
    left = api.apply(given)["metadata"]["annotations"]
    assert {key: value for key, value in left.items() if len(key) == 1} == {"a": "1", "c": "3"}


def what_is_no_object_is_refused_with_the_field(api: KubernetesApi, name: str) -> None:
    unknown = deployment(name)
    unknown["spec"]["template"]["spec"]["containers"][0]["comand"] = ["x"]
    with pytest.raises(EngineRefused, match=f"Kubernetes does not take deployments '{name}'.*comand"):
        api.apply(unknown)
    apart = deployment(name)
    apart["spec"]["selector"]["matchLabels"] = {"app": "other"}
    with pytest.raises(EngineRefused, match="does not match template"):
        api.apply(apart)
    long = secret(name, app="x" * 64)
    with pytest.raises(EngineRefused, match="must be no more than 63"):
        api.apply(long)
    api.apply(deployment(name))
    labels = {"app": "y"}
    with pytest.raises(EngineRefused, match="field is immutable"):
        api.patch(
            DEPLOYMENT,
            name,
            {"spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}}}},
        )


def a_watch_tells_what_changes_and_ends_in_time(api: KubernetesApi, name: str) -> None:
    selector = f"app={name}"
    start = api.list(SECRET, selector).resource_version
    events = api.watch(SECRET, selector, start, 30)
    first = next(events)
    assert (first.type, first.resource_version) == ("BOOKMARK", start)
    made = api.apply(secret(name, app=name))
    api.apply(secret(f"{name}-other"))
    api.patch(SECRET, name, {"metadata": {"labels": {"app": "else"}}})
    told = next(event for event in events if event.type != "BOOKMARK")
    assert (told.type, told.object) == ("ADDED", made)
    events.close()  # type: ignore[attr-defined]
    whole = [event.type for event in api.watch(SECRET, selector, start, 1)]
    assert [kind for kind in whole if kind != "BOOKMARK"] == ["ADDED", "DELETED"]  # without its label it is gone here


def a_watch_of_nothing_is_kept_alive_to_its_end(api: KubernetesApi, name: str) -> None:
    start = api.list(SECRET, f"app={name}").resource_version
    assert {event.type for event in api.watch(SECRET, f"app={name}", start, 2)} == {"BOOKMARK"}


def deleting_a_deployment_deletes_what_it_owns(api: KubernetesApi, name: str) -> None:
    made = api.apply(deployment(name, 2))
    owned = secret(name, app=name)
    uid = made["metadata"]["uid"]
    owned["metadata"]["ownerReferences"] = [{"apiVersion": "apps/v1", "kind": "Deployment", "name": name, "uid": uid}]
    api.apply(owned)
    until(lambda: len(api.list(POD, f"app={name}").items) == 2, WITHIN_S, "two pods")
    api.delete(DEPLOYMENT, name)
    for kind in (SECRET, REPLICA_SET):
        until(lambda kind=kind: not api.list(kind, f"app={name}").items, WITHIN_S, "the end of it")  # type: ignore[misc]
    until(
        lambda: all(pod["metadata"].get("deletionTimestamp") for pod in api.list(POD, f"app={name}").items),
        WITHIN_S,
        "the pods' end",
    )


def applying_the_same_twice_asks_for_nothing_new(api: KubernetesApi, name: str) -> None:
    first = api.apply(deployment(name))
    until(lambda: len(api.list(POD, f"app={name}").items) == 1, WITHIN_S, "a pod")
    again = api.apply(copy.deepcopy(deployment(name)))
    assert again["metadata"]["generation"] == first["metadata"]["generation"]
    assert _ours(again) == _ours(first)


def _ours(one: Object) -> list[Object]:
    return [entry for entry in one["metadata"]["managedFields"] if entry["manager"] == "tidegate"]


def every_kind_is_written_listed_and_deleted(api: KubernetesApi, name: str) -> None:
    labels = {"app": name}
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}
    specs: dict[Any, Object] = {
        SERVICE: {"clusterIP": "None", "selector": labels, "ports": [{"name": "http", "port": 8000}]},
        POD_DISRUPTION_BUDGET: {"maxUnavailable": 1, "selector": {"matchLabels": labels}},
        AUTOSCALER: {
            "scaleTargetRef": target,
            "minReplicas": 1,
            "maxReplicas": 3,
            "metrics": [{"type": "Resource", "resource": cpu}],
        },
    }
    for kind, spec in specs.items():
        head = {"name": name, "labels": labels}
        made = api.apply({"apiVersion": kind.api_version, "kind": kind.name, "metadata": head, "spec": spec})
        assert [one["metadata"]["uid"] for one in api.list(kind, f"app={name}").items] == [made["metadata"]["uid"]]
    until(lambda: api.list(ENDPOINT_SLICE, f"kubernetes.io/service-name={name}").items, WITHIN_S, "a slice")
    for kind in specs:
        api.delete(kind, name)
        assert api.get(kind, name) is None
    until(lambda: not api.list(ENDPOINT_SLICE, f"kubernetes.io/service-name={name}").items, WITHIN_S, "its end")


def a_pod_without_its_image_waits_and_says_why(api: KubernetesApi, name: str) -> None:
    api.apply(deployment(name))

    def waits() -> str:
        pods = api.list(POD, f"app={name}").items
        statuses = pods[0]["status"].get("containerStatuses", []) if pods else []
        return str(statuses[0]["state"].get("waiting", {}).get("reason")) if statuses else ""

    until(lambda: waits() == "ErrImageNeverPull", WITHIN_S, "the failure")
    pod = api.list(POD, f"app={name}").items[0]
    assert pod["status"]["phase"] == "Pending"
    assert api.logs(pod["metadata"]["name"], "replica", 5) == []
    assert api.logs(pod["metadata"]["name"], "replica", 5, previous=True) == []
    about = pod["metadata"]["uid"]
    until(lambda: _told(api, about) >= {"Scheduled", "Failed"}, WITHIN_S, "its events")
    body = {"metadata": {"uid": about, "annotations": {"controller.kubernetes.io/pod-deletion-cost": "-1000"}}}
    api.patch(POD, pod["metadata"]["name"], body)
    api.delete(POD, pod["metadata"]["name"], uid=about, grace_s=0)
    until(lambda: about not in json.dumps(api.list(POD, f"app={name}").items), WITHIN_S, "its end")


def _told(api: KubernetesApi, uid: str) -> set[str]:
    return {one["reason"] for one in api.list(EVENT).items if one["involvedObject"].get("uid") == uid}


def a_cache_follows_what_comes_and_goes(api: KubernetesApi, name: str) -> None:
    cache = Informer(api, SECRET, f"app={name}", watch_s=2.0)
    try:
        assert cache.items() == []
        for number in range(3):
            api.apply(secret(f"{name}-{number}", app=name))
        until(lambda: len(cache.items()) == 3, WITHIN_S, "three")
        api.delete(SECRET, f"{name}-1")
        api.patch(SECRET, f"{name}-2", {"metadata": {"labels": {"app": "else"}}})
        until(lambda: [one["metadata"]["name"] for one in cache.items()] == [f"{name}-0"], WITHIN_S, "one")
        heard = cache.heard_at
        until(lambda: cache.heard_at > heard, WITHIN_S, "another watch")
        assert [one["metadata"]["name"] for one in cache.items()] == [f"{name}-0"]
    finally:
        cache.stop()


def rights_are_told(api: KubernetesApi, name: str) -> None:
    assert api.can("list", POD)
    assert api.can("get", POD, "log")


CASES: tuple[Callable[[KubernetesApi, str], None], ...] = (
    objects_are_made_read_and_deleted,
    preconditions_keep_what_somebody_changed_meanwhile,
    a_version_keeps_nobody_from_making_what_is_not_there,
    a_field_of_another_manager_is_a_conflict_that_names_them,
    a_count_that_we_patched_ourselves_is_no_conflict,
    fields_that_are_applied_no_longer_go_away,
    what_is_no_object_is_refused_with_the_field,
    a_watch_tells_what_changes_and_ends_in_time,
    a_watch_of_nothing_is_kept_alive_to_its_end,
    deleting_a_deployment_deletes_what_it_owns,
    applying_the_same_twice_asks_for_nothing_new,
    every_kind_is_written_listed_and_deleted,
    a_pod_without_its_image_waits_and_says_why,
    a_cache_follows_what_comes_and_goes,
    rights_are_told,
)


def own_name() -> str:
    """A name that no other case has."""
    return f"case-{secrets.token_hex(4)}"
