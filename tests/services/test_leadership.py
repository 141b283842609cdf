"""The lease: one leads, another takes over when it is silent, and the former one's writing transactions are refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from support.control import NewDatabase
from tidegate.errors import NotLeader
from tidegate.services.leadership import Leadership
from tidegate.store import leases
from tidegate.store.database.engine import Store, open_store, store_url
from tidegate.store.leases import Candidate
from tidegate.store.tables import LeaseRow, ModelRow, ReplicaRow


@pytest.fixture
def stores(tmp_path: Path, new_database: NewDatabase) -> Iterator[tuple[Store, Store]]:
    """Two of one database, as two processes have them."""
    url = store_url(tmp_path, new_database())
    first, second = open_store(url), open_store(url)
    first.migrate()
    yield first, second
    first.close()
    second.close()


def _candidate(name: str, host: str | None = None) -> Candidate:
    return Candidate(name, host or f"{name}-host:/data", f"http://{name}:8800")


@pytest.fixture
def two(stores: tuple[Store, Store]) -> tuple[Leadership, Leadership]:
    """The first has been asked already, and leads."""
    first, second = Leadership(stores[0], _candidate("first")), Leadership(stores[1], _candidate("second"))
    assert first.step() is not None
    assert second.step() is None
    return first, second


def _run_out(store: Store) -> None:
    with store.transaction() as tx:
        tx.execute(update(LeaseRow).values(expires_at=0.0))


def _model(name: str) -> ModelRow:
    return ModelRow(name=name, description="", pickle_trusted=False, created_at=1.0)


def test_the_lease_lasts_by_the_databases_clock(stores: tuple[Store, Store], two: tuple[Leadership, ...]) -> None:
    with stores[1].reading() as tx:
        lease, now = leases.current(tx), leases.database_time(tx)
    assert lease is not None
    assert 0 < lease.expires_at - now <= leases.LEASE_S
    first = two[0].term
    assert two[0].step() is first, "renewed, and the same term"
    view = two[1].view()
    assert view is not None
    assert (view.url, view.token, view.here, view.alive) == ("http://first:8800", 1, False, True)


def test_a_silent_leader_is_replaced_and_its_transactions_are_refused(
    stores: tuple[Store, Store], two: tuple[Leadership, ...]
) -> None:
    first, second = two
    fenced = stores[0].fenced(first.fence)
    with fenced.transaction() as tx:
        tx.add(_model("before"))
    _run_out(stores[1])
    term = second.step()
    assert term is not None
    assert term.token == 2
    with pytest.raises(NotLeader), fenced.transaction() as tx:
        tx.add(_model("after"))
    assert first.term is None, "it steps down at once"
    assert first.step() is None
    with pytest.raises(NotLeader, match=r"http://second:8800 \(second-host:/data\) leads, this one stands by"):
        first.must_lead()
    with stores[1].fenced(second.fence).transaction() as tx:
        assert [row.name for row in tx.query(ModelRow)] == ["before"]


def test_a_lease_that_ran_out_is_still_its_holders_until_another_takes_it(
    stores: tuple[Store, Store], two: tuple[Leadership, ...]
) -> None:
    first, second = two
    term = first.term
    _run_out(stores[1])
    with stores[0].fenced(first.fence).transaction() as tx:
        tx.add(_model("churn"))
    assert first.step() is term
    assert second.step() is None


def test_a_leader_that_stops_lets_another_lead_at_once(two: tuple[Leadership, ...]) -> None:
    first, second = two
    first.end()
    assert second.step() is not None
    assert first.step() is None, "it does not come back"


def test_a_control_plane_that_restarts_on_its_data_directory_leads_on(
    stores: tuple[Store, Store], two: tuple[Leadership, ...]
) -> None:
    again = Leadership(stores[1], _candidate("again", two[0].me.host))
    term = again.step()
    assert term is not None
    assert term.token == 2
    assert two[0].step() is None
    assert two[0].step() is None, "only a process that just started takes what is held"


def test_a_new_leader_forgets_replicas_that_belong_to_other_hosts_and_keeps_the_rest(
    stores: tuple[Store, Store], two: tuple[Leadership, ...]
) -> None:
    with stores[0].transaction() as tx:
        tx.add_all([_replica("a", "local", two[0].me.host), _replica("b", "local", two[1].me.host)])
        tx.add_all([_replica("c", "docker", two[0].me.host), _replica("d", "docker", two[1].me.host)])
        tx.add(_replica("e", "of no host", two[0].me.host))
    _run_out(stores[0])
    assert two[1].step() is not None
    with stores[0].reading() as tx:
        assert {row.id for row in tx.query(ReplicaRow)} == {"b", "d", "e"}


def _replica(replica_id: str, backend: str, host: str) -> ReplicaRow:
    fields: dict[str, Any] = {"endpoint": "churn", "model": "churn", "version": "1", "state": "ready", "handle": {}}
    return ReplicaRow(id=replica_id, backend=backend, host=host, created_at=1.0, **fields)
