"""What the platform itself runs on Kubernetes: the objects of one workload, and its key read back from them. Pure.

A workload is one Deployment that is never rolled, and what belongs to it: a Secret with the key of its replicas, a
headless Service, a PodDisruptionBudget and a HorizontalPodAutoscaler where it takes them. These are owned by the
Deployment, so they go with it. Called by `adapters.kubernetes`.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from tidegate.core.engines.placement import Placement
from tidegate.core.images.contents import HTTP_PORT
from tidegate.core.images.delivery import Delivery
from tidegate.core.images.pull_secret import of_kubernetes
from tidegate.core.manifests.pods import (
    CPU_LIMIT,
    CPU_REQUEST,
    KEY_IN_SECRET,
    LEAVING_S,
    MEMORY_LIMIT,
    MEMORY_REQUEST,
    PodParts,
    Resources,
    StartProbe,
    cores,
    pod_of,
)
from tidegate.core.names import check_fits
from tidegate.core.workloads import EngineScaling, WorkloadKey, WorkloadSpec
from tidegate.errors import InvalidArgument
from tidegate.wire.decoding import json_decoder

NAME_CHARS_MAX = 63
PREFIX = "tidegate-"
PLATFORM, ENDPOINT, MODEL, VERSION, WORKLOAD = (
    f"tidegate.io/{name}" for name in ("platform", "endpoint", "model", "version", "workload")
)
DIGEST, PLACEMENT, FORM, TOKEN, COUNT, PAUSED = (
    f"tidegate.io/{name}" for name in ("digest", "placement", "form", "token", "count", "paused")
)
"""Annotations. `count` is what the platform asked for last, where it is the one who counts."""
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
ARGS = ("--host", "0.0.0.0", "--port", str(HTTP_PORT), "--managed")  # noqa: S104 - in a pod of its own
GRACE_MARGIN_S = 10
START_EVERY_S = 1
START_S_MIN, START_S_DEFAULT, START_S_MAX = 60, 300, 3600
COLD_STARTS = 4
"""A start may take so many times as long as the last one did that was measured, before it counts as failed."""

_placements = json_decoder(Placement)


@dataclass(frozen=True)
class Workload:
    """A workload of a platform, by its id."""

    platform: str
    spec: WorkloadSpec

    @property
    def name(self) -> str:
        """Of the Deployment and of all that belongs to it. Raises `InvalidArgument` for one that is too long."""
        return workload_name(self.spec.key)


@dataclass(frozen=True)
class Contents:
    """What its pods are made of: how the version gets there, its digest, and how long a replica may finish what it has.

    `gpu`: the version asks for one.
    """

    delivery: Delivery
    digest: str
    drain_s: float
    gpu: bool = False


def workload_name(key: WorkloadKey) -> str:
    """What its objects are called. Raises `InvalidArgument` for one that is too long.

    >>> workload_name(WorkloadKey("churn", "3", Placement("kubernetes")))[:18]
    'tidegate-churn-v3-'
    """
    name = f"{PREFIX}{key.endpoint}-v{key.version}-{key.suffix}"
    return check_fits(name, NAME_CHARS_MAX, key.endpoint, "Kubernetes")


def of_platform(platform: str) -> str:
    """The label selector of all that this platform runs as replicas."""
    return f"{PLATFORM}={platform},app.kubernetes.io/component=replica"


def deployment(work: Workload, contents: Contents) -> dict[str, Any]:
    """The Deployment as it is created, asking for nothing yet: the key of its replicas is not there. Its template is
    never changed.
    """
    annotations = _annotations(work.spec, contents)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": work.name, "labels": _labels(work), "annotations": annotations},
        "spec": {
            "replicas": 0,
            "revisionHistoryLimit": 1,
            "selector": {"matchLabels": _selector(work)},
            # Should somebody else change its template after all, it answers all the while.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {
                "metadata": {"labels": _labels(work), "annotations": annotations},
                "spec": pod_of(_parts(work, contents)),
            },
        },
    }


def _parts(work: Workload, contents: Contents) -> PodParts:
    drain_s = math.ceil(contents.drain_s)
    return PodParts(
        contents.delivery.image,
        work.spec.key.version,
        secret=work.name,
        selector=_selector(work),
        resources=resources_of(work.spec.key.placement, gpu=contents.gpu),
        start=start_probe(work.spec.cold_start_s),
        drain_s=drain_s,
        grace_s=LEAVING_S + drain_s + GRACE_MARGIN_S,
        args=ARGS,
        pull_secret=of_kubernetes(contents.delivery.pull_secret),
        grpc=False,
        fetched=contents.delivery.fetch,
    )


def start_probe(cold_start_s: float | None) -> StartProbe:
    """Each second, for as long as the measured start lets one expect, within bounds."""
    expected_s = START_S_DEFAULT if cold_start_s is None else math.ceil(COLD_STARTS * cold_start_s)
    return StartProbe(START_EVERY_S, min(max(expected_s, START_S_MIN), START_S_MAX) // START_EVERY_S)


def resources_of(placement: Placement, *, gpu: bool = False) -> Resources:
    """Limits that were given are requested whole, unless a request was given too: percent of the CPU then mean what
    they do on one machine. A request above the default limit raises that.
    """
    cpu_request = placement.cpu_request or placement.cpus or CPU_REQUEST
    memory_request = placement.memory_request_bytes or placement.memory_bytes or MEMORY_REQUEST
    return Resources(
        cpu_request,
        placement.cpus or max(CPU_LIMIT, cpu_request),
        memory_request,
        placement.memory_bytes or max(MEMORY_LIMIT, memory_request),
        gpu=gpu,
    )


def _selector(work: Workload) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": "tidegate",
        "app.kubernetes.io/instance": work.platform,
        "app.kubernetes.io/component": "replica",
        WORKLOAD: work.name,
    }


def _labels(work: Workload) -> dict[str, str]:
    key = work.spec.key
    return {
        **_selector(work),
        "app.kubernetes.io/part-of": "tidegate",
        "app.kubernetes.io/managed-by": "tidegate",
        PLATFORM: work.platform,
        ENDPOINT: key.endpoint,
        MODEL: work.spec.model,
        VERSION: key.version,
    }


def _annotations(spec: WorkloadSpec, contents: Contents) -> dict[str, str]:
    placement = msgspec.json.encode(spec.key.placement, order="sorted").decode()
    return {DIGEST: contents.digest, PLACEMENT: placement, FORM: spec.key.form, TOKEN: str(spec.token)}


def key_of_object(metadata: Mapping[str, Any]) -> WorkloadKey | None:
    """The workload that a Deployment, or a pod, is of; None where its labels and annotations do not say."""
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    try:
        placement = _placements.decode(annotations[PLACEMENT])
        return WorkloadKey(labels[ENDPOINT], labels[VERSION], placement, annotations[FORM])
    except (KeyError, msgspec.DecodeError):
        return None


def token_of(metadata: Mapping[str, Any]) -> int:
    """Of the lease under which an object was written last; 0 where it does not say."""
    text = str((metadata.get("annotations") or {}).get(TOKEN, "0"))
    return int(text) if text.isdecimal() else 0


@dataclass(frozen=True)
class Belonging:
    """What belongs to a Deployment with this uid."""

    work: Workload
    uid: str

    def secret(self, key: str) -> dict[str, Any]:
        """With the key that its replicas ask for."""
        value = base64.b64encode(key.encode()).decode()
        return self._object("v1", "Secret") | {"type": "Opaque", "data": {KEY_IN_SECRET: value}}

    def service(self) -> dict[str, Any]:
        """Headless: the addresses of its pods, and which of them are ready or end."""
        spec = {
            "clusterIP": "None",
            "selector": _selector(self.work),
            "ports": [{"name": "http", "protocol": "TCP", "port": HTTP_PORT, "targetPort": HTTP_PORT}],
        }
        return self._object("v1", "Service") | {"spec": spec}

    def budget(self) -> dict[str, Any] | None:
        """So that nodes are drained a pod at a time; None where there is one pod, and a node would never drain."""
        spec = self.work.spec
        if (spec.count if spec.scaling is None else spec.scaling.min) < 2:
            return None
        wanted = {"maxUnavailable": 1, "selector": {"matchLabels": _selector(self.work)}}
        return self._object("policy/v1", "PodDisruptionBudget") | {"spec": wanted}

    def autoscaler(self) -> dict[str, Any] | None:
        """None where the platform counts the replicas itself. Raises `InvalidArgument`."""
        scaling = self.work.spec.scaling
        if scaling is None:
            return None
        limit = resources_of(self.work.spec.key.placement).cpu_limit
        target = {"type": "AverageValue", "averageValue": cores(limit * cpu_percent(scaling) / 100)}
        spec = {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": self.work.name},
            "minReplicas": scaling.min,
            "maxReplicas": scaling.max,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
        }
        return self._object("autoscaling/v2", "HorizontalPodAutoscaler") | {"spec": spec}

    def _object(self, version: str, kind: str) -> dict[str, Any]:
        owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": self.work.name, "uid": self.uid}
        metadata = {"name": self.work.name, "labels": _labels(self.work), "ownerReferences": [owner]}
        return {"apiVersion": version, "kind": kind, "metadata": metadata}


def cpu_percent(scaling: EngineScaling) -> float:
    """Percent of a replica's limit that a HorizontalPodAutoscaler aims at. Raises `InvalidArgument`."""
    if scaling.metric != "cpu":
        raise InvalidArgument(
            f"Kubernetes cannot scale by {scaling.metric} by itself: its HorizontalPodAutoscaler knows cpu alone. Give "
            "--target cpu=70, or leave it to Tidegate (--autoscaler tidegate)",
            field="target",
        )
    if scaling.min < 1:
        raise InvalidArgument(
            "a HorizontalPodAutoscaler keeps at least one replica: give --min 1, or leave it to Tidegate, which wakes "
            "what sleeps (--autoscaler tidegate)",
            field="min",
        )
    return scaling.target
