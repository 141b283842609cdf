"""`client.capture`: what gateways recorded of an endpoint's predictions, by SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from tidegate.client.rest.api import Api, decode
from tidegate.client.rest.paths import API, part
from tidegate.wire.capture.capture import (
    ARROW_TYPE,
    ROWS_DEFAULT,
    TRUNCATED,
    CaptureAnswer,
    CaptureForgetAnswer,
    CaptureForgetRequest,
    CaptureQueryRequest,
    CaptureSettings,
    CaptureSettingsRequest,
)

if TYPE_CHECKING:
    import pyarrow as pa

QUERY_TIMEOUT_S = 60.0
"""Longer than a query may take (30 s), so that what the platform says of one that did is heard."""


@dataclass(frozen=True)
class CaptureClient:
    """`client.capture`. Times are seconds since the epoch; the last hour where none is given."""

    api: Api

    def query(
        self,
        endpoint: str,
        sql: str | None = None,
        *,
        since: float | None = None,
        until: float | None = None,
        version: str | None = None,
        rows_max: int = ROWS_DEFAULT,
    ) -> pa.Table:
        """The rows that a SELECT over `predictions`, `labelled`, `failures` … gives, as an Arrow table; needs pyarrow.

        `.to_pandas()` makes a data frame of it, `polars.from_arrow` one of polars. Without `sql`, every column of
        `predictions`. `client.capture.was_cut(table)`: there were more than `rows_max` rows. Raises `QueryRefused`,
        `QueryTooLarge`, `UnknownEndpoint`.
        """
        import pyarrow as pa

        request = CaptureQueryRequest(sql, since, until, version, rows_max)
        body = self._asked(endpoint, request, {"Accept": ARROW_TYPE})
        with pa.ipc.open_stream(body) as reader:
            return reader.read_all()

    @staticmethod
    def was_cut(table: pa.Table) -> bool:
        """Whether the query had more rows than were asked for."""
        return (table.schema.metadata or {}).get(TRUNCATED) == b"true"

    def rows(self, endpoint: str, request: CaptureQueryRequest) -> CaptureAnswer:
        """The same as plain objects, without pyarrow."""
        return decode(self._asked(endpoint, request, {}), CaptureAnswer, self.api.transport.who)

    def settings(self, endpoint: str) -> CaptureSettings:
        """What is recorded of an endpoint's predictions, and for how long."""
        return self.api.get(_settings(endpoint), CaptureSettings)

    def set_settings(self, endpoint: str, request: CaptureSettingsRequest) -> CaptureSettings:
        """Change some of it. Gateways know within seconds; rows that are there already stay as they are."""
        return self.api.send("PUT", _settings(endpoint), request, CaptureSettings)

    def forget(self, endpoint: str, key: str) -> CaptureForgetAnswer:
        """Have every row of a unit deleted: within seconds, of segments that gateways still write within the hour."""
        path = f"{API}/endpoints/{part(endpoint)}/capture/forget"
        return self.api.send("POST", path, CaptureForgetRequest(key), CaptureForgetAnswer)

    def _asked(self, endpoint: str, request: CaptureQueryRequest, headers: dict[str, Any]) -> bytes:
        sent = orjson.dumps(msgspec.to_builtins(request))
        path = f"{API}/endpoints/{part(endpoint)}/capture/query"
        return self.api.raw("POST", path, sent, headers, QUERY_TIMEOUT_S).data


def _settings(endpoint: str) -> str:
    return f"{API}/endpoints/{part(endpoint)}/capture/settings"
