"""Fixtures for the whole suite: a platform and real models, each made once a session and only where asked for."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from support.docker_engine import DockerEngine, engine_or_skip, running_engine
from support.models import Models, train
from support.platform import Platform
from support.services.chromium import Chromium
from support.services.mlflow import Mlflow, PassingMlflow
from support.services.postgres import Postgres
from support.services.prometheus import Prometheus
from support.services.redis import RedisServer
from support.services.s3 import BUCKET, PASSED_ON, S3
from support.wait import free_ports

IN_MEMORY = Path("/dev/shm")
ROOM_BYTES_MIN = 2 << 30
"""A whole run leaves about 300 MB of files at a time."""


def pytest_configure(config: pytest.Config) -> None:
    """Keep the tests' files in memory where there is room: no test is about a disk, and many would wait for it."""
    if "PYTEST_DEBUG_TEMPROOT" not in os.environ and _is_roomy(IN_MEMORY):
        os.environ["PYTEST_DEBUG_TEMPROOT"] = str(IN_MEMORY)


def _is_roomy(folder: Path) -> bool:
    """Also for programs: environments of models lie among the files."""
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        return False
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize >= ROOM_BYTES_MIN and not found.f_flag & os.ST_NOEXEC


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first, so that no process of the run is left alone with one of them at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """Thousands of tests and what they import stay until the end: no collection of garbage need look at them."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def free_port() -> int:
    """A free TCP port on loopback."""
    return free_ports(1)[0]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Trained models and their files, the same for all processes of a test run: no test changes them."""
    base = tmp_path_factory.getbasetemp()
    return train((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "models")


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
def engine() -> Iterator[DockerEngine]:
    """A private Docker engine that many tests share."""
    engine_or_skip()
    with running_engine() as running:
        yield running


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
    return _maker(request, Postgres.new_database)


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def migrated_database(request: pytest.FixtureRequest) -> Callable[[], str | None]:
    """The same for `container_at`, which has no use for the migrations: they are done, if that is quicker."""
    return _maker(request, Postgres.migrated_database)


def _maker(request: pytest.FixtureRequest, made: Callable[[Postgres], str]) -> Callable[[], str | None]:
    return (lambda: None) if request.param == "sqlite" else partial(made, request.getfixturevalue("postgres"))


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


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    """A running S3 server with a bucket, for `mlflow_server`."""
    server = S3()
    try:
        server.start().make_bucket()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def mlflow_server(postgres: Postgres, s3: S3) -> Iterator[Mlflow]:
    """An MLflow server on PostgreSQL and S3, which is still starting: `wait` for it."""
    server = Mlflow(postgres.new_database(), BUCKET, s3.env)
    try:
        yield server.begin()
    finally:
        server.remove()


@pytest.fixture(scope="session")
def passing_mlflow(postgres: Postgres, s3: S3) -> Iterator[PassingMlflow]:
    """An MLflow server that passes artifacts on to a bucket of its own, which is still starting: `wait` for it."""
    server = PassingMlflow(postgres.new_database(), PASSED_ON, s3.env)
    try:
        yield server.begin()
    finally:
        server.remove()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    """A browser for the tests of a file; required where services are, else skipped without one."""
    browser = Chromium()
    try:
        yield browser
    finally:
        browser.remove()
