"""From predictions to a webhook: what drifts and what fails is told once, and a rule rolls back what fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer

from support.models import Models
from support.platform import Platform
from support.receivers import Receiver, http_receiver
from support.wait import until

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(400)]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with http_receiver() as found:
        yield found


def _labelled(folder: Path) -> tuple[np.ndarray, np.ndarray, str]:
    x, y = load_breast_cancer(return_X_y=True)
    file = folder / "validation.csv"
    pd.DataFrame(x).assign(label=y).to_csv(file, index=False)
    return x, y, str(file)


def _told(receiver: Receiver) -> set[tuple[str, str]]:
    return {(got.json["status"], one["labels"]["alertname"]) for got in receiver.got for one in got.json["alerts"]}


def test_drift_and_bad_labels_reach_a_webhook_and_the_version_is_rolled_back(
    platform: Platform, models: Models, tmp_path: Path, receiver: Receiver
) -> None:
    x, y, validation = _labelled(tmp_path)
    gate = ("--validation-data", validation, "--target", "label", "--allow-pickle")
    for name in ("logistic", "forest"):
        platform.done("deploy", models.path(f"{name}.joblib"), "--name", "alerted", *gate)
    made = platform.done("notifiers", "add", "team", "--webhook", receiver.url, "--endpoint", "alerted")
    assert made["secret"].startswith("whsec_")
    assert platform.done("notifiers", "test", "team")["state"] == "sent"
    platform.done("alert-rules", "alerted", "--on", "performance:rollback")

    largest = np.tile(np.argsort(x[:, 0])[-300:], 2)  # rows of one kind alone, each as it may be
    rows, wrong = x[largest], 1 - y[largest]
    events: list[dict[str, Any]] = []
    for number in range(0, 600, 100):
        answer = platform.predict("alerted", rows[number : number + 100].tolist()).json()
        labels = wrong[number : number + 100].tolist()
        events += [{"id": answer["id"], "row": row, "label": label} for row, label in enumerate(labels)]
    for number in range(0, 600, 100):
        answered = platform.ask("/feedback", events[number : number + 100])
        assert answered.status_code == 202, answered.text

    found = platform.done("monitor", "alerted", "--now")
    alerting = {one["monitor"] for one in found if one["state"] == "alert"}
    assert {"feature_drift", "performance"} <= alerting, found
    until(
        lambda: {("firing", "data_drift"), ("firing", "performance_drift")} <= _told(receiver),
        what=str(platform.done("alerts", "--endpoint", "alerted")),
    )
    until(lambda: platform.endpoint("alerted")["traffic"] == {"1": 100.0}, what=platform.log())
    newest = platform.done("history", "alerted")["history"][0]
    assert (newest["action"], newest["actor"]) == ("rollback", "monitor")
    assert "performance_drift" in newest["note"]

    until(lambda: ("resolved", "data_drift") in _told(receiver), what="its version gets no traffic any more")
    listed = platform.done("alerts", "--endpoint", "alerted")["alerts"]
    performance = next(one for one in listed if one["type"] == "performance_drift")
    assert performance["actions"] == ["rollback: rolled back to revision 1"]
    assert performance["ended_because"] == "version 2 gets no traffic any more"
    assert platform.failed("alerts", "ack", performance["id"])["code"] == "conflict"
    for options in (("--stored",), ()):
        would = platform.done("alerts", "test", "alerted", "--since", "1h", *options)
        assert "performance_drift" in {one["type"] for one in would} or not options, would
    silence = platform.done("alerts", "silence", "endpoint=alerted", "--for", "1h")
    assert platform.done("alerts", "silence", "--end", silence["id"])["active"] is False
    shown = platform.cli("alerts", "show", performance["id"])
    assert "rollback: rolled back to revision 1" in shown.out
    sent = platform.done("alerts", "deliveries", "--notifier", "team", "--state", "sent")["deliveries"]
    assert len(sent) == len(receiver.got), "once each"
    platform.done("notifiers", "delete", "team", "--yes")
    assert platform.done("notifiers")["notifiers"] == []
