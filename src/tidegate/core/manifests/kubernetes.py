"""One version as objects of Kubernetes: Deployment, Service, HorizontalPodAutoscaler and PodDisruptionBudget. Pure.

They run an image of `tidegate build` by itself, without a platform: the names and labels say so. What Tidegate's own
objects carry beside them (`tidegate.io/platform`, `managed-by: tidegate`) is left out, so that no platform takes these
for its own.
"""

from __future__ import annotations

from typing import Any

from tidegate.core.images.contents import GRPC_PORT, HTTP_PORT, USER_ID
from tidegate.core.manifests.served import Served
from tidegate.errors import InvalidArgument

SERVICE_PORT = 80
NAME_CHARS_MAX = 63
PREFIX = "tidegate-"
KEY_IN_SECRET = "api-key"  # noqa: S105 - the name of an entry, not its value
CPU_REQUEST, CPU_LIMIT, MEMORY_REQUEST, MEMORY_LIMIT = "250m", "500m", "512Mi", "1Gi"
GPU = "nvidia.com/gpu"
LEAVING_S, DRAIN_S, GRACE_S = 5, 20, 30
"""A pod is out of the Service's endpoints before it is told to end; what it has by then it may finish."""
START_EVERY_S, STARTS_MAX = 5, 60
THREADS = ("MKL_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def name_of(endpoint: str) -> str:
    """What its objects are called. Raises `InvalidArgument` for one that is too long for a Service.

    >>> name_of("churn")
    'tidegate-churn'
    """
    name = f"{PREFIX}{endpoint}"
    if len(name) > NAME_CHARS_MAX:
        raise InvalidArgument(
            f"endpoint {endpoint!r} is too long for Kubernetes: its objects would be called {name!r}, of {len(name)} "
            f"characters, and {NAME_CHARS_MAX} are allowed. Give it a name of up to {NAME_CHARS_MAX - len(PREFIX)}",
            field="endpoint",
        )
    return name


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
    pull = {} if served.pull_secret is None else {"imagePullSecrets": [{"name": served.pull_secret}]}
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": _selector(served)},
    }
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,  # a Service called 'tidegate' would set TIDEGATE_PORT, as if it were a setting
        **pull,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationGracePeriodSeconds": GRACE_S,
        "topologySpreadConstraints": [spread],
        "containers": [_container(served)],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}}],
    }


def _container(served: Served) -> dict[str, Any]:
    return {
        "name": "replica",
        "image": served.image,
        "ports": [{"name": "http", "containerPort": HTTP_PORT}, {"name": "grpc", "containerPort": GRPC_PORT}],
        "env": _env(served),
        "resources": _resources(served),
        "startupProbe": _probe("/v2/health/ready", timeoutSeconds=5, periodSeconds=START_EVERY_S)
        | {"failureThreshold": STARTS_MAX},
        "livenessProbe": _probe("/health", timeoutSeconds=5, periodSeconds=10) | {"initialDelaySeconds": 30},
        "readinessProbe": _probe("/v2/health/ready", timeoutSeconds=5, periodSeconds=5) | {"initialDelaySeconds": 5},
        "lifecycle": {"preStop": {"sleep": {"seconds": LEAVING_S}}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - the container's own
    }


def _env(served: Served) -> list[dict[str, Any]]:
    key = {"name": name_of(served.endpoint), "key": KEY_IN_SECRET}
    threads = str(max(1, int(served.cpus or 1)))
    plain = {"MODEL_VERSION": served.version, "TIDEGATE_DRAIN_S": str(DRAIN_S), **dict.fromkeys(THREADS, threads)}
    return [
        {"name": "TIDEGATE_API_KEY", "valueFrom": {"secretKeyRef": key}},
        *({"name": name, "value": value} for name, value in plain.items()),
    ]


def _resources(served: Served) -> dict[str, Any]:
    """Limits that the endpoint has are requested whole: percent of the CPU then mean what they do on the platform."""
    cpu = (CPU_REQUEST, CPU_LIMIT) if served.cpus is None else (_cores(served.cpus),) * 2
    memory = (MEMORY_REQUEST, MEMORY_LIMIT) if served.memory_bytes is None else (_bytes(served.memory_bytes),) * 2
    gpu = {GPU: "1"} if served.gpu else {}
    return {
        "requests": {"cpu": cpu[0], "memory": memory[0], **gpu},
        "limits": {"cpu": cpu[1], "memory": memory[1], **gpu},
    }


def _cores(cpus: float) -> str:
    return f"{cpus:g}" if float(cpus).is_integer() else f"{round(cpus * 1000)}m"


def _bytes(size_bytes: int) -> str:
    for unit, bits in (("Gi", 30), ("Mi", 20)):
        if size_bytes % (1 << bits) == 0:
            return f"{size_bytes >> bits}{unit}"
    return str(size_bytes)


def _probe(path: str, **numbers: int) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": HTTP_PORT}, **numbers}


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
