"""What is worth an alert of drift and performance found on plain arrays, in a notebook.

A platform makes its alerts of the results of its monitors, and knows when one began and who is told (`core.alerting`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidegate.errors import InvalidArgument

_DRIFT = {"feature_drift": ("data_drift", "medium"), "prediction_drift": ("prediction_drift", "high")}
"""Type and severity by the monitor of a column's result: an answer that moved is nearer to harm than an input."""
_DRIFT_FIELDS = ("drift_detected", "monitor", "verdict", "effect_lower")
_PERFORMANCE_FIELDS = ("significant_drop", "verdict")


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
    if performance_results is not None and _of(performance_results, _PERFORMANCE_FIELDS, "performance_results"):
        alerts.append({"type": "performance_drift", "severity": "high", "message": performance_results["verdict"]})
    drifted = []
    if not isinstance(drift_results or {}, Mapping):
        raise InvalidArgument(
            "drift_results is no dictionary: pass what detect_data_drift returns.", field="drift_results"
        )
    for feature, found in (drift_results or {}).items():
        if _of(found, _DRIFT_FIELDS, f"drift_results[{feature!r}]"):
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


def _of(found: Any, fields: tuple[str, ...], name: str) -> bool:
    """What the first of the fields says; all are needed."""
    missing = [one for one in fields if not isinstance(found, Mapping) or one not in found]
    if missing:
        by = "detect_data_drift" if fields is _DRIFT_FIELDS else "detect_performance_drift"
        raise InvalidArgument(f"{name} has no {missing[0]!r}: pass what {by} returns.", field=name.partition("[")[0])
    return found[fields[0]] is True
