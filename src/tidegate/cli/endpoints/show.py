"""The verbs that only look: endpoints, status, version."""

from __future__ import annotations

import platform
import textwrap

import click

from tidegate.cli.app import App, command, paging_options
from tidegate.cli.endpoints.answered import answered_table, by_version, failing
from tidegate.cli.endpoints.automated import automated
from tidegate.cli.endpoints.load import load_table, p95, rate, series_table
from tidegate.cli.endpoints.performance import render, seconds
from tidegate.cli.endpoints.scale import scaled
from tidegate.cli.endpoints.shadow import shadowed
from tidegate.cli.output import WIDTH, moment, named, sentences, size, split, table, weight
from tidegate.core.endpoints.serving import SERVING_SETTINGS, settings_of
from tidegate.errors import InvalidArgument
from tidegate.version import __version__
from tidegate.wire.endpoints.registering import FollowView, RegistryView
from tidegate.wire.parts import DatabaseView, RedisView
from tidegate.wire.rest import Endpoint, HistoryEntry, Scale, Status

CHANGES_SHOWN = 20
"""Of an endpoint's history, in its status."""


@command("endpoints", "tidegate endpoints", "tidegate endpoints --json", "tidegate endpoints --limit 1000")
@paging_options
def endpoints(app: App, limit: int | None, cursor: str | None) -> None:
    """List endpoints by name, what they route and how they are.

    `failing` is the share of requests of the last five minutes that failed in the model, had no answer in time, or were
    answered with NaN or infinity, as the gateways count. `req/s` and `p95` are of the last minute: requests a second,
    and the time that 95 % of them stayed within. `status ENDPOINT` shows all of it by version.
    """
    page = app.client().endpoints.page(limit, cursor)
    app.emit_page("endpoints", page, lambda: _endpoint_table(page.rows))


def _endpoint_table(found: list[Endpoint]) -> str:
    rows = [
        [
            item.name,
            item.model,
            item.status,
            split(item.traffic),
            _replicas(item),
            rate(item.load),
            p95(item.load),
            failing(item),
            item.url,
            item.reason or "-",
        ]
        for item in found
    ]
    headers = ["endpoint", "model", "status", "traffic", "replicas", "req/s", "p95", "failing", "url", "reason"]
    if not any(item.reason for item in found):
        headers, rows = headers[:-1], [row[:-1] for row in rows]  # which leaves the URL the room it needs
    return table(headers, rows, "no endpoints: 'tidegate deploy NAME'")


def _replicas(endpoint: Endpoint) -> str:
    variants = by_version(endpoint)
    if any(variant.managed_by for variant in variants):
        return "unknown"  # to all but its engine
    return f"{sum(one.replicas.ready for one in variants)}/{sum(one.replicas.desired for one in variants)}"


@command(
    "status",
    "tidegate status",
    "tidegate status churn",
    "tidegate status churn --since 24h",
    "tidegate status churn --recent",
    "tidegate status --data-dir ./state --json",
)
@click.argument("endpoint", required=False)
@click.option("--since", metavar="SPAN", help="How the endpoint did over the last 30m, 24h or 7d, from Prometheus.")
@click.option("--recent", is_flag=True, help="How busy the endpoint's versions were over the last five minutes.")
def status(app: App, endpoint: str | None, since: str | None, recent: bool) -> None:
    """Show the platform at a glance, or one endpoint with its versions, replicas and history.

    With --since, show instead what Prometheus (PROMETHEUS_URL, as the platform was started with) knows of the endpoint
    by version and over time: requests, errors, latency percentiles, waiting, how busy its replicas were, and quality.
    With --recent, show what gateways told of the last five minutes, without a Prometheus.
    """
    client = app.client()
    if recent:
        if endpoint is None or since is not None:
            raise InvalidArgument(
                "--recent goes with an endpoint alone: tidegate status ENDPOINT --recent", field="recent"
            )
        series = client.endpoints.load(endpoint)
        return app.emit(series, lambda: series_table(series))
    if since is not None:
        if endpoint is None:
            raise InvalidArgument("--since goes with an endpoint: tidegate status ENDPOINT --since 24h", field="since")
        performance = client.endpoints.performance(endpoint, seconds(since))
        return app.emit(performance, lambda: render(performance))
    if endpoint is None:
        now = client.platform.status()
        return app.emit(now, lambda: _platform(now))
    found = client.endpoints.get(endpoint)
    scale = client.endpoints.explain_scale(endpoint) if found.scaling is not None and not app.json else None
    return app.emit(found, lambda: _endpoint(found, client.endpoints.history(endpoint, CHANGES_SHOWN), scale))


