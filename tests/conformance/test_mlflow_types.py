"""MLflow's column types and answers: a replica answers `/invocations` as MLflow's own scoring server does."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pandas as pd
import pydantic
import pytest

from tidegate.runtimes import load, open_model
from tidegate.server.replica import build_replica
from tidegate.settings import Settings
from tidegate.wire.signature import TensorSpec

# MLflow wants an example beside every signature, and a narrower type for every Any: advice, and no fault of ours.
pytestmark = pytest.mark.filterwarnings("ignore")

Case = tuple[Any, Any, list[dict[str, Any]]]
BYTES = base64.b64encode(b"\xff\x00abc").decode()
ABC = base64.b64encode(b"abc").decode()


def described(frame: pd.DataFrame) -> list[str]:
    """What the model saw, cell by cell, with the types."""
    rows = frame.to_dict("records")
    return [str([(str(name), type(value).__name__, str(value)) for name, value in row.items()]) for row in rows]


class Pet(pydantic.BaseModel):
    name: str
    legs: int | None = None


def model(function: Callable[[Any], Any]) -> Any:
    import mlflow.pyfunc

    class Model(mlflow.pyfunc.PythonModel):  # type: ignore[misc,name-defined] # MLflow exports it untyped
        def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
            return function(model_input)

    return Model()


def hinted(hint: Any, function: Callable[[Any], Any]) -> Any:
    import mlflow.pyfunc

    def predict(self: Any, model_input: Any) -> Any:
        return function(model_input)

    predict.__annotations__ = {"model_input": hint}
    # MLflow reads the hint when the class is made.
    return type("Hinted", (mlflow.pyfunc.PythonModel,), {"predict": predict})()


def schema(*columns: Any) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import Schema

    return ModelSignature(Schema(list(columns)))


def cases() -> dict[str, Callable[[], Case]]:
    from mlflow.types.schema import AnyType, Array, ColSpec, Map, Object, Property, TensorSpec

    numbers = schema(ColSpec("double", "a"), ColSpec("double", "b"))
    pair = {"dataframe_records": [{"a": 1.0, "b": 2.0}, {"a": 3.0, "b": 4.0}]}
    day = ["2024-01-02T03:04:05", "2024-02-03"]
    animal = Object([Property("x", "long"), Property("y", Array("string"), required=False)])
    objects = [{"x": 1, "y": ["p", "q"]}, {"x": 2}]
    some = schema(ColSpec("double", "a"), ColSpec("string", "b", required=False))
    return {
        "frame": lambda: (model(lambda x: x * 2), numbers, [pair, {"inputs": {"a": [1.0], "b": [2.0]}}]),
        "mixed frame": lambda: (
            model(lambda x: x.assign(t="é", n=range(len(x)), ok=True, gone=float("nan"), both=[{"p": 1}] * len(x))),
            numbers,
            [pair],
        ),
        "named series": lambda: (model(lambda x: x["a"]), numbers, [pair]),
        "series": lambda: (model(lambda x: pd.Series([1] * len(x))), numbers, [pair]),
        "list of dicts": lambda: (model(lambda x: [{"a": value, "at": None} for value in x["a"]]), numbers, [pair]),
        "ragged lists": lambda: (model(lambda x: [[1] * (row + 1) for row in range(len(x))]), numbers, [pair]),
        "dict of lists": lambda: (model(lambda x: {"p": x["a"].tolist(), "q": ["t"] * len(x)}), numbers, [pair]),
        "texts and nothing": lambda: (model(lambda x: [None if v > 0 else "low" for v in x["a"]]), numbers, [pair]),
        "datetimes": lambda: (model(lambda x: [dt.datetime(2024, 1, 2, 3, tzinfo=dt.UTC)] * len(x)), numbers, [pair]),
        "timestamps": lambda: (
            model(lambda x: pd.DataFrame({"at": pd.to_datetime(day[:1] * len(x))})),
            numbers,
            [pair],
        ),
        "bytes": lambda: (model(lambda x: [b"\xff\x00"] * len(x)), numbers, [pair]),
        "datetime column": lambda: (
            model(described),
            schema(ColSpec("datetime", "at")),
            [
                {"dataframe_records": [{"at": day[0]}]},
                {"dataframe_split": {"columns": ["at"], "data": [["2024-02-03"], ["2024-05-06"]]}},
            ],
        ),
        "binary column": lambda: (
            model(described),
            schema(ColSpec("binary", "b")),
            [{"dataframe_records": [{"b": BYTES}, {"b": ABC}]}],
        ),
        "array column": lambda: (
            model(lambda x: [sum(value) for value in x["a"]]),
            schema(ColSpec(Array("long"), "a")),
            [{"dataframe_records": [{"a": [1, 2]}, {"a": []}, {"a": [7]}]}],
        ),
        "nested arrays": lambda: (
            model(lambda x: [[list(one) for one in value] for value in x["a"]]),
            schema(ColSpec(Array(Array("string")), "a")),
            [{"dataframe_records": [{"a": [["x"], ["y", "z"]]}]}],
        ),
        "object column": lambda: (
            model(lambda x: x["o"].tolist()),
            schema(ColSpec(animal, "o")),
            [{"dataframe_records": [{"o": one} for one in objects]}],
        ),
        "map column": lambda: (
            model(described),
            schema(ColSpec(Map("string"), "m")),
            [{"dataframe_records": [{"m": {"k": "v"}}, {"m": {"x": "y", "z": "é"}}]}],
        ),
        "any column": lambda: (
            model(lambda x: [type(value).__name__ for value in x["z"]]),
            schema(ColSpec(AnyType(), "z")),  # type: ignore[no-untyped-call]
            [{"dataframe_records": [{"z": {"k": [1, None]}}, {"z": "text"}]}],
        ),
        "unnamed text": lambda: (
            model(described),
            schema(ColSpec("string")),
            [{"inputs": ["a", "b"]}, {"dataframe_split": {"data": [["a"], ["b"]]}}, {"instances": ["c"]}],
        ),
        "unnamed columns": lambda: (
            model(described),
            schema(ColSpec("string"), ColSpec("long")),
            [{"dataframe_split": {"data": [["a", 1], ["b", 2]]}}],
        ),
        "unnamed integers": lambda: (
            model(described),
            schema(ColSpec("long"), ColSpec("long")),
            [{"dataframe_split": {"data": [[1, 2], [3, 4]]}}],
        ),
        "optional column": lambda: (
            model(described),
            some,
            [
                {"dataframe_records": [{"a": 1.0}]},
                {"dataframe_records": [{"a": 1.0, "b": "t"}]},
                {"dataframe_split": {"columns": ["a"], "data": [[1.0], [2.0]]}},
            ],
        ),
        "optional number": lambda: (
            model(described),
            schema(ColSpec("double", "a"), ColSpec("double", "b", required=False)),
            [{"dataframe_records": [{"a": 1.0}]}, {"inputs": {"a": [1.0, 2.0], "b": [3.0, 4.0]}}],
        ),
        "list[str]": lambda: (hinted(list[str], lambda x: [one.upper() for one in x]), None, [{"inputs": ["a", "é"]}]),
        "list[int]": lambda: (hinted(list[int], lambda x: [one + 1 for one in x]), None, [{"inputs": [1, 2]}]),
        "list[list[str]]": lambda: (hinted(list[list[str]], lambda x: x), None, [{"inputs": [["a", "b"], []]}]),
        "list[dict[str, str]]": lambda: (hinted(list[dict[str, str]], lambda x: x), None, [{"inputs": [{"k": "v"}]}]),
        "pydantic": lambda: (
            hinted(list[Pet], lambda x: [one.name * (one.legs or 1) for one in x]),
            None,
            [{"inputs": [{"name": "cat", "legs": 2}, {"name": "fish"}]}],
        ),
        "pydantic answers": lambda: (hinted(list[Pet], lambda x: x), None, [{"inputs": [{"name": "cat"}]}]),
        "any answers": lambda: (
            hinted(list[int | str], lambda x: x),
            None,
            [{"inputs": [1, "a", {"k": None}, True]}, {"inputs": [None]}, {"inputs": [1.5]}],
        ),
        "text, rarely missing": lambda: (
            model(lambda x: [None if v > 50 else "low" for v in x["a"]]),
            numbers,
            [pair, {"inputs": {"a": [100.0], "b": [1.0]}}, {"inputs": {"a": [100.0, 1.0], "b": [1.0, 1.0]}}],
        ),
        "text column, rarely missing": lambda: (
            model(lambda x: x.assign(t=pd.Series([None if v > 50 else "é" for v in x["a"]], dtype=object))),
            numbers,
            [pair, {"inputs": {"a": [100.0], "b": [1.0]}}],
        ),
        "nanoseconds": lambda: (
            model(lambda x: pd.DataFrame({"at": pd.to_datetime(["2024-01-02T03:04:05.123456789"] * len(x))})),
            numbers,
            [pair],
        ),
        "a column passed on": lambda: (
            model(lambda x: x),
            some,
            [{"dataframe_records": [{"a": 1.0}]}, {"dataframe_records": [{"a": 1.0, "b": "t"}]}],
        ),
        "tensors of text": lambda: (
            model(lambda x: [f"{n}{t}" for n, t in zip(x["n"], x["t"], strict=True)]),
            schema(TensorSpec(np.dtype("int64"), (-1,), "n"), TensorSpec(np.dtype(str), (-1,), "t")),
            [
                {"inputs": {"n": [1, 2], "t": ["a", "é"]}},
                {"dataframe_split": {"columns": ["n", "t"], "data": [[1, "a"]]}},
            ],
        ),
        "tensors in a data frame": lambda: (
            model(lambda x: x["p"].sum(axis=1).tolist()),
            schema(TensorSpec(np.dtype("uint8"), (-1, 2, 3), "p")),
            [
                {"dataframe_split": {"columns": ["p"], "data": [[[1, 2, 3, 4, 5, 6]], [[0, 0, 0, 0, 0, 1]]]}},
                {"dataframe_records": [{"p": [1, 2, 3, 4, 5, 6]}]},
            ],
        ),
        "values by column": lambda: (
            model(described),
            schema(ColSpec("string", "t"), ColSpec("string", "u")),
            [
                {"inputs": {"t": "a", "u": "b"}},
                {"instances": {"t": ["a", "b"], "u": ["c", "d"]}},
                {"inputs": {"t": ["a", "b"], "u": "c"}},
            ],
        ),
        "one row of lists": lambda: (
            model(lambda x: x.to_dict("records")),
            schema(ColSpec(Array("string"), "l"), ColSpec("string", "t")),
            [
                {"inputs": {"l": ["x", "y"], "t": "a"}},
                {"instances": {"l": ["x", "y"], "t": "a"}},
                {"inputs": [{"l": ["x"], "t": "a"}, {"l": [], "t": "b"}]},
            ],
        ),
        "a name for the unnamed": lambda: (
            model(lambda x: x.iloc[:, 0].str.upper().tolist()),
            schema(ColSpec("string")),
            [{"dataframe_split": {"columns": ["q"], "data": [["a"]]}}, {"dataframe_records": [{"other": "b"}]}],
        ),
    }


NAMES = (
    "frame", "mixed frame", "named series", "series", "list of dicts", "ragged lists", "dict of lists",
    "texts and nothing", "datetimes", "timestamps", "bytes", "datetime column", "binary column", "array column",
    "nested arrays", "object column", "map column", "any column", "unnamed text", "unnamed columns",
    "unnamed integers", "optional column", "optional number", "list[str]", "list[int]", "list[list[str]]",
    "list[dict[str, str]]", "pydantic", "pydantic answers", "any answers", "text, rarely missing",
    "text column, rarely missing", "nanoseconds", "a column passed on", "tensors of text", "tensors in a data frame",
    "values by column", "one row of lists", "a name for the unnamed",
)  # fmt: skip


def mlflow_says(folder: Path, request: dict[str, Any]) -> Any:
    import mlflow.pyfunc
    from mlflow.pyfunc.scoring_server import invocations

    loaded = mlflow.pyfunc.load_model(str(folder))
    ask: Any = invocations
    answer = ask(json.dumps(request), "application/json", loaded, loaded.metadata.get_input_schema())
    assert answer.status == 200, answer
    return json.loads(answer.response)


def saved(name: str, folder: Path) -> Any:
    """The case's model, registered."""
    import mlflow.pyfunc

    python_model, signature, _ = cases()[name]()
    mlflow.pyfunc.save_model(folder / "model", python_model=python_model, signature=signature, pip_requirements=[])
    return open_model(folder / "model", "m", into=folder / "package", allow_pickle=True)


