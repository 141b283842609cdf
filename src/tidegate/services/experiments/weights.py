"""An experiment's weights, and its end: what people and the loop do to them, each inside the caller's transaction.

The control arm stands behind every unit that takes no part: of a step of a ramp that is not there yet, and of a pause.
"""

from __future__ import annotations

from dataclasses import asdict

from sqlalchemy.orm import Session

from tidegate.core.endpoints.effective import AutomatedWeights, AutomationKind, Share, Split
from tidegate.core.experiments.states import Ramp
from tidegate.errors import Conflict
from tidegate.services.endpoints import automated
from tidegate.store.endpoints import history as history_rows
from tidegate.store.endpoints.automation import word_of
from tidegate.store.experiments import rollouts
from tidegate.store.experiments.rollouts import RolloutOutcome
from tidegate.store.models import models as model_rows
from tidegate.store.tables import EndpointRow, ExperimentRow
from tidegate.wire.experiments.experiments import ExperimentSpec, PhaseView

KIND: AutomationKind = "experiment"
PHASES_MAX = 1000


def actor_of(row: ExperimentRow) -> str:
    """Who it is in the history and the audit."""
    return f"{KIND} {row.name}"


def is_in_effect(endpoint: EndpointRow, row: ExperimentRow) -> bool:
    """Whether its weights are those in effect: nobody ended it from outside."""
    return endpoint.deleted_at is None and automated.in_effect(endpoint, KIND, row.name) is not None


def ramp_of(row: ExperimentRow, spec: ExperimentSpec) -> Ramp:
    """Where its ramp is."""
    return Ramp(spec.ramp, spec.ramp_every_s, min(row.step, len(spec.ramp) - 1))


def begin(tx: Session, endpoint: EndpointRow, row: ExperimentRow, spec: ExperimentSpec, now: float) -> None:
    """Put its first split in effect; gateways route it once replicas of all arms are ready.

    Raises `AutomationRunning`, `Conflict` where its control is not what people serve, or a version was deleted.
    """
    automated.check_free(endpoint, KIND, row.name)
    control = spec.arms[0]
    if endpoint.traffic != {control.version: 100.0}:
        served = ", ".join(f"{version}={weight:g}" for version, weight in endpoint.traffic.items())
        raise Conflict(
            f"experiment {row.name!r} compares with version {control.version}, and endpoint {endpoint.name!r} serves "
            f"{served}: give its control all traffic first ('tidegate traffic {endpoint.name} {control.version}=100')",
            endpoint=endpoint.name,
        )
    gone = [arm.version for arm in spec.arms if model_rows.get_version(tx, endpoint.model, arm.version) is None]
    if gone:
        raise Conflict(
            f"version {', '.join(gone)} of {endpoint.model!r} has been deleted: create another experiment",
            endpoint=endpoint.name,
        )
    row.revision, row.stable = word_of(endpoint), dict(endpoint.traffic)
    row.started_at, row.counted_at = now, None
    arms = ", ".join(f"{arm.variant} {arm.version} ({arm.share:g} %)" for arm in spec.arms)
    split(tx, endpoint, row, spec, now=now, note=f"starts: {arms}")


def split(
    tx: Session, endpoint: EndpointRow, row: ExperimentRow, spec: ExperimentSpec, *, now: float, note: str
) -> None:
    """Begin a new phase, with as many units as its ramp has now. Raises `Conflict` where the endpoint moved on."""
    phases = row.phases[-PHASES_MAX:]
    phase = int(phases[-1]["phase"]) + 1 if phases else 1
    ramp = ramp_of(row, spec)
    row.phases = [*phases, asdict(PhaseView(phase, now, ramp.coverage))]
    row.step_ran_s = 0.0
    part = "" if ramp.coverage >= 1 else f", {ramp.steps[ramp.step]:g} % of the units take part"
    _set(tx, endpoint, row, _weights(row, spec, ramp.coverage), now=now, note=f"{note} (phase {phase}{part})")


