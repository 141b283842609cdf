"""What a cluster's objects say of the instances of a workload, and of what keeps it from having them. Pure.

Pod status: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tidegate.core.images.contents import HTTP_PORT
from tidegate.core.manifests.pods import FETCH, REPLICA
from tidegate.core.manifests.replica_pods import COUNT, PAUSED, WORKLOAD
from tidegate.core.ports import Handle, ReplicaObservation
from tidegate.core.reconcile.failures import ERROR_PREFIX, error_line
from tidegate.core.routing.targets import Address
from tidegate.core.workloads import Instance
from tidegate.wire.gateways.snapshot import TCP

Object = Mapping[str, Any]

KUBERNETES = "kubernetes"
TAIL_LINES = 20
OWN_MANAGER = "tidegate"
SIGNALED, SIGNALS = 128, 65
SIGTERM, SIGKILL = 143, 137
_PULL = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"})
_CONFIG = frozenset({"CreateContainerConfigError"})
_CREATE = frozenset({"CreateContainerError", "RunContainerError", "ImageInspectError"})
_NEVER_RAN = frozenset({"ContainerCannotRun", "StartError"})
NO_PULL, NO_START, NODE_GONE = "image_pull_failed", "model_crashed", "out_of_resources"
"""Codes of failures, as `core.reconcile.failures` reads them."""
_TOO_MUCH_WRITTEN = (
    "Usage of EmptyDir volume",
    "local ephemeral storage limit",
    "ephemeral local storage usage exceeds",
)
"""In the messages of the kubelet's eviction manager: of pods that are evicted for what they wrote themselves."""


@dataclass(frozen=True)
class EndpointConditions:
    """What an EndpointSlice says of a pod."""

    ready: bool
    terminating: bool


def conditions_by_pod(slices: Iterable[Object]) -> dict[str, EndpointConditions]:
    """By name of the pod, of all slices. A condition that is not said is as the API defines it: ready, not ending."""
    found: dict[str, EndpointConditions] = {}
    for one in slices:
        for endpoint in one.get("endpoints") or []:
            target, said = endpoint.get("targetRef") or {}, endpoint.get("conditions") or {}
            if target.get("kind") == "Pod":
                conditions = EndpointConditions(said.get("ready") is not False, said.get("terminating") is True)
                found[str(target["name"])] = conditions
    return found


def is_live(pod: Object) -> bool:
    """Whether its ReplicaSet counts it: it has not ended, and nobody has it end."""
    return not pod["metadata"].get("deletionTimestamp") and _phase(pod) not in ("Failed", "Succeeded")


def instance_id(pod: Object) -> str:
    """Of the container that it runs, or ran last."""
    return f"{pod['metadata']['name']}.{_restarts(_container(pod))}"


def needs_secret(pod: Object) -> bool:
    """Whether a container waits for its Secret, as far as one can tell."""
    return any(_waiting(one).get("reason") in _CONFIG for one in _all_containers(pod))


def instances_of(pod: Object, token: int, conditions: EndpointConditions | None) -> list[Instance]:
    """The instance that a pod holds now, and the one before it, where its container was started anew.

    None once a pod that somebody had end has done so: that is no failure.
    """
    container = _container(pod)
    number, state, last = _restarts(container), container.get("state") or {}, container.get("lastState") or {}
    found = []
    if "terminated" in last and "waiting" not in state and number:
        found.append(_ended(pod, number - 1, token, last["terminated"]))
    ended = state.get("terminated") or (last.get("terminated") if "waiting" in state else None)
    if ended is not None:
        if not pod["metadata"].get("deletionTimestamp"):
            taken = _taken_by_cluster(pod)
            found.append(_ended(pod, number, token, ended) if taken is None else _dead(pod, number, token, None, taken))
    elif (why := _failure(pod)) is not None:
        found.append(_dead(pod, number, token, None, why))
    else:
        found.append(_alive(pod, number, token, conditions))
    return found


def _alive(pod: Object, number: int, token: int, conditions: EndpointConditions | None) -> Instance:
    """Ready where both the pod and the slice say so; where no slice has the pod, its own word counts."""
    listed = conditions or EndpointConditions(ready=True, terminating=False)
    terminating = bool(pod["metadata"].get("deletionTimestamp")) or listed.terminating
    ready = _condition(pod, "Ready").get("status") == "True" and (listed.ready or terminating)
    seen = ReplicaObservation(alive=True, ready=ready, address=_address(pod))
    handle = _handle(pod, number, token)
    return Instance(str(handle.data["replica"]), handle, seen, terminating, _waits(pod))


def _address(pod: Object) -> str | None:
    ip = (pod.get("status") or {}).get("podIP")
    if not ip:
        return None
    host = f"[{ip}]" if ":" in ip else ip
    credential = (pod["metadata"].get("labels") or {}).get(WORKLOAD, "")
    return str(Address(f"{TCP}{host}:{HTTP_PORT}", credential))


