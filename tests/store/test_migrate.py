from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Constraint, Index, Table, create_engine, text

from tidegate.errors import StoreUnavailable
from tidegate.store.engine import open_store, store_url
from tidegate.store.tables import Base, ModelRow


def test_the_migrated_schema_is_the_one_the_tables_describe(tmp_path: Path) -> None:
    store = open_store(store_url(tmp_path, None))
    store.migrate()
    store.close()
    engine = create_engine(store_url(tmp_path, None))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()


def _named(table: Table) -> list[Constraint | Index]:
    return [*table.constraints, *table.indexes]


def test_constraints_have_names_that_differ() -> None:
    named = [str(one.name) for table in Base.metadata.tables.values() for one in _named(table)]
    assert len(named) == len(set(named))


def test_migrating_again_changes_nothing(tmp_path: Path) -> None:
    store = open_store(store_url(tmp_path, None))
    store.migrate()
    with store.transaction() as tx:
        tx.add(ModelRow(name="churn", description="", pickle_trusted=False, created_at=1.0))
    store.migrate()
    with store.reading() as tx:
        assert tx.get(ModelRow, "churn") is not None
    store.close()


def test_a_schema_of_a_newer_release_is_refused_and_left_alone(tmp_path: Path) -> None:
    store = open_store(store_url(tmp_path, None))
    store.migrate()
    with store.transaction() as tx:
        tx.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreUnavailable, match="newer release") as refused:
        store.migrate()
    assert "9999" in refused.value.message
    with store.reading() as tx:
        assert tx.scalar(text("SELECT version_num FROM alembic_version")) == "9999"
    store.close()
