"""The verbs that change an endpoint: traffic, promote, rollback, delete. `scale` has a module of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from tidegate.cli.app import App, command, yes_option
from tidegate.cli.endpoints.automated import automated
from tidegate.cli.output import named, split, table, weight
from tidegate.errors import InvalidArgument
from tidegate.wire.rest import Endpoint

F = TypeVar("F", bound=Callable[..., None])


def waiting_options(body: F) -> F:
    """Give a command --no-wait and --timeout."""
    timeout: Callable[[F], F] = click.option(
        "--timeout", "timeout_s", type=float, default=300.0, show_default=True, help="Seconds to wait for it."
    )
    return click.option("--no-wait", is_flag=True, help="Return at once.")(timeout(body))


def accept_option(body: F) -> F:
    """Give a command --accept-signature-change."""
    text = "Also a version that does not take, or answer, what the live one does."
    accept: Callable[[F], F] = click.option("--accept-signature-change", is_flag=True, help=text)
    return accept(body)


def end_option(body: F) -> F:
    """Give a command --end-automation."""
    text = "Also while an experiment, canary or bandit sets the traffic, which ends."
    end: Callable[[F], F] = click.option("--end-automation", is_flag=True, help=text)
    return end(body)


def finish(
    app: App,
    change: Callable[..., Endpoint],
    no_wait: bool,
    timeout_s: float,
    more: Callable[[Endpoint], str] = lambda _endpoint: "",
) -> None:
    """Make a change, wait for it unless told not to, and print what came of it, and `more`."""
    with app.progress() as report:
        endpoint = change(wait=not no_wait, timeout_s=timeout_s, on_progress=report)
    app.emit(endpoint, lambda: _outcome(endpoint, no_wait) + more(endpoint))


def _outcome(endpoint: Endpoint, no_wait: bool) -> str:
    if no_wait:
        return f"asked for {split(endpoint.target)}: follow it with 'tidegate status {endpoint.name}'"
    return f"endpoint {endpoint.name}: traffic {split(endpoint.traffic)}"


@command(
    "traffic",
    "tidegate traffic churn 1=90 2=10",
    "tidegate traffic churn v1.0.0=50 v1.1.0=50",
    "tidegate traffic churn",
)
@click.argument("endpoint")
@click.argument("weights", nargs=-1, metavar="[VERSION=PERCENT]...")
@accept_option
@end_option
@waiting_options
def traffic(app: App, endpoint: str, weights: tuple[str, ...], **options: Any) -> None:
    """Split traffic over versions, in percent that adds up to 100; without weights, show how it is split.

    Starts any registered version that is named and shifts the traffic when all are ready. A version whose signature
    would break clients of the one that has most traffic now wants --accept-signature-change, as with 'deploy'.
    """
    wanted = _parse_weights(weights)
    client = app.client()
    if not wanted:
        found = client.endpoints.get(endpoint)
        return app.emit(found, lambda: _shares(found))

    def change(**how: Any) -> Endpoint:
        return client.endpoints.traffic(endpoint, wanted, **accepted, **how)

    waiting, accepted = _parted(options)
    return finish(app, change, **waiting)


def _parted(options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """How to wait, and what the change may do."""
    waiting = {name: options[name] for name in ("no_wait", "timeout_s")}
    return waiting, {name: value for name, value in options.items() if name not in waiting}


def _shares(endpoint: Endpoint) -> str:
    rows = [
        [named(variant), variant.label or "-", weight(variant.weight), variant.status, variant.reason or "-"]
        for variant in endpoint.variants
    ]
    shown = table(("version", "label", "traffic", "status", "reason"), rows, f"{endpoint.name} has no versions yet")
    return "\n".join([*automated(endpoint), shown])


def _parse_weights(given: tuple[str, ...]) -> dict[str, float]:
    weights: dict[str, float] = {}
    for item in given:
        version, _, percent = item.partition("=")
        try:
            value = float(percent)
        except ValueError:
            value = None
        if not version or value is None:
            raise InvalidArgument(f"{item!r} is not VERSION=PERCENT, such as 2=10", field="traffic")
        if version in weights:
            raise InvalidArgument(f"version {version} is named twice", field="traffic")
        weights[version] = value
    return weights


@command("promote", "tidegate promote churn 2", "tidegate promote churn v1.1.0")
@click.argument("endpoint")
@click.argument("version")
@accept_option
@end_option
@waiting_options
def promote(app: App, endpoint: str, version: str, **options: Any) -> None:
    """Give one version all of the traffic once it is ready.

    One whose signature would break clients of the live one wants --accept-signature-change, as with 'deploy'.
    """
    client = app.client()

    def change(**how: Any) -> Endpoint:
        return client.endpoints.promote(endpoint, version, **accepted, **how)

    waiting, accepted = _parted(options)
    finish(app, change, **waiting)


@command("rollback", "tidegate rollback churn", "tidegate rollback churn --to 3")
@click.argument("endpoint")
@click.option("--to", type=int, metavar="REVISION", help="A revision of 'tidegate status ENDPOINT'.")
@waiting_options
def rollback(app: App, endpoint: str, to: int | None, no_wait: bool, timeout_s: float) -> None:
    """Re-apply people's newest earlier traffic that differs, starting replicas if it must. Twice is back again.

    While an experiment, canary or bandit sets the traffic, that ends, and what was stable is restored.
    Traffic alone: the number of replicas, backend, CPU and memory, rate limit and kept answers stay as they are now.
    The notes of 'tidegate status ENDPOINT' say what they were; 'tidegate deploy' sets them.
    """
    client = app.client()
    finish(app, lambda **waiting: client.endpoints.rollback(endpoint, to, **waiting), no_wait, timeout_s)


@command("delete", "tidegate delete churn", "tidegate delete churn --yes")
@click.argument("endpoint")
@yes_option
@waiting_options
def delete(app: App, endpoint: str, yes: bool, no_wait: bool, timeout_s: float) -> None:
    """Remove an endpoint: its replicas finish what they have and end. Its model, versions and history stay."""
    app.confirm(f"Remove endpoint {endpoint}?", yes=yes)
    app.client().endpoints.delete(endpoint, wait=not no_wait, timeout_s=timeout_s)
    app.emit({"deleted": endpoint}, lambda: f"endpoint {endpoint} is {'being ' if no_wait else ''}removed")
