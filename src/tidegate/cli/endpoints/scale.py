"""`tidegate scale`: fixes the number of replicas, has them follow the load, and says why there are as many."""

from __future__ import annotations

import textwrap
from typing import Any

import click

from tidegate.cli.app import App, command
from tidegate.cli.endpoints.change import finish, waiting_options
from tidegate.cli.endpoints.performance import seconds
from tidegate.cli.output import WIDTH, moment, table
from tidegate.wire.endpoints.scaling import ScaleDecision, ScalingView
from tidegate.wire.rest import Endpoint, Scale

_WINDOWS = {
    "stable_window": ("stable_s", "--stable-window"),
    "panic_window": ("panic_s", "--panic-window"),
    "down_window": ("down_s", "--down-window"),
    "idle": ("idle_s", "--idle"),
}


@command(
    "scale",
    "tidegate scale churn --replicas 3",
    "tidegate scale churn --min 1 --max 10 --target concurrency=4",
    "tidegate scale churn --min 0 --idle 5m",
    "tidegate scale churn --min 2 --max 20 --target cpu=70 --autoscaler engine",
    "tidegate scale churn --explain",
)
@click.argument("endpoint")
@click.option("--replicas", type=click.IntRange(min=1), help="So many of each version; ends autoscaling.")
@click.option("--min", "min_", type=int, metavar="N", help="At least so many of each version [default: MIN_REPLICAS].")
@click.option("--max", "max_", type=int, metavar="N", help="At most so many [default: MAX_REPLICAS].")
@click.option(
    "--target",
    metavar="METRIC=X",
    help="What each replica should have: concurrency=X requests in progress, rps=X requests a second, or cpu=X percent "
    "of a core [default: cpu=TARGET_CPU_UTILIZATION].",
)
@click.option("--stable-window", metavar="SPAN", help="How long load is looked at [default: 60s].")
@click.option("--panic-window", metavar="SPAN", help="How long in a rush [default: 6s].")
@click.option("--down-window", metavar="SPAN", help="A fleet shrinks to what it needed for so long [default: 300s].")
@click.option("--idle", metavar="SPAN", help="With --min 0: sleep after so long without a request.")
@click.option("--autoscaler", metavar="NAME", help="tidegate, or engine: Kubernetes' or Cloud Run's own.")
@click.option("--explain", is_flag=True, help="Change nothing: say why there are as many, which is also the default.")
@waiting_options
def scale(app: App, endpoint: str, explain: bool, no_wait: bool, timeout_s: float, **given: Any) -> None:
    """Fix how many replicas each version of the endpoint has, or have them follow its load.

    With --min, --max or --target each version has as many replicas as its load needs, within the bounds. What is not
    given stays as it is, or where the load was not followed before is as the platform's settings say. --replicas fixes
    the number again. Without any of them, or with --explain, nothing is changed: it says how many there are, and why.
    """
    asked = _asked(given)
    client = app.client()
    if explain or not asked:
        if explain and asked:
            raise click.UsageError("--explain changes nothing: give no other option", click.get_current_context())
        found = client.endpoints.explain_scale(endpoint)
        return app.emit(found.versions, lambda: explained(found))

    def change(**waiting: Any) -> Endpoint:
        return client.endpoints.scale(endpoint, **asked, **waiting)

    return finish(app, change, no_wait, timeout_s, _followed)


def _asked(given: dict[str, Any]) -> dict[str, Any]:
    asked = {name: given[key] for key, name in (("replicas", "replicas"), ("min_", "min"), ("max_", "max"))}
    asked |= {name: given[name] for name in ("target", "autoscaler")}
    for key, (name, option) in _WINDOWS.items():
        asked[name] = None if given[key] is None else seconds(given[key], option)
    return {name: value for name, value in asked.items() if value is not None}


def _followed(endpoint: Endpoint) -> str:
    if endpoint.scaling is None:
        return ""
    return f"; {following(endpoint.scaling)} ('tidegate scale {endpoint.name}' says why as many)"


def following(view: ScalingView) -> str:
    """How replicas follow the load, in a line."""
    sleeps = "" if view.idle_s is None else f", none after {view.idle_s:g} s without a request"
    by = "" if view.autoscaler == "tidegate" else ", which its engine counts"
    return f"{view.min} to {view.max} replicas of each version by {view.metric}={view.target:g}{sleeps}{by}"


def explained(found: Scale) -> str:
    """A row for each version, then the reason for each, and when that may change by itself."""
    rows = [_row(one) for one in found.versions]
    headers = ("version", "desired", "ready", "rule", "load", "needs", "starts in")
    return "\n".join(
        [
            *_lines(f"endpoint {found.endpoint}: {_asked_for(found)}", ""),
            "",
            table(headers, rows, "no version runs"),
            "",
            *(line for one in found.versions for line in _why(one)),
        ]
    )


def scaled(found: Scale) -> list[str]:
    """For an endpoint's status: nothing where the number is fixed."""
    if found.scaling is None:
        return []
    whys = (line for one in found.versions for line in _lines(f"version {one.version}: {one.rule}, {one.reason}", "  "))
    head = f"scales from {following(found.scaling)} ('tidegate scale {found.endpoint}' tells more)"
    return ["", *_lines(head, "  "), *whys]


def _asked_for(found: Scale) -> str:
    view = found.scaling
    if view is None:
        count = "1 replica" if found.replicas == 1 else f"{found.replicas} replicas"
        return f"{count} of each version, whatever the load ('--min A --max B --target concurrency=X' follows it)"
    if view.autoscaler != "tidegate":
        return following(view)
    looks = f"looks at the load over {view.stable_s:g} s, in a rush over {view.panic_s:g} s"
    return f"{following(view)}; {looks}, and shrinks to the most of {view.down_s:g} s"


def _row(one: ScaleDecision) -> list[str]:
    samples = one.samples
    load = "-" if samples is None else "unknown" if samples.stable is None else f"{samples.stable:.3g}"
    needs = "-" if samples is None or samples.need is None else str(samples.need)
    cold = "-" if samples is None or samples.cold_start_s is None else f"{samples.cold_start_s:.1f} s"
    counts = ["unknown"] * 2 if one.managed_by else [str(one.desired), str(one.ready)]
    return [one.version, *counts, one.rule, load, needs, cold]


def _why(one: ScaleDecision) -> list[str]:
    more = "" if one.next_at is None else f"; may change by itself at {moment(one.next_at)}"
    return _lines(f"version {one.version}: {one.reason}{more}", "  ")


def _lines(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
