"""One served site for the folder: each test uses names of its own."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from support.console import logged_in, served_site
from support.control import container_at
from support.wait import free_ports
from tidegate.wiring import Container


@pytest.fixture(scope="package")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """Real store and registry; no job pool, no loops."""
    container = container_at(tmp_path_factory.mktemp("console") / "data")
    (nowhere,) = free_ports(1)
    container.gateway_url = f"http://127.0.0.1:{nowhere}"  # no gateway runs here, whatever holds the usual port
    yield container
    container.close()


@pytest.fixture(scope="package")
def url(container: Container) -> Iterator[str]:
    """Where the site is."""
    with served_site(container) as url:
        yield url


@pytest.fixture
def browser(url: str, container: Container) -> Iterator[httpx.Client]:
    """A browser with a session."""
    with logged_in(url, container) as browser:
        yield browser
