"""What the control plane's `/metrics` tells, made from rows at each scrape: a restart loses nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import get_args

from sqlalchemy.orm import Session

from tidegate.clock import Clock
from tidegate.errors import StoreUnavailable
from tidegate.services.endpoints.scaling import Decisions
from tidegate.services.jobs.queue import STATES
from tidegate.services.overview.status import StatusReport
from tidegate.store.alerting import alerts as alert_rows
from tidegate.store.alerting import outbox as alert_outbox
from tidegate.store.database.engine import Store
from tidegate.store.experiments import rollouts
from tidegate.store.jobs import jobs as job_rows
from tidegate.store.models import models as model_rows
from tidegate.store.monitoring import Summary, summaries
from tidegate.wire import rest
from tidegate.wire.endpoints.scaling import ScaleDecision


@dataclass(frozen=True)
class GateScore:
    """What a version scored at the validation gate, for each endpoint that has it."""

    endpoint: str
    version: str
    metric: str
    value: float


@dataclass(frozen=True)
class AlertFigures:
    """How many alerts there are by endpoint, state and severity, and deliveries by target and state; how long the
    oldest of these waits.
    """

    alerts: dict[tuple[str, str, str], int]
    deliveries: dict[tuple[str, str], int]
    oldest_pending_s: float


@dataclass(frozen=True)
class GuardrailFigure:
    """What a guardrail of a running automation came to at its newest look; None where nothing is known yet."""

    endpoint: str
    variant: str
    guardrail: str
    value: float | None
    bound: float | None
    margin: float


@dataclass(frozen=True)
class RolloutFigures:
    """How many automations ended, by endpoint, kind and outcome, and the guardrails of those that run."""

    ended: dict[tuple[str, str, str], int]
    guardrails: list[GuardrailFigure]


@dataclass(frozen=True)
class Measured:
    """One scrape's facts; `scaled` has the autoscaler's newest decisions, by endpoint.

    `watched`: what monitors found last, by endpoint. `jobs`, `scores`, `alerts` and `rollouts` are None while the
    database is away: unknown, not zero.
    """

    status: rest.Status
    endpoints: list[rest.Endpoint] = field(default_factory=list)
    jobs: dict[tuple[str, str], job_rows.Figures] | None = None
    oldest_queued_s: float = 0.0
    scores: list[GateScore] | None = field(default=None)
    scaled: list[tuple[str, ScaleDecision]] = field(default_factory=list)
    watched: list[Summary] = field(default_factory=list)
    alerts: AlertFigures | None = None
    rollouts: RolloutFigures | None = None


@dataclass(frozen=True)
class Measures:
    """Reads the figures of one scrape."""

    store: Store
    report: StatusReport
    clock: Clock
    decisions: Decisions = field(default_factory=Decisions)

    def get(self) -> Measured:
        """Never fails for the database's sake."""
        status = self.report.get()
        if status.database is None or status.database.status != "ready":
            return Measured(status)
        try:
            return self._with_rows(status)
        except StoreUnavailable:
            return Measured(status)

    def _with_rows(self, status: rest.Status) -> Measured:
        with self.store.reading() as tx:
            ended, oldest_at = job_rows.figures(tx), job_rows.oldest_queued_at(tx)
            watched = summaries(tx)
            alerts = _alert_figures(tx, self.clock())
            figures = _rollout_figures(tx)
            validations = {(row.model, row.version): row.validation for row in model_rows.scored(tx)}
        endpoints = self.report.endpoints.shown.all()
        kinds = {(kind, state): job_rows.Figures() for kind in get_args(rest.JobKind) for state in STATES}
        waited_s = 0.0 if oldest_at is None else max(0.0, self.clock() - oldest_at)
        leads = status.leader is not None and status.leader.here
        known = [(one.name, self.decisions.of(one.name)) for one in endpoints if leads and one.scaling is not None]
        scaled = [(name, decision) for name, found in known for decision in found.values()]
        scores = _scores(endpoints, validations)
        return Measured(status, endpoints, kinds | ended, waited_s, scores, scaled, watched, alerts, figures)


def _rollout_figures(tx: Session) -> RolloutFigures:
    found = [
        GuardrailFigure(row.endpoint, row.variant, row.guardrail, row.value, row.bound, row.margin)
        for row in rollouts.guardrails(tx)
    ]
    return RolloutFigures(rollouts.counts(tx), found)


def _alert_figures(tx: Session, now: float) -> AlertFigures:
    deliveries, oldest = alert_outbox.figures(tx)
    shown: dict[tuple[str, str], int] = {}
    for (target, state), number in deliveries.items():  # URLs of actions may be secret, and are many
        name = target.partition("=")[0], state
        shown[name] = shown.get(name, 0) + number
    return AlertFigures(alert_rows.counts(tx), shown, 0.0 if oldest is None else max(0.0, now - oldest))


def _scores(endpoints: list[rest.Endpoint], validations: dict[tuple[str, str], dict[str, object]]) -> list[GateScore]:
    found = []
    for endpoint in endpoints:
        for version in dict.fromkeys(variant.version for variant in endpoint.variants):
            validation = validations.get((endpoint.model, version), {})
            score = validation.get("score")
            if isinstance(score, int | float):
                found.append(GateScore(endpoint.name, version, str(validation.get("metric")), float(score)))
    return found
