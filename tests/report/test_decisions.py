"""The report of an experiment: what came of it first, the sequence over time, the seed's fields, and why."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, cast

import pytest

from support.decisions import NOON, canary, draft, ended, experiment, guardrail, look, metric, shadow
from support.html import Page
from tidegate.report.decisions.figures import canary_steps, guardrail_course, guardrails, paired, sequence, shares
from tidegate.report.decisions.page import BYTES_MAX, ExperimentReport, render
from tidegate.report.decisions.reading import days, decided, effect_said, headline, ratio_said, turns
from tidegate.wire.experiments.experiments import ExperimentView, RatioView

EVIL = "</style><script>alert(1)</script>\"'&\x00"


def report_of(view: ExperimentView) -> str:
    return render(ExperimentReport(view, NOON + 500_000))


def test_what_came_of_it_comes_first_in_words() -> None:
    html = report_of(ended("promote"))
    first = html[html.index('id="decision-h"') : html.index('id="sequence-h"')]
    assert "Version 2 was better, and has the traffic now." in first
    assert "treatment&#x27;s conversion is 0.2 % to 15.8 % better" in first.replace("Treatment", "treatment")
    assert ">promote</span>" in first


def test_times_are_in_words_and_what_was_stopped_has_no_decision() -> None:
    assert [days(one) for one in (0.02, 0.05, 1.0, 2.4, 31)] == [
        "less than an hour", "about 1 hour", "about 24 hours", "about 2 days", "about 31 days",
    ]  # fmt: skip
    assert "<dd>about 7 hours</dd>" in report_of(experiment(days_left=0.3))
    assert decided(experiment()) is not None
    assert decided(experiment(state="stopped", ended_at=NOON)) is None
    assert decided(ended("promote")) == ("promote", "ok")


def test_the_fields_of_the_seed_are_named_with_their_values() -> None:
    html = report_of(experiment())
    table = html[html.index('id="metrics-h"') : html.index('id="guardrails-h"')]
    for name in ("model_a_mean", "model_b_mean", "improvement", "p_value", "significant", "winner"):
        assert f'<th scope="col">{name}</th>' in table
    cells = re.findall(r"<td>(.*?)</td>", table)
    assert cells[1:4] == ["0.1", "0.108", "8.0 %"]
    assert cells[7:9] == ["no", "–"]  # noqa: RUF001


def test_the_sequence_shows_how_the_band_narrows_no_difference_and_the_decision() -> None:
    plot = sequence(ended("promote"), "conversion")
    assert [key.name for key in plot.legend] == ["treatment", "no difference", "phase 2", "promote"]
    rows = plot.table.rows
    assert rows[0][1:] == ["–", "–", "–"]  # noqa: RUF001 - nothing was known at the first look
    widths = [float(row[3]) - float(row[2]) for row in rows[1:]]
    assert widths == sorted(widths, reverse=True)


@pytest.mark.parametrize(
    ("end", "said", "edge"), [("upper", "\u22120.577 or more", "20.0"), ("lower", "16.6 or less", "178.0")]
)
def test_an_interval_without_one_bound_is_drawn_to_the_edge(end: str, said: str, edge: str) -> None:
    view, without = experiment(), cast("dict[str, Any]", {end: None})
    looks = [replace(one, metrics=[replace(one.metrics[0], **without)]) for one in view.looks]
    plot = sequence(replace(view, looks=looks, metrics=looks[-1].metrics), "conversion")
    (band,) = re.findall(r'<path d="([^"]+)" class="band s1"', plot.svg)
    assert f" {edge}L" in band
    assert [key.note for key in plot.legend if key.name == "treatment"] == [f"8 % ({said})"]


def test_when_the_decision_changed_is_told_once_for_each_change() -> None:
    found = turns(ended("promote").looks)
    assert [one.decision for one in found] == ["insufficient_data", "continue", "promote"]
    assert sum(one.looks for one in found) == 100
    html = report_of(ended("promote"))
    why = html[html.index('id="why-h"') :]
    assert why.index("promote</span>") < why.index("go on</span>") < why.index("too little is known</span>")


def test_a_ratio_that_is_not_sound_is_said_and_marked() -> None:
    looks = [look(1), look(2, "hold", sound=False), look(3, "hold", sound=False)]
    view = experiment(looks=4)
    view = replace(view, looks=looks, ratio=looks[-1].ratio, decision="hold", reason=looks[-1].reason)
    html = report_of(view)
    assert "did not come as they were shared out (Bayes factor 240)" in html
    assert "ratio is not sound" in html
    assert "2 units came to more than one arm, and are left out" in html
    assert "Nothing is known yet" in ratio_said(RatioView(True, None))


def test_before_the_start_it_says_what_is_missing() -> None:
    html = report_of(draft())
    Page(html)
    assert "nobody has started it" in html
    assert "Nothing was looked at yet" in html
    assert "None was set" in html


def test_a_metric_of_which_nothing_is_known_is_no_number() -> None:
    assert "Nothing can be said of conversion yet: 20 and 20 units are in" in effect_said(metric(20))
    assert "no share of control" in effect_said(replace(metric(900), improvement=None))
    assert "This may be chance" in effect_said(metric(900))
    assert "Treatment is better" in effect_said(metric(40_000))


@pytest.mark.parametrize(
    ("lower", "upper", "said"),
    [
        (-0.01, 0.2, "higher, and lies between \u22121 % and 20 %. This"),
        (-0.01, None, "higher, and is at least \u22121 %: nothing bounds it from above yet. This"),
        (None, 0.2, "higher, and is at most 20 %: nothing bounds it from below yet. This"),
        (None, None, "higher, and nothing bounds it yet. This"),
    ],
)
def test_an_interval_is_said_with_the_bounds_that_it_has(lower: float | None, upper: float | None, said: str) -> None:
    assert said in effect_said(replace(metric(900), lower=lower, upper=upper))


@pytest.mark.parametrize(
    ("view", "said"),
    [
        (experiment(), "it goes on"),
        (experiment(1), "Too little is known"),
        (ended("rollback"), "did harm"),
        (ended("inconclusive"), "No difference was found"),
        (ended("continue", state="stopped"), "stopped it before anything was decided"),
        (ended("hold", state="paused", ended_at=None), "It is held"),
    ],
)
def test_each_way_to_stand_or_to_end_has_its_sentence(view: ExperimentView, said: str) -> None:
    assert said in headline(view)


def test_every_picture_has_words_and_a_table_and_nothing_is_loaded_or_run() -> None:
    page = Page(report_of(experiment()))
    pictures = [attrs for tag, attrs in page.tags if tag == "svg" and attrs.get("role") == "img"]
    assert len(pictures) == 1 + 1 + 2 + 3
    assert sum(tag == "details" for tag, _ in page.tags) == len(pictures)
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in page.tags}
    assert [attrs for _, attrs in page.tags if {"src", "href", "style", "onclick"} & set(attrs)] == []


def test_names_and_reasons_are_only_text() -> None:
    evil = replace(metric(500, EVIL, EVIL), method=EVIL)
    rail = guardrail(500, EVIL)
    view = experiment(3, metrics=[evil], guardrails=[rail], reason=EVIL, next=EVIL, warnings=[EVIL], name=EVIL)
    view = replace(view, looks=[replace(one, metrics=[evil], guardrails=[rail], reason=EVIL) for one in view.looks])
    html = report_of(view)
    Page(html)
    assert "<script" not in html
    assert "\x00" not in html


def test_it_stays_small_whatever_it_is_of() -> None:
    long = "é" * 5000
    metrics = [metric(900, f"{long}{at}", f"t{arm}") for at in range(20) for arm in range(9)]
    rails = [guardrail(900, f"{long}{at}") for at in range(60)]
    one = replace(look(1), metrics=metrics, guardrails=rails, reason=long)
    looks = [replace(one, at=NOON + at, decision="hold" if at % 2 else "continue") for at in range(5000)]
    view = experiment(1, metrics=metrics, guardrails=rails, reason=long, next=long, warnings=[long] * 50)
    html = report_of(replace(view, looks=looks))
    Page(html)
    assert 300_000 < len(html.encode()) <= BYTES_MAX


def test_a_guardrail_that_is_a_minimum_lies_between_its_value_and_its_bound() -> None:
    rail = guardrail(900, "revenue", kind="min", value=0.9, bound=0.7, margin=0.8)
    looks = [replace(look(at), guardrails=[rail]) for at in range(1, 4)]
    plot = guardrail_course(looks, rail)
    assert plot.table.rows[0][1:] == ["0.9", "0.7", "0.9"]
    assert "at least 0.8" in guardrails([rail]).svg


def test_shares_of_units_stand_beside_the_plan() -> None:
    assert shares(draft().arms) is None
    plot = shares(experiment().arms)
    assert plot is not None
    assert [row[2] for row in plot.table.rows] == ["50", "50"]


def test_a_canary_shows_how_it_went_and_what_is_ahead() -> None:
    plot = canary_steps(canary(), NOON + 1500)
    assert [key.name for key in plot.legend] == ["as it went", "ahead, on evidence"]
    assert [row[0] for row in plot.table.rows] == ["1", "5", "25", "25", "50", "100"]
    aborted = canary(state="aborted", ended_at=NOON + 1500)
    assert [key.name for key in canary_steps(aborted, NOON + 9000).legend] == ["as it went"]


def test_which_version_was_right_is_one_bar() -> None:
    found = shadow().paired
    assert found is not None
    assert "both right 82.5 %" in paired(found).svg
