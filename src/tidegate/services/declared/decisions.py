"""The parts of a document that are about deciding between versions: an experiment, a shadow.

Called by `services.declared.documents` in its transaction; what reads captured rows or the registry was asked before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from sqlalchemy.orm import Session

from tidegate.core.access import Principal
from tidegate.core.experiments.grammar import guardrail_text, metric_text
from tidegate.core.experiments.states import ENDED
from tidegate.core.numbers import number_text
from tidegate.errors import Conflict
from tidegate.services.canaries.use_cases import Canaries
from tidegate.services.experiments import creation
from tidegate.services.experiments.lifecycle import Experiments, version_of
from tidegate.services.experiments.past import ExperimentPast
from tidegate.services.reading.lookup import endpoint_or_raise, version_or_raise
from tidegate.services.shadows.shadows import Shadows
from tidegate.store.endpoints.endpoints import get_endpoint
from tidegate.store.endpoints.shadows import shadow_of
from tidegate.store.experiments import canaries as canary_rows
from tidegate.store.experiments import experiments as rows
from tidegate.store.tables import EndpointRow, ExperimentRow
from tidegate.store.tables.canaries import CanaryRow
from tidegate.wire.experiments.canary import CanaryRequest
from tidegate.wire.experiments.experiments import ExperimentRequest, ExperimentSpec
from tidegate.wire.experiments.shadows import ShadowRequest

OUTCOMES = {"promote": "Successful", "rollback": "Failed", "inconclusive": "Inconclusive"}
"""What came of a rollout, in Argo's words."""


CANARY_OUTCOMES = {
    "running": "Running",
    "paused": "Paused",
    "promoted": "Successful",
    "aborted": "Failed",
    "failed": "Failed",
    "ended": "Stopped",
}


@dataclass(frozen=True)
class CapturedPast(ExperimentPast):
    """What captured rows said before the transaction, which reads no files."""

    days: float | None = None

    def expected_days(self, spec: ExperimentSpec, endpoint: str) -> float | None:  # noqa: ARG002
        return self.days


def planned_days(experiments: Experiments, endpoint: str, values: Mapping[str, Any]) -> float | None:
    """How long a new experiment takes, by captured rows; None where they do not say, or it is there already.

    Raises what `Experiments.create` raises of the request.
    """
    request = request_of(values, accepted=True)
    asked = creation.read(request, lambda one: one)
    with experiments.store.reading() as tx:
        found = get_endpoint(tx, endpoint)
        if found is None or rows.get(tx, found.uid, values["name"]) is not None:
            return None
        spec = creation.spec_of(tx, found, asked, experiments.capture_retain_s)
    return experiments.past.expected_days(spec, endpoint)


def request_of(values: Mapping[str, Any], *, accepted: bool) -> ExperimentRequest:
    """The experiment that a document asks for, as a draft."""
    asked = {name: value for name, value in values.items() if name != "start"}
    return ExperimentRequest(**asked, accept_signature_change=accepted)


def set_experiment(
    tx: Session, experiments: Experiments, endpoint: str, values: Mapping[str, Any], who: Principal, *, accepted: bool
) -> None:
    """Create and start it where there is none of its name; one that is there stays as it began.

    Raises `Conflict` where it was asked for otherwise, and what `Experiments.create` and `start` raise.
    """
    found = endpoint_or_raise(tx, endpoint)
    row, request = rows.get(tx, found.uid, values["name"]), request_of(values, accepted=accepted)
    if row is None:
        experiments.create(endpoint, replace(request, start=values["start"]), who)
        return
    if row.state in ENDED:
        return
    _bring_to(tx, experiments, row, request, who)
    if row.state == "draft" and values["start"]:
        experiments.start(endpoint, row.name, who)


def _bring_to(
    tx: Session, experiments: Experiments, row: ExperimentRow, request: ExperimentRequest, who: Principal
) -> None:
    """A draft may get another split; whatever else differs is refused with `Conflict`."""
    found = endpoint_or_raise(tx, row.endpoint)
    there = rows.spec_of(row)
    asked = creation.spec_of(tx, found, creation.read(request, lambda one: one), experiments.capture_retain_s)
    if request.max_days is None or any(one.startswith(creation.SHORTENED) for one in row.warnings):
        asked = replace(asked, max_days=there.max_days)
    differ = [one.name for one in fields(asked) if getattr(asked, one.name) != getattr(there, one.name)]
    if (
        differ == ["arms"]
        and row.state == "draft"
        and [arm.version for arm in asked.arms] == [arm.version for arm in there.arms]
    ):
        experiments.set_split(row.endpoint, row.name, [arm.share for arm in asked.arms], who)
    elif differ:
        raise Conflict(
            f"experiment {row.name!r} was asked for with other {', '.join(differ)}, and stays as it began: give this "
            "one another name, once that one has ended",
            endpoint=row.endpoint,
            experiment=row.name,
            field="experiment",
        )


