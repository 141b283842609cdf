"""An experiment as people read it: its row, what the newest look found, and what happens next, in plain words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from sqlalchemy.orm import Session

from tidegate.clock import rfc3339
from tidegate.services.experiments import weights
from tidegate.services.experiments.evidence import ExperimentEvidence, evidence_of
from tidegate.store.endpoints import endpoints as endpoint_rows
from tidegate.store.experiments import experiments as rows
from tidegate.store.tables import EndpointRow, ExperimentRow, VariantRow
from tidegate.wire.experiments.experiments import (
    ArmView,
    ExperimentDecision,
    ExperimentSpec,
    ExperimentState,
    ExperimentView,
    LookView,
    MetricView,
    RatioView,
)

QUIET_S = 3600.0
"""An experiment of which no unit, new or not, sent a request for so long waits for traffic."""
_UNKNOWN = RatioView(sound=True, bayes_factor=None)


def view_of(tx: Session, endpoint: EndpointRow, row: ExperimentRow, looks: Sequence[LookView] = ()) -> ExperimentView:
    """One experiment of an endpoint that is there."""
    spec, found = rows.spec_of(row), evidence_of(row)
    state, reason, then = _state(tx, endpoint, row, spec, found)
    metrics = found.analysis.metrics if found else []
    first = metrics[0] if metrics else None
    control, treatment = spec.arms[0], spec.arms[1]
    phase = rows.phases_of(row)
    known = first is not None and first.model_b_mean is not None
    ended = state in ("decided", "stopped")
    return ExperimentView(
        name=row.name,
        endpoint=row.endpoint,
        model_a=f"{endpoint.model}:{control.version}",
        model_b=f"{endpoint.model}:{treatment.version}",
        traffic_split=control.share / 100.0,
        start_time=None if row.started_at is None else rfc3339(row.started_at),
        active=state in ("running", "paused", "waiting_for_traffic"),
        state=state,
        status=state if known else "insufficient_data",
        phase=phase[-1].phase if phase else None,
        arms=_arms(spec, found),
        metrics=metrics,
        guardrails=found.analysis.guardrails if found else [],
        ratio=found.analysis.ratio if found else _UNKNOWN,
        decision=_decision(row),
        reason=reason,
        next=then,
        days_left=None if ended else row.days_left,
        auto=spec.auto,
        on_breach=spec.on_breach,
        max_days=spec.max_days,
        alpha=spec.alpha,
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        looked_at=row.looked_at,
        expected_days=row.expected_days,
        warnings=_warnings(row, found, spec, ended=ended),
        phases=phase,
        looks=list(looks),
        **_at_the_top(first),
    )


def _arms(spec: ExperimentSpec, found: ExperimentEvidence | None) -> list[ArmView]:
    return found.arms if found else [ArmView(arm.variant, arm.version, arm.share, 0, 0) for arm in spec.arms]


def _at_the_top(first: MetricView | None) -> dict[str, Any]:
    names = ("model_a_mean", "model_b_mean", "improvement", "lower", "upper", "p_value", "significant", "winner")
    return {} if first is None else {name: getattr(first, name) for name in names}


def _decision(row: ExperimentRow) -> ExperimentDecision:
    known: dict[str, ExperimentDecision] = {
        one: one for one in ("continue", "promote", "rollback", "hold", "inconclusive")
    }
    return known.get(row.decision, "insufficient_data")


def _warnings(row: ExperimentRow, found: ExperimentEvidence | None, spec: ExperimentSpec, *, ended: bool) -> list[str]:
    warnings = [*_alike(spec), *row.warnings, *(found.warnings if found else [])]
    return warnings + ([f"it could not be looked at lately: {row.trouble}"] if row.trouble and not ended else [])


def _alike(spec: ExperimentSpec) -> list[str]:
    """Treatments that are control's own version, which may be meant: said, so that nobody takes it for a comparison."""
    control, *treatments = spec.arms
    same = [arm.variant for arm in treatments if arm.version == control.version]
    if not same:
        return []
    arms = f"{' and '.join(same)} {'is' if len(same) == 1 else 'are'}"
    return [
        f"{arms} version {control.version}, as control is: an A/A test. Any difference that it finds is an error of "
        f"the measurement, or chance (in at most {100 * spec.alpha:g} % of such tests); there is nothing to promote"
    ]


Told = tuple[ExperimentState, str, str]


def _state(
    tx: Session, endpoint: EndpointRow, row: ExperimentRow, spec: ExperimentSpec, found: ExperimentEvidence | None
) -> Told:
    """The state as it is shown, why it is so, and what happens next."""
    if row.state in ("running", "paused") and not weights.is_in_effect(endpoint, row):
        return "stopped", weights.ended_outside(tx, endpoint, row)[1], "it has ended: create another one"
    if row.state == "running":
        return _running(tx, endpoint, row, spec, found)
    if row.state == "draft":
        return "draft", row.reason, f"it begins with 'tidegate experiment start {row.endpoint} --name {row.name}'"
    if row.state == "paused":
        return "paused", row.reason, "everybody gets control until it is resumed"
    ended: Literal["decided", "stopped"] = "decided" if row.state == "decided" else "stopped"
    return ended, row.reason, row.next


def _running(
    tx: Session, endpoint: EndpointRow, row: ExperimentRow, spec: ExperimentSpec, found: ExperimentEvidence | None
) -> Told:
    if row.decision == "promote" and not spec.auto:
        since = "" if found is None or found.ready_since is None else f" since {rfc3339(found.ready_since)[:19]}Z"
        then = (
            f"ready for review{since}: 'tidegate experiment approve {row.endpoint} --name {row.name}' promotes "
            f"{row.winner}"
        )
        return "running", row.reason, then
    if row.held:
        return "running", row.reason, f"held: {row.held}; it goes on when it is resumed"
    starting = _not_routed(tx, endpoint, spec)
    if starting and not row.exposed:
        return "waiting_for_traffic", starting, "units take part once replicas of all arms are ready"
    if not row.exposed:
        return "waiting_for_traffic", row.reason or "no requests have come in yet", "it waits for requests with a key"
    if row.ran_s - row.exposed_at_s >= QUIET_S:
        return "waiting_for_traffic", row.reason, "it waits for traffic"
    return "running", row.reason, row.next


def _not_routed(tx: Session, endpoint: EndpointRow, spec: ExperimentSpec) -> str:
    """Which arms have no replica that is routed yet, and how they are; "" where all have."""
    missing = [arm for arm in spec.arms if arm.version not in endpoint.routed]
    if not missing:
        return ""
    known = {one.version: one for one in endpoint_rows.variants_by_endpoint(tx, [endpoint.name]).get(endpoint.name, [])}
    return "; ".join(_how(arm.variant, arm.version, known.get(arm.version)) for arm in missing)


def _how(variant: str, version: str, status: VariantRow | None) -> str:
    if status is not None and status.status == "ready":  # as where it was a shadow until now
        return f"{variant} is not routed yet: version {version} is ready, and gateways are told of it"
    said = "is not started yet" if status is None else f"is {status.status}"
    reason = f" ({status.reason})" if status is not None and status.reason else ""
    return f"{variant} is not ready: version {version} {said}{reason}"
