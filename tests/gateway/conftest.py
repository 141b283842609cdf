"""A bed of real processes, one per module for tests that only look, one per test for those that break things."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.gateway_bed import Bed, Gateway


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    made = Bed(tmp_path / "data")
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Bed, Gateway]]:
    """Versions 1 (label v1.0.0) and 2 at 75 to 25, on one gateway."""
    made = Bed(tmp_path_factory.mktemp("shared") / "data")
    try:
        made.replica("1")
        made.replica("2")
        gateway = made.gateway()
        made.publish({"1": 75, "2": 25}, {"1": "v1.0.0"})
        yield made, gateway
    finally:
        made.close()
