from __future__ import annotations

import pytest

from tidegate.core.canary.grammar import DEFAULTS, check_every, check_steps, guardrails, parse_steps
from tidegate.errors import InvalidArgument


def test_steps_as_people_write_them() -> None:
    assert check_steps(parse_steps("1,5, 25,50,100")) == (1.0, 5.0, 25.0, 50.0, 100.0)
    assert check_steps(parse_steps("10%,100%")) == (10.0, 100.0)


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([100.0], "from 2 to 20 steps"),
        ([5.0, 5.0, 100.0], "must rise"),
        ([5.0, 1.0, 100.0], "must rise"),
        ([0.0, 100.0], "no percent"),
        ([float("nan"), 100.0], "no percent"),
        ([5.0, 50.0], "must be 100"),
        ([50.0, 120.0], "no percent"),
        ([float(step) for step in range(1, 22)], "from 2 to 20"),
    ],
)
def test_steps_that_make_no_sense(steps: list[float], words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        check_steps(steps)


def test_steps_that_are_no_numbers() -> None:
    with pytest.raises(InvalidArgument, match="list of percents"):
        parse_steps("1,five")


@pytest.mark.parametrize("every_s", [0.0, float("nan"), 1e9])
def test_a_step_takes_a_second_to_a_month(every_s: float) -> None:
    with pytest.raises(InvalidArgument):
        check_every(every_s)


def test_what_is_given_takes_the_place_of_the_guardrail_of_its_name() -> None:
    assert guardrails([]) == DEFAULTS
    found = {one.name: one for one in guardrails(["errors:max=0.02", "latency:margin=0.2,dry_run", "drift:off"])}
    assert set(found) == {"errors", "latency", "non_finite", "crashes"}
    assert (found["errors"].kind, found["errors"].value) == ("max", 0.02)
    assert found["latency"].dry_run
    assert found["latency"].text == "latency:margin=0.2,dry_run"
    assert found["non_finite"].text == "non_finite:margin=abs:0"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("revenue:margin=0.1", "experiment create"),
        ("errors", "errors:max=X"),
        ("errors:margin", "errors:max=X"),
        ("errors:min=1", "errors:max=X"),
        ("errors:margin=nan", "needs a number"),
        ("errors:margin=-1", "needs a number"),
        ("errors:margin=2", "from 0 to 1"),
        ("errors:margin=0.1,dry", "errors:max=X"),
        ("drift:margin=0.1", "drift:max=X"),
        ("errors:max=abs:1", "without abs"),
    ],
)
def test_guardrails_that_make_no_sense(text: str, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        guardrails([text])


def test_a_guardrail_given_twice() -> None:
    with pytest.raises(InvalidArgument, match="twice"):
        guardrails(["errors:off", "errors:max=1"])
