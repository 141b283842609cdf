"""How often experiments, canaries and shadows decide wrongly where nothing differs, and what it takes where it does.

python benchmarks/experiments.py [--streams 5000] [--jobs 1]
    [--sections peeking,ramps,growing,decisions,ratio,quantiles,paired,guard,canaries,cost,looks]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from lib import experiment_days, experimenting, tables
from lib.whole_canaries import SHARES, Ended, Traffic, many
from tidegate.sequential.analysis import analyse
from tidegate.sequential.guard import Alphas, Bound, Counted, latency, rates
from tidegate.sequential.units import Exposed, Units
from tidegate.wire.experiments.experiments import ArmSpec, ExperimentSpec, Guardrail, Metric

LOOKS = (2, 5, 7, 10, 14, 20, 30, 50, 100)
HUNDRED = np.arange(100, 10_001, 100)
EVERY = np.arange(30, 10_001)


def share(value: float | None) -> str:
    """Of streams, in percent."""
    return "" if value is None else f"{value:.1%}"


def within(found: int, of: int) -> str:
    """A share of `of` with its exact interval of 95 % (Clopper and Pearson), in percent."""
    low, high = binomtest(found, of).proportion_ci()
    return f"{found / of:.1%} ({low:.1%} to {high:.1%})"


def peeking(streams: int) -> None:
    """A fixed-time test looked at often, exactly; then on streams, beside ours."""
    print("Nothing differs. P(a test at p < .05 ever fires) in k equally spaced looks, exactly")
    print(tables.table(["looks", "P"], [[k, f"{experimenting.peeking_exact(k, points=801):.4f}"] for k in LOOKS]))
    print(f"\nNothing differs. Shares of {streams:,} streams in which a test ever fired, to 10,000 units an arm")
    rows = []
    for looks, told in ((HUNDRED, "100 looks"), (EVERY, "every unit from 30 (ours: from 100)")):
        for name, draw in experimenting.METRICS.items():
            found = experimenting.equal_arms(draw, looks, streams, 1)
            rows.append([name, told, share(found.naive), share(found.sequence), share(found.worse), share(found.exact)])
    print(tables.table(["metric", "looks", "p < .05", "sequence", "one-sided, early", "exact, by events"], rows))


def ramps(streams: int) -> None:
    """A treatment at 1, 5, 25, 50 % while the base rate goes from .10 to .14."""
    print(f"A ramp over a drifting rate, nothing differing ({streams:,} streams, 20 looks)")
    rows = []
    for units in (4_000, 10_000, 40_000):
        pooled, ours = experimenting.ramps(streams, 2, units=units)
        rows.append([f"{units:,}", share(pooled), share(ours)])
    print(tables.table(["units a phase", "pooled z-test, one look", "by phase, every look"], rows))


def growing(streams: int) -> None:
    """Conversions within seven days, looked at daily."""
    few = min(streams, 1000)
    print(f"Values that grow while one looks, equal in the end ({few:,} streams, 37 daily looks)")
    rows = []
    for faster in (1.0, 1.5, 3.0):
        so_far, matured = experimenting.growing(few, 3, faster=faster)
        rows.append([f"{faster:g} x", share(so_far), share(matured)])
    print(tables.table(["treatment's labels come faster", "what is there so far", "units whose window is over"], rows))


def decisions(streams: int) -> None:
    """One metric, three guardrails with a margin of 1 %, 40 looks."""
    print(f"Decisions: one metric, guardrails of margin 1 %, 40 looks ({streams:,} streams)")
    rows = []
    for told, effect, harm in (
        ("equal", 0.0, 0.0),
        ("better by 3 %, a guardrail at its margin", 0.03, 0.01),
        ("better by 3 %, a guardrail worse by 3 %", 0.03, 0.03),
        ("better by 3 %", 0.03, 0.0),
        ("worse by 3 %", -0.03, 0.0),
    ):
        for guardrails in (1, 3, 8):
            found = experimenting.decisions(streams, 4, effect=effect, harm=harm, guardrails=guardrails)
            rows.append([told, guardrails, share(found.promoted), share(found.rolled_back)])
    print(tables.table(["version", "guardrails", "promoted", "rolled back"], rows))


def ratio(streams: int) -> None:
    """The sample ratio, looked at every 20 units to 20,000."""
    few = min(streams, 3000)
    print(f"Sample ratio: share of {few:,} streams held, and the median of units until then")
    rows = []
    for phases in (1, 3, 5):
        for in_b in (0.5, 0.52, 0.55):
            fired, median = experimenting.sample_ratios(few, 5, share=in_b, phases=phases)
            rows.append([phases, f"{in_b:.2f}", share(fired), f"{median:,.0f}" if np.isfinite(median) else "never"])
    print(tables.table(["phases", "share", "held", "median units"], rows))


def quantiles(streams: int) -> None:
    """Quantiles' intervals at .05, looked at after every one of 10,000 values."""
    few = min(streams, 2000)
    print(f"Shares of {few:,} streams in which a quantile was ever outside its interval")
    rows = [
        [name, *(share(experimenting.quantile_misses(draw, level, few, 6)) for level in (0.5, 0.95, 0.99))]
        for name, draw in experimenting.LATENCIES.items()
    ]
    print(tables.table(["latencies", "p50", "p95", "p99"], rows))


