"""Files of a registered model that were damaged on disk are not served, said so, and mended by registering again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.models import Models
from support.platform import Platform
from support.wait import free_ports, until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def artifact(platform: Platform, models: Models) -> Iterator[Path]:
    """The stored package of an endpoint `kept` that serves the original."""
    platform.done("deploy", models.path("columns.joblib"), "--name", "kept", "--allow-pickle", "--no-accelerate")
    (version,) = platform.done("models", "show", "kept")["versions"]
    yield platform.data_dir / "artifacts" / version["digest"]
    platform.done("delete", "kept", "--yes")
    until(lambda: platform.api("GET", "/api/v1/endpoints/kept").status_code == 404, 30, "the end of the endpoint")
    platform.done("models", "delete", "kept", "--yes")


def _again(platform: Platform, models: Models) -> Any:
    options = ("--name", "kept", "--allow-pickle", "--no-accelerate")
    return platform.done("register", models.path("columns.joblib"), *options)


def _kill_replica(platform: Platform) -> None:
    (replica,) = [one for one in platform.processes("tidegate.server") if "/versions/kept/" in " ".join(one.cmdline())]
    replica.kill()


def test_damage_is_told_by_status_and_mended_by_registering_again(
    platform: Platform, models: Models, artifact: Path
) -> None:
    rows = models.frame.head(3).to_dict("records")
    expected = models.says("columns", models.frame.head(3))
    model = artifact / "model.joblib"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    _kill_replica(platform)
    until(lambda: "is damaged" in platform.endpoint("kept")["reason"], 60, "the replica's refusal")
    told = platform.cli("status", "kept").out
    assert told.startswith("endpoint kept is failed"), told
    assert "the stored copy of this model is damaged: 'model.joblib'" in told, told
    assert "should be of SHA-256" in told
    assert "Register the same file again" in told
    assert platform.predict("kept", rows).status_code == 503

    assert _again(platform, models)["version"] == "1"
    until(lambda: platform.endpoint("kept")["status"] == "ready", 60, "the endpoint, by itself")
    assert platform.predict("kept", rows).json()["prediction"] == expected
    history = platform.api("GET", "/api/v1/endpoints/kept/history").json()["history"]
    assert [entry["action"] for entry in history] == ["repair", "deploy"]
    assert platform.cli("status", "kept").out.startswith("endpoint kept is ready")


def test_an_artifact_that_is_gone_is_put_back_while_the_replica_serves(
    platform: Platform, models: Models, artifact: Path
) -> None:
    shutil.rmtree(artifact)
    assert _again(platform, models)["version"] == "1"
    _kill_replica(platform)
    row = models.frame.head(1).to_dict("records")
    until(lambda: platform.predict("kept", row).status_code == 200, 60, "the replica's replacement")
    assert platform.endpoint("kept")["status"] == "ready"


def test_serve_refuses_it_too(platform: Platform, models: Models, artifact: Path) -> None:
    model = artifact / "model.joblib"
    model.write_bytes(model.read_bytes()[:100])
    refused = platform.cli("serve", "kept:1", "--port", str(free_ports(1)[0]))
    assert refused.code == 1
    assert "'model.joblib'" in refused.err
    assert "and is 100 bytes" in refused.err
