"""Models that are Python code: a class from a folder, and MLflow's Python functions with params, through a platform."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.platform import Platform

CLASS = """
import json


class Model:
    example = {"text": "good morning", "stars": 4}
    batch = True

    def load(self, folder):
        self.words = json.loads((folder / "words.json").read_text())

    def preprocess(self, inputs):
        return inputs.assign(text=inputs["text"].str.lower())

    def predict(self, inputs):
        if (inputs["stars"] > 5).any():
            raise ValueError("stars go up to 5")
        return [
            {"found": [word for word in self.words if word in row.text], "stars": row.stars}
            for row in inputs.itertuples()
        ]
"""

PYFUNC = """
import sys

import mlflow
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema


class Scaled(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input["x"] * params["factor"] + len(params["names"])


signature = ModelSignature(
    Schema([ColSpec("double", "x")]),
    params=ParamSchema([ParamSpec("factor", "double", 2.0), ParamSpec("names", "string", [], shape=(-1,))]),
)
mlflow.pyfunc.save_model(sys.argv[1], python_model=Scaled(), signature=signature, pip_requirements=[])
"""

TYPED = """
import sys

import mlflow
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema
from mlflow.types.schema import Array


class Typed(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        seen = [
            {"raw": len(row["raw"]), "tags": list(row["tags"]), "year": row["at"].year, "note": row.get("note", "-")}
            for row in model_input.to_dict("records")
        ]
        return model_input.assign(seen=seen)[["at", "raw", "seen"]]


columns = [ColSpec("binary", "raw"), ColSpec(Array("string"), "tags"), ColSpec("datetime", "at")]
signature = ModelSignature(Schema([*columns, ColSpec("string", "note", required=False)]))
mlflow.pyfunc.save_model(sys.argv[1], python_model=Typed(), signature=signature, pip_requirements=[])
"""


@pytest.fixture(scope="module")
def texts(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("texts")
    (folder / "model.py").write_text(CLASS)
    (folder / "words.json").write_text('["good", "bad"]')
    refused = platform.failed("register", str(folder), "--name", "texts")
    assert refused["code"] == "pickle_not_granted"
    platform.done("deploy", str(folder), "--name", "texts", "--allow-pickle")
    return "texts"


def test_a_folder_with_a_class_is_deployed_and_answers_whole_objects(platform: Platform, texts: str) -> None:
    rows = [{"text": "GOOD or bad", "stars": 1}, {"text": "so so", "stars": 5}]
    said = [{"found": ["good", "bad"], "stars": 1}, {"found": [], "stars": 5}]
    assert platform.predict(texts, rows).json()["prediction"] == said
    scored = platform.ask(f"/endpoints/{texts}/invocations", {"dataframe_records": rows})
    assert scored.json() == {"predictions": said}
    assert platform.ask(f"/v1/models/{texts}:predict", {"instances": rows}).json() == {"predictions": said}
    refused = platform.predict(texts, [{"text": "", "stars": 6}])
    assert (refused.status_code, "stars go up to 5" in refused.json()["error"]) == (422, True)
    (version,) = platform.done("models", "show", texts)["versions"]
    assert (version["framework"], version["pickle_granted"]) == ("python", True)


def test_a_bad_row_of_a_merged_batch_fails_alone(platform: Platform, texts: str) -> None:
    def ask(stars: int) -> int:
        return platform.predict(texts, {"text": "", "stars": stars}).status_code

    stars = [1, 2, 9] * 8
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, stars)) == [422 if star > 5 else 200 for star in stars]


@pytest.fixture(scope="module")
def scaled(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> str:
    scratch = tmp_path_factory.mktemp("scaled")
    subprocess.run([sys.executable, "-c", PYFUNC, str(scratch / "m")], check=True, timeout=60, capture_output=True)
    platform.done("deploy", str(scratch / "m"), "--name", "scaled", "--allow-pickle")
    return "scaled"


def scored(platform: Platform, params: Any, *values: float) -> httpx.Response:
    body = {"dataframe_split": {"columns": ["x"], "data": [[value] for value in values]}}
    return platform.ask("/endpoints/scaled/invocations", body if params is None else body | {"params": params})


def test_params_reach_an_mlflow_python_function(platform: Platform, scaled: str) -> None:
    # A series is a table of one column to MLflow's server.
    assert scored(platform, None, 1.0, 2.0).json() == {"predictions": [{"x": 2.0}, {"x": 4.0}]}
    assert scored(platform, {}, 1.0).json() == {"predictions": [{"x": 2.0}]}
    assert platform.predict(scaled, [[1.0], [2.0]]).json()["prediction"] == [2.0, 4.0]
    answer = scored(platform, {"factor": 10, "names": ["a", "b"]}, 1.0)
    assert answer.json() == {"predictions": [{"x": 12.0}]}
    assert "x-tidegate-ignored" not in answer.headers
    request = {
        "parameters": {"factor": 3.0},
        "inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": [5.0]}],
    }
    assert platform.ask(f"/v2/models/{scaled}/infer", request).json()["outputs"][0]["data"] == [15.0]


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"factr": 1.0}, "no param 'factr'; it has 'factor', 'names'"),
        ({"factor": "1"}, "param 'factor' is '1', where a number is expected"),
        ({"factor": True}, "param 'factor' is True"),
        ({"names": "a"}, "param 'names' is 'a', where a list is expected"),
        ({"names": ["a", 1]}, "param 'names[1]' is 1, where a text is expected"),
    ],
)
def test_params_that_do_not_fit_are_422_and_named(platform: Platform, scaled: str, params: Any, named: str) -> None:
    answer = scored(platform, params, 1.0)
    assert (answer.status_code, named in answer.json()["error"]) == (422, True), answer.text


def test_requests_with_different_params_are_never_mixed(platform: Platform, scaled: str) -> None:
    factors = [float(factor % 5) for factor in range(200)]

    def ask(client: httpx.Client, factor: float) -> Any:
        body = {"inputs": {"x": [1.0, 10.0]}, "params": {"factor": factor}}
        return client.post(f"{platform.gateway_url}/endpoints/scaled/invocations", json=body).json()["predictions"]

    with httpx.Client(timeout=30) as client, ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda factor: ask(client, factor), factors))
    assert answers == [[{"x": factor}, {"x": factor * 10}] for factor in factors]


def test_columns_of_other_types_reach_an_mlflow_python_function_through_the_gateway(
    platform: Platform, tmp_path: Path
) -> None:
    subprocess.run([sys.executable, "-c", TYPED, str(tmp_path / "m")], check=True, timeout=60, capture_output=True)
    platform.done("deploy", str(tmp_path / "m"), "--name", "typed", "--allow-pickle")
    day = "2024-02-03T04:05:06"

    def ask(raw: str, tags: list[str], **note: str) -> list[Any]:
        record = {"raw": raw, "tags": tags, "at": day, **note}
        answer = platform.ask("/endpoints/typed/invocations", {"dataframe_records": [record]})
        assert answer.status_code == 200, answer.text
        return list(answer.json()["predictions"])

    def seen(size: int, tags: list[str], note: str) -> dict[str, Any]:
        return {"raw": size, "tags": tags, "year": 2024, "note": note}

    with ThreadPoolExecutor(8) as pool:  # so that some share a batch
        notes: list[dict[str, str]] = [{}, {"note": "n"}]
        several = list(pool.map(lambda number: ask("/wBhYmM=", ["a"] * number, **notes[number % 2]), range(24)))
    for number, (row,) in enumerate(several):
        assert row == {"at": day, "raw": "/wBhYmM=\n", "seen": seen(5, ["a"] * number, "n" if number % 2 else "-")}
    inputs = [
        {"name": "raw", "shape": [1], "datatype": "BYTES", "data": ["abc"]},
        {"name": "tags", "shape": [1], "datatype": "BYTES", "data": ['["x", "y"]']},
        {"name": "at", "shape": [1], "datatype": "BYTES", "data": [day]},
    ]
    outputs = platform.ask("/v2/models/typed/infer", {"inputs": inputs}).json()["outputs"]
    assert [output["name"] for output in outputs] == ["at", "raw", "seen"]
    assert outputs[1]["data"] == ["abc"]
    refused = platform.ask("/endpoints/typed/invocations", {"dataframe_records": [{"raw": "?", "tags": [], "at": day}]})
    assert (refused.status_code, "'raw' is no base64" in refused.json()["error"]) == (422, True)
