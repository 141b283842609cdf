"""Results of monitors as people read them: the newest of each, what comes first, what belongs together.

Used by the report's page and by the console's, so that both say the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tidegate.wire.monitoring.monitoring import Histograms, MonitorName, MonitorResult

STALE_S = 86_400.0
"""What was not looked at for so long, while others were, is of a version or column that is gone."""
DRIFT = ("feature_drift", "prediction_drift")
FIRST_OF_TWO = "probabilities[0]"
QUALITY = ("performance", "estimated_performance")
SEVERITIES = ("critical", "high", "medium", "low")
MONITORS: Mapping[MonitorName, str] = {
    "feature_drift": "drift of a feature",
    "prediction_drift": "drift of predictions",
    "performance": "performance",
    "estimated_performance": "estimated performance",
    "data_quality": "data quality",
    "label_shift": "label shift",
    "traffic": "traffic",
    "latency": "latency",
    "errors": "errors",
    "label_coverage": "label coverage",
    "capture": "capture",
}
"""What monitors are called on a page."""
WANTED: Mapping[MonitorName, int] = {
    "feature_drift": 1000,
    "prediction_drift": 200,
    "performance": 1000,
    "estimated_performance": 300,
    "data_quality": 500,
    "label_shift": 50,
    "traffic": 50,
    "latency": 50,
    "errors": 50,
    "label_coverage": 50,
    "capture": 50,
}
"""How many of the newest results of each monitor pages are made of: some are looked at over time, others only now."""
_STATES = {"alert": 0, "ok": 1, "unknown": 2}


def key(one: MonitorResult) -> tuple[str, ...]:
    """What a result is about, whenever it was looked at."""
    its = (one.monitor, one.version or "", one.feature or "", one.metric or "", one.segment or "")
    return its if one.against == "baseline" else (*its, one.against)


def about(one: MonitorResult) -> str:
    """The feature or the metric; the monitor's words where there is neither."""
    return one.feature or (one.metric or "").replace("_", " ") or MONITORS[one.monitor]


def newest(history: Iterable[MonitorResult]) -> list[MonitorResult]:
    """The last of each, without those that nobody looks at any more."""
    last: dict[tuple[str, ...], MonitorResult] = {}
    for one in history:
        before = last.get(key(one))
        if before is None or one.evaluated_at >= before.evaluated_at:
            last[key(one)] = one
    until = max((one.evaluated_at for one in last.values()), default=0.0)
    return [one for one in last.values() if one.evaluated_at >= until - STALE_S]


def told(history: Iterable[MonitorResult]) -> list[MonitorResult]:
    """The newest as people are told of them: nothing twice.

    Of a classifier's two probabilities the last: the other is what is left of 1, and says the same again.
    """
    found = newest(history)
    keys = {key(one) for one in found}

    def says_the_same(one: MonitorResult) -> bool:
        if one.feature != FIRST_OF_TWO:
            return False
        monitor, version, _, *rest = key(one)
        second, third = ((monitor, version, f"probabilities[{at}]", *rest) for at in (1, 2))
        return second in keys and third not in keys

    return [one for one in found if not says_the_same(one)]


def drifts(found: Iterable[MonitorResult]) -> list[MonitorResult]:
    """Columns over all segments: those that drifted, by the least that they moved; then the rest by how far; unknown
    ones last.
    """
    return sorted((one for one in found if _is_drift(one) and one.against == "baseline"), key=_by_effect)


def since_before(found: Iterable[MonitorResult]) -> dict[tuple[str | None, str | None], MonitorResult]:
    """How far columns moved since the block of rows before, by version and column: beside drift, and less than it."""
    return {(one.version, one.feature): one for one in found if _is_drift(one) and one.against == "previous"}


def moved_since_before(found: Iterable[MonitorResult]) -> list[MonitorResult]:
    """Those of them that moved, by the least that they did."""
    moved = (one for one in since_before(found).values() if one.verdict.startswith("moved"))
    return sorted(moved, key=lambda one: (-(one.effect_lower or 0.0), *key(one)))


def _is_drift(one: MonitorResult) -> bool:
    return one.monitor in DRIFT and one.segment is None


def in_order(found: Iterable[MonitorResult]) -> list[MonitorResult]:
    """Alerts first, the severest before others; then what is fine, and what is unknown."""
    return sorted(found, key=lambda one: (*_by_state(one), *key(one)))


def alerting(found: Iterable[MonitorResult]) -> list[MonitorResult]:
    """What needs attention, the severest first."""
    return in_order(one for one in found if one.state == "alert")


def checks(found: Iterable[MonitorResult]) -> list[MonitorResult]:
    """What is neither drift nor performance: traffic, latency, errors, labels, capture, and data of bad quality."""
    others = (one for one in found if one.monitor not in (*DRIFT, *QUALITY) and one.segment is None)
    return in_order(one for one in others if not _is_fine(one))


def fine_columns(found: Iterable[MonitorResult]) -> int:
    """How many columns have data of good quality: a number says as much as a row for each."""
    return sum(map(_is_fine, found))


def _is_fine(one: MonitorResult) -> bool:
    return one.monitor == "data_quality" and one.state == "ok" and one.segment is None and one.feature is not None


def segments(found: Iterable[MonitorResult]) -> list[MonitorResult]:
    """Of each segment what its monitors say."""
    return in_order(one for one in found if one.segment is not None)


def courses(history: Iterable[MonitorResult]) -> list[list[MonitorResult]]:
    """Performance over time: for each metric of each version its results in order, those with labels before estimates.

    Never empty lists.
    """
    found: dict[tuple[str, ...], list[MonitorResult]] = {}
    for one in history:
        if one.monitor in QUALITY and one.segment is None:
            found.setdefault(key(one), []).append(one)
    ordered = sorted(found, key=lambda its: (QUALITY.index(its[0]), *its[1:]))
    return [sorted(found[its], key=lambda one: one.until) for its in ordered]


def versions(found: Iterable[MonitorResult]) -> list[str]:
    """Each version once, the highest number first."""
    seen = {one.version for one in found if one.version}
    return sorted(seen, key=lambda its: (int(its) if its.isdecimal() else -1, its), reverse=True)


def filled(pair: Histograms) -> Histograms:
    """Without the bins that have no row in either, such as those for missing and unseen values; all where all are."""
    kept = [at for at, counts in enumerate(zip(pair.reference, pair.current, strict=True)) if any(counts)]
    if not kept:
        return pair
    return Histograms(
        [pair.names[at] for at in kept], [pair.reference[at] for at in kept], [pair.current[at] for at in kept]
    )


def _by_effect(one: MonitorResult) -> tuple[float, ...]:
    effect, lower = one.effect or 0.0, one.effect_lower or 0.0
    return (_STATES[one.state], -lower if one.state == "alert" else -effect, -effect)


def _by_state(one: MonitorResult) -> tuple[int, int]:
    severity = SEVERITIES.index(one.severity) if one.severity is not None else len(SEVERITIES)
    return _STATES[one.state], severity
