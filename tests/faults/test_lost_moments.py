"""A control plane that dies at the worst moments: between a row and its process, between a process and its row."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from support.models import Models
from support.platform import Platform
from support.wait import until

pytestmark = [pytest.mark.slow, pytest.mark.long]


def kill_control(here: Platform) -> None:
    os.kill(here.control_pid, signal.SIGKILL)
    until(lambda: not here.processes("tidegate.control"), what="the control plane's death")


def sql(here: Platform, statement: str, *values: object) -> None:
    """Leave the database as a crash would have."""
    with closing(sqlite3.connect(here.data_dir / "tidegate.db", timeout=20)) as database, database:
        database.execute(statement, values)


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def is_ready(here: Platform, replicas: int) -> bool:
    endpoint = here.endpoint("churn")
    ready = endpoint["variants"] and endpoint["variants"][0]["replicas"] == {"desired": replicas, "ready": replicas}
    return bool(endpoint["status"] == "ready" and ready)


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory, models: Models) -> Iterator[Platform]:
    """A platform with one endpoint, which the tests share: each leaves it as it found it, but for what runs."""
    made = Platform(tmp_path_factory.mktemp("lost") / "data")
    try:
        made.start()
        made.done("deploy", models.path("logistic.joblib"), "--name", "churn", "--allow-pickle")
        yield made
    finally:
        made.stop()


@pytest.fixture
def here(deployed: Platform) -> Platform:
    """It serves with one replica, and its control plane has just been killed."""
    deployed.start()
    until(lambda: is_ready(deployed, 1), what="the endpoint being ready")
    kill_control(deployed)
    return deployed


def test_killed_before_the_process_was_started(here: Platform) -> None:
    """The row is there, the process is not: it is started now, and only once."""
    (pid,) = here.replica_pids()
    os.kill(pid, signal.SIGKILL)
    sql(here, "UPDATE replicas SET handle = '{}', state = 'starting', ready_at = NULL")
    here.start()
    until(lambda: is_ready(here, 1), what="the endpoint being ready")
    assert len(here.replica_pids()) == 1
    assert here.endpoint("churn")["variants"][0]["restarts"] == 0


def test_killed_before_the_handle_was_written(here: Platform) -> None:
    """The process runs and its row does not know: it is taken over, not started twice."""
    before = here.replica_pids()
    sql(here, "UPDATE replicas SET handle = '{}', state = 'starting', ready_at = NULL")
    here.start()
    until(lambda: is_ready(here, 1), what="the endpoint being ready")
    assert here.replica_pids() == before


def test_a_process_without_a_row_is_ended(here: Platform) -> None:
    (stray,) = here.replica_pids()
    sql(here, "DELETE FROM replicas")
    here.start()
    until(lambda: is_ready(here, 1), what="the endpoint being ready")
    assert not alive(stray)
    assert len(here.replica_pids()) == 1


def test_what_ended_while_nobody_watched_is_started_again_and_no_crash(here: Platform, models: Models) -> None:
    (pid,) = here.replica_pids()
    os.kill(pid, signal.SIGKILL)
    until(lambda: here.predict("churn", models.rows[0].tolist()).status_code == 503, what="a 503 without replicas")
    here.start()
    until(lambda: is_ready(here, 1), what="the endpoint being ready")
    assert here.endpoint("churn")["variants"][0]["restarts"] == 0
    assert here.predict("churn", models.rows[0].tolist()).status_code == 200


def test_down_after_a_kill_leaves_nothing(here: Platform) -> None:
    ran = here.stop()
    assert ran.code == 0
    assert "1 gateway, 1 compactor, 1 replica" in ran.out
    assert here.processes() == []
    sockets: list[Path] = [path for path in (here.data_dir / "run").rglob("*") if path.is_socket()]
    assert sockets == []
