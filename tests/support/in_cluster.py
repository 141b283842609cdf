"""The platform in a cluster as its users meet it: applied with kubectl, reached through port-forwards."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.cluster import Cluster
from support.platform import Ran, tidegate
from support.versions_in_cluster import restricted_pod
from tidegate.core.images.delivery import RUNTIME_REPOSITORY

log = logging.getLogger(__name__)

BASE = Path(__file__).resolve().parent.parent.parent / "deploy" / "kubernetes" / "base"
READY_TIMEOUT = "240s"
LOAD = """\
import http.client, json, os, sys, threading, time
from pathlib import Path

key, host, workers, least = os.environ["TIDEGATE_API_KEY"], "tidegate-gateway", 4, int(sys.argv[1])
body = json.dumps({"features": json.loads(sys.argv[2])})
heads = {"Authorization": "Bearer " + key, "Content-Type": "application/json"}
stop, lock = Path("/tmp/stop"), threading.Lock()
codes, versions, failures, count = {}, {}, [], 0


def ask():
    global count
    connection, asked = None, 0
    while count < least or not stop.exists():
        if asked % 50 == 0:  # another gateway may answer the next ones
            connection = http.client.HTTPConnection(host, 80, timeout=30)
        asked += 1
        try:
            connection.request("POST", "/predict/churn", body, heads)
            answer = connection.getresponse()
            code, text = answer.status, answer.read()
            version = answer.headers.get("X-Tidegate-Version", "")
        except OSError as error:
            code, text, version, asked = 0, repr(error).encode(), "", 0
        with lock:
            count += 1
            codes[code] = codes.get(code, 0) + 1
            versions[version] = versions.get(version, 0) + 1
            if code != 200 and len(failures) < 20:
                failures.append([time.time(), code, text.decode()[:300]])
        time.sleep(0.01)


threads = [threading.Thread(target=ask) for _ in range(workers)]
[one.start() for one in threads]
[one.join() for one in threads]
print(json.dumps({"count": count, "codes": codes, "versions": versions, "failures": failures}))
"""


@dataclass(frozen=True)
class InCluster:
    """A platform that runs, and how this machine reaches it."""

    cluster: Cluster
    env: dict[str, str]
    gateway_url: str

    def tidegate(self, *args: str, timeout_s: float = 300.0) -> Ran:
        """A command, which has to succeed. The control plane may be in another pod than for the one before."""
        with self.cluster.forwarded("service/tidegate-control", 8800) as url:
            ran = tidegate(*args, env=self.env | {"TIDEGATE_URL": url}, timeout_s=timeout_s)
        assert ran.code == 0, ran.said
        return ran

    def variants(self, endpoint: str) -> dict[str, dict[str, Any]]:
        """What `tidegate status` says of each version."""
        (found,) = [one for one in self.tidegate("endpoints", "--json").json["endpoints"] if one["name"] == endpoint]
        return {one["version"]: one for one in found["variants"]}

    def start_load(self, row: list[float], least: int) -> None:
        """Requests from a pod, through the Service, until `end_load`, and at least so many."""
        key = {"secretKeyRef": {"name": "tidegate-keys", "key": "api-key"}}
        spec = restricted_pod(
            self.cluster.image,
            ["python", "-c", LOAD, str(least), json.dumps(row)],
            env=[{"name": "TIDEGATE_API_KEY", "valueFrom": key}],
            volumeMounts=[{"name": "tmp", "mountPath": "/tmp"}],
        ) | {"restartPolicy": "Never", "volumes": [{"name": "tmp", "emptyDir": {}}]}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "load"}, "spec": spec}
        self.cluster.kubectl("create", "--filename", "-", text=json.dumps(pod))
        self.cluster.kubectl("wait", "--for=condition=Ready", "pod/load", "--timeout=60s")

    def end_load(self, timeout_s: int = 300) -> dict[str, Any]:
        """How many requests there were, by status and version."""
        self.cluster.kubectl("exec", "load", "--", "touch", "/tmp/stop")
        condition = "--for=jsonpath={.status.phase}=Succeeded"
        self.cluster.kubectl("wait", condition, "pod/load", f"--timeout={timeout_s}s", timeout_s=timeout_s + 10)
        counts: dict[str, Any] = json.loads(self.cluster.kubectl("logs", "load").splitlines()[-1])
        self.cluster.kubectl("delete", "pod", "load")
        log.info("requests under load: %s", counts)
        return counts


@contextmanager
def platform_in(cluster: Cluster, folder: Path) -> Iterator[InCluster]:
    """Apply the base with the image that the cluster has, and reach it."""
    (folder / "kustomization.yaml").write_text(json.dumps(_overlay(cluster, folder)))
    cluster.kubectl("apply", "--kustomize", str(folder))
    for what in ("statefulset/tidegate-control", "deployment/tidegate-gateway"):
        cluster.kubectl("rollout", "status", what, f"--timeout={READY_TIMEOUT}", timeout_s=260)
    keys = {
        name: cluster.secret("tidegate-keys", key)
        for name, key in (("TIDEGATE_TOKEN", "token"), ("TIDEGATE_API_KEY", "api-key"))
    }
    with cluster.forwarded("service/tidegate-gateway", 80) as gateway:
        yield InCluster(cluster, keys | {"TIDEGATE_DATA_DIR": str(folder / "none")}, gateway)


def _overlay(cluster: Cluster, folder: Path) -> dict[str, Any]:
    name, _, tag = cluster.image.rpartition(":")
    control = {
        "name": "control",
        "env": [
            {"name": "TIDEGATE_RUNTIME_IMAGE", "value": cluster.image},
            {"name": "TIDEGATE_GUARD_S", "value": "0"},
            {"name": "TIDEGATE_KEEP_PREVIOUS_S", "value": "2"},
        ],
        "resources": _SMALL,
    }
    patches = [
        _patch("StatefulSet", "tidegate-control", control),
        _patch("Deployment", "tidegate-gateway", {"name": "gateway", "resources": _SMALL}),
    ]
    if not _has_storage(cluster):
        patches.append({"target": {"kind": "StatefulSet"}, "patch": json.dumps(_IN_THE_POD)})
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": cluster.namespace,
        "resources": [os.path.relpath(BASE, folder)],
        "images": [{"name": RUNTIME_REPOSITORY, "newName": name, "newTag": tag}],
        "patches": patches,
    }


def _patch(kind: str, name: str, container: dict[str, Any]) -> dict[str, Any]:
    spec = {"template": {"spec": {"containers": [container]}}}
    return {"patch": json.dumps({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": spec})}


_SMALL = {"requests": {"cpu": "100m", "memory": "512Mi"}}
_IN_THE_POD = [
    {"op": "remove", "path": "/spec/volumeClaimTemplates"},
    {"op": "add", "path": "/spec/template/spec/volumes/-", "value": {"name": "data", "emptyDir": {}}},
]


def _has_storage(cluster: Cluster) -> bool:
    """Whether claims are answered by default."""
    default = "storageclass.kubernetes.io/is-default-class"
    classes = cluster.objects("storageclasses")
    return any((one["metadata"].get("annotations") or {}).get(default) == "true" for one in classes)
