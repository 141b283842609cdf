"""What the pages about monitoring and alerts say, and what their forms ask for."""

from __future__ import annotations

from typing import Any

import pytest

from support.monitoring import NOON, check_result, drift_results, performance_results
from tidegate.console.attention import attention
from tidegate.console.watching import alerts, captured, results, settings
from tidegate.console.watching.spans import span_s, written
from tidegate.errors import InvalidArgument
from tidegate.wire.monitoring.alerts import AlertRule, AlertView
from tidegate.wire.monitoring.monitoring import MonitorView
from tidegate.wire.rest import Status

VIEW = MonitorView("churn", True, 300.0, 3600.0, 0.0, None, None, "UTC")


def alert(**more: Any) -> AlertView:
    of: dict[str, Any] = {"id": "1", "type": "data_drift", "endpoint": "churn", "monitor": "feature_drift"}
    of |= {"severity": "high", "state": "firing", "message": "it moved", "since": NOON, "fingerprint": "f"}
    return AlertView(**{**of, **more})


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("5m", 300), ("1.5h", 5400), ("7d", 604_800), ("30", 30)])
def test_spans_are_written_as_commands_take_them(text: str, seconds: float) -> None:
    assert span_s(text, "every") == seconds
    assert span_s(written(seconds), "every") == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5m", "5 minutes", "nan", "1e9h", "٣h"])
def test_what_is_no_span_is_said(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"every: .* is no span of time: give one like 30m"):
        span_s(text, "every")


def test_the_page_is_of_one_version_where_one_is_chosen() -> None:
    history = [*drift_results({"age": 0.5}), *drift_results({"age": 0.5, "plan": 0.1}, version="4")]
    every, one = results.overview(history, [], None, 0), results.overview(history, [], "4", 0)
    assert (every["columns_total"], one["columns_total"]) == (3, 2)
    assert every["versions"] == one["versions"] == ["4", "3"]


def test_columns_come_page_by_page() -> None:
    history = drift_results({f"f{number}": 0.0 for number in range(results.CARDS + 3)})
    assert len(results.overview(history, [], None, 0)["columns"]) == results.CARDS
    assert len(results.overview(history, [], None, results.CARDS)["columns"]) == 3


def test_alerts_are_marked_where_performance_is_drawn() -> None:
    shown = results.overview(performance_results([0.1, 0.3]), [alert(fired_at=NOON - 60), alert(feature="x")], None, 0)
    (course,) = shown["courses"]
    assert course.plots[0].svg.count('class="event"') == 1
    assert len(course.plots) == 2, "coverage of labels beside it"


def test_what_is_not_known_is_a_dash() -> None:
    shown = results.row(check_result("latency", "unknown", "no request was answered"))
    assert [value for _, value in shown.facts] == ["\N{EN DASH}", "\N{EN DASH}", "0"]
    assert (shown.word, shown.tone) == ("unknown", "idle")


def test_the_form_of_settings_asks_for_what_was_filled_in() -> None:
    assert settings.filled(VIEW, {})["every"] == "5m"
    asked = settings.asked({"every": "10m", "window": "", "label_delay": "2d", "by": " region ", "timezone": ""})
    assert asked == {"every_s": 600.0, "label_delay_s": 172_800.0, "by": "region", "selective_labels": False}
    assert settings.asked({"labels": "selective", "block": "6h"})["block_s"] == 21_600.0
    assert settings.asked({"on": "off"}) == {"on": False}
    command = settings.command(VIEW, settings.filled(VIEW, {"every": "10m", "by": "a b", "timezone": "Europe/Berlin"}))
    assert settings.command(VIEW, settings.filled(VIEW, {"labels": "selective"})).endswith("--selective-labels")
    assert command == (
        "tidegate monitor churn --every 10m --window 1h --label-delay 0s --by 'a b' --timezone Europe/Berlin"
    )


def test_an_alert_says_what_can_be_done_about_it() -> None:
    firing = alerts.row(alert(feature="age"))
    assert (firing.about, firing.can_acknowledge, firing.can_silence) == ("data drift of age", True, True)
    ended = alert(state="resolved", ended_at=NOON, ended_because="good for 15 min", actions=["rollback: done"])
    over = alerts.row(ended)
    assert (over.can_acknowledge, over.can_silence, over.why) == (False, False, "good for 15 min; rollback: done")
    assert not alerts.row(alert(state="acknowledged", acknowledged_by="ops")).can_acknowledge


