"""What an endpoint is by its rows, in the words of a document. Called by `services.declared.documents`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

import msgspec
from sqlalchemy.orm import Session

from tidegate.core.alerting.model import TYPES, Rule
from tidegate.core.alerting.rules import view
from tidegate.core.declared.endpoint import SECTIONS, written_endpoint
from tidegate.core.endpoints.serving import settings_of
from tidegate.core.numbers import number_text
from tidegate.core.scaling.policy import Scaling
from tidegate.services.alerting.rules import stored_rules
from tidegate.services.declared.decisions import facts_of_decisions
from tidegate.store import monitoring as monitor_rows
from tidegate.store.endpoints.automation import readable_scaling_of
from tidegate.store.fleet.fleet import capture_rules_of, placement_request_of
from tidegate.store.tables import EndpointRow


def facts_of(tx: Session, row: EndpointRow) -> dict[str, Any]:
    """All that a document can say of it, by the names that services use; its sections are whole."""
    tx.flush()
    scaling = readable_scaling_of(row)[0]
    where = placement_request_of(row)
    capture = msgspec.structs.asdict(capture_rules_of(row))
    monitor = monitor_rows.settings_of(monitor_rows.monitor(tx, row))
    return {
        "endpoint": row.name,
        "model": row.model,
        "traffic": dict(row.traffic),
        **({"follow": f"@{row.follow.alias}"} if row.follow else {}),
        **({"replicas": row.replicas} if scaling is None else {"scaling": _scaling(scaling)}),
        "placement": asdict(where),
        "serving": dict(settings_of(row)),
        "capture": {**capture, "drop": [*capture["drop"]], "hash": [*capture["hash"]]},
        "monitor": monitor.as_dict(),
        **facts_of_decisions(tx, row),
        "alerts": {type_: _rule(type_, rule) for type_, rule in stored_rules(tx, row.name).items()},
    }


def document_of(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The document that makes an endpoint so."""
    found = dict(facts)
    traffic = found["traffic"]
    if "follow" in found:
        del found["traffic"]
    elif len(traffic) == 1:
        found["version"] = next(iter(traffic))
        del found["traffic"]
    order = ("endpoint", "model", "version", "traffic", "follow", "replicas", "scaling", *SECTIONS)
    return written_endpoint({name: found[name] for name in order if name in found})


def _scaling(spec: Scaling) -> dict[str, Any]:
    return {
        "min": spec.min_replicas,
        "max": spec.max_replicas,
        "target": f"{spec.metric}={number_text(spec.target)}",
        "stable_s": spec.stable_s,
        "panic_s": spec.panic_s,
        "down_s": spec.down_s,
        "idle_s": spec.idle_s,
        "autoscaler": spec.autoscaler,
    }


def _rule(type_: Any, rule: Rule) -> dict[str, Any]:
    """Without what is secret in URLs: given back, that means the URL that is there."""
    shown = view(type_, rule)
    return {one.name: getattr(shown, one.name) for one in fields(rule)} if type_ in TYPES else {}
