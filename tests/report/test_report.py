"""The report: one page that opens from disk, says first what needs attention, and stays small whatever it is of."""

from __future__ import annotations

import re
from dataclasses import replace

import msgspec
import pytest

from support.html import Page
from support.monitoring import HOUR_S, NOON, check_result, drift_results, performance_results
from tidegate.report.figures import Alarm, distribution
from tidegate.report.page import BYTES_MAX, CARDS_MAX, Report, render
from tidegate.report.reading import alerting, courses, drifts, filled, newest, told
from tidegate.wire.monitoring.monitoring import Histograms, MonitorResult

EVIL = "</style><script>alert(1)</script>\"'&\x00"


@pytest.fixture(scope="module")
def results() -> list[MonitorResult]:
    return [
        *drift_results({"calm": 0.0, "age": 0.6, "plan": 0.2, "score": 0.4}),
        *performance_results([0.1, 0.1, 0.1, 0.3]),
        check_result("data_quality", "alert", "missing: age is missing in 4 % of the rows", feature="age"),
        check_result("latency", "unknown", "unknown: no request was answered"),
    ]


def report_of(results: list[MonitorResult], *alarms: Alarm) -> Report:
    return Report("churn", NOON, results, alarms)


def test_what_needs_attention_comes_first_and_what_moved_most_before_others(results: list[MonitorResult]) -> None:
    html = render(report_of(results))
    first = html[html.index('id="first-h"') : html.index('id="features-h"')]
    assert first.index("accuracy") < first.index("age"), "critical before high"
    assert "5 of 7 checks need a look" in first
    assert re.findall(r"<h3><bdi>([^<]*)", html)[:4] == ["age", "plan", "score", "calm"]
    assert "of the rows lie elsewhere than in the reference" in html


def test_every_picture_has_words_and_a_table(results: list[MonitorResult]) -> None:
    page = Page(render(report_of(results, Alarm("data drift of age", "high", "age moved", NOON - HOUR_S))))
    pictures = [attrs for tag, attrs in page.tags if tag == "svg" and attrs.get("role") == "img"]
    assert len(pictures) == 4 + 2 + 1
    assert sum(tag == "details" for tag, _ in page.tags) == len(pictures)
    assert sum(tag == "title" for tag, _ in page.tags) > len(pictures)


def test_it_loads_and_runs_nothing(results: list[MonitorResult]) -> None:
    page = Page(render(report_of(results)))
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in page.tags}
    assert [attrs for _, attrs in page.tags if {"src", "href", "style", "onclick"} & set(attrs)] == []
    assert "default-src 'none'" in render(report_of(results))


def test_without_results_it_says_what_is_not_known() -> None:
    html = render(report_of([]))
    Page(html)
    assert "no monitor has run" in html
    assert "No alert was raised" in html
    assert "send labels with feedback" in html


def test_names_and_verdicts_are_only_text(results: list[MonitorResult]) -> None:
    evil = check_result("data_quality", "alert", EVIL, feature=EVIL, segment=EVIL, version=EVIL)
    html = render(Report(EVIL, NOON, [*results, evil], [Alarm(EVIL, "high", EVIL, NOON - 5, NOON)]))
    Page(html)
    assert "<script" not in html
    assert "\x00" not in html


def test_it_stays_small_whatever_it_is_of(results: list[MonitorResult]) -> None:
    name = "é" * 5000
    bins = Histograms([f"{name}{at}" for at in range(100)], list(range(100)), list(range(100, 0, -1)))
    one = results[0]
    own = {field: getattr(one, field) for field in one.__struct_fields__}
    own |= {"histograms": bins, "verdict": name, "state": "alert", "severity": "high"}
    many = [MonitorResult(**own | {"feature": f"{name}{at}"}) for at in range(3000)]
    segments = [check_result("performance", "ok", name, segment=f"{name}{at}", metric=name) for at in range(2000)]
    hours = [
        check_result("performance", "ok", name, metric=f"m{at % 40}", value=0.5, coverage=0.5, until=NOON + at)
        for at in range(20_000)
    ]
    alarms = [Alarm(name, "high", name, NOON + at) for at in range(2000)]
    html = render(Report("churn", NOON + 20_000, [*many, *segments, *hours], alarms, is_cut=True))
    Page(html)
    assert 1_000_000 < len(html.encode()) <= BYTES_MAX
    assert "The other 2,976 columns" in html
    assert html.count('<article class="card">') >= CARDS_MAX