def test_a_silence_is_of_alerts_like_this_one() -> None:
    asked = alerts.matchers_of(alert(feature="age", version="3"))
    assert asked == {"alertname": "data_drift", "endpoint": "churn", "feature": "age", "version": "3"}


def test_a_rule_is_shown_and_asked_for_in_the_same_words() -> None:
    rule = AlertRule("data_drift", True, 600.0, 900.0, 86_400.0, ["endpoint"], 0.1, ["rollback"], 3600.0, False)
    (form,) = alerts.rule_forms("churn", [rule], ["data_drift"], {})
    asked = alerts.rule_of({"type": rule.type, "enabled": "yes", **form.values})
    assert asked == AlertRule("data_drift", True, 600.0, 900.0, 86_400.0, None, 0.1, ["rollback"], 3600.0)
    assert alerts.rule_of({"type": "errors", "threshold": ""}).threshold == -1.0
    with pytest.raises(InvalidArgument, match="is no number"):
        alerts.rule_of({"type": "errors", "threshold": "much"})


def test_what_was_filled_in_stays_with_its_rule_alone() -> None:
    rules = [AlertRule(name, True, 0.0, 0.0, 60.0, [], None, [], 0.0, False) for name in ("data_drift", "errors")]
    first, second = alerts.rule_forms("churn", rules, [], {"type": "errors", "for": "soon"})
    assert (first.values["for"], first.enabled) == ("0s", True)
    assert (second.values["for"], second.enabled) == ("soon", False)


@pytest.mark.parametrize(
    ("form", "why"),
    [
        ({}, "has no name"),
        ({"name": "ops", "kind": "pigeon", "severity_min": "low"}, "choose a kind"),
        ({"name": "ops", "kind": "slack", "severity_min": "low"}, "has no address"),
    ],
)
def test_a_notifier_that_cannot_be_meant_is_refused(form: dict[str, str], why: str) -> None:
    with pytest.raises(InvalidArgument, match=why):
        alerts.notifier_of(form)


def test_a_notifier_is_asked_for_as_it_was_filled_in() -> None:
    given = {"name": "ops", "kind": "webhook", "url": "https://a", "severity_min": "high"}
    name, kind, url, asked = alerts.notifier_of(given)
    assert (name, kind, url, asked["endpoint"]) == ("ops", "webhook", "https://a", None)
    assert (asked["severity_min"], asked["resolved"]) == ("high", False)


def test_captured_rows_have_what_was_answered_before_what_was_asked() -> None:
    rows = [{"id": "a", "input_age": 4.25, "output_prediction": [1, 0], "at": "12:00", "key": "k", "input_x": None}]
    shown = captured.table_of(rows)
    assert shown.names == ["at", "id", "output_prediction", "input_age", "input_x"]
    assert shown.rows == [["12:00", "a", "[1, 0]", "4.25", "\N{EN DASH}"]]
    wide = captured.table_of([{f"input_{number}": "é" * 1000 for number in range(500)}])
    assert (len(wide.names), wide.left_out) == (captured.COLUMNS_MAX, 500 - captured.COLUMNS_MAX)
    assert {len(cell) for cell in wide.rows[0]} == {captured.CELL_CHARS_MAX}


def test_what_fires_needs_attention_the_severest_first() -> None:
    status = Status("1", "", NOON, "", [], [], 0, {}, 1)
    firing = [alert(severity="low"), alert(severity="critical", type="performance_drift", metric="accuracy")]
    items = attention(status, [], [], firing)
    assert [(one.word, one.tone) for one in items] == [("critical", "bad")], "a line for each endpoint"
    assert items[0].about == "churn, performance drift of accuracy"
    assert items[0].text.endswith("; and 1 more alert")
    assert items[0].to == "/alerts?endpoint=churn"
    waits = alert(severity="medium", type="rollout", metric="shelf")
    elsewhere = alert(severity="low", endpoint="wine")
    items = attention(status, [], [], [*firing, waits, elsewhere])
    assert [(one.about, one.to) for one in items] == [
        ("churn, performance drift of accuracy", "/alerts?endpoint=churn"),
        ("churn", "/endpoints/churn/experiments/shelf"),
        ("wine, data drift", "/alerts?endpoint=wine"),
    ]
