"""What all results of one look have in common. Used by the monitors of this room."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tidegate.wire.monitoring.monitoring import MonitorName, MonitorResult, MonitorState, Severity


@dataclass(frozen=True)
class Place:
    """Which rows are looked at: of an endpoint and a version, within [since, until), at the moment `at`."""

    endpoint: str
    version: str | None
    since: float
    until: float
    at: float

    def result(
        self,
        monitor: MonitorName,
        state: MonitorState,
        verdict: str,
        severity: Severity | None = None,
        **fields: Any,
    ) -> MonitorResult:
        """A result of these rows. Only an alert has a severity."""
        return MonitorResult(
            monitor=monitor,
            endpoint=self.endpoint,
            version=self.version,
            since=self.since,
            until=self.until,
            evaluated_at=self.at,
            state=state,
            verdict=verdict,
            severity=severity if state == "alert" else None,
            **fields,
        )

    def unknown(self, monitor: MonitorName, why: str, **fields: Any) -> MonitorResult:
        """Nothing can be known: no number, and a reason."""
        return self.result(monitor, "unknown", f"unknown: {why}", **fields)
