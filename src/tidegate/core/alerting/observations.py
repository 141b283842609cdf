"""Monitors' results as the state machine takes them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from tidegate.core.alerting.model import SEVERITIES, AlertType, Observation, Severity
from tidegate.core.alerting.rules import MEASURES

TYPE_OF: Mapping[str, AlertType] = {
    "feature_drift": "data_drift",
    "prediction_drift": "prediction_drift",
    "label_shift": "label_shift",
    "performance": "performance_drift",
    "estimated_performance": "estimated_performance",
    "data_quality": "data_quality",
    "errors": "errors",
    "latency": "latency",
    "traffic": "traffic",
    "label_coverage": "label_coverage",
    "capture": "capture_dropped",
}
"""Which type of alert each monitor raises."""

EVIDENCE = (
    "n",
    "n_reference",
    "since",
    "until",
    "evaluated_at",
    "ks_statistic",
    "p_value",
    "effect",
    "effect_lower",
    "psi",
    "value",
    "reference",
    "lower",
    "upper",
    "performance_drop",
    "coverage",
)
"""Of a result, what an alert keeps: its numbers, and not its histograms."""
MESSAGE_CHARS_MAX, LABEL_CHARS_MAX = 1_000, 200


class Result(Protocol):
    """A monitor's result (`wire.monitoring.monitoring.MonitorResult`), as far as alerts need it."""

    @property
    def monitor(self) -> str: ...
    @property
    def endpoint(self) -> str: ...
    @property
    def version(self) -> str | None: ...
    @property
    def feature(self) -> str | None: ...
    @property
    def metric(self) -> str | None: ...
    @property
    def segment(self) -> str | None: ...
    @property
    def against(self) -> str: ...
    @property
    def verdict(self) -> str: ...
    @property
    def state(self) -> Any: ...
    @property
    def severity(self) -> Any: ...


def observed(results: Iterable[Result]) -> list[Observation]:
    """The results that alerts are made of: what is compared with the rows before it is shown, and never pages."""
    return [observation(one) for one in results if one.against == "baseline"]


def observation(result: Result) -> Observation:
    """The result as an observation. A severity that is not given is `medium`."""
    type_ = TYPE_OF[result.monitor]
    severity: Severity = result.severity if result.severity in SEVERITIES else "medium"
    return Observation(
        type=type_,
        endpoint=result.endpoint,
        monitor=result.monitor,
        verdict=result.state,
        version=label_of(result.version),
        feature=label_of(result.feature),
        metric=label_of(result.metric),
        segment=label_of(result.segment),
        severity=severity,
        message=result.verdict[:MESSAGE_CHARS_MAX],
        measured=_measure(result, type_),
        evidence=_evidence(result),
    )


def label_of(text: str | None) -> str:
    """A name as alerts' labels have it."""
    return (text or "")[:LABEL_CHARS_MAX]


def _measure(result: Result, type_: AlertType) -> float | None:
    value: Any = getattr(result, MEASURES.get(type_, ""), None)
    return float(value) if _is_number(value) else None


def _evidence(result: Result) -> dict[str, Any]:
    found = {name: getattr(result, name, None) for name in EVIDENCE}
    return {name: value for name, value in found.items() if _is_number(value)}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