def _ended(pod: Object, number: int, token: int, ended: Object) -> Instance:
    """One whose container ended. The last lines of its log are its termination message."""
    lines = str(ended.get("message") or "").splitlines()[-TAIL_LINES:]
    if ended.get("reason") in _NEVER_RAN:
        said = " ".join(lines) or ended.get("reason")
        cannot = f"the container of pod {pod['metadata']['name']} cannot run: {said}"
        return _dead(pod, number, token, None, (_error(NO_START, cannot),))
    said_itself = any(line.startswith(ERROR_PREFIX) for line in lines)
    why = None if said_itself else _why_ended(pod, ended)
    code = int(ended.get("exitCode", 0))
    exit_code = SIGNALED - code if SIGNALED < code < SIGNALED + SIGNALS else code
    return _dead(pod, number, token, exit_code, (*lines, *([] if why is None else [why])))


def _why_ended(pod: Object, ended: Object) -> str | None:
    """What only the cluster knows of an end."""
    reason, code = ended.get("reason"), int(ended.get("exitCode", 0))
    if reason == "OOMKilled":
        return f"it was ended for want of memory: its limit is {_memory_limit(pod)} (deploy with more --memory)"
    if code == SIGKILL:
        return f"it was killed, maybe for want of memory: its limit is {_memory_limit(pod)} (--memory)"
    if code in (0, SIGTERM):
        name = pod["metadata"]["name"]
        return (
            "it ended without an error, by itself or as it was told to, which the cluster does where a probe is not "
            f"answered in time: 'kubectl describe pod {name}' has the pod's events"
        )
    return None


def _dead(pod: Object, number: int, token: int, exit_code: int | None, tail: Sequence[str]) -> Instance:
    handle = _handle(pod, number, token)
    seen = ReplicaObservation(alive=False, ready=False, exit_code=exit_code, log_tail=tuple(tail))
    terminating = bool(pod["metadata"].get("deletionTimestamp"))
    return Instance(str(handle.data["replica"]), handle, seen, terminating)


def _handle(pod: Object, number: int, token: int) -> Handle:
    name = str(pod["metadata"]["name"])
    data: dict[str, str | int | float] = {"replica": f"{name}.{number}", "token": token, "pod": name, "start": number}
    return Handle(KUBERNETES, data)


def _failure(pod: Object) -> tuple[str, ...] | None:
    """Why a pod whose container has not started will not: as a replica's own last line would say it."""
    name = pod["metadata"]["name"]
    if (taken := _taken_by_cluster(pod)) is not None and _phase(pod) == "Failed":
        return taken
    for container in _all_containers(pod):
        waiting, ended = _waiting(container), _terminated(container)
        if waiting.get("reason") in _PULL:
            return (_error(NO_PULL, _not_pulled(pod, container, str(waiting.get("message") or waiting["reason"]))),)
        if waiting.get("reason") in _CREATE:
            said = waiting.get("message") or waiting["reason"]
            return (_error(NO_START, f"the container of pod {name} cannot be started: {said}"),)
        if container.get("name") == FETCH and ended is not None and ended.get("exitCode") != 0:
            lines = str(ended.get("message") or "").splitlines()[-TAIL_LINES:]
            return (*lines, *(() if lines else (f"fetching the model ended with code {ended.get('exitCode')}",)))
    return None


def _taken_by_cluster(pod: Object) -> tuple[str, ...] | None:
    """Of a pod that ended, or that is ending: whether a node or the cluster took it, and why.

    A pod of a Deployment fails as a whole for no other reason: its containers are started again. The condition is there
    before the phase is (https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions).
    """
    target = _condition(pod, "DisruptionTarget")
    if _phase(pod) != "Failed" and target.get("status") != "True":
        return None
    name, status = pod["metadata"]["name"], pod.get("status") or {}
    node = (pod.get("spec") or {}).get("nodeName", "its node")
    condition = status if status.get("reason") else target
    why = ": ".join(filter(None, (condition.get("reason"), condition.get("message")))) or "it failed"
    if any(words in why for words in _TOO_MUCH_WRITTEN):
        return (_error(NO_START, f"pod {name} was ended by {node}: its model wrote too much to disk ({why.strip()})"),)
    return (_error(NODE_GONE, f"pod {name} was ended by {node} ({why}): the cluster starts another one"),)


def _not_pulled(pod: Object, container: Object, said: str) -> str:
    image = container.get("image") or _spec_of(pod, str(container.get("name"))).get("image", "")
    labels = pod["metadata"].get("labels") or {}
    version = f"{labels.get('tidegate.io/model', 'MODEL')}:{labels.get('tidegate.io/version', 'VERSION')}"
    denied = any(
        word in said.lower() for word in ("unauthorized", "denied", "authentication", "forbidden", "401", "403")
    )
    fix = (
        "name a Secret of the namespace that may pull it with TIDEGATE_IMAGE_PULL_SECRET"
        if denied
        else f"push it with 'tidegate build {version} --push', or correct TIDEGATE_IMAGE_REGISTRY"
    )
    return f"the cluster cannot pull the image {image} ({said[:400]}): {fix}"


