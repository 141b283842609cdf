"""How often drift is found where there is none, and where there is: ours beside what is common, and what it costs.

python benchmarks/drift.py [--sections false,power,rare,common,months,performance,cost] [--trials 20]

Beside other systems, each in an environment of its own (some minutes, most of them Evidently):

python benchmarks/drift.py --sections peers --trials 6 --evidently PYTHON --nannyml PYTHON --river PYTHON
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from lib import drift_peers, drifting, tables
from lib.drift_months import TRAFFIC, month
from lib.drifting import Floats
from tidegate.watch.baseline.seasons import WEEKS_MIN
from tidegate.watch.budget import Budget
from tidegate.watch.drift.drift import DriftContext, evaluate
from tidegate.watch.histograms import bounds
from tidegate.watch.histograms.histogram import Histogram, reference
from tidegate.watch.histograms.layout import Layout
from tidegate.watch.performance import betting
from tidegate.watch.performance.performance import Cohort, LossMetric, Reference
from tidegate.watch.performance.performance import evaluate as evaluate_performance

COLUMNS = 100
REFERENCE_ROWS = 5_000
COUNTED = ("drift", "performance", "any", "naive")


def percent(share: float) -> str:
    """One digit where it is small."""
    return f"{share:.0%}" if share >= 0.1 or share == 0 else f"{share:.1%}"


def false_alarms(trials: int) -> None:
    """No drift: how many columns alarm, and how many evaluations of a hundred correlated columns have an alarm."""
    print(f"No drift. Reference of {REFERENCE_ROWS:,} rows, {COLUMNS} correlated columns, {trials} evaluations a line")
    print("(from 100,000 rows: counts of independent normal columns are drawn, and the KS test is on bins).")
    print("A column alarms / an evaluation has an alarm (*: of 10 to 20 of its columns, for the slow common ways).")
    print("W: Wasserstein over the standard deviation; of categories, the Jensen-Shannon distance")
    sizes = (50, 200, 1_000, 10_000)
    rows = [[shape, n, *_false(of, n, trials)] for shape, of in drifting.SHAPES.items() for n in sizes]
    rows += [["normal", n, *_false_drawn(n, trials)] for n in (100_000, 1_000_000)]
    print(tables.table(["column", "rows", "p < .05", "PSI > .1", "W >= .1", "always", "ours", "size alone"], rows))


def _false(of: drifting.Shape, n: int, trials: int) -> list[str]:
    rng = np.random.default_rng(n)
    mixing = rng.normal(size=(drifting.FACTORS, COLUMNS))
    seen = np.zeros((trials, 5, COLUMNS))
    for trial in range(trials):
        before = of(drifting.correlated(rng, REFERENCE_ROWS, COLUMNS, mixing))
        now = of(drifting.correlated(rng, n, COLUMNS, mixing))
        for at in range(0, COLUMNS, 10 if n > 1_000 else 5):  # the common ones are slow, and of columns alike
            common = drifting.naive(before[:, at], now[:, at])
            seen[trial, :3, at] = common.p_below_05, bool(common.psi_above_01), common.distance_above_01
        found = list(drifting.ours(before, now).values())
        seen[trial, 3] = [bool(drift.drift_detected) for drift in found]
        seen[trial, 4] = [(drift.effect_lower or 0.0) > 0.05 for drift in found]
    looked = seen[:, :3, :: 10 if n > 1_000 else 5]
    cells = [f"{percent(looked[:, at].mean())} / {percent(looked[:, at].any(axis=1).mean())}*" for at in range(3)]
    return [
        *cells,
        "100%",
        *(f"{percent(s.mean())} / {percent(s.any(axis=1).mean())}" for s in (seen[:, 3], seen[:, 4])),
    ]


def _false_drawn(n: int, trials: int) -> list[str]:
    rng, layout, shares = np.random.default_rng(n), drifting.normal_layout(), drifting.binned_normal()
    seen = np.zeros((trials, 3, COLUMNS))
    for trial in range(trials):
        before = {str(at): drifting.drawn(rng, layout, REFERENCE_ROWS, shares) for at in range(COLUMNS)}
        now = {name: drifting.drawn(rng, layout, n, shares) for name in before}
        found = list(evaluate(before, now).values())
        seen[trial, 0] = [drifting.binned_ks_p(before[name], now[name]) < 0.05 for name in before]
        seen[trial, 1] = [bool(drift.drift_detected) for drift in found]
        seen[trial, 2] = [(drift.effect_lower or 0.0) > 0.05 for drift in found]
    ks, whole, size = (f"{percent(s.mean())} / {percent(s.any(axis=1).mean())}" for s in seen.transpose(1, 0, 2))
    return [ks, "-", "-", "100%", whole, size]


def power(trials: int) -> None:
    """A shifted normal column: how often it is found. Counts are drawn; one column an evaluation."""
    print("\nA normal column shifted: how often it is found (counts drawn, one column; 20 trials x --trials)")
    cases: list[tuple[int, int, float, str]] = [
        (1_000, 1_000, 0.3, "82%"),
        (1_000, 5_000, 0.3, "97%"),
        (1_000, 100_000, 0.3, "99%"),
        (5_000, 5_000, 0.2, "74%"),
        (1_000, 5_000, 0.0, "0%"),
        (50, 5_000, 0.0, "1.5%"),
        (50, 5_000, 0.5, ""),
        (50, 5_000, 1.0, ""),
        (200, 5_000, 0.5, ""),
        (500, 5_000, 0.3, ""),
        (100_000, 100_000, 0.1, ""),
        (100_000, 100_000, 0.2, ""),
        (1_000_000, 1_000_000, 0.005, "0%"),
    ]
    rows = [[n, m, f"{shift:g} sd", stated, *_power(n, m, shift, 20 * trials)] for n, m, shift, stated in cases]
    head = [
        "rows",
        "reference",
        "shift",
        "stated",
        "size alone",
        "ours",
        "at the budget",
        "DKW",
        "KS p < .05",
        "PSI > .1",
    ]
    print(tables.table(head, rows))
    print("stated: in the project's plan, of the size alone. At the budget: as one of 100 columns, judged hourly.")


def _power(n: int, m: int, shift: float, trials: int) -> list[str]:
    rng, layout = np.random.default_rng(n + m), drifting.normal_layout()
    here, there = drifting.binned_normal(), drifting.binned_normal(shift)
    page_alpha = Budget().page_alpha("drift", 3_600.0) / COLUMNS
    seen = np.zeros((trials, 6))
    for trial in range(trials):
        before, now = drifting.drawn(rng, layout, m, here), drifting.drawn(rng, layout, n, there)
        drift = evaluate({"x": before}, {"x": now})["x"]
        paged = evaluate({"x": before}, {"x": now}, look=DriftContext(page_alpha=page_alpha))["x"]
        dkw = float(np.sqrt(np.log(4 / 0.05) / 2)) * (n**-0.5 + m**-0.5)  # both bands at 5 % together
        deciles = [np.add.reduceat(each.ordinary[1:-1], np.arange(0, 20, 2)).astype(np.int64) for each in (before, now)]
        seen[trial] = (
            (drift.effect_lower or 0.0) > 0.05,
            bool(drift.drift_detected),
            bool(paged.drift_detected),
            (drift.effect or 0.0) - dkw > 0.05,
            drifting.binned_ks_p(before, now) < 0.05,
            drifting.psi(*deciles) > 0.1,
        )
    return [percent(share) for share in seen.mean(axis=0)]


def rare(trials: int) -> None:
    """A class of 0.2 % in a reference of 100,000 rows."""
    print("\nA class of 0.2 % of 100,000 reference rows becomes …: how often it is found")
    rng, layout = np.random.default_rng(2), Layout("category", "BYTES", values=("fine", "fraud"))

    def of(rows: int, share: float) -> Histogram:
        return Histogram(layout, (0, 0, 0, 0, *rng.multinomial(rows, (1 - share, share)).tolist()))

    budgeted = Budget().page_alpha("drift", 86_400.0) / 2
    rows: list[Sequence[object]] = []
    for n in (2_000, 5_000, 10_000, 20_000, 40_000, 1_000_000):
        cells: list[str] = []
        for share in (0.002, 0.0022, 0.004, 0.0):
            found = np.zeros((20 * trials, 2))
            for each in found:
                before, now = {"x": of(100_000, 0.002)}, {"x": of(n, share)}
                each[0] = bool(evaluate(before, now)["x"].drift_detected)
                each[1] = bool(evaluate(before, now, look=DriftContext(page_alpha=budgeted))["x"].drift_detected)
            cells.append(" / ".join(percent(share) for share in found.mean(axis=0)))
        rows.append([n, *cells])
    print(tables.table(["rows", "0.2 %", "0.22 %", "0.4 %", "none"], rows))
    print("one look / at the budget of a day as an output")


def common(trials: int) -> None:
    """What the project's plan says of the common ways, measured anew."""
    print("\nThe common ways without drift, beside what the plan says")
    rng = np.random.default_rng(3)

    def share(of: Callable[[], bool]) -> str:
        return percent(float(np.mean([of() for _ in range(20 * trials)])))

    def normals(n: int, m: int) -> drifting.Naive:
        return drifting.naive(rng.normal(size=m), rng.normal(size=n))

    def categories(n: int) -> drifting.Naive:
        return drifting.naive(*(rng.integers(0, 50, size).astype("U3") for size in (5_000, n)))

    rows = [
        ["Wasserstein/sd >= .1, 50 rows against 5,000", "95%", share(lambda: normals(50, 5_000).distance_above_01)],
        ["… 100 rows", "69%", share(lambda: normals(100, 5_000).distance_above_01)],
        ["… 200 rows", "33%", share(lambda: normals(200, 5_000).distance_above_01)],
        ["Jensen-Shannon >= .1, 50 categories, 500 rows", "94%", share(lambda: categories(500).distance_above_01)],
        ["PSI > .1, 10 bins, 100 rows against 1,000", "43%", share(lambda: bool(normals(100, 1_000).psi_above_01))],
    ]
    print(tables.table(["", "plan", "here"], rows))
    print("A KS test at p < .05 with n = m rows fires, every other time, from a shift of")
    found = [f"{_half_power(n):.3f} sd at {n:,}" for n in (1_000, 10_000, 100_000, 1_000_000)]
    print(
        "  "
        + ", ".join(found)
        + "   (plan: .152, .048, .015, .005: where the difference alone reaches the critical value)"
    )
    print(
        "Some alarm of independent features at p < .05: " + ", ".join(f"{k}: {1 - 0.95**k:.1%}" for k in (10, 50, 100))
    )


