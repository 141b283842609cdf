"""Waiting for the platform: decides from what it reports whether a change is done, has failed or goes on.

Called by `Client`. The control plane may restart meanwhile: silence is "unknown", for a bounded time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from tidegate import clock
from tidegate.error_codes import by_code
from tidegate.errors import Conflict, DeadlineExceeded, NotRunning, TidegateError
from tidegate.wire.rest import Endpoint, Job, VariantView

T = TypeVar("T")

FIRST_PAUSE_S, LAST_PAUSE_S = 0.05, 0.25
SILENCE_S_MAX = 30.0


def poll(look: Callable[[], T], done: Callable[[T], bool], timeout_s: float) -> tuple[T, bool]:
    """Look until `done` or the time is over; returns the last look and whether it was done.

    A platform that does not answer is asked again for up to `SILENCE_S_MAX`, then `NotRunning` is raised.
    """
    started, pause_s, heard = clock.monotonic(), FIRST_PAUSE_S, clock.monotonic()
    while True:
        try:
            seen = look()
            heard = clock.monotonic()
            if done(seen):
                return seen, True
            if heard - started > timeout_s:
                return seen, False
        except NotRunning:
            if clock.monotonic() - heard > SILENCE_S_MAX:
                raise
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, LAST_PAUSE_S)


def job_error(job: Job) -> TidegateError:
    """The error a failed job ended with."""
    body = job.error or {}
    details = {k: v for k, v in (body.get("details") or {}).items() if k not in ("message", "retry_after_s")}
    return by_code(str(body.get("code", "")))(
        str(body.get("error") or job.message or f"job {job.id} failed"), **details
    )


def wanted_variants(endpoint: Endpoint) -> list[VariantView]:
    """The variants that the target gives traffic."""
    return [variant for variant in endpoint.variants if endpoint.target.get(variant.version, 0) > 0]


def reached(endpoint: Endpoint) -> bool:
    """Whether gateways route what was asked for, with every replica that was asked for."""
    wanted = wanted_variants(endpoint)
    return (
        endpoint.status in ("ready", "degraded")
        and _weights(endpoint.traffic) == _weights(endpoint.target)
        and len(wanted) == len(_weights(endpoint.target))
        and all(variant.replicas.ready >= variant.replicas.desired for variant in wanted)
    )


def failure(endpoint: Endpoint) -> str | None:
    """Why the target will not be reached, None while it still may.

    While the endpoint is "deploying" its variants may still speak of the target before this one.
    """
    if endpoint.status == "deploying":
        return None
    for variant in wanted_variants(endpoint):
        if variant.status == "failed" or variant.given_up:
            return f"version {variant.version} does not become ready: {variant.reason or endpoint.reason}"
    if endpoint.status == "failed":
        return endpoint.reason or "no replica becomes ready"
    return None


def describe(endpoint: Endpoint) -> tuple[str, float]:
    """One line on how far a change is, and the fraction of its replicas that are ready."""
    wanted = wanted_variants(endpoint)
    if not wanted:
        return "waiting for the control plane", 0.0
    desired = sum(max(variant.replicas.desired, 1) for variant in wanted)
    ready = sum(min(variant.replicas.ready, max(variant.replicas.desired, 1)) for variant in wanted)
    parts = [
        f"version {variant.version} {variant.status}, {variant.replicas.ready} of {variant.replicas.desired} ready"
        + (f" ({variant.reason})" if variant.reason and variant.status != "ready" else "")
        for variant in wanted
    ]
    return "; ".join(parts), ready / desired


def wait_for_endpoint(
    look: Callable[[], Endpoint],
    asked: Endpoint,
    timeout_s: float,
    on_progress: Callable[[str, float], None] | None = None,
) -> Endpoint:
    """Wait until what `asked` says is routed. Raises `TidegateError` with the reason when it fails, `Conflict` when
    somebody else changed the endpoint meanwhile, `DeadlineExceeded` when the time is over.
    """

    def done(seen: Endpoint) -> bool:
        if on_progress:
            on_progress(*describe(seen))
        return reached(seen) or failure(seen) is not None or _superseded(asked, seen)

    seen, finished = poll(look, done, timeout_s)
    if reached(seen) and not _superseded(asked, seen):
        return seen
    if _superseded(asked, seen):
        raise Conflict(f"endpoint {seen.name!r} was given another target ({seen.target}) while this one was awaited")
    still = f"; what was routed before still is: {seen.traffic}" if _weights(seen.traffic) else ""
    if finished:
        raise TidegateError(f"endpoint {seen.name!r}: {failure(seen)}{still}")
    raise DeadlineExceeded(
        f"endpoint {seen.name!r} was not there after {timeout_s:g} s: {seen.reason or describe(seen)[0]}{still}"
    )


def _superseded(asked: Endpoint, seen: Endpoint) -> bool:
    return _weights(seen.target) != _weights(asked.target)


def _weights(traffic: dict[str, float]) -> dict[str, float]:
    return {version: weight for version, weight in traffic.items() if weight > 0}
