"""The backends that must all behave alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.backends import Subject, for_containers, for_processes
from support.docker_engine import DockerEngine
from support.models import Models
from support.wait import until
from tidegate.adapters.docker.backend import MARK, DockerBackend
from tidegate.adapters.docker.engine import DockerEngine as Client
from tidegate.adapters.local.backend import LocalBackend
from tidegate.core.ports import Backend
from tidegate.errors import ImagePending
from tidegate.system.child_env import inherited_env


@pytest.fixture(scope="session")
def local(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return for_processes(Path(models.path("logistic.joblib")), tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="session")
def docker(engine: DockerEngine, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return for_containers(engine, tmp_path_factory.mktemp("image"))


@pytest.fixture(params=["local", "docker"])
def subject(request: pytest.FixtureRequest) -> Subject:
    """Each implementation in turn."""
    found: Subject = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def new_backend(subject: Subject, request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Backend]:
    """Makes the backend of a data directory, as each start of a control plane does."""
    return _maker(subject, request, tmp_path)


@pytest.fixture
def elsewhere(subject: Subject, request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    """The backend of another platform, which has used the same engine before."""
    data_dir = tmp_path / "elsewhere"
    data_dir.mkdir()
    (data_dir / MARK).touch()
    return _maker(subject, request, data_dir)()


def _maker(subject: Subject, request: pytest.FixtureRequest, data_dir: Path) -> Callable[[], Backend]:
    if subject.backend == "local":
        return lambda: LocalBackend(data_dir, inherited_env())
    host = request.getfixturevalue("engine").host
    return lambda: DockerBackend(data_dir, Client(lambda: host), _no_image, inherited_env(), "none")


@pytest.fixture
def backend(new_backend: Callable[[], Backend]) -> Iterator[Backend]:
    """With nothing running."""
    made = new_backend()
    yield made
    left = made.on_this_host()
    for handle in left:
        made.kill(handle)
    until(lambda: not any(seen is None or seen.alive for seen in made.observe(left)), what="the end of all")


def _no_image(_spec: object) -> None:
    raise ImagePending("nobody builds images here")
