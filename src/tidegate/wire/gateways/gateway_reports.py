"""What gateways tell the control plane as it happens, beside their load (`wire.gateways.load`)."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.wire.exact import STRICT


@dataclass(frozen=True)
class WantedReport:
    """Requests wait at a gateway for an endpoint that sleeps. `host` is set where a standby passes it on."""

    __pydantic_config__ = STRICT

    gateway: str
    endpoint: str
    host: str = ""


@dataclass(frozen=True)
class LossReport:
    """A gateway's word that a replica stopped answering."""

    __pydantic_config__ = STRICT

    gateway: str
