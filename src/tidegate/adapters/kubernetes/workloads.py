"""Workloads on Kubernetes: a Deployment each, never rolled, and what belongs to it. Called by loops/reconcile.

What runs is read from caches that watches keep up to date, so looking costs no calls. What is written is fenced by the
lease's token in an annotation, with the object's version as a precondition.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from tidegate.adapters.kubernetes.api import KubernetesApi
from tidegate.adapters.kubernetes.belongings import Belongings
from tidegate.adapters.kubernetes.cache import Informer
from tidegate.adapters.kubernetes.kinds import DEPLOYMENT, ENDPOINT_SLICE, EVENT, POD
from tidegate.adapters.kubernetes.reading import (
    KUBERNETES,
    conditions_by_pod,
    event_lines,
    instance_id,
    instances_of,
    is_live,
    needs_secret,
    problem_of,
)
from tidegate.adapters.kubernetes.rights import check_rights
from tidegate.core.engines.placement import Placement
from tidegate.core.images.delivery import Delivery
from tidegate.core.manifests.pods import REPLICA
from tidegate.core.manifests.replica_pods import (
    COUNT,
    DELETION_COST,
    PAUSED,
    PLATFORM,
    TOKEN,
    WORKLOAD,
    Contents,
    Workload,
    deployment,
    key_of_object,
    of_platform,
    token_of,
    workload_name,
)
from tidegate.core.ports import Handle
from tidegate.core.workloads import Instance, WorkloadKey, WorkloadSpec, WorkloadState
from tidegate.errors import (
    ChangedMeanwhile,
    EngineRefused,
    EngineUnavailable,
    ModelCrashed,
    NotLeader,
    TidegateError,
)
from tidegate.wire.replicas.manifest import Manifest, read_manifest

log = logging.getLogger(__name__)

Object = dict[str, Any]

TRIES_MAX = 5
"""A write whose precondition failed is tried again so often, on the object as it is by then."""
GOES_FIRST = "-1000"
LOGS_KEPT = 200


@dataclass(frozen=True)
class ClusterParts:
    """What the adapter is built with. `deliver` says how a version gets into the cluster, `key_of` makes the key of a
    workload's replicas, `drain_s` is how long one may finish what it has.
    """

    api: KubernetesApi
    platform: str
    key_of: Callable[[str], str]
    deliver: Callable[[WorkloadSpec], Delivery]
    drain_s: float


class KubernetesWorkloads:
    """The replicas of one platform in one namespace of a cluster. Nothing is asked before the first call."""

    name = KUBERNETES
    looks_every_s = 0.0

    def __init__(self, parts: ClusterParts) -> None:
        self._api, self._platform = parts.api, parts.platform
        self._deliver, self._drain_s = parts.deliver, parts.drain_s
        selector = of_platform(parts.platform)
        self._deployments = Informer(parts.api, DEPLOYMENT, selector)
        self._pods = Informer(parts.api, POD, selector)
        self._slices = Informer(parts.api, ENDPOINT_SLICE, selector)
        self._belongings = Belongings(parts.api, parts.key_of, selector)
        self._looked = self._allowed = False
        self._ends: OrderedDict[str, tuple[str, ...]] = OrderedDict()  # last lines of instances that ended

    def close(self) -> None:
        """End the watches."""
        for informer in (self._deployments, self._pods, self._slices):
            informer.stop()
        self._belongings.close()

    # -- the port --------------------------------------------------------------------------------------------------

    def check(self, placement: Placement) -> None:  # noqa: ARG002 (the port's shape)
        self._api.check_version()
        self._api.check_namespace()
        if not self._allowed:  # what is taken away later is said by what needs it
            check_rights(self._api)
            self._allowed = True

    def unavailable_reason(self) -> str | None:
        if not self._looked:
            return None
        try:
            self._deployments.items()
            self._pods.items()
        except TidegateError as error:
            return error.message
        return None

    def apply(self, spec: WorkloadSpec) -> None:
        self._looked = True
        work = Workload(self._platform, spec)
        found = self._find(work.name)
        if found is None:
            self._belongings.check(work)
            found = self._create(work)
        self._check_ours(found, spec.token)
        if _is_paused(found):
            return
        pods = self._pods_of(work.name)
        self._belongings.make(work, found["metadata"]["uid"], again=any(map(needs_secret, pods)))
        leaving = [pod for pod in pods if instance_id(pod) in spec.ending]
        left = self._bring_in_line(work, found, pods, leaving)
        for pod in left:
            self._delete_pod(pod)

    def observe(self) -> Sequence[WorkloadState]:
        self._looked = True
        deployments = {str(one["metadata"]["name"]): one for one in self._deployments.items()}
        pods: dict[str, list[Object]] = {name: [] for name in deployments}
        for pod in self._pods.items():
            pods.setdefault(str(pod["metadata"]["labels"].get(WORKLOAD, "")), []).append(pod)
        conditions = conditions_by_pod(self._slices.items())
        states = []
        for name, mine in pods.items():
            found = deployments.get(name)
            key = key_of_object((found or mine[0])["metadata"])
            if key is None:
                log.warning("Deployment or pod %s has this platform's label, and is not its: it is left alone", name)
                continue
            instances = [
                instance
                for pod in sorted(mine, key=_created)
                for instance in instances_of(pod, token_of(pod["metadata"]), conditions.get(pod["metadata"]["name"]))
            ]
            self._remember(instances)
            states.append(self._state(key, found, tuple(instances)))
        return states

    def delete(self, key: WorkloadKey, token: int) -> None:
        self._looked = True
        name = workload_name(key)
        for _ in range(TRIES_MAX):
            found = self._api.get(DEPLOYMENT, name)
            if found is None:
                break
            if _platform(found) != self._platform:
                return
            self._check_ours(found, token)
            metadata = found["metadata"]
            try:
                version = str(metadata["resourceVersion"])
                self._api.delete(DEPLOYMENT, name, uid=str(metadata["uid"]), resource_version=version)
                break
            except ChangedMeanwhile:
                continue
        else:
            raise EngineUnavailable(f"Deployment {name} changes faster than it can be deleted; it is tried again")
        self._belongings.delete(name, self._platform)

    def logs(self, handle: Handle, lines_max: int) -> list[str]:
        pod, number = str(handle.data.get("pod", "")), int(handle.data.get("start", 0))
        if not pod:
            return []
        shown = next((one for one in self._pods.items() if one["metadata"]["name"] == pod), None)
        current = number if shown is None else int(instance_id(shown).rpartition(".")[2])
        lines = self._api.logs(pod, REPLICA, lines_max, previous=number == current - 1) if number + 1 >= current else []
        lines = lines or list(self._ends.get(str(handle.data["replica"]), ()))
        if not lines and number == current:  # it has not said anything yet: what the cluster says of it
            lines = event_lines(self._api.list(EVENT).items, pod)
        return lines[-lines_max:]

    # -- within ----------------------------------------------------------------------------------------------------

    def _find(self, name: str) -> Object | None:
        shown = next((one for one in self._deployments.items() if one["metadata"]["name"] == name), None)
        found = shown or self._api.get(DEPLOYMENT, name)
        if found is not None and found["metadata"].get("deletionTimestamp"):
            raise EngineUnavailable(f"Deployment {name} is being deleted, and is made again once it is gone")
        return found

    def _create(self, work: Workload) -> Object:
        delivery = self._deliver(work.spec)
        manifest = _manifest(work.spec.manifest)
        gpu = manifest.accelerated is None and (manifest.device or "").startswith("cuda")
        made = self._api.apply(deployment(work, Contents(delivery, manifest.digest, self._drain_s, gpu)))
        log.info("created Deployment %s in namespace %s", work.name, self._api.namespace)
        return made

    def _check_ours(self, found: Object, token: int) -> None:
        name, theirs = found["metadata"]["name"], _platform(found)
        if theirs != self._platform:
            raise EngineRefused(
                f"Deployment {name} in namespace '{self._api.namespace}' is not this platform's "
                f"({f'it is that of {theirs}' if theirs else 'it has no platform'}): set NAMESPACE to one of its own"
            )
        if token_of(found["metadata"]) > token:
            raise NotLeader(f"another control plane leads by now: it wrote Deployment {name} under a younger lease")

    def _bring_in_line(self, work: Workload, found: Object, pods: list[Object], leaving: list[Object]) -> list[Object]:
        """Ask for the count, with those first that shall go; returns those that are to be deleted all the same."""
        shown: Object | None = found
        for _ in range(TRIES_MAX):
            if shown is None:
                break
            self._check_ours(shown, work.spec.token)
            if _is_paused(shown):
                return []
            patch = _patch(shown, work.spec)
            target = int((patch.get("spec") or shown["spec"])["replicas"])
            live = [pod for pod in pods if is_live(pod)]
            first = [pod for pod in leaving if is_live(pod)][: max(0, len(live) - target)]
            for pod in first:
                self._mark(pod)
            if not patch:
                return [pod for pod in leaving if pod not in first]
            try:
                self._api.patch(DEPLOYMENT, work.name, patch)
            except ChangedMeanwhile:
                shown = self._api.get(DEPLOYMENT, work.name)
                continue
            return [pod for pod in leaving if pod not in first]
        raise EngineUnavailable(f"Deployment {work.name} changes faster than it can be written; it is tried again")

    def _mark(self, pod: Object) -> None:
        """Have its ReplicaSet choose it first where it has too many."""
        metadata = pod["metadata"]
        if (metadata.get("annotations") or {}).get(DELETION_COST) == GOES_FIRST:
            return
        with suppress(ChangedMeanwhile):  # it is another one by now
            body = {"metadata": {"uid": metadata["uid"], "annotations": {DELETION_COST: GOES_FIRST}}}
            self._api.patch(POD, str(metadata["name"]), body)

    def _delete_pod(self, pod: Object) -> None:
        metadata = pod["metadata"]
        if metadata.get("deletionTimestamp"):
            return
        with suppress(ChangedMeanwhile):  # it is another one by now
            self._api.delete(POD, str(metadata["name"]), uid=str(metadata["uid"]))

    def _pods_of(self, name: str) -> list[Object]:
        mine = [pod for pod in self._pods.items() if pod["metadata"]["labels"].get(WORKLOAD) == name]
        return sorted(mine, key=_created)

    def _state(self, key: WorkloadKey, found: Object | None, instances: tuple[Instance, ...]) -> WorkloadState:
        """Of a Deployment, or of pods whose Deployment is gone already."""
        if found is None:
            token = max((int(one.handle.data["token"]) for one in instances), default=0)
            return WorkloadState(key, token, 0, instances)
        name = str(found["metadata"]["name"])
        problem = problem_of(found) or self._belongings.fault(name)
        return WorkloadState(key, token_of(found["metadata"]), int(found["spec"]["replicas"]), instances, problem)

    def _remember(self, instances: Sequence[Instance]) -> None:
        for instance in instances:
            if not instance.seen.alive:
                self._ends[instance.id] = instance.seen.log_tail
        while len(self._ends) > LOGS_KEPT:
            self._ends.popitem(last=False)


def _patch(found: Object, spec: WorkloadSpec) -> Object:
    """What is to be written into a Deployment; nothing where it is as it should be.

    asked for last | replicas there | engine scales | then
    ---------------|----------------|---------------|--------------------------------------------
    never          | any            | no            | as many as there shall be
    as there are   | any            | no            | the same
    something else | any            | no            | left: somebody else set it, and it is said
    any            | none           | yes           | where it begins: none is never scaled
    any            | some           | yes           | left: the engine's
    """
    annotations, replicas = found["metadata"].get("annotations") or {}, int(found["spec"]["replicas"])
    asked = annotations.get(COUNT)
    wanted: dict[str, str | None] = {TOKEN: str(spec.token)}
    count = replicas
    if spec.scaling is not None:
        wanted[COUNT] = None
        count = replicas or max(spec.count, spec.scaling.min)
    elif asked in (None, str(replicas)):
        wanted[COUNT] = str(spec.count)
        count = spec.count
    changed = {name: value for name, value in wanted.items() if annotations.get(name) != value}
    if not changed and count == replicas:
        return {}
    metadata = {"resourceVersion": found["metadata"]["resourceVersion"], "annotations": changed}
    return {"metadata": metadata, **({"spec": {"replicas": count}} if count != replicas else {})}


def _platform(found: Object) -> str:
    return str((found["metadata"].get("labels") or {}).get(PLATFORM, ""))


def _is_paused(found: Object) -> bool:
    return str((found["metadata"].get("annotations") or {}).get(PAUSED)).lower() == "true"


def _created(pod: Mapping[str, Any]) -> tuple[str, str]:
    return str(pod["metadata"].get("creationTimestamp", "")), str(pod["metadata"]["name"])


def _manifest(file: Path) -> Manifest:
    try:
        return read_manifest(file)
    except (OSError, msgspec.DecodeError) as error:
        raise ModelCrashed(f"the manifest {file} cannot be read: {error}") from error
