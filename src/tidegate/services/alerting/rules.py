"""An endpoint's rules: when results become alerts, how often they are repeated, and what is done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy.orm import Session

from tidegate.clock import Clock
from tidegate.core.access import Principal
from tidegate.core.alerting import rules as core
from tidegate.core.alerting.model import TYPES, AlertType, Rule
from tidegate.services.reading.lookup import endpoint_or_raise, live_or_raise
from tidegate.store import audit
from tidegate.store.alerting import alerts as rows
from tidegate.store.database.engine import Store
from tidegate.store.tables.alerts import AlertRulesRow
from tidegate.wire.monitoring import alerts as wire


@dataclass(frozen=True)
class AlertRules:
    """The use cases. `changed` wakes the notify loop."""

    store: Store
    clock: Clock
    changed: Callable[[], None]

    def all(self) -> list[wire.AlertRulesView]:
        """Of every endpoint where somebody changed some."""
        with self.store.reading() as tx:
            return [_view(row.endpoint, core.rules_of(row.rules)) for row in rows.all_rules(tx)]

    def get(self, endpoint: str) -> wire.AlertRulesView:
        """Raises `UnknownEndpoint`."""
        with self.store.reading() as tx:
            endpoint_or_raise(tx, endpoint)
            return _view(endpoint, stored_rules(tx, endpoint))

    def change(self, endpoint: str, request: wire.AlertRulesRequest, who: Principal) -> wire.AlertRulesView:
        """Raises `UnknownEndpoint`, `InvalidArgument`; nothing is changed then."""
        with self.store.transaction() as tx:
            live_or_raise(tx, endpoint)
            before = stored_rules(tx, endpoint)
            after = with_changes({} if request.reset else before, request.rules)
            row = rows.rules_of(tx, endpoint) or AlertRulesRow(endpoint=endpoint)
            row.rules = {type_: kept for type_ in TYPES if (kept := core.kept(after.get(type_, Rule())))}
            tx.add(row)
            differences = audit.differing(_audited(before), _audited(after))
            if differences:
                audit.record(
                    tx, who, self.clock(), audit.AuditedChange("alert_rules", "endpoint", endpoint, differences)
                )
        self.changed()
        return _view(endpoint, after)


def stored_rules(tx: Session, endpoint: str) -> dict[AlertType, Rule]:
    """The rules that differ from the defaults."""
    row = rows.rules_of(tx, endpoint)
    return {} if row is None else core.rules_of(row.rules)


def with_changes(before: Mapping[AlertType, Rule], changes: Iterable[wire.AlertRule]) -> dict[AlertType, Rule]:
    """The rules with changes on top, one after the other. Raises `InvalidArgument`."""
    after = dict(before)
    for change in changes:
        for type_ in core.types_of(change.type):
            after[type_] = core.changed(type_, after.get(type_, Rule()), change)
    return after


def _audited(rules: Mapping[AlertType, Rule]) -> dict[str, object]:
    """For the audit: what is not as by default, without what is secret in URLs."""
    found: dict[str, object] = {}
    for type_, rule in rules.items():
        kept = core.kept(rule)
        if "actions" in kept:
            kept["actions"] = [core.shown_action(key) for key in kept["actions"]]
        if kept:
            found[type_] = kept
    return found


def _view(endpoint: str, rules: Mapping[AlertType, Rule]) -> wire.AlertRulesView:
    changed: list[str] = [type_ for type_ in TYPES if core.kept(rules.get(type_, Rule()))]
    return wire.AlertRulesView(endpoint, [core.view(type_, rules.get(type_, Rule())) for type_ in TYPES], changed)