async def asked(opened: Any, path: str, bodies: list[dict[str, Any]]) -> list[httpx.Response]:
    """A replica's answers."""
    manifest, runtime = opened
    _, app, hooks = build_replica(manifest, runtime, Settings(), None)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://replica") as client:
        answers = [await client.post(path, json=body) for body in bodies]
    assert hooks.on_stop is not None
    await hooks.on_stop()
    return answers


async def replica_says(opened: Any, requests: list[dict[str, Any]]) -> list[Any]:
    manifest, runtime = opened
    _, app, hooks = build_replica(manifest, runtime, Settings(), None)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://replica") as client:
        answers = [await client.post("/invocations", json=request) for request in requests]
        # A batch of several clients' requests answers each as alone.
        merged = await asyncio.gather(*(client.post("/invocations", json=request) for request in requests * 3))
    assert hooks.on_stop is not None
    await hooks.on_stop()
    assert [one.text for one in merged] == [one.text for one in answers * 3]
    return [one.json() for one in answers]


@pytest.mark.parametrize("name", NAMES)
def test_a_replica_answers_as_mlflows_own_server(name: str, tmp_path: Path) -> None:
    import mlflow.pyfunc

    python_model, signature, requests = cases()[name]()
    folder = tmp_path / "model"
    mlflow.pyfunc.save_model(folder, python_model=python_model, signature=signature, pip_requirements=[])
    expected = [mlflow_says(folder, request) for request in requests]
    opened = open_model(folder, "m", into=tmp_path / "package", allow_pickle=True)
    again = (opened[0], load(opened[0], tmp_path / "package"))
    for one in (opened, again):
        found = asyncio.run(replica_says(one, requests))
        assert json.dumps(found) == json.dumps(expected)  # NaN is not equal to itself


