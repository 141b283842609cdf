"""How experiments stand on a terminal of 80 columns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from support.decisions import NOON, draft, ended, experiment
from tidegate.cli.experiments.experiment import _options
from tidegate.cli.experiments.text import checked, listed, shown
from tidegate.errors import InvalidArgument
from tidegate.wire.experiments.experiments import AaMetric, AaView, ExperimentView, RatioView

NOTHING: dict[str, Any] = dict.fromkeys(
    ("name", "guardrails", "mde", "alpha", "max_days", "on_breach", "on_no_traffic", "split", "ramp", "ramp_every")
)
FLAGS = {"auto": False, "start": False, "accept_signature_change": False}


@pytest.mark.parametrize(
    "view",
    [
        draft(expected_days=6.0),
        experiment(0),
        experiment(1),
        experiment(30, warnings=["12 calls had no key (X-Tidegate-Key or user_id): they were assigned by request"]),
        experiment(30, ratio=RatioView(False, 240.0, 3)),
        ended("promote"),
        ended("inconclusive"),
    ],
)
def test_a_status_fits_a_terminal(view: ExperimentView) -> None:
    assert max(map(len, shown(view).splitlines())) <= 80


def test_a_status_begins_with_what_is_known_and_what_comes_next() -> None:
    told = shown(experiment(30))
    assert told.startswith("churn/price-page · running")
    assert told.index("continue: treatment's conversion is") < told.index("next: about 3 days left")
    assert told.index("next:") < told.index("METRIC")
    assert "maturing".upper() in told


def test_an_interval_without_an_upper_end_is_told_and_nothing_is_left_once_it_is_ready() -> None:
    view = experiment(30)
    told = shown(
        replace(view, metrics=[replace(view.metrics[0], lower=8.999, upper=None)], days_left=0.0, next="ready")
    )
    assert "at least +899.9 %" in told
    assert "left: about" not in told


def test_the_time_left_is_told_once_and_what_was_stopped_decided_nothing() -> None:
    told = shown(experiment(30, days_left=0.02, next="less than an hour left at the present rate"))
    assert told.count("left") == 1
    stopped = shown(experiment(30, state="stopped", active=False, reason="anna stopped it"))
    assert "nothing decided: anna stopped it" in stopped
    assert "continue" not in stopped


def test_an_interval_is_drawn_around_no_change() -> None:
    drawn = [line for line in shown(experiment(30)).splitlines() if "[" in line]
    assert len(drawn) == 1
    bar = drawn[0].partition("conversion  ")[2]
    assert len(bar) == 41
    assert bar[20] == "|"
    assert bar.index("[") < bar.index("o") < bar.index("]")


def test_a_draft_tells_how_long_it_is_expected_to_take() -> None:
    assert "expected: about 6 days" in shown(draft(expected_days=6.0))


def test_units_in_another_ratio_are_unhealthy() -> None:
    assert "unhealthy: units did not come in the planned ratio" in shown(experiment(30, ratio=RatioView(False, 240.0)))


def test_a_list_and_an_aa_check_fit_a_terminal() -> None:
    many = [replace(ended("promote"), name=f"price-page-{number}") for number in range(3)]
    long = "found a difference in 1 % of 1000 splits, as promised; a fixed-time test at as many looks in 24 %"
    found = AaView("churn", NOON - 86_400, NOON, 1000, 20, [
        AaMetric("conversion", 12_000, 0.012, 0.245, long),
        AaMetric("spent", 3, None, None, "3 units are too few"),
    ])  # fmt: skip
    for told in (listed("churn", many), checked(found)):
        assert max(map(len, told.splitlines())) <= 80
    assert "at as many looks in 24 %" in " ".join(checked(found).split())
    assert listed("churn", []) == "endpoint churn has no experiments"


def test_what_is_not_given_is_not_asked_for() -> None:
    made = _options(NOTHING | FLAGS | {"split": "80/20", "ramp": "10,50%,100", "ramp_every": "12h", "auto": True})
    assert {name: value for name, value in made.items() if value is not None} == {
        "auto": True, "split": [80.0, 20.0], "ramp": [10.0, 50.0, 100.0], "ramp_every_s": 43_200.0,
    }  # fmt: skip


def test_a_split_that_cannot_be_read_is_told_with_an_example() -> None:
    with pytest.raises(InvalidArgument, match="as in 50/50"):
        _options(NOTHING | FLAGS | {"split": "half"})
