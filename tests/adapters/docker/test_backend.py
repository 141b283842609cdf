"""What the Docker backend does to what is not its own. On a real engine it is tested in `tests/conformance/backend`."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from tidegate.adapters.docker.backend import DockerBackend
from tidegate.adapters.docker.engine import DockerEngine
from tidegate.core.ports import Handle, ReplicaObservation
from tidegate.system.run_dir import make_run_dir


class StandInEngine:
    """Two platforms of one machine share it; it has no container with the label of the one that asks."""

    address = "unix:///run/none.sock"

    def call(self, do: Callable[[Any], Any]) -> Any:
        return do(self)

    def containers(self, **_: object) -> list[dict[str, str]]:
        return []


@pytest.fixture
def backend(tmp_path: Path) -> DockerBackend:
    (tmp_path / "own").mkdir()
    engine = cast(DockerEngine, StandInEngine())
    return DockerBackend(tmp_path / "own", engine, lambda _spec: None, {}, "none")


@contextmanager
def container_of(data_dir: Path) -> Iterator[Handle]:
    """A replica whose socket lies in this platform's folder."""
    folder = make_run_dir(data_dir)
    socket = folder / "r-1" / "replica.sock"
    socket.parent.mkdir()
    socket.touch()
    try:
        yield Handle("docker", {"replica": "r-1", "container": "c1", "socket": str(socket), "token": 1})
    finally:
        shutil.rmtree(folder)


def test_the_folder_of_an_own_container_that_is_gone_is_removed(backend: DockerBackend, tmp_path: Path) -> None:
    with container_of(tmp_path / "own") as handle:
        (seen,) = backend.observe([handle])
        assert seen == ReplicaObservation(False, False, f"unix:{handle.data['socket']}")
        assert not Path(str(handle.data["socket"])).parent.exists()


def test_the_folder_of_another_platforms_container_stays(backend: DockerBackend, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    with container_of(tmp_path / "theirs") as handle:
        backend.observe([handle])
        assert Path(str(handle.data["socket"])).exists()
