"""`client.endpoints`: deploys versions, shifts their traffic, looks at endpoints and waits for them."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Unpack, cast

from tidegate.client.following import NewLines, follow
from tidegate.client.registration.files import OnProgress
from tidegate.client.registration.request import RegisterOptions, follow_request, followed_uri, version_of
from tidegate.client.resources.models import ModelsClient
from tidegate.client.resources.options import ChangeOptions, DeployOptions, ScaleOptions, WaitOptions, as_read
from tidegate.client.rest.api import Api
from tidegate.client.rest.lists import ListedEndpoints, ListedHistory, ListedLogs
from tidegate.client.rest.paging import Page, every, page_of
from tidegate.client.rest.paths import API, part
from tidegate.client.waiting import poll, wait_for_endpoint
from tidegate.core.endpoints.serving import given_among
from tidegate.core.names import check_name, parse_ref
from tidegate.errors import DeadlineExceeded, NotTakenIn, TidegateError, UnknownEndpoint
from tidegate.wire.gateways.load import EndpointsLoad, LoadSeries
from tidegate.wire.monitoring.performance import Performance
from tidegate.wire.rest import (
    DeployRequest,
    Endpoint,
    HistoryEntry,
    LogLines,
    RollbackRequest,
    Scale,
    ScaleRequest,
    TrafficRequest,
)

CHANGE_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class EndpointsClient:
    """Endpoints: what clients call, and the versions behind it."""

    api: Api
    models: ModelsClient

    def deploy(
        self,
        model: str,
        *,
        endpoint: str | None = None,
        replicas: int | None = None,
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

        Where it runs, with which limits and settings (`DeployOptions`): what is not given stays.

        Raises `TidegateError` with the reason when the version does not become ready, `DeadlineExceeded` after
        `timeout_s` (300), `SignatureChanged` for one that clients of the live one cannot go on to use as they do.
        """
        ref = parse_ref(model)
        name = check_name(endpoint or ref.name, "endpoint")
        options, report = more.get("registration") or RegisterOptions(), more.get("on_progress")
        waiting = cast(WaitOptions, {key: value for key, value in more.items() if key in WaitOptions.__annotations__})
        if follow and options:  # also one that is here already, which may not have passed this gate
            self.models.register(followed_uri(ref), name=ref.name, on_progress=report, **options)
        upload = self.models.upload_payload
        following = follow_request(ref, options, lambda payload: upload(payload, report)) if follow else None
        request = DeployRequest(
            ref.name,
            version_of(ref),
            replicas,
            backend=more.get("backend"),
            cpus=more.get("cpus"),
            memory_bytes=more.get("memory_bytes"),
            cpu_request=more.get("cpu_request"),
            memory_request_bytes=more.get("memory_request_bytes"),
            follow=following,
            accept_signature_change=more.get("accept_signature_change", False),
            end_automation=more.get("end_automation", False),
            guard=more.get("guard", True),
            **given_among(more),
        )
        try:
            return self._change("PUT", name, "", request, **waiting)
        except NotTakenIn as error:
            uri = f"models:/{ref.name}/{error.details['version']}"
            self.models.register(uri, name=ref.name, on_progress=report, **options)
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

            now = client.endpoints.get("churn")
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

    def scale(self, endpoint: str, replicas: int | None = None, **how: Unpack[ScaleOptions]) -> Endpoint:
        """Run so many replicas of each version of the endpoint; or, with other options, as many as its load needs.

        client.endpoints.scale("churn", 3)
        client.endpoints.scale("churn", min=1, max=10, target="concurrency=4")

        What is not given stays as it is; where the load was not followed before, as the platform's settings say.
        """
        asked = {name: value for name, value in how.items() if name not in WaitOptions.__annotations__}
        waiting = cast(WaitOptions, {name: value for name, value in how.items() if name not in asked})
        return self._change("POST", endpoint, "/scale", ScaleRequest(replicas, **cast(Any, asked)), **waiting)

    def explain_scale(self, endpoint: str) -> Scale:
        """How many replicas of each version there shall be and are, by which rule and why."""
        return self.api.get(f"{_path(endpoint)}/scale", Scale)

    def delete(self, endpoint: str, **waiting: Unpack[WaitOptions]) -> None:
        """Remove an endpoint: its replicas finish what they have. Its model and versions stay."""
        self.api.raw("DELETE", _path(endpoint), b"", as_read(waiting))
        timeout_s = waiting.get("timeout_s", CHANGE_TIMEOUT_S)
        if waiting.get("wait", True) and not poll(lambda: self._exists(endpoint), lambda is_: not is_, timeout_s)[1]:
            raise DeadlineExceeded(f"endpoint {endpoint!r} is still being removed after {timeout_s:g} s")

    def list(self) -> builtins.list[Endpoint]:
        """Every endpoint as it is now, by name."""
        return every(self.page)

    def page(self, limit: int | None = None, cursor: str | None = None, model: str | None = None) -> Page[Endpoint]:
        """At most `limit` endpoints by name (100 when not given, up to 1000), of one model if given.

        `cursor` is `next` of the page before.
        """
        params = {"limit": limit, "cursor": cursor, "model": model}
        return page_of(self.api, f"{API}/endpoints", ListedEndpoints, "endpoints", params)

    def get(self, name: str) -> Endpoint:
        """One endpoint as it is now. Raises `UnknownEndpoint`."""
        return self.api.get(_path(name), Endpoint)

    def history(
        self, endpoint: str, limit: int = 100, before: int | None = None, *, every: bool = False
    ) -> builtins.list[HistoryEntry]:
        """Up to `limit` (at most 1000) of the endpoint's changes, newest first; it outlives the endpoint.

        `before` is the `id` of the last entry of the page before; `every`: of all endpoints that had this name.
        """
        asked = {"limit": limit, "before": before, "every": str(every).lower()}
        return self.api.get(f"{_path(endpoint)}/history", ListedHistory, asked)["history"]

    def logs(self, endpoint: str, lines: int = 100) -> builtins.list[LogLines]:
        """The last lines of each of its replicas' logs."""
        return self.api.get(f"{_path(endpoint)}/logs", ListedLogs, {"lines": lines})["logs"]

    def follow_logs(
        self,
        endpoint: str,
        lines: int = 100,
        *,
        on_silence: Callable[[TidegateError], None] = lambda _error: None,
    ) -> Iterator[builtins.list[NewLines]]:
        """Its replicas' last lines, then what they write, looked at once a second, as long as the endpoint is there.

        Of each replica a look has `lines` at most: what it wrote beyond that is missing, and said to be. `on_silence`
        is told when the control plane does not answer; it is asked again. Raises `UnknownEndpoint`, also when it goes.
        """
        return follow(lambda: self.logs(endpoint, lines), on_silence)

    def load(self, endpoint: str, step_s: float = 5.0) -> LoadSeries:
        """How busy each version was over the last five minutes, a point every `step_s` (2 to 60) seconds.

        As gateways told it, without a Prometheus; what is not known is None.
        """
        return self.api.get(f"{_path(endpoint)}/load", LoadSeries, {"step_s": step_s})

    def loads(self, first: str = "", limit: int = 100, step_s: float = 10.0) -> EndpointsLoad:
        """As `load`, of up to `limit` endpoints by name from `first` on that had requests, versions added up."""
        return self.api.get(f"{API}/load", EndpointsLoad, {"first": first, "limit": limit, "step_s": step_s})

    def performance(self, endpoint: str, since_s: float = 86_400.0) -> Performance:
        """How its versions did over the last `since_s` seconds. Raises `Conflict` where no Prometheus is set."""
        return self.api.get(f"{_path(endpoint)}/performance", Performance, {"since_s": since_s})

    def wait_for(
        self, asked: Endpoint, timeout_s: float = CHANGE_TIMEOUT_S, on_progress: OnProgress | None = None
    ) -> Endpoint:
        """Wait until what `asked` (the answer to a change) says is routed; raises as `deploy` does."""
        return wait_for_endpoint(lambda: self.get(asked.name), asked, timeout_s, on_progress)

    def _change(self, method: str, endpoint: str, verb: str, request: Any, **how: Unpack[ChangeOptions]) -> Endpoint:
        asked = self.api.send(method, f"{_path(endpoint)}{verb}", request, Endpoint, as_read(how))
        if not how.get("wait", True):
            return asked
        return self.wait_for(asked, how.get("timeout_s", CHANGE_TIMEOUT_S), how.get("on_progress"))

    def _exists(self, endpoint: str) -> bool:
        try:
            self.get(endpoint)
        except UnknownEndpoint:
            return False
        return True


def _path(endpoint: str) -> str:
    return f"{API}/endpoints/{part(endpoint)}"
