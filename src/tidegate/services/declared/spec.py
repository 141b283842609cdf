"""The part of a document that is an endpoint's spec: traffic, replicas, placement, serving. One revision, if any.

Called by `services.declared.documents`, in its transaction; what only other systems know was asked before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy.orm import Session

from tidegate.core.access import Principal
from tidegate.core.endpoints.serving import ServingOptions, check_given, settings_of
from tidegate.core.engines.placement import AMOUNTS, PlacementRequest, check_placement_request, placed
from tidegate.core.scaling.policy import Scaling, ScalingRequest, check_measured, scaling_of
from tidegate.errors import InvalidArgument
from tidegate.services.audit import endpoint_audited
from tidegate.services.declared.decisions import promoted_by
from tidegate.services.endpoints.changes import SpecChange, apply
from tidegate.services.endpoints.deploy_requests import NamedVersion, check_same_version
from tidegate.services.endpoints.guards import begin_guard, stable_of
from tidegate.services.endpoints.intent import ended_by
from tidegate.services.endpoints.lifecycle import Endpoints
from tidegate.services.endpoints.scaling import check_replicas
from tidegate.services.endpoints.signature_changes import check_signatures
from tidegate.services.reading.lookup import by_number, check_same_model, live_or_raise, version_or_raise
from tidegate.store.endpoints import endpoints as rows
from tidegate.store.endpoints.automation import effective_of, readable_scaling_of
from tidegate.store.fleet.fleet import placement_request_of
from tidegate.store.tables import EndpointRow
from tidegate.wire.endpoints.declared import ApplyRequest
from tidegate.wire.endpoints.registering import Follow

ACTION = "apply"


@dataclass(frozen=True)
class AskedSpec:
    """A document's values, and the version that the registry has for the alias it names."""

    values: Mapping[str, Any]
    named: NamedVersion | None = None

    @property
    def endpoint(self) -> str:
        return str(self.values["endpoint"])


@dataclass(frozen=True)
class Applying:
    """Who asks for what, and the use cases that the transaction is part of."""

    endpoints: Endpoints
    request: ApplyRequest
    who: Principal


def apply_spec(tx: Session, asked: AskedSpec, applying: Applying) -> EndpointRow:
    """Make the endpoint's spec so, and the endpoint where it is new; nothing where nothing differs.

    Raises what a deployment, a change of traffic and one of scale raise.
    """
    endpoints, who, name = applying.endpoints, applying.who, asked.endpoint
    with endpoint_audited(tx, name, ACTION, who, endpoints.clock):
        row = _row(tx, asked, endpoints)
        traffic, follows = _traffic(tx, row, asked)
        stable = stable_of(row)
        sets = traffic != row.traffic or follows != (row.follow.alias if row.follow else None)
        note = _note(tx, row, traffic, applying) if sets else ""
        where = _placement(row, asked, endpoints)
        change = SpecChange(
            ACTION,
            traffic,
            replicas=_replicas(row, asked, endpoints),
            actor=who.name,
            note=note,
            given=_serving(row, asked),
            placement=where,
            scaling=_scaling(row, asked, endpoints, where),
            keeps_traffic=not sets,
        )
        if follows is None:
            row.follow = None
        elif row.follow is None or row.follow.alias != follows:
            row.follow = endpoints.follow_row(tx, row, follows, Follow(), next(iter(traffic)))
        if sets or change.replicas is not None or change.scaling is not None or change.given or change.placement:
            apply(tx, row, change, endpoints.clock())
        if sets and len(traffic) == 1 and applying.request.guard:
            begin_guard(tx, row, stable, who.name, endpoints.guarding, endpoints.clock())
    return row