def _platform(now: Status) -> str:
    jobs = ", ".join(f"{count} {state}" for state, count in now.jobs.items() if count) or "none"
    gateways = [
        [gateway.id, gateway.status, gateway.url, str(gateway.pid or "-"), str(gateway.revision or "-")]
        for gateway in now.gateways
    ]
    away = now.database is not None and now.database.status == "unavailable"
    known = (
        f"models {now.models}, endpoints {sum(now.endpoints_by_status.values())}, jobs {jobs}, revision {now.revision}"
    )
    said = [
        f"Tidegate {now.version}, running since {moment(now.started_at)}, data in {now.data_dir}",
        _away(now.database) if now.database and away else known,
        *_led(now),
        *_engine(now),
        *_queue(now),
        *_registry(now.registry),
        *_redis(now.redis),
        *textwrap.wrap(now.confinement or "", WIDTH, subsequent_indent="  "),
        *_captured(now),
        *_rollouts(now),
    ]
    return "\n".join(
        [
            *sentences(said),
            "",
            table(("gateway", "status", "url", "pid", "revision"), gateways, "no gateway runs"),
            *([] if away else ["", _shown(now)]),
        ]
    )


def _shown(now: Status) -> str:
    """All endpoints, or of a large platform those alone that need a look."""
    counts = now.endpoints_by_status
    if len(now.endpoints) == sum(counts.values()):
        return _endpoint_table(now.endpoints)
    text = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    of_note = _endpoint_table(now.endpoints) if now.endpoints else "none of them needs a look"
    return f"endpoints: {text} ('tidegate endpoints' lists them)\n{of_note}"


def _led(now: Status) -> list[str]:
    """Who leads, where that is a question."""
    leader, database = now.leader, now.database
    if database is None or not database.where.startswith("PostgreSQL"):
        return []
    if leader is None:
        return ["no control plane leads at the moment"]
    if leader.here:
        return [f"this control plane leads (token {leader.token})"]
    silent = "" if leader.alive else ", but is silent: another will take over"
    return [f"stands by: the control plane at {leader.url} ({leader.host}) leads (token {leader.token}){silent}"]


def _engine(now: Status) -> list[str]:
    """The engine that replicas run on, where they are no processes of this machine."""
    if now.engine is None:
        return []
    docker = now.engine.backend == "docker"
    if now.engine.status == "ready":
        where = f"containers on Docker {now.engine.version} at {now.engine.where}"
        return [where if docker else f"replicas on {now.engine.backend}"]
    return [
        f"{'the container engine' if docker else now.engine.backend} is away: {now.engine.reason}",
        "replicas that run serve on; changes wait, and the platform goes on by itself when the engine is back",
    ]


def _rollouts(now: Status) -> list[str]:
    """Canaries that wait for a person, and versions that were taken back by themselves of late."""
    lines = []
    for one in now.rollouts:
        at = "" if one.state == "paused" else f" at {moment(one.at)}"
        line = f"{one.endpoint}: {one.kind} of version {one.version} {one.state}{at}: {one.reason}"
        lines += textwrap.wrap(line, WIDTH, subsequent_indent="  ")
        lines.append(f"  ('tidegate canary status {one.endpoint}' says more)")
    return lines


def _captured(now: Status) -> list[str]:
    """What the compactor does, where one runs."""
    said = now.capture
    if said is None:
        return []
    waiting = f"{said.backlog_segments} segments wait" if said.backlog_segments else "none waits"
    if said.status != "ready":
        return [f"captured rows stay in the journal ({waiting}): {said.reason}"]
    aside = f", {said.quarantined_segments} set aside" if said.quarantined_segments else ""
    writing = f"; {size(said.open_bytes)} open, which queries see" if said.open_bytes else ""
    return [f"compacted {said.rows} rows of {said.segments} segments, {waiting}{aside}{writing}"]


def _queue(now: Status) -> list[str]:
    """What is between jobs and workers, where there is a broker."""
    queue = now.queue
    if queue is None:
        return []
    if queue.status == "unavailable":
        return [f"jobs wait: {queue.reason}; they go on by themselves when it is back"]
    if not queue.idle_workers and now.jobs.get("queued") and not now.jobs.get("running"):
        return [f"jobs wait for a worker, and none is connected to {queue.where}: start one with 'tidegate worker'"]
    return [f"jobs go over {queue.where}: {queue.messages} messages wait, {queue.idle_workers} workers have room"]


def _redis(redis: RedisView | None) -> list[str]:
    if redis is None:
        return []
    if redis.status != "unavailable":
        return [f"{redis.where}: {redis.status}"]
    return [
        f"{redis.where} is away: {redis.reason}",
        "without it limits are each gateway's own and no answers are kept; it is tried again by itself",
    ]


def _registry(registry: RegistryView | None) -> list[str]:
    """Said when it is a server's, or away."""
    if registry is None or (registry.status != "unavailable" and not registry.where.startswith("MLflow at")):
        return []
    if registry.status != "unavailable":
        return [f"registry {registry.where}: {registry.status}"]
    return [
        f"registry {registry.where} is away: {registry.reason}",
        "what is deployed serves on, restarts, rolls back and scales without it; registering fails and aliases are not "
        "followed until it is back",
    ]


