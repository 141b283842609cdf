from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import (
    JSON,
    Boolean,
    Connection,
    Constraint,
    Engine,
    Float,
    Index,
    Integer,
    MetaData,
    Table,
    select,
    text,
)
from sqlalchemy.sql.schema import Column
from sqlalchemy.types import TypeEngine

from support.control import NewDatabase
from tidegate.core.access import Principal
from tidegate.errors import StoreUnavailable
from tidegate.store.audit import AuditFilter, entries
from tidegate.store.database import migrate
from tidegate.store.database.engine import Store, open_store, store_url
from tidegate.store.endpoints import history
from tidegate.store.endpoints.endpoints import page, variants_by_endpoint
from tidegate.store.jobs.jobs import asked_by, jobs
from tidegate.store.leases import database_time
from tidegate.store.tables import ModelRow
from tidegate.store.tables.base import Base

REVISIONS = [one.revision for one in ScriptDirectory(str(migrate.MIGRATIONS)).walk_revisions()][::-1]


@pytest.fixture
def store(tmp_path: Path, new_database: NewDatabase) -> Iterator[Store]:
    """Of a database without tables."""
    store = open_store(store_url(tmp_path, new_database()))
    yield store
    store.close()


def _engine(store: Store) -> Engine:
    return store._engine


def test_the_migrated_schema_is_the_one_the_tables_describe(store: Store) -> None:
    store.migrate()
    with _engine(store).connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def _named(table: Table) -> list[Constraint | Index]:
    return [*table.constraints, *table.indexes]


def test_constraints_have_names_that_differ() -> None:
    named = [str(one.name) for table in Base.metadata.tables.values() for one in _named(table)]
    assert len(named) == len(set(named))


def test_a_rehearsed_migration_changes_nothing(store: Store) -> None:
    store.rehearse_migration()
    assert store.schema().found is None
    with _engine(store).begin() as connection:
        migrate.upgrade(connection, REVISIONS[-3])
    store.rehearse_migration()
    assert store.schema().found == REVISIONS[-3]


def test_an_earlier_release_that_leads_elsewhere_is_upgraded_first(store: Store) -> None:
    with _engine(store).begin() as connection:
        migrate.upgrade(connection, "2026_11_28_retries")
    with store.transaction() as tx:
        expires_at = database_time(tx) + 60.0
        columns = "name, token, holder, host, url, files_dir, files_id, acquired_at, renewed_at, expires_at"
        values = "'leader', 1, 'abc', 'first:/data', 'http://first', '', '', 0, 0, :expires_at"
        tx.execute(text(f"INSERT INTO leases ({columns}) VALUES ({values})"), {"expires_at": expires_at})  # noqa: S608
    for attempt in (store.migrate, store.rehearse_migration):
        with pytest.raises(StoreUnavailable, match=r"control plane of first:/data leads .* upgrade it first"):
            attempt("second:/data")
    store.rehearse_migration("first:/data")
    with store.transaction() as tx:
        tx.execute(text("UPDATE leases SET expires_at = 1"))
    store.migrate("second:/data")
    with store.transaction() as tx:
        tx.execute(text("UPDATE leases SET expires_at = :at"), {"at": expires_at})
    store.migrate("second:/data")  # nothing is left to do


def test_migrating_again_changes_nothing(store: Store) -> None:
    store.migrate()
    with store.transaction() as tx:
        tx.add(ModelRow(name="churn", description="", pickle_trusted=False, created_at=1.0))
    store.migrate()
    with store.reading() as tx:
        assert tx.get(ModelRow, "churn") is not None


def test_a_busy_machine_may_read_the_migrations_for_longer_than_a_writer_may_pause(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = migrate.known_revisions

    def slowly() -> list[str]:
        time.sleep(1.5)
        return read()

    monkeypatch.setattr("tidegate.store.database.postgres.PAUSED_S", 1)
    monkeypatch.setattr(migrate, "known_revisions", slowly)
    store.migrate()
    with store.reading() as tx:
        assert migrate.schema_of(tx.connection()).pending == ()


def test_a_schema_of_a_newer_release_is_refused_and_left_alone(store: Store) -> None:
    store.migrate()
    with store.transaction() as tx:
        tx.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreUnavailable, match="newer release") as refused:
        store.migrate()
    assert "9999" in refused.value.message
    assert store.schema().newer
    with store.reading() as tx:
        assert tx.scalar(text("SELECT version_num FROM alembic_version")) == "9999"


@pytest.mark.parametrize("revision", REVISIONS)
def test_rows_of_every_earlier_schema_come_through(store: Store, revision: str) -> None:
    with _engine(store).begin() as connection:
        migrate.upgrade(connection, revision)
        before = _fill(connection)
    store.migrate()
    assert store.schema().pending == ()
    with _engine(store).connect() as connection:
        for table, row in before.items():
            (now,) = connection.execute(_tables(connection)[table].select()).mappings()
            kept = row.keys() & now.keys()  # a later schema may do without a column
            assert {name: now[name] for name in kept} == {name: row[name] for name in kept}