def test_every_case_is_asked() -> None:
    assert tuple(cases()) == NAMES


@pytest.mark.parametrize("name", ["optional column", "binary column", "object column", "pydantic", "frame"])
def test_the_documentations_own_examples_are_answered_on_every_protocol(name: str, tmp_path: Path) -> None:
    import mlflow.pyfunc

    python_model, signature, _ = cases()[name]()
    mlflow.pyfunc.save_model(tmp_path / "model", python_model=python_model, signature=signature, pip_requirements=[])
    manifest, runtime = open_model(tmp_path / "model", "m", into=tmp_path / "package", allow_pickle=True)

    async def ask() -> list[tuple[str, int, str]]:
        _, app, hooks = build_replica(manifest, runtime, Settings(), None)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://replica") as client:
            paths = (await client.get("/openapi.json")).json()["paths"]
            asked = []
            for path, operations in paths.items():
                content = operations.get("post", {}).get("requestBody", {}).get("content", {})
                if (body := content.get("application/json", {}).get("example")) is not None:
                    answer = await client.post(path, json=body)
                    asked.append((path, answer.status_code, answer.text))
        assert hooks.on_stop is not None
        await hooks.on_stop()
        return asked

    asked = asyncio.run(ask())
    assert len(asked) >= 4
    assert [one for one in asked if one[1] != 200] == []


