"""Two control planes on one PostgreSQL: one leads, and the other takes over when it dies or is stopped."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from support.models import Models
from support.platform import Platform
from support.services.postgres import Postgres
from support.wait import until

pytestmark = pytest.mark.slow

WITHIN_S = 10.0
"""What is promised from the last sign of a leader to its successor, by the database's clock."""


class Two:
    """`first` leads and serves `churn`; `second` stands by."""

    def __init__(self, folder: Path, url: str) -> None:
        env = {"DATABASE_URL": url, "TIDEGATE_DRAIN_S": "0.5"}
        self.url = url
        self.first, self.second = (Platform(folder / name, env=env) for name in ("first", "second"))

    def start(self, models: Models) -> Two:
        self.first.start()
        self.first.done("deploy", models.path("logistic.joblib"), "--name", "churn", "--allow-pickle")
        self.second.start()
        return self

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(query).fetchall()  # type: ignore[arg-type]

    def lease(self) -> tuple[int, str, float, float]:
        """Token, host, and when it was taken and renewed, by the database's clock."""
        ((token, host, acquired_at, renewed_at),) = self.rows("SELECT token, host, acquired_at, renewed_at FROM leases")
        return token, host, acquired_at, renewed_at

    def everything(self) -> dict[str, list[str]]:
        """Each row with the transaction that wrote it last, but the lease, which its holder renews."""
        names = [name for (name,) in self.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
        written = {name: self.rows(f"SELECT xmin::text || t::text FROM {name} t") for name in names if name != "leases"}  # noqa: S608
        return {name: sorted(row for (row,) in found) for name, found in written.items()}

    def second_leads(self) -> bool:
        return self.lease()[1].endswith(str(self.second.data_dir))


@pytest.fixture
def two(tmp_path: Path, postgres: Postgres, models: Models) -> Iterator[Two]:
    made = Two(tmp_path, postgres.new_database())
    try:
        yield made.start(models)
    finally:
        made.second.stop()
        made.first.stop()


def _answers(platform: Platform, models: Models) -> bool:
    try:
        return platform.predict("churn", models.rows[0].tolist()).status_code == 200
    except httpx.HTTPError:
        return False


def _metrics(platform: Platform) -> str:
    return str(platform.api("GET", "/metrics").text)


def test_a_standby_reads_takes_changes_and_leads_when_the_leader_was_killed(two: Two, models: Models) -> None:
    first, second = two.first, two.second
    leader = second.done("status")["leader"]
    assert (leader["here"], leader["alive"], leader["url"]) == (False, True, first.url)
    assert f"stands by: the control plane at {first.url}" in second.cli("status").out
    assert "this control plane leads" in first.cli("status").out
    assert "tidegate_leader 1.0" in _metrics(first)
    assert "tidegate_leader 0.0" in _metrics(second)
    assert [one["name"] for one in second.done("endpoints")["endpoints"]] == ["churn"]
    assert second.predict("churn", models.rows[0].tolist()).status_code == 503
    refused = second.failed("register", models.path("forest.joblib"), "--name", "churn", "--allow-pickle")
    assert refused["code"] == "not_leader"
    assert first.url in refused["error"]
    second.done("scale", "churn", "--replicas", "2")
    until(lambda: len(first.replica_pids()) == 2, what="the leader's second replica")
    os.kill(first.control_pid, signal.SIGKILL)
    token, _, _, last_sign_at = two.lease()
    until(two.second_leads, what="the standby leading")
    assert two.lease()[0] == token + 1
    assert two.lease()[2] - last_sign_at <= WITHIN_S
    until(lambda: _answers(second, models), timeout_s=60, what="an answer of the new leader's gateway")
    assert _answers(first, models), "what runs beside a dead control plane serves on"
    assert len(first.replica_pids()) == 2
    second.done("register", models.path("forest.joblib"), "--name", "churn", "--allow-pickle", "--no-accelerate")
    second.done("deploy", "churn:2")
    assert f"tidegate_lease_token {token + 1}.0" in _metrics(second)

    first.start()  # stands by, and ends what it ran for the endpoint that the other serves
    until(lambda: not first.replica_pids(), timeout_s=60, what="the end of the stale replicas")
    assert first.done("status")["leader"]["url"] == second.url
    assert _answers(second, models)


def test_a_leader_that_was_stopped_changes_nothing_when_it_wakes(two: Two, models: Models) -> None:
    first, second = two.first, two.second
    os.kill(first.control_pid, signal.SIGSTOP)
    try:
        until(two.second_leads, what="the standby leading")
        until(lambda: _answers(second, models), timeout_s=60, what="an answer of the new leader's gateway")
        until(lambda: second.endpoint("churn")["status"] == "ready", what="the endpoint being ready")
        assert _answers(first, models), "its gateway and replica serve on"
        before = two.everything()
    finally:
        os.kill(first.control_pid, signal.SIGCONT)
    until(lambda: not first.replica_pids(), timeout_s=60, what="the end of the stale replica")
    assert two.everything() == before
    assert two.second_leads()
    assert first.done("status")["leader"]["url"] == second.url
    assert "tidegate_leader 0.0" in _metrics(first)
    second.done("scale", "churn", "--replicas", "2")
    assert first.replica_pids() == set()
    assert second.stop().code == 0
    until(lambda: _answers(first, models), timeout_s=60, what="the first leading again")
