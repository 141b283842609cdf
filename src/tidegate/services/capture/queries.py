"""SQL over what was captured of an endpoint. Who asks is in the audit: rows are people's data."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sqlalchemy.orm import Session

from tidegate.clock import Clock
from tidegate.core.access import Principal
from tidegate.core.captured import CaptureQueries
from tidegate.errors import InvalidArgument, UnknownEndpoint
from tidegate.store import audit as audit_rows
from tidegate.store.database.engine import Store
from tidegate.store.endpoints import endpoints as rows
from tidegate.store.models import models
from tidegate.wire.capture.capture import ROWS_MAX, CaptureForm, CaptureQueryRequest, CaptureSelection
from tidegate.wire.decoding import convert
from tidegate.wire.signature import Signature

EVERY_ROW = 'SELECT * FROM predictions ORDER BY predictions."at", id, "row"'
SINCE_S = 3600.0
VERSIONS_MAX = 200
LATEST_S = 253_370_764_800.0
"""The last year that calendars here have begins then."""


@dataclass(frozen=True)
class CapturedData:
    """The use cases behind the API's capture routes: rows and SQL of one endpoint."""

    store: Store
    queries: CaptureQueries
    clock: Clock

    def query(self, endpoint: str, request: CaptureQueryRequest, who: Principal, form: CaptureForm) -> bytes:
        """The answer of the query as JSON (`wire.capture.capture.CaptureAnswer`) or as an Arrow stream.

        An endpoint that is gone may have rows still, and an imported one has nothing else. Raises `UnknownEndpoint`,
        `InvalidArgument`, `QueryRefused`, `QueryTooLarge`, `Overloaded`, `CaptureUnreadable`.
        """
        now = self.clock()
        since_s, until_s = _window(request, now)
        if not 1 <= request.rows_max <= ROWS_MAX:
            raise InvalidArgument(f"rows_max is {request.rows_max}, and may be 1 to {ROWS_MAX}", field="rows_max")
        sql = request.sql or EVERY_ROW
        with self.store.transaction() as tx:
            row = rows.get_endpoint(tx, endpoint)
            if row is None and endpoint not in self.queries.endpoints():
                raise UnknownEndpoint(f"there is no endpoint {endpoint!r}, and nothing was captured of one")
            change = audit_rows.AuditedChange("query_capture", "endpoint", endpoint, note=sql)
            audit_rows.record(tx, who, now, change)
            names = {} if row is None else _names(tx, row.model)
        selection = CaptureSelection(endpoint, sql, since_s, until_s, request.version, request.rows_max, form, names)
        return self.queries.run(selection)


def _window(request: CaptureQueryRequest, now_s: float) -> tuple[float, float]:
    """From when until when, in seconds since the epoch, within what calendars have."""
    until_s = now_s if request.until is None else request.until
    since_s = until_s - SINCE_S if request.since is None else request.since
    for field, value in (("since", since_s), ("until", until_s)):
        if not math.isfinite(value):
            raise InvalidArgument(f"{field} must be seconds since the epoch, and is {value}", field=field)
    if since_s >= until_s:
        raise InvalidArgument("since must be before until", field="since")
    return max(0.0, min(since_s, LATEST_S)), max(0.0, min(until_s, LATEST_S))


def _names(tx: Session, model: str) -> dict[str, list[str]]:
    """By version, its columns, where they have names."""
    newest = models.versions_of(tx, model)[:VERSIONS_MAX]
    signatures = {row.version: convert(row.signature, Signature) for row in newest}
    return {
        version: [one.name for one in signature.inputs]
        for version, signature in signatures.items()
        if signature.kind == "columns"
    }
