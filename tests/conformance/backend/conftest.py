"""The backends that must all behave alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.models import Models
from support.replicas import packaged
from tidegate.adapters.local_backend import LocalBackend
from tidegate.core.ports import Backend
from tidegate.settings import inherited_env


@pytest.fixture(scope="session")
def manifest(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real model, ready to be served."""
    return packaged(Path(models.path("logistic.joblib")), tmp_path_factory.mktemp("package"))[0]


@pytest.fixture(params=["local"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    """Each implementation in turn, with nothing running."""
    made = {"local": lambda: LocalBackend(tmp_path, inherited_env())}[request.param]()
    yield made
    for handle in (left := made.orphans([])):
        made.kill(handle)
    while any(seen.alive for seen in made.observe(left)):
        pass
