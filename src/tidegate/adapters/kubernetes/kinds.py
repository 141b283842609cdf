"""The kinds of object that Tidegate speaks of, and their paths in the API. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tidegate.errors import InvalidArgument


@dataclass(frozen=True)
class ObjectKind:
    """A kind of namespaced object; `plural` is its resource, `name` what a manifest calls it."""

    group: str
    version: str
    plural: str
    name: str

    @property
    def api_version(self) -> str:
        """What a manifest of this kind has as `apiVersion`.

        >>> DEPLOYMENT.api_version, POD.api_version
        ('apps/v1', 'v1')
        """
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str, name: str = "", subresource: str = "") -> str:
        """Path of the collection, of one object, or of a part of it.

        >>> POD.path("ml", "churn-0", "log")
        '/api/v1/namespaces/ml/pods/churn-0/log'
        >>> DEPLOYMENT.path("ml")
        '/apis/apps/v1/namespaces/ml/deployments'
        """
        root = f"/apis/{self.group}" if self.group else "/api"
        return "/".join(
            [f"{root}/{self.version}/namespaces/{namespace}/{self.plural}", *filter(None, (name, subresource))]
        )


OLDEST_SERVER = 1, 30
"""From this version of Kubernetes on there is all that Tidegate writes: a preStop hook that sleeps came last."""
DEPLOYMENT = ObjectKind("apps", "v1", "deployments", "Deployment")
REPLICA_SET = ObjectKind("apps", "v1", "replicasets", "ReplicaSet")
POD = ObjectKind("", "v1", "pods", "Pod")
SERVICE = ObjectKind("", "v1", "services", "Service")
ENDPOINT_SLICE = ObjectKind("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
SECRET = ObjectKind("", "v1", "secrets", "Secret")
POD_DISRUPTION_BUDGET = ObjectKind("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
AUTOSCALER = ObjectKind("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
EVENT = ObjectKind("", "v1", "events", "Event")
KINDS = (
    DEPLOYMENT,
    REPLICA_SET,
    POD,
    SERVICE,
    ENDPOINT_SLICE,
    SECRET,
    POD_DISRUPTION_BUDGET,
    AUTOSCALER,
    EVENT,
)
_BY_MANIFEST = {(kind.api_version, kind.name): kind for kind in KINDS}


def kind_of(manifest: dict[str, Any]) -> ObjectKind:
    """The kind of a manifest. Raises `InvalidArgument` for one that Tidegate never writes."""
    named = manifest.get("apiVersion"), manifest.get("kind")
    found = _BY_MANIFEST.get((str(named[0]), str(named[1])))
    if found is None:
        raise InvalidArgument(f"Tidegate writes no {named[1]} of {named[0]} to Kubernetes", field="kind")
    return found