def test_of_jobs_of_an_earlier_schema_nobody_knows_who_asked(store: Store) -> None:
    with _engine(store).begin() as connection:
        migrate.upgrade(connection, "2026_11_28_retries")
        _fill(connection)
    store.migrate()
    with store.reading() as tx:
        (job,) = jobs(tx, None, None, 10)
        assert asked_by(job) == Principal("unknown", "")
        assert entries(tx, AuditFilter(10)) == []


def test_a_history_of_before_automations_is_peoples_but_for_repairs_and_refusals(store: Store) -> None:
    with _engine(store).begin() as connection:
        migrate.upgrade(connection, "2026_11_28_retries")
        tables = _tables(connection)
        connection.execute(tables["models"].insert(), _row(tables["models"], name="churn"))
        for name in ("eu", "us"):
            made = _row(tables["endpoints"], name=name, model="churn", revision=4, observed_revision=3)
            connection.execute(tables["endpoints"].insert(), made | {"traffic": {"2": 100}, "retries": {"2": 4}})
            for number, action in enumerate(["deploy", "refused", "repair", "traffic"], start=1):
                entry = _row(tables["history"], endpoint=name, revision=number, action=action)
                del entry["id"]
                connection.execute(tables["history"].insert(), entry)
        variant = _row(tables["variants"], endpoint="eu", version="2", quarantined_revision=3)
        connection.execute(tables["variants"].insert(), variant)
    store.migrate()
    with store.reading() as tx:
        eu, us = page(tx, "", 10)
        assert (eu.revision, eu.generation, eu.observed_generation, eu.retries) == (4, 4, 3, {"2": 4})
        assert (len(eu.uid), eu.uid != us.uid, eu.salt) == (32, True, "name")
        assert [one.quarantined_generation for one in variants_by_endpoint(tx, ["eu"])["eu"]] == [3]
        kept = history.page(tx, "eu", eu.uid, 10)
        assert [(one.generation, one.automated) for one in kept] == [(4, False), (3, True), (2, True), (1, False)]
        assert [one.revision for one in history.intended(tx, us)] == [4, 1]


def test_every_migration_but_the_first_can_be_undone_and_done_again(store: Store) -> None:
    store.migrate()
    config = migrate._config()
    with _engine(store).begin() as connection:
        tables = _tables(connection)
        connection.execute(tables["models"].insert(), _row(tables["models"], name="churn"))
        connection.execute(
            tables["endpoints"].insert(),
            _row(tables["endpoints"], name="eu", model="churn", uid="u", revision=2, observed_generation=5),
        )
        for number, (uid, automated) in enumerate([("u", False), ("u", True), ("gone", False)], start=1):
            values = {"id": number, "endpoint": "eu", "endpoint_uid": uid, "automated": automated, "revision": 1}
            connection.execute(tables["history"].insert(), _row(tables["history"], **values))
        config.attributes["connection"] = connection
        command.downgrade(config, REVISIONS[0])
        tables = _tables(connection)
        assert "automated_weights" not in tables
        assert connection.execute(select(tables["history"].c.id)).all() == [(1,)], "what people did there"
        assert connection.scalar(select(tables["endpoints"].c.observed_revision)) == 0
    store.migrate()
    with _engine(store).connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    with store.reading() as tx:
        assert [one.name for one in page(tx, "", 10)] == ["eu"]


NUMBERED = ["0001", "0002", "0003", "0004", "0006", "0008", "0005", "0007"]
"""Named before migrations were named by date, and applied in this order by every data directory since."""


def test_migrations_are_applied_in_the_order_of_their_names_which_begin_with_a_date() -> None:
    assert REVISIONS[: len(NUMBERED)] == NUMBERED
    dated = REVISIONS[len(NUMBERED) :]
    assert dated == sorted(dated)
    for name in dated:
        assert date.fromisoformat(name[:10].replace("_", "-")) >= date(2026, 11, 28)
        assert re.fullmatch(r"\d{4}_\d{2}_\d{2}_[a-z0-9_]+", name)
    files = {file.stem for file in (migrate.MIGRATIONS / "versions").glob("*.py")}
    assert {name if name in dated else name[:4] for name in files} == set(REVISIONS)


def _row(table: Table, **values: Any) -> dict[str, Any]:
    return {column.name: _value(column) for column in table.columns} | values


def _tables(connection: Connection) -> dict[str, Table]:
    """Our tables as the database describes them, each after those it refers to."""
    metadata = MetaData()
    metadata.reflect(connection)
    return {table.name: table for table in metadata.sorted_tables if table.name != "alembic_version"}


def _fill(connection: Connection) -> dict[str, dict[str, Any]]:
    """One row in every table; what refers to another row refers to that one."""
    rows = {}
    for name, table in _tables(connection).items():
        rows[name] = {column.name: _value(column) for column in table.columns}
        connection.execute(table.insert().values(rows[name]))
    assert {"models", "versions", "endpoints", "history", "variants", "replicas", "jobs"} <= rows.keys()
    return rows


def _value(column: Column[Any]) -> Any:
    kinds: list[tuple[type[TypeEngine[Any]], Any]] = [(JSON, {"a": [1, "b"]}), (Boolean, True), (Float, 2.5)]
    kinds += [(Integer, 3)]
    return next((value for kind, value in kinds if isinstance(column.type, kind)), "name")
