"""Who is taken for a control plane of an earlier release: nobody but one of this data directory, on this machine."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from support.platform import clean_env
from support.wait import free_ports, until
from tidegate.control.checks import holder_of
from tidegate.control.options import Options, parse
from tidegate.control.state import ControlState, write_state
from tidegate.control.succession import succeed
from tidegate.errors import TidegateError
from tidegate.settings import Settings
from tidegate.store.database.engine import open_store, store_url
from tidegate.store.database.migrate import known_revisions

HOLDS = """
import fcntl, os, sys
lock = open(sys.argv[1], "a+")
fcntl.flock(lock, fcntl.LOCK_EX)
lock.write(str(os.getpid()))
lock.flush()
print("holds", flush=True)
sys.stdin.read()
"""

PORTS = free_ports(2)


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Holds the lock, and is no control plane: its number is that of one in another container, say."""
    argv = [sys.executable, "-c", HOLDS, str(tmp_path / "control.lock")]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holds\n"
        yield process
        process.terminate()


@pytest.fixture
def earlier(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """What is found as the control plane of an earlier release, and does nothing but to hold the data directory."""
    package = tmp_path / "earlier" / "tidegate" / "control"
    package.mkdir(parents=True)
    for module in (package.parent / "__init__.py", package / "__init__.py"):
        module.touch()
    (package / "__main__.py").write_text(HOLDS)
    argv = [sys.executable, "-m", "tidegate.control", str(tmp_path / "control.lock"), "--data-dir", str(tmp_path)]
    env = clean_env(PYTHONPATH=str(tmp_path / "earlier"))
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"holds\n"
        options = _options(tmp_path)
        write_state(tmp_path, ControlState(process.pid, options.control_url, options.gateway_url, 0.0, "0.0.1"))
        yield process
        process.terminate()


def _options(data_dir: Path, *more: str) -> Options:
    return parse(["--data-dir", str(data_dir), "--port", str(PORTS[0]), "--control-port", str(PORTS[1]), *more])


def _settings(data_dir: Path, **env: str) -> Settings:
    return Settings.from_env(env, data_dir=data_dir)


def test_a_process_that_is_no_control_plane_is_left_alone(tmp_path: Path, stranger: subprocess.Popen[str]) -> None:
    options = _options(tmp_path)
    write_state(tmp_path, ControlState(stranger.pid, options.control_url, options.gateway_url, 0.0))
    assert holder_of(tmp_path) == stranger.pid
    assert not succeed(options, _settings(tmp_path))
    assert stranger.poll() is None


def test_nobody_is_succeeded_where_nothing_runs(tmp_path: Path) -> None:
    options = _options(tmp_path)
    write_state(tmp_path, ControlState(1, options.control_url, options.gateway_url, 0.0))
    assert not succeed(options, _settings(tmp_path))


def _newer_schema(data_dir: Path) -> dict[str, str]:
    _with_schema(data_dir, "9999_12_31")
    return {}


def _schema_that_lies(data_dir: Path) -> dict[str, str]:
    """It says that it is the first one, and has the tables of all."""
    _with_schema(data_dir, known_revisions()[0])
    return {}


def _with_schema(data_dir: Path, revision: str) -> None:
    store = open_store(store_url(data_dir, None))
    store.migrate()
    store.close()
    engine = create_engine(f"sqlite:///{data_dir / 'tidegate.db'}")
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :it"), {"it": revision})
    engine.dispose()


def _no_database(data_dir: Path) -> dict[str, str]:
    return {"DATABASE_URL": f"sqlite:///{data_dir / 'control.json'}"}


def _key_of_another_use(data_dir: Path) -> dict[str, str]:
    (data_dir / "token").write_text("the-same\n")
    return {"TIDEGATE_API_KEY": "the-same"}


def _redis_option(_data_dir: Path) -> dict[str, str]:
    return {"REDIS_URL": "redis://127.0.0.1/0?no_such_option=1"}


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (_newer_schema, "written by a newer release"),
        (_schema_that_lies, "cannot be brought to this release's schema: duplicate column"),
        (_no_database, "is no database"),
        (_key_of_another_use, "are the same key"),
        (_redis_option, "REDIS_URL has an option"),
    ],
)
def test_the_earlier_control_plane_runs_on_where_its_successor_could_not_start(
    tmp_path: Path, earlier: subprocess.Popen[bytes], broken: Callable[[Path], dict[str, str]], said: str
) -> None:
    settings = _settings(tmp_path, **broken(tmp_path))
    with pytest.raises(TidegateError, match=said):
        succeed(_options(tmp_path), settings)
    assert earlier.poll() is None
    assert holder_of(tmp_path) == earlier.pid


def test_the_earlier_control_plane_runs_on_where_a_port_is_a_strangers(
    tmp_path: Path, earlier: subprocess.Popen[bytes]
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = str(other.getsockname()[1])
        with pytest.raises(TidegateError, match=f"port {port} .*--grpc-port"):
            succeed(_options(tmp_path, "--grpc-port", port), _settings(tmp_path))
    assert holder_of(tmp_path) == earlier.pid
    assert earlier.poll() is None


def test_one_that_can_be_replaced_is_ended(tmp_path: Path, earlier: subprocess.Popen[bytes]) -> None:
    assert succeed(_options(tmp_path, "--gateways", "0"), _settings(tmp_path))
    until(lambda: earlier.poll() is not None, what="the end of the earlier one")
