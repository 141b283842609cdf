"""A container for each test, with the job pool that the test starts itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.control import container_at
from tidegate.wiring import Container


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Container]:
    """Not started."""
    container = container_at(tmp_path / "data")
    yield container
    container.close()


@pytest.fixture(scope="package")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """Started; each test uses model names of its own."""
    container = container_at(tmp_path_factory.mktemp("shared") / "data")
    container.take_over()
    container.start()
    yield container
    container.close()
