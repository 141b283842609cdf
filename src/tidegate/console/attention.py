"""What a person should look at first, out of what the API says. Pure: the platform has decided what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tidegate.clock import now
from tidegate.console import words
from tidegate.report.figures import alert_about
from tidegate.wire.monitoring.alerts import AlertView
from tidegate.wire.parts import RolloutView
from tidegate.wire.rest import Endpoint, Job, Status

ERRORS_SHARE_MIN = 0.01
"""From this share of requests on that end in errors, an endpoint needs a look."""
JOBS_FAILED_WITHIN_S = 24 * 3600.0
JOBS_SHOWN = 3
_SEVERITIES = ("critical", "high", "medium", "low")
_ORDER = {"bad": 0, "warn": 1, "info": 2}


@dataclass(frozen=True)
class Item:
    """One line: how bad it is (a tone), in a word, about what, what is known, and where to look."""

    tone: str
    word: str
    about: str
    text: str
    to: str | None = None


def attention(
    status: Status, shown: Sequence[Endpoint], failed: Sequence[Job], firing: Sequence[AlertView] = ()
) -> list[Item]:
    """The worst first. `shown` are the endpoints of the page; the status knows the others that need a look."""
    endpoints = {one.name: one for one in (*shown, *status.endpoints)}
    about = [*_endpoints(endpoints.values()), *_rollouts(status.rollouts)]
    found = [*_platform(status), *about, *_alerts(firing), *_jobs(failed)]
    return sorted(found, key=lambda item: _ORDER[item.tone])


def _platform(status: Status) -> Iterator[Item]:
    away = "what is deployed serves on; changes wait, and the platform goes on by itself when it is back"
    if (database := status.database) is not None and database.status == "unavailable":
        yield Item("bad", "away", "database", f"{database.reason}; {away}")
    if (engine := status.engine) is not None and engine.status == "unavailable":
        what = "container engine" if engine.backend == "docker" else words.engine(engine.backend)
        yield Item("bad", "away", what, f"{engine.reason}; {away}")
    if (queue := status.queue) is not None and queue.status == "unavailable":
        yield Item("bad", "away", "broker", f"{queue.reason}; jobs wait until it is back")
    if (redis := status.redis) is not None and redis.status == "unavailable":
        yield Item("warn", "away", "Redis", f"{redis.reason}; limits are each gateway's own and no answers are kept")
    if (registry := status.registry) is not None and registry.status == "unavailable":
        yield Item("warn", "away", "registry", f"{registry.reason}; what is deployed serves on, registering fails")
    for gateway in status.gateways:
        if gateway.status == "down":
            yield Item("bad", "down", f"gateway {gateway.id}", "it does not answer")


def _endpoints(endpoints: Iterable[Endpoint]) -> Iterator[Item]:
    for one in endpoints:
        to = f"/endpoints/{one.name}"
        given_up = [variant for variant in one.variants if variant.given_up]
        if one.status in ("failed", "degraded"):
            yield Item("bad", one.status, one.name, one.reason or "some of its replicas do not answer", to)
        elif one.status == "deploying":
            yield Item("info", "deploying", one.name, one.reason or f"towards {words.split(one.target)}", to)
        for variant in given_up:
            if one.status not in ("failed", "degraded"):
                yield Item("bad", "given up", one.name, f"version {variant.version}: {variant.reason}", to)
        load = one.load
        if load is not None and load.requests_per_s and load.errors_per_s / load.requests_per_s >= ERRORS_SHARE_MIN:
            share = words.share(load.errors_per_s, load.requests_per_s)
            yield Item("bad", "errors", one.name, f"{share} of {words.rate(load.requests_per_s)} end in errors", to)
        if load is not None and load.gateways_silent:
            yield Item(
                "warn", "unknown", one.name, f"{load.gateways_silent} gateways are silent: there may be more", to
            )
        if one.follow is not None and one.follow.state == "refused":
            text = f"version {one.follow.version}, which @{one.follow.alias} names, is refused: {one.follow.reason}"
            yield Item("warn", "refused", one.name, text, to)


def _rollouts(found: Iterable[RolloutView]) -> Iterator[Item]:
    """A canary that waits for a person, and versions that were taken back by themselves."""
    for one in found:
        to = f"/endpoints/{one.endpoint}/canary"
        since = words.ago(one.at)
        if one.state == "paused":
            yield Item("warn", "paused", one.endpoint, f"the canary of version {one.version}: {one.reason}", to)
        elif one.state == "aborted":
            what = f"version {one.version} was taken back by its {one.kind} {since} ago: {one.reason}"
            yield Item("warn", "rolled back", one.endpoint, what, to)
        else:
            yield Item("bad", "failed", one.endpoint, f"the {one.kind} of version {one.version}: {one.reason}", to)


def _alerts(firing: Sequence[AlertView]) -> Iterator[Item]:
    """A line for each endpoint with the severest of its alerts, and one for each experiment that needs a person.

    Those that somebody has acknowledged are not firing. One that fired and of which nothing newer is known is not over.
    """
    ordered = sorted(firing, key=lambda alert: _SEVERITIES.index(alert.severity))
    of_endpoints: dict[str, list[AlertView]] = {}
    for one in ordered:
        if one.type == "rollout" and one.metric:
            yield _alert(one, one.endpoint, "", f"/endpoints/{one.endpoint}/experiments/{one.metric}")
        else:
            of_endpoints.setdefault(one.endpoint, []).append(one)
    for endpoint, alerts in of_endpoints.items():
        others = len(alerts) - 1
        more = f"; and {others} more alert{'s' if others > 1 else ''}" if others else ""
        yield _alert(alerts[0], f"{endpoint}, {alert_about(alerts[0])}", more, f"/alerts?endpoint={endpoint}")


def _alert(one: AlertView, about: str, more: str, to: str) -> Item:
    tone = "bad" if one.severity in ("critical", "high") else "warn"
    newer = "; nothing newer is known" if one.state == "not_enough_data" else ""
    return Item(tone, one.severity, about, f"{one.message}{newer}{more}", to)


def _jobs(failed: Sequence[Job]) -> Iterator[Item]:
    since = now() - JOBS_FAILED_WITHIN_S
    recent = [job for job in failed if (job.finished_at or job.created_at) >= since]
    for job in recent[:JOBS_SHOWN]:
        said = str((job.error or {}).get("error") or job.message or "it failed").partition(". ")[0]
        yield Item("warn", "failed", f"{job.kind} {job.subject}", said, f"/jobs/{job.id}")
