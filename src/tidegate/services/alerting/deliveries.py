"""What is to be sent and done because of alerts: read and marked by the notify loop, shown to people."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from tidegate.clock import Clock
from tidegate.core.access import Principal
from tidegate.core.backoff import Backoff
from tidegate.errors import Conflict, InvalidArgument, UnknownDelivery
from tidegate.services.alerting.views import delivery_view
from tidegate.services.reading.pages import check_page
from tidegate.store import audit
from tidegate.store.alerting import alerts as rows
from tidegate.store.alerting import outbox
from tidegate.store.database.engine import Store
from tidegate.store.tables.alerts import OutboxRow
from tidegate.wire.monitoring import alerts as wire

BACKOFF = Backoff(first_s=5.0, longest_s=900.0)
DEAD_AFTER_S = 3 * 86_400.0
"""A receiver that fails for a weekend still hears what it missed."""
OUTCOME_CHARS_MAX = 500
DELIVERY_STATES = ("pending", "sent", "dead", "refused")


@dataclass(frozen=True)
class Due:
    """Something to send or to do now. `kind` and `config` say by which notifier; of an action `config` has its URL.

    `delivery` is its name for receivers: the same when it is sent again by itself, another when a person has it sent.
    """

    id: int
    delivery: str
    target: str
    kind: str
    config: Mapping[str, str]
    payload: Mapping[str, Any]


def _name(row: OutboxRow) -> str:
    return f"{round(row.created_at * 1000):x}-{row.id}"


@dataclass(frozen=True)
class Deliveries:
    """The use cases. `changed` wakes the notify loop."""

    store: Store
    clock: Clock
    changed: Callable[[], None]

    # -- for the loop -------------------------------------------------------------------------------------------------

    def due(self, busy: Collection[str]) -> list[Due]:
        """The oldest message of each target that is due and not busy."""
        found, orphans = [], []
        with self.store.reading() as tx:
            for row in outbox.heads(tx, self.clock(), busy):
                notifier = rows.get_notifier(tx, row.target)
                if row.kind in ("rollback", "hold"):
                    found.append(Due(row.id, _name(row), row.target, row.kind, {}, row.payload))
                elif row.kind == "webhook":
                    url = row.target.partition("=")[2]
                    found.append(Due(row.id, _name(row), row.target, "webhook", {"url": url}, row.payload))
                elif notifier is not None:
                    found.append(Due(row.id, _name(row), row.target, notifier.kind, notifier.config, row.payload))
                else:  # written while its notifier was deleted
                    orphans.append(row.id)
        for number in orphans:
            self.failed(number, "its notifier was deleted", for_good=True, jitter=0.0)
        return found

    def wait_s(self, most_s: float) -> float:
        """Seconds until the next delivery is due."""
        with self.store.reading() as tx:
            at = outbox.next_at(tx)
        return most_s if at is None else min(most_s, max(0.0, at - self.clock()))

    def done(self, delivery_id: int, outcome: str = "") -> None:
        """Mark a delivery as sent."""
        with self.store.transaction() as tx:
            row = outbox.get(tx, delivery_id)
            if row is not None and row.state == "pending":
                row.state, row.done_at, row.attempts = "sent", self.clock(), row.attempts + 1
                row.outcome = outcome[:OUTCOME_CHARS_MAX]

    def failed(self, delivery_id: int, why: str, *, for_good: bool, jitter: float) -> None:
        """It could not be sent: again later, or never, where that would be no use or was tried for long enough."""
        now = self.clock()
        with self.store.transaction() as tx:
            row = outbox.get(tx, delivery_id)
            if row is None or row.state != "pending":
                return
            row.attempts += 1
            row.outcome = why[:OUTCOME_CHARS_MAX]
            if for_good or now - row.created_at >= DEAD_AFTER_S:
                row.state, row.done_at = "dead", now
            else:
                row.next_at = now + BACKOFF.delay_s(row.attempts, jitter)

    # -- for people ---------------------------------------------------------------------------------------------------

    def page(
        self, rows_max: int, before: int | None = None, state: str | None = None, notifier: str | None = None
    ) -> wire.DeliveryPage:
        """A page of deliveries, newest first, older than delivery `before`. Raises `InvalidArgument`."""
        check_page(rows_max)
        if state is not None and state not in DELIVERY_STATES:
            raise InvalidArgument(f"state {state!r} is none of {', '.join(DELIVERY_STATES)}", field="state")
        with self.store.reading() as tx:
            found = outbox.page(tx, outbox.DeliveryFilter(rows_max + 1, state, notifier, before))
        more = found[rows_max - 1].id if len(found) > rows_max else None
        return wire.DeliveryPage([delivery_view(row) for row in found[:rows_max]], more)

    def get(self, delivery_id: int) -> wire.DeliveryView:
        """Raises `UnknownDelivery`."""
        with self.store.reading() as tx:
            row = outbox.get(tx, delivery_id)
            if row is None:
                raise UnknownDelivery(f"no delivery has the number {delivery_id}, or it is forgotten")
            return delivery_view(row)

    def resend(self, delivery_id: int, who: Principal) -> wire.DeliveryView:
        """Send again what was given up. Raises `UnknownDelivery`, `Conflict` for what was not given up."""
        now = self.clock()
        with self.store.transaction() as tx:
            row = outbox.get(tx, delivery_id)
            if row is None:
                raise UnknownDelivery(f"no delivery has the number {delivery_id}, or it is forgotten")
            if row.state != "dead":
                raise Conflict(f"delivery {delivery_id} was not given up: it is {row.state}", state=row.state)
            row.state, row.next_at, row.done_at, row.created_at = "pending", now, None, now
            audit.record(
                tx, who, now, audit.AuditedChange("resend", "notifier", row.target, {"delivery": (None, row.id)})
            )
            view = delivery_view(row)
        self.changed()
        return view
