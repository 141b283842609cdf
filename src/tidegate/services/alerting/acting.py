"""Rolls back or holds because of an alert: once, and only what people have not changed since."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy.orm import Session

from tidegate.clock import Clock
from tidegate.core.access import part_of_platform
from tidegate.errors import Conflict, TidegateError, UnknownEndpoint
from tidegate.errors.kinds import Kind
from tidegate.services.alerting.rules import stored_rules
from tidegate.services.alerting.state import served_versions
from tidegate.services.endpoints.lifecycle import Endpoints
from tidegate.services.reading.lookup import live_or_raise
from tidegate.store.alerting import alerts as alert_rows
from tidegate.store.alerting import outbox
from tidegate.store.database.engine import Store
from tidegate.store.endpoints import history as history_rows
from tidegate.store.endpoints.automation import effective_of, word_of
from tidegate.store.tables import EndpointRow, HistoryRow
from tidegate.wire.rest import RollbackRequest

MONITOR = part_of_platform("monitor")
"""Who rolls back, in the history and the audit."""
WHY_CHARS_MAX = 500
FAILED_S = 7 * 86_400.0
"""A version whose alert ended so recently, only because it got no traffic any more, is not gone back to."""


class _AlreadyDone(Exception):
    """Another control plane has done what was due."""


@dataclass(frozen=True)
class Rollbacks:
    """`endpoints` writes through the leader's fenced store."""

    endpoints: Endpoints

    def run(self, delivery_id: int, payload: Mapping[str, Any]) -> None:
        """Do it, in one transaction with the mark that it is done; or mark why not.

        Raises what makes a later attempt worth while: the database is away, this is no leader any more.
        """
        store, clock = self.endpoints.store, self.endpoints.clock
        with store.reading() as tx:
            row = outbox.get(tx, delivery_id)
        if row is None or row.state != "pending":
            return
        name = row.endpoint
        try:
            with store.reading() as tx:
                to, end = self._plan(tx, name, payload)

            def mark(tx: Session) -> None:
                row = outbox.get(tx, delivery_id)
                if row is None or row.state != "pending":
                    raise _AlreadyDone
                endpoint = live_or_raise(tx, name)
                _check_same(endpoint, payload)
                row.state, row.done_at, row.attempts = "sent", clock(), row.attempts + 1
                row.outcome = "rolled back" + ("" if to is None else f" to revision {to}")

            marking = replace(self.endpoints, store=store.fenced(mark))
            why = str(payload["why"])[:WHY_CHARS_MAX]
            marking.rollback(name, RollbackRequest(to), MONITOR, why=why, end_automation=end)
        except _AlreadyDone:
            return
        except TidegateError as error:
            if error.kind not in (Kind.CONFLICT, Kind.NOT_FOUND, Kind.CHANGED, Kind.UNFIT):
                raise
            self._refused(delivery_id, error.message)

    def _plan(self, tx: Session, name: str, payload: Mapping[str, Any]) -> tuple[int | None, bool]:
        """Which revision to go back to (None: what is stable), and whether an automation may be ended for it."""
        endpoint = live_or_raise(tx, name)
        _check_same(endpoint, payload)
        version, type_ = str(payload["version"]), str(payload["type"])
        end = type_ in (rules := stored_rules(tx, name)) and rules[type_].end_automation
        running = effective_of(endpoint).weights
        if running is not None:
            if not end:
                raise Conflict(
                    f"{running.kind} {running.name!r} sets the traffic, and this rule may not end it: roll back "
                    f"by hand ('tidegate rollback {name}'), or allow it (alert-rules {name} --end-automation)"
                )
            if version in running.stable:
                raise Conflict(f"version {version} is what {running.kind} {running.name!r} calls stable")
            return None, True
        if version and version not in served_versions(endpoint):
            raise Conflict(f"version {version} gets no traffic any more")
        now = self.endpoints.clock()
        failed = alert_rows.failed_versions(tx, name, type_, now - FAILED_S) | ({version} - {""})
        earlier = _earlier(history_rows.intended(tx, endpoint), endpoint.traffic)
        for entry in earlier:
            if not failed & entry.traffic.keys():
                return entry.revision, False
        if any(version not in entry.traffic for entry in earlier):
            others = ", ".join(sorted(failed - {version}))
            raise Conflict(f"all earlier traffic has a version with an alert of its own ({type_} of version {others})")
        without = f" without version {version}" if version else ""
        raise Conflict(f"endpoint {name!r} had no earlier traffic{without}: there is nothing to go back to")

    def _refused(self, delivery_id: int, why: str) -> None:
        with self.endpoints.store.transaction() as tx:
            row = outbox.get(tx, delivery_id)
            if row is not None and row.state == "pending":
                row.state, row.done_at, row.attempts = "refused", self.endpoints.clock(), row.attempts + 1
                row.outcome = f"not done: {why}"


Holder = Callable[[Session, EndpointRow, str, float], str | None]
"""Holds the automation of its kind that runs on an endpoint, for a reason and now; its name in words, None without."""


@dataclass(frozen=True)
class Holds:
    """Holds an experiment or a canary that runs: it goes no step further until a person resumes it.

    `store` is the leader's fenced one; `holders` are asked in turn.
    """

    store: Store
    clock: Clock
    holders: tuple[Holder, ...]

    def run(self, delivery_id: int, payload: Mapping[str, Any]) -> None:
        """Do it, in one transaction with the mark that it is done, or why not."""
        now = self.clock()
        with self.store.transaction() as tx:
            row = outbox.get(tx, delivery_id)
            if row is None or row.state != "pending":
                return
            row.done_at, row.attempts = now, row.attempts + 1
            try:
                endpoint = live_or_raise(tx, row.endpoint)
                _check_same(endpoint, payload)
                held = self._hold(tx, endpoint, str(payload["why"])[:WHY_CHARS_MAX], now)
            except (Conflict, UnknownEndpoint) as error:
                row.state, row.outcome = "refused", f"not done: {error.message}"
            else:
                row.state, row.outcome = "sent", f"held {held}"

    def _hold(self, tx: Session, endpoint: EndpointRow, why: str, now: float) -> str:
        for holder in self.holders:
            if held := holder(tx, endpoint, why, now):
                return held
        raise Conflict(f"no experiment and no canary runs on endpoint {endpoint.name!r}: there is nothing to hold")


def _check_same(endpoint: EndpointRow, payload: Mapping[str, Any]) -> None:
    """Raises `Conflict` where people, or an automation's end, changed the endpoint since the alert fired."""
    if endpoint.uid != payload["uid"] or word_of(endpoint) != payload["word"]:
        raise Conflict("somebody changed the endpoint since the alert fired")


def _earlier(entries: Iterable[HistoryRow], traffic: Mapping[str, float]) -> list[HistoryRow]:
    """Entries, newest first, whose traffic differs; none that a rollback to the present traffic left behind."""
    found: list[HistoryRow] = []
    before = math.inf
    for entry in entries:
        if entry.revision >= before:
            continue
        if entry.traffic == traffic:
            before = min(before, entry.restores or math.inf)
        elif entry.traffic:
            found.append(entry)
    return found
