"""How a version reaches an engine elsewhere: in its image, or fetched before its replica starts. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fetch:
    """What `python -m tidegate.fetch` is told, before the replica starts: it fills the folder that is its `/model`.

    `url` is the control plane's, as replicas reach it; `version_path` what is asked of it, with the form; `digest` that
    of the version. It holds no key: the init container has its own workload's (`wire.replica_key`).
    """

    url: str
    version_path: str
    digest: str


@dataclass(frozen=True)
class Delivery:
    """The image of a workload's containers, by digest where that is known.

    `fetch` is None where the image has the model in it. `pull_secret` names the Secret that it is pulled with.
    """

    image: str
    fetch: Fetch | None = None
    pull_secret: str | None = None