def test_the_same_results_make_the_same_bytes(results: list[MonitorResult]) -> None:
    assert render(report_of(results)) == render(report_of(results))


def test_of_each_the_newest_counts_and_what_is_gone_is_left_out() -> None:
    old = check_result("errors", "alert", "many", at=NOON - 60)
    new = check_result("errors", "ok", "few")
    gone = check_result("traffic", "alert", "of a version that is gone", version="1", at=NOON - 90_000)
    assert newest([new, old, gone]) == [new]


def test_the_two_probabilities_of_a_classifier_are_one_finding() -> None:
    def drift(at: int, version: str) -> MonitorResult:
        return check_result("prediction_drift", "alert", "d", feature=f"probabilities[{at}]", version=version)

    two = [drift(0, "1"), drift(1, "1")]
    three = [drift(at, "2") for at in range(3)]
    assert told([*two, *three]) == [two[1], *three]
    assert told([two[0]]) == [two[0]]
    assert newest(two) == two


def test_unknown_columns_come_last_and_segments_stand_apart() -> None:
    found = [
        check_result("feature_drift", "unknown", "u", feature="u"),
        check_result("feature_drift", "ok", "small", feature="small", effect=0.01),
        check_result("feature_drift", "ok", "large", feature="large", effect=0.04),
        check_result("feature_drift", "alert", "a", feature="a", effect=0.2, effect_lower=0.1, severity="low"),
        check_result("feature_drift", "alert", "s", feature="s", segment="EU", severity="critical"),
    ]
    assert [one.feature for one in drifts(found)] == ["a", "large", "small", "u"]
    assert [one.feature for one in alerting(found)] == ["s", "a"]


def test_estimates_come_after_what_labels_say() -> None:
    runs = courses(
        [
            check_result("estimated_performance", "ok", "e", metric="accuracy"),
            check_result("performance", "ok", "2", metric="accuracy", until=NOON),
            check_result("performance", "ok", "1", metric="accuracy", until=NOON - 60),
        ]
    )
    assert [[one.verdict for one in run] for run in runs] == [["1", "2"], ["e"]]


def test_bins_that_nothing_is_in_are_not_drawn() -> None:
    pair = filled(Histograms(["missing", "a", "b"], [0, 3, 0], [0, 0, 2]))
    assert pair == Histograms(["a", "b"], [3, 0], [0, 2])
    empty = Histograms(["a"], [0], [0])
    assert filled(empty) == empty
    one = check_result("feature_drift", "unknown", "the window is empty", feature="a", histograms=empty)
    plot = distribution(one)
    assert plot is not None
    assert "no data" in plot.svg
    assert distribution(check_result("errors", "ok", "fine")) is None


def test_bins_of_numbers_are_written_for_people() -> None:
    names = ["missing", "(-3.35891, -1.62]", "(1234567, 2.5e+06]", "(1000.01, 1000.02]", "(a, b]", "(e, 1]"]
    pair = Histograms(names, [1] * 6, [1] * 6)
    plot = distribution(check_result("feature_drift", "ok", "fine", feature="a", histograms=pair))
    assert plot is not None
    told = [row[0] for row in plot.table.rows]
    assert told == [*("missing", "−3.36 to −1.62", "1.23 M to 2.5 M", "(1000.01, 1000.02]", "(a, b]", "(e, 1]")]  # noqa: RUF001


def test_an_alert_that_goes_on_ends_with_the_report(results: list[MonitorResult]) -> None:
    going = Alarm("data drift of age", "high", "age moved", NOON - HOUR_S)
    html = render(report_of(results, going, replace(going, about="errors", until=NOON - 60)))
    assert "goes on" in html
    assert "2026-11-18 11:59:00Z" in html


def test_a_bin_that_begins_just_below_zero_begins_at_zero() -> None:
    names = ["below", "(-4.94e-324, 0]", "(-4.94e-324, 1]", "(1, 2]"]
    one = check_result("feature_drift", "ok", "ok", feature="visits")
    one = msgspec.structs.replace(one, histograms=Histograms(names, [1, 1, 1, 1], [1, 1, 1, 1]))
    plot = distribution(one)
    assert plot is not None
    assert [row[0] for row in plot.table.rows] == ["below", "0", "0 to 1", "1 to 2"]
