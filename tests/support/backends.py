"""What the conformance suite gives each deployment backend: the same model for all, in the form that each takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from support.docker_engine import DockerEngine
from support.images import build_image, derive_image, plain_model
from support.replicas import packaged
from tidegate.core.engines.placement import PROCESSES, Placement
from tidegate.core.ports import ReplicaSpec
from tidegate.wire.replicas.manifest import encode_manifest

LIMITED = Placement("docker", cpus=1.5, memory_bytes=300 << 20)
TOKEN = 3


@dataclass(frozen=True)
class Subject:
    """A model that is served, one that cannot be loaded, and what that one says of it."""

    backend: str
    good: Path
    broken: Path
    says: str

    def spec(self, replica: str = "r-1", *, broken: bool = False) -> ReplicaSpec:
        """A replica of the one or the other; with limits where there are any."""
        placement = LIMITED if self.backend == "docker" else PROCESSES
        manifest, version = (self.broken, "2") if broken else (self.good, "1")
        return ReplicaSpec(replica, "churn", "churn", version, manifest, TOKEN, placement)


def for_processes(model: Path, folder: Path) -> Subject:
    """A real model, ready to be served, and a manifest that is not there."""
    return Subject("local", packaged(model, folder)[0], folder / "nowhere.json", "nowhere.json")


def for_containers(engine: DockerEngine, folder: Path) -> Subject:
    """Two real images: version 2's has lost its manifest."""
    good, manifest = packaged(plain_model(folder / "plain"), folder)
    image = build_image(engine, manifest, folder / "package-1", folder / "scratch")
    derive_image(engine, image, "RUN rm /model/manifest.json\nLABEL io.tidegate.version=2")
    broken = folder / "broken.json"
    broken.write_bytes(encode_manifest(msgspec.structs.replace(manifest, version="2")))
    return Subject("docker", good, broken, "/model/manifest.json")
