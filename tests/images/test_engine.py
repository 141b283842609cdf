"""The engine that the tests of images rest on, where there is none. No engine is started here."""

from __future__ import annotations

import pytest

from support import docker_engine


def test_a_machine_without_an_engine_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_engine, "_missing", lambda: ["docker.io"])
    monkeypatch.setattr(docker_engine, "_may_install", lambda: False)
    monkeypatch.delenv(docker_engine.REQUIRED, raising=False)
    with pytest.raises(pytest.skip.Exception, match="no Docker engine"):
        docker_engine.engine_or_skip()
    monkeypatch.setenv(docker_engine.REQUIRED, "1")
    with pytest.raises(pytest.fail.Exception, match="no Docker engine"):
        docker_engine.engine_or_skip()
