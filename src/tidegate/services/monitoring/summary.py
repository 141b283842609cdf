"""What an endpoint's newest evaluations come to in a few numbers, for Prometheus: kept with the endpoint's monitor."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from tidegate.wire.monitoring.monitoring import MonitorResult

FEATURES_MAX = 10
"""Features that a scrape tells of: those that moved furthest."""
DRIFT = ("feature_drift", "prediction_drift")


def _is_drift(one: MonitorResult) -> bool:
    return one.monitor in DRIFT and one.segment is None and one.effect is not None and one.against == "baseline"


def summary_of(
    before: Mapping[str, Any], results: Iterable[MonitorResult], versions: Collection[str]
) -> dict[str, Any]:
    """`drift` (effect by column, the furthest of all versions), `drifted` (how many), `quality` (by version, metric).

    What these results say nothing of stays as it was before, of `versions`: those in use.
    """
    drifts = [one for one in results if _is_drift(one)]
    quality = {version: dict(of) for version, of in before.get("quality", {}).items() if version in versions}
    for one in results:
        if one.monitor == "performance" and one.version and one.metric and one.value is not None:
            quality.setdefault(one.version, {})[one.metric] = one.value
    if not drifts:
        return {"drift": before.get("drift", {}), "drifted": before.get("drifted", 0), "quality": quality}
    effects: dict[str, float] = {}
    for one in drifts:
        if one.feature is not None and one.effect is not None:
            effects[one.feature] = max(one.effect, effects.get(one.feature, 0.0))
    furthest = sorted(effects, key=lambda name: (-effects[name], name))[:FEATURES_MAX]
    drifted = len({one.feature for one in drifts if one.drift_detected})
    return {"drift": {name: effects[name] for name in furthest}, "drifted": drifted, "quality": quality}
