"""What breaks and what does not: a version that never becomes ready, a control plane that is killed, a full stop."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.met_by_models import met_at
from support.models import Models
from support.platform import Platform
from support.wait import until

pytestmark = pytest.mark.slow


class Load:
    """Asks one endpoint again and again and counts what went wrong."""

    def __init__(self, platform: Platform, endpoint: str, features: list[float]) -> None:
        self._url = f"{platform.gateway_url}/predict/{endpoint}"
        self._features = features
        self._stop = threading.Event()
        self.answered = 0
        self.faults: list[str] = []

    def run(self) -> None:
        with httpx.Client(timeout=20) as client:
            while not self._stop.is_set():
                try:
                    answer = client.post(self._url, json={"features": self._features})
                    if answer.status_code != 200:
                        self.faults.append(answer.text)
                except httpx.HTTPError as error:
                    self.faults.append(repr(error))
                self.answered += 1

    @contextmanager
    def running(self) -> Iterator[Load]:
        threads = [threading.Thread(target=self.run) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def goes_on(self, more: int = 100) -> None:
        """Wait until `more` further requests were answered."""
        enough = self.answered + more
        until(lambda: self.answered >= enough, what=f"{more} more answers")


def test_a_version_that_never_becomes_ready_leaves_the_old_one_serving(platform: Platform, models: Models) -> None:
    """It passed the gate, and cannot be loaded when it is deployed."""
    expired = met_at(models.folder / "licence-expired")
    small = ("register", models.path("small.joblib"), "--name", "licensed", "--allow-pickle")
    licensed = ("register", models.path("licensed.joblib"), "--name", "licensed", "--allow-pickle")
    row = models.rows[0].tolist()
    platform.done(*small)
    platform.done(*licensed, "--code", models.path("licensed-code"))
    platform.done("deploy", "licensed:1")
    expired.touch()
    try:
        error = platform.failed("deploy", "licensed:2", "--accept-signature-change", timeout_s=150)
        assert "licence has expired" in error["error"], error
        endpoint = platform.endpoint("licensed")
        assert endpoint["traffic"].get("1") == 100
        assert "licence has expired" in endpoint["reason"] + str(endpoint["variants"])
        assert platform.predict("licensed", row).json()["model_version"] == "1"
        platform.done("rollback", "licensed")
        assert platform.endpoint("licensed")["status"] == "ready"
        assert platform.predict("licensed", row).json()["model_version"] == "1"
    finally:
        expired.unlink()
    platform.done("deploy", "licensed:2", "--accept-signature-change")
    until(lambda: platform.predict("licensed", [5.1, 3.5, 1.4, 0.2]).status_code == 200, what="the second version")


def test_a_killed_control_plane_costs_no_request_and_is_adopted(own_platform: Platform, models: Models) -> None:
    here = own_platform.start()
    here.done("deploy", models.path("logistic.joblib"), "--name", "churn", "--allow-pickle", "--replicas", "2")
    replicas, gateways = here.replica_pids(), {process.pid for process in here.processes("tidegate.gateway")}
    assert len(replicas) == 2
    with Load(here, "churn", models.rows[0].tolist()).running() as load:
        load.goes_on()
        os.kill(here.control_pid, signal.SIGKILL)
        until(lambda: not here.processes("tidegate.control"), what="the control plane's death")
        load.goes_on(300)
        assert here.cli("endpoints").code == 1
        here.start()
        load.goes_on()
        assert here.endpoint("churn")["status"] == "ready"
        until(lambda: here.done("status")["gateways"][0]["status"] == "ready", what="the gateway adopted")
    assert load.faults == []
    assert here.replica_pids() == replicas, "adopted, not started again"
    assert {process.pid for process in here.processes("tidegate.gateway")} == gateways


def test_a_killed_replica_is_replaced(platform: Platform, models: Models) -> None:
    platform.done("deploy", models.path("small.joblib"), "--name", "killed", "--allow-pickle", "--replicas", "2")
    mine = [p for p in platform.processes("tidegate.server") if "/versions/killed/" in " ".join(p.cmdline())]
    assert len(mine) == 2
    mine[0].kill()

    def replaced() -> bool:
        (variant,) = platform.endpoint("killed")["variants"]
        return bool(variant["restarts"] >= 1 and variant["replicas"]["ready"] == 2)

    until(replaced, timeout_s=60, what="the replica's replacement")
    assert platform.predict("killed", models.rows[0].tolist()).status_code == 200


_DIES_OF_13 = """
import os
import sys


class Model:
    example = [1.0]

    def predict(self, inputs):
        if inputs[0][0] == 13:
            print("thirteen is too much", file=sys.stderr, flush=True)
            os._exit(7)
        return [0 for _ in inputs]
"""


def test_the_log_of_a_replica_that_crashed_can_be_read(platform: Platform, tmp_path: Path) -> None:
    folder = tmp_path / "dies"
    folder.mkdir()
    (folder / "model.py").write_text(_DIES_OF_13)
    platform.done("deploy", str(folder), "--name", "dies", "--allow-pickle")
    serving = platform.done("logs", "dies")["logs"]
    assert [log["failed"] for log in serving] == [None]
    assert platform.predict("dies", [13]).status_code >= 500

    def ended() -> list[Any]:
        return [log for log in platform.done("logs", "dies")["logs"] if log["failed"]]

    first = until(ended, 30, "the record of the crash")[0]
    assert (first["replica"], first["version"]) == (serving[0]["replica"], "1")
    assert (first["failed"]["kind"], first["failed"]["exit_code"], first["failed"]["signal"]) == ("crash", 7, None)
    assert "thirteen is too much" in first["lines"]

    until(lambda: platform.predict("dies", [1]).status_code == 200, 60, "the replacement")
    for replica in platform.processes("tidegate.server"):
        if "/versions/dies/" in " ".join(replica.cmdline()):
            replica.kill()
    until(lambda: ended()[-1]["failed"]["signal"] == "SIGKILL", 30, "the record of the other crash")
    told = platform.cli("logs", "dies", "--version", "1", "--lines", "5").out
    assert f"==> {first['replica']}, version 1, crashed at " in told, told
    assert ": exit code 7 <==" in told
    assert ": SIGKILL (out of memory?) <==" in told
    assert "thirteen is too much" in told


def test_down_stops_everything_and_up_brings_it_back(own_platform: Platform, models: Models) -> None:
    here = own_platform.start()
    here.done("deploy", models.path("small.joblib"), "--name", "churn", "--allow-pickle")
    row = models.rows[0].tolist()
    assert here.stop().code == 0
    assert here.processes() == []
    with pytest.raises(httpx.TransportError):
        here.predict("churn", row)
    here.start()
    until(lambda: here.predict("churn", row).status_code == 200, what="the endpoint serving again")
    os.kill(here.control_pid, signal.SIGKILL)
    until(lambda: not here.processes("tidegate.control"), what="the control plane's death")
    assert here.stop().code == 0, "also when the control plane is dead"
    assert here.processes() == []


def test_down_where_nothing_runs(tmp_path: Path) -> None:
    assert Platform(tmp_path / "data").stop().code in (0, 1)
