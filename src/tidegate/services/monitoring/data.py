"""The monitors of a block's inputs and outputs: drift of each column, and its quality. On histograms alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tidegate.clock import rfc3339
from tidegate.services.monitoring.baselines import KnownBaseline
from tidegate.services.monitoring.gathered import WHOLE, GatheredBlock, GatheredPart
from tidegate.services.monitoring.place import Place
from tidegate.watch.drift.drift import Drift, DriftContext, evaluate
from tidegate.watch.drift.duplicates import CHUNK_ROWS, Repeats
from tidegate.watch.drift.rates import RateChange, rate_changes
from tidegate.watch.histograms.clustering import Clustering
from tidegate.watch.histograms.histogram import Histogram
from tidegate.wire.monitoring.monitoring import Histograms, MonitorName, MonitorResult, Severity

QUALITY_DIFFERENCE = 0.01
"""A share of bad values that is larger than the baseline's by up to this does not matter."""
QUALITY_RATIO = 1.1
FAULTS = ("missing", "invalid", "unseen")
RANGE = ("below", "above")
"""Told by itself: values out of the range may be bad, or come of a world that moved. Of inputs alone: a model may well
answer what it had not answered before."""
LARGE_EFFECT, LARGE_RATE = 0.25, 0.5
LITTLE_ALPHA = 1e-4
"""What some minutes are worth: a look that follows another so soon can hardly tell a difference from chance."""
SEGMENTS_SHARE = 0.5
"""Of the error rate, what segments get where an endpoint has them."""


def drift_results(known: KnownBaseline, block: GatheredBlock, place: Place, alpha: float) -> list[MonitorResult]:
    """Drift of each column of the baseline, whole and by segment. A column that was not captured is unknown."""
    segments = sorted(name for name in block.parts if name != WHOLE)
    results = _drifts(known, block.parts[WHOLE], place, alpha * (1 - SEGMENTS_SHARE) if segments else alpha)
    for name in segments:
        results += _drifts(known, block.parts[name], place, alpha * SEGMENTS_SHARE / len(segments), name)
    results += [
        place.unknown(
            _drift_monitor(known, name),
            "it was not captured",
            feature=name,
            n_reference=one.rows,
            kind=one.layout.kind,
        )
        for name, one in known.baseline.whole.columns.items()
        if name not in block.parts[WHOLE].histograms
    ]
    return results


def previous_results(
    known: KnownBaseline, block: GatheredBlock, before: GatheredBlock, place: Place, previous_since: float
) -> list[MonitorResult]:
    """How far each column moved since the block before. It decides nothing: the budget is the baseline's alone.

    The block before is one block, and as uncertain as this one. Two whole days have one rhythm; two hours have not, and
    may differ by it.
    """
    now, then = block.parts[WHOLE], before.parts[WHOLE]
    names = [name for name in now.histograms if name in then.histograms]
    expected = known.baseline.expected(now.hours).clustering
    alike = {name: replace(expected[name], block_rows=float(then.rows)) for name in names if name in expected}
    look = DriftContext(outputs=[name for name in names if known.roles.get(name) == "output"], clustering=alike)
    reference = {name: then.histograms[name] for name in names}
    found = evaluate(reference, {name: now.histograms[name] for name in names}, look=look)
    since = f"since the block before, of {rfc3339(previous_since)[:16]}Z"
    return [
        _against_previous(one, pair(reference[name], now.histograms[name]), place, since) for name, one in found.items()
    ]


def _against_previous(drift: Drift, histograms: Histograms, place: Place, since: str) -> MonitorResult:
    plain = drift.as_dict()
    for name in ("feature", "monitor", "state", "verdict", "drift_detected"):
        plain.pop(name)
    if drift.state == "unknown":
        return place.unknown(
            drift.monitor,
            f"{drift.verdict.removeprefix('unknown: ')} ({since})",
            feature=drift.feature,
            against="previous",
            n=drift.n,
            n_reference=drift.n_reference,
            kind=drift.kind,
        )
    said = drift.verdict.partition(": ")[2].replace("in the reference", "there")
    verdict = f"{'moved' if drift.state == 'alert' else 'ok'} {since}: {said}"
    return place.result(
        drift.monitor, "ok", verdict, feature=drift.feature, against="previous", histograms=histograms, **plain
    )


def _drifts(
    known: KnownBaseline, now: GatheredPart, place: Place, alpha: float, segment: str | None = None
) -> list[MonitorResult]:
    expected = known.baseline.expected(now.hours, segment)
    before = {name: one for name, one in expected.part.columns.items() if name in now.histograms}
    look = DriftContext(
        outputs=[name for name in before if known.roles.get(name) == "output"],
        page_alpha=alpha,
        clustering=expected.clustering,
    )
    current = {name: now.histograms[name] for name in before}
    found = evaluate(before, current, look=look)
    if alpha < LITTLE_ALPHA:
        alone = evaluate(before, current, look=replace(look, page_alpha=None))
        found = {name: _doubtful(one) if alone[name].state == "alert" else one for name, one in found.items()}
    pairs = {name: pair(before[name], now.histograms[name]) for name in before}
    return [_drift_result(one, pairs[name], place, segment) for name, one in found.items()]


def _doubtful(drift: Drift) -> Drift:
    """What a look without much of the budget says of what would be drift in a look by itself: unknown, and not fine."""
    if drift.state != "ok":
        return drift
    verdict = "unknown: it moved, but so soon after the look before this one that cannot be told from chance"
    return replace(drift, state="unknown", drift_detected=None, verdict=verdict)


