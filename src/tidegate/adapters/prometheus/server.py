"""A Prometheus server's HTTP API, as far as it is asked: one range query at a time. Touches nothing else.

It being away is `MetricsUnavailable`; predictions and everything else go on without it.
"""

from __future__ import annotations

import math
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import orjson
import urllib3
from urllib3.exceptions import HTTPError, MaxRetryError

from tidegate.core.performance import Curve
from tidegate.errors import MetricsUnavailable

TIMEOUT_S = 10.0
ANSWER_BYTES_MAX = 32 << 20


class Prometheus:
    """One server. A user and password in the URL are sent as basic authentication, and never shown."""

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S) -> None:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        self.url = urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))
        password = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        self._headers = urllib3.make_headers(basic_auth=password) if parts.username else {}
        self._pool = urllib3.PoolManager(maxsize=4, timeout=timeout_s, retries=urllib3.Retry(1, redirect=0))

    def curves(self, query: str, edges_s: list[float]) -> list[Curve]:
        """The query's series at evenly spaced times (seconds since the epoch). Raises `MetricsUnavailable`."""
        step_s = (edges_s[-1] - edges_s[0]) / (len(edges_s) - 1)
        fields = {"query": query, "start": str(edges_s[0]), "end": str(edges_s[-1]), "step": str(step_s)}
        result = self._ask("/api/v1/query_range", fields)
        return [_curve(series, edges_s, step_s) for series in result]

    def number(self, query: str, at_s: float) -> float | None:
        """What a query for one number gives at this time; None where there is none."""
        result = self._ask("/api/v1/query", {"query": query, "time": str(at_s)})
        return float(result[0]["value"][1]) if result else None

    def _ask(self, path: str, fields: dict[str, str]) -> list[Any]:
        try:
            answer = self._pool.request(
                "GET", self.url + path, fields=fields, headers=self._headers, preload_content=False
            )
            try:
                data = answer.read(ANSWER_BYTES_MAX + 1, decode_content=True)
            finally:
                answer.release_conn()
        except HTTPError as error:
            raise self._away(error) from None
        try:
            body = orjson.loads(data)
            if answer.status == 200 and body["status"] == "success":
                result: list[Any] = body["data"]["result"]
                return result
            why = str(body.get("error", ""))
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            why = " ".join(data[:100].decode("utf-8", "replace").split())
        raise MetricsUnavailable(
            f"Prometheus at {self.url} answers {answer.status} ({why or 'nothing'}): is PROMETHEUS_URL right?"
        )

    def _away(self, error: HTTPError) -> MetricsUnavailable:
        cause = error.reason if isinstance(error, MaxRetryError) and error.reason is not None else error
        kind = type(cause).__name__.removesuffix("Error")
        return MetricsUnavailable(
            f"Prometheus at {self.url} does not answer ({kind}): start it, or correct PROMETHEUS_URL and start the "
            "platform again"
        )


def _curve(series: dict[str, Any], edges_s: list[float], step_s: float) -> Curve:
    values: list[float | None] = [None] * len(edges_s)
    for at_s, text in series["values"]:
        slot = round((float(at_s) - edges_s[0]) / step_s)
        value = float(text)
        if 0 <= slot < len(values) and math.isfinite(value):
            values[slot] = value
    return Curve(series["metric"], values)
