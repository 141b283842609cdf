"""A platform whose state is in PostgreSQL: the whole path on it, and the server killed under predictions."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.models import Models
from support.platform import Platform
from support.services.postgres import Postgres
from support.wait import until

pytestmark = [pytest.mark.slow, pytest.mark.long]


@pytest.fixture
def here(tmp_path: Path, own_postgres: Postgres) -> Iterator[Platform]:
    """Not yet started."""
    made = Platform(tmp_path / "data", env={"DATABASE_URL": own_postgres.new_database()})
    try:
        yield made
    finally:
        made.stop()


class Predictions:
    """Predictions one after another on two connections, while the test does something else."""

    def __init__(self, platform: Platform, row: list[float]) -> None:
        self.count, self.failed = 0, list[str]()
        self._url, self._row = f"{platform.gateway_url}/predict/churn", row
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(2)]

    def __enter__(self) -> Predictions:
        for thread in self._threads:
            thread.start()
        self.more()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(35)

    def more(self) -> None:
        """Until a good many further answers came."""
        goal = self.count + 200
        until(lambda: self.count >= goal or self.failed, what="answers")

    def _ask(self) -> None:
        with httpx.Client(timeout=30, trust_env=False) as client:
            while not self._stop.is_set():
                try:
                    answer = client.post(self._url, json={"features": self._row})
                    if answer.status_code != 200:
                        self.failed.append(answer.text)
                except httpx.HTTPError as error:
                    self.failed.append(repr(error))
                self.count += 1


def test_predictions_outlive_the_database_and_the_platform_goes_on_when_it_is_back(
    here: Platform, own_postgres: Postgres, models: Models
) -> None:
    here.start()
    here.done("deploy", models.path("logistic.joblib"), "--name", "churn", "--allow-pickle")
    assert not (here.data_dir / "tidegate.db").exists()
    with Predictions(here, models.rows[0].tolist()) as load:
        own_postgres.kill()
        away = here.done("status")
        assert away["database"]["status"] == "unavailable"
        assert f"127.0.0.1:{own_postgres.port}" in away["database"]["reason"]
        assert [gateway["status"] for gateway in away["gateways"]] == ["ready"]
        assert "the database is away: PostgreSQL at" in here.cli("status").out
        assert here.failed("scale", "churn", "--replicas", "2")["code"] == "store_unavailable"
        load.more()
        own_postgres.start()
        until(lambda: here.done("status")["database"]["status"] == "ready", what="the database being back")
        here.done("register", models.path("forest.joblib"), "--name", "churn", "--allow-pickle")
        here.done("traffic", "churn", "1=50", "2=50")
        here.done("rollback", "churn")
        assert here.endpoint("churn")["traffic"] == {"1": 100.0}
        load.more()
    assert load.failed == [], f"{len(load.failed)} of {load.count}"
    log = (here.data_dir / "logs" / "control.log").read_text()
    assert "only-for-tests" not in log
    assert "Traceback" not in log, "a database that is away is foreseen"
    assert here.stop().code == 0


def test_a_platform_whose_database_is_away_says_so_in_one_line(here: Platform, own_postgres: Postgres) -> None:
    own_postgres.stop()
    ran = here.up()
    assert ran.code == 1
    (line,) = ran.err.strip().splitlines()
    assert f"PostgreSQL at 127.0.0.1:{own_postgres.port}" in line
    assert "start it, or correct DATABASE_URL" in line
    assert "only-for-tests" not in ran.said + here.log()
    assert here.processes() == []
