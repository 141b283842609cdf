"""A platform of one endpoint, to experiment on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.experiment_bed import Bed


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    made = Bed(tmp_path)
    yield made
    made.container.close()
