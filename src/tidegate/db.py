"""`python -m tidegate.db upgrade|check|backup|restore --data-dir D`: looks after the database of DATABASE_URL.

Run by `tidegate db`. Prints what was done, as JSON with --json; an error is one line.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from tidegate.clock import now
from tidegate.control.checks import DataDirLock, prepare_data_dir
from tidegate.errors import InvalidArgument, StoreUnavailable, TidegateError
from tidegate.settings import Settings
from tidegate.store.database.backup import Copied, backup, count_rows, restore
from tidegate.store.database.engine import Store, open_store, store_url

Result = tuple[dict[str, Any], str]
"""For programs, and for people."""


def main(argv: list[str] | None = None) -> int:
    """0: done, or the database is as it should be; 1: it is not; 2: wrong use."""
    given = _parser().parse_args(argv)
    try:
        settings = Settings.from_env(data_dir=given.data_dir)
        found, said = _run(given, settings)
    except TidegateError as error:
        sys.stderr.write(f"error: {' '.join(error.message.split())}\n")
        if given.json:
            _print(error.body())
        return error.exit_code
    _print(found) if given.json else sys.stdout.write(said + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--data-dir", type=Path)
    common.add_argument("--json", action="store_true")
    parser = argparse.ArgumentParser(prog="tidegate db", description="Look after the database.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("upgrade", "check"):
        verbs.add_parser(verb, parents=[common])
    verbs.add_parser("backup", parents=[common]).add_argument("file", type=Path)
    restoring = verbs.add_parser("restore", parents=[common])
    restoring.add_argument("file", type=Path)
    restoring.add_argument("--force", action="store_true")
    return parser


def _print(value: dict[str, Any]) -> None:
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2, default=str).decode() + "\n")


def _run(given: argparse.Namespace, settings: Settings) -> Result:
    """Open the database, and do what was asked for."""
    store = open_store(store_url(settings.data_dir, settings.database_url))
    if given.verb in ("check", "backup"):
        _must_be_there(store)
    else:
        prepare_data_dir(settings.data_dir)
    verbs: dict[str, Callable[[], Result]] = {
        "upgrade": lambda: _upgrade(store),
        "check": lambda: _check(store),
        "backup": lambda: _copied(store, backup(store, given.file, now()), "backed up", "to"),
        "restore": lambda: _restore(store, settings.data_dir, given),
    }
    try:
        return verbs[given.verb]()
    finally:
        store.close()


def _must_be_there(store: Store) -> None:
    """SQLite makes a file that it does not find."""
    if store.file is not None and not store.file.exists():
        raise InvalidArgument(f"there is no database {store.file}: give --data-dir or DATABASE_URL, or 'tidegate up'")


def _upgrade(store: Store) -> Result:
    before = store.schema()
    store.migrate()
    done = f"upgraded from schema {before.found or 'none'} to {before.newest}" if before.pending else "up to date"
    found = {"where": store.where, "schema": before.newest, "before": before.found, "applied": before.pending}
    return found, f"{store.where}: {done}"


def _check(store: Store) -> Result:
    """Raises `StoreUnavailable` when the database does not answer, is not upgraded, or is of a newer release."""
    schema = store.schema()
    schema.refuse_newer()
    if schema.pending:
        have = f"schema {schema.found}" if schema.found else "no tables of Tidegate"
        raise StoreUnavailable(
            f"{store.where} answers and has {have}; this release wants schema {schema.newest}: 'tidegate db upgrade' "
            "does it ('tidegate up' does it too)"
        )
    with store.reading() as tx:
        rows = count_rows(tx.connection())
    counts = ", ".join(f"{name} {count}" for name, count in sorted(rows.items()))
    return {"where": store.where, "schema": schema.found, "rows": rows}, (
        f"{store.where} answers; schema {schema.found} is this release's\n{counts}"
    )


def _restore(store: Store, data_dir: Path, given: argparse.Namespace) -> Result:
    """With the platform stopped: what it holds in mind would be written over what was restored."""
    lock = DataDirLock(data_dir)
    lock.acquire()
    try:
        return _copied(store, restore(store, given.file, force=given.force), "restored", "from")
    finally:
        lock.release()


def _copied(store: Store, copied: Copied, done: str, way: str) -> Result:
    count = sum(copied.rows.values())
    return {"where": store.where, **asdict(copied)}, f"{store.where}: {done} {count} rows {way} {copied.file}"


if __name__ == "__main__":
    sys.exit(main())
