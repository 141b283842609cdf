"""`tidegate monitor`: sets how an endpoint is monitored, has it evaluated, and shows what was found."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tidegate.cli.app import App, command
from tidegate.cli.endpoints.performance import seconds
from tidegate.cli.output import moment, span
from tidegate.errors import InvalidArgument, MonitorsAlert
from tidegate.wire.monitoring.monitoring import MonitorResult, MonitorView

if TYPE_CHECKING:
    from tidegate.client.client import Client

HISTORY_MAX = 5_000
ALERTS_COUNTED_MAX = 100
FAIL_ON = {
    "drift": ("feature_drift", "prediction_drift"),
    "quality": ("data_quality",),
    "performance": ("performance", "estimated_performance"),
    "traffic": ("traffic",),
    "latency": ("latency",),
    "errors": ("errors",),
    "labels": ("label_coverage", "label_shift"),
    "capture": ("capture",),
}
_SPANS = {"every": "every_s", "window": "window_s", "label_delay": "label_delay_s", "block": "block_s"}


@command(
    "monitor",
    "tidegate monitor churn",
    "tidegate monitor churn --now --json",
    "tidegate monitor churn --every 1m --label-delay 7d",
    "tidegate monitor churn --report churn.html",
    "tidegate monitor churn --now --fail-on drift,performance",
    "tidegate monitor churn --off",
)
@click.argument("endpoint")
@click.option("--every", metavar="SPAN", help="Evaluate it so often [default: 5m].")
@click.option("--window", metavar="SPAN", help="What errors and latency are looked at over [default: 1h].")
@click.option("--label-delay", metavar="SPAN", help="How long labels take: no younger rows are judged [default: 0s].")
@click.option("--block", metavar="SPAN", help="Judge drift over so long at least, and 500 rows [default: 1d].")
@click.option("--by", metavar="COLUMN", help="A column whose values are segments; '' for none.")
@click.option("--timezone", metavar="TZ", help="Whose days they are, such as Europe/Berlin [default: UTC].")
@click.option(
    "--selective-labels/--all-labels",
    "selective_labels",
    default=None,
    help="Labels come for rows that were chosen by prediction or outcome: average none [default: all].",
)
@click.option("--on/--off", "on", default=None, help="Monitor it, or not at all [default: on].")
@click.option("--now", is_flag=True, help="Evaluate it at once, as a scheduled run does, alerts and all.")
@click.option("--since", metavar="SPAN", default="1d", show_default=True, help="Show what was found since then.")
@click.option("--report", type=click.Path(path_type=Path, dir_okay=False), metavar="F.html", help="Save a page of it.")
@click.option("--fail-on", metavar="WHAT,…", help=f"End with 1 where one of these alerts: {', '.join(FAIL_ON)}, any.")
def monitor(app: App, endpoint: str, now: bool, report: Path | None, fail_on: str | None, **given: Any) -> None:
    """Watch an endpoint: drift and quality of what goes in and out, performance by its labels, traffic and errors.

    It needs no setting: each endpoint is evaluated every 5 minutes, its versions against their baselines (of the
    validation data, of 'tidegate baseline', or of production's first day). Odd values are told from 500 rows on, drift
    after a day, and both at once with --now; all monitors of an endpoint together raise at most one false alarm in 30
    days.

    Options that set something change how it is monitored from now on. Without any, it shows what was found last.
    """
    failing, span_s = _failing(fail_on), seconds(given.pop("since"), "--since")
    client = app.client()
    asked = _asked(given)
    if asked:
        view = client.monitoring.set(endpoint, **asked)
        if not (now or report or fail_on):
            return app.emit(view, lambda: described(view))
    from tidegate import clock

    at = clock.now()
    found = client.monitoring.run(endpoint) if now else []
    view = client.monitoring.get(endpoint)
    history = client.monitoring.results(endpoint, since=at - span_s, limit=HISTORY_MAX)
    shown = found or _newest(history)
    if report is not None:
        _save(report, client.monitoring.report(endpoint, span_s))
    app.emit(shown, lambda: _text(view, shown, history) + _alerts_line(client, endpoint))
    _fail(shown, failing)
    return None


def _asked(given: dict[str, Any]) -> dict[str, Any]:
    asked = {name: given[name] for name in ("by", "timezone", "on", "selective_labels") if given[name] is not None}
    for option, name in _SPANS.items():
        if given[option] is not None:
            asked[name] = seconds(given[option], f"--{option.replace('_', '-')}")
    return asked


def _failing(fail_on: str | None) -> frozenset[str]:
    """The monitors whose alerts end the command with 1."""
    if fail_on is None:
        return frozenset()
    wanted = [name.strip() for name in fail_on.split(",") if name.strip()]
    for name in wanted:
        if name not in FAIL_ON and name != "any":
            raise InvalidArgument(f"--fail-on {name!r} is none of {', '.join(FAIL_ON)} and any", field="fail-on")
    every = "any" in wanted
    return frozenset(monitor for name, monitors in FAIL_ON.items() if every or name in wanted for monitor in monitors)


def _newest(history: Sequence[MonitorResult]) -> list[MonitorResult]:
    from tidegate.report import reading

    return reading.newest(history)


def _text(view: MonitorView, shown: Sequence[MonitorResult], history: Sequence[MonitorResult]) -> str:
    from tidegate.cli.watching import found

    is_ascii = not found.takes_blocks(sys.stdout.encoding)
    return f"{described(view)}\n\n{found.summary(shown, history, is_ascii=is_ascii)}"


def _alerts_line(client: Client, endpoint: str) -> str:
    """What goes on that this evaluation may say nothing of: an alert outlives the result that raised it."""
    firing = client.alerts.page(endpoint, "firing", ALERTS_COUNTED_MAX).rows
    if not firing:
        return ""
    number = f"{ALERTS_COUNTED_MAX} alerts and more" if len(firing) == ALERTS_COUNTED_MAX else f"{len(firing)} alerts"
    return f"\n\n{'1 alert is' if len(firing) == 1 else f'{number} are'} firing: tidegate alerts --endpoint {endpoint}"


def described(view: MonitorView) -> str:
    """How an endpoint is monitored, in two lines."""
    if not view.on:
        return f"endpoint {view.endpoint} is not monitored ('tidegate monitor {view.endpoint} --on' has it so)"
    parts = [f"endpoint {view.endpoint} is evaluated every {span(view.every_s)}"]
    if view.label_delay_s:
        parts.append(f"labels take {span(view.label_delay_s)}")
    if view.selective_labels:
        parts.append("labels are selective")
    if view.by:
        parts.append(f"segments by {view.by}")
    last = f"last at {moment(view.evaluated_at)}" if view.evaluated_at else "not yet"
    trouble = f"\nthe last evaluation failed: {view.trouble}" if view.trouble else ""
    return f"{', '.join(parts)}; {last}{trouble}"


def _save(path: Path, page: str) -> None:
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise InvalidArgument(f"the report cannot be written to {path}: {error}", field="report") from None
    click.echo(f"saved the report as {path}", err=True)


def _fail(shown: Sequence[MonitorResult], failing: frozenset[str]) -> None:
    alerts = [one for one in shown if one.state == "alert" and one.monitor in failing]
    if alerts:
        names = ", ".join(dict.fromkeys(one.feature or one.metric or one.monitor for one in alerts))
        raise MonitorsAlert(f"{len(alerts)} of the monitors that --fail-on names alert: {names}")
