"""Did a column's distribution move? One evaluation over all features and outputs of an endpoint, on their histograms.

An alert needs a difference that is larger than the margin with its uncertainty taken off, or a rare thing that became
more or less frequent, and has to be among those that are believed when so many are looked at.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from tidegate.errors import InvalidArgument
from tidegate.watch.drift.distances import Distances, distances
from tidegate.watch.drift.rates import RateChange, rate_changes
from tidegate.watch.drift.significance import believed, homogeneity_p
from tidegate.watch.histograms.clustering import Clustering
from tidegate.watch.histograms.histogram import Histogram
from tidegate.watch.histograms.layout import Kind
from tidegate.watch.histograms.sizes import EffectSize, Levels, size

State = Literal["ok", "alert", "unknown"]
Monitor = Literal["feature_drift", "prediction_drift"]

ROWS_MIN = 2
OUTPUTS_SHARE = 0.5
"""Of the error rate, what the model's outputs get: they are the best single sign that something moved."""


@dataclass(frozen=True)
class DriftRule:
    """What counts as drift.

    `margin`: differences of a distribution up to this (as a share of the rows) do not matter. `alpha`: one feature's
    bound fails with at most this probability. `false_discoveries`: of the alerts of one evaluation, at most this share
    is false on average. `rate_ratio` and `rate_difference`: a rare thing has to become so many times as frequent, or as
    infrequent, and by so much of the rows.
    """

    margin: float = 0.05
    alpha: float = 0.05
    false_discoveries: float = 0.05
    rate_ratio: float = 1.1
    rate_difference: float = 0.001


@dataclass(frozen=True)
class DriftContext:
    """What is known of one evaluation beside its histograms.

    `outputs`: the columns that the model answers; they get half of the error rate, features the rest by `importance`
    (equal without). `page_alpha`: the probability of a false page that the endpoint's budget leaves this evaluation;
    without it, the results hold for one look alone. `clustering`: of columns whose rows are not independent.
    """

    outputs: Collection[str] = ()
    importance: Mapping[str, float] = field(default_factory=dict)
    page_alpha: float | None = None
    clustering: Mapping[str, Clustering] = field(default_factory=dict)