def _away(database: DatabaseView) -> str:
    return (
        f"the database is away: {database.reason}\n"
        "what is deployed serves on; changes wait, and the platform goes on by itself when the database is back"
    )


def _endpoint(found: Endpoint, history: list[HistoryEntry], scale: Scale | None = None) -> str:
    variants = [
        [
            named(variant),
            variant.label or "-",
            weight(variant.weight),
            weight(variant.target_weight),
            variant.status,
            "unknown" if variant.managed_by else f"{variant.replicas.ready}/{variant.replicas.desired}",
            str(variant.restarts),
            variant.reason or "-",
        ]
        for variant in found.variants
    ]
    headers = ("version", "label", "traffic", "wanted", "status", "ready", "restarts", "reason")
    said = [
        f"endpoint {found.name} is {found.status}" + (f": {found.reason}" if found.reason else ""),
        f"model {found.model}, {found.url}{_place(found)}{_serving(found)}",
        *_followed(found.follow),
    ]
    return "\n".join(
        [
            *sentences(said),
            *automated(found),
            *shadowed(found),
            "",
            table(headers, variants, "no versions run"),
            *([] if scale is None else scaled(scale)),
            "",
            *load_table(found),
            "",
            *answered_table(found),
            "",
            _changes(history),
            *([f"older ones: 'tidegate history {found.name}'"] if len(history) == CHANGES_SHOWN else []),
        ]
    )


def _changes(history: list[HistoryEntry]) -> str:
    rows = [
        [_revision(entry), moment(entry.at), _action(entry), split(entry.traffic), entry.actor or "-", entry.note]
        for entry in history
    ]
    return table(("revision", "at", "change", "traffic", "by", "note"), rows, "no changes yet")


def _revision(entry: HistoryEntry) -> str:
    """An automation's change has none of its own: nobody can roll back to it."""
    return "auto" if entry.automated else str(entry.revision)


def _serving(found: Endpoint) -> str:
    """How it is served, where that was asked for."""
    values = [(one, one.value_in(settings_of(found))) for one in SERVING_SETTINGS]
    return "".join(f", {one.said.format(value)}" for one, value in values if value)


def _place(found: Endpoint) -> str:
    if found.backend == "local":
        return ""
    limits = [
        f"{found.cpus:g} CPU" if found.cpus else "",
        f"{found.memory_bytes >> 20} MiB" if found.memory_bytes else "",
        f"{found.cpu_request:g} CPU kept free" if found.cpu_request else "",
        f"{found.memory_request_bytes >> 20} MiB kept free" if found.memory_request_bytes else "",
    ]
    text = ", ".join(limit for limit in limits if limit)
    managed = any(variant.managed_by for variant in found.variants)
    counts = ", which alone knows how many instances run" if managed else ""
    return f", on {found.backend}" + (f" with {text} each" if text else "") + counts


def _followed(follow: FollowView | None) -> list[str]:
    """The alias, and what came of the version it names; a reason to worry is in the endpoint's first line."""
    if follow is None:
        return []
    told = {
        "current": f"version {follow.version} is deployed",
        "held": f"version {follow.version} was {follow.reason}",
        "taking_in": f"version {follow.version} is being registered ('tidegate jobs {follow.job}')",
        "waiting": f"version {follow.version} is tried again",
        "refused": f"version {follow.version} is refused",
    }
    return [f"follows @{follow.alias}: {told[follow.state]}, since {moment(follow.changed_at)}"]


def _action(entry: HistoryEntry) -> str:
    return entry.action if entry.restores is None else f"{entry.action} to {entry.restores}"


@command("history", "tidegate history churn", "tidegate history churn --limit 20 --before 117")
@click.argument("endpoint")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="At most so many changes.")
@click.option("--before", type=int, metavar="ID", help="Only changes older than this one: the next page.")
@click.option("--every", is_flag=True, help="Of all endpoints that had this name, one after the other.")
def history(app: App, endpoint: str, limit: int, before: int | None, every: bool) -> None:
    """Show the changes of an endpoint, newest first: people's with their revision, and those of automations.

    The newest 500 of either are kept, also when the endpoint is deleted. A name that was used again means the endpoint
    that has it now, or had it last.
    """
    found = app.client().endpoints.history(endpoint, limit, before, every=every)
    app.emit({"history": found}, lambda: _page(endpoint, found, limit))


def _page(endpoint: str, found: list[HistoryEntry], limit: int) -> str:
    more = [f"older ones: tidegate history {endpoint} --before {found[-1].id}"] if len(found) == limit else []
    return "\n".join([_changes(found), *more])


@command("version", "tidegate version", "tidegate version --json")
def version(app: App) -> None:
    """Show the version of Tidegate and of the Python it runs on."""
    found = {"version": __version__, "python": platform.python_version()}
    app.emit(found, lambda: f"tidegate {__version__} (Python {platform.python_version()})")