def quality_results(known: KnownBaseline, block: GatheredBlock, place: Place, alpha: float) -> list[MonitorResult]:
    """Whether values are missing, of another type or new, or all the same, by column; and whether rows repeat."""
    each = alpha / 2 / (len(known.baseline.whole.columns) + 1)
    return [
        *_qualities(known, block, place, alpha / 2 - each, is_range=False),
        *_duplicates(known, block.repeats, place, each),
    ]


def _duplicates(known: KnownBaseline, found: Repeats | None, place: Place, alpha: float) -> list[MonitorResult]:
    """Nothing where the baseline does not say how many rows repeat, or there is no whole chunk of rows yet."""
    if found is None or not found.chunks or not known.repeats:
        return []
    share, usual = found.repeated / found.rows, sum(known.repeats) / len(known.repeats)
    reference_rows = len(known.repeats) * CHUNK_ROWS
    common: dict[str, Any] = {"metric": "duplicates", "value": share, "reference": usual, "n": found.rows}
    common |= {"n_reference": reference_rows, "p_value": found.p_value(len(known.repeats))}
    among = f"of the rows repeat another of the {CHUNK_ROWS} around them, and {usual:.1%} in the baseline"
    if common["p_value"] > alpha:
        return [place.result("data_quality", "ok", f"ok: {share:.1%} {among}", **common)]
    severity: Severity = "high" if share >= LARGE_RATE else "medium"
    return [place.result("data_quality", "alert", f"duplicates: {share:.1%} {among}", severity, **common)]


def range_results(known: KnownBaseline, block: GatheredBlock, place: Place, alpha: float) -> list[MonitorResult]:
    """Whether inputs lie out of the baseline's range. Over days: a night's may, without anything being odd."""
    return _qualities(known, block, place, alpha / 2, is_range=True)


def _qualities(
    known: KnownBaseline, block: GatheredBlock, place: Place, alpha: float, *, is_range: bool
) -> list[MonitorResult]:
    before, now = known.baseline.whole.columns, block.parts[WHOLE].histograms
    clustering = known.baseline.expected(block.parts[WHOLE].hours).clustering
    names = [name for name in before if name in now]
    if is_range:
        names = [name for name in names if known.roles.get(name) != "output" and before[name].layout.is_ordered]
    each = alpha / max(1, len(names))
    return [
        _quality_result(name, (before[name], now[name]), clustering[name], place, each, is_range=is_range)
        for name in names
    ]


def _drift_monitor(known: KnownBaseline, name: str) -> MonitorName:
    return "prediction_drift" if known.roles.get(name) == "output" else "feature_drift"


def _drift_result(drift: Drift, histograms: Histograms, place: Place, segment: str | None) -> MonitorResult:
    plain = drift.as_dict()
    for name in ("feature", "monitor", "state", "verdict"):
        plain.pop(name)
    return place.result(
        drift.monitor,
        drift.state,
        drift.verdict,
        _drift_severity(drift),
        feature=drift.feature,
        segment=segment,
        histograms=histograms,
        **plain,
    )


def _drift_severity(drift: Drift) -> Severity:
    is_large = drift.effect_lower is not None and drift.effect_lower > LARGE_EFFECT
    return "high" if is_large or drift.monitor == "prediction_drift" else "medium"


def pair(before: Histogram, now: Histogram) -> Histograms:
    """As results have it; bins that are empty on both sides are left out."""
    rows = [row for row in zip(before.layout.names, before.counts, now.counts, strict=True) if row[1] or row[2]]
    return Histograms([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])


def _quality_result(
    name: str,
    pair_of: tuple[Histogram, Histogram],
    clustering: Clustering,
    place: Place,
    alpha: float,
    *,
    is_range: bool,
) -> MonitorResult:
    before, now = pair_of
    common: dict[str, Any] = {"feature": name, "n": now.rows, "n_reference": before.rows, "kind": before.layout.kind}
    if is_range:
        common["metric"] = "range"
    if not now.rows:
        return place.unknown("data_quality", "the window is empty", **common)
    worse = [
        rate
        for rate in rate_changes(clustering.of_reference(before), clustering.of_block(now), QUALITY_RATIO, 0.0)
        if rate.name in (RANGE if is_range else FAULTS)
        and rate.p_value <= alpha / 2
        and rate.rate - rate.rate_reference >= QUALITY_DIFFERENCE
    ]
    texts = [_rate_words(rate) for rate in worse]
    if not is_range and _is_stuck(before, clustering.of_block(now), alpha / 2):
        texts.append(f"all {now.rows} rows have the same value, where the baseline has several")
    largest = max((rate.rate for rate in worse), default=1.0)
    severity: Severity = "high" if largest >= LARGE_RATE else "medium"
    if not texts:
        return place.result("data_quality", "ok", "ok: no value is odd", **common)
    return place.result(
        "data_quality",
        "alert",
        ("out of range: " if is_range else "bad data: ") + "; ".join(texts),
        severity,
        **common,
        value=worse[0].rate if worse else 1.0,
        reference=worse[0].rate_reference if worse else None,
        rates=[rate.as_dict() for rate in worse],
    )


def _rate_words(rate: RateChange) -> str:
    return f"{rate.label} rose from {rate.rate_reference:.2%} to {rate.rate:.2%} of the rows"


def _is_stuck(before: Histogram, now: Histogram, alpha: float) -> bool:
    """Whether all rows fell into one bin that has so little of the baseline that this is no chance.

    Of numbers in a bin between two cuts that may be several values: what counts is that the column says nothing now.
    """
    filled = [place for place, count in enumerate(now.counts) if count]
    if len(filled) != 1 or before.rows < 2 or now.rows < 2 or filled[0] < len(now.layout.specials):
        return False
    share = (before.counts[filled[0]] + 1) / (before.rows + 2)
    return share < 1 and bool(share**now.rows <= alpha) and sum(1 for count in before.counts if count) > 1