def _half_power(n: int) -> float:
    """The shift whose own KS distance is the critical value: 2Φ(s/2) - 1 = 1.358 √(2/n)."""
    critical = 1.358 * np.sqrt(2 / n)
    return 2 * bounds.normal_quantile(float((1 - critical) / 2))


def months(trials: int) -> None:
    """Thirty days of traffic without drift, by the defaults: pages of all monitors, all features together."""
    repeats = max(1, trials // 20)
    print(f"\n30 days without drift at the defaults, {COLUMNS} features (1 % missing; one an output), accuracy .9;")
    print(f"false pages by monitor, of one that the budget allows; {repeats} months a line, mean")
    rows: list[Sequence[object]] = []
    for name, means in TRAFFIC.items():
        for rows_per_hour in (50, 200, 5_000):
            for weeks in (3, 6):
                rng = np.random.default_rng(rows_per_hour)
                found = [month(rng, means, rows_per_hour, COLUMNS, weeks) for _ in range(repeats)]
                if weeks > WEEKS_MIN and not found[0].is_seasonal:
                    continue  # no more than three weeks say already
                counts = [float(np.mean([getattr(each, of) for each in found])) for of in COUNTED]
                compared = "hours of the week" if found[0].is_seasonal else "whole days"
                rows.append([name, rows_per_hour, weeks, compared, *counts, found[0].blocks])
    head = ["traffic", "rows/h", "weeks", "compared", "drift", "performance", "any", "KS p < .05", "always"]
    print(tables.table(head, rows))
    print("weeks: of the baseline. Compared with hours of the week where it has 500 rows of each, else whole days")


def performance(trials: int) -> None:
    """A model of 90 % accuracy (5,000 reference rows): how often it is called worse, and how close the bound is."""
    print("\nA model of accuracy .90 (5,000 reference rows, tolerance .02) now has …: how often it is called worse")
    rng = np.random.default_rng(4)

    def wrong(rows: int, share: float) -> Floats:
        return (rng.random(rows) < share).astype(np.float64)

    rows: list[Sequence[object]] = []
    for n in (100, 300, 1_000, 5_000, 50_000):
        cells = []
        for accuracy in (0.90, 0.88, 0.86, 0.85, 0.80, 0.70):
            found = np.zeros((10 * trials, 2))
            for each in found:
                losses, before = wrong(n, 1 - accuracy), Reference.of(wrong(5_000, 0.1))
                each[0] = bool(evaluate_performance(Cohort(losses), before, LossMetric("accuracy")).significant_drop)
                each[1] = losses.mean() - before.risk > 0.05
            cells.append(" / ".join(percent(share) for share in found.mean(axis=0)))
        lower = [0.1 - betting.mean_lower(wrong(n, 0.1), 0.025) for _ in range(10)]
        exact = [0.1 - float(bounds.binomial_lower(np.array([wrong(n, 0.1).sum()]), n, 0.025)[0]) for _ in range(10)]
        rows.append([n, *cells, f"{np.mean(lower):.4f}", f"{np.mean(exact):.4f}"])
    head = ["rows", ".90", ".88", ".86", ".85", ".80", ".70", "bound is off by", "exact, one look"]
    print(tables.table(head, rows))
    print("ours / accuracy dropped by more than .05")


def cost(trials: int) -> None:
    """An evaluation of a hundred features on histograms that are there."""
    print(f"\nAn evaluation of {COLUMNS} features on histograms that are there, median of {trials} (target: 50 ms)")
    rng = np.random.default_rng(5)
    rows: list[Sequence[object]] = []
    for n in (50, 1_000, 100_000):
        before = {str(at): reference(rng.normal(size=REFERENCE_ROWS)) for at in range(COLUMNS)}
        took, cpu = [], []
        for _ in range(trials + 1):
            now = {name: Histogram.of(rng.normal(size=n), each.layout) for name, each in before.items()}
            started, cpu_started = time.perf_counter(), time.process_time()
            evaluate(before, now, look=DriftContext(page_alpha=1e-3))
            took.append(time.perf_counter() - started)
            cpu.append(time.process_time() - cpu_started)
        rows.append([n, cpu[0] * 1e3, float(np.median(cpu[1:])) * 1e3, float(np.median(took[1:])) * 1e3])
    print(tables.table(["rows", "first, CPU ms", "CPU ms", "elapsed ms"], rows))


SHIFTS = {"0.3 sd": 0.3, "0.5 sd": 0.5}


def peers(of: drift_peers.Interpreters, trials: int) -> None:
    """Other systems on the same rows as ours."""
    months = max(2, trials // 5)
    hourly, columns = drift_peers.HOUR_ROWS, drift_peers.FEATURES
    print(f"\n{columns} correlated columns, {hourly} rows an hour, a reference of {drift_peers.REFERENCE_DAYS} days.")
    print(f"Days with a false alarm in 30 without drift ({months} months), by traffic; and of {trials} streams in")
    print("which one column shifted at midnight, those with an alarm within one day / within three")
    data = drift_peers.made(15, months, trials, SHIFTS)
    alarms, versions = drift_peers.compared(data, of)
    rows = drift_peers.table_of(data, alarms, list(SHIFTS))
    print(tables.table(["", *(kind[:8] for kind in drift_peers.KINDS), *SHIFTS], rows))
    print(", ".join(versions) or "no other system was asked: name interpreters that have them")
    print("River's with a parameter: the most sensitive value with at most one day of false alarms in 30 on other")
    print("months, of the traffic in brackets; autocorr.: hours' means stroll by 0.1 sd, forgotten within some hours;")
    print(f"KSWIN: {drift_peers.KSWIN_MONTHS_MAX} of the months, {drift_peers.KSWIN_TRIALS_MAX} of the other streams")


SECTIONS: dict[str, Callable[[int], None]] = {
    "false": false_alarms,
    "power": power,
    "rare": rare,
    "common": common,
    "months": months,
    "performance": performance,
    "cost": cost,
}


def main() -> None:
    """Print the tables that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sections", default=",".join(SECTIONS), help=f"some of {','.join(SECTIONS)},peers")
    parser.add_argument("--trials", type=int, default=20, help="simulations a line (some sections take a multiple)")
    for name in ("evidently", "nannyml", "river"):
        parser.add_argument(f"--{name}", metavar="PYTHON", help=f"an interpreter that has {name}, for peers")
    options = parser.parse_args()
    of = drift_peers.Interpreters(options.evidently, options.nannyml, options.river)
    sections: dict[str, Callable[[int], None]] = {**SECTIONS, "peers": partial(peers, of)}
    for name in options.sections.split(","):
        sections[name](options.trials)


if __name__ == "__main__":
    main()
