import sqlite3
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError

from support.control import NewDatabase
from support.descriptors import none_left
from tidegate.errors import DataDirUnusable, InvalidArgument, StoreUnavailable
from tidegate.store.database.engine import Store, open_store, store_url
from tidegate.store.models import models
from tidegate.store.tables import ModelRow, UploadRow, VariantRow


@pytest.fixture
def store(tmp_path: Path, new_database: NewDatabase) -> Iterator[Store]:
    store = open_store(store_url(tmp_path, new_database()))
    store.migrate()
    yield store
    store.close()


def _model(name: str) -> ModelRow:
    return ModelRow(name=name, description="", pickle_trusted=False, created_at=1.0)


def test_a_transaction_keeps_all_or_nothing(store: Store) -> None:
    with store.transaction() as tx:
        tx.add(_model("kept"))
    with suppress(RuntimeError), store.transaction() as tx:
        tx.add(_model("lost"))
        tx.flush()
        raise RuntimeError("crash")
    with store.reading() as tx:
        names = models.names(tx, 10)
    assert names == ["kept"]


def test_rows_can_be_read_after_their_transaction(store: Store) -> None:
    with store.transaction() as tx:
        tx.add(_model("churn"))
    with store.reading() as tx:
        row = models.get_model(tx, "churn")
    assert row is not None
    assert (row.name, row.created_at) == ("churn", 1.0)


def test_writers_wait_for_each_other_and_none_is_lost(store: Store) -> None:
    def add(worker: int) -> None:
        for number in range(20):
            with store.transaction() as tx:
                before = models.count_models(tx)
                tx.add(_model(f"m-{worker}-{number}"))
                tx.flush()
                assert models.count_models(tx) == before + 1

    threads = [threading.Thread(target=add, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.reading() as tx:
        assert models.count_models(tx) == 80


def test_a_reader_sees_one_moment_and_does_not_wait_for_a_writer(store: Store) -> None:
    with store.transaction() as writer:
        writer.add(_model("new"))
        writer.flush()
        with store.reading() as reader:
            assert models.count_models(reader) == 0


def test_what_is_written_while_reading_is_not_kept(store: Store) -> None:
    with store.reading() as tx:
        tx.add(_model("ghost"))
        tx.flush()
    with store.reading() as tx:
        assert models.count_models(tx) == 0


def test_foreign_keys_hold(store: Store) -> None:
    with pytest.raises(IntegrityError), store.transaction() as tx:
        tx.add(VariantRow(endpoint="nowhere", version="1"))


def test_a_database_held_by_another_process_is_said_to_be(tmp_path: Path) -> None:
    open_store(store_url(tmp_path, None)).migrate()
    with sqlite3.connect(tmp_path / "tidegate.db", isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tidegate.store.database.engine.BUSY_TIMEOUT_S", 0.05)
            impatient = open_store(store_url(tmp_path, None))
        with pytest.raises(StoreUnavailable, match="try again"), impatient.transaction() as tx:
            models.count_models(tx)
        other.execute("ROLLBACK")
    other.close()
    impatient.close()


@pytest.mark.parametrize(
    "url", ["mysql://db/x", "postgresql://host:port/x", "sqlite://", "sqlite:///:memory:", "what is this"]
)
def test_a_url_this_release_cannot_use_is_refused_by_name(url: str) -> None:
    with pytest.raises(InvalidArgument, match="DATABASE_URL"):
        open_store(url)


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "tidegate.db").write_text("a poem, not a database, and long enough to have a header\n" * 20)
    store = open_store(store_url(tmp_path, None))
    with pytest.raises(DataDirUnusable, match=r"tidegate\.db"):
        store.migrate()
    store.close()


def test_a_directory_that_is_not_there_is_said(tmp_path: Path) -> None:
    store = open_store(store_url(tmp_path / "missing", None))
    with pytest.raises(DataDirUnusable, match="cannot be written"):
        store.migrate()
    store.close()


def test_words_with_a_nul_and_sizes_past_32_bits_are_kept(store: Store) -> None:
    with store.transaction() as tx:
        tx.add(ModelRow(name="odd", description="before\0after", pickle_trusted=False, created_at=1.0))
        tx.add(UploadRow(id="big", size_bytes=8 << 30, sha256="", created_at=1.0, expires_at=2.0))
    with store.reading() as tx:
        model, upload = models.get_model(tx, "odd"), tx.get(UploadRow, "big")
    assert model is not None
    assert upload is not None
    assert model.description.startswith("before")
    assert upload.size_bytes == 8 << 30


def test_without_descriptors_the_database_is_away_and_nobodys_fault(tmp_path: Path) -> None:
    store = open_store(store_url(tmp_path, None))
    store.migrate()
    store.close()
    with none_left(), pytest.raises(StoreUnavailable, match="no file descriptor left"), store.reading() as tx:
        models.count_models(tx)
    with store.transaction() as tx:
        tx.add(_model("churn"))
    store.close()
