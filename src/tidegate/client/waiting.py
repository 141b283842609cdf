"""Waiting for the platform: decides from what it reports whether a change is done, has failed or goes on.

Called by `Client`. The control plane may restart meanwhile, or its database be away: no answer, or one that says "not
now", is "unknown", for a bounded time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

from tidegate import clock
from tidegate.client.registration.files import OnProgress
from tidegate.errors import Conflict, DeadlineExceeded, TidegateError
from tidegate.errors.codes import by_code
from tidegate.errors.kinds import Kind
from tidegate.wire.rest import Endpoint, Job, VariantView

T = TypeVar("T")

FIRST_PAUSE_S, LAST_PAUSE_S = 0.05, 0.25
SILENCE_S_MAX, RETRY_AFTER_S_MAX, LAST_LOOK_S_MAX = 30.0, 2.0, 1.0
NOT_NOW = frozenset({Kind.UNAVAILABLE, Kind.OVERLOADED, Kind.DEADLINE})
"""What may be over by the next look: the control plane, its database or an engine is away, or there is no room."""


def poll(look: Callable[[], T], done: Callable[[T], bool], timeout_s: float) -> tuple[T, bool]:
    """Look until `done` or the time is over; returns the last look and whether it was done.

    A platform that does not answer, or says that it cannot now, is asked again for up to `SILENCE_S_MAX` after it first
    did so and as long as there is time; then what it said is raised.
    """
    started, pause_s = clock.monotonic(), FIRST_PAUSE_S
    silent_since: float | None = None
    while True:
        asked_for_s = 0.0
        try:
            seen = look()
        except TidegateError as error:
            if error.kind not in NOT_NOW:
                raise
            present = clock.monotonic()
            silent_since = present if silent_since is None else silent_since
            if present - silent_since > SILENCE_S_MAX or present - started > timeout_s:
                raise
            asked_for_s = min(error.retry_after_s or 0.0, RETRY_AFTER_S_MAX)
        else:
            silent_since = None
            if done(seen):
                return seen, True
            if clock.monotonic() - started > timeout_s:
                return seen, False
        time.sleep(max(pause_s, asked_for_s))
        pause_s = min(pause_s * 1.5, LAST_PAUSE_S)


@contextmanager
def meanwhile(look: Callable[[], None] | None, pause_s: float) -> Iterator[None]:
    """Look every so often, in another thread, while the body runs; a look that fails says nothing. None: no looks."""
    if look is None:
        yield
        return
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(pause_s):
            with suppress(TidegateError):
                look()

    thread = threading.Thread(target=watch, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(LAST_LOOK_S_MAX)


def job_error(job: Job) -> TidegateError:
    """The error a failed job ended with."""
    body = job.error or {}
    details = {k: v for k, v in (body.get("details") or {}).items() if k not in ("message", "retry_after_s")}
    return by_code(str(body.get("code", "")))(
        str(body.get("error") or job.message or f"job {job.id} failed"), **details
    )


def has_ended(job: Job) -> bool:
    """Whether nothing of it runs or will run."""
    return job.state in ("succeeded", "failed", "cancelled")


def wanted_variants(endpoint: Endpoint) -> list[VariantView]:
    """A variant of each version that the target gives traffic; those of one version share their replicas."""
    wanted = {variant.version: variant for variant in endpoint.variants if endpoint.target.get(variant.version, 0) > 0}
    return list(wanted.values())


def reached(endpoint: Endpoint) -> bool:
    """Whether gateways route what was asked for, with every replica that was asked for."""
    wanted = wanted_variants(endpoint)
    return (
        endpoint.status in ("ready", "degraded", "asleep")
        and _weights(endpoint.traffic) == _weights(endpoint.target)
        and {variant.version for variant in wanted} == _weights(endpoint.target).keys()
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
        f"version {variant.version} {variant.status}{_count(variant)}"
        + (f" ({variant.reason})" if variant.reason and variant.status != "ready" else "")
        for variant in wanted
    ]
    return "; ".join(parts), ready / desired


def _count(variant: VariantView) -> str:
    """Nothing where only its engine knows how many there are: the status says whether its pool answers."""
    return "" if variant.managed_by else f", {variant.replicas.ready} of {variant.replicas.desired} ready"


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
    return _intended(seen) != _intended(asked)


def _intended(endpoint: Endpoint) -> dict[str, float]:
    """What people asked for: an automation that moves the target supersedes nothing."""
    return _weights(endpoint.asked or endpoint.target)


def _weights(traffic: dict[str, float]) -> dict[str, float]:
    return {version: weight for version, weight in traffic.items() if weight > 0}


def wait_for_job(look: Callable[[], Job], timeout_s: float, on_progress: OnProgress | None = None) -> Job:
    """The job once it ended; raises the error it ended with, `DeadlineExceeded` after `timeout_s`."""

    def done(job: Job) -> bool:
        if on_progress and job.state not in ("failed", "cancelled"):  # why it failed is what is raised
            on_progress(job.message or job.state, job.progress)
        return has_ended(job)

    job, ended = poll(look, done, timeout_s)
    if not ended:
        raise DeadlineExceeded(f"job {job.id} is still {job.state} after {timeout_s:g} s: 'tidegate jobs {job.id}'")
    if job.state != "succeeded":
        raise job_error(job)
    return job
