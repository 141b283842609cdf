"""A platform with two versions of a model, on which nothing is deployed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.control import NewDatabase, add_version, container_at
from tidegate.wiring import Container


@pytest.fixture
def platform(tmp_path: Path, migrated_database: NewDatabase) -> Iterator[Container]:
    container = container_at(tmp_path / "data", database_url=migrated_database())
    add_version(container, "churn", "1", label="v1")
    add_version(container, "churn", "2", label="v2")
    yield container
    container.close()
