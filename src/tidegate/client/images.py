"""The client's verbs for container images; `Client` has them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, overload
from urllib.parse import quote

from tidegate.client.files import OnProgress
from tidegate.client.http import Http
from tidegate.core.names import parse_ref
from tidegate.wire.rest import BuildRequest, Dockerfile, Image, Job

WaitForJob = Callable[[str, OnProgress | None], Job]


@dataclass(frozen=True)
class Images:
    """`client.images`. A `model` is `churn` (its newest version), `churn:3`, `churn:v1.0.0` or `churn@champion`."""

    control: Http
    wait_for_job: WaitForJob

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
        job = self.control.send("POST", _path(model), request or BuildRequest(), Job)
        return self.built(self.wait_for_job(job.id, on_progress)) if wait else job

    def built(self, job: Job) -> Image:
        """The image that a finished build job made."""
        result = job.result or {}
        return self.get(f"{result['model']}:{result['version']}")

    def get(self, model: str) -> Image:
        """The image that was built last of a version. Raises `UnknownImage`."""
        return self.control.get(_path(model), Image)

    def dockerfile(self, model: str, base: str | None = None) -> Dockerfile:
        """What an image of a version would be built with; nothing is built."""
        return self.control.get(f"{_path(model)}/dockerfile", Dockerfile, {"base": base})


def _path(model: str) -> str:
    ref = parse_ref(model)
    version = f"@{ref.alias}" if ref.alias else ref.version or "latest"
    return f"/api/v1/models/{ref.name}/versions/{quote(version, safe='@')}/image"
