"""Forms about decisions: what they ask of the client, the same as commands, and what cannot be meant. Pure."""

from __future__ import annotations

from dataclasses import replace

import pytest

from support.decisions import draft, ended, experiment, shadow
from tidegate.console.deciding import creating, evidence, shadowing
from tidegate.errors import InvalidArgument
from tidegate.wire.experiments.experiments import ExperimentView

FORM = {"control": "1", "t.2": "yes", "metric": "converted", "direction": "increase", "type": "proportion"}


def test_an_experiment_is_asked_for_as_it_was_filled_in() -> None:
    form = FORM | {
        "name": "prices", "t.3": "yes", "split": "40/30/30", "window": "7d", "source": "label",
        "guardrails": "errors:margin=abs:0.01\n\nlatency_p95:margin=10%\n", "more": "revenue:increase:mean",
        "mde": "abs:0.01", "max_days": "14", "ramp": "10, 50,100", "ramp_every": "12h", "auto": "yes",
    }  # fmt: skip
    asked = creating.asked(form)
    assert asked["treatments"] == ["2", "3"]
    assert asked["metrics"] == ["converted:increase:proportion,window=7d,source=label", "revenue:increase:mean"]
    assert asked["guardrails"] == ["errors:margin=abs:0.01", "latency_p95:margin=10%"]
    assert (asked["split"], asked["ramp"], asked["ramp_every_s"]) == ([40, 30, 30], [10, 50, 100], 43_200)
    assert (asked["mde"], asked["max_days"], asked["auto"], asked["name"]) == ("abs:0.01", 14, True, "prices")


def test_what_is_left_empty_is_not_asked_for() -> None:
    asked = creating.asked(FORM)
    assert not {"name", "split", "ramp", "ramp_every_s"} & set(asked)
    assert (asked["mde"], asked["auto"], asked["guardrails"]) == ("0.05", False, [])


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"metric": " "}, "the metric has no name"),
        ({"control": ""}, "no control is chosen"),
        ({"max_days": "soon"}, "most days: 'soon' is no number"),
        ({"alpha": "nan"}, "alpha: 'nan' is no number"),
        ({"split": "50:50"}, "split: '50:50' is no number"),
        ({"ramp": "10", "ramp_every": "later"}, "each step: 'later' is no span of time"),
        ({"direction": "sideways"}, "direction: choose one of increase, decrease"),
        ({"on_breach": "explode"}, "on_breach: choose one of"),
    ],
)
def test_an_experiment_that_cannot_be_meant_is_refused(values: dict[str, str], says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        creating.asked(FORM | values)


def test_without_a_treatment_there_is_no_experiment() -> None:
    with pytest.raises(InvalidArgument, match="no treatment is ticked"):
        creating.asked({name: value for name, value in FORM.items() if name != "t.2"})


def test_the_form_is_a_command_that_a_shell_takes() -> None:
    form = FORM | {"guardrails": "errors:margin=abs:0.01", "name": "it's", "ramp": "10,100", "max_days": "7"}
    line = creating.command("churn", ["2"], creating.filled(form, "1"))
    assert line == (
        "tidegate experiment create churn --name 'it'\"'\"'s' --control 1 --treatment 2 --metric "
        "converted:increase:proportion --guardrail errors:margin=abs:0.01 --max-days 7 --ramp 10,100 --ramp-every 1d"
    )
    assert "--treatment VERSION --metric NAME:increase:proportion" in creating.command(
        "churn", [], creating.filled({}, "1")
    )


def test_the_newest_version_is_ticked_until_somebody_ticks_another() -> None:
    assert creating.offered(["3", "2"], {}, 5) == [("3", True), ("2", False)]
    assert creating.offered(["3", "2"], {"t.2": "yes"}, 5) == [("3", False), ("2", True)]
    assert creating.offered(["3", "2"], {"t.9": "yes"}, 1) == [("3", False), ("9", True)]


@pytest.mark.parametrize(
    ("view", "verbs"),
    [
        (draft(), ["start", "stop"]),
        (experiment(), ["pause", "stop"]),
        (replace(experiment(), decision="promote"), ["approve", "pause", "stop"]),
        (replace(experiment(), decision="hold"), ["resume", "pause", "stop"]),
        (replace(experiment(), state="paused"), ["resume", "stop"]),
        (ended("promote"), []),
    ],
)
def test_only_what_can_be_done_is_a_button(view: ExperimentView, verbs: list[str]) -> None:
    assert [verb for verb, _, _ in evidence.verbs(view)] == verbs


def test_a_shadow_is_asked_for_by_a_share_that_there_can_be() -> None:
    assert shadowing.filled({"version": "2", "share": "12.5 %"}).percent() == 12.5
    assert shadowing.filled({}, "2").command("churn") == "tidegate shadow churn 2 --share 20"
    for share in ("0", "101", "some", "nan", ""):
        with pytest.raises(InvalidArgument, match="is no share"):
            shadowing.filled({"share": share}).percent()


def test_what_is_not_known_of_a_shadow_is_no_number() -> None:
    shown = shadowing.compared(shadow(agreement=None, difference=None, live_p95_ms=None, paired=None))
    assert dict(shown["figures"])["the same answer"] == "–"  # noqa: RUF001
    assert "once labels come" in shown["paired_said"]
    assert "+1.50 points of accuracy (between 0.20 and 2.80)" in shadowing.compared(shadow())["paired_said"]
