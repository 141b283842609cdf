"""`client.gateway`: predictions, and what an endpoint takes and gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tidegate.client.resources.feedback import FeedbackAnswer, events_of, requests_of
from tidegate.client.resources.predictions import ModelMetadata, Prediction, decode_answer, encode_request, key_header
from tidegate.client.rest.api import Api, decode
from tidegate.client.rest.paths import part
from tidegate.client.transport.base import Transport
from tidegate.errors import InvalidArgument, TidegateError


@dataclass(frozen=True)
class Assignment:
    """What a unit gets at this moment; `experiment` is None where it takes part in none."""

    variant: str
    version: str
    experiment: str | None = None


class GatewayClient:
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

    def feedback(self, endpoint: str | None = None, events: Any = None, **event: Any) -> FeedbackAnswer:
        """Say what came true of predictions: labels, values of metrics, or both.

        One event by its fields, or `events`: a dict, a list of them, or a data frame with a column for each field. An
        event has `id` (that of the prediction) or `key` (the unit's), and `label`, `metrics` or both; besides, `row` of
        a request of many, `at` (a datetime with a zone, or RFC 3339; now, if left out), `event` (makes a repetition
        the same event) and `experiment`. A list as the label of a request of many rows has an item for each.

            client.feedback("churn", id=answer.id, label=1)
            client.feedback("churn", [{"key": "user-7", "label": 0, "metrics": {"paid": 12.5}}])

        Many are sent in several requests, one after the other. Raises `InvalidArgument` for what is no event, and
        `FeedbackNotKept` while the gateway cannot keep it: nothing of that request was taken then, and
        `details["accepted"]` says how many of those before were.
        """
        if (events is None) == (not event):
            raise InvalidArgument("give one event by its fields, or several as events", field="events")
        accepted = 0
        for body, _ in requests_of(events_of(event if events is None else events), endpoint):
            try:
                accepted += self.send_feedback(body).accepted
            except TidegateError as error:
                error.details["accepted"] = accepted
                raise
        return FeedbackAnswer(accepted)

    def send_feedback(self, body: bytes) -> FeedbackAnswer:
        """Send one request of events that are JSON already."""
        answer = self._connected().raw("POST", "/feedback", body)
        return decode(answer.data, FeedbackAnswer, "gateway")

    def assignment(self, endpoint: str, key: str | int) -> Assignment:
        """Which variant and version a unit gets now, and the experiment it takes part in by that, if any.

        Raises `UnknownEndpoint`, `NoReadyReplica`.
        """
        return self._connected().get(f"/assign/{part(endpoint)}", Assignment, {"key": str(key)})

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