def _row(tx: Session, asked: AskedSpec, endpoints: Endpoints) -> EndpointRow:
    values = asked.values
    row = rows.get_endpoint(tx, asked.endpoint)
    if row is not None:
        live_or_raise(tx, asked.endpoint)
        check_same_model(row, values.get("model", row.model))
        return row
    if "model" not in values:
        raise InvalidArgument(f"endpoint {asked.endpoint!r} is new: say with 'model' what it serves", field="model")
    if not any(name in values for name in ("version", "traffic", "follow")):
        raise InvalidArgument(
            f"endpoint {asked.endpoint!r} is new: say with 'version', 'traffic' or 'follow' which version answers",
            field="version",
        )
    return endpoints.new_row(tx, asked.endpoint, values["model"])


def _traffic(tx: Session, row: EndpointRow, asked: AskedSpec) -> tuple[dict[str, float], str | None]:
    """What people shall have said of the traffic, and the alias that is followed then.

    What the document's own canary or experiment promoted since is what it says: `version` is where they began.
    """
    values, follows = asked.values, row.follow.alias if row.follow else None
    if promoted_by(tx, row, values):
        return dict(row.traffic), follows
    if "follow" in values:
        alias = str(values["follow"])[1:]
        return (dict(row.traffic), alias) if alias == follows else (_all_to(tx, row, asked, None), alias)
    if "version" in values:
        return _all_to(tx, row, asked, values["version"]), None
    if "traffic" in values:
        return by_number(tx, row.model, values["traffic"]), None
    return dict(row.traffic), follows


def _all_to(tx: Session, row: EndpointRow, asked: AskedSpec, version: str | None) -> dict[str, float]:
    named = asked.named or NamedVersion(version)
    found = version_or_raise(tx, row.model, named.version)
    check_same_version(found, named)
    return {found.version: 100.0}


def _note(tx: Session, row: EndpointRow, traffic: dict[str, float], applying: Applying) -> str:
    ended = ended_by(row, end=applying.request.end_automation)
    notice = check_signatures(tx, row, traffic, accepted=applying.request.accept_signature_change)
    return "; ".join(part for part in (ended, notice) if part)


def _replicas(row: EndpointRow, asked: AskedSpec, endpoints: Endpoints) -> int | None:
    wanted = asked.values.get("replicas")
    if wanted is None:
        return None
    check_replicas(wanted, endpoints.scaling.replicas_limit)
    followed, unreadable = readable_scaling_of(row)
    is_so = wanted == row.replicas and followed is None and not unreadable and not effective_of(row).counts
    return None if is_so else wanted


def _scaling(
    row: EndpointRow, asked: AskedSpec, endpoints: Endpoints, where: PlacementRequest | None
) -> Scaling | None:
    """How the autoscaler shall follow the load; None: as it does."""
    given, followed = asked.values.get("scaling"), readable_scaling_of(row)[0]
    wanted = followed
    if given is not None:
        request = ScalingRequest(
            given["min"],
            given["max"],
            given["target"],
            given["stable_s"],
            given["panic_s"],
            given["down_s"],
            given["idle_s"],
            given["autoscaler"],
        )
        wanted = scaling_of(request, None, endpoints.scaling)
    if wanted is not None and "replicas" not in asked.values:
        check_measured(wanted, placed(where or placement_request_of(row), endpoints.placement))
    return None if wanted == followed else wanted


def _placement(row: EndpointRow, asked: AskedSpec, endpoints: Endpoints) -> PlacementRequest | None:
    wanted = placement_asked(asked)
    if wanted is None or wanted == placement_request_of(row):
        return None
    return check_placement_request(wanted, endpoints.placement)


def placement_asked(asked: AskedSpec) -> PlacementRequest | None:
    """Where it shall run; None where the document does not say."""
    given = asked.values.get("placement")
    if given is None:
        return None
    return PlacementRequest(given["backend"], **{name: given[name] or None for name in AMOUNTS})


def _serving(row: EndpointRow, asked: AskedSpec) -> ServingOptions:
    given = asked.values.get("serving")
    if given is None or given == settings_of(row):
        return ServingOptions()
    check_given(cast(ServingOptions, given))
    return cast(ServingOptions, given)
