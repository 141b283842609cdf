"""Evaluations on a store and a registry that are real, and captured rows that a test makes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from support.control import ME, SIGNATURE, add_version, container_at
from tidegate.core.captured import Columns
from tidegate.errors import InvalidArgument, NotLeader, UnknownEndpoint
from tidegate.services.monitoring import production
from tidegate.services.monitoring.baselines import BaselineRows, Origin, make_baseline
from tidegate.services.monitoring.evaluation import LAG_S
from tidegate.services.monitoring.monitoring import Monitoring
from tidegate.services.monitoring.replays import Replays
from tidegate.services.reading.lookup import version_or_raise
from tidegate.wire import rest
from tidegate.wire.capture.capture import CompactorState, capture_view
from tidegate.wire.decoding import convert
from tidegate.wire.monitoring import alerts
from tidegate.wire.monitoring.monitoring import MonitorRequest, MonitorResult
from tidegate.wire.signature import Signature, TensorSpec
from tidegate.wiring import Container

DAY_S = 86_400.0


def scores_of(first: Any) -> Any:
    """What the model is sure of: all the more, the further a row's first value is from 0."""
    score = 1 / (1 + np.exp(-3 * np.asarray(first)))
    return np.stack([1 - score, score], axis=-1)


def _arrays(values: Sequence[Any]) -> Any:
    found = np.empty(len(values), dtype=object)
    found[:] = [np.array(value) for value in values]
    return found


@dataclass
class Captured:
    """Captured rows of one endpoint as the port gives them; `labels` by place."""

    at: list[float] = field(default_factory=list)
    rows: list[tuple[float, float]] = field(default_factory=list)
    said: list[int] = field(default_factory=list)
    labels: dict[int, str] = field(default_factory=dict)
    pinned: set[int] = field(default_factory=set)
    failures: list[tuple[float, int, int]] = field(default_factory=list)
    reads: list[tuple[float, float]] = field(default_factory=list)
    labels_read: list[tuple[float, float]] = field(default_factory=list)
    sample_rate: float = 1.0
    labelled_at: float = 0.0

    def predict(self, at: float, rows: Any, said: Sequence[int] | None = None) -> range:
        """A row every millisecond from then on; their places."""
        first = len(self.at)
        for place, row in enumerate(np.asarray(rows, dtype=float)):
            self.at.append(at + place / 1000)
            self.rows.append((row[0], row[1]))
            self.said.append(int(row[0] > 0) if said is None else said[place])
        return range(first, len(self.at))

    def rows_(self, since_s: float, until_s: float) -> Columns:
        places = [place for place, at in enumerate(self.at) if since_s <= at < until_s]
        return {
            "id": np.array([f"r{place}" for place in places], dtype=object),
            "row": np.zeros(len(places), dtype=np.int64),
            "at": np.array([self.at[place] for place in places]),
            "version": np.array(["1"] * len(places), dtype=object),
            "pinned": np.array([place in self.pinned for place in places]),
            "code": np.full(len(places), 200),
            "duration_ms": np.full(len(places), 5.0),
            "sample_rate": np.full(len(places), self.sample_rate),
            "input_input": _arrays([self.rows[place] for place in places]),
            "output_prediction": np.array([self.said[place] for place in places], dtype=np.int64),
            "output_probabilities": _arrays([scores_of(self.rows[place][0]) for place in places]),
            "label": np.array([self.labels.get(place) for place in places], dtype=object),
            "labelled_at": np.array([self.labelled_at if place in self.labels else np.nan for place in places]),
        }


@dataclass
class Port:
    captured: Captured

    def rows(self, table: str, endpoint: str, since_s: float, until_s: float, *_more: Any) -> Columns:
        assert endpoint == "churn"
        if table == "failures":
            found = [one for one in self.captured.failures if since_s <= one[0] < until_s]
            at, code, calls = (np.array(column) for column in zip(*found, strict=True)) if found else ([], [], [])
            return {"at": np.array(at), "code": np.array(code), "calls": np.array(calls)}
        self.captured.reads.append((since_s, until_s))
        return self.captured.rows_(since_s, until_s)

    def labelled(self, _endpoint: str, since_s: float, until_s: float, *_more: Any) -> Columns:
        self.captured.labels_read.append((since_s, until_s))
        return self.captured.rows_(since_s, until_s)


@dataclass
class Bench:
    container: Container
    captured: Captured
    monitoring: Monitoring
    begin: float
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(5))

    def normal(self, rows: int, shift: float = 0.0) -> Any:
        return self.rng.normal(size=(rows, 2)) + np.array([0.0, shift])

    def baseline(self, rows: int = 4_000) -> None:
        inputs = self.normal(rows)
        truth = (inputs[:, 0] > 0).astype(np.int64)
        labels = np.where(self.rng.random(rows) < 0.9, truth, 1 - truth)
        version = self.container.models.version("churn", "1")
        made = make_baseline(
            convert(version.signature, Signature), BaselineRows({"input": inputs}, {"prediction": truth}, labels)
        )
        self.monitoring.baselines.keep("churn", "1", made, Origin("validation"), ME)

    def look(self, at: float, *, asked: bool = False) -> list[MonitorResult]:
        return self.monitoring.evaluate("churn", at, asked=asked)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    container = container_at(tmp_path / "data")
    add_version(container, "churn", "1")
    container.endpoints.deploy("churn", rest.DeployRequest("churn", "1"), ME)
    captured = Captured()
    monitoring = replace(container.monitoring, capture=Port(captured))
    begin = container.endpoints.get("churn").created_at
    monitoring.configure("churn", MonitorRequest(block_s=0.0), ME)
    yield Bench(container, captured, monitoring, begin)
    container.close()


