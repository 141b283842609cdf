"""`Client`: the platform's verbs, by subject. The CLI is written on it, so nothing is decided twice."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from tidegate.client.locate import PlatformLocation, locate
from tidegate.client.resources.alerts import AlertsClient
from tidegate.client.resources.canary import CanaryClient
from tidegate.client.resources.capture import CaptureClient
from tidegate.client.resources.documents import DocumentsClient
from tidegate.client.resources.endpoints import EndpointsClient
from tidegate.client.resources.experiments import ExperimentsClient
from tidegate.client.resources.gateway import GatewayClient
from tidegate.client.resources.images import ImagesClient
from tidegate.client.resources.imports import ImportsClient
from tidegate.client.resources.jobs import JobsClient
from tidegate.client.resources.models import ModelsClient
from tidegate.client.resources.monitoring import MonitoringClient
from tidegate.client.resources.platform import PlatformClient
from tidegate.client.resources.shadows import ShadowsClient
from tidegate.client.rest.api import Api
from tidegate.client.transport.base import Transport
from tidegate.client.transport.http import Http

if TYPE_CHECKING:
    from tidegate.client.transport.in_process import Caller, InProcess

TIMEOUT_S = 30.0


class Client:
    """A client of one platform, by subject: `models`, `endpoints`, `experiments`, `monitoring`, `alerts`, `jobs`,
    `images`, `platform` and `gateway`.

    Without arguments it talks to the platform on this machine: `TIDEGATE_URL`, else the one that runs on the data
    directory (`data_dir`, `TIDEGATE_DATA_DIR`, `~/.tidegate`), whose token it reads there; elsewhere it sends
    `TIDEGATE_TOKEN`. The gateway gets `TIDEGATE_API_KEY`. `timeout_s` bounds each call, not the waiting for a change.
    Every method raises a `TidegateError`: `NotRunning` when nothing answers, else what the platform says.

        with Client() as client:
            version = client.register(model, name="churn", validation_data=frame, target="left")
            client.deploy(f"churn:{version.version}")
            client.predict("churn", [5.1, 3.5, 1.4, 0.2]).prediction    # [0]
            client.models.get("churn").versions

    `register` is that of `client.models`; `deploy`, `traffic` and `rollback` are those of `client.endpoints`; `predict`
    and `feedback` are those of `client.gateway`; `apply` is that of `client.documents`.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        data_dir: str | Path | None = None,
        gateway_url: str | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        location = locate(url, token, data_dir)
        self.timeout_s = timeout_s
        self._over(Http(location.url, location.token, timeout_s, "control plane"), location, gateway_url)

    @classmethod
    def in_process(
        cls,
        api: InProcess,
        caller: Caller,
        *,
        gateway_url: str | None = None,
        api_key: str | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> Self:
        """A client of the API in this process, on behalf of `caller`: it may do what that caller may, and no more.

        Nothing is looked up: no file, no environment, no token of the platform's. Predictions go to the gateway over
        HTTP, with `api_key` if one is given.
        """
        from tidegate.client.transport.in_process import CallerTransport  # asyncio, which the command line never needs

        client = cls.__new__(cls)
        client.timeout_s = timeout_s
        transport = CallerTransport(api, caller, timeout_s)
        client._over(
            transport, PlatformLocation(transport.where, None, gateway_url, api_key, None), None, caller.trace()
        )
        return client

    def _over(
        self,
        transport: Transport,
        location: PlatformLocation,
        gateway_url: str | None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        def connect(url: str) -> Transport:
            return Http(url, location.api_key, self.timeout_s, "gateway", headers)

        self.location, self._api = location, Api(transport)
        self.platform, self.jobs = PlatformClient(self._api), JobsClient(self._api)
        self.models, self.images = ModelsClient(self._api, self.jobs), ImagesClient(self._api, self.jobs)
        self.endpoints = EndpointsClient(self._api, self.models)
        self.shadows = ShadowsClient(self._api)
        self.canary, self.capture = CanaryClient(self._api), CaptureClient(self._api)
        self.imports = ImportsClient(self._api, self.models)
        self.alerts = AlertsClient(self._api)
        self.monitoring = MonitoringClient(self._api, self.models, self.jobs)
        self.gateway = GatewayClient(
            gateway_url or location.gateway_url, lambda: self.platform.status().gateway_url, connect
        )
        self.experiments = ExperimentsClient(self._api, self.endpoints, self.gateway)
        self.register, self.predict = self.models.register, self.gateway.predict
        self.feedback = self.gateway.feedback
        self.deploy, self.traffic = self.endpoints.deploy, self.endpoints.traffic
        self.rollback = self.endpoints.rollback
        self.documents = DocumentsClient(self._api, self.endpoints)
        self.apply = self.documents.apply

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._api.close()
        self.gateway.close()
