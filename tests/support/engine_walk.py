"""The main job on an engine that places replicas itself, typed as a user would: each engine's own test walks it.

deploy → predict → split → rollback → scale → another version and back under load → the control plane killed → delete.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from support.platform import Platform
from support.traffic import Traffic
from support.wait import until

STEP_S = 90.0


@dataclass(frozen=True)
class Walk:
    """An endpoint on the engine; `versions` are references (`churn:1`) or files of two versions of one model, and `row`
    is a row that both answer.

    `left` says what the engine has of the platform, by name; `pooled`: it shows no count of replicas.
    """

    platform: Platform
    backend: str
    endpoint: str
    versions: Sequence[str]
    row: Sequence[float]
    left: Callable[[], Sequence[str]]
    pooled: bool = False

    def deploys_and_answers(self) -> None:
        """The first version, from nothing to an answered prediction."""
        first = self.versions[0]
        self._cli("deploy", first, *self._of_files(first), "--backend", self.backend, "--replicas", "1")
        view = self.platform.endpoint(self.endpoint)
        assert (view["status"], view["backend"]) == ("ready", self.backend), view
        assert self._predicted() == "1"

    def splits(self) -> None:
        """Both versions answer, and a key stays with its own."""
        second = self.versions[1]
        if naming := self._of_files(second):
            self._cli("register", second, *naming)
        self._cli("traffic", self.endpoint, "1=50", "2=50")
        answered = {key: self._predicted(key=key) for key in map(str, range(40))}
        assert set(answered.values()) == {"1", "2"}
        assert {key: self._predicted(key=key) for key in answered} == answered

    def rolls_back(self) -> None:
        """What was there before has all traffic again."""
        self._cli("rollback", self.endpoint)
        assert {self._predicted(key=str(key)) for key in range(20)} == {"1"}

    def scales(self) -> None:
        """To two and back to one, each there when the command returns."""
        for count in (2, 1):
            self._cli("scale", self.endpoint, "--replicas", str(count))
            assert self._predicted() == "1"
            if not self.pooled:
                until(lambda count=count: self._ready() == count, STEP_S, f"{count} ready replicas")  # type: ignore[misc]

    def switches_under_load(self, switches: int = 5, requests_min: int = 1000) -> Traffic:
        """From one version to the other and back, again and again, with clients that never pause; none fails."""
        traffic = Traffic(self.platform, self.endpoint, deadline_s=20.0, row=lambda _: list(self.row))
        with traffic.running(clients=4):
            for turn in range(switches):
                until(lambda turn=turn: traffic.asked > turn * requests_min / switches, STEP_S, "more requests")  # type: ignore[misc]
                self._cli("deploy", f"{self.endpoint}:{2 - turn % 2}", "--no-guard")
            until(lambda: traffic.asked >= requests_min, STEP_S * 4, f"{requests_min} requests")
        assert (traffic.failed, traffic.unanswered) == (0, []), f"of {traffic.asked}"
        return traffic

    def survives_its_control_plane(self) -> None:
        """Killed and started again, it restarts nothing; predictions go on meanwhile."""
        before = self._running()
        os.kill(self.platform.control_pid, signal.SIGKILL)
        version = self._predicted()
        self.platform.start()
        until(lambda: self.platform.endpoint(self.endpoint)["status"] == "ready", STEP_S, "ready again")
        assert self._running() == before
        assert self._predicted() == version

    def deletes_without_a_trace(self) -> None:
        """Nothing of it is left on the engine."""
        assert self.left()
        self._cli("delete", self.endpoint, "--yes")
        until(lambda: not self.left(), STEP_S, "the end of everything that was made for it")

    def all(self, requests_min: int = 1000) -> Traffic:
        """Every step, in order; what the load counted."""
        self.deploys_and_answers()
        self.splits()
        self.rolls_back()
        self.scales()
        traffic = self.switches_under_load(requests_min=requests_min)
        self.survives_its_control_plane()
        self.deletes_without_a_trace()
        return traffic

    def _cli(self, *args: str) -> None:
        self.platform.done(*args, timeout_s=STEP_S * 2)

    def _of_files(self, version: str) -> tuple[str, ...]:
        """What the command line has to be told of files; a reference is registered, and is told nothing."""
        return ("--name", self.endpoint, "--allow-pickle") if Path(version).exists() else ()

    def _predicted(self, key: str = "someone") -> str:
        """The version that answered."""
        answer = self.platform.predict(self.endpoint, list(self.row), user_id=key)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["model_version"])

    def _running(self) -> set[str]:
        """Ids of the replicas of versions with traffic that have not failed."""
        routed, logs = self.platform.endpoint(self.endpoint)["traffic"], self.platform.done("logs", self.endpoint)
        return {one["replica"] for one in logs["logs"] if one["version"] in routed and not one.get("failed")}

    def _ready(self) -> int:
        """Of versions with traffic: one that had some before is kept for a while."""
        view = self.platform.endpoint(self.endpoint)
        return sum(one["replicas"]["ready"] for one in view["variants"] if one["version"] in view["traffic"])
