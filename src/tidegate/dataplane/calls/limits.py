"""Bounds of the data plane, from the settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tidegate.settings import Settings


@dataclass(frozen=True)
class DataplaneLimits:
    """Bounds of the data plane, from the settings."""

    batch_rows_max: int = 1024
    batch_latency_s: float = 0.01
    queue_rows_max: int = 4096
    body_bytes_max: int = 64 << 20
    json_bytes_max: int = 8 << 20
    buffered_bytes_max: int = 512 << 20
    timeout_s: float = 30.0
    receive_timeout_s: float = 10.0
    idle_timeout_s: float = 300.0
    connections_max: int = 8192
    waking_requests_max: int = 256

    @classmethod
    def from_settings(cls, settings: Settings) -> DataplaneLimits:
        """As the environment says."""
        return cls(
            batch_rows_max=settings.batch_rows_max,
            batch_latency_s=settings.batch_latency_ms / 1000,
            queue_rows_max=settings.queue_rows_max,
            body_bytes_max=settings.request_bytes_max,
            json_bytes_max=settings.json_bytes_max,
            buffered_bytes_max=settings.buffered_bytes_max,
            timeout_s=settings.request_timeout_s,
            receive_timeout_s=settings.receive_timeout_s,
            idle_timeout_s=settings.idle_timeout_s,
            connections_max=settings.connections_max,
            waking_requests_max=settings.waking_requests_max,
        )
