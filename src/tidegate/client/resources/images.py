"""`client.images`: builds container images of versions, and looks at them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, overload

from tidegate.client.registration.files import OnProgress
from tidegate.client.resources.jobs import JobsClient
from tidegate.client.rest.api import Api
from tidegate.client.rest.paths import API, part
from tidegate.core.names import parse_ref
from tidegate.wire.rest import BuildRequest, Dockerfile, Image, Job

TIMEOUT_S = 7200.0


@dataclass(frozen=True)
class ImagesClient:
    """`client.images`. A `model` is `churn` (its newest version), `churn:3`, `churn:v1.0.0` or `churn@champion`."""

    api: Api
    jobs: JobsClient

    @overload
    def build(
        self,
        model: str,
        request: BuildRequest | None = None,
        *,
        wait: Literal[True] = True,
        on_progress: OnProgress | None = None,
    ) -> Image: ...

    @overload
    def build(
        self,
        model: str,
        request: BuildRequest | None = None,
        *,
        wait: Literal[False],
        on_progress: OnProgress | None = None,
    ) -> Job: ...

    def build(
        self,
        model: str,
        request: BuildRequest | None = None,
        *,
        wait: bool = True,
        on_progress: OnProgress | None = None,
    ) -> Image | Job:
        """Make a container image of a version; returns it, or with `wait=False` the job.

            client.images.build("churn:3", BuildRequest(tag="registry.example.com/churn:3", push=True)).size_bytes

        Raises `EngineUnavailable`, `WheelMissing`, `ImageBuildFailed`, `ImagePushFailed`.
        """
        job = self.api.send("POST", _path(model), request or BuildRequest(), Job)
        return self.built(self.jobs.wait(job.id, TIMEOUT_S, on_progress)) if wait else job

    def built(self, job: Job) -> Image:
        """The image that a finished build job made."""
        result = job.result or {}
        return self.get(f"{result['model']}:{result['version']}")

    def get(self, model: str) -> Image:
        """The image that was built last of a version. Raises `UnknownImage`."""
        return self.api.get(_path(model), Image)

    def dockerfile(self, model: str, base: str | None = None) -> Dockerfile:
        """What an image of a version would be built with; nothing is built."""
        return self.api.get(f"{_path(model)}/dockerfile", Dockerfile, {"base": base})


def _path(model: str) -> str:
    ref = parse_ref(model)
    version = f"@{ref.alias}" if ref.alias else ref.version or "latest"
    return f"{API}/models/{ref.name}/versions/{part(version)}/image"
