"""How a version reaches an engine elsewhere: in its image, or fetched before its replica starts. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from tidegate.version import __version__

MODEL_DIR = "/model"
MOST = "linux/amd64"
RUNTIME_REPOSITORY = "tidegate/tidegate"
RUNTIME_FRAMEWORKS = ("sklearn", "skops", "onnx", "xgboost", "python", "pyfunc")
"""What `deploy/Dockerfile` installs beside Tidegate, by what a version's manifest calls it."""
PACKAGES_PATH = "/internal/v1/packages"


def version_path(model: str, version: str, form: str) -> str:
    """What is asked of the control plane for a version; `form` is "" for the original model.

    >>> version_path("churn", "3", "")
    '/internal/v1/packages/churn/3?form='
    """
    return f"{PACKAGES_PATH}/{quote(model)}/{quote(version)}?{urlencode({'form': form})}"


@dataclass(frozen=True)
class Fetch:
    """What `python -m tidegate.fetch` is told, before the replica starts: it fills the folder that is its `/model`.

    `url` is the control plane's, as replicas reach it; `version_path` what is asked of it, with the form; `digest` that
    of the version, and `disk_bytes` what its files take there at most. It holds no key: the init container has its own
    workload's (`wire.replicas.replica_key`).
    """

    url: str
    version_path: str
    digest: str
    disk_bytes: int

    def arguments(self, credential: str, into: str = MODEL_DIR) -> list[str]:
        """What follows `python -m tidegate.fetch`, which finds the key of this name in TIDEGATE_API_KEY."""
        what = ["--url", self.url, "--version-path", self.version_path, "--digest", self.digest]
        return [*what, "--credential", credential, "--into", into]


@dataclass(frozen=True)
class Delivery:
    """The image of a workload's containers, by digest where that is known.

    `fetch` is None where the image has the model in it. `pull_secret` names the Secret that it is pulled with.
    `platform` is what the image runs on (`linux/amd64`), where that is known.
    """

    image: str
    fetch: Fetch | None = None
    pull_secret: str | None = None
    platform: str = ""


@dataclass(frozen=True)
class Pushed:
    """An image that a registry has, by its digest there, and what it runs on."""

    reference: str
    platform: str


def runtime_image() -> str:
    """The image of Tidegate itself, of this release."""
    return f"{RUNTIME_REPOSITORY}:{__version__}"


def choose(pushed: Sequence[Pushed], registry: str | None, platform: str | None) -> Pushed | None:
    """The image to start from, of those that were pushed of the same version, the newest first; None for none.

    Those of the platform's registry alone, where it has one: engines are given the secret of that. Without a `platform`
    that is asked for one for x86-64 comes first, which most nodes are.
    """
    fitting = [
        one
        for one in pushed
        if (registry is None or one.reference.startswith(f"{registry}/")) and platform in (None, one.platform)
    ]
    return min(fitting, key=lambda one: one.platform != MOST, default=None)


_WORKLOAD = re.compile(r"tidegate-(?P<endpoint>[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)-v(?P<version>\d+)-[0-9a-f]{8}")


def workload_of(credential: str) -> tuple[str, str] | None:
    """Endpoint and version of the workload that a replica's credential is named after; None for any other name.

    >>> workload_of("tidegate-churn-v3-0a1b2c3d")
    ('churn', '3')
    """
    found = _WORKLOAD.fullmatch(credential)
    return None if found is None else (found["endpoint"], found["version"])
