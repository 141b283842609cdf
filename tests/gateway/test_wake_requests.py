"""What requests for an endpoint that sleeps are told where the control plane does not wake it."""

from __future__ import annotations

import asyncio

import pytest
import urllib3

from tidegate.gateway.control.wake_requests import WakeRequests


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (urllib3.exceptions.ProtocolError("refused"), "the control plane, which wakes it, does not answer"),
        (OSError("it answered 503"), "the control plane here cannot wake it: it answered 503"),
        (ValueError("a bug"), "the control plane could not be told: ValueError"),
    ],
)
def test_requests_are_told_at_once_why_nothing_wakes_the_endpoint(error: Exception, why: str) -> None:
    async def asked() -> tuple[str, str]:
        loop = asyncio.get_running_loop()
        told: asyncio.Future[tuple[str, str]] = loop.create_future()

        def send(_endpoint: str) -> None:
            raise error

        wake_requests = WakeRequests(send, lambda *found: told.set_result(found), loop)
        wake_requests.ask("churn")
        try:
            return await asyncio.wait_for(told, 30)
        finally:
            wake_requests.stop()

    endpoint, told = asyncio.run(asked())
    assert endpoint == "churn"
    assert why in told
