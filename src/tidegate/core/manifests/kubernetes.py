"""One version as objects of Kubernetes: Deployment, Service, HorizontalPodAutoscaler and PodDisruptionBudget. Pure.

They run an image of `tidegate build` by itself, without a platform: the names and labels say so. What Tidegate's own
objects carry beside them (`tidegate.io/platform`, `managed-by: tidegate`) is left out, so that no platform takes these
for its own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tidegate.core.images.contents import HTTP_PORT
from tidegate.core.manifests.pods import PodParts, Resources, StartProbe, pod_of
from tidegate.core.manifests.served import Served
from tidegate.core.names import check_fits

SERVICE_PORT = 80
NAME_CHARS_MAX = 63
PREFIX = "tidegate-"
DRAIN_S, GRACE_S = 20, 30
START_EVERY_S, STARTS_MAX = 5, 60


def name_of(endpoint: str) -> str:
    """What its objects are called. Raises `InvalidArgument` for one that is too long for a Service.

    >>> name_of("churn")
    'tidegate-churn'
    """
    return check_fits(f"{PREFIX}{endpoint}", NAME_CHARS_MAX, endpoint, "Kubernetes")


def kubernetes_objects(served: Served) -> list[dict[str, Any]]:
    """The objects, in the order in which they are best made. Raises `InvalidArgument`."""
    found = [_deployment(served), _service(served)]
    if served.scale.high is not None:
        found.append(_autoscaler(served))
    if served.scale.low > 1:
        found.append(_disruption_budget(served))
    return found


def _selector(served: Served) -> dict[str, str]:
    """Without the version: a selector cannot be changed, and the next version is rolled out in the same Deployment."""
    return {
        "app.kubernetes.io/name": "tidegate",
        "app.kubernetes.io/instance": served.endpoint,
        "app.kubernetes.io/component": "replica",
    }


def _labels(served: Served) -> dict[str, str]:
    own = {"endpoint": served.endpoint, "model": served.model, "version": served.version}
    return {
        **_selector(served),
        "app.kubernetes.io/part-of": "tidegate",
        **{f"tidegate.io/{name}": value for name, value in own.items()},
    }


def _annotated(served: Served) -> dict[str, Any]:
    return {} if served.digest is None else {"annotations": {"tidegate.io/digest": served.digest}}


def _metadata(served: Served) -> dict[str, Any]:
    return {"name": name_of(served.endpoint), "labels": _labels(served), **_annotated(served)}


def _deployment(served: Served) -> dict[str, Any]:
    fixed = {"replicas": served.scale.low} if served.scale.high is None else {}  # else each apply would reset the count
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(served),
        "spec": {
            **fixed,
            "selector": {"matchLabels": _selector(served)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"}},
            "minReadySeconds": 5,
            "template": {"metadata": {"labels": _labels(served), **_annotated(served)}, "spec": _pod(served)},
        },
    }


def _pod(served: Served) -> dict[str, Any]:
    parts = PodParts(
        served.image,
        served.version,
        secret=name_of(served.endpoint),
        selector=_selector(served),
        resources=_resources(served),
        start=StartProbe(START_EVERY_S, STARTS_MAX),
        drain_s=DRAIN_S,
        grace_s=GRACE_S,
        pull_secret=served.pull_secret,
    )
    return pod_of(parts)


def _resources(served: Served) -> Resources:
    """Limits that the endpoint has are requested whole: percent of the CPU then mean what they do on the platform."""
    found = Resources(gpu=served.gpu)
    if served.cpus is not None:
        found = replace(found, cpu_request=served.cpus, cpu_limit=served.cpus)
    if served.memory_bytes is not None:
        found = replace(found, memory_request_bytes=served.memory_bytes, memory_limit_bytes=served.memory_bytes)
    return found


def _service(served: Served) -> dict[str, Any]:
    port = {"name": "http", "protocol": "TCP", "port": SERVICE_PORT, "targetPort": HTTP_PORT}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(served),
        "spec": {"type": "LoadBalancer", "selector": _selector(served), "ports": [port]},
    }


def _autoscaler(served: Served) -> dict[str, Any]:
    target = {"type": "Utilization", "averageUtilization": served.scale.cpu_percent}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": _metadata(served),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name_of(served.endpoint)},
            "minReplicas": served.scale.low,
            "maxReplicas": served.scale.high,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
        },
    }


def _disruption_budget(served: Served) -> dict[str, Any]:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _metadata(served),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": _selector(served)}},
    }
