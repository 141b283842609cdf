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

pytestmark = [pytest.mark.slow, pytest.mark.long]

WITHIN_S = 10.0
"""What is promised from the last sign of a leader to its successor, by the database's clock."""


class Two:
    """Two control planes of one database, the endpoint `churn` deployed. Which of them leads, the lease says."""

    def __init__(self, folder: Path, url: str) -> None:
        env = {"DATABASE_URL": url, "TIDEGATE_DRAIN_S": "0.5"}
        self.url = url
        self.both = [Platform(folder / name, env=env) for name in ("first", "second")]

    def start(self, models: Models) -> Two:
        """The first leads then."""
        self.both[0].start()
        path = models.path("logistic.joblib")
        self.both[0].done("deploy", path, "--name", "churn", "--allow-pickle", "--no-accelerate")
        self.both[1].start()
        return self

    def roles(self) -> tuple[Platform, Platform]:
        """The leader and the standby."""
        first, second = self.both
        return (first, second) if self.leads(first) else (second, first)

    def leads(self, one: Platform) -> bool:
        return self.lease()[1].endswith(f":{one.data_dir}")

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(query).fetchall()

    def lease(self) -> tuple[int, str, float, float]:
        """Token, host, and when it was taken and renewed, by the database's clock."""
        ((token, host, acquired_at, renewed_at),) = self.rows("SELECT token, host, acquired_at, renewed_at FROM leases")
        return token, host, acquired_at, renewed_at

    def everything(self) -> dict[str, list[str]]:
        """Each row with the transaction that wrote it last, but the lease, which its holder renews."""
        names = [name for (name,) in self.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
        written = {name: self.rows(f"SELECT xmin::text || t::text FROM {name} t") for name in names if name != "leases"}  # noqa: S608
        return {name: sorted(row for (row,) in found) for name, found in written.items()}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres, models: Models) -> Iterator[Two]:
    made = Two(tmp_path_factory.mktemp("two"), postgres.new_database())
    try:
        yield made.start(models)
    finally:
        for one in reversed(made.both):
            one.stop()


def _answers(platform: Platform, models: Models) -> bool:
    try:
        return platform.predict("churn", models.rows[0].tolist()).status_code == 200
    except httpx.HTTPError:
        return False


def _metrics(platform: Platform) -> str:
    return str(platform.api("GET", "/metrics").text)


def _ready(platform: Platform) -> int:
    """What a load balancer's check of a gateway is answered."""
    return httpx.get(f"{platform.gateway_url}/v2/models/churn/ready", timeout=30).status_code


def test_a_standby_reads_takes_changes_and_leads_when_the_leader_was_killed(two: Two, models: Models) -> None:
    leader, standby = two.roles()
    told = standby.done("status")["leader"]
    assert (told["here"], told["alive"], told["url"]) == (False, True, leader.url)
    assert f"stands by: the control plane at {leader.url}" in standby.cli("status").out
    assert "this control plane leads" in leader.cli("status").out
    assert "tidegate_leader 1.0" in _metrics(leader)
    assert "tidegate_leader 0.0" in _metrics(standby)
    assert [one["name"] for one in standby.done("endpoints")["endpoints"]] == ["churn"]
    until(lambda: standby.predict("churn", models.rows[0].tolist()).status_code == 503, what="a 503 of the standby")
    assert (_ready(leader), _ready(standby)) == (200, 503)
    refused = standby.failed("register", models.path("forest.joblib"), "--name", "churn", "--allow-pickle")
    assert refused["code"] == "not_leader"
    assert leader.url in refused["error"]
    standby.done("scale", "churn", "--replicas", "2")
    until(lambda: len(leader.replica_pids()) == 2, what="the leader's second replica")

    os.kill(leader.control_pid, signal.SIGKILL)
    token, _, _, last_sign_at = two.lease()
    until(lambda: two.leads(standby), what="the standby leading")
    assert two.lease()[0] == token + 1
    assert two.lease()[2] - last_sign_at <= WITHIN_S
    until(lambda: _answers(standby, models), timeout_s=60, what="an answer of the new leader's gateway")
    assert _answers(leader, models), "what runs beside a dead control plane serves on"
    assert len(leader.replica_pids()) == 2
    standby.done("register", models.path("forest.joblib"), "--name", "churn", "--allow-pickle", "--no-accelerate")
    standby.done("deploy", "churn:2")
    assert f"tidegate_lease_token {token + 1}.0" in _metrics(standby)

    leader.start()  # stands by, and ends what it ran for the endpoint that the other serves
    until(lambda: not leader.replica_pids(), timeout_s=60, what="the end of the stale replicas")
    assert leader.done("status")["leader"]["url"] == standby.url
    assert _answers(standby, models)
    standby.done("scale", "churn", "--replicas", "1")


def test_a_leader_that_was_stopped_changes_nothing_when_it_wakes(two: Two, models: Models) -> None:
    leader, standby = two.roles()
    until(lambda: _answers(leader, models), timeout_s=60, what="an answer of the leader's gateway")
    os.kill(leader.control_pid, signal.SIGSTOP)
    try:
        until(lambda: two.leads(standby), what="the standby leading")
        until(lambda: _answers(standby, models), timeout_s=60, what="an answer of the new leader's gateway")
        until(lambda: standby.endpoint("churn")["status"] == "ready", timeout_s=60, what="the endpoint being ready")
        assert _answers(leader, models), "its gateway and replica serve on"
        before = _settled(two)
    finally:
        os.kill(leader.control_pid, signal.SIGCONT)
    until(lambda: not leader.replica_pids(), timeout_s=60, what="the end of the stale replicas")
    assert two.everything() == before
    assert two.leads(standby)
    assert leader.done("status")["leader"]["url"] == standby.url
    assert "tidegate_leader 0.0" in _metrics(leader)
    assert "stands by" in leader.log()
    assert standby.stop().code == 0
    until(lambda: _answers(leader, models), timeout_s=60, what="the first leading again")


def _settled(two: Two) -> dict[str, list[str]]:
    """All rows once the new leader has nothing left to write: two looks, some passes apart, see the same."""
    seen = [two.everything()]

    def same() -> bool:
        seen.append(two.everything())
        return len(seen) > 30 and seen[-1] == seen[-30]

    until(same, timeout_s=60, what="rows at rest")
    return seen[-1]
