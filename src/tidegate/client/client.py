"""`Client`: every verb of the platform as a method. The CLI is written on it, so nothing is decided twice."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, Unpack, cast, overload
from urllib.parse import quote

from tidegate.client.audit import read_audit
from tidegate.client.files import OnProgress, Payload, payload_of, with_progress
from tidegate.client.http import Http
from tidegate.client.images import Images
from tidegate.client.lists import ListedEndpoints, ListedHistory, ListedJobs, ListedLogs, ListedModels
from tidegate.client.locate import Location, locate
from tidegate.client.options import ChangeOptions, DeployOptions, WaitOptions, as_read
from tidegate.client.predictions import ModelMetadata, Prediction, decode_answer, encode_request, key_header
from tidegate.client.registration import RegisterOptions, follow_request, followed_uri, register_request, version_of
from tidegate.client.waiting import poll, wait_for_endpoint, wait_for_job
from tidegate.core.names import check_name, parse_ref
from tidegate.errors import DeadlineExceeded, NotTakenIn, UnknownEndpoint
from tidegate.wire.audit import AuditEntry
from tidegate.wire.performance import Performance
from tidegate.wire.rest import (
    AliasRequest,
    DeployRequest,
    Endpoint,
    HistoryEntry,
    Job,
    LogLines,
    Model,
    RollbackRequest,
    ScaleRequest,
    Status,
    TrafficRequest,
    TrustRequest,
    Upload,
    Version,
)

API = "/api/v1"
UPLOAD_TIMEOUT_S = 600.0
"""Longest pause while the control plane stores what was uploaded."""
JOB_TIMEOUT_S, IMAGE_TIMEOUT_S, CHANGE_TIMEOUT_S = 1800.0, 7200.0, 300.0


class Client:
    """A client of one platform.

    Without arguments it talks to the platform on this machine: `TIDEGATE_URL`, else the one that runs on the data
    directory (`data_dir`, `TIDEGATE_DATA_DIR`, `~/.tidegate`), whose token it reads there; elsewhere it sends
    `TIDEGATE_TOKEN`. The gateway gets `TIDEGATE_API_KEY`. `timeout_s` bounds each call, not the waiting for a change.
    Every method raises a `TidegateError`: `NotRunning` when nothing answers, else what the platform says.

        with Client() as client:
            version = client.register(model, name="churn", validation_data=frame, target="left")
            client.deploy(f"churn:{version.version}")
            client.predict("churn", [5.1, 3.5, 1.4, 0.2]).prediction    # [0]
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        data_dir: str | Path | None = None,
        gateway_url: str | None = None,
        timeout_s: float = 30.0,
    ) -> None:
        self.location: Location = locate(url, token, data_dir)
        self.timeout_s = timeout_s
        self._gateway_url = gateway_url or self.location.gateway_url
        self._control = Http(self.location.url, self.location.token, timeout_s, "control plane")
        self._uploads = Http(self.location.url, self.location.token, UPLOAD_TIMEOUT_S, "control plane")
        self._gateway: Http | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        for http in (self._control, self._uploads, self._gateway):
            if http is not None:
                http.close()

    # -- models -------------------------------------------------------------------------------------------------------

    def upload(self, path: str | PathLike[str], on_progress: OnProgress | None = None) -> Upload:
        """Upload a file, or a directory as a tar; name the id in a later request within the hour."""
        return self._upload(payload_of(Path(path)), on_progress)

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
        request = register_request(model, name, options, lambda payload: self._upload(payload, on_progress))
        job = self._control.send("POST", f"{API}/models/{_part(name)}/versions", request, Job)
        if not wait:
            return job
        return self.registered(self.wait_for_job(job.id, on_progress=on_progress))

    def registered(self, job: Job) -> Version:
        """The version that a finished register job took in (or found to be there already)."""
        result = job.result or {}
        return self.version(str(result["model"]), str(result["version"]))

    def models(self) -> list[Model]:
        """Every model with its versions, newest first."""
        return self._control.get(f"{API}/models", ListedModels)["models"]

    def model(self, name: str) -> Model:
        """One model with its versions. Raises `UnknownModel`."""
        return self._control.get(f"{API}/models/{_part(name)}", Model)

    def version(self, name: str, version: str | int) -> Version:
        """One version by number, label (`v1.0.0`) or alias (`@champion`). Raises `UnknownVersion`."""
        return self._control.get(f"{API}/models/{_part(name)}/versions/{_part(version)}", Version)

    def delete_model(self, name: str) -> None:
        """Remove a model and all its versions. Raises `InUse` while an endpoint needs one of them."""
        self._control.raw("DELETE", f"{API}/models/{_part(name)}", b"")

    def delete_version(self, name: str, version: str | int) -> None:
        """Remove one version. Raises `InUse` while an endpoint needs it."""
        self._control.raw("DELETE", f"{API}/models/{_part(name)}/versions/{_part(version)}", b"")

    def trust(self, name: str, *, pickle: bool) -> Model:
        """Grant (or withdraw) that versions of this model may be loaded by running code from their files."""
        return self._control.send("PUT", f"{API}/models/{_part(name)}/trust", TrustRequest(pickle), Model)

    def set_alias(self, name: str, alias: str, version: str | int) -> Model:
        """Point an alias of the registry at a version: `client.set_alias("churn", "champion", 3)`."""
        path = f"{API}/models/{_part(name)}/aliases/{_part(alias)}"
        return self._control.send("PUT", path, AliasRequest(str(version)), Model)

    @property
    def images(self) -> Images:
        """Container images of versions: `client.images.build("churn:3")`."""
        return Images(self._control, lambda job_id, report: self.wait_for_job(job_id, IMAGE_TIMEOUT_S, report))

    # -- endpoints ----------------------------------------------------------------------------------------------------

    def deploy(
        self,
        model: str,
        *,
        endpoint: str | None = None,
        replicas: int | None = None,
        cache_ttl_s: float | None = None,
        rate_limit_per_s: float | None = None,
        follow: bool = False,
        **more: Unpack[DeployOptions],
    ) -> Endpoint:
        """Give a version all of an endpoint's traffic once it is ready.

        `model` is `churn` (its newest version), `churn:3`, `churn:v1.0.0` or `churn@champion`; the endpoint is named
        like the model unless told. Until the version is ready, what was routed before still is. A version that only the
        registry has yet is registered first, with the options in `registration`.

        With `follow` and an alias, the endpoint goes on to each version that the alias is moved to, through the same
        gate: data, metric and score, `accelerate` and `device` of `registration` hold for all of them.

            client.deploy("churn:2", replicas=2)
            client.deploy("churn", backend="docker", cpus=2, memory_bytes=1 << 30)
            client.deploy("churn@champion", follow=True)

        With `cache_ttl_s` gateways keep answers in Redis for so many seconds (0: they do not); `rate_limit_per_s` is
        how many requests each client may send a second (0: as the gateways' setting says). What is not given stays.

        Raises `TidegateError` with the reason when the version does not become ready, `DeadlineExceeded` after
        `timeout_s` (300), `SignatureChanged` for one that clients of the live one cannot go on to use as they do.
        """
        ref = parse_ref(model)
        name = check_name(endpoint or ref.name, "endpoint")
        options, report = more.get("registration") or RegisterOptions(), more.get("on_progress")
        waiting = cast(WaitOptions, {key: value for key, value in more.items() if key in WaitOptions.__annotations__})
        if follow and options:  # also one that is here already, which may not have passed this gate
            self.register(followed_uri(ref), name=ref.name, on_progress=report, **options)
        following = follow_request(ref, options, lambda payload: self._upload(payload, report)) if follow else None
        where = more.get("backend"), more.get("cpus"), more.get("memory_bytes")
        last = following, more.get("accept_signature_change", False), more.get("end_automation", False)
        request = DeployRequest(ref.name, version_of(ref), replicas, cache_ttl_s, rate_limit_per_s, *where, *last)
        try:
            return self._change("PUT", name, "", request, **waiting)
        except NotTakenIn as error:
            uri = f"models:/{ref.name}/{error.details['version']}"
            self.register(uri, name=ref.name, on_progress=report, **options)
        return self._change("PUT", name, "", request, **waiting)

    def traffic(
        self,
        endpoint: str,
        weights: Mapping[str, float],
        *,
        action: str = "traffic",
        **options: Unpack[ChangeOptions],
    ) -> Endpoint:
        """Split traffic over versions, in percent that adds up to 100; starts any version that is not running.

        client.traffic("churn", {"1": 90, "2": 10})

        Weights worked out from what was read name it, so that nobody else's change is undone:

            now = client.endpoint("churn")
            client.traffic("churn", shifted(now.target), only_if=now)
        """
        by_version = {str(version): float(weight) for version, weight in weights.items()}
        accepts, ends = options.get("accept_signature_change", False), options.get("end_automation", False)
        request = TrafficRequest(by_version, action, accepts, ends)
        return self._change("PUT", endpoint, "/traffic", request, **options)

    def promote(self, endpoint: str, version: str | int, **options: Unpack[ChangeOptions]) -> Endpoint:
        """Give a version all of the traffic once it is ready."""
        return self.traffic(endpoint, {str(version): 100.0}, action="promote", **options)

    def rollback(self, endpoint: str, to: int | None = None, **waiting: Unpack[WaitOptions]) -> Endpoint:
        """Re-apply people's newest earlier traffic that differs, or revision `to`'s; no settings. Raises `Conflict`.

        An experiment, canary or bandit that runs ends, and what was stable is restored.
        """
        return self._change("POST", endpoint, "/rollback", RollbackRequest(to), **waiting)

    def scale(self, endpoint: str, replicas: int, **waiting: Unpack[WaitOptions]) -> Endpoint:
        """Run so many replicas of each version of the endpoint, whatever an autoscaler had decided."""
        return self._change("POST", endpoint, "/scale", ScaleRequest(replicas), **waiting)

    def delete(self, endpoint: str, **waiting: Unpack[WaitOptions]) -> None:
        """Remove an endpoint: its replicas finish what they have. Its model and versions stay."""
        self._control.raw("DELETE", f"{API}/endpoints/{_part(endpoint)}", b"", as_read(waiting))
        timeout_s = waiting.get("timeout_s", CHANGE_TIMEOUT_S)
        if waiting.get("wait", True) and not poll(lambda: self._exists(endpoint), lambda is_: not is_, timeout_s)[1]:
            raise DeadlineExceeded(f"endpoint {endpoint!r} is still being removed after {timeout_s:g} s")

    def endpoints(self) -> list[Endpoint]:
        """Every endpoint as it is now."""
        return self._control.get(f"{API}/endpoints", ListedEndpoints)["endpoints"]

    def endpoint(self, name: str) -> Endpoint:
        """One endpoint as it is now. Raises `UnknownEndpoint`."""
        return self._control.get(f"{API}/endpoints/{_part(name)}", Endpoint)

    def history(
        self, endpoint: str, limit: int = 100, before: int | None = None, *, every: bool = False
    ) -> list[HistoryEntry]:
        """Up to `limit` (at most 1000) of the endpoint's changes, newest first; it outlives the endpoint.

        `before` is the `id` of the last entry of the page before; `every`: of all endpoints that had this name.
        """
        asked = {"limit": limit, "before": before, "every": str(every).lower()}
        return self._control.get(f"{API}/endpoints/{_part(endpoint)}/history", ListedHistory, asked)["history"]

    def logs(self, endpoint: str, lines: int = 100) -> list[LogLines]:
        """The last lines of each of its replicas' logs."""
        return self._control.get(f"{API}/endpoints/{_part(endpoint)}/logs", ListedLogs, {"lines": lines})["logs"]

    def performance(self, endpoint: str, since_s: float = 86_400.0) -> Performance:
        """How its versions did over the last `since_s` seconds. Raises `Conflict` where no Prometheus is set."""
        return self._control.get(f"{API}/endpoints/{_part(endpoint)}/performance", Performance, {"since_s": since_s})

    def wait_for_endpoint(
        self, asked: Endpoint, timeout_s: float = CHANGE_TIMEOUT_S, on_progress: OnProgress | None = None
    ) -> Endpoint:
        """Wait until what `asked` (the answer to a change) says is routed; raises as `deploy` does."""
        return wait_for_endpoint(lambda: self.endpoint(asked.name), asked, timeout_s, on_progress)

    # -- predictions, from the gateway --------------------------------------------------------------------------------

    def predict(
        self, endpoint: str, features: Any, version: str | int | None = None, key: str | None = None
    ) -> Prediction:
        """Predict one row or several through the gateway.

        `features` is a row (list, or dict by column), a list of rows, an array of shape (rows, n) or a data frame.
        `version` (number or label) pins; else the endpoint chooses by its traffic, the same for the same `key`.

            client.predict("churn", frame).prediction               # one item a row
            client.predict("churn", {"age": 41, "plan": "gold"}, key="user-7").confidence

        Raises `UnfitInput` when the rows do not fit the signature, `NoReadyReplica` while nothing is ready.
        """
        headers = key_header(key)
        body = encode_request(features, None if version is None else str(version))
        return decode_answer(self.gateway.raw("POST", f"/predict/{_part(endpoint)}", body, headers))

    def metadata(self, endpoint: str) -> ModelMetadata:
        """The endpoint's inputs and outputs, as the gateway's V2 metadata names them."""
        return self.gateway.get(f"/v2/models/{_part(endpoint)}", ModelMetadata)

    @property
    def gateway_url(self) -> str:
        """Where predictions go: as given, as the running platform noted, or as the control plane says."""
        if self._gateway_url is None:
            self._gateway_url = self.status().gateway_url
        return self._gateway_url

    @property
    def gateway(self) -> Http:
        """The connection to the gateway; opened when it is first needed."""
        if self._gateway is None:
            self._gateway = Http(self.gateway_url, self.location.api_key, self.timeout_s, "gateway")
        return self._gateway

    # -- the platform -------------------------------------------------------------------------------------------------

    def status(self) -> Status:
        """The platform at a glance."""
        return self._control.get(f"{API}/status", Status)

    def jobs(self, state: str | None = None, subject: str | None = None, limit: int | None = None) -> list[Job]:
        """Jobs, newest first; `state` is queued, running, succeeded or failed."""
        params = {"state": state, "subject": subject, "limit": limit}
        return self._control.get(f"{API}/jobs", ListedJobs, params)["jobs"]

    def job(self, job_id: str) -> Job:
        """One job. Raises `UnknownJob`."""
        return self._control.get(f"{API}/jobs/{_part(job_id)}", Job)

    def audit(self, since_s: float | None = None, endpoint: str | None = None, limit: int = 1000) -> list[AuditEntry]:
        """Who changed what, newest first: of the last `since_s` seconds, and of one endpoint, where given."""
        return read_audit(self._control, since_s, endpoint, limit)

    def wait_for_job(self, job_id: str, timeout_s: float = JOB_TIMEOUT_S, on_progress: OnProgress | None = None) -> Job:
        """Wait for a job to end and return it; raises the error it ended with, `DeadlineExceeded` after `timeout_s`."""
        return wait_for_job(lambda: self.job(job_id), timeout_s, on_progress)

    # -- helpers ------------------------------------------------------------------------------------------------------

    def _upload(self, payload: Payload, on_progress: OnProgress | None) -> Upload:
        chunks = with_progress(payload, on_progress)
        return self._uploads.stream(f"{API}/uploads", chunks, payload.size_bytes, Upload)

    def _change(self, method: str, endpoint: str, verb: str, request: Any, **how: Unpack[ChangeOptions]) -> Endpoint:
        path = f"{API}/endpoints/{_part(endpoint)}{verb}"
        asked = self._control.send(method, path, request, Endpoint, as_read(how))
        if not how.get("wait", True):
            return asked
        return self.wait_for_endpoint(asked, how.get("timeout_s", CHANGE_TIMEOUT_S), how.get("on_progress"))

    def _exists(self, endpoint: str) -> bool:
        try:
            self.endpoint(endpoint)
        except UnknownEndpoint:
            return False
        return True


def _part(value: str | int) -> str:
    return quote(str(value), safe="@")
