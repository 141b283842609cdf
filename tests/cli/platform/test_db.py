"""`tidegate db` as it is typed: upgrade, check, backup, restore, and what they say when it is not possible."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.control import NewDatabase
from support.platform import Ran, tidegate
from support.services.postgres import Postgres
from tidegate.control.checks import DataDirLock

pytestmark = pytest.mark.slow


@pytest.fixture
def env(new_database: NewDatabase) -> dict[str, str]:
    """That of a shell whose DATABASE_URL names an empty database, or which has none."""
    url = new_database()
    return {"DATABASE_URL": url} if url else {}


def _db(data_dir: Path, env: dict[str, str], *args: str) -> Ran:
    return tidegate("db", *args, "--data-dir", str(data_dir), "--json", env=env)


def test_from_an_empty_database_to_a_restored_one(tmp_path: Path, env: dict[str, str]) -> None:
    data_dir, file = tmp_path / "data", str(tmp_path / "backup.gz")
    before = _db(data_dir, env, "check")
    assert before.code != 0
    upgraded = _db(data_dir, env, "upgrade").json
    assert upgraded["before"] is None
    assert upgraded["applied"][-1] == upgraded["schema"]
    checked = _db(data_dir, env, "check")
    assert checked.code == 0, checked.said
    assert checked.json["schema"] == upgraded["schema"]
    assert checked.json["rows"]["models"] == 0
    assert _db(data_dir, env, "backup", file).json["rows"]["models"] == 0
    assert _db(data_dir, env, "restore", file).json["schema"] == upgraded["schema"]
    said = tidegate("db", "check", "--data-dir", str(data_dir), env=env).out
    assert "answers; schema" in said
    assert "only-for-tests" not in said


def test_check_says_what_is_wrong_and_never_the_password(tmp_path: Path, postgres: Postgres) -> None:
    ran = _db(tmp_path, {"DATABASE_URL": postgres.url("postgres", password="s3cret-and-wrong")}, "check")
    assert ran.code == 1
    (line,) = ran.err.strip().splitlines()
    assert line.startswith("error: PostgreSQL at 127.0.0.1:")
    assert ran.json["code"] == "store_unavailable"
    assert "s3cret" not in ran.said
    ran = _db(tmp_path, {"DATABASE_URL": "mongodb://x:s3cret@y"}, "check")
    assert ran.code != 0
    assert "DATABASE_URL" in ran.err
    assert "s3cret" not in ran.said


def test_restore_waits_for_the_platform_to_be_stopped(tmp_path: Path) -> None:
    _db(tmp_path, {}, "upgrade")
    _db(tmp_path, {}, "backup", str(tmp_path / "backup.gz"))
    lock = DataDirLock(tmp_path)
    lock.acquire()
    ran = _db(tmp_path, {}, "restore", str(tmp_path / "backup.gz"))
    lock.release()
    assert ran.code == 1
    assert "tidegate down" in ran.err