def pause(
    tx: Session, endpoint: EndpointRow, row: ExperimentRow, spec: ExperimentSpec, *, now: float, note: str
) -> None:
    """Give everybody control. Who takes part keeps its arm for when it goes on, in a new phase."""
    _set(tx, endpoint, row, _weights(row, spec, 0.0), now=now, note=note)


def promote(tx: Session, endpoint: EndpointRow, row: ExperimentRow, version: str, *, now: float, note: str) -> None:
    """End it by making a version what people asked for. Raises `Conflict` where it is not in effect any more."""
    _check_in_effect(endpoint, row)
    automated.promote(tx, endpoint, version, by=actor_of(row), note=note, now=now)
    end(tx, endpoint, row, ("decided", "promoted"), by=actor_of(row), now=now)


def give_back(
    tx: Session,
    endpoint: EndpointRow,
    row: ExperimentRow,
    ended: tuple[str, RolloutOutcome],
    *,
    now: float,
    note: str,
) -> None:
    """End it by giving all traffic back to what was stable; `ended` is the state it ends in, and the outcome."""
    action = "rollback" if ended[1] == "rolled_back" else KIND
    automated.restore(tx, endpoint, by=actor_of(row), note=note, now=now, action=action)
    end(tx, endpoint, row, ended, by=actor_of(row), now=now)


def end(
    tx: Session,
    endpoint: EndpointRow | None,
    row: ExperimentRow,
    ended: tuple[str, RolloutOutcome],
    *,
    by: str,
    now: float,
) -> None:
    """Write that it has ended, and count it. Its endpoint may be gone."""
    row.state, row.ended_at, row.ended_by = ended[0], now, by[:255]
    row.turn += 1
    row.held, row.days_left, row.trouble = "", None, ""
    if endpoint is not None:
        rollouts.count(tx, endpoint, "experiment", ended[1])
        rollouts.write_guardrails(tx, endpoint, ())


def ended_outside(tx: Session, endpoint: EndpointRow | None, row: ExperimentRow) -> tuple[str, str, float | None]:
    """Who ended it otherwise than by its own actions, in a sentence too, and when, as the history tells."""
    if endpoint is None or endpoint.uid != row.endpoint_uid:
        return "", "the endpoint was deleted while it ran", None
    for entry in history_rows.intended(tx, endpoint)[:50]:
        if entry.action == "delete":
            return entry.actor, f"{entry.actor or 'somebody'} deleted the endpoint while it ran", entry.at
        if f"ends {KIND} {row.name}" in entry.note.split("; "):
            return (
                entry.actor,
                f"{entry.actor or 'somebody'} ended it with a change of traffic ({entry.action})",
                entry.at,
            )
    return "", "the endpoint's traffic was changed while it ran", None


def _weights(row: ExperimentRow, spec: ExperimentSpec, coverage: float) -> AutomatedWeights:
    shares = tuple(Share(arm.variant, arm.version, arm.share) for arm in spec.arms)
    phase = int(row.phases[-1]["phase"])
    split = Split(row.salt, shares, coverage=coverage, uncovered=spec.arms[0].variant, phase=phase)
    return AutomatedWeights("experiment", row.name, row.revision, split, dict(row.stable))


def _set(
    tx: Session, endpoint: EndpointRow, row: ExperimentRow, weights: AutomatedWeights, *, now: float, note: str
) -> None:
    row.turn += 1
    if not automated.begin_or_step(tx, endpoint, weights, action=KIND, note=note, now=now):
        raise Conflict(
            f"the traffic of endpoint {endpoint.name!r} was changed, or a version of experiment {row.name!r} was "
            "deleted: nothing is done",
            endpoint=endpoint.name,
        )


def _check_in_effect(endpoint: EndpointRow, row: ExperimentRow) -> None:
    if not is_in_effect(endpoint, row):
        raise Conflict(f"experiment {row.name!r} does not set the traffic any more", endpoint=endpoint.name)
