"""Alerts of the SDK: what a replay of rules tells while it runs."""

from __future__ import annotations

from threading import Event
from typing import Any

import pytest

from client.conftest import Standin
from tidegate.client import Client
from tidegate.client.resources import alerts

PATH = "/api/v1/alert-replays"
BEGUN = 1_700_000_000.0
DONE = {
    "endpoint": "churn", "source": "captured", "since": BEGUN, "until": BEGUN + 36_000.0, "evaluations": 10,
    "results": 20, "alerts": [],
}  # fmt: skip
UNDER_WAY = {
    "endpoint": "churn", "since": BEGUN, "until": BEGUN + 36_000.0, "at": BEGUN + 9_000.0, "evaluations": 3,
    "evaluations_total": 10, "messages": 2,
}  # fmt: skip


def test_a_replay_tells_how_far_it_is_while_it_runs(standin: Standin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "REPLAY_LOOK_S", 0.01)
    standin.says(f"POST {PATH}", DONE)
    for running in (None, {**UNDER_WAY, "endpoint": "another"}, UNDER_WAY):
        standin.says(f"GET {PATH}", {"replay": running})
    told, answers, said = Event(), standin.next_answer, list[tuple[str, float]]()

    def once_told(route: str) -> tuple[int, Any, dict[str, str]]:
        assert told.wait(30) if route.startswith("POST") else True
        return answers(route)

    def on_progress(message: str, fraction: float) -> None:
        said.append((message, fraction))
        told.set()

    monkeypatch.setattr(standin, "next_answer", once_told)
    found = Client(standin.url, "secret").alerts.test_rules("churn", 36_000.0, on_progress=on_progress)
    assert found.evaluations == 10
    assert said[0] == ("evaluated 2.5 of 10 hours; 2 would have been sent", 0.25)


def test_nobody_is_asked_how_far_a_replay_is_without_a_place_to_say_it(standin: Standin) -> None:
    standin.says(f"POST {PATH}", DONE)
    client = Client(standin.url, "secret")
    client.alerts.test_rules("churn", 36_000.0)
    assert [one.method for one in standin.asked] == ["POST"]
    standin.says(f"GET {PATH}", {"replay": None})
    assert client.alerts.replay_under_way() is None
