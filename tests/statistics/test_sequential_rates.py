"""How often experiments, shadows and canaries decide wrongly: simulated, fixed seeds, stated bounds.

Quick ones here; the long ones, and the tables of benchmarks/experiments.py, take the same streams by the thousand.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from lib import experimenting
from tidegate.sequential import means
from tidegate.sequential.analysis import Analysis, analyse
from tidegate.sequential.decision import DecisionFacts, decide
from tidegate.sequential.guard import Alphas, Bound, Counted, latency, rates
from tidegate.sequential.paired import paired
from tidegate.sequential.quantiles import Quantiles
from tidegate.sequential.sample_ratio import log_bayes_factor
from tidegate.sequential.strata import compare
from tidegate.sequential.units import Exposed, Units
from tidegate.wire.experiments.experiments import ArmSpec, ExperimentSpec, Guardrail, Metric

ALPHA = 0.05
LOOKS = np.arange(100, 5001, 100)
PEEKING = {2: 0.083, 5: 0.142, 7: 0.166, 10: 0.193, 14: 0.220, 20: 0.248, 30: 0.280, 50: 0.320, 100: 0.374}
ARMS = (ArmSpec("control", "1", 50.0), ArmSpec("treatment", "2", 50.0))


def allowed(streams: int, rate: float = ALPHA) -> float:
    """Three standard deviations above what is promised."""
    return rate + 3 * math.sqrt(rate * (1 - rate) / streams)


@pytest.mark.parametrize("looks", [2, 5, 10, 20])
def test_a_fixed_time_test_that_is_looked_at_often_fires_as_often_as_the_table_says(looks: int) -> None:
    assert experimenting.peeking_exact(looks, points=401) == pytest.approx(PEEKING[looks], abs=0.005)


@pytest.mark.long
@pytest.mark.parametrize("looks", [7, 14, 30, 50, 100])
def test_and_so_it_does_with_more_looks(looks: int) -> None:
    assert experimenting.peeking_exact(looks, points=801) == pytest.approx(PEEKING[looks], abs=0.005)


@pytest.mark.parametrize("metric", list(experimenting.METRICS))
def test_equal_arms_looked_at_fifty_times_are_told_apart_no_more_often_than_promised(metric: str) -> None:
    found = experimenting.equal_arms(experimenting.METRICS[metric], LOOKS, 250, 1)
    assert found.naive > 0.2
    assert found.sequence <= ALPHA
    assert found.worse <= ALPHA
    assert found.exact is None or found.exact <= ALPHA


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("metric", list(experimenting.METRICS))
def test_and_of_five_thousand_streams(metric: str) -> None:
    found = experimenting.equal_arms(experimenting.METRICS[metric], np.arange(100, 10_001, 100), 5000, 2)
    assert found.naive > 0.25
    assert found.sequence <= ALPHA
    assert found.worse <= ALPHA
    assert found.exact is None or found.exact <= ALPHA


def test_a_ramp_over_a_drifting_rate_is_analysed_by_phase() -> None:
    pooled, ours = experimenting.ramps(1000, 3, units=10_000)
    assert pooled > 0.9
    assert ours <= ALPHA


def test_values_that_grow_while_one_looks_are_waited_for() -> None:
    _, matured = experimenting.growing(100, 4)
    assert matured <= ALPHA
    so_far, matured = experimenting.growing(100, 5, faster=3.0)
    assert so_far > 0.9
    assert matured <= ALPHA


def test_guardrails_keep_out_what_breaches_a_margin_and_let_equal_versions_alone() -> None:
    at_the_margin = experimenting.decisions(4000, 6, effect=0.03, harm=0.01)
    assert at_the_margin.promoted <= ALPHA
    equal = experimenting.decisions(4000, 7, effect=0.0, harm=0.0)
    assert equal.promoted <= ALPHA
    assert equal.rolled_back <= ALPHA
    assert experimenting.decisions(4000, 8, effect=0.03, harm=0.0).promoted > 0.8
    assert experimenting.decisions(4000, 9, effect=0.03, harm=0.03).rolled_back > 0.95


@pytest.mark.parametrize("phases", [1, 5])
def test_a_wrong_ratio_is_found_and_a_right_one_is_not(phases: int) -> None:
    false, _ = experimenting.sample_ratios(800, 10, share=0.5, phases=phases)
    assert false <= allowed(800, 0.01)
    _, median = experimenting.sample_ratios(400, 11, share=0.52, phases=phases)
    assert median <= 8000


@pytest.mark.parametrize("shape", list(experimenting.LATENCIES))
@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
def test_quantiles_stay_within_their_intervals(shape: str, level: float) -> None:
    assert experimenting.quantile_misses(experimenting.LATENCIES[shape], level, 250, 12, n=1500) <= allowed(250)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("shape", list(experimenting.LATENCIES))
@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
def test_and_so_they_do_at_ten_thousand_looks(shape: str, level: float) -> None:
    assert experimenting.quantile_misses(experimenting.LATENCIES[shape], level, 2000, 13) <= allowed(2000)


def test_the_paired_test_keeps_its_rate_and_takes_a_fifth_of_the_rows() -> None:
    assert experimenting.pairs(500, 14, gain=0.0, n=50_000).fired <= allowed(500)
    found = experimenting.pairs(200, 15, gain=0.01, n=60_000)
    assert found.fired > 0.99
    assert found.pairs <= found.units_an_arm / 4


def test_intervals_of_paired_differences_hold() -> None:
    rng = np.random.default_rng(16)
    missed = 0
    for _ in range(100):
        counts = np.zeros(4, dtype=np.int64)
        for _ in range(6):
            counts = counts + rng.multinomial(200, [0.80, 0.04, 0.07, 0.09])
            view = paired(*(int(each) for each in counts))
            assert view.lower is not None
            assert view.upper is not None
            if not view.lower <= 0.03 <= view.upper:
                missed += 1
                break
    assert missed / 100 <= ALPHA


def test_equal_arms_quantiles_are_not_told_apart() -> None:
    rng = np.random.default_rng(17)
    arm = np.arange(2000) % 2
    fired = 0
    for _ in range(60):
        value = rng.lognormal(3, 0.6, arm.size)
        for n in (600, 1200, 2000):
            found = Quantiles.of(Units(arm[:n], 0 * arm[:n], value[:n]), 0.9, 60.0)
            assert found is not None
            fired += found.log_e(ALPHA) >= math.log(20)
    assert fired <= 60 * ALPHA


def test_equal_versions_pass_the_guard_of_a_canary() -> None:
    rng = np.random.default_rng(18)
    errors = Bound("errors", "canary", "margin", 0.0, absolute=True)
    slow = Bound("latency", "canary", "margin", 0.0)
    breached = 0
    for _ in range(12):
        failed = rng.binomial(200, 0.03, (2, 2)).cumsum(axis=1)
        value, arm = rng.lognormal(3, 0.5, 800), np.arange(800) % 2
        for look in range(2):
            n = 200 * (look + 1)
            stable, canary = (Counted([int(side[look])], [n]) for side in failed)
            breached += rates(errors, stable, canary, Alphas(ALPHA / 2)).state == "breached"
            times = Units(arm[: 2 * n], 0 * arm[: 2 * n], value[: 2 * n])
            breached += latency(slow, times, 0.95, Alphas(ALPHA / 2)).state == "breached"
    assert breached == 0


LATENCY = Metric("latency", "decrease", "mean")
CONVERSION = Metric("conversion", "increase", "proportion")
SPEC = ExperimentSpec(ARMS, (CONVERSION,), (Guardrail(LATENCY, "margin", 0.05),), mde=0.2, ramp=(10.0, 100.0))


def experiment(seed: int, *, better: float, slower: float, spec: ExperimentSpec = SPEC, looks: int = 6) -> str:
    """What is decided in the end: a ramp of two phases with a drifting rate, some looks, the whole way."""
    rng = np.random.default_rng(seed)
    arm = rng.integers(0, 2, 12_000)
    phase = (np.arange(arm.size) > 3000).astype(np.int64) + 1
    rate = np.where(phase == 1, 0.15, 0.2) * np.where(arm == 1, 1 + better, 1)
    converted = (rng.random(arm.size) < rate).astype(np.float64)
    ms = rng.lognormal(3, 0.3, arm.size) * np.where(arm == 1, 1 + slower, 1)
    before: Analysis | None = None
    for look in range(1, looks + 1):
        n = arm.size * look // looks
        units = {"conversion": Units(arm[:n], phase[:n], converted[:n])}
        units["guardrail:latency"] = Units(arm[:n], phase[:n], ms[:n])
        counts = {p: np.bincount(arm[:n][phase[:n] == p], minlength=2).tolist() for p in np.unique(phase[:n])}
        before = analyse(spec, units, Exposed(counts), before)
        verdict = decide(spec, before, DecisionFacts(0.0, look * 86400.0))
        if verdict.decision in ("promote", "rollback", "hold"):
            return verdict.decision
    return "continue"


def test_whole_experiments_decide_rightly() -> None:
    equal = [experiment(seed, better=0.0, slower=0.0) for seed in range(50)]
    assert equal.count("rollback") + equal.count("promote") + equal.count("hold") <= 50 * ALPHA
    better = [experiment(seed, better=0.25, slower=0.0) for seed in range(100, 110)]
    assert better.count("promote") >= 8
    slow = [experiment(seed, better=0.25, slower=0.15) for seed in range(200, 210)]
    assert slow.count("rollback") >= 9
    assert slow.count("promote") == 0


@pytest.mark.long
@pytest.mark.timeout(900)
def test_and_of_a_thousand_experiments() -> None:
    equal = [experiment(seed, better=0.0, slower=0.0) for seed in range(500)]
    assert equal.count("rollback") <= 500 * ALPHA
    assert equal.count("promote") <= 500 * ALPHA
    at_the_margin = [experiment(seed, better=0.25, slower=0.05) for seed in range(3000, 3300)]
    assert at_the_margin.count("promote") <= 300 * ALPHA
    errors = replace(SPEC, metrics=(Metric("conversion", "increase", "proportion", source="errors"),))
    exact = [experiment(seed, better=0.0, slower=0.0, spec=errors) for seed in range(5000, 5200)]
    assert exact.count("promote") <= 200 * ALPHA
    assert exact.count("rollback") <= 200 * ALPHA


def test_the_arrays_of_these_simulations_are_the_sequences_of_the_package() -> None:
    rng = np.random.default_rng(19)
    arm, phase = rng.integers(0, 2, 3000), rng.integers(0, 3, 3000)
    value = (rng.random(3000) < 0.1).astype(np.float64)
    n = np.array([[((phase == p) & (arm == a)).sum() for a in (0, 1)] for p in range(3)], dtype=np.float64)
    events = np.array([[value[(phase == p) & (arm == a)].sum() for a in (0, 1)] for p in range(3)])
    squared, total = experimenting.stratified(n[None], events[None])
    found = compare(Units(arm, phase, value), proportion=True)
    assert found is not None
    assert squared[0] == pytest.approx(found.difference**2 / found.variance, rel=1e-12)
    ours = means.log_e(found.difference, found.variance, found.n, means.rho(9000, ALPHA))
    assert experimenting.log_e_of(squared, total, 9000.0)[0] == pytest.approx(ours, rel=1e-12)
    assert log_bayes_factor({1: [50, 50]}, [50, 50]) < 0
