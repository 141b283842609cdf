"""What rules would have sent: as if each moment had been lived through."""

from __future__ import annotations

from collections.abc import Mapping

from tidegate.core.alerting.model import Action, AlertType, Observation, Rule, Verdict
from tidegate.core.alerting.replay import replay

HOUR = 3600.0


def look(hour: float, verdict: Verdict, feature: str = "age") -> tuple[float, list[Observation]]:
    return hour * HOUR, [Observation("data_drift", "churn", "feature_drift", verdict, feature=feature)]


def test_a_replay_tells_when_what_would_have_been_sent() -> None:
    looks = [look(0, "ok"), look(1, "alert"), look(2, "alert"), look(3, "ok"), look(10, "unknown"), look(20, "alert")]
    sent = [(one.at / HOUR, one.status) for one in replay({}, looks)]
    assert sent == [(1, "firing"), (3.25, "resolved"), (20, "firing")], "it ends when it would have, between two looks"


def test_a_replay_repeats_and_takes_no_action() -> None:
    rule = Rule(repeat_interval_s=4 * HOUR, actions=(Action("rollback"),))
    sent = [one.at / HOUR for one in replay({"data_drift": rule}, [look(0, "alert"), look(9, "alert")])]
    assert sent == [0, 4, 8]


def test_other_rules_would_have_sent_less() -> None:
    looks = [look(hour, "alert" if hour % 2 else "ok") for hour in range(10)]
    assert len(list(replay({}, looks))) == 10 - 1
    calm: Mapping[AlertType, Rule] = {"data_drift": Rule(keep_firing_for_s=2 * HOUR)}
    assert [one.status for one in replay(calm, looks)] == ["firing"]
    patient: Mapping[AlertType, Rule] = {"data_drift": Rule(for_s=2 * HOUR, keep_firing_for_s=0)}
    assert list(replay(patient, looks)) == []
