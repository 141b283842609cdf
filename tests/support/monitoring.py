"""Results of monitors as an endpoint has them: made by the statistics themselves, on rows that were drawn."""

from __future__ import annotations

from typing import Any

import numpy as np

from tidegate.watch.drift.drift import DriftContext
from tidegate.watch.drift.drift import evaluate as evaluate_drift
from tidegate.watch.histograms.histogram import Histogram, reference
from tidegate.watch.performance.performance import Cohort, LossMetric, Reference
from tidegate.watch.performance.performance import evaluate as evaluate_performance
from tidegate.wire.monitoring.monitoring import Histograms, MonitorResult

NOON = 1_795_003_200.0  # 2026-11-18 12:00 UTC
HOUR_S = 3600.0
FIELDS = frozenset(MonitorResult.__struct_fields__)


def drift_results(shifts: dict[str, float], rows: int = 2000, at: float = NOON, **about: Any) -> list[MonitorResult]:
    """Of normal columns whose mean moved by so many standard deviations; one named `plan` is of categories.

    The column `score` is the model's answer.
    """
    rng = np.random.default_rng(3)
    before, now = {}, {}
    for name, shift in shifts.items():
        if name == "plan":
            plans, share = ["basic", "plus", "pro"], np.array([0.6, 0.3, 0.1])
            moved = share + np.array([-shift, shift / 2, shift / 2])
            before[name], now[name] = rng.choice(plans, 5000, p=share), rng.choice(plans, rows, p=moved)
        else:
            before[name], now[name] = rng.normal(0, 1, 5000), rng.normal(shift, 1, rows)
    references = {name: reference(values, name=name) for name, values in before.items()}
    current = {name: Histogram.of(now[name], one.layout, name) for name, one in references.items()}
    outputs = [name for name in shifts if name == "score"]
    found = []
    for name, drift in evaluate_drift(references, current, look=DriftContext(outputs)).items():
        names = list(references[name].layout.names)
        pair = Histograms(names, list(references[name].counts), list(current[name].counts))
        plain = {key: value for key, value in drift.as_dict().items() if key in FIELDS}
        severity = "high" if drift.state == "alert" else None
        made = {"endpoint": "churn", "version": "3", "since": at - HOUR_S, "until": at, "evaluated_at": at, **about}
        found.append(MonitorResult(**{**plain, "histograms": pair, "severity": severity, **made}))
    return found


def performance_results(error_rates: list[float], rows: int = 800, missing: float = 0.2) -> list[MonitorResult]:
    """Accuracy of version 3, hour by hour, with labels of which a part has not come; worse as the rates say."""
    rng = np.random.default_rng(4)
    was = Reference.of(rng.binomial(1, error_rates[0], 4000).astype(float))
    found = []
    for hour, rate in enumerate(error_rates):
        losses = rng.binomial(1, rate, rows).astype(float)
        losses[rng.random(rows) < missing] = np.nan
        performance = evaluate_performance(Cohort(losses), was, LossMetric("accuracy"))
        until = NOON - HOUR_S * (len(error_rates) - 1 - hour)
        plain = {key: value for key, value in performance.as_dict().items() if key in FIELDS}
        made: dict[str, Any] = {"monitor": "performance", "endpoint": "churn", "version": "3"}
        made |= {"since": until - HOUR_S, "until": until, "evaluated_at": until}
        severity = "critical" if performance.state == "alert" else None
        found.append(MonitorResult(**{**plain, "severity": severity, **made}))
    return found


def check_result(monitor: Any, state: Any, verdict: str, at: float = NOON, **more: Any) -> MonitorResult:
    """One of the other monitors."""
    made: dict[str, Any] = {"endpoint": "churn", "version": "3", "since": NOON - HOUR_S, "until": NOON}
    return MonitorResult(monitor=monitor, state=state, verdict=verdict, evaluated_at=at, **{**made, **more})
