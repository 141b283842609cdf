"""Experiments on a running platform, by the command line and HTTP: a better version is promoted, a worse one not.

Effects are as large as they never are, so that some hundred units are enough.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest

from support.models import Models
from support.platform import Platform
from support.wait import until
from tidegate.client import Client
from tidegate.errors import InvalidArgument

pytestmark = pytest.mark.slow

UNITS = 500
BOUGHT = "bought:increase:proportion"


@pytest.fixture(scope="module")
def model(platform: Platform, models: Models) -> str:
    """A model with two versions."""
    for file in ("logistic.joblib", "forest.joblib"):
        platform.done("register", models.path(file), "--name", "compared", "--allow-pickle", "--no-accelerate")
    return "compared"


def create(platform: Platform, model: str, name: str, *more: str) -> Any:
    """Serve version 1 as an endpoint of this name, start an experiment there, and wait until both versions answer."""
    platform.done("deploy", f"{model}:1", "--endpoint", name)
    arms = ("--control", "1", "--treatment", "2")
    made = platform.done("experiment", "create", name, *arms, "--auto", "--start", "--mde", "100%", *more)
    assert made["active"], made
    with httpx.Client(base_url=platform.gateway_url) as client:
        until(
            lambda: {assigned(client, name, f"probe-{n}")["version"] for n in range(20)} == {"1", "2"},
            what="both arms to be routed",
        )
    return made


def assigned(client: httpx.Client, name: str, key: str) -> Any:
    answer = client.get(f"/assign/{name}", params={"key": key})
    assert answer.status_code == 200, answer.text
    return answer.json()


def served(platform: Platform, models: Models, name: str, rates: dict[str, float], metric: str = "bought") -> None:
    """Predictions for units with keys, then what came of each: it happens as often as its version's rate says."""
    rng, events = np.random.default_rng(7), []
    row = models.rows[0].tolist()
    with httpx.Client(base_url=platform.gateway_url, timeout=30) as client:
        for number in range(UNITS):
            headers = {"X-Tidegate-Key": f"user-{number}"}
            answer = client.post(f"/predict/{name}", json={"features": row}, headers=headers)
            assert answer.status_code == 200, answer.text
            happened = float(rng.random() < rates[answer.json()["model_version"]])
            events.append({"key": f"user-{number}", "endpoint": name, "metrics": {metric: happened}})
        answer = client.post("/feedback", json=events)
        assert (answer.status_code, answer.json()) == (202, {"accepted": UNITS})


def status(platform: Platform, name: str, *more: str) -> Any:
    return platform.done("experiment", "status", name, *more)


def reached(platform: Platform, name: str, is_it: Callable[[Any], bool], what: str) -> Any:
    """The status once it is so."""
    found: list[Any] = []

    def so() -> bool:
        found.append(status(platform, name))
        return is_it(found[-1])

    until(so, 60, what=f"{what} of {name}")
    return found[-1]


def test_the_seeds_four_functions_do_what_they_say(platform: Platform, models: Models, model: str) -> None:
    platform.done("deploy", f"{model}:1", "--endpoint", "seeded")
    with Client(platform.url, platform.token, gateway_url=platform.gateway_url) as client:
        experiments = client.experiments
        made = experiments.create_experiment("pages", f"{model}:1", f"{model}:2", 0.5, endpoint="seeded")
        assert (made.active, made.traffic_split, [arm.version for arm in made.arms]) == (True, 0.5, ["1", "2"])
        assert experiments.analyze_experiment("nothing", endpoint="seeded") is None
        until(
            lambda: len({experiments.route_request("pages", n) for n in range(30)}) == 2,
            what="both versions to be routed",
        )
        for user in range(8):
            version = experiments.route_request("pages", user)
            answer = client.predict("seeded", models.rows[0].tolist(), key=str(user))
            assert answer.model_version == version
            experiments.record_metric("pages", version, 2.5, key=user)
            other = "1" if version == "2" else "2"
            with pytest.raises(InvalidArgument, match="is in arm"):
                experiments.record_metric("pages", other, 2.5, key=user)
        until(lambda: sum(arm.units for arm in experiments.get("seeded").arms) == 8, 60, what="eight units")
        assert experiments.analyze_experiment("pages") == {"status": "insufficient_data"}
        assert experiments.stop("seeded").state == "stopped"


def test_a_better_version_is_promoted_by_itself(platform: Platform, models: Models, model: str) -> None:
    create(platform, model, "better", "--name", "buttons", "--metric", BOUGHT)
    served(platform, models, "better", {"1": 0.2, "2": 0.6})
    found = reached(platform, "better", lambda one: one["state"] == "decided", "a decision")
    assert (found["decision"], found["winner"], found["significant"]) == ("promote", "b", True), found
    assert found["lower"] > 0
    assert found["model_a_mean"] == pytest.approx(0.2, abs=0.1)
    assert [arm["variant"] for arm in found["arms"]] == ["control", "treatment"]
    assert sum(arm["units"] for arm in found["arms"]) == UNITS
    until(lambda: platform.predict("better", models.rows[0].tolist()).json()["model_version"] == "2", what="version 2")
    entries = platform.done("history", "better")["history"]
    assert any("buttons" in str(one) for one in entries), entries
    shown = platform.cli("experiment", "status", "better").out
    assert "bought" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_a_worse_version_is_rolled_back_by_its_guardrail(platform: Platform, models: Models, model: str) -> None:
    guardrail = ("--guardrail", "complained:margin=abs:0.05,decrease,proportion")
    create(platform, model, "worse", "--metric", BOUGHT, *guardrail)
    served(platform, models, "worse", {"1": 0.1, "2": 0.6}, metric="complained")
    found = reached(platform, "worse", lambda one: one["state"] == "decided", "a rollback")
    assert found["decision"] == "rollback", found
    assert [one["state"] for one in found["guardrails"]] == ["breached"]
    until(lambda: platform.endpoint("worse")["traffic"] == {"1": 100.0}, what="stable alone")


def test_an_equal_version_is_not_promoted(platform: Platform, models: Models, model: str) -> None:
    create(platform, model, "equal", "--name", "same", "--metric", BOUGHT)
    served(platform, models, "equal", {"1": 0.4, "2": 0.4})
    found = reached(
        platform, "equal", lambda one: sum(arm["units"] for arm in one["arms"]) == UNITS, "all units in the analysis"
    )
    assert (found["state"], found["decision"], found["winner"]) == ("running", "continue", None), found
    assert found["reason"]
    assert found["next"]
    checked = platform.done("experiment", "aa", "equal", "--repetitions", "100", "--days", "1")
    assert checked["metrics"][0]["units"] == UNITS
    assert checked["metrics"][0]["rate"] <= 0.15
    stopped = platform.done("experiment", "stop", "equal")
    assert (stopped["state"], stopped["active"]) == ("stopped", False)
    until(lambda: platform.endpoint("equal")["traffic"] == {"1": 100.0}, what="control alone")
    assert [one["name"] for one in platform.done("experiment", "list", "equal")["experiments"]] == ["same"]
    planned = ("--control", "1", "--treatment", "2", "--metric", BOUGHT)
    assert "expected_days" in platform.done("experiment", "create", "equal", *planned)
