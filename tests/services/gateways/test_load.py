from dataclasses import replace
from typing import Any, cast

import pytest

from support.loads import NO_DURATIONS, Clock, busy
from tidegate.core.scaling.load import mean
from tidegate.errors import InvalidArgument
from tidegate.services.gateways.load import (
    COUNT_MAX,
    GONE_S,
    IN_PROGRESS_MAX,
    KEPT_S,
    SILENT_S,
    SPAN_S_MIN,
    VERSIONS_MAX,
    VIEW_S,
    LoadIntake,
)
from tidegate.services.gateways.load_series import load_series
from tidegate.services.leadership import Leadership
from tidegate.wire.gateways.load import LoadReport, LoadView
from tidegate.wire.parts import LeaderView


def test_without_a_report_nothing_is_known_and_without_requests_it_is_none() -> None:
    clock = Clock()
    assert clock.seen() is None
    clock.pass_seconds(1, g0=[])
    assert clock.known() == LoadView(1.0, 0.0, 0.0, 0.0, None, None)


def test_gateways_and_versions_are_added_up() -> None:
    clock = Clock()
    clock.pass_seconds(10, g0=[busy(3.0, 20, 1), busy(1.0, 4, version="2")], g1=[busy(0.5, 10)])
    seen = clock.known()
    assert (seen.concurrency, seen.requests_per_s, seen.errors_per_s) == pytest.approx((3.5, 30.0, 1.0))
    assert seen.p50_s == pytest.approx(0.0375)
    assert clock.known("1", "2").requests_per_s == pytest.approx(34)
    assert seen.window_s == 10


def test_a_gateway_that_was_late_once_counts_for_the_time_it_told_of() -> None:
    clock = Clock()
    for span_s in (1.0, 3.0, 1.0):
        clock.now += span_s
        clock.load.record(LoadReport("g0", span_s, [busy(2.0 * span_s, round(10 * span_s))]))
    assert clock.known().concurrency == pytest.approx(2.0)
    assert clock.known().requests_per_s == pytest.approx(10.0)


def test_a_gateway_that_fell_silent_is_unknown_until_it_is_gone() -> None:
    clock = Clock()
    clock.pass_seconds(5, g0=[busy(1.0, 5)], g1=[busy(1.0, 5)])
    clock.pass_seconds(int(SILENT_S) + 1, g0=[busy(1.0, 5)])
    assert clock.known().gateways_silent == 1
    assert clock.load.concurrency("churn", "1", 60.0).silent == {"g1"}
    clock.pass_seconds(int(GONE_S), g0=[busy(1.0, 5)])
    assert clock.known().gateways_silent == 0
    assert clock.known().concurrency == pytest.approx(1.0)


def test_a_gateway_that_routes_and_tells_nothing_is_silent() -> None:
    clock = Clock()
    clock.live = {"g0", "g1"}
    clock.pass_seconds(2, g0=[busy(1.0, 5)])
    assert clock.known().gateways_silent == 1


def test_when_all_are_silent_nothing_is_known() -> None:
    clock = Clock()
    clock.pass_seconds(5, g0=[busy(1.0, 5)])
    clock.now += SILENT_S + 1
    assert clock.seen() is None
    series = clock.load.concurrency("churn", "1", 60.0)
    assert series.silent == {"g0"}


def test_one_that_was_ended_on_purpose_is_missed_by_nobody() -> None:
    clock = Clock()
    clock.pass_seconds(2, g0=[], g1=[busy(1.0, 5)])
    clock.load.forget("g1")
    clock.load.forget("g1")
    clock.pass_seconds(5, g0=[])
    assert clock.known().gateways_silent == 0


def test_what_the_autoscaler_gets_is_told_by_gateway_and_second() -> None:
    clock = Clock()
    clock.pass_seconds(3, g0=[busy(2.0, 7)], g1=[])
    series = clock.load.concurrency("churn", "1", 60.0)
    assert [point.amount_s for point in series.points["g0"]] == [2.0] * 3
    assert [point.amount_s for point in series.points["g1"]] == [0.0] * 3
    found = mean(clock.load.requests("churn", "1", 60.0), clock.now - 3, clock.now)
    assert found is not None
    assert found.value == pytest.approx(7.0)


def test_only_the_longest_window_is_kept_and_no_more_samples_than_the_setting_says() -> None:
    clock = Clock(samples_max=50)
    many = [busy(1.0, 1, version=str(number)) for number in range(10)]
    clock.pass_seconds(20, g0=many)
    assert len(clock.load.concurrency("churn", "1", KEPT_S).points["g0"]) == 4  # of eleven samples each
    assert clock.known().requests_per_s == pytest.approx(1.0)
    clock = Clock()
    clock.pass_seconds(int(KEPT_S) + 50, g0=[busy(1.0, 1)])
    assert len(clock.load.concurrency("churn", "1", 2 * KEPT_S).points["g0"]) == KEPT_S
    assert clock.known().window_s == VIEW_S


def test_the_bound_holds_after_a_gateway_is_gone_and_for_reports_of_nothing() -> None:
    clock = Clock(samples_max=50)
    clock.pass_seconds(20, g0=[busy(1.0, 1)], g1=[busy(1.0, 1)])
    clock.now += KEPT_S + GONE_S  # both are dropped, and all that they told is old
    clock.pass_seconds(100, g2=[busy(1.0, 1)])
    assert len(clock.load.concurrency("churn", "1", KEPT_S).points["g2"]) == 25
    clock = Clock(samples_max=50)
    clock.pass_seconds(100, g0=[])
    assert len(clock.load.concurrency("churn", "1", KEPT_S).points["g0"]) == 50


