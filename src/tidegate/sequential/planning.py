"""Before a start: how long an experiment takes, and whether its metrics' tests keep what they promise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np

from tidegate.sequential import means, words
from tidegate.sequential.evidence import LEAST_UNITS, EvidencePlan, evidence, plan
from tidegate.sequential.exact import log_mixed
from tidegate.sequential.units import Floats, Units
from tidegate.wire.experiments.experiments import AaMetric, ExperimentSpec, Metric

_UNITS_MAX = 100_000
_QUANTILE_UNITS_MAX = 4_000
_QUANTILE_REPETITIONS_MAX = 200
_CHUNK = 20
"""Re-randomisations at a time: twenty of 100,000 units are 16 MB."""


@dataclass(frozen=True)
class Expected:
    """How many units of both arms an experiment takes if the effect is `mde`, and how many days; None: not known."""

    units: float | None
    days: float | None


def expected(spec: ExperimentSpec, history: Mapping[str, Units], units_per_day: float) -> Expected:
    """By the first metric's own history, with the sequence's width and a power of 80 %, its window and delay included.

    `units_per_day` of all arms at full coverage; the ramp is passed through first. The least of both arms is 100 units.
    """
    metric = spec.metrics[0]
    units = history.get(metric.name)
    how = None if units is None else plan(metric, units.finite(), spec, _alpha(spec))
    if how is None or units_per_day <= 0:
        return Expected(None if how is None else how.planned, None)
    shares = [arm.share for arm in spec.arms]
    pair = (shares[0] + shares[1]) / sum(shares)
    least = LEAST_UNITS * (shares[0] + shares[1]) / min(shares[0], shares[1])
    needed = max(how.planned, least)
    days, left = 0.0, needed
    for percent in spec.ramp[:-1]:
        rate = units_per_day * pair * percent / 100
        step = spec.ramp_every_s / 86400
        if rate * step >= left:
            return Expected(needed, days + left / rate + _maturing_days(metric))
        days, left = days + step, left - rate * step
    rate = units_per_day * pair * spec.ramp[-1] / 100
    return Expected(needed, days + left / rate + _maturing_days(metric))


def aa(
    units: Mapping[str, Units], spec: ExperimentSpec, looks: int = 20, repetitions: int = 1000, seed: int = 0
) -> list[AaMetric]:
    """How often each metric's own test fires when the same units are shared out at random, so that nothing differs.

    The rate is over all looks, which are evenly spaced in order of entry; so is that of a fixed-time test at p < alpha.
    """
    rng = np.random.default_rng(seed)
    return [_check(metric, units.get(metric.name), spec, (looks, repetitions, rng)) for metric in spec.metrics]


_How = tuple[int, int, np.random.Generator]


def _check(metric: Metric, units: Units | None, spec: ExperimentSpec, how: _How) -> AaMetric:
    looks, repetitions, rng = how
    found = None if units is None else _ordered(units.finite(), metric)
    planned = None if found is None else plan(metric, found, spec, spec.alpha)
    if found is None or planned is None:
        n = 0 if found is None else found.value.size
        return AaMetric(metric.name, n, None, None, "too few units, or none that differ, to say anything")
    share = spec.arms[1].share / (spec.arms[0].share + spec.arms[1].share)
    # A tuning for more units than there are would look better than the test is: it is tuned for these.
    tuned = EvidencePlan(
        planned.method, min(planned.planned, found.value.size), min(planned.weight, found.value.size / 8)
    )
    if planned.method == "quantile":
        repetitions = min(repetitions, _QUANTILE_REPETITIONS_MAX)
        fired, fixed = _quantile_fired(metric, found, (tuned, share, spec.alpha), (looks, repetitions, rng))
    else:
        fired, fixed = _fired(found, (tuned, share, spec.alpha), (looks, repetitions, rng))
    return AaMetric(metric.name, found.value.size, fired, fixed, _verdict(fired, fixed, spec.alpha, repetitions))


def _verdict(fired: float, fixed: float | None, alpha: float, repetitions: int) -> str:
    allowed = alpha + 3 * math.sqrt(alpha * (1 - alpha) / repetitions)
    kept = "as promised" if fired <= allowed else "more than promised: do not decide by this metric, or set a cap"
    beside = "" if fixed is None else f"; a fixed-time test at as many looks in {words.percent(fixed)}"
    return f"found a difference where there was none in {words.percent(fired)} of {repetitions} splits, {kept}{beside}"


def _fired(units: Units, tuned: tuple[EvidencePlan, float, float], how: _How) -> tuple[float, float]:
    """The shares of re-randomisations in which the sequence, and a z-test, ever fired."""
    (planned, share, alpha), (looks, repetitions, rng) = tuned, how
    ends = np.linspace(0, units.value.size, looks + 1).astype(np.int64)[1:]
    z = _normal_quantile(1 - alpha / 2)
    fired = fixed = 0
    features = _features(units)
    total = np.stack([features[:end].sum(axis=0) for end in ends])
    for start in range(0, repetitions, _CHUNK):
        count = min(_CHUNK, repetitions - start)
        drawn = (rng.random((count, units.value.size), dtype=np.float32) < share).astype(np.float64)
        in_b = np.stack([drawn[:, a:b] @ features[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True)], axis=1)
        in_b = in_b.cumsum(axis=1)
        difference, variance, least = _compared(total - in_b, in_b)
        known = (least >= LEAST_UNITS) & (variance > 0)
        squared = np.where(known, difference**2 / np.where(known, variance, 1.0), 0.0)
        fixed += int((squared > z * z).any(axis=1).sum())
        if planned.method == "exact":
            events_b, events = in_b[..., 1], total[..., 1]
            log_e = np.where(known, log_mixed(events_b, events, share, planned.weight), 0.0)
        else:
            scaled = ends * means.rho(planned.planned, alpha) ** 2
            log_e = scaled * squared / (2 * (scaled + 1)) - 0.5 * np.log(scaled + 1)
        fired += int((log_e >= math.log(1 / alpha)).any(axis=1).sum())
    return fired / repetitions, fixed / repetitions


def _features(units: Units) -> Floats:
    """Columns whose sums give a mean, or a ratio (linearised about the whole), and its variance: 1, value, value²."""
    value = units.value
    if units.denominator is not None:
        per = float(units.denominator.mean())
        value = (value - float(value.mean()) / per * units.denominator) / per
    elif units.covariate is not None:
        apart = units.covariate - units.covariate.mean()
        square = float(apart @ apart)
        value = value - (float(apart @ value) / square if square else 0.0) * apart
    return np.stack((np.ones(value.size), value, value**2), axis=1)


def _compared(a: Floats, b: Floats) -> tuple[Floats, Floats, Floats]:
    n_a, n_b = np.maximum(a[..., 0], 1), np.maximum(b[..., 0], 1)
    mean_a, mean_b = a[..., 1] / n_a, b[..., 1] / n_b
    spread_a = np.maximum(0.0, a[..., 2] / n_a - mean_a**2) / n_a
    spread_b = np.maximum(0.0, b[..., 2] / n_b - mean_b**2) / n_b
    return mean_b - mean_a, spread_a + spread_b, cast(Floats, np.minimum(a[..., 0], b[..., 0]))


def _quantile_fired(
    metric: Metric, units: Units, tuned: tuple[EvidencePlan, float, float], how: _How
) -> tuple[float, float | None]:
    (planned, share, alpha), (looks, repetitions, rng) = tuned, how
    ends = np.linspace(0, units.value.size, looks + 1).astype(np.int64)[1:]
    fired = 0
    for _ in range(repetitions):
        arm = (rng.random(units.value.size) < share).astype(np.int64)
        for end in ends:
            found = evidence(metric, Units(arm[:end], units.phase[:end], units.value[:end]), planned, share)
            if found is not None and found.log_e(alpha) >= math.log(1 / alpha):
                fired += 1
                break
    return fired / repetitions, None


def _ordered(units: Units, metric: Metric) -> Units:
    """Units in order of entry, at most so many of them, in one phase."""
    most = _QUANTILE_UNITS_MAX if metric.type == "quantile" else _UNITS_MAX
    order = np.arange(units.value.size) if units.entered_at is None else np.argsort(units.entered_at, kind="stable")
    order = order[-most:]
    optional = (None if each is None else each[order] for each in (units.denominator, units.covariate))
    nought = np.zeros(order.size, dtype=np.int64)
    return Units(nought, nought, units.value[order], *optional)


def _alpha(spec: ExperimentSpec) -> float:
    return spec.alpha / (len(spec.metrics) * (len(spec.arms) - 1))


def _maturing_days(metric: Metric) -> float:
    return (metric.window_s + metric.delay_s) / 86400


def _normal_quantile(p: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(p)
