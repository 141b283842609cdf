"""A control plane without file descriptors: what it lacks is no model's failure, and it goes on when they are back."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest

from support.models import Models
from support.platform import TIDEGATE, Platform, clean_env
from support.wait import until

pytestmark = [pytest.mark.slow, pytest.mark.long]

FEW = 256
DEPLOY = ("--allow-pickle", "--no-accelerate")


@pytest.fixture
def few(tmp_path: Path) -> Iterator[Platform]:
    """A running platform whose processes may have no more than `FEW` descriptors each."""
    here = Platform(tmp_path / "data")
    port, grpc_port, control_port = map(str, here.ports)
    up = ["up", "--detach", "--port", port, "--grpc-port", grpc_port, "--control-port", control_port]
    limited = ["sh", "-c", f'ulimit -n {FEW} && exec "$@"', "sh", str(TIDEGATE), *up, "--data-dir", str(here.data_dir)]
    try:
        subprocess.run(limited, env=clean_env(), check=True, timeout=90, stdin=subprocess.DEVNULL)
        yield here
    finally:
        here.stop()


def _kill_replica(here: Platform) -> int:
    (pid,) = here.replica_pids()
    os.kill(pid, signal.SIGKILL)
    return pid


def _answers(here: Platform, row: list[float]) -> bool:
    return here.predict("churn", row).status_code == 200


def _variant(here: Platform) -> Any:
    (variant,) = here.endpoint("churn")["variants"]
    return variant


def test_connections_that_say_nothing_take_nothing_from_the_platforms_own_work(few: Platform, models: Models) -> None:
    row = models.rows[0].tolist()
    few.done("deploy", models.path("small.joblib"), "--name", "churn", *DEPLOY)
    with ExitStack() as stack:
        held = [
            stack.enter_context(socket.create_connection(("127.0.0.1", few.ports[2]), timeout=60))
            for _ in range(2 * FEW)
        ]
        for one in held[::2]:
            try:
                one.sendall(b"GET /api/v1/status HTTP/1.1\r\nhost: 127.0.0.1\r\nx-slow: ")
            except OSError:
                continue  # it has given way already
        assert psutil.Process(few.control_pid).num_fds() < FEW
        gone = _kill_replica(few)
        until(lambda: few.replica_pids() - {gone}, what="a new replica")
        until(lambda: _answers(few, row), what="an answer")
        few.done("register", models.path("forest.joblib"), "--name", "churn", *DEPLOY)
        few.done("promote", "churn", "2")
        for one in held:
            try:
                while one.recv(1 << 16):
                    pass
            except ConnectionError:
                pass
    assert "Too many open files" not in few.log()
    assert "no file descriptor left" not in few.log()


def test_what_descriptors_are_missing_for_is_done_when_they_are_back(own_platform: Platform, models: Models) -> None:
    here = own_platform.start()
    row = models.rows[0].tolist()
    here.done("deploy", models.path("small.joblib"), "--name", "churn", *DEPLOY)
    until(lambda: _variant(here)["status"] == "ready", what="the replica")
    control = psutil.Process(here.control_pid)
    before = control.rlimit(resource.RLIMIT_NOFILE)
    gateways = {process.pid for process in here.processes("tidegate.gateway")}
    control.rlimit(resource.RLIMIT_NOFILE, (1, before[1]))
    try:
        gone = _kill_replica(here)
        log = here.data_dir / "logs" / "control.log"
        until(
            lambda: "cannot start yet: this process has no file descriptor left" in log.read_text(), what="the refusal"
        )
        assert not here.replica_pids() - {gone}
    finally:
        control.rlimit(resource.RLIMIT_NOFILE, before)
    until(lambda: _answers(here, row), what="an answer")
    until(lambda: _variant(here)["status"] == "ready", what="the replica")
    variant = _variant(here)
    assert (variant["restarts"], variant["given_up"]) == (1, False), "the one that was killed, and nothing else"
    failed = [one["failed"]["kind"] for one in here.done("logs", "churn")["logs"] if one["failed"]]
    assert failed == ["crash"]
    assert {process.pid for process in here.processes("tidegate.gateway")} == gateways
    here.done("register", models.path("forest.joblib"), "--name", "churn", *DEPLOY)