def traffic(found: list[MonitorResult]) -> MonitorResult:
    (only,) = [one for one in found if one.monitor == "traffic"]
    return only


def drift(found: list[MonitorResult]) -> dict[str | None, bool | None]:
    return {one.feature: one.drift_detected for one in found if one.monitor == "feature_drift"}


def test_a_block_is_judged_when_it_is_full_and_once(bench: Bench) -> None:
    bench.baseline()
    bench.captured.predict(bench.begin + 10, bench.normal(499, 1.0))
    early = bench.look(bench.begin + 60)
    assert drift(early) == {}
    bench.captured.predict(bench.begin + 70, bench.normal(10, 1.0))
    full = bench.look(bench.begin + 120)
    assert drift(full) == {"feature_0": False, "feature_1": True}
    moved = next(one for one in full if one.feature == "feature_1" and one.monitor == "feature_drift")
    assert (moved.n, moved.state, moved.severity) == (509, "alert", "high")
    assert moved.histograms is not None
    assert sum(moved.histograms.current) == 509
    assert drift(bench.look(bench.begin + 180)) == {}
    again = replace(bench.monitoring)  # another process: all that it knows is in the store
    assert drift(again.evaluate("churn", bench.begin + 240)) == {}
    assert again.get("churn").blocks[0].since == bench.begin + 120 - LAG_S


def test_drift_is_judged_over_whole_days_and_what_is_odd_before(bench: Bench) -> None:
    bench.baseline()
    bench.monitoring.configure("churn", MonitorRequest(block_s=DAY_S), ME)
    for hour in range(1, 25):
        rows = bench.normal(40, 0.5)
        rows[::4, 0] = np.nan
        bench.captured.predict(bench.begin + 3600 * hour - 60, rows)
        found = bench.look(bench.begin + 3600 * hour)
        if hour < 24:
            assert drift(found) == {}
        told = {one.feature: one.state for one in found if one.monitor == "data_quality" and one.metric is None}
        assert told == ({"feature_0": "alert", "feature_1": "ok", "prediction": "ok"} if hour == 13 else {})
    day = bench.look(bench.begin + DAY_S + 60)
    assert drift(day) == {"feature_0": True, "feature_1": True}
    assert {one.n for one in day if one.monitor == "feature_drift"} == {24 * 40}
    reads = [until - since for since, until in bench.captured.reads]
    assert max(reads) < 3700, "each row is read when it is new, and a day is never read at once"


def test_rows_that_may_still_be_on_their_way_are_left_to_the_next_look(bench: Bench) -> None:
    bench.baseline()
    bench.captured.predict(bench.begin + 10, bench.normal(600))
    assert drift(bench.look(bench.begin + 10 + LAG_S / 2)) == {}
    assert drift(bench.look(bench.begin + 20 + LAG_S)) == {"feature_0": False, "feature_1": False}


def test_asking_judges_an_open_block_and_ends_it_where_it_has_rows_enough(bench: Bench) -> None:
    bench.baseline()
    bench.captured.predict(bench.begin + 1, bench.normal(60))
    assert drift(bench.look(bench.begin + 2, asked=True)) == {"feature_0": False, "feature_1": False}
    assert bench.monitoring.get("churn").blocks[0].since == bench.begin
    bench.captured.predict(bench.begin + 3, bench.normal(60))
    assert [one.n for one in bench.look(bench.begin + 4, asked=True) if one.monitor == "prediction_drift"] == [120]
    bench.captured.predict(bench.begin + 5, bench.normal(300, 2.0))
    found = bench.look(bench.begin + 6, asked=True)
    assert drift(found) == {"feature_0": False, "feature_1": True}
    shown = bench.look(bench.begin + 7, asked=True)
    assert drift(shown) == {"feature_0": False, "feature_1": True}
    kept = bench.monitoring.results("churn", 100, None, None, ("feature_drift", "feature_1")).results
    assert [one.n for one in kept] == [300, 120, 60], "what is shown again is not kept again"


def test_a_look_so_soon_after_another_calls_nothing_fine_that_may_have_moved(bench: Bench) -> None:
    bench.baseline()
    bench.captured.predict(bench.begin + 1, bench.normal(300, 0.65))
    assert drift(bench.look(bench.begin + 2, asked=True))["feature_1"]
    bench.captured.predict(bench.begin + 3, bench.normal(120, 0.57))
    soon = {one.feature: one for one in bench.look(bench.begin + 4, asked=True) if one.monitor == "feature_drift"}
    assert (soon["feature_1"].state, soon["feature_1"].drift_detected) == ("unknown", None)
    assert "so soon after the look before" in soon["feature_1"].verdict
    assert soon["feature_0"].state != "alert"


