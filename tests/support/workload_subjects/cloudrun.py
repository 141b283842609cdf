"""Cloud Run for the conformance suite: a fake of its API, whose instances are real replica processes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from support.cloudrun.instances import Image
from support.cloudrun.server import FakeServer, fake_cloud_run
from support.images import plain_model
from support.replicas import packaged
from tidegate.adapters.cloudrun.api import CloudRunApi
from tidegate.adapters.cloudrun.credentials import GoogleCredentials
from tidegate.adapters.cloudrun.place import place_of
from tidegate.adapters.cloudrun.workloads import CloudRunParts, CloudRunWorkloads
from tidegate.core.engines.placement import Placement
from tidegate.core.images.delivery import Delivery
from tidegate.core.workloads import WorkloadKey, Workloads, WorkloadSpec
from tidegate.settings import Settings
from tidegate.wire.replica_key import replica_key

NODE_KEY = "a-node-key"
TOKEN = 3
CRASHES = (sys.executable, "-c", "import sys; print('Traceback: it broke', file=sys.stderr); sys.exit(3)")
SLEEPS = (sys.executable, "-c", "import time; time.sleep(600)")
REPOSITORY = "europe-west1-docker.pkg.dev/demo-project/models/churn"


@dataclass
class CloudRunSubject:
    """Version 1 is served, 2 has no image, 3 ends as it starts, 4 never says that it is ready."""

    server: FakeServer
    manifest: Path
    platform: str = "0a1b2c3d"
    images: Mapping[str, str] = field(default_factory=lambda: {n: f"{REPOSITORY}:{n}" for n in "1234"})

    def workloads(self) -> Workloads:
        """A new one, as each start of a control plane makes it."""
        return self._of(self.platform)

    def elsewhere(self) -> Workloads:
        """Another platform's, in the same project."""
        return self._of("ffffffff")

    def good(self, endpoint: str = "churn", version: str = "1", count: int = 1) -> WorkloadSpec:
        key = WorkloadKey(endpoint, version, Placement("cloudrun"))
        return WorkloadSpec(key, "churn", self.manifest, count, TOKEN, routed={version: 100.0})

    def bad_image(self) -> WorkloadSpec:
        return replace(self.good(version="2"), routed={})

    def crashing(self) -> WorkloadSpec:
        return replace(self.good(version="3"), routed={})

    def never_ready(self) -> WorkloadSpec:
        return replace(self.good(version="4"), routed={})

    def away(self) -> AbstractContextManager[None]:
        return self.server.away()

    def _of(self, platform: str) -> CloudRunWorkloads:
        credentials = GoogleCredentials()
        parts = CloudRunParts(
            platform,
            lambda: place_of(Settings.from_env(dict(os.environ)), os.environ),
            lambda place: CloudRunApi(place, credentials),
            lambda spec: Delivery(self.images.get(spec.key.version, f"{REPOSITORY}:{spec.key.version}")),
            lambda name: replica_key(NODE_KEY, name),
            {"TIDEGATE_DRAIN_S": "1"},
        )
        return CloudRunWorkloads(parts)


@contextmanager
def cloudrun_subject(folder: Path) -> Iterator[CloudRunSubject]:
    """One project for a test; what ran in it is ended."""
    manifest, _ = packaged(plain_model(folder / "plain"), folder)
    with fake_cloud_run(folder / "google") as server:
        server.fake.images |= {
            f"{REPOSITORY}:1": Image(manifest),
            f"{REPOSITORY}:1b": Image(manifest),
            f"{REPOSITORY}:3": Image(command=CRASHES),
            f"{REPOSITORY}:4": Image(command=SLEEPS),
        }
        server.fake.start_timeout_s = 20.0
        yield CloudRunSubject(server, manifest)
