"""Versions for replicas in a real cluster: small models, kept in a ConfigMap and handed out by a pod as a control plane
would, to be fetched by `python -m tidegate.fetch`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.cluster import Cluster
from support.replicas import packaged
from tidegate.adapters.artifacts.packed import packed_version
from tidegate.core.images.delivery import Fetch
from tidegate.packaging.filelist import write_list
from tidegate.wire.replicas.manifest import read_manifest

PORT = 8800
MODEL = '''\
import ctypes

import numpy as np


class Model:
    """Sums; a row of three times -1 ends its process."""

    example = [1.0, 2.0, 3.0]

    def predict(self, inputs):
        rows = np.asarray(inputs)
        if (rows == -1).all():
            ctypes.string_at(0)
        return rows.sum(axis=1)
'''
FAILING = 'raise RuntimeError("this version cannot be loaded")\n'
NEVER_READY = "import time\n\ntime.sleep(3600)\n"
SOURCES = {"1": MODEL, "2": MODEL, "3": FAILING, "4": NEVER_READY}
_SERVER = """\
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

folder = Path("/packages")
digests = json.loads((folder / "digests.json").read_text())


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        version = self.path.partition("?")[0].rpartition("/")[2]
        if version not in digests:
            self.send_error(404)
            return
        body = (folder / (version + ".tar")).read_bytes()
        self.send_response(200)
        self.send_header("X-Tidegate-Digest", digests[version])
        self.send_header("Content-Type", "application/x-tar")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer(("0.0.0.0", 8800), Handler).serve_forever()
"""


@dataclass(frozen=True)
class Versions:
    """Manifests on this machine, by version, and the URL where pods fetch them."""

    manifests: Mapping[str, Path]
    url: str

    def fetch(self, version: str) -> Fetch:
        path = f"/internal/v1/packages/churn/{version}?form="
        manifest, folder = read_manifest(self.manifests[version]), _package(self.manifests[version])
        return Fetch(self.url, path, manifest.digest, packed_version(manifest, folder).disk_bytes)


def put_versions(cluster: Cluster, folder: Path) -> Versions:
    """Make them, and start the pod that hands them out."""
    manifests = {version: _make(folder, version, source) for version, source in SOURCES.items()}
    packed = {version: packed_version(read_manifest(file), _package(file)) for version, file in manifests.items()}
    tars = {f"{version}.tar": base64.b64encode(b"".join(one.chunks())).decode() for version, one in packed.items()}
    told = {
        "digests.json": json.dumps({version: one.digest for version, one in packed.items()}),
        "serve.py": _SERVER,
    }
    content = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "packages"}, "data": told}
    for one in ({**content, "binaryData": tars}, _pod(cluster.image), _service()):
        cluster.kubectl("create", "--filename", "-", text=json.dumps(one))
    cluster.kubectl("wait", "--for=condition=Ready", "pod/packages", "--timeout=120s", timeout_s=130)
    address = cluster.kubectl("get", "service", "packages", "--output", "jsonpath={.spec.clusterIP}")
    return Versions(manifests, f"http://{address}:{PORT}")


def _make(folder: Path, version: str, source: str) -> Path:
    """What fails is packaged as what does not, and changed afterwards."""
    model = folder / f"model-{version}"
    model.mkdir()
    (model / "model.py").write_text(MODEL)
    file, _ = packaged(model, folder, version=version)
    (_package(file) / "model" / "model.py").write_text(source)
    write_list(_package(file))
    return file


def _package(file: Path) -> Path:
    return Path(read_manifest(file).package_dir)


def restricted_pod(image: str, command: list[str], **more: Any) -> dict[str, Any]:
    """The `spec` of a pod by the restricted standard with one container, `main`."""
    container = {
        "name": "main",
        "image": image,
        "command": command,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        **more,
    }
    user = {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}}
    return {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
        "securityContext": user,
        "containers": [container],
    }


def _pod(image: str) -> dict[str, Any]:
    spec = restricted_pod(
        image,
        ["python", "/packages/serve.py"],
        readinessProbe={"tcpSocket": {"port": PORT}, "periodSeconds": 1},
        volumeMounts=[{"name": "packages", "mountPath": "/packages"}],
    )
    spec["volumes"] = [{"name": "packages", "configMap": {"name": "packages"}}]
    metadata = {"name": "packages", "labels": {"app": "packages"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _service() -> dict[str, Any]:
    spec = {"selector": {"app": "packages"}, "ports": [{"port": PORT}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "packages"}, "spec": spec}