def paired(streams: int) -> None:
    """The paired test beside an A/B test."""
    print("Paired answers, accuracies .85 and more, 5 % of answers differ in being right")
    rows = []
    for gain, n in ((0.0, 100_000), (0.01, 100_000), (0.02, 25_000)):
        found = experimenting.pairs(min(streams, 1000), 7, gain=gain, n=n)
        if gain:
            rows.append([f"{gain:+.2f}", share(found.fired), f"{found.pairs:,.0f}", f"{found.units_an_arm:,.0f}"])
        else:
            rows.append(["equal", share(found.fired), "", ""])
    print(tables.table(["accuracy", "test fired", "median pairs", "an A/B test: units an arm"], rows))


def guard(streams: int) -> None:
    """Canaries: how many requests it takes, and how often an equal version is stopped."""
    few = min(streams, 200)
    errors, slow = Bound("errors", "canary", "margin", 0.01, absolute=True), Bound("latency", "canary", "margin", 0.5)
    alphas = Alphas(0.01)
    print("Requests of a canary until it is stopped, each failing (stable: as many, or 100 times as many; none fails)")
    rows = []
    for rate in (1.0, 0.5, 0.2, 0.05):
        row: list[object] = [f"{rate:.0%}"]
        for times in (1, 100):
            needed = (
                n
                for n in range(1, 1000, 1 if rate >= 0.5 else 5)
                if rates(errors, Counted([0], [n * times]), Counted([round(rate * n)], [n]), alphas).state == "breached"
            )
            row.append(next(needed, "1,000 or more"))
        rows.append(row)
    print(tables.table(["of the canary's requests fail", "beside a slice", "beside all"], rows))
    enough = 0
    for n in range(4, 60):
        slow_ones = round(0.7 * n)
        arm = np.array([0] * n + [1] * n)
        value = np.array([1.0] * n + [100.0] * slow_ones + [1.0] * (n - slow_ones))
        if latency(slow, Units(arm, 0 * arm, value), 0.95, alphas).state == "breached":
            enough = n
            break
    print(f"\n7 of 10 requests take 100 ms rather than 1: stopped after {enough} requests a side")
    rng = np.random.default_rng(9)
    stopped = {"errors": 0, "latency": 0}
    strict = Bound("errors", "canary", "margin", 0.0, absolute=True), Bound("latency", "canary", "margin", 0.0)
    for _ in range(few):
        failed = rng.binomial(100, 0.02, (2, 8)).cumsum(axis=1)
        sides = [[Counted([int(x)], [100 * (k + 1)]) for k, x in enumerate(side)] for side in failed]
        looks = zip(*sides, strict=True)
        stopped["errors"] += any(rates(strict[0], a, b, alphas).state == "breached" for a, b in looks)
        value, arm = rng.lognormal(3, 0.6, 1200), np.arange(1200) % 2
        times_so_far = (Units(arm[:n], 0 * arm[:n], value[:n]) for n in (200, 500, 800, 1200))
        stopped["latency"] += any(latency(strict[1], x, 0.95, alphas).state == "breached" for x in times_so_far)
    print(f"Equal versions, no margin at all, at .01: of {few} canaries stopped {stopped}")