@dataclass(frozen=True)
class Drift:
    """What one evaluation says of one column. None where nothing can be known; never NaN.

    `effect`: the largest difference between the distribution functions (`effect_name` "ks"), of categories half the
    summed differences ("total_variation"). `effect_lower`: it is at least this, with confidence. `p_value`: of no
    difference at all, for ranking. `rates`: what became more or less frequent, the most certain first. `n_effective`:
    how many independent rows the `n` are worth.
    """

    feature: str
    monitor: Monitor
    kind: Kind
    state: State
    verdict: str
    n: int
    n_reference: int
    n_effective: int | None = None
    drift_detected: bool | None = None
    ks_statistic: float | None = None
    p_value: float | None = None
    effect_name: str | None = None
    effect: float | None = None
    effect_lower: float | None = None
    critical: float | None = None
    distances: Distances = Distances()
    rates: tuple[RateChange, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; the distances' names stand beside the rest."""
        plain = {name: value for name, value in vars(self).items() if name not in ("distances", "rates")}
        return plain | self.distances.as_dict() | {"rates": [rate.as_dict() for rate in self.rates]}


@dataclass(frozen=True)
class _Seen:
    """One column before it is weighed against the others."""

    size: EffectSize | None
    rates: list[RateChange]
    p_value: float
    rows_worth: int

    @property
    def decisive_p(self) -> float:
        """Of the two ways to be found: of no difference at all, and of no rate changed by more than the ratio."""
        return min(1.0, 2 * min([self.p_value, *(rate.p_value for rate in self.rates[:1])]))


def evaluate(
    reference: Mapping[str, Histogram],
    current: Mapping[str, Histogram],
    rule: DriftRule = DriftRule(),
    look: DriftContext = DriftContext(),
) -> dict[str, Drift]:
    """Every column's drift, in the order of the reference."""
    if set(reference) != set(current):
        odd = ", ".join(repr(name) for name in sorted(set(reference) ^ set(current))[:5])
        raise InvalidArgument(
            f"Reference and current data must have the same columns; only one has {odd}.", field="current"
        )
    known: dict[str, _Seen] = {}
    results: dict[str, Drift] = {}
    weights = _weights(reference, look.outputs, look.importance)
    for name, before in reference.items():
        now = current[name]
        if before.layout != now.layout:
            raise InvalidArgument(
                f"{name!r} was counted in other bins than its reference: count it with those.", field=name
            )
        monitor: Monitor = "prediction_drift" if name in look.outputs else "feature_drift"
        results[name] = Drift(name, monitor, before.layout.kind, "unknown", "", now.rows, before.rows)
        reason = _nothing_to_know(before, now)
        if reason:
            results[name] = replace(results[name], verdict=f"unknown: {reason}")
            continue
        alpha = None if look.page_alpha is None else look.page_alpha * weights[name]
        seen = _look(before, now, rule, alpha, look.clustering.get(name))
        if seen.rows_worth < ROWS_MIN:
            reason = f"the {now.rows} rows are so much alike that they are worth {seen.rows_worth} independent ones"
            results[name] = replace(results[name], n_effective=seen.rows_worth, verdict=f"unknown: {reason}")
            continue
        known[name] = seen
    chosen = believed(
        [seen.decisive_p for seen in known.values()], [weights[name] for name in known], rule.false_discoveries
    )
    for (name, seen), is_believed in zip(known.items(), chosen, strict=True):
        alpha = rule.alpha if look.page_alpha is None else min(rule.alpha, look.page_alpha * weights[name])
        results[name] = _judged(results[name], seen, rule, alpha, is_believed=is_believed)
        results[name] = replace(results[name], distances=distances(reference[name], current[name]))
    return results


def _weights(names: Collection[str], outputs: Collection[str], importance: Mapping[str, float]) -> dict[str, float]:
    """Each column's share of the error rate; together 1."""
    answered = [name for name in names if name in outputs]
    asked = {name: max(0.0, importance.get(name, 0.0 if importance else 1.0)) for name in names if name not in outputs}
    if not sum(asked.values()):
        asked = dict.fromkeys(asked, 1.0)
    for_outputs = OUTPUTS_SHARE if asked else 1.0
    for_features = 1 - for_outputs if answered else 1.0
    weights = {name: for_features * each / sum(asked.values()) for name, each in asked.items()}
    return weights | {name: for_outputs / len(answered) for name in answered}


def _nothing_to_know(before: Histogram, now: Histogram) -> str | None:
    if not now.rows:
        return "the window is empty"
    if not before.rows:
        return "the reference is empty"
    if min(now.rows, before.rows) < ROWS_MIN:
        return f"one row says nothing of a distribution ({now.rows} now, {before.rows} in the reference)"
    filled = [name for name, x, y in zip(now.layout.names, now.counts, before.counts, strict=True) if x + y]
    if len(filled) < 2:
        what = "is missing in every row" if filled == ["missing"] else "has the one same value in every row"
        return f"the column {what}, now and in the reference"
    return None


def _look(
    before: Histogram, now: Histogram, rule: DriftRule, page_alpha: float | None, clustering: Clustering | None
) -> _Seen:
    levels = Levels(rule.margin, rule.alpha, None if page_alpha is None else page_alpha / 2)
    if clustering is not None:
        before, now = clustering.of_reference(before), clustering.of_block(now)
    rates = rate_changes(before, now, rule.rate_ratio, rule.margin)
    return _Seen(size(before, now, levels), rates, homogeneity_p(before, now), now.rows)


def _judged(drift: Drift, seen: _Seen, rule: DriftRule, alpha: float, *, is_believed: bool) -> Drift:
    changed = [
        rate
        for rate in seen.rates
        if rate.p_value <= alpha / 2 and abs(rate.rate - rate.rate_reference) >= rule.rate_difference
    ]
    moved = seen.size is not None and seen.size.lower > rule.margin
    is_drift = is_believed and (moved or bool(changed))
    is_ordered = drift.kind in ("numeric", "integer", "text")
    drift = replace(drift, state="alert" if is_drift else "ok", drift_detected=is_drift, p_value=seen.p_value)
    drift = replace(drift, rates=tuple(changed if is_believed else ()), n_effective=seen.rows_worth)
    if seen.size is not None:
        drift = replace(
            drift,
            ks_statistic=seen.size.effect if is_ordered else None,
            effect_name="ks" if is_ordered else "total_variation",
            effect=seen.size.effect,
            effect_lower=seen.size.lower,
            critical=seen.size.critical,
        )
    return replace(drift, verdict=_verdict(drift, rule, moved=moved))


def _verdict(drift: Drift, rule: DriftRule, *, moved: bool) -> str:
    seen = None if drift.effect is None else f"{_percent(drift.effect)} of the rows lie elsewhere than in the reference"
    if drift.state == "ok":
        return f"ok: {seen or 'no row has a value'}; more than {rule.margin:.0%} cannot be told from chance"
    size = [f"{seen}, {_percent(drift.effect_lower)} at least"] if moved and drift.effect_lower is not None else []
    return "drift: " + "; ".join(size + _rates_told(drift.rates))


def _rates_told(rates: Sequence[RateChange]) -> list[str]:
    texts = [
        f"{rate.label} {'rose' if rate.rate > rate.rate_reference else 'fell'} from {_percent(rate.rate_reference)} "
        f"to {_percent(rate.rate)} of the rows"
        for rate in rates[:3]
    ]
    return [*texts, f"{len(rates) - 3} more rates changed"] if len(rates) > 3 else texts


def _percent(share: float) -> str:
    return f"{share:.2%}" if share < 0.1 else f"{share:.1%}"
