"""AWS ECS as `tests/conformance/workloads` takes it: the fake of its API, whose tasks are real replicas."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest

from support.ecs.replicas import Image
from support.ecs.server import FakeAws
from support.images import plain_model
from support.replicas import packaged
from tidegate.adapters.ecs.client import AwsClient
from tidegate.adapters.ecs.workloads import EcsWorkloads
from tidegate.core.engines.placement import Placement
from tidegate.core.images.delivery import Delivery
from tidegate.core.routing.targets import address_of
from tidegate.core.workloads import Instance, WorkloadKey, WorkloadSpec
from tidegate.settings import Settings
from tidegate.wire.replicas.manifest import Manifest, encode_manifest
from tidegate.wire.replicas.replica_key import replica_key

NODE_KEY = "the-node-key-of-the-tests"
PLATFORM, ANOTHER = "0a1b2c3d", "f0e1d2c3"
ASK_TIMEOUT_S = 20.0


class EcsSubject:
    """One fake region of AWS with the images of a few versions."""

    name, pooled = "ecs", False

    def __init__(self, aws: FakeAws, folder: Path) -> None:
        self.aws = aws
        model = plain_model(folder / "plain")
        self._manifests: dict[str, Path] = {}
        manifest: Manifest | None = None
        for version in ("1", "2"):
            self._manifests[version], manifest = packaged(model, folder, version=version)
        assert manifest is not None
        self._example = manifest.example
        broken = msgspec.structs.replace(manifest, version="3", package_dir="nowhere")
        self._manifests["3"] = folder / "broken.json"
        self._manifests["3"].write_bytes(encode_manifest(broken))
        images = {_image(version): Image(file) for version, file in self._manifests.items()}
        images[_image("4")] = Image(program=(sys.executable, "-S", "-c", "import time; time.sleep(3600)"))
        aws.cluster.images |= images

    def workloads(self) -> EcsWorkloads:
        return self._made(PLATFORM)

    def elsewhere(self) -> EcsWorkloads:
        return self._made(ANOTHER)

    def good(self, version: str = "1", *, endpoint: str = "churn", count: int = 1, token: int = 1) -> WorkloadSpec:
        key = WorkloadKey(endpoint, version, Placement(self.name, 0.5, 1 << 30))
        return WorkloadSpec(key, "churn", self._manifests.get(version, self._manifests["1"]), count, token)

    def bad_image(self) -> WorkloadSpec:
        return self.good("5")

    def failing(self) -> WorkloadSpec:
        return self.good("3")

    def never_ready(self) -> WorkloadSpec:
        return self.good("4")

    def ask(self, instance: Instance) -> int:
        credential = address_of(str(instance.seen.address)).credential
        return self._ask(instance, {"authorization": f"Bearer {replica_key(NODE_KEY, credential)}"})

    def ask_without_key(self, instance: Instance) -> int:
        return self._ask(instance, {})

    def crash(self, instance: Instance) -> None:
        task = next(one for one in self.aws.cluster.tasks if one.id == instance.id)
        assert task.process is not None
        task.process.signal(signal.SIGSEGV)

    def away(self) -> AbstractContextManager[None]:
        return self.aws.away()

    def left(self) -> list[str]:
        cluster = self.aws.cluster
        with cluster.lock:
            services = [one.name for one in cluster.services.values() if one.status != "INACTIVE"]
            tasks = [one.arn for one in cluster.tasks if not one.is_over]
            revisions = [one for all_of in cluster.definitions.values() for one in all_of]
        kept = [one.arn for one in revisions if one.status != "DELETE_IN_PROGRESS"]
        return [*services, *tasks, *kept, *cluster.parameters]

    def _made(self, platform: str) -> EcsWorkloads:
        settings = Settings.from_env()
        return EcsWorkloads(
            settings,
            platform,
            lambda spec: Delivery(_image(spec.key.version)),
            lambda credential: replica_key(NODE_KEY, credential),
            env={},
            client=AwsClient(settings.aws_region, attempts_max=1),
        )

    def _ask(self, instance: Instance, headers: dict[str, str]) -> int:
        at = urlsplit(address_of(str(instance.seen.address)).at.replace("tcp:", "http://"))
        connection = HTTPConnection(str(at.hostname), at.port, timeout=ASK_TIMEOUT_S)
        try:
            body = json.dumps({"features": self._example})
            connection.request("POST", "/predict", body, {"content-type": "application/json", **headers})
            return connection.getresponse().status
        finally:
            connection.close()


@contextmanager
def ecs_subject(folder: Path) -> Iterator[EcsSubject]:
    """With this process's environment as that of somebody whose AWS it is."""
    aws = FakeAws(folder / "aws")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in aws.env.items():
            patch.setenv(name, value)
        try:
            yield EcsSubject(aws, folder)
        finally:
            aws.close()


def _image(version: str) -> str:
    return f"registry.example.com/team/churn@sha256:{int(version):064x}"
