"""Kubernetes itself, as a subject: the cluster that KUBECONFIG names, asked by `make test-kubernetes` alone."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx

from support.cluster import Cluster, Passage
from support.versions_in_cluster import Versions
from tidegate.adapters.kubernetes.api import connect
from tidegate.adapters.kubernetes.workloads import ClusterParts, KubernetesWorkloads
from tidegate.core.engines.placement import Placement
from tidegate.core.images.delivery import Delivery
from tidegate.core.routing.targets import address_of
from tidegate.core.workloads import Instance, WorkloadKey, Workloads, WorkloadSpec
from tidegate.wire.replicas.replica_key import replica_key

NODE_KEY = "the-node-key-of-tests"
PLATFORM, ELSEWHERE = "0a1b2c3d", "4e5f6a7b"
FAILING, NEVER_READY, BAD_IMAGE = "3", "4", "no-image"
KINDS = "deployments,replicasets,pods,services,secrets,poddisruptionbudgets,horizontalpodautoscalers"
DRAIN_S = 1.0


@dataclass
class ClusterSubject:
    """Replicas in one namespace of a real cluster, of the versions that its pod `packages` hands out."""

    cluster: Cluster
    versions: Versions
    passage: Passage
    name: str = "kubernetes"
    pooled: bool = False
    made: list[KubernetesWorkloads] = field(default_factory=list)

    def workloads(self) -> Workloads:
        return self._adapter(PLATFORM)

    def elsewhere(self) -> Workloads:
        return self._adapter(ELSEWHERE)

    def good(self, version: str = "1", *, endpoint: str = "churn", count: int = 1, token: int = 1) -> WorkloadSpec:
        placement = Placement("kubernetes", cpu_request=0.1, memory_request_bytes=128 << 20)
        key = WorkloadKey(endpoint, version, placement)
        return WorkloadSpec(key, "churn", self._manifest(version), count, token)

    def bad_image(self) -> WorkloadSpec:
        return self.good("1", endpoint=BAD_IMAGE)

    def failing(self) -> WorkloadSpec:
        return self.good(FAILING)

    def never_ready(self) -> WorkloadSpec:
        return self.good(NEVER_READY)

    def ask(self, instance: Instance) -> int:
        name = address_of(str(instance.seen.address)).credential
        return self._predict(instance, [1.0, 2.0, 3.0], {"authorization": f"Bearer {replica_key(NODE_KEY, str(name))}"})

    def ask_without_key(self, instance: Instance) -> int:
        return self._predict(instance, [1.0, 2.0, 3.0], {})

    def crash(self, instance: Instance) -> None:
        name = address_of(str(instance.seen.address)).credential
        key = replica_key(NODE_KEY, str(name))
        with suppress(httpx.HTTPError):
            self._predict(instance, [-1.0, -1.0, -1.0], {"authorization": f"Bearer {key}"})

    def away(self) -> AbstractContextManager[None]:
        return self.passage.shut()

    def left(self) -> list[str]:
        found = self.cluster.objects(KINDS, f"tidegate.io/platform={PLATFORM}")
        return [f"{one['kind']} {one['metadata']['name']}" for one in found]

    def close(self) -> None:
        """End the watches of every adapter that was made."""
        for one in self.made:
            one.close()
        self.made.clear()

    def _adapter(self, platform: str) -> KubernetesWorkloads:
        api = connect(self.passage.kubeconfig, self.cluster.namespace, {})
        parts = ClusterParts(api, platform, partial(replica_key, NODE_KEY), self._deliver, DRAIN_S)
        self.made.append(KubernetesWorkloads(parts))
        return self.made[-1]

    def _deliver(self, spec: WorkloadSpec) -> Delivery:
        if spec.key.endpoint == BAD_IMAGE:
            return Delivery("registry.invalid/tidegate/none:1")
        return Delivery(self.cluster.image, self.versions.fetch(spec.key.version))

    def _manifest(self, version: str) -> Path:
        return self.versions.manifests[version]

    def _predict(self, instance: Instance, row: list[float], headers: dict[str, str]) -> int:
        body = json.dumps({"features": row})
        with self.cluster.forwarded(f"pod/{instance.handle.data['pod']}", 8000) as url:
            return httpx.post(f"{url}/predict", content=body, headers=headers, timeout=30).status_code
