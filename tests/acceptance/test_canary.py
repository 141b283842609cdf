"""Canaries and guards on a running platform: a good version goes all the way, a broken one goes back by itself."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from support.platform import Platform
from support.traffic import Traffic
from support.wait import until

_MODEL = """
import os
import time

kept = []


class Model:
    example = [1.0]

    def predict(self, inputs):
        {body}
        return [float(row[0]) for row in inputs]
"""
_UNLESS_TESTED = "if any(row[0] != 1.0 for row in inputs): "
"""The gate predicts the example, which every version must pass."""
BROKEN = {
    "errors": _UNLESS_TESTED + 'raise RuntimeError("no")',
    "refuses": _UNLESS_TESTED + 'raise ValueError("no")',
    "slow": _UNLESS_TESTED + "time.sleep(0.1)",
    "nan": _UNLESS_TESTED + "return [float('nan') for _ in inputs]",
    "crashes": "if any(row[0] > 900.0 for row in inputs): os._exit(7)",
    "hangs": _UNLESS_TESTED + "time.sleep(60)",
    "leaks": _UNLESS_TESTED + "kept.append(bytes(1 << 20)); len(kept) < 40 or os.kill(os.getpid(), 9)",
}
"""What leaks is killed at its limit of 40 MB from outside, as by an engine that bounds memory."""
SAID = {
    "errors": ("errors breached: 1 (",),
    "refuses": ("errors breached: 1 (",),
    "slow": ("latency breached: ",),
    "nan": ("non_finite breached: 1 (",),
    "crashes": ("crashes breached: 2, and may be 1", "errors breached: "),
    "hangs": ("errors breached: ", "latency breached: "),
    "leaks": ("crashes breached: 2, and may be 1",),
}
"""Why each is taken back. Where a request kills its replica, or has no answer, two guardrails can be first."""
ENDED_S = 240.0


def written(folder: Path, body: str) -> str:
    folder.mkdir()
    (folder / "model.py").write_text(_MODEL.format(body=body))
    return str(folder)


def registered(platform: Platform, folder: Path, name: str, body: str) -> None:
    platform.done("register", written(folder, body), "--name", name, "--allow-pickle")


def ended(platform: Platform, endpoint: str) -> Any:
    """The canary's (or guard's) view once it is over."""

    def over() -> Any:
        found = platform.api("GET", f"/api/v1/endpoints/{endpoint}/canary").json()
        return found if found.get("ended_at") is not None else None

    return until(over, ENDED_S, what=f"the end of {endpoint}'s canary")


def test_a_good_version_goes_all_the_way_and_a_failing_one_goes_back(platform: Platform, tmp_path: Path) -> None:
    platform.done("deploy", written(tmp_path / "one", "pass"), "--name", "climb", "--allow-pickle")
    registered(platform, tmp_path / "two", "climb", "time.sleep(0)")
    registered(platform, tmp_path / "three", "climb", BROKEN["errors"])
    with Traffic(platform, "climb").running(clients=3) as traffic:
        begun = platform.done(
            "deploy", "climb:2", "--canary", "25,100", "--every", "2s", "--guardrail", "errors:margin=abs:0.1",
            "--guardrail", "latency:off",
        )  # fmt: skip
        assert (begun["state"], begun["weight"]) == ("running", 25.0)
        assert "canary" in platform.failed("deploy", "climb:1")["error"]
        good = ended(platform, "climb")
        assert good["state"] == "promoted", good
        assert [step["weight"] for step in good["history"]] == [25.0]
        assert all(min(step["requests"], step["requests_stable"]) >= 100 for step in good["history"])
        assert (traffic.failed, traffic.unanswered) == (0, [])
        assert platform.endpoint("climb")["asked"] == {"2": 100.0}

        platform.done("deploy", "climb:3", "--canary", "10,100", "--every", "2s")
        bad = ended(platform, "climb")
        assert bad["state"] == "aborted", bad
        assert "errors breached" in bad["reason"]
        assert "requests that it was given were affected" in bad["reason"]
        until(lambda: platform.endpoint("climb")["traffic"] == {"2": 100.0}, what="stable")
    assert traffic.unanswered == []
    assert traffic.failed > 0
    told = platform.cli("canary", "status", "climb").out
    assert "aborted" in told
    assert all(len(line) <= 80 for line in told.splitlines())
    actions = [one["action"] for one in platform.done("history", "climb")["history"]]
    assert {"canary", "promote", "rollback"} <= set(actions)


def test_a_deployment_that_fails_is_taken_back_unless_nobody_guards_it(platform: Platform, tmp_path: Path) -> None:
    platform.done("deploy", written(tmp_path / "one", "pass"), "--name", "guarded", "--allow-pickle")
    registered(platform, tmp_path / "two", "guarded", BROKEN["errors"])
    platform.done("deploy", "guarded:2", "--no-guard")
    assert platform.api("GET", "/api/v1/endpoints/guarded/canary").status_code == 404
    platform.done("rollback", "guarded")
    platform.done("deploy", "guarded:2")
    with Traffic(platform, "guarded").running(clients=2) as traffic:
        found = ended(platform, "guarded")
        until(lambda: platform.endpoint("guarded")["traffic"] == {"1": 100.0}, what="stable")
    assert (found["kind"], found["state"]) == ("guard", "aborted")
    assert "failed or timed out" in found["reason"]
    assert traffic.unanswered == []
    (entry, *_) = platform.done("history", "guarded")["history"]
    assert (entry["action"], entry["actor"]) == ("rollback", "guard")


@pytest.mark.long
@pytest.mark.timeout(ENDED_S + 180)  # the gate waits a minute for what hangs, before it is registered
@pytest.mark.parametrize("kind", list(BROKEN))
def test_every_kind_of_broken_version_is_aborted_by_default(own_platform: Platform, tmp_path: Path, kind: str) -> None:
    here = own_platform.start()
    here.done("deploy", written(tmp_path / "one", "pass"), "--name", "churn", "--allow-pickle")
    registered(here, tmp_path / "two", "churn", BROKEN[kind])
    with Traffic(here, "churn").running() as traffic:
        here.done("deploy", "churn:2", "--canary", "5,25,50,100", "--every", "5s")
        found = ended(here, "churn")
        until(lambda: here.endpoint("churn")["traffic"] == {"1": 100.0}, what="stable")
    assert found["state"] == "aborted", found
    assert found["reason"].startswith(SAID[kind]), found["reason"]
    assert found["reason"].endswith(" affected"), "with how many requests"
    assert found["reason"].partition(" ")[0] in {
        one["name"] for one in found["guardrails"] if one["state"] == "breached"
    }
    assert traffic.unanswered == []


@pytest.mark.long
def test_a_control_plane_that_dies_in_mid_step_goes_on_and_costs_no_request(
    own_platform: Platform, tmp_path: Path
) -> None:
    here = own_platform.start()
    here.done("deploy", written(tmp_path / "one", "pass"), "--name", "churn", "--allow-pickle")
    registered(here, tmp_path / "two", "churn", "time.sleep(0)")
    kept = ("--guardrail", "errors:margin=abs:0.05", "--guardrail", "latency:margin=5")
    with Traffic(here, "churn").running(clients=3) as traffic:
        here.done("deploy", "churn:2", "--canary", "10,50,100", "--every", "8s", *kept)
        until(
            lambda: here.api("GET", "/api/v1/endpoints/churn/canary").json()["step"] == 1, 120, what="the second step"
        )
        os.kill(here.control_pid, signal.SIGKILL)
        until(lambda: not here.processes("tidegate.control"), what="the control plane's death")
        here.start()
        assert ended(here, "churn")["state"] == "promoted"
    assert (traffic.failed, traffic.unanswered) == (0, [])
