"""The step of the register job that tries faster forms: whatever happens to it, the original can be served."""

from __future__ import annotations

import os
import pickle
import re
import sys
from pathlib import Path
from typing import Any

import lightgbm
import msgspec
import numpy as np
import pytest
import xgboost
from sklearn.datasets import load_breast_cancer

from tidegate import runtimes
from tidegate.adapters.sandbox import inspection
from tidegate.adapters.sandbox.inspection import (
    AccelerationRequest,
    InspectionRequest,
    Watched,
    run_acceleration,
    run_inspection,
)
from tidegate.packaging import read_source, wrap
from tidegate.packaging.mlmodel import read_layout
from tidegate.runtimes.accelerated.serve.serving import FastModel
from tidegate.runtimes.loading.building import adopt, rebuild
from tidegate.runtimes.loading.objects import load_object
from tidegate.wire.signature import Signature


@pytest.fixture
def request_for(models: Any, tmp_path: Path) -> AccelerationRequest:
    package = wrap(read_source(Path(models.path("logistic.joblib"))), tmp_path / "package", allow_pickle=True)
    found = run_inspection(InspectionRequest(package.dir, allow_pickle=True), timeout_s=60, scratch_dir=tmp_path)
    return AccelerationRequest(package.dir, tmp_path / "form", found["signature"], allow_pickle=True)


def test_the_record_tells_what_was_tried(request_for: AccelerationRequest, tmp_path: Path) -> None:
    told: list[str] = []
    record = run_acceleration(
        request_for, timeout_s=100, scratch_dir=tmp_path, watched=Watched(lambda _done, text: told.append(text))
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


def _save_xgboost(frame: Any, label: Any, folder: Path) -> Path:
    xgboost.XGBClassifier(n_estimators=5, n_jobs=1).fit(frame, label).save_model(folder / "model.ubj")
    return folder / "model.ubj"


def _save_lightgbm(frame: Any, label: Any, folder: Path) -> Path:
    model = lightgbm.LGBMClassifier(n_estimators=5, n_jobs=1, verbose=-1).fit(frame, label)
    model.booster_.save_model(folder / "model.txt")
    return folder / "model.txt"


@pytest.mark.parametrize(
    ("save", "form"), [(_save_xgboost, "trees-float32"), (_save_lightgbm, "trees-float64")], ids=["xgboost", "lightgbm"]
)
def test_a_booster_s_own_file_gets_a_form_for_its_named_columns(save: Any, form: str, tmp_path: Path) -> None:
    data, label = load_breast_cancer(return_X_y=True, as_frame=True)
    frame = data.iloc[:, :6]
    package = wrap(read_source(save(frame, label, tmp_path)), tmp_path / "package")
    found = run_inspection(InspectionRequest(package.dir), timeout_s=60, scratch_dir=tmp_path)
    into = tmp_path / "form"
    record = run_acceleration(
        AccelerationRequest(package.dir, into, found["signature"]), timeout_s=100, scratch_dir=tmp_path
    )
    assert any(entry["equal"] for entry in record["tried"]), record
    if record["kept"] is None:  # equal, but on a machine as busy as this one not seen to be faster
        return
    assert record["kept"] == form
    signature = msgspec.convert(found["signature"], Signature)
    original = rebuild(adopt(load_object(read_layout(package.dir), False), read_layout(package.dir)), signature)
    inputs = {spec.name: frame.iloc[:, index].to_numpy() for index, spec in enumerate(signature.inputs)}
    expected, got = original.predict(inputs, None), FastModel(into, signature).predict(inputs, None)
    assert list(expected) == list(got)
    for name, array in expected.items():
        np.testing.assert_allclose(got[name], array, atol=1e-6)


class Hostile:
    """Runs this code when it is loaded, in the folder that the process may write."""

    def __init__(self, code: str) -> None:
        self.code = code

    def __reduce__(self) -> Any:
        return exec, (self.code,)


@pytest.mark.parametrize(
    ("kept", "told"), [("dense-float64", "neither a folder nor a plain file"), ("../x", "a form that there is none of")]
)
def test_a_model_that_writes_the_record_itself_has_nothing_else_taken_over(
    kept: str, told: str, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    if os.getuid() == 0:
        os.chown(elsewhere, 1234, 1234)
    before = elsewhere.stat()
    code = f"""
import json, os
os.symlink({str(elsewhere)!r}, "form")
with open("result.json", "w") as file:
    json.dump({{"ok": True, "kept": {kept!r}}}, file)
os._exit(0)
"""
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(Hostile(code)))
    package = wrap(read_source(tmp_path / "m.pkl"), tmp_path / "package", allow_pickle=True)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    request = AccelerationRequest(package.dir, scratch / "form", {"inputs": [], "outputs": []}, True, True)
    record = run_acceleration(request, timeout_s=60, scratch_dir=scratch)
    assert (record["kept"], record["state"]) == (None, "failed")
    assert told in record["reason"]
    after = elsewhere.stat()
    assert (after.st_uid, after.st_mode) == (before.st_uid, before.st_mode)


def test_every_form_there_is_can_be_kept() -> None:
    source = Path(runtimes.__file__).parent / "accelerated"
    made = "".join(path.read_text() for path in source.rglob("*.py"))
    names = set(re.findall(r'"((?:trees|dense|skl2onnx|torch)-(?:float\d+|onnx))"', made))
    assert names == set(inspection.FORMS)
