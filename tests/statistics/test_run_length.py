"""Over a simulated month without drift, blocks and budget together: hardly a page. Fixed seeds, stated bounds."""

import numpy as np
import pytest

from lib.drift_months import TRAFFIC, month
from tidegate.watch.budget import DAY_S, Budget
from tidegate.watch.drift import drift
from tidegate.watch.drift.drift import DriftContext
from tidegate.watch.histograms.clustering import Clustering
from tidegate.watch.histograms.histogram import Histogram
from tidegate.watch.histograms.layout import Layout
from tidegate.watch.performance import performance
from tidegate.watch.performance.performance import Cohort, LossMetric, Reference

pytestmark = pytest.mark.long

MONTH_H = 720
TWENTIETHS = np.full(20, 0.05)
LAYOUT = Layout("numeric", "FP64", cuts=tuple(float(cut) for cut in range(21)), spread=5.0)


def drawn(rng: np.random.Generator, rows: int) -> Histogram:
    return Histogram(LAYOUT, (0, 0, 0, *rng.multinomial(rows, TWENTIETHS).tolist(), 0))


@pytest.mark.parametrize(("rows_per_hour", "months"), [(8, 3), (50, 2), (200, 1)])
def test_months_without_drift_have_hardly_a_page(rows_per_hour: int, months: int) -> None:
    """Eight features and an output beside a model whose accuracy stays."""
    rng, budget, pages, blocks = np.random.default_rng(15), Budget(), 0, 0
    names = [*(f"f{at}" for at in range(8)), "score"]
    before = {name: drawn(rng, 5_000) for name in names}
    reference = Reference.of((rng.random(5_000) < 0.1).astype(np.float64))
    rows, begun_h = 0, 0
    for hour in range(1, months * MONTH_H + 1):
        rows += rng.poisson(rows_per_hour)
        block_s = (hour - begun_h) * 3_600.0
        if not budget.closes(rows, block_s):
            continue
        now = {name: drawn(rng, rows) for name in names}
        found = drift.evaluate(
            before, now, look=DriftContext({"score"}, page_alpha=budget.page_alpha("drift", block_s))
        )
        wrong = Cohort((rng.random(rows) < 0.1).astype(np.float64))
        page_alpha = budget.page_alpha("performance", block_s)
        worse = performance.evaluate(wrong, reference, LossMetric("accuracy"), page_alpha=page_alpha)
        pages += any(each.drift_detected for each in found.values()) or bool(worse.significant_drop)
        rows, begun_h, blocks = 0, hour, blocks + 1
    assert blocks >= 89
    assert pages <= 1


def test_at_the_budget_a_shift_is_still_found() -> None:
    rng, budget = np.random.default_rng(16), Budget()
    before = {f"f{at}": drawn(rng, 5_000) for at in range(100)}
    moved = TWENTIETHS * np.linspace(1.5, 0.5, 20)
    found = 0
    for _ in range(20):
        now = {name: drawn(rng, 500) for name in before}
        now["f7"] = Histogram(LAYOUT, (0, 0, 0, *rng.multinomial(500, moved / moved.sum()).tolist(), 0))
        looks = drift.evaluate(before, now, look=DriftContext(page_alpha=budget.page_alpha("drift", 3_600.0)))
        found += bool(looks["f7"].drift_detected)
        assert not any(look.drift_detected for name, look in looks.items() if name != "f7")
    assert found >= 8


def test_days_that_differ_among_themselves_do_not_page_when_the_baseline_says_by_how_much() -> None:
    """Each day's mean strolls by a tenth of the range of a feature; 14 days of baseline, two months, 8 features."""
    rng, alpha = np.random.default_rng(17), Budget().page_alpha("drift", DAY_S)

    def day(rows: int) -> Histogram:
        tilt = 1 + np.linspace(-1, 1, 20) * rng.normal(0, 0.15)
        return Histogram(LAYOUT, (0, 0, 0, *rng.multinomial(rows, tilt / tilt.sum()).tolist(), 0))

    days = {f"f{at}": [day(5_000) for _ in range(14)] for at in range(8)}
    before = {name: each[0].merge(*each[1:]) for name, each in days.items()}
    clustering = {name: Clustering.of(each) for name, each in days.items()}
    pages, naive = 0, 0
    for _ in range(60):
        now = {name: day(5_000) for name in before}
        for look in (DriftContext(page_alpha=alpha), DriftContext(page_alpha=alpha, clustering=clustering)):
            paged = any(each.drift_detected for each in drift.evaluate(before, now, look=look).values())
            pages, naive = (pages + paged, naive) if look.clustering else (pages, naive + paged)
    assert naive > 10
    assert pages <= 1


@pytest.mark.parametrize("kind", TRAFFIC)
@pytest.mark.parametrize(("rows_per_hour", "weeks"), [(50, 3), (200, 3), (200, 6), (5_000, 6)])
def test_real_traffic_at_the_defaults_has_a_page_a_month_at_most(kind: str, rows_per_hour: int, weeks: int) -> None:
    """Drift of four features and performance, with a baseline of so many weeks before; the benchmark has a hundred."""
    found = month(np.random.default_rng(15), TRAFFIC[kind], rows_per_hour, features=4, weeks=weeks)
    assert found.is_seasonal == (weeks == 6)
    assert found.blocks >= 29
    assert found.any <= 1
    if found.is_seasonal and kind != "steady":
        assert found.naive > 10
