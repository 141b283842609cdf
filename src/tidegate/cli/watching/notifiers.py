"""`notifiers` and its verbs: list, add, test, delete."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tidegate.cli.app import CONTEXT, App, LazyGroup, command, common_options, remember, yes_option
from tidegate.cli.output import table
from tidegate.errors import DeliveryFailed
from tidegate.wire.monitoring.alerts import NotifierView

HEADERS = ("notifier", "kind", "address", "endpoint", "severity", "pending", "dead")
KINDS = ("webhook", "slack", "alertmanager", "smtp", "apprise")
SEVERITIES = ("low", "medium", "high", "critical")


@click.group("notifiers", cls=LazyGroup, invoke_without_command=True, context_settings=CONTEXT, params=common_options())
@click.pass_context
def notifiers(ctx: click.Context, json_: bool, data_dir: Path | None, url: str | None) -> None:
    """List who is told of alerts (without a further command), add, test or delete one."""
    app = remember(ctx, json_, data_dir, url)
    if ctx.invoked_subcommand is None:
        _list(app)


notifiers.examples = (
    "tidegate notifiers",
    "tidegate notifiers add team --webhook https://hooks.example/tidegate",
    "tidegate notifiers test team",
)


def _list(app: App) -> None:
    found = app.client().alerts.notifiers()
    none = "nobody is told of alerts: 'tidegate notifiers add NAME --webhook URL'"
    app.emit({"notifiers": found}, lambda: table(HEADERS, [_cells(one) for one in found], none))


def _cells(one: NotifierView) -> list[str]:
    return [
        one.name,
        one.kind,
        one.address,
        one.endpoint or "all",
        f"{one.severity_min} or more",
        str(one.pending),
        str(one.dead),
    ]


@command("list", "tidegate notifiers list --json")
def list_(app: App) -> None:
    """List notifiers, what waits for each, and what was given up."""
    _list(app)


@command(
    "add",
    "tidegate notifiers add team --webhook https://hooks.example/tidegate",
    "tidegate notifiers add chat --slack https://hooks.slack.com/services/T0/B0/x --severity high",
    "tidegate notifiers add am --alertmanager http://alertmanager:9093",
    "tidegate notifiers add mail --smtp smtps://me:secret@mail.example --from me@a.example --to ada@a.example",
    "tidegate notifiers add phones --apprise ntfys://ntfy.sh/our-alerts",
)
@click.argument("name")
@click.option("--webhook", metavar="URL", help="Alertmanager's payload (version 4), signed.")
@click.option("--slack", metavar="URL", help="A Slack-compatible incoming webhook.")
@click.option("--alertmanager", metavar="URL", help="An Alertmanager (its API version 2).")
@click.option("--smtp", metavar="URL", help="A mail server: smtp:// or smtps://[user:password@]host[:port].")
@click.option("--apprise", metavar="URL", help="A service of Apprise, such as discord://ID/TOKEN.")
@click.option("--from", "sender", metavar="ADDRESS", help="smtp: who sends.")
@click.option("--to", "recipients", metavar="ADDRESS,…", help="smtp: who gets it.")
@click.option("--secret", metavar="whsec_…", help="webhook: sign with this one; one is made where none is given.")
@click.option("--endpoint", help="Only alerts of this endpoint.")
@click.option("--severity", type=click.Choice(SEVERITIES), default="low", show_default=True, help="So severe or more.")
@click.option("--no-resolved", is_flag=True, help="Do not tell that alerts ended.")
def add(app: App, name: str, endpoint: str | None, severity: str, no_resolved: bool, **given: str | None) -> None:
    """Have somebody told of alerts, or change how: by exactly one of --webhook, --slack, --alertmanager, --smtp,
    --apprise.

    A webhook's messages are signed as Standard Webhooks says, with a secret that is shown this once. Internal addresses
    are refused unless TIDEGATE_NOTIFY_NETWORKS lists them; loopback is allowed while the platform listens on loopback.
    """
    urls = {kind: url for kind in KINDS if (url := given.pop(kind)) is not None}
    if len(urls) != 1:
        raise click.UsageError(
            "give exactly one of --webhook, --slack, --alertmanager, --smtp and --apprise", click.get_current_context()
        )
    ((kind, url),) = urls.items()
    options: Any = {**given, "endpoint": endpoint, "severity_min": severity, "resolved": not no_resolved}
    made = app.client().alerts.put_notifier(name, kind, url, **options)
    app.emit(made, lambda: _made(made))


def _made(one: NotifierView) -> str:
    secret = f"\nsecret {one.secret} (not shown again)" if one.secret else ""
    return f"{one.name}: {one.kind} {one.address}{secret}\ntry it: tidegate notifiers test {one.name}"


@command("test", "tidegate notifiers test team")
@click.argument("name")
def test(app: App, name: str) -> None:
    """Send a message that says it is a test, and say what came of the first attempt."""
    found = app.client().alerts.test_notifier(name)
    if found.state != "sent":
        raise DeliveryFailed(
            f"notifier {name!r} did not take the message: {found.outcome or 'it is still on its way'}",
            state=found.state,
        )
    app.emit(found, lambda: f"{name} took the message" + (f", but {found.outcome}" if found.outcome else ""))


@command("delete", "tidegate notifiers delete team --yes")
@click.argument("name")
@yes_option
def delete(app: App, name: str, yes: bool) -> None:
    """Tell somebody no more; what waits for it is forgotten."""
    app.confirm(f"Delete notifier {name}?", yes=yes)
    app.client().alerts.delete_notifier(name)
    app.emit({"deleted": name}, lambda: f"deleted {name}")


for _verb in (list_, add, test, delete):
    notifiers.add_command(_verb)
