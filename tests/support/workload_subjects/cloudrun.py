"""Cloud Run for the conformance suite: a fake of its API, whose instances are real replica processes."""

from __future__ import annotations

import os
import signal
import ssl
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import urllib3

from support.cloudrun.instances import Image
from support.cloudrun.server import FakeServer, fake_cloud_run
from support.images import plain_model
from support.replicas import packaged
from tidegate.adapters.cloudrun.workloads import CloudRunWorkloads, Deliver
from tidegate.adapters.cloudrun.workloads import build as build_workloads
from tidegate.core.engines.placement import Placement
from tidegate.core.images.delivery import Delivery
from tidegate.core.routing.targets import Address, address_of
from tidegate.core.workloads import Instance, WorkloadKey, Workloads, WorkloadSpec
from tidegate.settings import Settings
from tidegate.wire.replicas.replica_key import replica_key

NODE_KEY = "a-node-key"
CRASHES = (sys.executable, "-c", "import sys; print('Traceback: it broke', file=sys.stderr); sys.exit(3)")
SLEEPS = (sys.executable, "-c", "import time; time.sleep(600)")
REPOSITORY = "europe-west1-docker.pkg.dev/demo-project/models/churn"
ASKED = b'{"inputs": [{"name": "input", "shape": [1, 2], "datatype": "FP64", "data": [1, 2]}]}'


@dataclass
class CloudRunSubject:
    """Versions 1 and 2 are served, 3 has no image, 4 cannot be loaded, 5 never says that it is ready."""

    server: FakeServer
    manifest: Path
    platform: str = "0a1b2c3d"
    images: Mapping[str, str] = field(default_factory=dict)
    name: str = "cloudrun"
    pooled: bool = True

    def workloads(self, deliver: Deliver | None = None) -> Workloads:
        return self._of(self.platform, deliver)

    def elsewhere(self) -> Workloads:
        return self._of("ffffffff")

    def good(self, version: str = "1", *, endpoint: str = "churn", count: int = 1, token: int = 1) -> WorkloadSpec:
        key = WorkloadKey(endpoint, version, Placement("cloudrun"))
        return WorkloadSpec(key, "churn", self.manifest, count, token, routed={version: 100.0})

    def bad_image(self) -> WorkloadSpec:
        return replace(self.good("3"), routed={})

    def failing(self) -> WorkloadSpec:
        return replace(self.good("4"), routed={})

    def never_ready(self) -> WorkloadSpec:
        return replace(self.good("5"), routed={})

    def ask(self, instance: Instance) -> int:
        address = address_of(str(instance.seen.address))
        return self.call(address, replica_key(NODE_KEY, address.credential))

    def ask_without_key(self, instance: Instance) -> int:
        return self.call(address_of(str(instance.seen.address)), "")

    def call(self, address: Address, key: str) -> int:
        """The status of a prediction with this key, which the front lets through in any case."""
        fake = self.server.fake
        with urllib3.PoolManager(ssl_context=ssl.create_default_context(cafile=str(fake.authority.ca_file))) as pool:
            heads = {"X-Serverless-Authorization": f"Bearer {fake.issuer.id_token(address.audience)}"}
            heads |= {"Authorization": f"Bearer {key}"} if key else {}
            url = f"{address.at}/v2/models/churn/infer"
            return pool.request("POST", url, body=ASKED, headers=heads, retries=False).status

    def crash(self, instance: Instance) -> None:
        os.kill(self.server.fake.running(instance.id).instances[0].process.pid, signal.SIGSEGV)

    def away(self) -> AbstractContextManager[None]:
        return self.server.away()

    def left(self) -> list[str]:
        fake = self.server.fake
        mine = [one for one in fake.list_services() if one["labels"]["tidegate-platform"] == self.platform]
        names = [one["name"].rpartition("/")[2] for one in mine]
        return [*names, *(str(pid) for pid in fake.processes())]

    def _of(self, platform: str, deliver: Deliver | None = None) -> CloudRunWorkloads:
        return build_workloads(
            lambda: Settings.from_env(dict(os.environ)),
            os.environ,
            platform,
            deliver or (lambda spec: Delivery(self.images.get(spec.key.version, f"{REPOSITORY}:{spec.key.version}"))),
            lambda name: replica_key(NODE_KEY, name),
        )


@contextmanager
def cloudrun_subject(folder: Path) -> Iterator[CloudRunSubject]:
    """One project for a test; what ran in it is ended."""
    manifest, _ = packaged(plain_model(folder / "plain"), folder)
    with fake_cloud_run(folder / "google") as server:
        server.fake.images |= {
            f"{REPOSITORY}:1": Image(manifest),
            f"{REPOSITORY}:2": Image(manifest),
            f"{REPOSITORY}:4": Image(folder / "nowhere.json"),
            f"{REPOSITORY}:5": Image(command=SLEEPS),
            f"{REPOSITORY}:6": Image(command=CRASHES),
        }
        server.fake.start_timeout_s = 20.0
        yield CloudRunSubject(server, manifest)
