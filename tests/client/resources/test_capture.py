"""Captured rows of the SDK."""

from __future__ import annotations

import orjson

from tidegate.adapters.capture import queries
from tidegate.client.resources.capture import CaptureClient
from tidegate.client.rest.api import Api
from tidegate.client.transport.base import ApiAnswer, ApiCall
from tidegate.wire.capture.capture import CaptureQueryRequest


class Noting:
    """A transport that keeps what it was to send."""

    who, where = "control plane", "nowhere"

    def __init__(self) -> None:
        self.calls: list[ApiCall] = []

    def send(self, call: ApiCall) -> ApiAnswer:
        self.calls.append(call)
        return ApiAnswer(200, {}, orjson.dumps({"columns": [], "rows": [], "truncated": False}))

    def close(self) -> None:
        pass


def test_a_query_is_waited_for_until_the_platform_says_that_it_took_too_long() -> None:
    transport = Noting()
    CaptureClient(Api(transport)).rows("churn", CaptureQueryRequest("SELECT 1"))
    (call,) = transport.calls
    assert call.timeout_s is not None
    assert call.timeout_s >= queries.TIMEOUT_S + 15.0, "its process has to start and end as well"