def test_two_variants_of_one_version_are_counted_once() -> None:
    clock = Clock()
    clock.pass_seconds(1, g0=[busy(1.0, 5)])
    assert clock.known("1", "1") == clock.known("1")


def test_the_largest_report_that_is_taken_can_be_shown() -> None:
    clock = Clock()
    for _ in range(10):
        clock.now += SPAN_S_MIN
        largest = busy(SPAN_S_MIN * IN_PROGRESS_MAX, COUNT_MAX, COUNT_MAX)
        clock.load.record(LoadReport("g" * 64, SPAN_S_MIN, [largest], host="h" * 255))
    seen = clock.known()
    assert seen.concurrency == pytest.approx(IN_PROGRESS_MAX)
    assert seen.requests_per_s == seen.errors_per_s == pytest.approx(COUNT_MAX / SPAN_S_MIN)
    assert mean(clock.load.requests("churn", "1", 60.0), clock.now - 60, clock.now) is not None


@pytest.mark.parametrize(
    "report",
    [
        LoadReport("g0", 0.0, []),
        LoadReport("g0", float("nan"), []),
        LoadReport("g0", 1e9, []),
        LoadReport("g0", 5e-324, [busy(1e-320)]),
        LoadReport("g0", 10**400, []),
        LoadReport("g" * 65, 1.0, []),
        LoadReport("g\ud800", 1.0, []),
        LoadReport("g0", 1.0, [], host="h" * 256),
        LoadReport("g0", 1.0, [], host="\udfff"),
        LoadReport("g0", 1.0, [busy(float("inf"))]),
        LoadReport("g0", 1.0, [busy(-1.0)]),
        LoadReport("g0", 1.0, [busy(1.7e308)]),
        LoadReport("g0", 1.0, [busy(10**400)]),
        LoadReport("g0", 1.0, [busy(1.0, -1)]),
        LoadReport("g0", 1.0, [replace(busy(), requests=10**400)]),
        LoadReport("g0", 1.0, [busy(1.0, 1, COUNT_MAX + 1)]),
        LoadReport("g0", 1.0, [replace(busy(), durations=[10**400, *NO_DURATIONS[1:]])]),
        LoadReport("g0", 1.0, [busy(version="1" * 64)]),
        LoadReport("g0", 1.0, [replace(busy(), endpoint="e" * 64)]),
        LoadReport("g0", 1.0, [replace(busy(), endpoint="\ud800")]),
        LoadReport("g0", 1.0, [replace(busy(), durations=[1, 2])]),
    ],
)
def test_a_report_that_cannot_be_is_refused_whole(report: LoadReport) -> None:
    clock = Clock()
    with pytest.raises(InvalidArgument):
        clock.load.record(report)
    assert clock.seen() is None


class Election:
    """Who leads, as the test says."""

    def __init__(self) -> None:
        self.term: object | None = object()
        self.leader: LeaderView | None = LeaderView("a", "http://a:8800", 1, here=True)
        self.me = type("Me", (), {"host": "b"})

    def view(self) -> LeaderView | None:
        return self.leader


def test_a_standby_passes_on_what_it_hears_once_and_shows_nothing() -> None:
    clock, election, passed = Clock(), Election(), list[Any]()
    intake = LoadIntake(clock.load, cast(Leadership, election), lambda url, report: passed.append((url, report)))
    report = LoadReport("g0", 1.0, [busy(1.0, 5)])
    intake.take(report)
    assert passed == []
    assert intake.view("churn", ["1"]) is not None
    election.term, election.leader = None, LeaderView("a", "http://a:8800", 1, here=False)
    intake.take(report)
    assert passed == [("http://a:8800", replace(report, host="b"))]
    assert intake.view("churn", ["1"]) is None
    intake.take(replace(report, host="c"))
    assert len(passed) == 1


def test_gateways_of_two_hosts_may_have_the_same_id() -> None:
    clock = Clock()
    clock.pass_seconds(1, g0=[busy(1.0, 5)])
    clock.load.record(LoadReport("g0", 1.0, [busy(2.0, 5)], host="b"))
    assert clock.known().concurrency == pytest.approx(3.0)


@pytest.mark.parametrize("where", ["said by the gateway", "cut here"])
def test_a_version_that_found_no_room_in_a_report_is_unknown_and_not_idle(where: str) -> None:
    clock = Clock()
    said = where == "said by the gateway"
    others = [] if said else [busy(1.0, 1, version=str(number)) for number in range(2, VERSIONS_MAX + 2)]
    report = LoadReport("g0", 1.0, [busy(1.0, 5), *others, busy(9.0, 90, version="late")], truncated=said)
    if said:
        report.versions.pop()
    clock.now += 2
    clock.load.record(report)
    assert clock.known("1").requests_per_s == 5.0
    assert clock.seen("late") is None
    assert clock.load.concurrency("churn", "late", 60.0).points == {"g0": ()}
    series = load_series(clock.load, "churn", ["1", "late"], 2.0, clock.now).versions
    assert (series["1"].requests_per_s[-1], series["late"].requests_per_s[-1]) == (5.0, None)
    clock.load.record(LoadReport("g1", 1.0, [busy(2.0, 7, version="late")]))
    seen = clock.known("late")
    assert (seen.requests_per_s, seen.gateways_silent) == (7.0, 1), "of one gateway it is known"
