"""An engine that does not answer: what people are told, and how often it is asked. No engine is needed."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from tidegate.adapters.backends import Backends
from tidegate.adapters.docker.backend import DockerBackend
from tidegate.adapters.docker.engine import DEFAULT_ADDRESS, DockerEngine, address_of
from tidegate.adapters.local.backend import LocalBackend
from tidegate.core.engines.placement import Placement
from tidegate.core.ports import Handle, ReplicaSpec
from tidegate.errors import EngineUnavailable, InvalidArgument


def asked(engine: DockerEngine) -> str:
    """What is told when it is asked for its version."""
    with pytest.raises(EngineUnavailable) as told:
        engine.call(lambda api: api.version())
    return told.value.message


def test_who_does_not_answer_and_what_to_do_is_told(tmp_path: Path) -> None:
    nowhere = f"unix://{tmp_path}/none.sock"
    told = asked(DockerEngine(lambda: nowhere))
    assert nowhere in told
    assert "no such file or directory" in told
    assert "start Docker, or set DOCKER_HOST" in told
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(tmp_path / "deaf.sock"))
        assert "connection refused" in asked(DockerEngine(lambda: f"unix://{tmp_path}/deaf.sock"))


def test_an_engine_of_another_machine_is_refused_with_the_reason() -> None:
    told = asked(DockerEngine(lambda: "tcp://engine.example:2376"))
    assert "another machine" in told
    assert "--backend local" in told


def test_one_that_was_away_is_not_asked_each_time(tmp_path: Path) -> None:
    now, tries = 0.0, 0

    def ask(_api: Any) -> None:
        nonlocal tries
        tries += 1

    engine = DockerEngine(lambda: f"unix://{tmp_path}/none.sock", clock=lambda: now)
    asked(engine)
    engine._connect = object  # type: ignore[method-assign]  # it is back
    asked(engine)
    now = 10.0
    engine.call(ask)
    assert tries == 1


@pytest.mark.parametrize(
    ("env", "address"),
    [
        ({"DOCKER_HOST": "unix:///run/user/1000/docker.sock", "PATH": "/nowhere"}, "unix:///run/user/1000/docker.sock"),
        ({"PATH": "/nowhere"}, DEFAULT_ADDRESS),
    ],
)
def test_it_is_looked_for_where_the_docker_command_looks(
    env: dict[str, str], address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert address_of(env) == address


def backends(tmp_path: Path) -> Backends:
    engine = DockerEngine(lambda: f"unix://{tmp_path}/none.sock")
    return Backends(LocalBackend(tmp_path, {}), DockerBackend(tmp_path, engine, lambda _spec: None, {}, "none"))


def test_one_engine_that_is_away_keeps_no_other_backend_from_its_work(tmp_path: Path) -> None:
    both = backends(tmp_path)
    gone = Handle("local", {"replica": "r-1", "pid": 2**22 + 1, "created_at": 1.0, "socket": str(tmp_path / "r.sock")})
    unknown = Handle("docker", {"replica": "r-2", "container": "0" * 64, "socket": str(tmp_path / "r-2" / "r.sock")})
    assert both.unavailable_reason() is None, "nothing was ever started on it"
    (tmp_path / "containers").write_text(f"unix://{tmp_path}/none.sock")
    first, second = both.observe([unknown, gone])
    assert first is None, "unknown is not dead"
    assert second is not None
    assert not second.alive
    assert both.orphans([]) == []
    assert "start Docker" in str(both.unavailable_reason())
    with pytest.raises(EngineUnavailable):
        both.kill(unknown)
    assert both.logs(unknown, 5) == []
    both.check(Placement("local"))
    with pytest.raises(EngineUnavailable):
        both.check(Placement("docker"))
    with pytest.raises(InvalidArgument, match="local, docker"):
        both.start(ReplicaSpec("r-3", "churn", "churn", "1", tmp_path, placement=Placement("moon")))
