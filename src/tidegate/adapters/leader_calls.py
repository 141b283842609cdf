"""What a control plane that stands by asks the one that leads, and waits for: wakes an endpoint, tells how it
scales and how busy it is.

Called by services, in threads of the API. What needs no answer is passed on by `leader_link`.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any
from urllib.parse import quote

import msgspec
import urllib3

from tidegate.errors import NotLeader
from tidegate.wire.decoding import decode_json
from tidegate.wire.endpoints.scaling import Scale
from tidegate.wire.gateways.gateway_reports import WantedReport
from tidegate.wire.gateways.load import LoadSeries

TIMEOUT_S = 2.0
CONNECTIONS_MAX = 4
SAID_CHARS_MAX = 200
RETRY_AFTER_S = 2.0


class LeaderCalls:
    """`key` is the one that gateways show: all control planes of a platform take the same.

    Every call raises `NotLeader` where the leader does not answer in time, or does not lead any more.
    """

    def __init__(self, key: str) -> None:
        self._headers = {"Authorization": f"Bearer {key}", "Accept": "application/json"}
        self._pool = urllib3.PoolManager(maxsize=CONNECTIONS_MAX, timeout=TIMEOUT_S, retries=False)

    def close(self) -> None:
        """Close the connections; what is under way is bounded by its timeout."""
        self._pool.clear()

    def report_wanted(self, url: str, report: WantedReport) -> None:
        """Requests wait at a gateway here for an endpoint that sleeps."""
        self._call(url, "POST", "wanted", json=asdict(report))

    def scale(self, url: str, endpoint: str) -> Scale:
        """How many replicas there shall be, and why, as the leader decided."""
        body = self._call(url, "GET", f"scale/{quote(endpoint, safe='')}")
        try:
            return decode_json(body, Scale)
        except msgspec.DecodeError as error:
            raise _silent(url, f"what it answers is of another release ({error})") from error

    def load(self, url: str, endpoint: str, step_s: float) -> LoadSeries:
        """How busy the endpoint's versions were, as gateways told the leader."""
        body = self._call(url, "GET", f"load/{quote(endpoint, safe='')}?step_s={step_s:g}")
        try:
            return decode_json(body, LoadSeries)
        except msgspec.DecodeError as error:
            raise _silent(url, f"what it answers is of another release ({error})") from error

    def _call(self, url: str, method: str, what: str, **options: Any) -> bytes:
        try:
            answer = self._pool.request(method, f"{url}/internal/v1/{what}", headers=self._headers, **options)
        except (OSError, urllib3.exceptions.HTTPError) as error:
            raise _silent(url, f"it does not answer ({type(error).__name__})") from error
        if answer.status >= 300:
            said = answer.data[:SAID_CHARS_MAX].decode(errors="replace")
            raise _silent(url, f"it answered {answer.status}: {said}")
        return answer.data


def _silent(url: str, why: str) -> NotLeader:
    return NotLeader(f"the control plane at {url}, which leads, was asked: {why}", retry_after_s=RETRY_AFTER_S)