def test_values_out_of_range_and_a_column_that_is_stuck_are_told(bench: Bench) -> None:
    bench.baseline()
    rows = bench.normal(300)
    rows[:, 0] = 0.25
    rows[::2, 1] = 50.0
    bench.captured.predict(bench.begin + 1, rows)
    found = bench.look(bench.begin + 2, asked=True)
    told = {(one.feature, one.metric): one.verdict for one in found if one.monitor == "data_quality" and one.severity}
    twice = (None, "duplicates")  # half of the rows differ in nothing by then
    assert set(told) - {twice} == {("feature_0", None), ("feature_1", "range"), ("prediction", None)}
    assert "same value" in told["feature_0", None]
    assert "above the reference's range rose from 0.00% to 50.00%" in told["feature_1", "range"]


def test_what_was_pinned_to_a_version_is_no_traffic(bench: Bench) -> None:
    bench.baseline()
    bench.captured.pinned.update(bench.captured.predict(bench.begin + 1, bench.normal(600, 3.0)))
    bench.captured.predict(bench.begin + 2, bench.normal(200))
    assert drift(bench.look(bench.begin + 3, asked=True)) == {"feature_0": False, "feature_1": False}


def test_a_day_without_rows_says_nothing(bench: Bench) -> None:
    bench.baseline()
    found = bench.look(bench.begin + 2 * DAY_S)
    assert {one.state for one in found} == {"unknown"}
    asked = bench.look(bench.begin + 2 * DAY_S + 1, asked=True)
    assert {one.state for one in asked} == {"unknown"}
    assert any(one.verdict == "unknown: version 1 has answered no request since then" for one in asked)


def test_labels_decide_once_they_are_due(bench: Bench) -> None:
    bench.baseline()
    bench.monitoring.configure("churn", MonitorRequest(label_delay_s=3600.0), ME)
    rows = bench.normal(600)
    places = bench.captured.predict(bench.begin + 1, rows)
    wrong = {place: str(1 - bench.captured.said[place]) for place in places}
    bench.captured.labels.update(wrong)
    young = [one for one in bench.look(bench.begin + 60, asked=True) if one.metric == "accuracy"]
    assert [one.state for one in young] == ["unknown"]
    (due,) = [one for one in bench.look(bench.begin + 3700) if one.metric == "accuracy"]
    assert (due.significant_drop, due.current_accuracy, due.n) == (True, 0.0, 600)
    assert due.baseline_accuracy == pytest.approx(0.9, abs=0.02)
    assert [one for one in bench.look(bench.begin + 4100) if one.metric == "accuracy"] == []


def test_selective_labels_are_counted_and_never_averaged(bench: Bench) -> None:
    bench.baseline()
    assert bench.monitoring.configure("churn", MonitorRequest(selective_labels=True), ME).selective_labels
    places = bench.captured.predict(bench.begin + 1, bench.normal(600))
    bench.captured.labels.update({place: str(1 - bench.captured.said[place]) for place in places[:500]})
    found = bench.look(bench.begin + 60, asked=True)
    performance = [one for one in found if one.monitor == "performance"]
    assert [(one.metric, one.state, one.value, one.current_accuracy) for one in performance] == [
        ("accuracy", "unknown", None, None)
    ]
    assert "selective" in performance[0].verdict
    (coverage,) = [one for one in found if one.monitor == "label_coverage"]
    assert (coverage.n, coverage.n_labelled) == (600, 500)
    bench.monitoring.configure("churn", MonitorRequest(selective_labels=False), ME)
    again = [one for one in bench.look(bench.begin + 70, asked=True) if one.metric == "accuracy"]
    assert [one.current_accuracy for one in again] == [0.0]


def test_a_class_that_is_no_class_counts_as_wrong_and_a_list_as_no_label(bench: Bench) -> None:
    bench.baseline()
    places = list(bench.captured.predict(bench.begin + 1, bench.normal(300)))
    bench.captured.labels |= dict.fromkeys(places[:200], "7") | dict.fromkeys(places[200:], "[1, 2]")
    (found,) = [one for one in bench.look(bench.begin + 2, asked=True) if one.metric == "accuracy"]
    assert (found.n_labelled, found.value) == (200, 0.0)
    assert found.coverage == pytest.approx(2 / 3)


def test_without_a_baseline_production_becomes_one_after_a_day(bench: Bench) -> None:
    for hour in range(26):
        bench.captured.predict(bench.begin + 3600 * hour, bench.normal(50))
    early = bench.look(bench.begin + 3600, asked=True)
    assert any("has no baseline" in one.verdict for one in early)
    bench.look(bench.begin + 25 * 3600)
    made = bench.monitoring.baselines.get("churn", "1")
    assert (made.source, made.endpoint, made.labelled) == ("production", "churn", 0)
    assert made.rows == 1250
    bench.captured.predict(bench.begin + 26 * 3600, bench.normal(600, 2.0))
    assert drift(bench.look(bench.begin + 27 * 3600)) == {"feature_0": False, "feature_1": True}


