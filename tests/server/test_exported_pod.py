"""What an exported Deployment has a pod do, with the image's own files: probes, key, drain, and nothing is written."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import sysconfig
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from support.http_bytes import Connection, Reply, post
from support.images import plain_model
from support.wait import free_ports, until
from tidegate import runtimes
from tidegate.adapters.images.context import write_model, write_program
from tidegate.core.images.contents import ImageContents, dockerfile
from tidegate.core.manifests.export import manifests_of
from tidegate.core.manifests.served import ExportSettings, ServedRequest

DOCUMENT = {"endpoint": "churn", "model": "churn", "version": 1}
KEY = "authorization: Bearer key-of-the-secret"
PYTHON_OF_IMAGE = "/opt/tidegate/bin/python"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """The folders that `tidegate build` copies into an image: the model, and the replica's program."""
    root = tmp_path / "image"
    root.mkdir()
    package = tmp_path / "package"
    manifest, _ = runtimes.open_model(plain_model(tmp_path / "source"), "churn", into=package, allow_pickle=True)
    write_model(manifest, package, root)
    write_program(root)
    return root


def _files(root: Path) -> set[Path]:
    return set(root.rglob("*"))


def _argv(image: Path, ports: list[int]) -> list[str]:
    """The image's entry point, with other ports: several tests run at once."""
    contents = ImageContents("churn", "1", "d", "0", "python:3.11-slim")
    text = dockerfile(contents).partition("ENTRYPOINT ")[2].partition("]")[0] + "]"
    entry = [one.replace("/model/", f"{image}/model/") for one in json.loads(text.replace("\\\n", ""))]
    assert entry[0] == PYTHON_OF_IMAGE
    return [sys.executable, *entry[1:], "--port", str(ports[0]), "--grpc-port", str(ports[1])]


def _env(container: Any, image: Path, home: Path) -> dict[str, str]:
    """What the image sets, and what the pod does; nothing of this process's."""
    libraries = sysconfig.get_paths()["purelib"]
    own = {"PYTHONPATH": f"{image / 'program'}:{libraries}", "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(home)}
    of_secret = "key-of-the-secret"
    return own | {one["name"]: one.get("value", of_secret) for one in container["env"]}


def _answer(port: int, request: bytes) -> Reply | None:
    try:
        with closing(Connection(port)) as connection:
            connection.send(request)
            return connection.read()
    except (OSError, EOFError):
        return None


def _status(port: int, path: str) -> int | None:
    answer = _answer(port, f"GET {path} HTTP/1.1\r\nhost: kubelet\r\n\r\n".encode())
    return None if answer is None else answer.status


def test_the_pod_that_is_exported_answers_its_probes_and_ends_cleanly(image: Path, tmp_path: Path) -> None:
    answer = manifests_of([DOCUMENT], "kubernetes", ServedRequest(), ExportSettings())
    (container,) = answer.documents[0]["spec"]["template"]["spec"]["containers"]
    home, ports = tmp_path / "home", free_ports(2)
    home.mkdir()
    before = _files(image)
    process = subprocess.Popen(
        _argv(image, ports), env=_env(container, image, home), cwd="/", stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        until(lambda: _status(ports[0], container["startupProbe"]["httpGet"]["path"]) == 200, what="the start")
        for probe in ("livenessProbe", "readinessProbe"):  # the kubelet sends no key
            assert _status(ports[0], container[probe]["httpGet"]["path"]) == 200, probe
        body = {"features": [1.0, 2.0]}
        refused, answered = (_answer(ports[0], post("/predict", body, *key)) for key in ([], [KEY]))
        assert refused is not None
        assert refused.status == 401
        assert answered is not None
        named = {one["name"]: one.get("value") for one in container["env"]}
        said = answered.json
        assert (said["prediction"], said["model_version"]) == ([3.0], named["MODEL_VERSION"])
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, err) == (0, b""), out
    assert _files(image) == before
