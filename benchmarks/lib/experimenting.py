"""Simulated experiments, many at a time: how often tests fire where nothing differs. Used by tests/statistics too.

Streams are rows; looks are columns. The sequences are those of `tidegate.sequential`, written for arrays (a test holds
them equal to it).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tidegate.sequential import means
from tidegate.sequential.exact import log_mixed, log_mixture

Floats = NDArray[np.float64]
Rng = np.random.Generator
Z = 1.959963984540054
_CHUNK = 250


def peeking_exact(looks: int, level: float = Z, points: int = 1201) -> float:
    """P(a z-test of a growing sample ever passes `level` in so many equally spaced looks), nothing differing.

    By the recursion of Armitage, McPherson and Rowe (1969): the density of the sum over those that never passed.
    """
    density: Floats | None = None
    grid: Floats = np.zeros(1)
    for k in range(1, looks + 1):
        new = np.linspace(-level * math.sqrt(k), level * math.sqrt(k), points)
        if density is None:
            density = _normal(new)
        else:
            weight = np.full(points, grid[1] - grid[0])
            weight[[0, -1]] /= 2
            density = _normal(new[:, None] - grid[None, :]) @ (density * weight)
        grid = new
    assert density is not None
    return 1 - float(np.trapezoid(density, grid))


def _normal(x: Floats) -> Floats:
    return np.exp(-x * x / 2) / math.sqrt(2 * math.pi)


Draw = Callable[[Rng, tuple[int, ...]], Floats]


def revenue(rng: Rng, shape: tuple[int, ...]) -> Floats:
    """One in ten buys, for a lognormal amount: skewness about 20."""
    return np.where(rng.random(shape) < 0.1, rng.lognormal(3, 1, shape), 0.0)


METRICS: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "one in twenty": lambda rng, shape: (rng.random(shape) < 0.05).astype(np.float64),
    "one in a hundred": lambda rng, shape: (rng.random(shape) < 0.01).astype(np.float64),
    "revenue": revenue,
}


@dataclass(frozen=True)
class Fired:
    """Shares of streams in which a test ever fired: a t-test at .05, the asymptotic sequence, the one-sided one that
    rolls back, the exact test.
    """

    naive: float
    sequence: float
    worse: float
    exact: float | None


def equal_arms(draw: Draw, looks: NDArray[np.int64], streams: int, seed: int, *, planned: float | None = None) -> Fired:
    """Two equal arms, looked at when each has so many units. The sequence begins at 100 units an arm."""
    rng = np.random.default_rng(seed)
    naive = sequence = worse = exact = 0
    tuned = planned or float(looks[-1])
    back = np.array([means.guarding_factor(2 * size, tuned, 0.05) for size in looks.tolist()])
    n = looks.astype(np.float64)
    events = True
    for start in range(0, streams, _CHUNK):
        count = min(_CHUNK, streams - start)
        a, b = (draw(rng, (count, int(looks[-1]))) for _ in range(2))
        events = events and bool(np.isin(a[0], (0.0, 1.0)).all())
        (mean_a, var_a), (mean_b, var_b) = (_at(each, looks, proportion=events) for each in (a, b))
        difference, variance = mean_b - mean_a, var_a + var_b
        known = variance > 0
        squared = np.where(known, difference**2 / np.where(known, variance, 1), 0.0)
        naive += int((squared > Z * Z).any(axis=1).sum())
        log_e = log_e_of(squared, 2 * n, tuned)
        late = n >= 100
        sequence += int((log_e[:, late] >= math.log(20)).any(axis=1).sum())
        below = (difference < 0) & (squared > back * back)
        worse += int(below[:, late].any(axis=1).sum())
        if events:
            in_a, in_b = mean_a * n, mean_b * n
            weight = 100.0
            exact += int((log_mixed(in_b, in_a + in_b, 0.5, weight) >= math.log(20)).any(axis=1).sum())
    exact_share = exact / streams if events else None
    return Fired(naive / streams, sequence / streams, worse / streams, exact_share)


def log_e_of(squared: Floats, n: Floats, planned: float, alpha: float = 0.05) -> Floats:
    """`means.log_e` of squared standard scores, for arrays."""
    scaled = n * means.rho(planned, alpha) ** 2
    return scaled * squared / (2 * (scaled + 1)) - 0.5 * np.log(scaled + 1)


def _at(values: Floats, looks: NDArray[np.int64], *, proportion: bool) -> tuple[Floats, Floats]:
    """Means and their variances at looks; a proportion's as `strata.compare` has it."""
    n = looks.astype(np.float64)
    sums = values.cumsum(axis=1)[:, looks - 1]
    mean = sums / n
    if proportion:
        smooth = (sums + 1) / (n + 2)
        return mean, smooth * (1 - smooth) / n
    squares = (values * values).cumsum(axis=1)[:, looks - 1]
    return mean, np.maximum(0.0, squares - sums * mean) / (n - 1) / n


