"""A change of what people ask of an endpoint, with its history entry. Called by `services.endpoints.lifecycle`."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from tidegate.core.endpoints.serving import Serving, ServingOptions, change_of, settings_of
from tidegate.core.engines.placement import PlacementRequest
from tidegate.core.scaling import policy
from tidegate.core.scaling.policy import Scaling
from tidegate.services.endpoints import kept_aliases
from tidegate.store.endpoints import endpoints as rows
from tidegate.store.endpoints.automation import effective_of, readable_scaling_of, versions_used, word_of
from tidegate.store.endpoints.history import Entry
from tidegate.store.fleet.fleet import placement_request_of, set_placement
from tidegate.store.tables import EndpointRow

_UNHEALTHY = ("failed", "degraded")


@dataclass(frozen=True)
class SpecChange:
    """What a caller wants an endpoint's spec to become, and how history calls it. None leaves a setting as it is."""

    action: str
    traffic: dict[str, float]
    replicas: int | None = None  # fixes their number, and ends an autoscaler
    actor: str = ""
    restores: int | None = None
    given: ServingOptions = field(default_factory=ServingOptions)
    placement: PlacementRequest | None = None  # where it shall run
    note: str = ""
    scaling: Scaling | None = None  # how the autoscaler shall follow the load
    keeps_traffic: bool = False  # what is said of it is what people said already, and no word of theirs

    @property
    def sets_traffic(self) -> bool:
        return self.action != "scale" and not self.keeps_traffic


def apply(tx: Session, row: EndpointRow, change: SpecChange, now: float) -> None:
    """Write the change and its history entry; one that changes nothing only retries what is not healthy.

    Either way it is people's word: what an automation decided before it comes too late.
    """
    before = Serving(placement_request_of(row), settings_of(row))
    after = before.after(change.placement, change.given)
    followed, unreadable = readable_scaling_of(row)
    follows = None if change.replicas is not None else change.scaling or followed
    says_anew = change.replicas is not None or change.scaling is not None
    fixed = row.replicas if change.replicas is None else change.replicas
    in_effect = effective_of(row)
    same = (change.traffic, fixed, follows, after) == (row.traffic, row.replicas, followed, before)
    ends_weights = change.sets_traffic and in_effect.weights is not None
    ends = ends_weights or (change.replicas is not None and bool(in_effect.counts))
    word = word_of(row) + 1
    if change.sets_traffic:
        row.traffic_revision = word
    if change.replicas is not None:
        row.replicas_revision = word
    if same and not (unreadable and says_anew) and not ends and row.status not in _UNHEALTHY:
        return
    row.traffic, row.replicas = change.traffic, fixed
    if says_anew or not unreadable:
        row.scaling = None if follows is None else policy.kept(follows)
    for name, value in after.settings.items():
        setattr(row, name, value)
    set_placement(row, after.placement)
    was = "unreadable" if unreadable else policy.words(followed)
    turned = "" if follows == followed and not (unreadable and says_anew) else f"{policy.words(follows)} (was {was})"
    note = "; ".join(part for part in (change.note, turned, change_of(before, after)) if part)
    # A quarantine is lifted where a person names it, or changes how it runs.
    everywhere = change.action == "scale" or after.placement != before.placement
    retries = {*change.traffic, *(versions_used(row) if everywhere else ())}
    rows.add_revision(tx, row, Entry(change.action, now, change.actor, change.restores, note, retries))
    if change.sets_traffic:
        kept_aliases.after_change(tx, row, change.action, now)
