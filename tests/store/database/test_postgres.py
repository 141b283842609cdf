"""What goes wrong with a server: each failure is one line that says what, where, and what to do."""

from __future__ import annotations

from itertools import repeat
from typing import Any

import pytest

from lib.fleets import fill
from support.services.postgres import PASSWORD, Postgres
from support.wait import free_ports
from tidegate.core.engines.placement import PROCESSES
from tidegate.errors import InvalidArgument, StoreUnavailable
from tidegate.store.database.engine import Store, open_store
from tidegate.store.fleet import fleets
from tidegate.store.jobs.jobs import get_job
from tidegate.store.models import models
from tidegate.store.tables import FailedReplicaRow, JobRow, ReplicaRow


def _refusal(url: str) -> str:
    store = open_store(url)
    with pytest.raises(StoreUnavailable) as refused:
        store.migrate()
    store.close()
    assert "\n" not in refused.value.message
    return refused.value.message


def test_a_wrong_password_is_said_and_never_shown(postgres: Postgres) -> None:
    said = _refusal(postgres.url("postgres", password="s3cret-and-wrong"))
    assert "password authentication failed" in said
    assert f"127.0.0.1:{postgres.port}, database 'postgres'" in said
    assert "correct user and password in DATABASE_URL" in said
    assert "s3cret" not in said


def test_a_database_that_is_not_there_is_named(postgres: Postgres) -> None:
    said = _refusal(postgres.url("nowhere"))
    assert "database 'nowhere'" in said
    assert "create it" in said


def test_a_server_that_is_not_there_is_said() -> None:
    (port,) = free_ports(1)
    said = _refusal(f"postgres://someone:{PASSWORD}@127.0.0.1:{port}/tidegate")
    assert f"127.0.0.1:{port}" in said
    assert "start it, or correct DATABASE_URL" in said
    assert PASSWORD not in said


def test_a_user_that_may_not_create_tables_is_told(postgres: Postgres) -> None:
    import psycopg

    url = postgres.new_database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE ROLE reader LOGIN PASSWORD 'reader'")
    assert "give this user the right" in _refusal(url.replace(f"tidegate:{PASSWORD}@", "reader:reader@"))


def test_a_store_goes_on_by_itself_after_a_restart_of_the_server(own_postgres: Postgres) -> None:
    store = open_store(own_postgres.new_database())
    store.migrate()
    assert _count(store) == 0
    own_postgres.kill()
    with pytest.raises(StoreUnavailable, match="does not answer"):
        _count(store)
    own_postgres.start()
    assert _count(store) == 0
    store.close()


def test_what_runs_is_read_anew_in_whatever_order_changes_are_committed(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleets, "cycle", lambda _tables: repeat(""))  # by the stamps alone
    store, other = (open_store(url) for url in repeat(postgres.new_database(), 2))
    store.migrate()
    fill(store, "here", endpoints=1, versions=2, running=2)
    reader = fleets.Fleets(PROCESSES, "here")

    def states() -> list[str]:
        with store.reading() as tx:
            return [replica.state for replica in reader.read(tx)[0].fleet.replicas]

    assert states() == ["ready", "ready"]
    with store.aside() as first:
        first.get_one(ReplicaRow, "r-00000-01").state = "draining"
        first.flush()
        with other.aside() as second:
            second.get_one(ReplicaRow, "r-00000-02").state = "stopping"
        assert states() == ["ready", "stopping"]
    assert states() == ["draining", "stopping"]
    store.close()
    other.close()


def test_the_longest_id_that_an_engine_gives_a_replica_has_room(postgres: Postgres) -> None:
    store = open_store(postgres.new_database())
    store.migrate()
    fill(store, "here", endpoints=1, versions=1, running=1)
    instance = f"{'p' * 63}.12"  # a pod's name, and how often its container started
    ended = FailedReplicaRow(
        replica=instance, endpoint="churn", version="1", at=1.0, kind="crash", backend="kubernetes", handle={}, log=[]
    )
    with store.transaction() as tx:
        tx.get_one(ReplicaRow, "r-00000-01").id = instance
        tx.add(ended)
    with store.reading() as tx:
        assert tx.get(ReplicaRow, instance) is not None
    store.close()


def test_numbers_that_json_does_not_have_become_null_and_long_texts_are_refused(postgres: Postgres) -> None:
    store = open_store(postgres.new_database())
    store.migrate()
    with store.transaction() as tx:
        tx.add(_job("odd", {"score": float("nan"), "scores": [1.5, float("inf")]}))
    with store.reading() as tx:
        job = get_job(tx, "odd")
    assert job is not None
    assert job.payload == {"score": None, "scores": [1.5, None]}
    with pytest.raises(InvalidArgument, match="longer than the database takes"), store.transaction() as tx:
        tx.add(_job("x" * 33, {}))
    store.close()


def _job(job_id: str, payload: dict[str, Any]) -> JobRow:
    return JobRow(id=job_id, kind="register", subject="churn", payload=payload, state="queued", log=[], created_at=1.0)


def test_a_writer_that_was_paused_in_its_transaction_holds_up_nobody_and_writes_nothing(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidegate.store.database.postgres.PAUSED_S", 1)
    paused, other = (open_store(url) for url in [postgres.new_database()] * 2)
    paused.migrate()

    def write() -> None:
        with paused.transaction() as tx:
            tx.add(_job("paused", {}))
            tx.flush()
            with other.transaction() as theirs:  # waits until the server has ended the first one
                theirs.add(_job("other", {}))

    with pytest.raises(StoreUnavailable):
        write()
    with other.reading() as tx:
        assert [job.id for job in tx.query(JobRow)] == ["other"]
    paused.close()
    other.close()


def _count(store: Store) -> int:
    with store.reading() as tx:
        return models.count_models(tx)
