"""Rows go to a file and come back: on each kind of database, between them, and from earlier releases."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest

from support.control import NewDatabase
from support.services.postgres import Postgres
from tidegate.errors import Conflict, InvalidArgument, StoreUnavailable
from tidegate.store.database.backup import REVISIONS_AHEAD, backup, restore
from tidegate.store.database.engine import Store, open_store, store_url
from tidegate.store.fleet.fleet import load_snapshot, save_snapshot
from tidegate.store.models import models
from tidegate.store.tables import ModelRow, VariantRow, VersionRow


@pytest.fixture
def new_store(tmp_path: Path, new_database: NewDatabase) -> Iterator[Callable[[], Store]]:
    """Makes stores of databases without tables, all of one kind."""
    made: list[Store] = []

    def make() -> Store:
        folder = tmp_path / f"data-{len(made)}"
        folder.mkdir()
        made.append(open_store(store_url(folder, new_database())))
        return made[-1]

    yield make
    for store in made:
        store.close()


def _model(name: str) -> ModelRow:
    return ModelRow(name=name, description="Größe \U0001f30a", pickle_trusted=True, created_at=1.25)


def _version(number: int) -> VersionRow:
    return VersionRow(
        model="churn",
        version=str(number),
        digest=f"d{number}",
        framework="sklearn",
        signature={"inputs": [1, None, "x"]},
        example=[0.5, None],
        batchable=True,
        pickle_granted=False,
        validation={},
        acceleration={},
        tags={"team": "a"},
        description="",
        size_bytes=8 << 30,
        created_at=2.5,
    )


def _filled(store: Store) -> Store:
    store.migrate()
    with store.transaction() as tx:
        tx.add(_model("churn"))
        tx.flush()
        tx.add_all(_version(number) for number in range(1, 4))
        save_snapshot(tx, 7, "{}", 3.0)
    return store


def _versions(store: Store) -> list[dict[str, object]]:
    with store.reading() as tx:
        return [
            {c.name: getattr(row, c.name) for c in VersionRow.__table__.columns}
            for row in models.versions_of(tx, "churn")
        ]


def test_what_was_backed_up_comes_back_and_can_be_added_to(new_store: Callable[[], Store], tmp_path: Path) -> None:
    source, target, file = _filled(new_store()), new_store(), tmp_path / "backup.gz"
    copied = backup(source, file, 5.0)
    assert copied.rows["versions"] == 3
    assert file.stat().st_mode & 0o777 == 0o600
    assert restore(target, file, force=False).rows == copied.rows
    assert _versions(target) == _versions(source)
    assert target.schema().pending == ()
    with target.transaction() as tx:
        tx.add(_version(4))
    with target.reading() as tx:
        assert load_snapshot(tx)[0] == 7 + REVISIONS_AHEAD, "gateways must take it for new"


def test_rows_move_from_sqlite_to_postgresql_and_back(tmp_path: Path, postgres: Postgres) -> None:
    stores = [open_store(store_url(tmp_path, None)), open_store(postgres.new_database())]
    third = open_store(f"sqlite:///{tmp_path / 'third.db'}")
    _filled(stores[0])
    backup(stores[0], tmp_path / "1.gz", 5.0)
    restore(stores[1], tmp_path / "1.gz", force=False)
    backup(stores[1], tmp_path / "2.gz", 5.0)
    restore(third, tmp_path / "2.gz", force=False)
    assert _versions(stores[0]) == _versions(stores[1]) == _versions(third)
    for store in (*stores, third):
        store.close()


def test_a_database_with_rows_is_replaced_only_when_forced(new_store: Callable[[], Store], tmp_path: Path) -> None:
    store, file = _filled(new_store()), tmp_path / "backup.gz"
    backup(store, file, 5.0)
    with store.transaction() as tx:
        tx.add(_model("later"))
    with pytest.raises(Conflict, match=r"is not empty .*models 2.*--force"):
        restore(store, file, force=False)
    restore(store, file, force=True)
    with store.reading() as tx:
        assert models.names(tx, 10) == ["churn"]


def _rewritten(file: Path, change: Callable[[list[bytes]], list[bytes]]) -> Path:
    lines = gzip.decompress(file.read_bytes()).splitlines(keepends=True)
    changed = file.with_name("changed.gz")
    changed.write_bytes(gzip.compress(b"".join(change(lines))))
    return changed


def test_a_backup_of_a_newer_release_is_refused_and_nothing_changes(
    new_store: Callable[[], Store], tmp_path: Path
) -> None:
    store = _filled(new_store())
    backup(store, tmp_path / "backup.gz", 5.0)
    newer = _rewritten(
        tmp_path / "backup.gz", lambda lines: [orjson.dumps({**orjson.loads(lines[0]), "schema": "9999"}), b"\n"]
    )
    with pytest.raises(StoreUnavailable, match=r"newer release of Tidegate .*9999"):
        restore(store, newer, force=True)
    assert len(_versions(store)) == 3


@pytest.mark.parametrize("keep", [0.5, 0.9])
def test_a_file_that_was_cut_short_changes_nothing(new_store: Callable[[], Store], tmp_path: Path, keep: float) -> None:
    store, file = _filled(new_store()), tmp_path / "backup.gz"
    backup(store, file, 5.0)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(InvalidArgument, match="cut short"):
        restore(store, file, force=True)
    without_end = tmp_path / "whole.gz"
    without_end.write_bytes(whole)
    with pytest.raises(InvalidArgument, match="cut short: nothing was restored"):
        restore(store, _rewritten(without_end, lambda lines: lines[:-1]), force=True)
    assert len(_versions(store)) == 3


def test_a_file_that_is_no_backup_is_named(new_store: Callable[[], Store], tmp_path: Path) -> None:
    (tmp_path / "poem").write_text("no backup")
    for name, said in (("poem", "is no backup"), ("nowhere", "there is no file")):
        with pytest.raises(InvalidArgument, match=said):
            restore(new_store(), tmp_path / name, force=False)


def test_a_backup_overwrites_nothing(new_store: Callable[[], Store], tmp_path: Path) -> None:
    store, file = _filled(new_store()), tmp_path / "kept"
    file.write_text("mine")
    with pytest.raises(Conflict, match="is there already"):
        backup(store, file, 5.0)
    assert file.read_text() == "mine"
    with pytest.raises(StoreUnavailable, match="nothing to back up"):
        backup(new_store(), tmp_path / "other", 5.0)
    assert list(tmp_path.glob(".*")) == []


def test_constraints_hold_after_a_restore(new_store: Callable[[], Store], tmp_path: Path) -> None:
    from sqlalchemy.exc import IntegrityError

    store = _filled(new_store())
    backup(store, tmp_path / "backup.gz", 5.0)
    restore(store, tmp_path / "backup.gz", force=True)
    with pytest.raises(IntegrityError), store.transaction() as tx:
        tx.add(VariantRow(endpoint="nowhere", version="1"))
