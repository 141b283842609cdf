"""What runs, read pass after pass: how many queries that takes, and what is decoded anew."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, text, update
from sqlalchemy.orm import Session

from lib.fleets import fill, name_of
from support.control import NewDatabase
from support.queries import counted
from tidegate.core.endpoints.effective import Share, Split
from tidegate.core.engines.placement import PROCESSES
from tidegate.store.database.engine import Store, open_store, store_url
from tidegate.store.fleet import fleet as rows
from tidegate.store.fleet import fleets
from tidegate.store.fleet.fleet import LoadedFleet
from tidegate.store.fleet.fleets import Fleets
from tidegate.store.tables import (
    AutomatedReplicasRow,
    AutomatedWeightsRow,
    EndpointRow,
    ReplicaRow,
    VariantRow,
    VersionRow,
)

ENDPOINTS, VERSIONS, RUNNING = 12, 3, 2
TABLES = 6  # endpoints, weights and replicas of automations, variants, replicas, versions
QUERIES = 2  # what changed, and one table in turn


SHARES = [{"variant": "a", "version": "1", "weight": 30.0}, {"variant": "b", "version": "3", "weight": 70.0}]
OF_WEIGHTS = {"kind": "experiment", "name": "blue", "revision": 1, "salt": "s", "stable": {"1": 100.0}}


@pytest.fixture
def store(tmp_path: Path, new_database: NewDatabase) -> Iterator[Store]:
    store = open_store(store_url(tmp_path, new_database()))
    store.migrate()
    fill(store, "here", ENDPOINTS, VERSIONS, RUNNING)
    yield store
    store.close()


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The JSON texts that were decoded."""
    texts: list[str] = []
    loads = json.loads

    def noting(text: str) -> Any:
        texts.append(text)
        return loads(text)

    monkeypatch.setattr(json, "loads", noting)
    return texts


@pytest.fixture
def no_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """No table is read but for what its stamps say."""
    monkeypatch.setattr(fleets, "cycle", lambda _tables: repeat(""))


def read(store: Store, reader: Fleets) -> list[LoadedFleet]:
    with store.reading() as tx:
        return reader.read(tx)


def test_a_fleet_is_what_was_written(store: Store) -> None:
    loaded = read(store, Fleets(PROCESSES, "here"))
    assert [one.fleet.endpoint.name for one in loaded] == [name_of(number) for number in range(ENDPOINTS)]
    fleet = loaded[3].fleet
    assert fleet.endpoint.routed == {"1": 50.0, "2": 50.0}
    assert fleet.endpoint.forms == {"1": "onnx", "2": "onnx", "3": "onnx"}
    assert [variant.version for variant in fleet.variants] == ["1", "2"]
    assert [(replica.id, replica.state) for replica in fleet.replicas] == [
        ("r-00003-01", "ready"),
        ("r-00003-02", "ready"),
    ]
    assert loaded[3].handles["r-00003-01"].data["pid"] == 1003
    assert loaded[3].salt == f"{3:032x}"


def test_what_automations_set_is_in_effect_of_their_endpoint_alone(store: Store) -> None:
    reader = Fleets(PROCESSES, "here")
    before = read(store, reader)
    with store.transaction() as tx:
        tx.add(AutomatedWeightsRow(endpoint=name_of(4), shares=SHARES, **OF_WEIGHTS))
        tx.add(AutomatedReplicasRow(endpoint=name_of(5), version="1", replicas=3, revision=1))
        tx.add(AutomatedReplicasRow(endpoint=name_of(5), version="2", replicas=2, revision=0))  # fixed by people since
    after = read(store, reader)
    assert [one is other for one, other in zip(before, after, strict=True)].count(False) == 2
    assert after[4].fleet.endpoint.traffic == {"1": 30.0, "3": 70.0}
    assert after[4].fleet.endpoint.split == Split(
        "s", (Share("a", "1", 30.0), Share("b", "3", 70.0)), experiment="blue"
    )
    assert after[5].fleet.endpoint.counts == {"1": 3}
    with store.transaction() as tx:
        tx.execute(update(AutomatedReplicasRow).values(replicas=4))
        tx.execute(delete(AutomatedWeightsRow))
    last = read(store, reader)
    assert last[5].fleet.endpoint.counts == {"1": 4}
    assert last[4].fleet == before[4].fleet
    assert last[5].fleet.replicas == before[5].fleet.replicas


def test_replicas_of_another_host_are_nobodys_here(store: Store) -> None:
    assert [one.fleet.replicas for one in read(store, Fleets(PROCESSES, "elsewhere"))] == [()] * ENDPOINTS


def test_what_nothing_has_changed_of_is_neither_read_nor_decoded(store: Store, decoded: list[str]) -> None:
    reader = Fleets(PROCESSES, "here")
    first = read(store, reader)
    assert len(decoded) >= ENDPOINTS * (RUNNING + VERSIONS)
    decoded.clear()
    with counted(store) as asked:
        second = read(store, reader)
    assert len(asked) == QUERIES
    assert decoded == []
    assert all(one is other for one, other in zip(first, second, strict=True))


