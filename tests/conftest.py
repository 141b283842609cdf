"""Fixtures for the whole suite: a platform and real models, each made once a session and only where asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.models import Models, train
from support.platform import Platform
from support.services.postgres import Postgres
from support.services.prometheus import Prometheus
from support.services.redis import RedisServer
from support.wait import free_ports


@pytest.fixture
def free_port() -> int:
    """A free TCP port on loopback."""
    return free_ports(1)[0]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Trained models and their files."""
    return train(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A running platform that many tests share: each uses names of its own and leaves the others alone."""
    running = Platform(tmp_path_factory.mktemp("platform") / "data")
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture
def own_platform(tmp_path: Path) -> Iterator[Platform]:
    """A platform for one test, not yet started."""
    own = Platform(tmp_path / "data")
    try:
        yield own
    finally:
        own.stop()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A running PostgreSQL that many tests share: each makes a database of its own, and none stops the server."""
    server = Postgres()
    try:
        yield server.start()
    finally:
        server.remove()


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A running PostgreSQL for one test, which may kill it."""
    server = Postgres()
    try:
        yield server.start()
    finally:
        server.remove()


@pytest.fixture(scope="module")
def prometheus() -> Iterator[Prometheus]:
    """A Prometheus of one module, which is not yet told what to scrape, and not started."""
    server = Prometheus()
    try:
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def new_database(request: pytest.FixtureRequest) -> Callable[[], str | None]:
    """Makes an empty database of each kind that the store speaks; None stands for SQLite in the data directory."""
    if request.param == "sqlite":
        return lambda: None
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_database


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A running Redis that many tests share: each uses names of its own, and none stops the server."""
    server = RedisServer()
    try:
        yield server.start()
    finally:
        server.remove()


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A running Redis for one test, which may kill it."""
    server = RedisServer()
    try:
        yield server.start()
    finally:
        server.remove()
