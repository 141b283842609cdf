"""Tells alerts what becomes of an experiment: what was decided, and what needs a person. `deciding` and people call it.

An alert of type `rollout` fires while a guardrail is breached, units do not come in the planned ratio, or a promotion
waits for approval, and once for each end that the loop decided on; then it ends as alerts do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy.orm import Session

from tidegate.core.alerting.model import Observation, Severity
from tidegate.sequential.analysis import Analysis
from tidegate.store.tables import ExperimentRow

Tell = Callable[[Session, str, Sequence[Observation], float], None]
"""Has alerts of an endpoint made of observations at a moment, in the caller's transaction."""
MESSAGE_CHARS_MAX = 1000
_SEVERITY: dict[str, Severity] = {"rollback": "high", "hold": "medium", "promote": "medium", "inconclusive": "low"}


def nobody(_tx: Session, _endpoint: str, _observations: Sequence[Observation], _now: float) -> None:
    """Tells nobody."""


def of_look(row: ExperimentRow, analysis: Analysis, *, ended: bool) -> Observation:
    """What a look came to, as the row has it by now."""
    breached = [one.name for one in analysis.guardrails if one.state == "breached" and not one.dry_run]
    worse = [name for name, _ in analysis.worse]
    if row.decision in _SEVERITY:
        severity = "low" if ended and row.decision == "promote" else _SEVERITY[row.decision]
        return _observation(row, f"{_WORDS[row.decision, ended]}: {row.reason}", severity)
    if ended:
        return _observation(row, f"ended: {row.reason}", "medium")
    if breached or worse:
        texts = [f"past its margin: {name}" for name in breached] + [f"worse for certain: {name}" for name in worse]
        return _observation(row, f"goes on; {', '.join(texts)}", "high")
    return quiet(row)


def quiet(row: ExperimentRow) -> Observation:
    """Nothing needs anybody."""
    return Observation("rollout", row.endpoint, "experiment", "ok", metric=row.name)


_WORDS = {
    ("rollback", True): "was rolled back",
    ("rollback", False): "is to be rolled back",
    ("hold", True): "was held",
    ("hold", False): "is held",
    ("promote", True): "was promoted",
    ("promote", False): "waits for approval",
    ("inconclusive", True): "ended without a result",
    ("inconclusive", False): "ends without a result",
}


def _observation(row: ExperimentRow, message: str, severity: Severity) -> Observation:
    text = f"experiment {row.name!r} {message}"[:MESSAGE_CHARS_MAX]
    return Observation("rollout", row.endpoint, "experiment", "alert", metric=row.name, severity=severity, message=text)
