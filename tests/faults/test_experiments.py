"""A control plane that is killed while an experiment runs: nobody moves, and the one after it decides."""

from __future__ import annotations

import os
import signal
from typing import Any

import httpx
import numpy as np
import pytest

from support.models import Models
from support.platform import Platform
from support.wait import until

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(400)]

UNITS = 400
RATES = {"1": 0.1, "2": 0.7}


def asked(platform: Platform, row: list[float], users: range) -> dict[int, str]:
    """Each user's version; a prediction that fails fails the test."""
    found = {}
    with httpx.Client(base_url=platform.gateway_url, timeout=30) as client:
        for user in users:
            headers = {"X-Tidegate-Key": f"user-{user}"}
            answer = client.post("/predict/kept", json={"features": row}, headers=headers)
            assert answer.status_code == 200, answer.text
            found[user] = answer.json()["model_version"]
    return found


def told(platform: Platform, versions: dict[int, str]) -> None:
    """What became of them."""
    rng = np.random.default_rng(3)
    events = [
        {"key": f"user-{user}", "endpoint": "kept", "metrics": {"bought": float(rng.random() < RATES[version])}}
        for user, version in versions.items()
    ]
    answer = httpx.post(f"{platform.gateway_url}/feedback", json=events, timeout=30)
    assert answer.status_code == 202, answer.text


def test_an_experiment_goes_on_where_its_control_plane_was_killed(own_platform: Platform, models: Models) -> None:
    here = own_platform.start()
    for file in ("logistic.joblib", "forest.joblib"):
        here.done("register", models.path(file), "--name", "kept", "--allow-pickle")
    here.done("deploy", "kept:1")
    arms = ("--control", "1", "--treatment", "2", "--metric", "bought:increase:proportion", "--mde", "100%")
    here.done("experiment", "create", "kept", *arms, "--name", "buttons", "--auto", "--start")
    row = models.rows[0].tolist()
    until(lambda: set(asked(here, row, range(10_000, 10_020)).values()) == {"1", "2"}, 60, what="both arms")
    first = asked(here, row, range(UNITS // 2))
    told(here, first)
    seen: list[Any] = []

    def looked_at() -> bool:
        seen.append(here.done("experiment", "status", "kept"))
        return bool(seen[-1]["looked_at"] and sum(arm["exposed"] for arm in seen[-1]["arms"]))

    until(looked_at, 60, what="a look")
    os.kill(here.control_pid, signal.SIGKILL)
    until(lambda: not here.processes("tidegate.control"), what="the control plane's death")
    assert asked(here, row, range(UNITS // 2)) == first, "gateways answer on, and nobody moves"
    here.stop()
    here.start()
    until(lambda: here.endpoint("kept")["status"] == "ready", 60, what="the replicas")
    assert asked(here, row, range(UNITS // 2)) == first, "nor after a restart of everything"
    told(here, asked(here, row, range(UNITS // 2, UNITS)))

    def decided() -> bool:
        seen.append(here.done("experiment", "status", "kept"))
        return bool(seen[-1]["state"] == "decided")

    until(decided, 90, what="a decision")
    found = seen[-1]
    assert (found["decision"], found["winner"], found["started_at"]) == ("promote", "b", seen[0]["started_at"])
    assert here.endpoint("kept")["asked"] == {"2": 100.0}