def test_what_a_model_leaves_out_is_no_failure(tmp_path: Path) -> None:
    """An output that is asked for by name is refused with the reason, and rows of both kinds in one request as well."""
    opened = saved("a column passed on", tmp_path)
    inputs = [{"name": "a", "shape": [2], "datatype": "FP64", "data": [1.0, 2.0]}]
    text = [{"name": "b", "shape": [2], "datatype": "BYTES", "data": ["t", "u"]}]
    mask = [{"name": "b__missing", "shape": [2], "datatype": "UINT8", "data": [0, 2]}]
    bodies: list[dict[str, Any]] = [
        {"inputs": inputs},
        {"inputs": inputs, "outputs": [{"name": "b"}]},
        {"inputs": inputs + text + mask},
        {"inputs": inputs + text, "outputs": [{"name": "b"}]},
    ]
    answers = asyncio.run(asked(opened, "/v2/models/m/infer", bodies))
    assert [one.status_code for one in answers] == [200, 422, 422, 200]
    assert [output["name"] for output in answers[0].json()["outputs"]] == ["a"]
    assert "without 'b'" in answers[1].json()["error"]
    assert "in requests of their own" in answers[2].json()["error"]


def test_a_missing_text_is_null_on_every_protocol(tmp_path: Path) -> None:
    opened = saved("text, rarely missing", tmp_path)
    rows: dict[str, Any] = {"columns": ["a", "b"], "data": [[1.0, 1.0], [100.0, 1.0]]}
    tensor = {"name": "rows", "shape": [2, 2], "datatype": "FP64", "data": [1.0, 1.0, 100.0, 1.0]}
    said = [
        (asyncio.run(asked(opened, path, [body]))[0].json(), found)
        for path, body, found in (
            ("/invocations", {"dataframe_split": rows}, "predictions"),
            ("/predict", {"features": rows["data"]}, "prediction"),
            ("/v1/models/m:predict", {"instances": rows["data"]}, "predictions"),
            ("/v2/models/m/infer", {"inputs": [tensor]}, "outputs"),
        )
    ]
    found = [answer[name] for answer, name in said]
    assert [*found[:3], found[3][0]["data"]] == [["low", None]] * 4


