"""Which actions an experiment takes in which state."""

from __future__ import annotations

from typing import get_args

import pytest

from tidegate.core.experiments.states import ENDED, Action, Ramp, Stored, after
from tidegate.errors import Conflict


def test_every_state_answers_every_action() -> None:
    led: dict[tuple[Stored, Action], Stored | None] = {}
    for state in get_args(Stored):
        for action in get_args(Action):
            try:
                led[state, action] = after("blue", state, action)
            except Conflict:
                led[state, action] = None
    assert led["draft", "start"] == led["paused", "resume"] == "running"
    assert led["running", "pause"] == "paused"
    assert led["running", "approve"] == "decided"
    assert led["paused", "approve"] is None
    assert {led[state, "stop"] for state in ("draft", "running", "paused")} == {"stopped"}
    assert all(following is None for (state, _), following in led.items() if state in ENDED)


def test_an_ended_one_says_that_it_has_ended() -> None:
    with pytest.raises(Conflict, match=r"has ended \(decided\): create another one"):
        after("blue", "decided", "start")


def test_a_ramp_goes_up_when_it_is_due_and_not_past_its_end() -> None:
    ramp = Ramp((10.0, 50.0, 100.0), 60.0)
    assert ramp.coverage == 0.1
    assert [ramp.is_due(59.0), ramp.is_due(60.0)] == [False, True]
    assert not Ramp((10.0, 50.0, 100.0), 60.0, 2).is_due(1e9)
