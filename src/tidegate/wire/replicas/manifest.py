"""The serving manifest: all a replica needs to know about the one version it hosts.

The control plane writes it when a version is registered (`DATA/versions/NAME/VERSION.json`); a replica, a rollback and
a scale-up need it and the artifact directory, and no database, registry or network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec

from tidegate.wire.decoding import json_decoder
from tidegate.wire.signature import Signature

Framework = Literal[
    "sklearn", "skops", "onnx", "xgboost", "lightgbm", "catboost", "torch", "tensorflow", "python", "pyfunc"
]


class Accelerated(msgspec.Struct, frozen=True):
    """The faster form that is served in the original's place. `folder` lies beside the package."""

    form: str
    folder: str


class Manifest(msgspec.Struct, frozen=True, omit_defaults=True):
    """One model version, ready to serve.

    `package_dir` is the MLflow model directory (holds `MLmodel`), absolute, or relative to the manifest's own folder.
    `example` is one request row as plain JSON takes it (a list, or a record for named columns); it warms the model up.
    `accelerated` names a form that was proven equal: a replica then loads it and nothing of the package.
    `environment` names the folder in `DATA/environments` whose interpreter hosts it; None: the server's own.
    `device` is where the original runs: `cpu` (as None is), `auto`, `cuda` or `cuda:N`.
    `batchable`: inspection showed that a batch is answered as its rows are answered one by one.
    """

    name: str
    version: str
    digest: str
    package_dir: str
    framework: Framework
    signature: Signature
    example: Any
    label: str | None = None
    batchable: bool = False
    pickle_granted: bool = False
    python: str | None = None
    library_versions: dict[str, str] = {}
    accelerated: Accelerated | None = None
    environment: str | None = None
    device: str | None = None

    def package_path(self, manifest_file: Path) -> Path:
        """The absolute package directory, given where this manifest lies."""
        return (manifest_file.parent / self.package_dir).resolve()


_manifests = json_decoder(Manifest)


def read_manifest(path: Path) -> Manifest:
    """Decode a manifest file; raises `OSError` or `msgspec.DecodeError`."""
    return _manifests.decode(path.read_bytes())


def encode_manifest(manifest: Manifest) -> bytes:
    """The manifest as indented JSON, for a person to read too."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
