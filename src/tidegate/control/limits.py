"""The reconciler's bounds, from the settings. Used by `platform` and `leading`."""

from __future__ import annotations

from tidegate.core.reconcile.fleet import ReconcileLimits
from tidegate.services.gateways.listed import GATEWAY_SEEN_S
from tidegate.settings import Settings


def limits_of(settings: Settings) -> ReconcileLimits:
    """The reconciler's bounds, as far as they can be set."""
    return ReconcileLimits(
        ready_timeout_s=settings.ready_timeout_s,
        keep_previous_s=settings.keep_previous_s,
        drain_s=settings.drain_s,
        gateway_silent_s=GATEWAY_SEEN_S,
        leave_s=GATEWAY_SEEN_S + settings.request_timeout_s,  # no answer is waited for longer
        stop_grace_s=settings.drain_s + 5.0,
    )
