"""Kubernetes for the conformance suite: a cluster whose pods are real replica processes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import urllib3

from support.images import plain_model
from support.kubernetes.cluster import FakeCluster, running_cluster
from support.kubernetes.containers import Image
from support.replicas import packaged
from tidegate.adapters.kubernetes.api import connect
from tidegate.adapters.kubernetes.workloads import ClusterParts, KubernetesWorkloads
from tidegate.core.engines.placement import Placement
from tidegate.core.images.delivery import Delivery
from tidegate.core.manifests.replica_pods import of_platform
from tidegate.core.routing.targets import address_of
from tidegate.core.workloads import Instance, WorkloadKey, WorkloadSpec
from tidegate.wire.replicas.manifest import encode_manifest, read_manifest
from tidegate.wire.replicas.replica_key import replica_key

NODE_KEY = "a-node-key"
PLATFORM, ANOTHER = "0a1b2c3d", "ffffffff"
REGISTRY = "registry.example.com/models/churn"
FAILING, SILENT, MISSING = "7", "8", "9"
KINDS = (
    *("deployments", "replicasets", "pods", "services", "endpointslices", "secrets"),
    *("poddisruptionbudgets", "horizontalpodautoscalers"),
)


def replica_image(manifest: Path) -> Image:
    """What `tidegate build` makes, with the model of this manifest in it."""
    entrypoint = ("python", "-m", "tidegate.server", "--manifest", "/model/manifest.json", "--host", "0.0.0.0")
    return Image(entrypoint, files={"/model/manifest.json": manifest})


@dataclass
class KubernetesSubject:
    """`manifests` are of the versions that answer, by their number."""

    cluster: FakeCluster
    kubeconfig: Path
    manifests: dict[str, Path]
    name: str = "kubernetes"
    pooled: bool = False
    made: list[KubernetesWorkloads] = field(default_factory=list)

    def workloads(self) -> KubernetesWorkloads:
        return self._of(PLATFORM)

    def elsewhere(self) -> KubernetesWorkloads:
        return self._of(ANOTHER)

    def good(self, version: str = "1", *, endpoint: str = "churn", count: int = 1, token: int = 1) -> WorkloadSpec:
        return self._spec(version, endpoint, count, token)

    def bad_image(self) -> WorkloadSpec:
        return self._spec(MISSING, "absent")

    def failing(self) -> WorkloadSpec:
        return self._spec(FAILING, "failing")

    def never_ready(self) -> WorkloadSpec:
        return self._spec(SILENT, "silent")

    def ask(self, instance: Instance) -> int:
        address = address_of(str(instance.seen.address))
        return _predicted(address.at, f"Bearer {replica_key(NODE_KEY, address.credential)}")

    def ask_without_key(self, instance: Instance) -> int:
        return _predicted(address_of(str(instance.seen.address)).at, None)

    def crash(self, instance: Instance) -> None:
        self.cluster.kubelet.container(str(instance.handle.data["pod"]), "replica").stop(signal.SIGSEGV)

    def away(self) -> AbstractContextManager[None]:
        return self.cluster.away()

    def left(self) -> list[str]:
        key, _, value = of_platform(PLATFORM).partition(",")[0].partition("=")
        return [
            f"{kind} {one['metadata']['name']}"
            for kind in KINDS
            for one in self.cluster.objects(kind)
            if one["metadata"].get("labels", {}).get(key) == value
        ]

    def close(self) -> None:
        """End the watches of all adapters."""
        for one in self.made:
            one.close()

    def _of(self, platform: str) -> KubernetesWorkloads:
        api = connect(self.kubeconfig, None, {})
        parts = ClusterParts(
            api,
            platform,
            lambda name: replica_key(NODE_KEY, name),
            lambda spec: Delivery(f"{REGISTRY}:{spec.key.version}"),
            1.0,
        )
        self.made.append(KubernetesWorkloads(parts))
        return self.made[-1]

    def _spec(self, version: str, endpoint: str, count: int = 1, token: int = 1) -> WorkloadSpec:
        key = WorkloadKey(endpoint, version, Placement("kubernetes"))
        return WorkloadSpec(key, "churn", self.manifests.get(version, self.manifests["1"]), count, token)


def _predicted(at: str, key: str | None) -> int:
    headers = {} if key is None else {"authorization": key}
    url = f"{at.replace('tcp:', 'http://')}/predict"
    return int(urllib3.request("POST", url, json={"features": [1.0, 2.0]}, headers=headers, timeout=20).status)


@contextmanager
def kubernetes_subject(folder: Path) -> Iterator[KubernetesSubject]:
    """A cluster with two versions that answer, one that cannot be loaded and one that never says that it is ready."""
    manifest, _ = packaged(plain_model(folder / "plain"), folder)
    manifests = {"1": manifest, "2": manifest}
    broken = folder / "broken" / "manifest.json"
    broken.parent.mkdir()
    broken.write_bytes(encode_manifest(msgspec.structs.replace(read_manifest(manifest), package_dir="gone")))
    with running_cluster(folder / "cluster") as cluster:
        cluster.images |= {f"{REGISTRY}:{version}": replica_image(file) for version, file in manifests.items()}
        cluster.images[f"{REGISTRY}:{FAILING}"] = replica_image(broken)
        cluster.images[f"{REGISTRY}:{SILENT}"] = Image(("python", "-c", "import time; time.sleep(600)"))
        subject = KubernetesSubject(cluster, cluster.kubeconfig(), manifests)
        try:
            yield subject
        finally:
            subject.close()
