"""The verb that tells who changed what."""

from __future__ import annotations

from typing import Any

import click

from tidegate.cli.app import App, command
from tidegate.cli.endpoints.performance import seconds
from tidegate.cli.output import moment, table
from tidegate.wire.audit import AuditEntry

VALUE_CHARS_MAX = 60


@command(
    "audit",
    "tidegate audit --since 7d",
    "tidegate audit --endpoint churn",
    "tidegate audit --since 24h --endpoint churn --json",
)
@click.option("--since", metavar="SPAN", help="Only the last 30m, 24h or 7d.")
@click.option("--endpoint", help="Only changes of this endpoint, also if it is gone.")
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=1000, show_default=True, help="At most so many.")
def audit(app: App, since: str | None, endpoint: str | None, limit: int) -> None:
    """Show who changed what, newest first: each value before and after.

    Kept apart from what it is about: a change is told also when its endpoint or model is gone. --json has the values
    whole, and the id of the request that began each change.
    """
    found = app.client().platform.audit(None if since is None else seconds(since), endpoint, limit)
    app.emit({"entries": found}, lambda: _table(found))
    if len(found) == limit:
        app.note(f"there may be more than these {limit}: --limit shows them")


def _table(found: list[AuditEntry]) -> str:
    rows = [
        [
            moment(entry.at),
            entry.who.name or entry.who.kind,
            entry.action if entry.outcome == "done" else f"{entry.action} ({entry.outcome})",
            f"{entry.subject.kind} {entry.subject.name}",
            ", ".join(f"{name} {_change(*values)}" for name, values in entry.changes.items()) or entry.note or "-",
        ]
        for entry in found
    ]
    return table(("at", "who", "action", "what", "before → after"), rows, "nothing was changed")


def _change(before: Any, after: Any) -> str:
    if before is None:
        return _text(after)
    return f"{_text(before)} → {_text(after)}"


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, dict):
        text = " ".join(f"{key}={_text(part)}" for key, part in value.items()) or "none"
    else:
        text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= VALUE_CHARS_MAX else text[: VALUE_CHARS_MAX - 1] + "…"