Change = Callable[[Session], object]
CHANGES: dict[str, Change] = {
    "an endpoint's traffic": lambda tx: setattr(tx.get_one(EndpointRow, name_of(1)), "traffic", {"3": 100.0}),
    "every endpoint's status": lambda tx: tx.execute(update(EndpointRow).values(status="degraded")),
    "an endpoint that is gone": lambda tx: tx.delete(tx.get_one(EndpointRow, name_of(2))),
    "a variant's restarts": lambda tx: tx.execute(update(VariantRow).where(VariantRow.id == 4).values(restarts=1)),
    "a new variant": lambda tx: tx.add(VariantRow(endpoint=name_of(3), version="3", crashes=[])),
    "a replica that drains": lambda tx: setattr(tx.get_one(ReplicaRow, "r-00005-01"), "state", "draining"),
    "a replica that is gone": lambda tx: tx.execute(delete(ReplicaRow).where(ReplicaRow.id == "r-00005-01")),
    "a version's form": lambda tx: tx.execute(update(VersionRow).values(acceleration={"kept": "trees"})),
    "automated weights": lambda tx: tx.add(AutomatedWeightsRow(endpoint=name_of(4), shares=SHARES, **OF_WEIGHTS)),
    "automated replicas": lambda tx: tx.add(
        AutomatedReplicasRow(endpoint=name_of(5), version="1", replicas=3, revision=1)
    ),
}


@pytest.mark.usefixtures("no_turns")
@pytest.mark.parametrize("what", CHANGES)
def test_every_change_is_seen_by_its_stamp(store: Store, what: str) -> None:
    reader = Fleets(PROCESSES, "here")
    before = read(store, reader)
    with store.transaction() as tx:
        CHANGES[what](tx)
    after = read(store, reader)
    assert after != before
    assert after == read(store, Fleets(PROCESSES, "here"))


@pytest.mark.usefixtures("no_turns")
def test_an_endpoint_of_a_model_that_none_served_brings_its_versions(store: Store) -> None:
    with store.transaction() as tx:
        tx.delete(tx.get_one(EndpointRow, name_of(0)))
    reader = Fleets(PROCESSES, "here")
    read(store, reader)
    with store.transaction() as tx:
        tx.execute(update(EndpointRow).where(EndpointRow.name == name_of(1)).values(model=name_of(0)))
    assert read(store, reader)[0].fleet.endpoint.forms == {"1": "onnx", "2": "onnx", "3": "onnx"}


def test_what_is_written_without_a_stamp_is_seen_when_its_table_has_its_turn(store: Store) -> None:
    reader = Fleets(PROCESSES, "here")
    before = read(store, reader)
    with store.transaction() as tx:
        tx.execute(text("UPDATE replicas SET state = 'draining'"))
        tx.execute(text("UPDATE variants SET restarts = 7"))
    for _ in range(TABLES):
        after = read(store, reader)
    assert after != before
    assert after == read(store, Fleets(PROCESSES, "here"))


def test_of_a_row_that_changed_that_row_alone_is_decoded(store: Store, decoded: list[str]) -> None:
    reader = Fleets(PROCESSES, "here")
    before = read(store, reader)
    decoded.clear()
    with store.transaction() as tx:
        tx.execute(update(ReplicaRow).where(ReplicaRow.id == "r-00005-01").values(state="draining"))
    after = read(store, reader)
    assert len(decoded) == 1  # its handle
    assert [one is other for one, other in zip(before, after, strict=True)].count(False) == 1
    assert after[5].fleet.replicas[0].state == "draining"


def test_endpoints_come_and_go(store: Store) -> None:
    reader = Fleets(PROCESSES, "here")
    read(store, reader)
    with store.transaction() as tx:
        row = tx.get(EndpointRow, name_of(0))
        tx.delete(row)
        tx.execute(delete(ReplicaRow).where(ReplicaRow.endpoint == name_of(0)))
        tx.get_one(EndpointRow, name_of(1)).traffic = {"3": 100.0}
    loaded = read(store, reader)
    assert [one.fleet.endpoint.name for one in loaded][:2] == [name_of(1), name_of(2)]
    assert loaded[0].fleet.endpoint.traffic == {"3": 100.0}


def test_another_form_is_news_to_the_endpoints_of_that_model_alone(store: Store) -> None:
    reader = Fleets(PROCESSES, "here")
    before, generation = read(store, reader), reader.generation
    with store.transaction() as tx:
        of_model = update(VersionRow).where(VersionRow.model == name_of(7), VersionRow.version == "2")
        tx.execute(of_model.values(acceleration={"kept": "trees"}))
    after = read(store, reader)
    assert after[7].fleet.endpoint.forms == {"1": "onnx", "2": "trees", "3": "onnx"}
    assert [one is other for one, other in zip(before, after, strict=True)].count(False) == 1
    assert reader.generation == generation + 1


def test_facts_are_read_once_and_again_for_what_changed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, asked = Fleets(PROCESSES, "here"), list[set[tuple[str, str]]]()
    load = rows.load_versions

    def noting(tx: Session, wanted: set[tuple[str, str]]) -> Any:
        asked.append(wanted)
        return load(tx, wanted)

    monkeypatch.setattr(rows, "load_versions", noting)
    wanted = {(name_of(0), "1"), (name_of(0), "2"), (name_of(1), "1"), ("nothing", "1")}

    def facts() -> dict[str, Any]:
        read(store, reader)
        with store.reading() as tx:
            return reader.facts(tx, wanted)

    found = facts()
    assert {model: sorted(versions) for model, versions in found.items()} == {name_of(0): ["1", "2"], name_of(1): ["1"]}
    with store.transaction() as tx:
        of_one = update(VersionRow).where(VersionRow.model == name_of(0), VersionRow.version == "2")
        tx.execute(of_one.values(label="v2.0.0"))
    assert facts()[name_of(0)]["2"].label == "v2.0.0"
    facts()
    assert asked == [wanted - {("nothing", "1")}, {(name_of(0), "2")}, set()]


def test_more_versions_are_asked_for_than_one_query_takes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "PAIRS_AT_ONCE", 5)
    wanted = {(name_of(number), str(version)) for number in range(ENDPOINTS) for version in (1, 2)}
    with store.reading() as tx:
        assert rows.load_versions(tx, wanted).keys() == wanted
