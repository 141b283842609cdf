"""An accelerated version as a process: no pickle is read, no framework is in it, it is up soon, and it is small."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from support.http_bytes import Connection, post
from support.wait import free_ports, until
from tidegate.adapters.artifacts.store import DirectoryArtifacts, ManifestFiles
from tidegate.adapters.sandbox.inspection import (
    AccelerationRequest,
    InspectionRequest,
    run_acceleration,
    run_inspection,
)
from tidegate.packaging import read_source, wrap
from tidegate.wire.replicas.manifest import Accelerated, Manifest
from tidegate.wire.signature import Signature

pytestmark = pytest.mark.slow


def accelerated(path: Path, root: Path) -> tuple[Manifest, Path, dict[str, Any]]:
    """The version as the register job makes it; its package is gone afterwards: only the form is left to serve."""
    package = wrap(read_source(path), root / "package", allow_pickle=True)
    scratch = root / "scratch"
    scratch.mkdir()
    found = run_inspection(InspectionRequest(package.dir, allow_pickle=True), timeout_s=60, scratch_dir=scratch)
    request = AccelerationRequest(package.dir, scratch / "form", found["signature"], allow_pickle=True)
    record = run_acceleration(request, timeout_s=100, scratch_dir=scratch)
    assert record["kept"], record
    artifacts = DirectoryArtifacts(root / "artifacts")
    artifacts.put(package.digest, package.dir)
    folder = artifacts.put_form(package.digest, record["kept"], scratch / "form")
    shutil.rmtree(artifacts.path(package.digest))
    manifest = Manifest(
        name="fast",
        version="1",
        digest=package.digest,
        package_dir=f"../../artifacts/{package.digest}",
        framework="sklearn",
        signature=msgspec.convert(found["signature"], Signature),
        example=found["example"],
        batchable=True,
        accelerated=Accelerated(record["kept"], folder),
    )
    return manifest, ManifestFiles(root / "versions").write(manifest), record


def start(manifest: Path, port: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tidegate.server", "--manifest", str(manifest), "--port", str(port)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(("name", "form"), [("forest", "trees-float"), ("logistic", "dense-float64")])
def test_an_accelerated_version_serves_without_its_pickle(models: Any, tmp_path: Path, name: str, form: str) -> None:
    _, path, record = accelerated(Path(models.path(f"{name}.joblib")), tmp_path)
    assert record["kept"].startswith(form)
    port = free_ports(1)[0]
    process = start(path, port)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        connection = Connection(port)
        connection.send(post("/predict", {"features": models.rows[:20].tolist()}))
        answer = connection.read().json
        assert answer["prediction"] == models.says(name, models.rows[:20])
        np.testing.assert_allclose(answer["confidence"], models.is_sure(name, models.rows[:20]), atol=1e-5)
        connection.send(post("/predict", {"features": [*models.rows[0][:-1].tolist(), None]}))
        reply = connection.read()
        assert reply.status == (200 if name == "forest" else 422)
        connection.close()
        maps = Path(f"/proc/{process.pid}/maps").read_text()
        assert not [library for library in ("sklearn", "pandas", "scipy") if f"/{library}/" in maps]
        status = Path(f"/proc/{process.pid}/status").read_text()
        resident_kb = int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])
        assert resident_kb <= 110 * 1024
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)


def test_a_model_of_text_and_numbers_serves_without_its_pickle(models: Any, tmp_path: Path) -> None:
    _, path, record = accelerated(Path(models.path("table.joblib")), tmp_path)
    assert record["kept"] == "dense-float64" or record["kept"].startswith("skl2onnx"), record
    port = free_ports(1)[0]
    process = start(path, port)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        connection = Connection(port)
        records = models.table[:20].to_dict("records")
        connection.send(post("/predict", {"features": records}))
        answer = connection.read().json
        assert answer["prediction"] == models.says("table", models.table[:20])
        np.testing.assert_allclose(answer["confidence"], models.is_sure("table", models.table[:20]), atol=1e-5)
        for wrong, said in (("unknown", "'sex' is 'unknown' in row 0"), (None, "'sex' is null"), (1, "BYTES")):
            connection.send(post("/predict", {"features": records[0] | {"sex": wrong}}))
            reply = connection.read()
            assert reply.status == 422
            assert said in reply.json["error"]
        connection.close()
        maps = Path(f"/proc/{process.pid}/maps").read_text()
        assert not [library for library in ("sklearn", "pandas", "scipy") if f"/{library}/" in maps]
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)


def test_a_form_that_is_gone_stops_the_replica_and_the_original_is_not_served(models: Any, tmp_path: Path) -> None:
    manifest, path, _ = accelerated(Path(models.path("logistic.joblib")), tmp_path)
    assert manifest.accelerated is not None
    shutil.rmtree(tmp_path / "artifacts" / manifest.accelerated.folder)
    process = start(path, free_ports(1)[0])
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "accelerated form" in err


def test_importing_the_fast_runtime_brings_no_framework(tmp_path: Path) -> None:
    script = (
        "import sys, json, tidegate.server.__main__, tidegate.runtimes.accelerated.serve.serving\n"
        "heavy = ('sklearn', 'pandas', 'scipy', 'joblib', 'onnx', 'skl2onnx')\n"
        "print(json.dumps([name for name in heavy if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stdout) == []


def test_the_artifacts_of_a_digest_go_with_their_forms(tmp_path: Path) -> None:
    artifacts, digest = DirectoryArtifacts(tmp_path / "artifacts"), "ab" * 32
    for name in ("package", "form"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    artifacts.put(digest, tmp_path / "package")
    folder = artifacts.put_form(digest, "trees-float64", tmp_path / "form")
    until((tmp_path / "artifacts" / folder / "file").exists, what="the form")
    artifacts.delete(digest)
    assert list((tmp_path / "artifacts").iterdir()) == []