def ramps(streams: int, seed: int, units: int = 4000, looks: int = 5) -> tuple[float, float]:
    """A treatment at 1, 5, 25 and 50 % while control's and its own rate go from .10 to .14, nothing differing.

    How often a pooled z-test fires at the last look, and the sequence, stratified by phase, at any of the looks.
    """
    rng = np.random.default_rng(seed)
    shares, rates = (0.01, 0.05, 0.25, 0.5), np.linspace(0.10, 0.14, 4)
    n = np.zeros((streams, 4, 2))
    events = np.zeros((streams, 4, 2))
    ever = np.zeros(streams, dtype=bool)
    planned = 4.0 * units
    for phase, (share, rate) in enumerate(zip(shares, rates, strict=True)):
        for _ in range(looks):
            in_b = rng.binomial(units // looks, share, streams)
            new = np.stack((units // looks - in_b, in_b), axis=1)
            n[:, phase] += new
            events[:, phase] += rng.binomial(new, rate)
            squared, total = stratified(n, events)
            enough = n.sum(axis=1).min(axis=1) >= 100
            ever |= enough & (log_e_of(squared, total, planned) >= math.log(20))
    pooled_n, pooled = n.sum(axis=1), events.sum(axis=1)
    rate_of = pooled / pooled_n
    whole = pooled.sum(axis=1) / pooled_n.sum(axis=1)
    z = (rate_of[:, 1] - rate_of[:, 0]) / np.sqrt(whole * (1 - whole) * (1 / pooled_n).sum(axis=1))
    return float((np.abs(z) > Z).mean()), float(ever.mean())


def stratified(n: Floats, events: Floats) -> tuple[Floats, Floats]:
    """The squared standard score of proportions by phase (streams x phases x arms), as `strata.compare` has it."""
    good = (n >= 2).all(axis=2)
    known = np.maximum(n, 1)
    smooth = (events + 1) / (n + 2)
    weight = np.where(good, n.prod(axis=2) / np.maximum(n.sum(axis=2), 1), 0.0)
    difference = (weight * (events / known)[..., 1] - weight * (events / known)[..., 0]).sum(axis=1)
    variance = (weight**2 * (smooth * (1 - smooth) / known).sum(axis=2)).sum(axis=1)
    total = (n * np.expand_dims(good, 2)).sum(axis=(1, 2))
    return np.where(variance > 0, difference**2 / np.where(variance > 0, variance, 1), 0.0), np.maximum(total, 1)


def growing(streams: int, seed: int, *, faster: float = 1.0) -> tuple[float, float]:
    """Conversions within 7 days of entry, 200 units a day and arm for 30 days, one look a day, equal rates in the end.

    `faster`: how many times sooner treatment's labels come. How often the sequence fires on what is there so far, and
    on units whose 7 days are over.
    """
    rng = np.random.default_rng(seed)
    days, daily, rate = 30, 200, 0.2
    entered = np.repeat(np.arange(days), daily)
    so_far = matured = 0
    for start in range(0, streams, _CHUNK):
        count = min(_CHUNK, streams - start)
        converts = rng.random((count, 2, entered.size)) < rate
        after = rng.random((count, 2, entered.size)) * 7
        after[:, 1] /= faster
        at = np.where(converts, entered + after, np.inf)
        fired = np.zeros((2, count), dtype=bool)
        for day in range(1, days + 8):
            for which, until in enumerate((day, day - 6)):
                seen: NDArray[np.bool_] = np.asarray(entered < until)
                n = float(seen.sum())
                if n < 100:
                    continue
                events = (at[:, :, seen] <= day).sum(axis=2)[:, None, :].astype(np.float64)
                squared, total = stratified(np.full((count, 1, 2), n), events)
                fired[which] |= log_e_of(squared, total, 2.0 * entered.size) >= math.log(20)
        so_far, matured = so_far + int(fired[0].sum()), matured + int(fired[1].sum())
    return so_far / streams, matured / streams


@dataclass(frozen=True)
class Decided:
    """Shares of experiments that were promoted, and rolled back, at any look."""

    promoted: float
    rolled_back: float


def decisions(streams: int, seed: int, *, effect: float, harm: float, guardrails: int = 3, looks: int = 40) -> Decided:
    """One metric and some guardrails of margin 1 % each, correlated, in `looks` looks, by the rules of `analysis`.

    `effect`: how much better the metric is, `harm`: how much worse the first guardrail, as shares of a mean of 1 with
    a standard deviation of 0.3; the others are equal.
    """
    rng = np.random.default_rng(seed)
    each, alpha, margin, sigma = 2_000.0, 0.05, 0.01, 0.3
    tests = 1 + guardrails
    planned = means.planned_size(4 * sigma**2, 0.02, alpha)
    truth = np.array([effect] + [-harm] + [0.0] * (guardrails - 1))
    n = each * np.arange(1, looks + 1)  # units of both arms
    steps = rng.normal(size=(streams, looks, tests)) * math.sqrt(0.7)
    steps += rng.normal(size=(streams, looks, 1)) * math.sqrt(0.3)
    found = truth + 2 * sigma * math.sqrt(each) * steps.cumsum(axis=1) / n[:, None]
    se = 2 * sigma / np.sqrt(n)
    two = np.array([means.factor(x, planned, alpha) for x in n]) * se
    ship = np.array([means.one_sided_factor(x, planned, alpha) for x in n]) * se
    back = np.array([means.guarding_factor(x, planned, alpha / tests) for x in n]) * se
    breached = ((-found[..., 1:] - back[:, None]) > margin).any(axis=2) | (found[..., 0] + back < 0)
    promoted = (found[..., 0] - two > 0) & ((-found[..., 1:] + ship[:, None]) < margin).all(axis=2)
    first_back, first_up = _first(breached), _first(promoted)
    return Decided(float((first_up < first_back).mean()), float((first_back < first_up).mean()))


def _first(happened: NDArray[np.bool_]) -> NDArray[np.int64]:
    return cast(NDArray[np.int64], np.where(happened.any(axis=1), happened.argmax(axis=1), happened.shape[1] + 1))


def sample_ratios(
    streams: int, seed: int, *, share: float, phases: int = 1, users: int = 20_000
) -> tuple[float, float]:
    """How often the Bayes factor passes 100, looked at every 20 users, and the median of when (infinite: never)."""
    rng = np.random.default_rng(seed)
    size = users // phases // 20
    drawn = rng.binomial(20, share, (streams, phases, size))
    in_b, n = drawn.cumsum(axis=2), 20.0 * np.arange(1, size + 1)
    by_phase = _ratio_factor(in_b, n)
    before = np.concatenate((np.zeros((streams, 1)), by_phase[:, :-1, -1].cumsum(axis=1)), axis=1)
    apart = (by_phase + before[:, :, None]).reshape(streams, -1)
    together = _ratio_factor(drawn.reshape(streams, -1).cumsum(axis=1), 20.0 * np.arange(1, size * phases + 1))
    log_factor = np.logaddexp(apart, together) - math.log(2)
    passed = log_factor >= math.log(100)
    when = np.where(passed.any(axis=1), 20.0 * (passed.argmax(axis=1) + 1), np.inf)
    return float(passed.any(axis=1).mean()), float(np.median(when))


def _ratio_factor(in_b: NDArray[np.int64], n: NDArray[Any]) -> Floats:
    """`sample_ratio.log_phase_factor` of even shares, for arrays."""
    from scipy.special import gammaln

    log = gammaln(100) - gammaln(100 + n) + n * math.log(2)
    return cast(Floats, log + gammaln(50 + in_b) + gammaln(50 + n - in_b) - 2 * gammaln(50))


LATENCIES: dict[str, Draw] = {
    "lognormal": lambda rng, shape: rng.lognormal(3, 0.6, shape),
    "bimodal": lambda rng, shape: np.where(
        rng.random(shape) < 0.9, rng.normal(20, 2, shape), rng.normal(200, 20, shape)
    ),
}


def quantile_misses(draw: Draw, level: float, streams: int, seed: int, n: int = 10_000) -> float:
    """How often a quantile's interval at .05 ever leaves out the true quantile, looked at after every value."""
    rng = np.random.default_rng(seed)
    truth = float(np.quantile(draw(rng, (4_000_000,)), level))
    missed = 0
    sizes = np.arange(1, n + 1, dtype=np.float64)
    for start in range(0, streams, _CHUNK):
        count = min(_CHUNK, streams - start)
        below = (draw(rng, (count, n)) <= truth).cumsum(axis=1).astype(np.float64)
        missed += int((log_mixture(below, sizes, level, 200.0) >= math.log(20)).any(axis=1).sum())
    return missed / streams


@dataclass(frozen=True)
class Paired:
    """How often the paired test fires, the median of pairs until it does, and of an A/B test's units an arm."""

    fired: float
    pairs: float
    units_an_arm: float


def pairs(
    streams: int, seed: int, *, gain: float, disagree: float = 0.05, live: float = 0.85, n: int = 400_000
) -> Paired:
    """Accuracies `live` and `live + gain`; a look at every 250 pairs, and at every 250 units an arm."""
    rng = np.random.default_rng(seed)
    step = 250
    looks = n // step
    counts = rng.multinomial(
        step, [(disagree + gain) / 2, (disagree - gain) / 2, 1 - disagree], size=(streams, looks)
    ).cumsum(axis=1)
    shadow, alone = counts[..., 0].astype(np.float64), counts[..., :2].sum(axis=2).astype(np.float64)
    when = _first(log_mixture(shadow, alone, 0.5, 20.0) >= math.log(20))
    right = [rng.binomial(step, rate, (streams, looks)).cumsum(axis=1) / step for rate in (live, live + gain)]
    size = np.arange(1, looks + 1)
    rates: list[Floats] = [(each / size).astype(np.float64) for each in right]
    variance = (rates[0] * (1 - rates[0]) + rates[1] * (1 - rates[1])) / (size * step)
    squared = (rates[1] - rates[0]) ** 2 / variance
    planned = means.planned_size(4 * live * (1 - live), max(gain, 0.01), 0.05)
    both = (2.0 * step * size).astype(np.float64)
    ab = _first(log_e_of(squared, both, planned) >= math.log(20))
    found = when <= looks
    return Paired(float(found.mean()), step * float(np.median(when) + 1), step * float(np.median(ab) + 1))
