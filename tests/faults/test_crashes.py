"""Replicas and gateways that die: they are replaced, or given up with their last words in the status."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.met_by_models import met_at
from support.models import Models
from support.platform import Platform
from support.wait import until

pytestmark = [pytest.mark.slow, pytest.mark.long]

DIES_WHEN_TOLD = """
import os, pathlib, sys
from sklearn.linear_model import LogisticRegression

class Model(LogisticRegression):
    def __setstate__(self, state):
        if pathlib.Path({flag!r}).exists():
            print("the flux capacitor is empty", file=sys.stderr, flush=True)
            os._exit(7)
        self.__dict__.update(state)
"""
TRAIN = """
import joblib, sklearn.datasets
from dying_model import Model
joblib.dump(Model(max_iter=1000).fit(*sklearn.datasets.load_iris(return_X_y=True)), {path!r})
"""


@pytest.fixture
def dying(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A real model that ends its process while it loads once the flag is there: model file, code folder, flag."""
    code, model, flag = tmp_path / "code", tmp_path / "dying.joblib", met_at(tmp_path / "flag")
    code.mkdir()
    (code / "dying_model.py").write_text(DIES_WHEN_TOLD.format(flag=str(flag)))
    subprocess.run([sys.executable, "-c", TRAIN.format(path=str(model))], cwd=code, check=True, timeout=60)
    return model, code, flag


def variant(platform: Platform, endpoint: str) -> Any:
    (only,) = platform.endpoint(endpoint)["variants"]
    return only


def pids_of(platform: Platform, endpoint: str) -> list[int]:
    found = platform.processes("tidegate.server")
    return [process.pid for process in found if f"/versions/{endpoint}/" in " ".join(process.cmdline())]


def test_a_replica_that_dies_at_every_start_is_given_up_with_its_last_words(
    platform: Platform, dying: tuple[Path, Path, Path]
) -> None:
    model, code, flag = dying
    platform.done("deploy", str(model), "--name", "dying", "--allow-pickle", "--code", str(code))
    flag.touch()
    (pid,) = pids_of(platform, "dying")
    os.kill(pid, signal.SIGKILL)

    def given_up() -> bool:
        return bool(variant(platform, "dying")["status"] == "failed")

    until(given_up, timeout_s=90, what="the version being given up")
    endpoint = platform.endpoint("dying")
    assert endpoint["status"] == "failed"
    assert endpoint["traffic"] == {"1": 100}, "nobody's share is moved elsewhere"
    assert "exited with code 7" in endpoint["reason"]
    assert "the flux capacitor is empty" in endpoint["reason"]
    assert "given up" in endpoint["reason"]
    answer = platform.predict("dying", [5.1, 3.5, 1.4, 0.2])
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert pids_of(platform, "dying") == []
    flag.unlink()
    platform.done("scale", "dying", "--replicas", "1", timeout_s=120)
    assert platform.endpoint("dying")["status"] == "ready", "a person's change tries again"


def test_with_two_replicas_a_crash_costs_no_request(platform: Platform, models: Models) -> None:
    given = ("--name", "pair", "--allow-pickle", "--replicas", "2")
    platform.done("deploy", models.path("logistic.joblib"), *given)
    row = models.rows[0].tolist()
    os.kill(pids_of(platform, "pair")[0], signal.SIGKILL)
    answers = [platform.predict("pair", row).status_code for _ in range(50)]
    assert answers == [200] * 50
    until(lambda: variant(platform, "pair")["replicas"]["ready"] == 2, timeout_s=60, what="the replacement")
    assert variant(platform, "pair")["restarts"] == 1
    until(lambda: platform.endpoint("pair")["status"] == "ready", what="the endpoint being ready again")


def test_a_killed_gateway_comes_back(own_platform: Platform) -> None:
    here = own_platform.start()
    (gateway,) = here.processes("tidegate.gateway")
    gateway.kill()

    def answers() -> bool:
        try:
            return httpx.get(here.gateway_url + "/health").status_code == 200
        except httpx.TransportError:
            return False

    until(lambda: not gateway.is_running(), what="the gateway's death")
    until(answers, what="a new gateway")
    view = here.done("status")["gateways"][0]
    assert view["pid"] != gateway.pid
    assert "gateway-0 ended" in here.log()


def requests_counted(here: Platform) -> float:
    """The sum of `model_requests_total`, asked of whichever gateway takes the connection."""
    text = httpx.get(here.gateway_url + "/metrics").text
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith("model_requests_total{"))


def test_counts_of_two_gateways_outlive_one_of_them_and_the_platform(own_platform: Platform, models: Models) -> None:
    own_platform.gateways = 2
    here = own_platform.start()
    here.done("deploy", models.path("logistic.joblib"), "--name", "two", "--allow-pickle", "--no-accelerate")
    row = models.rows[0].tolist()
    before = requests_counted(here)  # what `deploy` itself asked, if anything
    assert [here.predict("two", row).status_code for _ in range(100)] == [200] * 100
    assert requests_counted(here) == before + 100
    first = here.processes("tidegate.gateway")[0]
    first.kill()
    until(lambda: not first.is_running(), what="the gateway's death")

    def counted_once_two_are_ready() -> bool:
        try:
            assert requests_counted(here) == before + 100
        except httpx.TransportError:
            return False  # the connection was the dead one's
        return [one["status"] for one in here.done("status")["gateways"]] == ["ready", "ready"]

    until(counted_once_two_are_ready, timeout_s=60, what="both gateways")
    assert {requests_counted(here) for _ in range(10)} == {before + 100}
    here.stop()
    here.start()
    assert requests_counted(here) == before + 100
