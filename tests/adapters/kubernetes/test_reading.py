"""Statuses as clusters write them, and what is said of each: who is at fault, why, and what to do."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tidegate.adapters.kubernetes.reading import (
    EndpointConditions,
    conditions_by_pod,
    event_lines,
    instance_id,
    instances_of,
    is_live,
    needs_secret,
    problem_of,
    scaling_problem,
)
from tidegate.core.reconcile.failures import failure_of
from tidegate.core.workloads import Instance

IMAGE = "registry.example.com/team/churn:3"
NAME = "tidegate-churn-v3-0a1b2c3d-5f9c7-x2x4z"
READY = {"type": "Ready", "status": "True"}
LOADED = '{"error": "the model cannot predict its own example: boom", "code": "model_load_failed"}'


def _pod(container: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    metadata = {
        "name": NAME,
        "uid": "u1",
        "labels": {
            "tidegate.io/workload": "tidegate-churn-v3-0a1b2c3d",
            "tidegate.io/model": "churn",
            "tidegate.io/version": "3",
        },
    }
    limits = {"limits": {"cpu": "500m", "memory": "1Gi"}}
    spec = {"nodeName": "node-1", "containers": [{"name": "replica", "image": IMAGE, "resources": limits}]}
    statuses = [{"name": "replica", "image": IMAGE, "restartCount": 0, **container}] if container is not None else []
    return {"metadata": metadata, "spec": spec, "status": {"containerStatuses": statuses, **status}}


def _running(restarts: int = 0, **more: Any) -> dict[str, Any]:
    return {"restartCount": restarts, "state": {"running": {"startedAt": "2026-11-29T12:00:00Z"}}, **more}


def _waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"state": {"waiting": {"reason": reason, "message": message}}}


def _ended(code: int, message: str = "", reason: str = "Error") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "message": message}}


def _only(pod: dict[str, Any], conditions: EndpointConditions | None = None) -> Instance:
    (found,) = instances_of(pod, 7, conditions)
    return found


def test_a_replica_is_ready_where_its_pod_and_the_slice_say_so() -> None:
    pod = _pod(_running(), phase="Running", podIP="10.1.2.3", conditions=[READY])
    found = _only(pod)
    assert (found.id, found.handle.data["replica"], found.handle.data["token"]) == (f"{NAME}.0", f"{NAME}.0", 7)
    assert (found.seen.alive, found.seen.ready, found.terminating, found.waits) == (True, True, False, "")
    assert found.seen.address == "tcp:10.1.2.3:8000?credential=tidegate-churn-v3-0a1b2c3d"
    assert not _only(pod, EndpointConditions(ready=False, terminating=False)).seen.ready
    ending = _only(pod, EndpointConditions(ready=False, terminating=True))
    assert (ending.seen.ready, ending.terminating) == (True, True)
    assert not _only(_pod(_running(), phase="Running", podIP="10.1.2.3")).seen.ready
    six = _only(_pod(_running(), phase="Running", podIP="fd00::7", conditions=[READY]))
    assert six.seen.address == "tcp:[fd00::7]:8000?credential=tidegate-churn-v3-0a1b2c3d"


def test_a_pod_that_is_deleted_ends_and_is_counted_no_more() -> None:
    pod = _pod(_running(), phase="Running", podIP="10.1.2.3", conditions=[READY])
    assert is_live(pod)
    pod["metadata"]["deletionTimestamp"] = "2026-11-29T12:00:00Z"
    assert _only(pod).terminating
    assert not is_live(pod)
    assert not is_live(_pod(phase="Failed"))


def test_a_pod_that_has_no_container_yet_starts() -> None:
    for pod in (_pod(phase="Pending"), _pod(_waiting("ContainerCreating"), phase="Pending")):
        found = _only(pod)
        assert (found.id, found.seen.alive, found.seen.ready, found.seen.address) == (f"{NAME}.0", True, False, None)


def test_a_container_that_was_started_anew_is_another_instance_and_the_one_before_is_told_of() -> None:
    pod = _pod(
        _running(2, lastState=_ended(1, f"loading\ntidegate-error: {LOADED}")), phase="Running", podIP="10.1.2.3"
    )
    before, now = instances_of(pod, 7, None)
    assert (before.id, now.id, instance_id(pod)) == (f"{NAME}.1", f"{NAME}.2", f"{NAME}.2")
    assert (before.seen.alive, before.seen.exit_code, now.seen.alive) == (False, 1, True)
    failed = failure_of("start", before.seen)
    assert (failed.code, failed.cause) == ("model_load_failed", "the model cannot predict its own example: boom")


@pytest.mark.parametrize(
    "container",
    [
        {"restartCount": 1, "state": _ended(3, "boom")},
        {"restartCount": 1, **_waiting("CrashLoopBackOff", "back-off 20s"), "lastState": _ended(3, "boom")},
    ],
)
def test_what_ended_is_one_instance_whether_it_waits_to_be_started_anew_or_not(container: dict[str, Any]) -> None:
    found = _only(_pod(container, phase="Running"))
    assert (found.id, found.seen.alive, found.seen.exit_code, found.seen.log_tail) == (f"{NAME}.1", False, 3, ("boom",))
    assert instance_id(_pod(container)) == found.id


def test_a_pod_that_was_deleted_has_not_failed_once_its_container_ended() -> None:
    for code in (0, 143, 137):
        pod = _pod({"state": _ended(code)}, phase="Running")
        pod["metadata"]["deletionTimestamp"] = "2026-11-29T12:00:00Z"
        assert instances_of(pod, 7, None) == []


ENDS = [
    (_ended(137, "", "OOMKilled"), -9, "for want of memory: its limit is 1Gi (deploy with more --memory)"),
    (_ended(137), -9, "maybe for want of memory: its limit is 1Gi (--memory)"),
    (_ended(139), -11, "SIGSEGV"),
    (
        _ended(0, "", "Completed"),
        0,
        "it ended without an error, by itself or as it was told to, which the cluster does where a probe is not "
        f"answered in time: 'kubectl describe pod {NAME}' has the pod's events",
    ),
    (_ended(143), -15, "it ended without an error, by itself or as it was told to"),
    (_ended(128, "exec: no such file", "StartError"), None, f"of pod {NAME} cannot run: exec: no such file"),
]


@pytest.mark.parametrize(("state", "code", "said"), ENDS)
def test_what_only_the_cluster_knows_of_an_end_is_said(state: dict[str, Any], code: int | None, said: str) -> None:
    found = _only(_pod({"state": state}, phase="Running"))
    assert found.seen.exit_code == code
    assert said in failure_of("crash", found.seen).cause


PULLS = [
    (
        "ErrImagePull",
        "not found",
        "cannot pull the image .*churn:3 .not found.: push it with 'tidegate build churn:3 --",
    ),
    (
        "ImagePullBackOff",
        "Back-off pulling image: 401 Unauthorized",
        "that may pull it with TIDEGATE_IMAGE_PULL_SECRET",
    ),
    ("InvalidImageName", "couldn't parse image name", "correct TIDEGATE_IMAGE_REGISTRY"),
]


@pytest.mark.parametrize(("reason", "message", "said"), PULLS)
@pytest.mark.parametrize("where", ["containerStatuses", "initContainerStatuses"])
def test_an_image_that_cannot_be_pulled_is_held_against_the_version(
    reason: str, message: str, said: str, where: str
) -> None:
    status = {"name": "fetch", "image": IMAGE, "restartCount": 0, **_waiting(reason, message)}
    pod = _pod(_waiting("PodInitializing") if where == "initContainerStatuses" else status, phase="Pending")
    if where == "initContainerStatuses":
        pod["status"]["initContainerStatuses"] = [status]
    found = _only(pod)
    failed = failure_of("start", found.seen)
    assert not found.seen.alive
    assert failed.code == "image_pull_failed"
    assert re.search(said, failed.cause)


def test_a_model_that_could_not_be_fetched_fails_with_the_words_of_what_fetches_it() -> None:
    line = 'tidegate-error: {"error": "the control plane does not answer", "code": "part_unavailable"}'
    for state in (_ended(1, line), _waiting("CrashLoopBackOff")["state"]):
        fetch = {"name": "fetch", "restartCount": 1, "state": state, "lastState": _ended(1, line)}
        pod = _pod(_waiting("PodInitializing"), phase="Pending", initContainerStatuses=[fetch])
        assert failure_of("start", _only(pod).seen).code == "part_unavailable"
    done = {"name": "fetch", "restartCount": 0, "state": _ended(0, "", "Completed")}
    assert _only(_pod(_waiting("PodInitializing"), phase="Pending", initContainerStatuses=[done])).seen.alive


def test_no_room_on_any_node_is_no_fault_of_the_version() -> None:
    message = "0/3 nodes are available: 3 Insufficient memory."
    unscheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    found = _only(_pod(phase="Pending", conditions=[unscheduled]))
    assert found.seen.alive
    assert "3 Insufficient memory" in found.waits
    assert "--memory-request" in found.waits


def test_a_secret_that_is_missing_is_waited_for_and_made_again() -> None:
    pod = _pod(_waiting("CreateContainerConfigError", 'secret "tidegate-churn" not found'), phase="Pending")
    assert needs_secret(pod)
    assert 'secret "tidegate-churn" not found' in _only(pod).waits
    assert _only(pod).seen.alive
    assert not needs_secret(_pod(_running()))


def test_what_a_node_did_is_not_counted_against_the_version() -> None:
    pod = _pod(phase="Failed", reason="Evicted", message="The node was low on resource: memory.")
    failed = failure_of("crash", _only(pod).seen)
    assert failed.code == "out_of_resources"
    assert "ended by node-1 (Evicted: The node was low on resource: memory.)" in failed.cause


@pytest.mark.parametrize("code", [0, 137, 143])
def test_a_replica_that_ran_when_its_node_took_the_pod_has_not_crashed(code: int) -> None:
    """The statuses of containers stay in a pod that was evicted, or whose node shut down."""
    shut = "Pod was terminated in response to imminent node shutdown."
    target = {"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet", "message": shut}
    state = {"restartCount": 2, "state": _ended(code)}
    for status in (
        {"phase": "Failed", "reason": "Terminated", "message": shut},
        {"phase": "Running", "conditions": [target]},
    ):
        found = _only(_pod(state, **status))
        failed = failure_of("crash", found.seen)
        assert (found.id, found.seen.alive, failed.code) == (f"{NAME}.2", False, "out_of_resources")
        assert shut in failed.cause
    spared = {**target, "status": "False"}
    assert failure_of("crash", _only(_pod(state, phase="Running", conditions=[spared])).seen).code is None


def test_a_replica_that_filled_its_own_volume_has_crashed() -> None:
    full = 'Usage of EmptyDir volume "tmp" exceeds the limit "256Mi". '
    found = _only(_pod({"state": _ended(137)}, phase="Failed", reason="Evicted", message=full))
    failed = failure_of("crash", found.seen)
    assert failed.code == "model_crashed"
    assert 'its model wrote too much to disk (Evicted: Usage of EmptyDir volume "tmp" exceeds' in failed.cause


def test_slices_say_which_pods_are_ready_and_which_end() -> None:
    def endpoint(name: str, **conditions: bool) -> dict[str, Any]:
        return {"addresses": ["10.1.2.3"], "conditions": conditions, "targetRef": {"kind": "Pod", "name": name}}

    slices: list[dict[str, Any]] = [
        {"endpoints": [endpoint("a", ready=True), endpoint("b", ready=False, serving=True, terminating=True)]},
        {"endpoints": [endpoint("c", ready=False), endpoint("d"), {"addresses": ["10.9.9.9"]}]},
        {"endpoints": None},
    ]
    assert conditions_by_pod(slices) == {
        "a": EndpointConditions(ready=True, terminating=False),
        "b": EndpointConditions(ready=False, terminating=True),
        "c": EndpointConditions(ready=False, terminating=False),
        "d": EndpointConditions(ready=True, terminating=False),
    }


def test_an_autoscaler_that_has_no_metrics_says_so_and_one_of_no_pods_does_not() -> None:
    def scaler(reason: str, message: str = "") -> dict[str, Any]:
        active = {"type": "ScalingActive", "status": "False", "reason": reason, "message": message}
        return {"metadata": {"name": "it"}, "status": {"conditions": [active]}}

    said = scaling_problem(scaler("FailedGetResourceMetric", "unable to fetch metrics from resource metrics API"))
    assert "unable to fetch metrics" in said
    assert "metrics server" in said
    assert scaling_problem(scaler("ScalingDisabled")) == ""
    assert scaling_problem({"metadata": {"name": "new"}}) == ""


def test_events_of_a_pod_are_lines_in_the_order_in_which_they_happened() -> None:
    def event(at: str, reason: str, message: str, name: str = NAME) -> dict[str, Any]:
        about = {"kind": "Pod", "name": name}
        return {"involvedObject": about, "type": "Normal", "reason": reason, "message": message, "lastTimestamp": at}

    events = [
        event("2026-11-29T12:00:05Z", "Pulling", "Pulling image\n  it"),
        event("2026-11-29T12:00:01Z", "Scheduled", "to node-1"),
        event("2026-11-29T12:00:02Z", "Scheduled", "to node-2", "another"),
    ]
    assert event_lines(events, NAME) == ["Normal Scheduled: to node-1", "Normal Pulling: Pulling image it"]
    assert event_lines([{}], NAME) == []


def _deployment(replicas: int = 2, condition: dict[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    conditions = [] if condition is None else [condition]
    return {
        "metadata": {"name": "tidegate-churn", "annotations": {"tidegate.io/count": "2"}, **metadata},
        "spec": {"replicas": replicas},
        "status": {"conditions": conditions},
    }


def _by(manager: str, **fields: Any) -> dict[str, Any]:
    return {"manager": manager, "operation": "Update", "fieldsV1": {"f:spec": fields}}


def _failed(message: str) -> dict[str, Any]:
    return {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}


PROBLEMS = [
    (_deployment(), ""),
    (_deployment(managedFields=[_by("tidegate", **{"f:template": {}, "f:replicas": {}})]), ""),
    (
        _deployment(condition=_failed('pods "x" is forbidden: exceeded quota: few, requested: pods=1, used: pods=4')),
        "quota leaves no room for another pod",
    ),
    (
        _deployment(condition=_failed('pods "x" is forbidden: violates PodSecurity "restricted:latest": ...')),
        "Pod Security refuses the pods",
    ),
    (_deployment(condition=_failed("admission webhook denied it")), "refuses the pods: admission webhook denied it"),
    (
        _deployment(5, managedFields=[_by("kubectl-scale", **{"f:replicas": {}})]),
        "kubectl-scale set Deployment tidegate-churn to 5 replicas, and Tidegate asked for 2: .* --replicas=2",
    ),
    (
        _deployment(managedFields=[_by("kubectl-rollout", **{"f:template": {"f:metadata": {}}})]),
        "'kubectl-rollout' changed the pods .* 'kubectl delete deployment tidegate-churn' has Tidegate make it again",
    ),
    (
        _deployment(annotations={"tidegate.io/paused": "true"}),
        "is paused .* 'kubectl annotate deployment tidegate-churn tidegate.io/paused-' lets Tidegate go on",
    ),
]


@pytest.mark.parametrize(("deployment", "said"), PROBLEMS)
def test_what_keeps_a_deployment_from_what_was_asked_is_said_with_what_to_do(
    deployment: dict[str, Any], said: str
) -> None:
    problem = problem_of(deployment)
    assert re.search(said, problem) if said else problem == ""
