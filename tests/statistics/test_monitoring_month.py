"""A month of an endpoint at the defaults, evaluated every hour with all monitors on: how often it pages, and when."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from tidegate.core.captured import Columns
from tidegate.core.monitoring.settings import MonitorSettings
from tidegate.services.monitoring.baselines import BaselineRows, KnownBaseline, make_baseline
from tidegate.services.monitoring.evaluation import Evaluation, WatchedEndpoint
from tidegate.store.monitoring import Block
from tidegate.wire.monitoring.monitoring import BaselineView, MonitorResult
from tidegate.wire.signature import Signature, TensorSpec

pytestmark = pytest.mark.long

FEATURES, DAYS, HOUR_S = 10, 30, 3600.0
SIGNATURE = Signature(
    "matrix", (TensorSpec("input", "FP64", (-1, FEATURES)),), (TensorSpec("prediction", "INT64", (-1,)),), (0, 1)
)
BEGIN = 1_795_824_000.0  # a midnight


@dataclass
class Month:
    """Rows of an hour, made when they are asked for; from `moved_at` on one feature lies elsewhere."""

    rows_per_hour: int
    diurnal: bool
    seed: int
    moved_at: float = float("inf")
    worse_at: float = float("inf")
    made: dict[int, Columns] = field(default_factory=dict)

    def hour(self, number: int) -> Columns:
        if number not in self.made:
            rng = np.random.default_rng([self.seed, number])
            angle = 2 * np.pi * number / 24
            rows = int(self.rows_per_hour * (1 + 0.8 * np.sin(angle))) if self.diurnal else self.rows_per_hour
            x = rng.normal(size=(rows, FEATURES))
            x[:, 0] += np.sin(angle) if self.diurnal else 0.0
            at = BEGIN + number * HOUR_S + np.sort(rng.uniform(0, HOUR_S, rows))
            x[:, 3] += np.where(at >= self.moved_at, 0.5, 0.0)
            said = (x[:, 1] > 0).astype(np.int64)
            right = rng.random(rows) < np.where(at >= self.worse_at, 0.8, 0.9)
            labels = np.where(right, said, 1 - said)
            self.made[number] = {
                "id": np.array([f"{number}-{row}" for row in range(rows)], dtype=object),
                "row": np.zeros(rows, dtype=np.int64),
                "at": at,
                "version": np.full(rows, "1", dtype=object),
                "pinned": np.zeros(rows, dtype=bool),
                "code": np.full(rows, 200),
                "duration_ms": rng.lognormal(1.0, 0.3, rows),
                "input_input": x,
                "output_prediction": said,
                "label": np.array([str(one) for one in labels], dtype=object),
            }
            self.made.pop(number - 60, None)
        return self.made[number]

    def rows(self, table: str, _endpoint: str, since_s: float, until_s: float, *_more: Any) -> Columns:
        if table == "failures":
            return {}
        first, last = int((since_s - BEGIN) // HOUR_S), int((until_s - BEGIN) // HOUR_S)
        hours = [self.hour(number) for number in range(max(0, first), last + 1)]
        whole = {name: np.concatenate([each[name] for each in hours]) for name in hours[0]}
        chosen = (whole["at"] >= since_s) & (whole["at"] < until_s)
        return {name: values[chosen] for name, values in whole.items()}

    def labelled(self, endpoint: str, since_s: float, until_s: float, *_more: Any) -> Columns:
        return self.rows("predictions", endpoint, since_s, until_s)

    def baseline(self) -> KnownBaseline:
        """Of validation data: rows of many hours, without their times."""
        fine = replace(self, seed=self.seed + 1, moved_at=float("inf"), worse_at=float("inf"), made={})
        rows = fine.rows("predictions", "e", BEGIN, BEGIN + 10 * 24 * HOUR_S)
        chosen = np.random.default_rng(self.seed).choice(len(rows["at"]), 5000, replace=False)
        given = BaselineRows(
            {"input": rows["input_input"][chosen]},
            {"prediction": rows["output_prediction"][chosen]},
            rows["label"][chosen],
        )
        made = make_baseline(SIGNATURE, given)
        view = BaselineView("m", "1", "validation", 5000, made.labelled, 1.0, [])
        return KnownBaseline(made.baseline, made.roles, made.truth, view)


@dataclass
class Kept:
    known_one: KnownBaseline

    def known(self, _model: str, _number: str) -> KnownBaseline:
        return self.known_one


def pages(month: Month, days: int = DAYS) -> list[MonitorResult]:
    """All alerts of so many days."""
    settings = MonitorSettings(every_s=HOUR_S, label_delay_s=HOUR_S)
    blocks: dict[tuple[str, str], Block] = {}
    baselines: Any = Kept(month.baseline())
    found: list[MonitorResult] = []
    for number in range(1, 24 * days + 1):
        now = BEGIN + number * HOUR_S
        seen = WatchedEndpoint("e", "u", "m", BEGIN, settings, {"1": SIGNATURE}, blocks)
        evaluation = Evaluation(seen, month, baselines, now)
        evaluation.run()
        blocks = {**blocks, **evaluation.blocks}
        found += [one for one in evaluation.results if one.state == "alert"]
    return found


@pytest.mark.parametrize(("rows_per_hour", "diurnal"), [(50, False), (200, False), (200, True)])
def test_a_month_without_drift_pages_at_most_once(rows_per_hour: int, diurnal: bool) -> None:
    found = [pages(Month(rows_per_hour, diurnal, seed)) for seed in (11, 12)]
    assert sum(map(len, found)) <= 1, [(one.monitor, one.feature, one.verdict) for each in found for one in each]


def test_what_moves_pages_within_two_days_and_what_gets_worse_too() -> None:
    moved = BEGIN + 5 * 24 * HOUR_S
    found = pages(Month(200, True, 13, moved_at=moved, worse_at=moved), days=8)
    drift = [one for one in found if one.monitor == "feature_drift"]
    assert {one.feature for one in drift} == {"feature_3"}
    worse = [one for one in found if one.monitor == "performance"]
    for alerts in (drift, worse):
        assert moved < min(one.evaluated_at for one in alerts) <= moved + 48 * HOUR_S
