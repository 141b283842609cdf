"""Notifiers: where notices go. Their secrets are kept, sent with, and never shown again."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy.orm import Session

from tidegate.clock import Clock
from tidegate.core.access import Principal
from tidegate.core.alerting.messages import trial_payload
from tidegate.core.alerting.rules import shown_url
from tidegate.core.names import check_name
from tidegate.errors import Conflict, InvalidArgument, UnknownNotifier
from tidegate.services.alerting.views import delivery_view, notifier_view
from tidegate.services.reading.lookup import live_or_raise
from tidegate.store import audit
from tidegate.store.alerting import alerts as rows
from tidegate.store.alerting import outbox
from tidegate.store.database.engine import Store
from tidegate.store.tables.alerts import NotifierRow
from tidegate.wire.monitoring import alerts as wire

NOTIFIERS_MAX = 100
SECRET_PREFIX, SECRET_BYTES = "whsec_", 24
SECRET_BYTES_MIN, SECRET_BYTES_MAX = 16, 64


class CheckedConfig(Protocol):
    """Raises `InvalidArgument` for a configuration with which nothing could be sent: `adapters.notifiers.check`."""

    def __call__(self, kind: str, config: dict[str, str]) -> None: ...


@dataclass(frozen=True)
class Notifiers:
    """The use cases. `changed` wakes the notify loop, `check` is the adapters' word on a configuration."""

    store: Store
    clock: Clock
    check: CheckedConfig
    changed: Callable[[], None]
    url: str = ""

    def all(self) -> list[wire.NotifierView]:
        """All notifiers, by name."""
        with self.store.reading() as tx:
            counts, _ = outbox.figures(tx)
            return [notifier_view(row, counts) for row in rows.notifiers(tx)]

    def put(self, name: str, request: wire.NotifierRequest, who: Principal) -> wire.NotifierView:
        """Make it, or change it whole. A webhook's secret is in the answer where one was made.

        Raises `InvalidArgument`, `UnknownEndpoint`, and `Conflict` where there are too many.
        """
        check_name(name, "notifier")
        now = self.clock()
        self.check(request.kind, _config(request, None)[0])  # takes a second for some: in no transaction
        with self.store.transaction() as tx:
            row = rows.get_notifier(tx, name)
            config, made = _config(request, row)
            if request.endpoint is not None:
                live_or_raise(tx, request.endpoint)
            if row is None and len(rows.notifiers(tx)) >= NOTIFIERS_MAX:
                raise Conflict(f"there are {NOTIFIERS_MAX} notifiers, which is the most: delete one first")
            before = {} if row is None else _audited(row)
            row = row or NotifierRow(name=name, created_at=now)
            row.kind, row.config, row.resolved = request.kind, config, request.resolved
            row.endpoint, row.severity_min = request.endpoint or "", request.severity_min
            tx.add(row)
            changes = audit.differing(before, _audited(row))
            if request.secret is not None:
                changes["secret"] = (None, "set")
            audit.record(tx, who, now, audit.AuditedChange("notifier", "notifier", name, changes))
            tx.flush()
            view = notifier_view(row, outbox.figures(tx)[0], made)
        self.changed()
        return view

    def delete(self, name: str, who: Principal) -> None:
        """What waits for it is forgotten with it. Raises `UnknownNotifier`."""
        with self.store.transaction() as tx:
            row = _or_raise(tx, name)
            outbox.drop_target(tx, name)
            gone = audit.differing(_audited(row), {})
            audit.record(tx, who, self.clock(), audit.AuditedChange("delete_notifier", "notifier", name, gone))
            tx.delete(row)

    def test(self, name: str, who: Principal) -> wire.DeliveryView:
        """Queue a message that says it is a test. Raises `UnknownNotifier`."""
        now = self.clock()
        with self.store.transaction() as tx:
            _or_raise(tx, name)
            body = trial_payload(name, self.url, now)
            row = outbox.add(tx, outbox.NewDelivery("test", name, "", body), now)
            audit.record(tx, who, now, audit.AuditedChange("test_notifier", "notifier", name))
            view = delivery_view(row)
        self.changed()
        return view


def _or_raise(tx: Session, name: str) -> NotifierRow:
    row = rows.get_notifier(tx, name)
    if row is None:
        known = ", ".join(one.name for one in rows.notifiers(tx)) or "none yet"
        raise UnknownNotifier(f"no notifier is named {name!r}: there are {known}", notifier=name)
    return row


def _config(request: wire.NotifierRequest, row: NotifierRow | None) -> tuple[dict[str, str], str | None]:
    """What is kept, and the secret if one was made just now. One that is there stays where none is given."""
    given = {"url": request.url, "sender": request.sender, "recipients": request.recipients}
    config = {name: value for name, value in given.items() if value is not None}
    if request.kind != "webhook":
        if request.secret is not None:
            raise InvalidArgument(
                f"a {request.kind} notifier takes no secret: only webhooks are signed", field="secret"
            )
        return config, None
    if request.secret is not None:
        return config | {"secret": _checked_secret(request.secret)}, None
    if row is not None and row.kind == "webhook":
        return config | {"secret": row.config["secret"]}, None
    made = SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
    return config | {"secret": made}, made


def _checked_secret(secret: str) -> str:
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except ValueError:
        key = b""
    if not secret.startswith(SECRET_PREFIX) or not SECRET_BYTES_MIN <= len(key) <= SECRET_BYTES_MAX:
        raise InvalidArgument(
            f"a secret is {SECRET_PREFIX} and {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes in base64; without one, "
            "one is made",
            field="secret",
        )
    return secret


def _audited(row: NotifierRow) -> dict[str, Any]:
    """For the audit: without what is secret."""
    shown = {name: value for name, value in row.config.items() if name in ("sender", "recipients")}
    return {
        "kind": row.kind,
        "address": shown_url(row.config["url"]),
        "endpoint": row.endpoint or None,
        "severity_min": row.severity_min,
        "resolved": row.resolved,
        **shown,
    }
