"""What is kept between looks at an experiment: never another result, and fewer rows read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.capture_bed import Gateway
from support.experiment_calls import NAME, START_S, call, failure, feedback
from tidegate.capture.compact import compact
from tidegate.capture.files import LocalFiles
from tidegate.capture.store import CaptureStore
from tidegate.capture.units.gather import units
from tidegate.capture.units.settled import SettledCalls
from tidegate.wire.experiments.experiments import Metric
from tidegate.wire.experiments.units import UnitQuery, UnitRows

DAY_S = 86_400.0
METRICS = (
    Metric("bought", "increase", "proportion", window_s=DAY_S),
    Metric("latency", "decrease", "quantile", source="latency"),
    Metric("errors", "decrease", window_s=DAY_S, source="errors"),
)
FULL_DAYS = 4


class Days:
    """A gateway's journal, compacted up to the last whole day, and looks at it with and without what is kept."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.journal, self.capture = folder / "journal", folder / "capture"
        self.gateway = Gateway(self.journal)
        self.store = CaptureStore(self.capture, self.journal, lambda: START_S + 50 * DAY_S)
        self.settled = SettledCalls(self.store)
        self.read: list[tuple[str, float]] = []
        rows = CaptureStore.rows

        def noted(store: CaptureStore, table: Any, endpoint: str, since_s: float, *more: Any, **named: Any) -> Any:
            self.read.append((table, since_s))
            return rows(store, table, endpoint, since_s, *more, **named)

        monkeypatch.setattr(CaptureStore, "rows", noted)

    def write(self, *records: Any, at_s: float, compacted: bool = True) -> None:
        for record in records:
            self.gateway.write(record, at_s)
        self.gateway.seal()
        if compacted:
            compact(self.journal, self.capture, lambda: START_S + 50 * DAY_S)

    def day(self, number: int, seed: int = 0) -> None:
        rng = np.random.default_rng((number, seed))
        at = START_S + (number + np.sort(rng.random(30))) * DAY_S
        arms = [("control", "treatment")[int(unit) % 2] for unit in rng.integers(0, 40, 30)]
        keys = [f"unit-{arm}-{unit}" for arm, unit in zip(arms, rng.integers(0, 20, 30), strict=True)]
        keys[7] = "unit-both"
        records: list[Any] = [
            (failure if rng.random() < 0.2 else call)(key, float(when), arm, 1 if number < 2 else 2)
            for key, when, arm in zip(keys, at, arms, strict=True)
        ]
        records += [feedback(float(at[-1]) + 9, key=key, metrics={"bought": 1.0}) for key in keys[:9]]
        self.write(*records, call(None, float(at[3])), at_s=float(at[-1]))

    def look(self, days: float) -> tuple[UnitRows, list[float]]:
        """With what is kept, which must be as without; and from when on calls were read for it."""
        query = UnitQuery(
            "churn", ("control", "treatment"), {one.name: one for one in METRICS}, START_S, START_S + days * DAY_S, NAME
        )
        self.read.clear()
        found = units(self.store, query, self.settled)
        begins = [round((since_s - START_S) / DAY_S, 3) for table, since_s in self.read if table == "predictions"]
        assert_same(found, units(self.store, query))
        return found, begins


def assert_same(one: UnitRows, other: UnitRows) -> None:
    np.testing.assert_equal(astuple(one), astuple(other))


@pytest.fixture
def days(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Days:
    made = Days(tmp_path, monkeypatch)
    for number in range(FULL_DAYS):
        made.day(number)
    return made


def test_days_that_are_over_are_read_once(days: Days) -> None:
    found, begins = days.look(3.5)
    assert (len(found.arm) > 10, found.several >= 1, found.ignored.without_key) == (True, True, 4)
    assert begins == [0.0, 1.0, 2.0, 3.0]
    assert days.look(3.9)[1] == [2.0, 3.0], "of two days nothing is read again: the third is not over for long enough"
    assert days.look(4.2)[1] == [2.0, 3.0, 4.0], "nor is anything of them when a third is over"
    assert days.look(4.3)[1] == [3.0, 4.0]
    assert days.look(2.5)[1] == [0.0, 1.0, 2.0], "a clock that was set back"


def rewritten(days: Days) -> None:
    """As where a person is forgotten."""
    next(iter(sorted(days.capture.glob("predictions/*/*/*.parquet")))).unlink()


def late(days: Days) -> None:
    days.write(call("unit-late", START_S + 500), at_s=START_S + 3 * DAY_S)


def rewritten_to_the_byte(days: Days) -> None:
    """As where a person is forgotten and the file comes out as long as it was: its time stays as it was, too."""
    path = next(iter(sorted(days.capture.glob("predictions/*/*/*.parquet"))))
    found, name = path.stat(), path.relative_to(days.capture).as_posix()
    LocalFiles(days.capture).write(name, lambda file: file.write(b"0" * found.st_size), found.st_mtime)
    assert (path.stat().st_size, path.stat().st_mtime) == (found.st_size, found.st_mtime)


@pytest.mark.parametrize("changed", [rewritten, rewritten_to_the_byte, late])
def test_days_of_which_rows_came_or_went_are_read_again(days: Days, changed: Callable[[Days], None]) -> None:
    before, _ = days.look(3.5)
    assert days.look(3.5)[1] == [2.0, 3.0]
    changed(days)
    after, begins = days.look(3.5)
    assert begins[0] == 0.0
    assert after.exposed_at.tolist() != before.exposed_at.tolist()


def test_while_the_journal_may_have_calls_of_a_day_it_is_read_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = Days(tmp_path, monkeypatch)
    days.day(0)
    days.day(1)
    days.write(call("unit-late", START_S + 1.9 * DAY_S), at_s=START_S + 2.1 * DAY_S, compacted=False)
    for _ in range(2):
        assert days.look(3.5)[1] == [0.0, 1.0, 2.0, 3.0]
    days.write(call("unit-new", START_S + 3 * DAY_S), at_s=START_S + 3 * DAY_S)
    assert days.look(3.5)[1] == [0.0, 1.0, 2.0, 3.0]
    assert days.look(3.5)[1] == [2.0, 3.0]


def test_feedback_that_names_a_call_has_all_of_them_read(days: Days) -> None:
    days.write(call("unit-x", START_S + 5, id="named"), at_s=START_S + 3 * DAY_S)
    days.look(3.5)
    told = feedback(START_S + 3 * DAY_S, id="named", metrics={"bought": 1.0})
    days.write(told, at_s=START_S + 3 * DAY_S)
    _, begins = days.look(3.5)
    assert begins[0] == 0.0


def test_of_more_than_may_be_kept_nothing_is(days: Days) -> None:
    found, _ = days.look(3.5)
    assert days.look(3.5)[1][0] == 2.0
    numbers_of_latency_and_errors = 2 * 4 * 8
    days.settled = SettledCalls(days.store, bytes_max=numbers_of_latency_and_errors * len(found.arm) // 2)
    days.look(3.5)
    assert days.look(3.5)[1][0] == 0.0
