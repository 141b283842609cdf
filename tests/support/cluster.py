"""A real cluster, by kubectl: the one that KUBECONFIG names, in a namespace of the test's own that is removed again."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

ASKED = "TIDEGATE_TEST_KUBERNETES"
IMAGE = "TIDEGATE_TEST_IMAGE"
GONE_TIMEOUT_S = 180
FORWARDING = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+) -> \d+")


@dataclass(frozen=True)
class Cluster:
    """One namespace of a cluster. `image` is the platform's, where its nodes have it or can pull it."""

    namespace: str
    image: str
    version: str

    def kubectl(self, *args: str, text: str | None = None, timeout_s: float = 120.0) -> str:
        """What kubectl printed; fails the test with what it said where it did not succeed."""
        argv = [_kubectl(), "--namespace", self.namespace, *args]
        done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=timeout_s, check=False)
        assert done.returncode == 0, f"kubectl {' '.join(args)}: {done.stderr}{done.stdout}"
        return done.stdout

    def objects(self, kinds: str, selector: str = "") -> list[dict[str, Any]]:
        """Objects of these kinds, by comma, as the API server has them."""
        chosen = ["--selector", selector] if selector else []
        items: list[dict[str, Any]] = json.loads(self.kubectl("get", kinds, *chosen, "--output", "json"))["items"]
        return items

    def secret(self, name: str, key: str) -> str:
        """A value of a Secret."""
        template = f'{{{{index .data "{key}" | base64decode}}}}'
        return self.kubectl("get", "secret", name, "--output", f"go-template={template}")

    @contextmanager
    def forwarded(self, target: str, port: int) -> Iterator[str]:
        """The URL on this machine that leads to a port of a Service or pod."""
        argv = [_kubectl(), "--namespace", self.namespace, "port-forward", target, f":{port}"]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as forward:
            try:
                assert forward.stdout is not None
                said = forward.stdout.readline()
                found = FORWARDING.match(said)
                assert found, f"port-forward to {target}: {said}"
                yield f"http://127.0.0.1:{found[1]}"
            finally:
                forward.kill()


class Passage:
    """Between this machine and the API server: a port of 127.0.0.1 that can be shut, and a kubeconfig that names it."""

    def __init__(self, folder: Path) -> None:
        config = json.loads(_asked("config", "view", "--raw", "--minify", "--flatten", "--output", "json"))
        (entry,) = config["clusters"]
        server = urlsplit(entry["cluster"]["server"])
        self._there = (server.hostname or "", server.port or 443)
        self._open: set[socket.socket] = set()
        self._shut = False
        self._listening = socket.create_server(("127.0.0.1", 0))
        port = self._listening.getsockname()[1]
        entry["cluster"] |= {"server": f"https://127.0.0.1:{port}", "tls-server-name": self._there[0]}
        self.kubeconfig = folder / "kubeconfig"
        self.kubeconfig.touch(mode=0o600)
        self.kubeconfig.write_text(json.dumps(config))
        threading.Thread(target=self._accept, daemon=True).start()

    @contextmanager
    def shut(self) -> Iterator[None]:
        """Nothing gets through, and what was on its way is cut."""
        self._shut = True
        self._cut()
        try:
            yield
        finally:
            self._shut = False

    def close(self) -> None:
        """For ever."""
        self._shut = True
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._cut()

    def _cut(self) -> None:
        for one in list(self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            if self._shut:
                near.close()
                continue
            far = socket.create_connection(self._there, timeout=10)
            far.settimeout(None)
            self._open |= {near, far}
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(1 << 16):
                sink.sendall(piece)
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._open.discard(source)
        source.close()


@contextmanager
def own_namespace(enforce: str = "restricted") -> Iterator[Cluster]:
    """A namespace that enforces a Pod Security Standard; it is gone afterwards, with all that is in it."""
    if not os.environ.get(ASKED):
        pytest.skip(
            f"no test asks a cluster by itself: `make test-kubernetes` does, of the one KUBECONFIG names ({ASKED})"
        )
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    name = f"tidegate-test-{secrets.token_hex(3)}"
    cluster = Cluster(name, os.environ.get(IMAGE, "tidegate:local"), _version())
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": name,
            "labels": {f"pod-security.kubernetes.io/{mode}": enforce for mode in ("enforce", "warn")},
        },
    }
    cluster.kubectl("create", "--filename", "-", text=json.dumps(namespace))
    try:
        yield cluster
    finally:
        cluster.kubectl("delete", "namespace", name, "--timeout", f"{GONE_TIMEOUT_S}s", timeout_s=GONE_TIMEOUT_S + 10)


def _kubectl() -> str:
    return shutil.which("kubectl") or "kubectl"


def _asked(*args: str) -> str:
    return subprocess.run([_kubectl(), *args], capture_output=True, text=True, timeout=30, check=True).stdout


def _version() -> str:
    argv = [_kubectl(), "version", "--output", "json", "--request-timeout", "10s"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode != 0:
        pytest.skip(f"no cluster answers, of KUBECONFIG={os.environ.get('KUBECONFIG', '')!r}: {done.stderr.strip()}")
    return str(json.loads(done.stdout)["serverVersion"]["gitVersion"])
