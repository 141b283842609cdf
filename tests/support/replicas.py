"""Real packages with manifests, as a registration leaves them, without a registry: for tests of backends and loops."""

from __future__ import annotations

from pathlib import Path

import msgspec

from tidegate import runtimes
from tidegate.wire.replicas.manifest import Manifest, encode_manifest


def packaged(model: Path, into: Path, *, name: str = "churn", version: str = "1") -> tuple[Path, Manifest]:
    """Wrap and inspect a model file; its manifest's file and content."""
    manifest, _ = runtimes.open_model(model, name, into=into / f"package-{version}", allow_pickle=True, code_dir=None)
    manifest = msgspec.structs.replace(manifest, name=name, version=version)
    file = into / f"{name}-{version}.json"
    file.write_bytes(encode_manifest(manifest))
    return file, manifest
