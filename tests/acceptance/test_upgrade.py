"""An upgrade while requests come: the release before this one runs, and `tidegate up` of this one takes its place."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from support.models import Models
from support.platform import TIDEGATE, Platform
from support.release_before import release_before
from support.wait import until
from tidegate.control.checks import holder_of
from tidegate.system.ending import LEAVE
from tidegate.wire.journal import list_segments, read_records

pytestmark = [pytest.mark.slow, pytest.mark.long]

CLIENTS = 4


@dataclass
class Load:
    """Clients that ask one after the other until they are told to stop: half of them on a new connection each time.

    With `retries` they ask again, once, where a connection was closed before they had an answer.
    """

    platform: Platform
    endpoint: str
    row: list[float]
    retries: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    _ending: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> Load:
        self._threads = [threading.Thread(target=self._ask, args=(n % 2 == 0,)) for n in range(CLIENTS)]
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> dict[str, int]:
        self._ending.set()
        for thread in self._threads:
            thread.join(60)
        return dict(self.answers)

    def _ask(self, keeps_connection: bool) -> None:
        limits = httpx.Limits(max_keepalive_connections=1 if keeps_connection else 0)
        with httpx.Client(limits=limits, timeout=30) as client:
            while not self._ending.is_set():
                self.answers[self._outcome(client, self.retries)] += 1

    def _outcome(self, client: httpx.Client, retries: int) -> str:
        url = f"{self.platform.gateway_url}/predict/{self.endpoint}"
        try:
            return str(client.post(url, json={"features": self.row}).status_code)
        except httpx.TransportError as error:
            return self._outcome(client, retries - 1) if retries else repr(error)


@pytest.fixture
def before(tmp_path: Path) -> Iterator[Platform]:
    """The release before, running on two gateways."""
    old = Platform(tmp_path / "data", gateways=2, command=release_before(tmp_path / "before"))
    try:
        yield old.start()
    finally:
        old.command = (str(TIDEGATE),)
        old.stop()


def gateway_pids(platform: Platform) -> set[int]:
    return {process.pid for process in platform.processes("tidegate.gateway")}


def test_an_upgrade_under_load_fails_no_request_and_keeps_everything(before: Platform, models: Models) -> None:
    here, row = before, models.rows[0].tolist()
    here.done("deploy", models.path("logistic.joblib"), "--name", "churn", "--allow-pickle")
    here.done("register", models.path("forest.joblib"), "--name", "churn", "--allow-pickle")
    here.done("traffic", "churn", "1=50", "2=50")
    replicas, gateways, control = here.replica_pids(), gateway_pids(here), here.control_pid
    # That release closed kept connections in the face of clients that were about to use them, when it ended.
    load = Load(here, "churn", row, retries=1).start()
    until(lambda: load.answers["200"] > 200, what="the load")

    here.command = (str(TIDEGATE),)
    ran = here.up()

    assert ran.code == 0, ran.said + here.log()
    assert "what runs serves on" in ran.out
    assert here.control_pid != control
    until(lambda: not gateways & gateway_pids(here), what="the end of the gateways of the release before")
    served = load.answers["200"]
    until(lambda: load.answers["200"] > served + 200, what="answers of the new gateways")
    answers = load.stop()
    assert set(answers) == {"200"}, answers
    assert replicas <= here.replica_pids(), "replicas serve on"
    assert here.endpoint("churn")["traffic"] == {"1": 50, "2": 50}
    recorded = journal_ids(here)
    assert len(recorded) >= answers["200"], "what the release before wrote is read as well"
    here.done("promote", "churn", "2")
    here.done("rollback", "churn")
    assert here.endpoint("churn")["traffic"] == {"1": 50, "2": 50}, "the history goes on"


def journal_ids(platform: Platform) -> list[str]:
    """Of all requests that any gateway of either release recorded."""
    found = []
    for segment in list_segments(platform.data_dir / "journal"):
        with segment.path.open("rb") as stream:
            found += [one.id for record in read_records(stream) for one in record.requests]
    return found


def test_the_only_gateway_is_replaced_for_other_settings_without_a_refused_request(
    own_platform: Platform, models: Models
) -> None:
    here = own_platform.start()
    here.done("deploy", models.path("logistic.joblib"), "--name", "churn", "--allow-pickle")
    gateways = gateway_pids(here)
    load = Load(here, "churn", models.rows[0].tolist()).start()
    os.kill(here.control_pid, LEAVE)
    until(lambda: holder_of(here.data_dir) is None, what="the end of the control plane")

    assert "left; gateways and replicas serve on" in here.log()
    here.env = {"TIDEGATE_LOG_LEVEL": "warning"}
    here.start()

    until(lambda: not gateways & gateway_pids(here), what="the end of the gateway that was there")
    served = load.answers["200"]
    until(lambda: load.answers["200"] > served + 100, what="answers of the new gateway")
    answers = load.stop()
    assert set(answers) == {"200"}, answers
    (view,) = here.done("status")["gateways"]
    assert (view["id"], view["status"]) == ("gateway-1", "ready")
