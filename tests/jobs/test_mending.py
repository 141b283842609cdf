"""Registering the same bytes again mends what is broken of the version, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from support.control import ME
from support.models import Models
from support.registering import gate, register
from tidegate.packaging.filelist import FILES
from tidegate.wire.replicas.manifest import read_manifest
from tidegate.wire.rest import DeployRequest
from tidegate.wiring import Container


def _package(container: Container, name: str) -> Path:
    return container.artifacts.path(container.models.version(name, "1").digest)


def _flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("how", ["flipped", "gone", "unlisted"])
def test_a_package_is_put_back_and_endpoints_try_again(shared: Container, models: Models, how: str) -> None:
    name, path = f"mended-{how}", models.folder / "poor.joblib"
    assert register(shared, name, path, allow_pickle=True, accelerate=False).state == "succeeded"
    package = _package(shared, name)
    whole = {file.name: file.read_bytes() for file in package.iterdir()}
    shared.endpoints.deploy(name, DeployRequest(name, "1"), ME)
    match how:
        case "flipped":
            _flip(package / "model.joblib")
        case "gone":
            shutil.rmtree(package)
        case "unlisted":
            (package / FILES).unlink()
    job = register(shared, name, path, allow_pickle=True, accelerate=False)
    assert job.result == {"model": name, "version": "1", "created": False}, job.error
    assert any("is put back" in line for line in job.log), job.log
    assert {file.name: file.read_bytes() for file in package.iterdir()} == whole
    newest = shared.endpoints.history(name)[0]
    assert (newest.action, newest.generation, newest.traffic) == ("repair", 2, {"1": 100.0})
    assert newest.revision == 1, "nobody asked for anything else"
    again = register(shared, name, path, allow_pickle=True, accelerate=False)
    assert not any("put back" in line for line in again.log)
    assert shared.endpoints.history(name)[0].generation == 2, "nothing was broken"


def test_a_damaged_form_is_made_anew(shared: Container, models: Models) -> None:
    path = models.folder / "small.joblib"
    register(shared, "refit", path, allow_pickle=True)
    file = shared.manifests.path("refit", "1")
    before = read_manifest(file).accelerated
    assert before is not None
    _flip(_package(shared, "refit").parent / before.folder / "model.onnx")
    job = register(shared, "refit", path, allow_pickle=True)
    assert any("the faster form of refit:1 is made anew" in line for line in job.log), job.log
    after = read_manifest(file).accelerated
    assert after is not None
    assert after.folder != before.folder
    assert shared.artifacts.form_fault(after.folder) is None
    assert shared.models.version("refit", "1").acceleration["state"] == "done"


def test_a_version_is_scored_again_only_on_whole_files(shared: Container, models: Models) -> None:
    path = models.folder / "logistic.joblib"
    fields = {"allow_pickle": True, "validation": models.folder / "validation.csv"}
    register(shared, "rescored", path, **fields, gate=gate())
    _flip(_package(shared, "rescored") / "model.joblib")
    job = register(shared, "rescored", path, **fields, gate=gate())
    assert job.state == "succeeded", job.error
    assert shared.artifacts.fault(shared.models.version("rescored", "1").digest) is None


def test_another_device_for_the_same_bytes_is_refused(shared: Container, models: Models) -> None:
    path = models.folder / "logistic.joblib"
    register(shared, "placed", path, allow_pickle=True)
    refused = register(shared, "placed", path, allow_pickle=True, device="cuda", label="v2")
    assert refused.error is not None
    assert refused.error["code"] == "conflict"
    assert "placed:1 holds these bytes and runs on cpu" in refused.error["error"]
    assert shared.models.version("placed", "1").label is None
    for device in ("cpu", None):
        assert register(shared, "placed", path, allow_pickle=True, device=device).state == "succeeded"
