"""One version as a service of Google Cloud Run, as `gcloud run services replace` takes it. Pure.

It runs an image of `tidegate build` by itself: no label of it is one by which a platform knows its own.
"""

from __future__ import annotations

from typing import Any

from tidegate.core.engines.cloudrun_size import DRAIN_S_MAX, cloudrun_size
from tidegate.core.images.contents import HTTP_PORT
from tidegate.core.images.replica_env import KEY, by_name, replica_env
from tidegate.core.manifests.served import Served
from tidegate.core.names import check_fits
from tidegate.errors import InvalidArgument
from tidegate.settings import Settings

PREFIX, CONTAINER = "tidegate-", "replica"
NAME_CHARS_MAX = 49
INSTANCES_MAX = 1000
REQUEST_TIMEOUT_S = 300
START_EVERY_S, STARTS_MAX = 2, 120


def name_of(endpoint: str) -> str:
    """What its service is called. Raises `InvalidArgument` for one that is too long.

    >>> name_of("churn")
    'tidegate-churn'
    """
    return check_fits(f"{PREFIX}{endpoint}", NAME_CHARS_MAX, endpoint, "Cloud Run")


def cloudrun_service(served: Served, settings: Settings) -> dict[str, Any]:
    """The service. Raises `InvalidArgument`."""
    if served.gpu:
        raise InvalidArgument(
            "manifests for Cloud Run ask for no GPU yet: register the version with --device cpu", field="device"
        )
    if (served.scale.high or served.scale.low) > INSTANCES_MAX:
        raise InvalidArgument(f"Cloud Run runs up to {INSTANCES_MAX} instances: give less with --max", field="max")
    labels = {
        f"tidegate-{key}": value
        for key, value in (("endpoint", served.endpoint), ("model", served.model), ("version", served.version))
    }
    digest = {} if served.digest is None else {"tidegate.io/digest": served.digest}
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {
            "name": name_of(served.endpoint),
            "labels": labels,
            "annotations": {"run.googleapis.com/ingress": "all"},
        },
        "spec": {
            "template": {
                "metadata": {"labels": labels, "annotations": {**_scaled(served), **digest}},
                "spec": _template(served, settings),
            },
            "traffic": [{"latestRevision": True, "percent": 100}],
        },
    }


def _scaled(served: Served) -> dict[str, str]:
    high = max(1, served.scale.low) if served.scale.high is None else served.scale.high
    return {
        "autoscaling.knative.dev/minScale": str(served.scale.low),
        "autoscaling.knative.dev/maxScale": str(high),
        "run.googleapis.com/execution-environment": "gen2",
        "run.googleapis.com/startup-cpu-boost": "true",
    }


def _template(served: Served, settings: Settings) -> dict[str, Any]:
    cpus, memory_mib = cloudrun_size(served.cpus, served.memory_bytes)
    account = settings.cloudrun_service_account
    env = replica_env(served.version, DRAIN_S_MAX, cpus)
    key = {"secretKeyRef": {"name": name_of(served.endpoint), "key": "latest"}}
    return {
        **({"serviceAccountName": account} if account else {}),
        "containerConcurrency": settings.cloudrun_concurrency,
        "timeoutSeconds": REQUEST_TIMEOUT_S,
        "containers": [
            {
                "name": CONTAINER,
                "image": served.image,
                "ports": [{"name": "http1", "containerPort": HTTP_PORT}],
                "env": [{"name": KEY, "valueFrom": key}, *by_name(env)],
                "resources": {"limits": {"cpu": str(cpus), "memory": f"{memory_mib}Mi"}},
                "startupProbe": _probe("/v2/health/ready", START_EVERY_S, STARTS_MAX, 1),
                "livenessProbe": _probe("/health", 10, 3, 5),
            }
        ],
    }


def _probe(path: str, every_s: int, failures_max: int, timeout_s: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": HTTP_PORT},
        "periodSeconds": every_s,
        "failureThreshold": failures_max,
        "timeoutSeconds": timeout_s,
    }
