"""`client.gateway`: predictions, and what an endpoint takes and gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tidegate.client.resources.predictions import ModelMetadata, Prediction, decode_answer, encode_request, key_header
from tidegate.client.rest.api import Api
from tidegate.client.rest.paths import part
from tidegate.client.transport.base import Transport


class Gateway:
    """The one address that predictions go to. Found, and connected to, when it is first needed."""

    def __init__(self, url: str | None, find: Callable[[], str], connect: Callable[[str], Transport]) -> None:
        self._url, self._find, self._connect = url, find, connect
        self._api: Api | None = None

    @property
    def url(self) -> str:
        """As given, as the running platform noted, or as the control plane says."""
        if self._url is None:
            self._url = self._find()
        return self._url

    def predict(
        self, endpoint: str, features: Any, version: str | int | None = None, key: str | None = None
    ) -> Prediction:
        """Predict one row or several.

        `features` is a row (list, or dict by column), a list of rows, an array of shape (rows, n) or a data frame.
        `version` (number or label) pins; else the endpoint chooses by its traffic, the same for the same `key`.

            client.predict("churn", frame).prediction               # one item a row
            client.predict("churn", {"age": 41, "plan": "gold"}, key="user-7").confidence

        Raises `UnfitInput` when the rows do not fit the signature, `NoReadyReplica` while nothing is ready.
        """
        headers = key_header(key)
        body = encode_request(features, None if version is None else str(version))
        return decode_answer(self._connected().raw("POST", f"/predict/{part(endpoint)}", body, headers))

    def metadata(self, endpoint: str) -> ModelMetadata:
        """The endpoint's inputs and outputs, as the gateway's V2 metadata names them."""
        return self._connected().get(f"/v2/models/{part(endpoint)}", ModelMetadata)

    def close(self) -> None:
        """Close its connections."""
        if self._api is not None:
            self._api.close()

    def _connected(self) -> Api:
        if self._api is None:
            self._api = Api(self._connect(self.url))
        return self._api
