"""One served API for the folder: each test uses names of its own."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from support.control import container_at, served
from tidegate.wiring import Container


@pytest.fixture(scope="package")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """Real store and registry; no job pool, no loops."""
    container = container_at(tmp_path_factory.mktemp("api") / "data", api_key="k-of-a-team", allowed_hosts="ml.example")
    yield container
    container.close()


@pytest.fixture(scope="package")
def api(container: Container) -> Iterator[httpx.Client]:
    """A client that has the token."""
    with served(container) as client:
        yield client
