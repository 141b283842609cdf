"""The step of the register job that tries faster forms: whatever happens to it, the original can be served."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tidegate.adapters import inspection
from tidegate.adapters.inspection import AccelerationRequest, InspectionRequest, run_acceleration, run_inspection
from tidegate.adapters.package import read_source, wrap


@pytest.fixture
def request_for(models: Any, tmp_path: Path) -> AccelerationRequest:
    package = wrap(read_source(Path(models.path("logistic.joblib"))), tmp_path / "package", allow_pickle=True)
    found = run_inspection(InspectionRequest(package.dir, allow_pickle=True), timeout_s=60, scratch_dir=tmp_path)
    return AccelerationRequest(package.dir, tmp_path / "form", found["signature"], allow_pickle=True)


def test_the_record_tells_what_was_tried(request_for: AccelerationRequest, tmp_path: Path) -> None:
    told: list[str] = []
    record = run_acceleration(
        request_for, timeout_s=100, scratch_dir=tmp_path, on_progress=lambda _done, text: told.append(text)
    )
    assert record["kind"] == "StandardScaler → LogisticRegression"
    assert record["kept"] == "dense-float64"
    assert (request_for.into / "form.json").is_file()
    assert [path.suffix for path in request_for.into.iterdir() if path.suffix not in (".npy", ".json")] == []
    for entry in record["tried"]:
        assert {"largest_difference", "speedup_1", "speedup_64"} <= set(entry) if entry["equal"] else entry["reason"]
    assert "trying dense-float64" in told


def test_trying_that_takes_too_long_ends_and_keeps_the_original(
    request_for: AccelerationRequest, tmp_path: Path
) -> None:
    record = run_acceleration(request_for, timeout_s=0.2, scratch_dir=tmp_path)
    assert record["kept"] is None
    assert "ended early" in record["reason"]
    assert not request_for.into.exists()


def test_without_the_converters_the_record_says_what_to_install(
    request_for: AccelerationRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An environment without them: importing either fails as it does where they were never installed.
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    for name in ("skl2onnx", "onnx"):
        (hidden / f"{name}.py").write_text(f"raise ModuleNotFoundError('No module named {name}', name={name!r})\n")
    environment = inspection.clean_environment
    monkeypatch.setattr(
        inspection,
        "clean_environment",
        lambda env: {**environment(env), "PYTHONPATH": f"{hidden}:{':'.join(filter(None, sys.path))}"},
    )
    record = run_acceleration(request_for, timeout_s=100, scratch_dir=tmp_path)
    assert record["kept"] == "dense-float64"
    reasons = {entry["form"]: entry.get("reason", "") for entry in record["tried"]}
    assert "pip install 'tidegate[accelerate]'" in reasons["skl2onnx-float32"]
