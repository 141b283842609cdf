"""The pod of a replica, as an exported Deployment has it and as the platform's own do. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tidegate.core.images.contents import GRPC_PORT, HTTP_PORT, USER_ID
from tidegate.core.images.delivery import MODEL_DIR, Fetch
from tidegate.core.images.replica_env import KEY, replica_env

REPLICA, FETCH = "replica", "fetch"
"""What its containers are called."""
REPLICA_COMMAND = ("python", "-m", "tidegate.server", "--manifest", f"{MODEL_DIR}/manifest.json")
"""In an image that is no replica's."""
KEY_IN_SECRET = "api-key"  # noqa: S105 - the name of an entry, not its value
CPU_REQUEST, CPU_LIMIT, MEMORY_REQUEST, MEMORY_LIMIT = 0.25, 0.5, 512 << 20, 1 << 30
GPU = "nvidia.com/gpu"
LEAVING_S = 5
"""A pod is out of the Service's endpoints before it is told to end; what it has by then it may finish."""
TMP_SIZE = "256Mi"
MODEL_SPARE_BYTES = 16 << 20
PROBE_TIMEOUT_S = 5
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
"""What a container may not do, by the restricted Pod Security Standard and beyond."""

_TMP = {"name": "tmp", "mountPath": "/tmp"}  # noqa: S108 - the container's own


@dataclass(frozen=True)
class Resources:
    """Requests and limits, in processors and bytes."""

    cpu_request: float = CPU_REQUEST
    cpu_limit: float = CPU_LIMIT
    memory_request_bytes: int = MEMORY_REQUEST
    memory_limit_bytes: int = MEMORY_LIMIT
    gpu: bool = False


@dataclass(frozen=True)
class StartProbe:
    """How often a replica that starts is asked whether it is ready, and how often at most before it is ended.

    An answer is waited for until the next question at most, so that one that hangs has `every_s * tries_max` as well:
    the next question waits for the end of the last.
    """

    every_s: int
    tries_max: int

    @property
    def timeout_s(self) -> int:
        """Of one question."""
        return min(PROBE_TIMEOUT_S, self.every_s)


@dataclass(frozen=True)
class PodParts:
    """What differs from pod to pod. `secret` names the Secret with its key, `selector` has the labels that it is
    spread by, `args` stand after the image's own entry point. `fetched` says how to fetch the model first, where the
    image has none: its entry point is then not the replica's either.
    """

    image: str
    version: str
    secret: str
    selector: Mapping[str, str]
    resources: Resources
    start: StartProbe
    drain_s: int
    grace_s: int
    args: tuple[str, ...] = ()
    pull_secret: str | None = None
    grpc: bool = True
    fetched: Fetch | None = None


def pod_of(parts: PodParts) -> dict[str, Any]:
    """The `spec` of a pod's template."""
    pull = {} if parts.pull_secret is None else {"imagePullSecrets": [{"name": parts.pull_secret}]}
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": dict(parts.selector)},
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
        "terminationGracePeriodSeconds": parts.grace_s,
        "topologySpreadConstraints": [spread],
        **({} if parts.fetched is None else {"initContainers": [_fetching(parts, parts.fetched)]}),
        "containers": [_container(parts)],
        "volumes": [
            {"name": "tmp", "emptyDir": {"sizeLimit": TMP_SIZE}},
            *([] if parts.fetched is None else [_model_volume(parts.fetched)]),
        ],
    }


def _model_volume(fetch: Fetch) -> dict[str, Any]:
    """Room for the version twice: one that is fetched again is put beside the one there, and then in its place."""
    mib = math.ceil((2 * fetch.disk_bytes + MODEL_SPARE_BYTES) / (1 << 20))
    return {"name": "model", "emptyDir": {"sizeLimit": size(mib << 20)}}


def _fetching(parts: PodParts, fetch: Fetch) -> dict[str, Any]:
    """The container that runs first, with the same image and key: it fills the replica's folder of the model."""
    return {
        "name": FETCH,
        "image": parts.image,
        "command": ["python", "-m", "tidegate.fetch"],
        "args": fetch.arguments(parts.secret),
        "env": [key_of(parts.secret)],
        "resources": requests_and_limits(replace(parts.resources, gpu=False)),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": RESTRICTED,
        "volumeMounts": [_TMP, {"name": "model", "mountPath": MODEL_DIR}],
    }


def _container(parts: PodParts) -> dict[str, Any]:
    grpc = [{"name": "grpc", "containerPort": GRPC_PORT}] if parts.grpc else []
    model = [] if parts.fetched is None else [{"name": "model", "mountPath": MODEL_DIR, "readOnly": True}]
    start = {
        "timeoutSeconds": parts.start.timeout_s,
        "periodSeconds": parts.start.every_s,
        "failureThreshold": parts.start.tries_max,
    }
    return {
        "name": REPLICA,
        "image": parts.image,
        **({} if parts.fetched is None else {"command": [*REPLICA_COMMAND]}),
        **({"args": list(parts.args)} if parts.args else {}),
        "ports": [{"name": "http", "containerPort": HTTP_PORT}, *grpc],
        "env": _env(parts),
        "resources": requests_and_limits(parts.resources),
        "startupProbe": _probe("/v2/health/ready", **start),
        "livenessProbe": _probe("/health", timeoutSeconds=PROBE_TIMEOUT_S, periodSeconds=10, initialDelaySeconds=30),
        "readinessProbe": _probe(
            "/v2/health/ready", timeoutSeconds=PROBE_TIMEOUT_S, periodSeconds=5, initialDelaySeconds=5
        ),
        "terminationMessagePolicy": "FallbackToLogsOnError",  # its last lines say why it ended
        "lifecycle": {"preStop": {"sleep": {"seconds": LEAVING_S}}},
        "securityContext": RESTRICTED,
        "volumeMounts": [_TMP, *model],
    }


def _env(parts: PodParts) -> list[dict[str, Any]]:
    plain = replica_env(parts.version, parts.drain_s, parts.resources.cpu_limit)
    return [key_of(parts.secret), *({"name": name, "value": value} for name, value in plain.items())]


def key_of(secret: str) -> dict[str, Any]:
    """The environment variable with a replica's key, out of its Secret."""
    return {
        "name": KEY,
        "valueFrom": {"secretKeyRef": {"name": secret, "key": KEY_IN_SECRET}},
    }


def requests_and_limits(resources: Resources) -> dict[str, Any]:
    """As a container has them."""
    gpu = {GPU: "1"} if resources.gpu else {}
    return {
        "requests": {
            "cpu": cores(resources.cpu_request),
            "memory": size(resources.memory_request_bytes),
            **gpu,
        },
        "limits": {"cpu": cores(resources.cpu_limit), "memory": size(resources.memory_limit_bytes), **gpu},
    }


def cores(cpus: float) -> str:
    """A number of processors as a quantity.

    >>> cores(2), cores(0.25)
    ('2', '250m')
    """
    return f"{cpus:g}" if float(cpus).is_integer() else f"{round(cpus * 1000)}m"


def size(size_bytes: int) -> str:
    """Bytes as a quantity.

    >>> size(512 << 20), size(1 << 30), size(1000)
    ('512Mi', '1Gi', '1000')
    """
    for unit, bits in (("Gi", 30), ("Mi", 20)):
        if size_bytes % (1 << bits) == 0:
            return f"{size_bytes >> bits}{unit}"
    return str(size_bytes)


def _probe(path: str, **numbers: int) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": HTTP_PORT}, **numbers}