def canaries(streams: int, jobs: int = 1) -> None:
    """Whole canaries: every default guardrail at every step, six looks a step, by the code that judges real ones."""
    few, fewer = min(streams, 2000), min(streams, 500)
    print("Whole canaries of 1,5,25,50,100 %: taken back although the version is no worse than it may be")
    rows: list[list[object]] = []
    for told, traffic, count in (
        ("equal, 1 % of the requests fail", Traffic(), few),
        ("equal, 20 clients, of 15 % every request fails", Traffic(keys=20, bad_keys=0.15), fewer),
        ("at its margins: 1 % more fail, half as long again", Traffic(fails=(0.01, 0.02), slower=1.5), fewer),
    ):
        ended = many(traffic, count, jobs)
        by = Counter(one.guardrail for one in ended if one.guardrail)
        names = ", ".join(f"{name} {times}" for name, times in by.most_common())
        rows.append([told, f"{count:,}", within(by.total(), count), names])
    print(tables.table(["version", "canaries", "taken back (95 % interval)", "by"], rows), flush=True)
    few = min(streams, 200)
    print(f"\nOf {few} canaries of which 10 % more requests fail, by how the stake is shared among the steps")
    rows = []
    for told, since in (("from the start", 0), ("from the third step on", 2)):
        worse = Traffic(fails=(0.01, 0.11), fails_from=since)
        rows += [[told, shares, *_found(many(worse, few, jobs, shares=shares), since)] for shares in SHARES]
    print(tables.table(["fails", "stake", "taken back", "in that step", "requests it had (median)"], rows))


def _found(ended: list[Ended], since: int) -> list[object]:
    """Of canaries that fail since a step: the share taken back, in that step, and after how many requests."""
    in_all = sum(one.guardrail is not None for one in ended) / len(ended)
    at_once = sum(one.step == since and one.guardrail is not None for one in ended) / len(ended)
    return [share(in_all), share(at_once), f"{np.median([one.requests for one in ended]):,.0f}"]


def cost(_: int) -> None:
    """What one look costs."""
    arms = (ArmSpec("control", "1", 50.0), ArmSpec("treatment", "2", 50.0))
    metrics = (Metric("conversion", "increase", "proportion"), Metric("revenue", "increase"))
    guardrails = (Guardrail(Metric("latency", "decrease", "quantile"), "margin", 0.1),)
    spec = ExperimentSpec(arms, metrics, guardrails)
    rng = np.random.default_rng(10)
    rows = []
    for n in (10_000, 100_000, 1_000_000):
        arm, phase = rng.integers(0, 2, n), rng.integers(0, 4, n)
        units = {
            "conversion": Units(arm, phase, (rng.random(n) < 0.1).astype(np.float64)),
            "revenue": Units(arm, phase, experimenting.revenue(rng, (n,))),
            "guardrail:latency": Units(arm, phase, rng.lognormal(3, 0.5, n)),
        }
        exposed = Exposed({p: np.bincount(arm[phase == p], minlength=2).tolist() for p in range(4)})
        started = time.perf_counter()
        analyse(spec, units, exposed)
        rows.append([f"{n:,}", f"{time.perf_counter() - started:.2f} s"])
    print("One look: two metrics and the p95 of latency as guardrail, four phases")
    print(tables.table(["units", "time"], rows))


def looks(_: int) -> None:
    """What a look costs with all that it reads: captured rows of 30 days, two calls a unit, a tenth with feedback."""
    days, rows = 30, []
    for units in (100_000, 1_000_000):
        with tempfile.TemporaryDirectory() as folder:
            experiment_days.write(Path(folder) / "capture", units, days)
            found = [f"{one:.1f} s" for one in experiment_days.looks(Path(folder), days)]
        rows.append([f"{units:,}", *found])
    print(f"A look after {days} days, two calls a unit, two metrics and the p95 of latency: seconds of processor")
    print(tables.table(["units", "the first reads all", "a later one", "of it the analysis"], rows))


SECTIONS: dict[str, Callable[[int], None]] = {
    each.__name__: each
    for each in (peeking, ramps, growing, decisions, ratio, quantiles, paired, guard, canaries, cost, looks)
}


def main() -> None:
    """Print the chosen tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sections", default=",".join(SECTIONS))
    parser.add_argument("--streams", type=int, default=5000)
    parser.add_argument("--jobs", type=int, default=1, help="processes that simulate whole canaries")
    options = parser.parse_args()
    sections = SECTIONS | {"canaries": partial(canaries, jobs=options.jobs)}
    for name in options.sections.split(","):
        started = time.perf_counter()
        sections[name](options.streams)
        print(f"({time.perf_counter() - started:.0f} s)\n")


if __name__ == "__main__":
    main()
