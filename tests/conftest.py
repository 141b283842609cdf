"""Fixtures for the whole suite: a platform and real models, each made once a session and only where asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.models import Models, train
from support.platform import Platform
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
