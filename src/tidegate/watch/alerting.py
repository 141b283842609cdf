"""What is worth an alert of drift and performance found on plain arrays, in a notebook.

A platform makes its alerts of the results of its monitors, and knows when one began and who is told (`core.alerting`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidegate.errors import InvalidArgument

_DRIFT = {"feature_drift": ("data_drift", "medium"), "prediction_drift": ("prediction_drift", "high")}
"""Type and severity by the monitor of a column's result: an answer that moved is nearer to harm than an input."""


def generate_alert(
    drift_results: Mapping[str, Mapping[str, Any]] | None = None,
    performance_results: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Alerts for what `detect_data_drift` and `detect_performance_drift` found; an empty list where nothing is wrong.

    Each has `type`, `severity` (`medium` of inputs, `high` of answers and of performance), `message` and, of a column,
    `feature`. What is unknown is no alert. Performance stands first, then columns by how much they moved at least.

    Raises `InvalidArgument` for what is no result of these two.
    """
    alerts: list[dict[str, Any]] = []
    by = "detect_performance_drift"
    if performance_results is not None and _of(performance_results, "significant_drop", "performance_results", by):
        alerts.append({"type": "performance_drift", "severity": "high", "message": performance_results["verdict"]})
    drifted = []
    for feature, found in (drift_results or {}).items():
        if _of(found, "drift_detected", f"drift_results[{feature!r}]", "detect_data_drift"):
            type_, severity = _DRIFT[found["monitor"]]
            alert = {
                "type": type_,
                "feature": feature,
                "severity": severity,
                "message": f"{feature}: {found['verdict']}",
            }
            drifted.append((found["effect_lower"] or 0.0, alert))
    drifted.sort(key=lambda one: -one[0])
    return [*alerts, *(alert for _, alert in drifted)]


def _of(found: Any, field: str, name: str, by: str) -> bool:
    if not isinstance(found, Mapping) or field not in found:
        raise InvalidArgument(f"{name} has no {field!r}: pass what {by} returns.", field=name.partition("[")[0])
    return found[field] is True
