"""The fake cluster as tests use it: started, written a kubeconfig for, disturbed, and ended with all its processes."""

from __future__ import annotations

import json
import signal
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.kubernetes.containers import Image
from support.kubernetes.controllers import Controllers
from support.kubernetes.kinds import BY_PLURAL
from support.kubernetes.kubelet import Kubelet, Node
from support.kubernetes.rest import Rest
from support.kubernetes.rights import Policies
from support.kubernetes.server import ApiServer, Network
from support.kubernetes.store import Object, Store
from support.tls import Authority

TOKEN, USER = "a-token-of-tests", "system:serviceaccount:default:tidegate"


class FakeCluster:
    """An API server with TLS on 127.0.0.1, controllers, and one node.

    `images` are what runs here, by reference; what is not in it cannot be pulled. `speed` shortens the periods of
    probes and the sleep of preStop hooks, `backoff_s` is the first pause of a container that crashed, and of pulls.
    """

    def __init__(self, folder: Path, *, speed: float = 20.0, backoff_s: float = 0.3, kubelet: bool = True) -> None:
        self.folder = folder
        self.images: dict[str, Image] = {}
        self.policies = Policies()
        self.store = Store()
        self.authority = Authority(folder / "pki")
        context = self.authority.issue("127.0.0.1")
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(self.authority.ca_file)
        self.rest = Rest(self.store, self.policies, self._logs)
        self.server = ApiServer(self.rest, context)
        self.server.network.tokens[TOKEN] = USER
        self.controllers = Controllers(self.rest)
        self._kubelet = (
            Kubelet(self.rest, self.images, folder / "pods", backoff_s=backoff_s, speed=speed) if kubelet else None
        )

    @property
    def network(self) -> Network:
        """Faults of the API server, who is let in, and what was asked."""
        return self.server.network

    @property
    def node(self) -> Node:
        """What there is room for."""
        return self.kubelet.node

    @property
    def kubelet(self) -> Kubelet:
        assert self._kubelet is not None
        return self._kubelet

    def kubeconfig(self, *, namespace: str = "", name: str = "config", user: Object | None = None) -> Path:
        """A kubeconfig for this cluster; `user` is how it logs in, by the token that is known where it is not given."""
        cluster = {"server": self.server.url, "certificate-authority": str(self.authority.ca_file)}
        body = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "fake",
            "clusters": [{"name": "fake", "cluster": cluster}],
            "users": [{"name": "tests", "user": {"token": TOKEN} if user is None else user}],
            "contexts": [
                {
                    "name": "fake",
                    "context": {"cluster": "fake", "user": "tests", **({"namespace": namespace} if namespace else {})},
                }
            ],
        }
        file = self.folder / name
        file.write_text(json.dumps(body))  # JSON is YAML
        return file

    def objects(self, plural: str, namespace: str = "default") -> list[Object]:
        """All objects of a kind, as they are."""
        return self.store.list(plural, namespace)

    def change(self, plural: str, name: str, change: Any, namespace: str = "default") -> Object | None:
        """As somebody with all rights would, through no API."""
        return self.store.update(BY_PLURAL[plural], namespace, name, change)

    def delete(self, plural: str, name: str, namespace: str = "default", grace_s: int | None = None) -> None:
        self.rest.delete(BY_PLURAL[plural], namespace, name, grace_s)

    def crash(self, pod: str, container: str = "replica", *, reason: str = "") -> None:
        """Kill a container's process; `OOMKilled` is what the node says of one that took too much memory."""
        self.kubelet.container(pod, container).stop(signal.SIGKILL, reason)

    @contextmanager
    def away(self) -> Iterator[None]:
        """While the API server does not answer; what runs goes on running."""
        self.server.away()
        try:
            yield
        finally:
            self.server.back()

    def close(self) -> None:
        """End everything that was started."""
        self.store.close()
        self.server.away()
        self.controllers.join()
        if self._kubelet is not None:
            self._kubelet.join()

    def _logs(self, namespace: str, pod: str, container: str, previous: bool) -> str:
        return self.kubelet.logs(namespace, pod, container, previous)


@contextmanager
def running_cluster(folder: Path, **options: Any) -> Iterator[FakeCluster]:
    """A cluster that ends with the block."""
    folder.mkdir(parents=True, exist_ok=True)
    cluster = FakeCluster(folder, **options)
    try:
        yield cluster
    finally:
        cluster.close()
