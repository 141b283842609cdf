"""`alerts` and its verbs: list, show, ack, silence, deliveries."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import click

from tidegate.cli.app import CONTEXT, App, LazyGroup, command, common_options, paging_options, remember
from tidegate.cli.endpoints.performance import seconds
from tidegate.cli.output import WIDTH, moment, table
from tidegate.cli.watching.alert_rules import rule_changes
from tidegate.errors import InvalidArgument
from tidegate.wire.monitoring.alerts import AlertView, DeliveryView, Replay, ReplayedAlert, SilenceView

STATES = ("pending", "firing", "inhibited", "silenced", "acknowledged", "not_enough_data", "resolved")


@click.group("alerts", cls=LazyGroup, invoke_without_command=True, context_settings=CONTEXT, params=common_options())
@click.option("--endpoint", help="Only alerts of this endpoint.")
@click.option(
    "--state", type=click.Choice(STATES), metavar="STATE", help=f"Only alerts like this: {', '.join(STATES)}."
)
@paging_options
@click.pass_context
def alerts(
    ctx: click.Context,
    /,
    endpoint: str | None,
    state: str | None,
    limit: int | None,
    cursor: str | None,
    **common: Any,
) -> None:
    """List alerts, newest first (without a further command), show or acknowledge one, or silence some.

    What fires is told to the notifiers ('tidegate notifiers'), once and then daily; that it ended is told too. Alerts
    that another one explains are inhibited. Rules ('tidegate alert-rules') say when, how often, and what else is done.
    """
    app = remember(ctx, **common)
    if ctx.invoked_subcommand is not None:
        return
    page = app.client().alerts.page(endpoint, state, limit, cursor)
    app.emit_page("alerts", page, lambda: _table(page.rows))


alerts.examples = (
    "tidegate alerts",
    "tidegate alerts --endpoint churn --state firing --json",
    "tidegate alerts ack 3f2a9c81d0e4",
    "tidegate alerts silence endpoint=churn 'feature=age*' --for 2h",
    "tidegate alerts test churn --since 30d",
)


def _table(found: Sequence[AlertView]) -> str:
    """Of each alert a line of fixed columns, and below it what it is about, within 80 characters."""
    if not found:
        return "no alerts"
    lines = [f"{'ALERT':<12}  {'SEVERITY':<8}  {'STATE':<15}  SINCE"]
    for one in found:
        lines.append(f"{one.id:<12}  {one.severity:<8}  {one.state:<15}  {moment(one.since)}")
        lines += textwrap.wrap(
            f"{_what(one)}: {one.message}", WIDTH, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False
        )
        if one.quiet_because or one.ended_because:
            lines += textwrap.wrap(
                f"({one.quiet_because or one.ended_because})", WIDTH, initial_indent="  ", subsequent_indent="  "
            )
    return "\n".join(lines)


def _what(one: AlertView) -> str:
    """`churn:2 data_drift age`."""
    about = [part for part in (one.feature, one.metric, one.segment) if part]
    return " ".join([f"{one.endpoint}:{one.version}" if one.version else one.endpoint, one.type, *about])


def _described(one: AlertView) -> str:
    lines = [
        ("alert", f"{one.id} {_what(one)}"),
        ("state", f"{one.state}, {one.severity}" + (f" ({one.quiet_because})" if one.quiet_because else "")),
        ("message", one.message),
        ("since", moment(one.since)),
        ("fired", moment(one.fired_at)),
        ("ended", f"{moment(one.ended_at)} ({one.ended_because})" if one.ended_at else "-"),
        *(("done", action) for action in one.actions),
        *((name, f"{value:.6g}") for name, value in one.evidence.items() if name not in _TIMES),
    ]
    longest = max(len(name) for name, _value in lines)
    return "\n".join(f"{name:<{longest}}  {value}" for name, value in lines)


_TIMES = ("since", "until", "evaluated_at")


@command("show", "tidegate alerts show 3f2a9c81d0e4")
@click.argument("alert")
def show(app: App, alert: str) -> None:
    """Show an alert: why it is quiet or over, the numbers it is about, and what was done."""
    found = app.client().alerts.get(alert)
    app.emit(found, lambda: _described(found))


@command("ack", "tidegate alerts ack 3f2a9c81d0e4", "tidegate alerts ack 3f2a9c81d0e4 --off")
@click.argument("alert")
@click.option("--off", is_flag=True, help="Take it back.")
def ack(app: App, alert: str, off: bool) -> None:
    """Say that somebody has seen an alert: it is not repeated, and nothing is done because of it. Its end is told."""
    found = app.client().alerts.acknowledge(alert, off=off)
    app.emit(found, lambda: f"{found.id} {_what(found)} is {found.state}")


@command(
    "silence",
    "tidegate alerts silence endpoint=churn --for 2h --comment migration",
    "tidegate alerts silence endpoint=churn 'feature=age*' alertname=data_drift --for 7d",
    "tidegate alerts silence 3f2a9c81d0e4",
    "tidegate alerts silence",
    "tidegate alerts silence --end 9f1c20d4e7ab",
)
@click.argument("matchers", nargs=-1, metavar="[ALERT | LABEL=VALUE …]")
@click.option("--for", "span", metavar="SPAN", default="2h", show_default=True, help="How long, from now on.")
@click.option("--comment", default="", help="Why.")
@click.option("--end", metavar="SILENCE", help="End this one now.")
def silence(app: App, matchers: tuple[str, ...], span: str, comment: str, end: str | None) -> None:
    """Tell nobody of alerts that match for a while; without arguments list silences.

    Labels are alertname, endpoint, version, monitor, feature, metric, segment and severity; '*' in a value stands for
    any characters. That an alert ended is told all the same, to those who heard that it fires.
    """
    client = app.client().alerts
    if end is not None:
        if matchers:
            raise click.UsageError("--end takes no matchers", click.get_current_context())
        return _emit_silence(app, client.end_silence(end))
    if not matchers:
        found = client.silences()
        return app.emit({"silences": found}, lambda: _silences(found))
    return _emit_silence(app, client.silence(_matchers(matchers), seconds(span, "--for"), comment))


def _matchers(given: Sequence[str]) -> dict[str, str]:
    if len(given) == 1 and "=" not in given[0]:
        return {"id": given[0]}
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise InvalidArgument(f"{text!r} is no LABEL=VALUE, such as endpoint=churn", field="matchers")
        found[name] = value
    return found


def _emit_silence(app: App, one: SilenceView) -> None:
    app.emit(one, lambda: f"silence {one.id} {'until' if one.active else 'ended'} {moment(one.ends_at)}")


def _silences(found: Sequence[SilenceView]) -> str:
    rows = [
        [
            one.id,
            " ".join(f"{name}={value}" for name, value in one.matchers.items()),
            f"{'until' if one.active else 'ended'} {moment(one.ends_at)}",
            one.created_by,
            one.comment or "-",
        ]
        for one in found
    ]
    return table(("silence", "matches", "when", "by", "comment"), rows, "no silences")


@command(
    "deliveries",
    "tidegate alerts deliveries",
    "tidegate alerts deliveries --state dead",
    "tidegate alerts deliveries --resend 17",
)
@click.option("--state", type=click.Choice(("pending", "sent", "dead", "refused")), help="Only those like this.")
@click.option("--notifier", help="Only those of this notifier.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="At most so many.")
@click.option("--resend", type=int, metavar="NUMBER", help="Send this one again, which was given up.")
def deliveries(app: App, state: str | None, notifier: str | None, limit: int, resend: int | None) -> None:
    """Show what was sent and done because of alerts, newest first, and send again what was given up.

    What fails is sent again for three days, at growing intervals; what a receiver refuses is given up (dead) at once.
    """
    client = app.client().alerts
    if resend is not None:
        one = client.resend(resend)
        return app.emit(one, lambda: f"delivery {one.id} to {one.target} is {one.state}")
    found = client.deliveries(state, notifier, limit)
    return app.emit({"deliveries": found}, lambda: _deliveries(found))


def _deliveries(found: Sequence[DeliveryView]) -> str:
    rows = [
        [str(one.id), one.target, one.kind, one.state, str(one.attempts), moment(one.created_at), one.outcome or "-"]
        for one in found
    ]
    return table(("delivery", "to", "kind", "state", "attempts", "at", "outcome"), rows, "nothing was sent")


@command(
    "test",
    "tidegate alerts test churn --since 30d",
    "tidegate alerts test churn --since 7d --threshold drift=0.1 --for errors=15m",
    "tidegate alerts test churn --since 30d --stored --json",
)
@click.argument("endpoint")
@click.option("--since", metavar="SPAN", default="30d", show_default=True, help="From then until now.")
@click.option("--stored", is_flag=True, help="Of what monitors found then, which is fast, and not of captured rows.")
@click.option("--for", "for_s", multiple=True, metavar="[TYPE=]SPAN", help="As if it were so: see 'alert-rules'.")
@click.option("--keep-firing-for", multiple=True, metavar="[TYPE=]SPAN", help="The same.")
@click.option("--threshold", multiple=True, metavar="TYPE=X", help="The same.")
@click.option("--mute", multiple=True, metavar="TYPE", help="The same.")
def test(app: App, endpoint: str, since: str, stored: bool, **given: tuple[str, ...]) -> None:
    """Show what an endpoint's rules would have sent, with other rules on top if given. Nothing is sent or changed.

    The rows that were captured or imported are evaluated as they would have been, against the baselines of now; 30 days
    by the hour. --json is a list: what would have been sent when, that alerts ended too.
    """
    source: Any = "results" if stored else "captured"
    with app.progress() as report:
        if not stored:
            report(f"evaluating the last {since}, for four minutes at most", 0.0)
        found = app.client().alerts.test_rules(endpoint, seconds(since), rule_changes(given), source, report)
    app.emit(found.alerts, lambda: _replay(found))
    if found.until - found.since < 0.99 * seconds(since):
        app.note(f"there was no time for more than until {moment(found.until)}: a shorter --since has time enough")


def _replay(found: Replay) -> str:
    rows = [[moment(one.at), one.status, one.severity, _of(one), one.message] for one in found.alerts]
    looked = f"{found.evaluations} evaluations, {found.results} results"
    return f"{table(('at', 'status', 'severity', 'what', 'message'), rows, 'nothing would have been sent')}\n\n{looked}"


def _of(one: ReplayedAlert) -> str:
    parts = (one.type, f"version {one.version}" if one.version else None, one.feature, one.metric, one.segment)
    return " ".join(part for part in parts if part)


for _verb in (test, show, ack, silence, deliveries):
    alerts.add_command(_verb)
