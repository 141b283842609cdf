"""A Cloud Run for each test, with nothing in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.workload_subjects.cloudrun import CloudRunSubject, cloudrun_subject


@pytest.fixture
def subject(tmp_path: Path) -> Iterator[CloudRunSubject]:
    with cloudrun_subject(tmp_path) as made:
        yield made
