"""Which models get an environment of their own."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression

from tidegate.environments import requirements_of
from tidegate.errors import PickleNotGranted
from tidegate.packaging import ModelSource, read_source

MODEL = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
DUMPS: dict[str, Callable[[Any, Path], Any]] = {"m.joblib": joblib.dump, "m.skops": skops.io.dump}


@pytest.fixture(params=sorted(DUMPS))
def older(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelSource:
    """A file whose estimators say that scikit-learn 1.2.3 saved them."""
    monkeypatch.setattr("sklearn.base.__version__", "1.2.3")
    DUMPS[request.param](MODEL, tmp_path / request.param)
    return read_source(tmp_path / request.param)


def test_a_model_of_another_scikit_learn_wants_that_one(older: ModelSource) -> None:
    wanted = requirements_of(older, None, granted=True)
    assert wanted is not None
    assert "scikit-learn==1.2.*" in wanted.lines
    assert ("skops" in wanted.lines) is (older.format == "skops")


def test_without_the_grant_it_is_refused_with_the_reason(older: ModelSource) -> None:
    with pytest.raises(PickleNotGranted, match=r"was saved with scikit-learn 1\.2, this server has .*--allow-pickle"):
        requirements_of(older, None, granted=False)


@pytest.mark.parametrize("name", sorted(DUMPS))
def test_a_model_of_this_scikit_learn_wants_none(tmp_path: Path, name: str) -> None:
    DUMPS[name](MODEL, tmp_path / name)
    assert requirements_of(read_source(tmp_path / name), None, granted=False) is None


def test_a_damaged_skops_file_says_no_version(tmp_path: Path) -> None:
    file = tmp_path / "m.skops"
    skops.io.dump(MODEL, file)
    content = bytearray(file.read_bytes())
    with zipfile.ZipFile(file) as archive:
        schema = archive.getinfo("schema.json")
    content[schema.header_offset + 60 : schema.header_offset + 90] = b"?" * 30
    file.write_bytes(content)
    assert read_source(file).sklearn_versions == frozenset()


def test_requirements_given_for_a_native_file_are_never_ignored(tmp_path: Path) -> None:
    file = tmp_path / "m.onnx"
    file.write_bytes(b"")
    source = ModelSource(file, "m.onnx", "onnx")
    assert requirements_of(source, "numpy\n", granted=False) is None
    with pytest.raises(PickleNotGranted, match=r"onnxruntime==1\.0"):
        requirements_of(source, "onnxruntime==1.0\n", granted=False)
    assert requirements_of(source, "onnxruntime==1.0\n", granted=True) is not None
