"""A private Docker engine, started once for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.docker_engine import DockerEngine, engine_or_skip, running_engine


@pytest.fixture(scope="session")
def engine() -> Iterator[DockerEngine]:
    engine_or_skip()
    with running_engine() as running:
        yield running