def test_a_baseline_of_busy_production_is_of_its_whole_day(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(production, "ROWS_MAX", 700)
    for hour in range(26):
        bench.captured.predict(bench.begin + 3600 * hour, bench.normal(100, hour / 5))
    bench.look(bench.begin + 25 * 3600)
    made = bench.monitoring.baselines.get("churn", "1")
    assert (made.rows, made.since) == (700, bench.begin)
    (name,) = bench.monitoring.baselines.files.names(bench.begin + DAY_S * 365)
    sample = bench.monitoring.baselines.files.sample(name)["feature_1"]
    assert sample.mean() == pytest.approx(2.4, abs=0.3), "its first rows have 0.6"


def test_a_thinned_sample_takes_each_so_manieth_row(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(production, "ROWS_MAX", 100)
    rows = np.arange(1_003)
    for first in range(0, 1_003, 59):
        some = rows[first : first + 59]
        bench.captured.predict(bench.begin + 601 * first / 59, np.stack([some, some], axis=1))
    port: Any = Port(bench.captured)
    found = production.Production(port, "churn", "1", bench.begin, bench.begin + DAY_S).sample()
    taken = np.array([row[0] for row in found["input_input"]])
    assert (taken.size, taken[0]) == (100, 0)
    assert set(np.diff(taken).tolist()) <= {8, 16}
    assert taken[-1] > 990


def test_labels_that_came_later_are_not_known_at_a_moment_that_is_over(bench: Bench) -> None:
    bench.baseline()
    places = bench.captured.predict(bench.begin + 1, bench.normal(600))
    bench.captured.labels.update({place: str(1 - bench.captured.said[place]) for place in places})
    bench.captured.labelled_at = bench.begin + DAY_S
    early = [one for one in bench.look(bench.begin + 7_200) if one.monitor == "label_coverage"]
    assert [one.n_labelled for one in early] in ([], [0])
    late = [one for one in bench.look(bench.begin + DAY_S + 60) if one.monitor == "label_coverage"]
    assert [one.n_labelled for one in late] == [600]


def test_failing_requests_alert_and_few_of_them_say_nothing(bench: Bench) -> None:
    bench.captured.failures.append((bench.begin + 1, 500, 5))
    (few,) = [one for one in bench.look(bench.begin + 300, asked=True) if one.monitor == "errors"]
    assert few.state == "unknown"
    bench.captured.failures.append((bench.begin + 310, 503, 400))
    bench.captured.failures.append((bench.begin + 311, 429, 400))
    (many,) = [one for one in bench.look(bench.begin + 700) if one.monitor == "errors"]
    assert (many.state, many.severity, many.n) == ("alert", "critical", 800)
    assert many.value == 0.5


def test_what_is_lost_of_captured_rows_alerts_once(bench: Bench) -> None:
    state = CompactorState(1, bench.begin)

    def look(at: float, dropped: int = 0, **lost: Any) -> MonitorResult:
        view = capture_view(msgspec.structs.replace(state, at_s=at, **lost), at, dropped)
        monitoring = replace(bench.monitoring, recording=lambda: view)
        (found,) = [one for one in monitoring.evaluate("churn", at, asked=True) if one.monitor == "capture"]
        return found

    assert look(bench.begin + 1, lost_bytes=7).state == "ok", "what was lost before anybody looked"
    assert look(bench.begin + 2, lost_bytes=7).state == "ok"
    assert look(bench.begin + 3, lost_bytes=9).severity == "medium"
    assert look(bench.begin + 4, lost_bytes=9).state == "ok"
    assert look(bench.begin + 5, trouble="the disk is full").severity == "high"
    assert look(bench.begin + 6, dropped=2, lost_bytes=9).state == "alert", "gateways could not write it"
    assert look(bench.begin + 7, dropped=2, lost_bytes=9).state == "ok"


def test_a_loss_alerts_at_one_endpoint_and_is_found_at_all(bench: Bench) -> None:
    bench.container.endpoints.deploy("aardvark", rest.DeployRequest("churn", "1"), ME)
    state = CompactorState(1, bench.begin, trouble="the disk is full")
    observed: list[tuple[str, str]] = []

    def observe(_tx: Any, endpoint: str, results: Any, _now: float) -> None:
        observed.extend((endpoint, one.state) for one in results if one.monitor == "capture")

    view = capture_view(msgspec.structs.replace(state, at_s=bench.begin), bench.begin)
    monitoring = replace(bench.monitoring, recording=lambda: view, observe=observe)
    (found,) = [one for one in monitoring.evaluate("churn", bench.begin + 1, asked=True) if one.monitor == "capture"]
    assert (found.state, observed) == ("alert", [("churn", "ok")])
    monitoring.configure("aardvark", MonitorRequest(on=False), ME)
    monitoring.evaluate("churn", bench.begin + 2, asked=True)
    assert observed[1:] == [("churn", "alert")]


def test_traffic_that_stops_alerts_where_it_never_did(bench: Bench) -> None:
    bench.baseline()
    for look in range(14):
        at = bench.begin + 300 * look
        bench.captured.predict(at + 100, bench.normal(40))
        bench.look(at + 300)
    at = bench.begin + 14 * 300
    assert traffic(bench.look(at + 2, asked=True)).state == "unknown", "of a few seconds without a request"
    stopped = traffic(bench.look(at + 300))
    assert (stopped.state, stopped.n) == ("alert", 0)


def test_traffic_that_comes_in_bursts_does_not_stop(bench: Bench) -> None:
    for look in range(30):
        at = bench.begin + 300 * look
        if look % 2:
            bench.captured.predict(at + 100, bench.normal(40))
        found = traffic(bench.look(at + 300))
        assert found.state == ("ok" if look % 2 else "unknown")


def test_a_sample_of_predictions_does_not_make_the_failures_more(bench: Bench) -> None:
    bench.captured.sample_rate = 0.1
    bench.captured.predict(bench.begin + 1, bench.normal(100))
    bench.captured.failures.append((bench.begin + 2, 500, 6))
    (found,) = [one for one in bench.look(bench.begin + 300, asked=True) if one.monitor == "errors"]
    assert (found.state, found.n) == ("ok", 1006)
    assert found.value == pytest.approx(6 / 1006)
    bench.captured.failures.append((bench.begin + 310, 500, 600))
    (many,) = [one for one in bench.look(bench.begin + 600) if one.monitor == "errors"]
    assert (many.state, many.severity) == ("alert", "critical")


def test_rows_whose_labels_are_not_due_are_not_read_at_every_look(bench: Bench) -> None:
    bench.baseline()
    bench.monitoring.configure("churn", MonitorRequest(label_delay_s=DAY_S), ME)
    for hour in range(1, 28):
        bench.captured.predict(bench.begin + 3600 * hour - 100, bench.normal(4))
        bench.look(bench.begin + 3600 * hour)
    spans = [until - since for since, until in bench.captured.labels_read]
    assert spans
    assert max(spans) <= 4 * 3600


def test_a_row_whose_label_is_due_is_judged_in_one_block(bench: Bench) -> None:
    bench.baseline()
    bench.monitoring.configure("churn", MonitorRequest(label_delay_s=3600.0), ME)
    first = bench.captured.predict(bench.begin + 1, bench.normal(600))
    second = bench.captured.predict(bench.begin + 100, bench.normal(600))
    bench.captured.labels.update({place: str(bench.captured.said[place]) for place in (*first, *second)})
    looks = [bench.begin + 3600 + 100 + LAG_S / 2, bench.begin + 3600 + 200]
    judged = [one.n for at in looks for one in bench.look(at) if one.metric == "accuracy"]
    assert judged == [600, 600]


def test_what_may_not_be_set_is_refused_and_named(bench: Bench) -> None:
    for wrong, named in (
        ({"every_s": 0.5}, "every_s"),
        ({"window_s": float("inf")}, "window_s"),
        ({"timezone": "Mars/Olympus"}, "time zone"),
        ({"timezone": "../etc/passwd"}, "time zone"),
        ({"label_delay_s": -1.0}, "label_delay_s"),
    ):
        with pytest.raises(InvalidArgument, match=named):
            bench.monitoring.configure("churn", MonitorRequest(**wrong), ME)
    with pytest.raises(UnknownEndpoint):
        bench.monitoring.configure("nobody", MonitorRequest(every_s=60.0), ME)
    assert bench.monitoring.get("churn").every_s == 300


def test_the_loop_evaluates_what_is_due_and_nothing_that_is_off(bench: Bench) -> None:
    assert bench.monitoring.due(bench.begin)[0] == ["churn"]
    bench.look(bench.begin + 100)
    names, wait_s = bench.monitoring.due(bench.begin + 200)
    assert names == []
    assert wait_s == pytest.approx(200)
    assert bench.monitoring.due(bench.begin + 400)[0] == ["churn"]
    bench.monitoring.configure("churn", MonitorRequest(on=False), ME)
    assert bench.monitoring.due(bench.begin + 400) == ([], float("inf"))


def test_a_former_leader_keeps_nothing(bench: Bench) -> None:
    bench.baseline()
    bench.captured.predict(bench.begin + 10, bench.normal(600, 2.0))

    def late(_tx: Any) -> None:
        raise NotLeader("another control plane leads")

    late_one = replace(bench.monitoring, fenced=bench.container.store.fenced(late))
    with pytest.raises(NotLeader):
        late_one.evaluate("churn", bench.begin + 60)
    assert bench.monitoring.results("churn", 10).results == []
    assert drift(bench.look(bench.begin + 61))["feature_1"] is True


def test_results_have_pages_and_old_ones_are_forgotten(bench: Bench) -> None:
    bench.baseline()
    bench.captured.predict(bench.begin + 1, bench.normal(200))
    found = bench.look(bench.begin + 2, asked=True)
    first = bench.monitoring.results("churn", 3)
    rest_of = bench.monitoring.results("churn", 1000, first.next)
    assert len(first.results) == 3
    assert [*first.results, *rest_of.results] == list(reversed(found))
    assert rest_of.next is None
    with pytest.raises(InvalidArgument, match="cursor"):
        bench.monitoring.results("churn", 3, "'; DROP TABLE")
    bench.monitoring.forget_old(2)
    assert len(bench.monitoring.results("churn", 1000).results) == 2


def test_a_baseline_goes_with_its_version(bench: Bench) -> None:
    add_version(bench.container, "churn", "2")
    version = bench.container.models.version("churn", "2")
    made = make_baseline(convert(version.signature, Signature), BaselineRows({"input": bench.normal(500)}, {}))
    baselines = bench.monitoring.baselines
    baselines.keep("churn", "2", made, Origin("file"), ME)
    assert baselines.known("churn", "2") is not None
    bench.container.registry.delete_version = lambda *_given: None  # type: ignore[method-assign]
    bench.container.models.delete_version("churn", "2", ME)
    assert baselines.known("churn", "2") is None


def test_rules_are_replayed_over_captured_rows_as_they_would_have_been_evaluated(bench: Bench) -> None:
    """Rows of four days, of which the last two drifted; monitors never looked at them, as when they are imported."""
    bench.baseline()
    for hour in range(96):
        bench.captured.predict(bench.begin - (96 - hour) * 3600 + 60, bench.normal(100, 1.0 if hour >= 48 else 0.0))
    bench.monitoring.configure("churn", MonitorRequest(every_s=7200.0), ME)
    replays = Replays(replace(bench.monitoring, clock=lambda: bench.begin))

    def drifted(**more: Any) -> list[alerts.ReplayedAlert]:
        found = replays.run(alerts.ReplayRequest("churn", 4 * DAY_S, **more))
        assert (found.evaluations, found.until) == (48, bench.begin)
        return [one for one in found.alerts if one.type == "data_drift"]

    sent = drifted()
    hours = (sent[0].at - (bench.begin - 2 * DAY_S)) / 3600
    assert (sent[0].status, sent[0].version) == ("firing", "1")
    assert 0 < hours < 24, "once a block of rows that drifted is complete, and no fault of the column explains it"
    assert {one.status for one in sent} == {"firing"}, "it goes on"
    assert drifted(rules=[alerts.AlertRule("drift", threshold=0.9)]) == []
    assert bench.monitoring.results("churn", 10).results == [], "nothing is kept"


def test_a_replay_says_how_far_it_is_and_what_would_have_been_sent_so_far(bench: Bench) -> None:
    bench.baseline()
    for hour in range(96):
        bench.captured.predict(bench.begin - (96 - hour) * 3600 + 60, bench.normal(100, 1.0))
    bench.monitoring.configure("churn", MonitorRequest(every_s=7200.0), ME)
    seen: list[alerts.ReplayProgress] = []

    def ticks() -> float:
        seen.extend(filter(None, [replays.under_way()]))
        return 0.0

    replays = Replays(replace(bench.monitoring, clock=lambda: bench.begin), ticks)
    assert replays.under_way() is None
    found = replays.run(alerts.ReplayRequest("churn", 4 * DAY_S))
    assert {(one.endpoint, one.since, one.until, one.evaluations_total) for one in seen} == {
        ("churn", bench.begin - 4 * DAY_S, bench.begin, 48)
    }
    assert [one.evaluations for one in seen] == [*range(49)], "asked before the first, and after each"
    assert [one.at for one in seen] == [bench.begin - 4 * DAY_S + 7200.0 * step for step in range(49)]
    assert 0 < seen[-1].messages <= len(found.alerts)
    assert replays.under_way() is None, "it has ended"


def test_a_replay_that_runs_out_of_time_says_until_when_it_came(bench: Bench) -> None:
    bench.baseline()
    bench.captured.predict(bench.begin - 60, bench.normal(100))
    times = iter([0.0, 1.0, 2.0, 1_000.0])
    replays = Replays(replace(bench.monitoring, clock=lambda: bench.begin), lambda: next(times))
    found = replays.run(alerts.ReplayRequest("churn", 3_600.0))
    assert (found.evaluations, found.until) == (3, found.since + 3 * 300.0)


def test_rules_are_replayed_over_what_monitors_found(bench: Bench) -> None:
    bench.baseline()
    for day in range(3):
        bench.captured.predict(bench.begin + day * DAY_S + 60, bench.normal(600, 1.0))
        bench.look(bench.begin + day * DAY_S + 3600)
    replays = Replays(replace(bench.monitoring, clock=lambda: bench.begin + 3 * DAY_S))
    found = replays.run(alerts.ReplayRequest("churn", 4 * DAY_S, source="results"))
    assert found.evaluations == 3
    drifted = [one for one in found.alerts if one.type == "data_drift"]
    assert drifted[0].status == "firing"
    with pytest.raises(UnknownEndpoint):
        replays.run(alerts.ReplayRequest("none"))
    for since_s in (0.0, float("nan"), 1e12):
        with pytest.raises(InvalidArgument, match="since_s"):
            replays.run(alerts.ReplayRequest("churn", since_s))


def test_few_labels_a_day_are_judged_once_their_block_is_old(bench: Bench) -> None:
    """A block that is neither full nor old is remembered, and does not begin anew with each look."""
    bench.baseline()
    bench.monitoring.configure("churn", MonitorRequest(label_delay_s=12 * 3600.0), ME)
    for hour in range(48):
        places = bench.captured.predict(bench.begin + 1 + hour * 3600.0, bench.normal(10))
        bench.captured.labels.update({place: str(bench.captured.said[place]) for place in places})
    looks = [bench.look(bench.begin + hours * 3600.0) for hours in (12, 24, 37)]
    found = [[one.n for one in look if one.metric == "accuracy"] for look in looks]
    assert found == [[], [], [pytest.approx(250, abs=10)]]


def test_what_stays_the_same_for_a_day_in_the_baseline_too_is_no_fault(bench: Bench) -> None:
    days = np.repeat(np.arange(28), 200)
    inputs = np.column_stack((bench.rng.normal(size=days.size), days % 7)).astype(float)
    times = np.asarray(days * DAY_S + np.tile(np.arange(200), 28) * 400.0, dtype=np.float64)
    signature = convert(bench.container.models.version("churn", "1").signature, Signature)
    said = (inputs[:, 0] > 0).astype(np.int64)
    made = make_baseline(signature, BaselineRows({"input": inputs}, {"prediction": said}, None, times))
    bench.monitoring.baselines.keep("churn", "1", made, Origin("file"), ME)
    bench.captured.predict(bench.begin + 10, np.column_stack((bench.rng.normal(size=600), np.full(600, 3.0))))
    found = bench.look(bench.begin + 60)
    assert [one.verdict for one in found if one.state == "alert"] == []
    assert {one.feature for one in found if one.monitor == "data_quality"} >= {"feature_0", "feature_1"}


def _scored(bench: Bench) -> None:
    """A baseline of a classifier whose scores are right."""
    inputs = bench.normal(4_000)
    scores = scores_of(inputs[:, 0])
    labels = (bench.rng.random(4_000) < scores[:, 1]).astype(np.int64)
    said = (inputs[:, 0] > 0).astype(np.int64)
    scored = TensorSpec("probabilities", "FP64", (-1, 2))
    model = Signature(
        SIGNATURE.kind,
        SIGNATURE.inputs,
        (*SIGNATURE.outputs, scored),
        classes=(0, 1),
    )
    made = make_baseline(model, BaselineRows({"input": inputs}, {"prediction": said, "probabilities": scores}, labels))
    bench.monitoring.baselines.keep("churn", "1", made, Origin("validation"), ME)
    with bench.container.store.transaction() as tx:
        version_or_raise(tx, "churn", "1").signature = msgspec.to_builtins(model)


def test_the_calibration_of_scores_is_shown_with_labels(bench: Bench) -> None:
    _scored(bench)
    places = bench.captured.predict(bench.begin + 5, bench.normal(600))
    for place in places:
        is_true = bench.rng.random() < scores_of(bench.captured.rows[place][0])[1]
        bench.captured.labels[place] = str(int(is_true))
    shown = {one.metric: one for one in bench.look(bench.begin + 8, asked=True) if one.monitor == "performance"}
    calibration = shown["calibration_error"]
    assert calibration.state == "ok"
    assert calibration.lower == 0.0
    assert calibration.upper is not None
    assert calibration.upper < 0.15
    assert calibration.verdict.endswith("it decides nothing")


def test_performance_is_estimated_without_labels_once_an_hour_and_when_asked(bench: Bench) -> None:
    _scored(bench)

    def accuracies(found: list[MonitorResult]) -> list[float | None]:
        return [one.value for one in found if (one.monitor, one.metric) == ("estimated_performance", "accuracy")]

    bench.captured.predict(bench.begin + 10, 0.2 * bench.normal(300))
    first = accuracies(bench.look(bench.begin + 3700))
    bench.captured.predict(bench.begin + 3710, 0.2 * bench.normal(300))
    assert [len(accuracies(bench.look(bench.begin + 3600 + minutes * 60))) for minutes in (5, 30, 59)] == [0, 0, 0]
    asked = accuracies(bench.look(bench.begin + 3700 + 3599, asked=True))
    assert first == [pytest.approx(0.62, abs=0.05)], "rows that the model is not sure of"
    assert len(asked) == 1
    assert [one.state for one in bench.look(bench.begin + 9 * 3600) if one.monitor == "estimated_performance"] == [
        "ok"
    ] * 3


def test_labels_that_stay_away_are_told_once_a_week_was_seen_and_do_not_become_the_usual(bench: Bench) -> None:
    bench.baseline()
    bench.captured.predict(bench.begin + 1, bench.normal(1))
    bench.look(bench.begin + 60)
    found = {}
    for day in range(1, 12):
        places = bench.captured.predict(bench.begin + day * DAY_S - 7200, bench.normal(200))
        labelled = {2: 60, 9: 4, 10: 0}.get(day, 100)
        bench.captured.labels.update({place: str(bench.captured.said[place]) for place in places[:labelled]})
        look = bench.look(bench.begin + day * (DAY_S + LAG_S))
        (found[day],) = [one for one in look if one.monitor == "label_coverage"]
    states = {day: one.state for day, one in found.items()}
    assert states == {day: "alert" if day in (9, 10) else "ok" for day in range(1, 12)}
    assert (found[9].value, found[9].n, found[9].n_labelled, found[9].severity) == (0.02, 200, 4, "medium")
    assert found[9].reference == pytest.approx(0.3, abs=0.002), "the day that had the fewest"


def test_labels_that_are_distributed_otherwise_are_told_over_a_day(bench: Bench) -> None:
    bench.baseline()
    bench.monitoring.configure("churn", MonitorRequest(label_delay_s=3600.0, block_s=DAY_S), ME)
    found: list[list[MonitorResult]] = [[], []]
    for quarter in range(5 * 4):
        is_moved, at = quarter >= 8, bench.begin + quarter * DAY_S / 4
        for number, place in enumerate(bench.captured.predict(at + 60, bench.normal(240))):
            bench.captured.labels[place] = str(int(number < (216 if is_moved else 120)))
        look = bench.look(at + DAY_S / 4 + LAG_S)
        found[is_moved] += [one for one in look if one.monitor == "label_shift"]
    assert {one.state for one in found[False]} == {"ok"}
    assert len(found[False]) <= 2, "once a day"
    last = found[True][-1]
    assert (last.state, last.severity, last.kind) == ("alert", "medium", "category")
    assert last.effect == pytest.approx(0.4, abs=0.05)
    assert last.histograms is not None
    assert sorted(last.histograms.names) == ["0", "1"]


def test_each_block_is_shown_beside_the_one_before_and_that_alerts_nobody(bench: Bench) -> None:
    bench.baseline()
    first, second, third = (bench.begin + day * DAY_S for day in (0, 1, 2))
    bench.captured.predict(first + 10, bench.normal(1_500))
    assert {one.against for one in bench.look(second)} == {"baseline"}  # there is no block before
    bench.captured.predict(second + 10, bench.normal(1_500, 1.0))
    found = bench.look(third)
    before = {one.feature: one for one in found if one.against == "previous"}
    baseline = {one.feature: one for one in found if one.monitor == "feature_drift" and one.against == "baseline"}
    assert {"feature_0", "feature_1", "prediction"} <= set(before)
    moved = before["feature_1"]
    assert (moved.state, moved.drift_detected, moved.severity) == ("ok", None, None)
    assert moved.verdict.startswith("moved since the block before, of ")
    assert moved.effect is not None
    assert moved.effect > 0.3
    assert (moved.n, moved.n_reference) == (1_500, 1_500)
    assert before["feature_0"].verdict.startswith("ok since the block before")
    assert baseline["feature_1"].state == "alert"
    raised = bench.container.alerts.state.page(100)[0]
    assert len([one for one in raised if one.feature == "feature_1" and one.monitor == "feature_drift"]) == 1
    kept = bench.monitoring.results("churn", 100, None, None, ("feature_drift", "feature_1")).results
    assert [one.against for one in kept[:2]] in (["previous", "baseline"], ["baseline", "previous"])


def test_a_drift_that_lasts_is_none_since_the_block_before(bench: Bench) -> None:
    bench.baseline()
    for day in range(3):
        bench.captured.predict(bench.begin + day * DAY_S + 10, bench.normal(1_500, 1.0))
        found = bench.look(bench.begin + (day + 1) * DAY_S)
    of_it = {one.against: one for one in found if one.feature == "feature_1" and one.monitor == "feature_drift"}
    assert of_it["baseline"].state == "alert"
    assert of_it["previous"].verdict.startswith("ok since")
    bench.baseline()  # another baseline has other bins: what was counted before is not comparable
    bench.captured.predict(bench.begin + 3 * DAY_S + 10, bench.normal(1_500))
    assert {one.against for one in bench.look(bench.begin + 4 * DAY_S)} == {"baseline"}


def test_a_clock_that_is_set_back_by_a_day_stops_no_evaluation(bench: Bench) -> None:
    bench.baseline()
    ahead = bench.begin + 2 * DAY_S
    bench.look(ahead)
    back = bench.begin + DAY_S
    assert bench.monitoring.due(back)[0] == ["churn"]
    bench.look(back)
    bench.captured.predict(back + 1, bench.normal(600, shift=1.0))
    assert drift(bench.look(back + 60, asked=True)) == {"feature_0": False, "feature_1": True}


def test_rows_that_come_twice_are_told_from_the_baselines(bench: Bench) -> None:
    bench.baseline()
    bench.captured.predict(bench.begin + 1, bench.normal(600))
    fine = [one for one in bench.look(bench.begin + 100) if one.metric == "duplicates"]
    assert [(one.state, one.value, one.reference, one.n) for one in fine] == [("ok", 0.0, 0.0, 600)]
    found: list[MonitorResult] = []
    for place in range(12):  # a few at a time: chunks are made of what is left over too
        bench.captured.predict(bench.begin + 200 + 60 * place, np.repeat(bench.normal(30), 2, axis=0))
        found += [one for one in bench.look(bench.begin + 230 + 60 * place) if one.metric == "duplicates"]
    assert [(one.state, one.severity) for one in found] == [("alert", "high")]
    assert found[0].verdict.startswith("duplicates: 50.0% of the rows repeat another of the 100 around them, and 0.0%")


def days_judged(bench: Bench, days: int, right: float) -> list[MonitorResult]:
    """So many days of 150 rows with their labels, each looked at when it is over; what was found over weeks."""
    found: list[MonitorResult] = []
    for day in range(days):
        begin = bench.begin + day * DAY_S
        places = bench.captured.predict(begin + 60, bench.normal(150))
        good = bench.rng.random(150) < right
        for place, is_right in zip(places, good, strict=True):
            said = bench.captured.said[place]
            bench.captured.labels[place] = str(said if is_right else 1 - said)
        for hour in (6, 12, 18, 24.01):
            found += bench.look(begin + hour * 3600)
    return [one for one in found if one.metric in ("accuracy_14d", "accuracy_28d")]


def test_a_drop_that_no_day_can_tell_is_told_over_weeks(bench: Bench) -> None:
    bench.baseline()
    found = days_judged(bench, 29, right=0.82)
    assert [one.metric for one in found] == ["accuracy_14d", "accuracy_14d", "accuracy_28d"]
    assert [one.state for one in found][-1] == "alert"
    assert found[-1].verdict.startswith("worse: over 28 days accuracy is 0.8")
    assert found[-1].baseline_accuracy is None  # by that name goes the metric that a block decides
    assert found[-1].reference == pytest.approx(0.9, abs=0.02)


def test_weeks_as_good_as_the_baseline_alert_nothing(bench: Bench) -> None:
    bench.baseline()
    found = days_judged(bench, 15, right=0.9)
    assert [(one.metric, one.state) for one in found] == [("accuracy_14d", "ok")]