def _waits(pod: Object) -> str:
    """What a pod waits for that is no fault of its version."""
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        said = scheduled.get("message") or scheduled.get("reason") or "no reason given"
        return (
            f"no node of the cluster has room for it ({said}): add nodes, or ask for less (--cpu-request, "
            "--memory-request)"
        )
    for container in _all_containers(pod):
        waiting = _waiting(container)
        if waiting.get("reason") in _CONFIG:
            return f"its container lacks what it is configured with ({waiting.get('message') or waiting['reason']})"
    return ""


def problem_of(deployment: Object) -> str:
    """Why a Deployment has fewer pods than it should, or others than were asked for; empty where all is as it should.

    What others did to it is said, and left as it is.
    """
    name, annotations = deployment["metadata"]["name"], deployment["metadata"].get("annotations") or {}
    if str(annotations.get(PAUSED)).lower() == "true":
        return (
            f"Deployment {name} is paused by its annotation, and left as it is: 'kubectl annotate deployment {name} "
            f"{PAUSED}-' lets Tidegate go on"
        )
    failure = _condition(deployment, "ReplicaFailure")
    if failure.get("status") == "True":
        return _refused(str(failure.get("message") or failure.get("reason") or "no reason given"))
    if (who := template_changed_by(deployment)) is not None:
        return (
            f"'{who}' changed the pods of Deployment {name}, so they may not be what was deployed: 'kubectl delete "
            f"deployment {name}' has Tidegate make it again"
        )
    asked, count = annotations.get(COUNT), (deployment.get("spec") or {}).get("replicas")
    if asked is not None and str(count) != asked:
        who = managers_of(deployment, "f:replicas")
        return (
            f"{who or 'somebody'} set Deployment {name} to {count} replicas, and Tidegate asked for {asked}: it is "
            f"left so until 'kubectl scale deployment {name} --replicas={asked}'"
        )
    return ""


def scaling_problem(autoscaler: Object) -> str:
    """Why a HorizontalPodAutoscaler does not count; empty where it does, or has not looked yet."""
    active = _condition(autoscaler, "ScalingActive")
    if active.get("status") != "False" or not str(active.get("reason", "")).startswith("FailedGet"):
        return ""  # 'ScalingDisabled' is a count of none
    said = active.get("message") or active["reason"]
    return (
        f"its HorizontalPodAutoscaler cannot count ({said}): is the metrics server there? '--autoscaler tidegate' "
        "needs none"
    )


def event_lines(events: Iterable[Object], pod: str) -> list[str]:
    """What happened to a pod, oldest first."""
    mine = [one for one in events if (one.get("involvedObject") or {}).get("name") == pod]
    mine.sort(key=lambda one: str(one.get("lastTimestamp") or one.get("eventTime") or ""))
    return [f"{one.get('type')} {one.get('reason')}: {' '.join(str(one.get('message', '')).split())}" for one in mine]


def _refused(said: str) -> str:
    if "exceeded quota" in said:
        return f"the namespace's quota leaves no room for another pod ({said}): raise it, or ask for less"
    if "PodSecurity" in said or "pod-security" in said:
        return f"the namespace's Pod Security refuses the pods ({said}): it may enforce 'restricted' at most"
    if "LimitRange" in said or "must specify" in said or "usage per Container" in said:
        return f"the namespace's limits refuse the pods ({said}): deploy with other --cpus and --memory"
    return f"the cluster refuses the pods: {said}"


def template_changed_by(deployment: Object) -> str | None:
    """Who else wrote into the pods' template; None: nobody."""
    return managers_of(deployment, "f:template") or None


def managers_of(deployment: Object, field: str) -> str:
    """Who beside this platform manages a field of the spec, newest last; "" for nobody."""
    found = [
        str(entry.get("manager"))
        for entry in deployment["metadata"].get("managedFields") or []
        if entry.get("manager") != OWN_MANAGER and field in ((entry.get("fieldsV1") or {}).get("f:spec") or {})
    ]
    return ", ".join(dict.fromkeys(found))


def _error(code: str, message: str) -> str:
    return error_line({"error": message, "code": code})


def _phase(pod: Object) -> str:
    return str((pod.get("status") or {}).get("phase", ""))


def _condition(found: Object, name: str) -> Object:
    conditions = (found.get("status") or {}).get("conditions") or []
    return next((one for one in conditions if one.get("type") == name), {})


def _container(pod: Object) -> Object:
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    return next((one for one in statuses if one.get("name") == REPLICA), {})


def _all_containers(pod: Object) -> list[Object]:
    status = pod.get("status") or {}
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def _waiting(container: Object) -> Object:
    return (container.get("state") or {}).get("waiting") or {}


def _terminated(container: Object) -> Object | None:
    """How it ended, where it has, be it that it waits to be started anew."""
    state, last = container.get("state") or {}, container.get("lastState") or {}
    return state.get("terminated") or (last.get("terminated") if "waiting" in state else None)


def _restarts(container: Object) -> int:
    return int(container.get("restartCount", 0))


def _spec_of(pod: Object, name: str) -> Object:
    spec = pod.get("spec") or {}
    containers = [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
    return next((one for one in containers if one.get("name") == name), {})


def _memory_limit(pod: Object) -> str:
    return str(((_spec_of(pod, REPLICA).get("resources") or {}).get("limits") or {}).get("memory", "that of its node"))
