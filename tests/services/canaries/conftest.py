"""An endpoint of three versions, the first of which is deployed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.canary_bed import Bed
from support.control import ME, add_version, container_at
from tidegate.wire.rest import DeployRequest


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    container = container_at(tmp_path / "data")
    for number in ("1", "2", "3"):
        add_version(container, "churn", number)
    made = Bed(container)
    made.endpoints.deploy("churn", DeployRequest("churn", "1"), ME)
    made.routed()
    yield made
    container.close()