def set_canary(tx: Session, canaries: Canaries, endpoint: str, asked: CanaryRequest, who: Principal) -> None:
    """Begin it, unless the endpoint's newest canary is of this version already, whatever became of that.

    Raises `Conflict` where it runs with other steps, and what `Canaries.begin` raises.
    """
    found = endpoint_or_raise(tx, endpoint)
    version = version_or_raise(tx, found.model, asked.version).version
    newest = canary_rows.newest_of(tx, found.uid, "canary")
    if newest is None or newest.version != version:
        if found.traffic != {version: 100.0}:
            canaries.begin(endpoint, replace(asked, version=version), who)
        return
    there = (newest.steps, newest.every_s, newest.guardrails)
    if newest.ended_at is None and there != (asked.steps, asked.every_s, asked.guardrails):
        raise Conflict(
            f"a canary of version {version} runs with other steps, and keeps those it began with: 'tidegate canary "
            f"abort {endpoint}' ends it",
            endpoint=endpoint,
            field="canary",
        )


def set_shadow(tx: Session, shadows: Shadows, endpoint: str, values: Mapping[str, Any], who: Principal) -> None:
    """Have the version listen to its share; with neither, none."""
    now = shadow_of(endpoint_or_raise(tx, endpoint))
    if not values["share"] or values["version"] is None:
        if now is not None:
            shadows.finish(tx, endpoint, who)
        return
    if now is None or (now.version, now.share) != (values["version"], values["share"]):
        shadows.begin(tx, endpoint, ShadowRequest(values["version"], values["share"]), who)


def facts_of_decisions(tx: Session, row: EndpointRow) -> dict[str, Any]:
    """The experiment that goes on or is a draft, and the shadow; an experiment that has ended is history."""
    live = next((one for one in rows.of_endpoint(tx, row.uid) if one.state not in ENDED), None)
    shadow = shadow_of(row)
    shown = {"version": None, "share": 0.0} if shadow is None else {"version": shadow.version, "share": shadow.share}
    runs = next((one for one in canary_rows.active_of(tx, row.uid) if one.kind == "canary"), None)
    return {
        **({"experiment": _experiment(live)} if live is not None else {}),
        **({"canary": _canary(runs)} if runs is not None else {}),
        "shadow": shown,
    }


def _canary(row: CanaryRow) -> dict[str, Any]:
    steps = {"weights": [*row.steps], "every_s": row.every_s, "guardrails": [*row.guardrails]}
    return {"version": row.version, "steps": steps}


def _experiment(row: ExperimentRow) -> dict[str, Any]:
    spec = rows.spec_of(row)
    shares = [arm.share for arm in spec.arms]
    return {
        "name": row.name,
        "control": spec.arms[0].version,
        "treatments": [arm.version for arm in spec.arms[1:]],
        "split": [] if max(shares) - min(shares) < 1e-3 else shares,
        "metrics": [metric_text(one) for one in spec.metrics],
        "guardrails": [guardrail_text(one, spec.metrics) for one in spec.guardrails],
        "mde": f"{'abs:' if spec.mde_absolute else ''}{number_text(spec.mde)}",
        "alpha": spec.alpha,
        "max_days": spec.max_days,
        "auto": spec.auto,
        "on_breach": spec.on_breach,
        "on_no_traffic": spec.on_no_traffic,
        "ramp": [] if spec.ramp == (100.0,) else [*spec.ramp],
        "ramp_every_s": spec.ramp_every_s,
        "start": row.state != "draft",
    }


def promoted_by(tx: Session, row: EndpointRow | None, values: Mapping[str, Any]) -> bool:
    """Whether the traffic is what the document's own canary or experiment promoted: then it is as the document says."""
    if row is None or len(row.traffic) != 1:
        return False
    (version,) = row.traffic
    if "canary" in values:
        canary = canary_rows.newest_of(tx, row.uid, "canary")
        if canary is not None and canary.state == "promoted" and canary.version == version:
            return version_or_raise(tx, row.model, values["canary"]["version"]).version == version
    if "experiment" in values:
        found = rows.get(tx, row.uid, values["experiment"]["name"])
        if found is not None and (found.state, found.decision) == ("decided", "promote"):
            return version_of(rows.spec_of(found), found.winner) == version
    return False


def outcomes_of(tx: Session, row: EndpointRow, values: Mapping[str, Any]) -> str:
    """How the document's experiment and canary are doing, in Argo's words."""
    texts = []
    if "experiment" in values:
        texts.append(_outcome_of_experiment(tx, row, values["experiment"]["name"]))
    canary = canary_rows.newest_of(tx, row.uid, "canary") if "canary" in values else None
    if canary is not None:
        texts.append(f"canary of version {canary.version} is {CANARY_OUTCOMES[canary.state]}: {canary.reason}")
    return "; ".join(one for one in texts if one)


def _outcome_of_experiment(tx: Session, row: EndpointRow, name: str) -> str:
    found = rows.get(tx, row.uid, name)
    if found is None:
        return ""
    if found.state in ENDED:
        word = OUTCOMES.get(found.decision, "Stopped") if found.state == "decided" else "Stopped"
    else:
        word = {"draft": "Draft", "paused": "Paused"}.get(found.state, "Running")
    return f"experiment {found.name} is {word}: {found.reason}"
