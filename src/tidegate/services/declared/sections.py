"""Sets each section of a document by the use case that people have for it. Called by `documents` in its transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from sqlalchemy.orm import Session

from tidegate.core.access import Principal
from tidegate.core.alerting.rules import read_action, shown_action
from tidegate.errors import InvalidArgument
from tidegate.services.alerting.rules import stored_rules
from tidegate.services.declared.decisions import (
    CapturedPast,
    facts_of_decisions,
    set_canary,
    set_experiment,
    set_shadow,
)
from tidegate.services.declared.use_cases import UseCases
from tidegate.services.reading.lookup import endpoint_or_raise
from tidegate.wire.capture.capture import CaptureSettingsRequest
from tidegate.wire.endpoints.declared import ApplyRequest
from tidegate.wire.experiments.canary import CanaryRequest
from tidegate.wire.monitoring.alerts import AlertRule, AlertRulesRequest
from tidegate.wire.monitoring.monitoring import MonitorRequest


@dataclass(frozen=True)
class ApplyPart:
    """The use cases as part of one transaction, what captured rows said before it, and what was asked for."""

    tx: Session
    uses: UseCases
    expected_days: Mapping[str, float | None]
    request: ApplyRequest


class DocumentSection(Protocol):
    """Sets one section of a document, whole, in the transaction of `part`."""

    def __call__(self, part: ApplyPart, endpoint: str, values: Any, who: Principal) -> None: ...


def _set_capture(part: ApplyPart, endpoint: str, values: Any, who: Principal) -> None:
    part.uses.capture_rules.set(endpoint, CaptureSettingsRequest(**values), who)


def _set_monitor(part: ApplyPart, endpoint: str, values: Any, who: Principal) -> None:
    part.uses.monitoring.configure(endpoint, MonitorRequest(**values), who, whole=True)


def _set_alerts(part: ApplyPart, endpoint: str, values: Any, who: Principal) -> None:
    known = {type_: [action.key for action in rule.actions] for type_, rule in stored_rules(part.tx, endpoint).items()}
    everywhere = list(dict.fromkeys(key for keys in known.values() for key in keys))
    changes = []
    for type_, rule in values.items():
        own = [*known.get(type_, ())]
        actions = [_whole_action(text, own, everywhere) for text in rule["actions"]]
        threshold = -1.0 if rule["threshold"] is None else rule["threshold"]
        changes.append(AlertRule(type_, **{**rule, "actions": actions, "threshold": threshold}))
    part.uses.alert_rules.change(endpoint, AlertRulesRequest(changes, reset=True), who)


def _set_experiment(part: ApplyPart, endpoint: str, values: Any, who: Principal) -> None:
    past = CapturedPast(
        part.uses.experiments.past.captured, part.uses.experiments.clock, days=part.expected_days.get(endpoint)
    )
    experiments = replace(part.uses.experiments, past=past)
    set_experiment(part.tx, experiments, endpoint, values, who, accepted=part.request.accept_signature_change)


def _set_canary(part: ApplyPart, endpoint: str, values: Any, who: Principal) -> None:
    steps = values["steps"]
    request = CanaryRequest(
        values["version"],
        steps["weights"],
        steps["every_s"],
        steps["guardrails"],
        accept_signature_change=part.request.accept_signature_change,
        end_automation=part.request.end_automation,
    )
    set_canary(part.tx, part.uses.canaries, endpoint, request, who)


def _set_shadow(part: ApplyPart, endpoint: str, values: Any, who: Principal) -> None:
    before = facts_of_decisions(part.tx, endpoint_or_raise(part.tx, endpoint))["shadow"]
    set_shadow(part.tx, part.uses.shadows, endpoint, values, who)
    if facts_of_decisions(part.tx, endpoint_or_raise(part.tx, endpoint))["shadow"] != before:
        part.uses.shadows.changed()


def _whole_action(text: str, own: list[str], everywhere: Sequence[str]) -> str:
    """An action as it is kept: one that is written as it is shown, without what is secret, is the one that is there.

    It is the rule's `own`, each meant once and in their order, or else the only one of all rules that is shown so.
    """
    mine = next((key for key in own if shown_action(key) == text), None)
    if mine is not None:
        own.remove(mine)
        return mine
    alike = [key for key in everywhere if shown_action(key) == text]
    if len(alike) == 1:
        return alike[0]
    if alike:
        raise InvalidArgument(
            f"{text} may be one of {len(alike)} addresses that are set: write it whole", field="actions"
        )
    if text.endswith("…"):
        raise InvalidArgument(
            f"{text} is how an address is shown, without what is secret in it, and none like it is set here: write it "
            "whole",
            field="actions",
        )
    return read_action(text).key


SECTIONS_SET: Mapping[str, DocumentSection] = {
    "capture": _set_capture,
    "monitor": _set_monitor,
    "alerts": _set_alerts,
    "experiment": _set_experiment,
    "canary": _set_canary,
    "shadow": _set_shadow,
}