def test_a_boolean_that_is_missing_reaches_the_model_as_none(tmp_path: Path) -> None:
    import mlflow.pyfunc
    from mlflow.types.schema import ColSpec

    columns = schema(ColSpec("double", "a"), ColSpec("boolean", "b", required=False))
    python_model = model(lambda x: [str(value) for value in x["b"]] if "b" in x else ["-"] * len(x))
    mlflow.pyfunc.save_model(tmp_path / "model", python_model=python_model, signature=columns, pip_requirements=[])
    opened = open_model(tmp_path / "model", "m", into=tmp_path / "package", allow_pickle=True)
    records = [{"a": 1.0, "b": True}, {"a": 1.0, "b": None}]
    assert asyncio.run(replica_says(opened, [{"dataframe_records": records}])) == [{"predictions": ["True", "None"]}]


def test_a_version_registered_when_a_table_was_its_values_goes_on_with_them(tmp_path: Path) -> None:
    import mlflow.pyfunc

    python_model, signature, _ = cases()["frame"]()
    mlflow.pyfunc.save_model(tmp_path / "model", python_model=python_model, signature=signature, pip_requirements=[])
    manifest, _ = open_model(tmp_path / "model", "m", into=tmp_path / "package", allow_pickle=True)
    old = msgspec.structs.replace(manifest.signature, outputs=(TensorSpec("prediction", "FP64", (-1, 2)),), form="")
    runtime = load(msgspec.structs.replace(manifest, signature=old), tmp_path / "package")
    rows = {"input": np.array([[1.0, 2.0], [3.0, 4.0]])}
    assert runtime.predict(rows, None)["prediction"].tolist() == [[2.0, 4.0], [6.0, 8.0]]
