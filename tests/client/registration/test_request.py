"""What a user hands to `register` and the request that comes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tidegate.client.registration.files import Payload
from tidegate.client.registration.request import RegisterOptions, register_request
from tidegate.errors import InvalidArgument
from tidegate.wire.rest import RegisterRequest, Upload

FRAME = pd.DataFrame({"x": [1.5, 2.5], "y": [0, 1]})


class Uploads:
    """Takes payloads in and numbers them."""

    def __init__(self) -> None:
        self.taken: dict[str, tuple[str, bytes]] = {}

    def __call__(self, payload: Payload) -> Upload:
        data = b"".join(payload.chunks)
        upload = Upload(f"u{len(self.taken)}", len(data), "s", 0.0)
        self.taken[upload.id] = (payload.name, data)
        return upload


def request_of(model: Any, name: str = "churn", **options: Any) -> tuple[RegisterRequest, Uploads]:
    uploads = Uploads()
    given: RegisterOptions = options  # type: ignore[assignment]
    return register_request(model, name, given, uploads), uploads


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "model.onnx").write_bytes(b"bytes")
    return tmp_path / "model.onnx"


def test_a_file_with_everything(model: Path, tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "v.csv", index=False)
    (tmp_path / "requirements.txt").write_text("scikit-learn==1.9\n")
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "features.py").write_text("")
    request, uploads = request_of(
        str(model),
        validation_data=tmp_path / "v.csv",
        target="y",
        min_score=0.9,
        label="v1.0.0",
        tags={"team": "risk"},
        code=tmp_path / "code",
        requirements=tmp_path / "requirements.txt",
        gate_timeout_s=60.0,
    )
    assert (request.filename, request.archive, request.uri) == ("model.onnx", False, None)
    assert uploads.taken[str(request.upload)] == ("model.onnx", b"bytes")
    gate = request.gate
    assert (gate.validation_filename, gate.target, gate.min_score, gate.timeout_s) == ("v.csv", "y", 0.9, 60.0)
    assert request.tags == {"team": "risk"}
    assert request.requirements == "scikit-learn==1.9\n"
    assert uploads.taken[str(request.code_upload)][1].startswith(b"features.py")


def test_an_mlflow_directory_and_a_uri(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "MLmodel").write_text("flavors: {}")
    request, _ = request_of(tmp_path / "model")
    assert (request.filename, request.archive) == ("model", True)
    request, uploads = request_of("models:/churn/3")
    assert (request.uri, request.upload, uploads.taken) == ("models:/churn/3", None, {})


def test_a_data_frame_keeps_its_values(model: Path, tmp_path: Path) -> None:
    request, uploads = request_of(model, validation_data=FRAME, target="y", requirements=["a==1", "b"])
    name, data = uploads.taken[str(request.gate.validation_upload)]
    (tmp_path / name).write_bytes(data)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / name), FRAME)
    assert request.requirements == "a==1\nb\n"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "Churn"}, "model name 'Churn'"),
        ({"label": "3"}, "label '3'"),
        ({"target": "y"}, "target is given without validation data"),
        ({"min_score": 0.0}, "min_score is given without"),
        ({"min_score": float("nan"), "validation_data": FRAME, "target": "y"}, "finite number"),
        ({"validation_data": FRAME}, "without its target"),
        ({"validation_data": "v.xls", "target": "y"}, r"neither \.csv nor \.parquet"),
        ({"validation_data": "nowhere.csv", "target": "y"}, "no file or directory nowhere.csv"),
        ({"validation_data": 3, "target": "y"}, "is a int"),
        ({"code": "nowhere"}, "no file or directory nowhere"),
        ({"requirements": "nowhere.txt"}, "requirements file nowhere.txt"),
    ],
)
def test_wrong_use_is_found_before_anything_is_sent(model: Path, options: dict[str, Any], words: str) -> None:
    uploads = Uploads()
    name = options.pop("name", "churn")
    given: RegisterOptions = options  # type: ignore[assignment]
    with pytest.raises(InvalidArgument, match=words):
        register_request(model, name, given, uploads)
    assert uploads.taken == {}


def test_a_folder_that_is_no_model_is_not_sent(tmp_path: Path) -> None:
    (tmp_path / "private.txt").write_text("mine")
    uploads = Uploads()
    with pytest.raises(InvalidArgument, match="no MLmodel"):
        register_request(tmp_path, "churn", {}, uploads)
    assert uploads.taken == {}
