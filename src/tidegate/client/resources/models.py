"""`client.models`: registers models, and looks at, trusts, aliases and deletes them and their versions."""

from __future__ import annotations

import builtins
from collections.abc import Iterable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal, Unpack, overload

from tidegate.client.registration.files import OnProgress, Payload, payload_of, with_progress
from tidegate.client.registration.request import RegisterOptions, register_request
from tidegate.client.resources.jobs import JobsClient
from tidegate.client.rest.api import Api
from tidegate.client.rest.lists import ListedModels
from tidegate.client.rest.paging import Page, every, page_of
from tidegate.client.rest.paths import API, part
from tidegate.wire.rest import AliasRequest, Job, Model, RegisterRequest, TrustRequest, Upload, Version

UPLOAD_TIMEOUT_S = 600.0
"""Longest pause while the control plane stores what was uploaded."""


@dataclass(frozen=True)
class ModelsClient:
    """Models and their versions."""

    api: Api
    jobs: JobsClient

    def upload(self, path: str | PathLike[str], on_progress: OnProgress | None = None) -> Upload:
        """Upload a file, or a directory as a tar; name the id in a later request within the hour."""
        return self.upload_payload(payload_of(Path(path)), on_progress)

    def upload_payload(self, payload: Payload, on_progress: OnProgress | None = None) -> Upload:
        """Upload what `files` made of a file or a directory."""
        chunks = with_progress(payload, on_progress)
        return self.api.stream(f"{API}/uploads", chunks, payload.size_bytes, Upload, UPLOAD_TIMEOUT_S)

    def upload_chunks(self, chunks: Iterable[bytes]) -> Upload:
        """Upload bytes as they come, of which nobody knows yet how many there will be."""
        return self.api.stream(f"{API}/uploads", chunks, None, Upload, UPLOAD_TIMEOUT_S)

    @overload
    def register(
        self,
        model: Any,
        *,
        name: str,
        wait: Literal[True] = True,
        on_progress: OnProgress | None = None,
        **options: Unpack[RegisterOptions],
    ) -> Version: ...

    @overload
    def register(
        self,
        model: Any,
        *,
        name: str,
        wait: Literal[False],
        on_progress: OnProgress | None = None,
        **options: Unpack[RegisterOptions],
    ) -> Job: ...

    def register(
        self,
        model: Any,
        *,
        name: str,
        wait: bool = True,
        on_progress: OnProgress | None = None,
        **options: Unpack[RegisterOptions],
    ) -> Version | Job:
        """Take a model in as a version of `name`, once it has passed the validation gate.

        `model` is the path of a model file or of an MLflow model directory, an MLflow URI (`models:/churn/3`,
        `runs:/ID/model`), or a fitted model object. Returns the version, or with `wait=False` the job. The same bytes
        under the same name are the same version. `options` are those of `RegisterOptions`.

            client.register("churn.onnx", name="churn", label="v1.0.0", tags={"team": "retention"})
            client.register(pipeline, name="churn", validation_data=frame, target="left", min_score=0.9)

        Raises `ModelRefused` (or a finer error: `ScoreBelowGate`, `PickleNotGranted`, `MissingLibrary`, …) when the
        version is not taken in, `InvalidArgument` when an argument is wrong.
        """
        request = register_request(model, name, options, lambda payload: self.upload_payload(payload, on_progress))
        job = self.queue(name, request)
        if not wait:
            return job
        return self.registered(self.jobs.wait(job.id, on_progress=on_progress))

    def queue(self, name: str, request: RegisterRequest) -> Job:
        """Register what was uploaded before, or what a URI names, as a version of `name`; the job that does it."""
        return self.api.send("POST", f"{_path(name)}/versions", request, Job)

    def registered(self, job: Job) -> Version:
        """The version that a finished register job took in (or found to be there already)."""
        result = job.result or {}
        return self.version(str(result["model"]), str(result["version"]))

    def list(self) -> builtins.list[Model]:
        """Every model by name, with its newest 20 versions; `version_count` is how many it has."""
        return every(self.page)

    def page(
        self,
        limit: int | None = None,
        cursor: str | None = None,
        *,
        versions: int | None = None,
        in_short: bool = False,
    ) -> Page[Model]:
        """At most `limit` models by name (100 when not given, up to 1000); `cursor` is `next` of the page before.

        With the newest `versions` (20) of each; `in_short` without their signatures, examples, and how validation and
        acceleration went.
        """
        params = {"limit": limit, "cursor": cursor, "versions": versions, "in_short": _flag(in_short)}
        return page_of(self.api, f"{API}/models", ListedModels, "models", params)

    def get(self, name: str, *, in_short: bool = False) -> Model:
        """One model with all of its versions, `in_short` as in `page`. Raises `UnknownModel`."""
        return self.api.get(_path(name), Model, {"in_short": _flag(in_short)})

    def version(self, name: str, version: str | int) -> Version:
        """One version by number, label (`v1.0.0`) or alias (`@champion`). Raises `UnknownVersion`."""
        return self.api.get(f"{_path(name)}/versions/{part(version)}", Version)

    def delete(self, name: str) -> None:
        """Remove a model and all its versions. Raises `InUse` while an endpoint needs one of them."""
        self.api.raw("DELETE", _path(name), b"")

    def delete_version(self, name: str, version: str | int) -> None:
        """Remove one version. Raises `InUse` while an endpoint needs it."""
        self.api.raw("DELETE", f"{_path(name)}/versions/{part(version)}", b"")

    def trust(self, name: str, *, pickle: bool) -> Model:
        """Grant (or withdraw) that versions of this model may be loaded by running code from their files."""
        return self.api.send("PUT", f"{_path(name)}/trust", TrustRequest(pickle), Model)

    def set_alias(self, name: str, alias: str, version: str | int) -> Model:
        """Point an alias of the registry at a version: `client.models.set_alias("churn", "champion", 3)`."""
        return self.api.send("PUT", f"{_path(name)}/aliases/{part(alias)}", AliasRequest(str(version)), Model)


def _path(name: str) -> str:
    return f"{API}/models/{part(name)}"


def _flag(asked: bool) -> str | None:
    """Servers of earlier releases are asked what they know."""
    return "true" if asked else None
