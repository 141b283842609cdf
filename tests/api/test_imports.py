"""Rows that were predicted elsewhere, handed in over the API: an endpoint is made for them, and sleeps."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from support.control import add_version
from tidegate.capture.store import CaptureStore
from tidegate.wire.signature import Signature, TensorSpec
from tidegate.wiring import Container

CSV = b"""at,id,x,kind,prediction,was,extra
2013-07-01T00:10:00,a,1.5,UA,1,true,z
2013-07-01T01:20:00,b,2.5,DL,0,false,z
never,c,2.5,DL,0,false,z
"""
COLUMNS = Signature(
    "columns",
    (TensorSpec("x", "FP64", (-1,)), TensorSpec("kind", "BYTES", (-1,)), TensorSpec("y", "FP64", (-1,))),
    (TensorSpec("prediction", "INT64", (-1,)),),
)
REQUEST = {"filename": "july.csv", "format": "csv", "time_column": "at", "id_column": "id", "label_column": "was"}


def hand_in(api: httpx.Client, endpoint: str, data: bytes = CSV, **more: Any) -> httpx.Response:
    upload = api.post("/api/v1/uploads", content=data, headers={"content-type": "application/octet-stream"}).json()
    body = REQUEST | {"upload": upload["id"]} | more
    return api.post(f"/api/v1/endpoints/{endpoint}/capture/import", json=body)


@pytest.fixture(scope="module")
def model(container: Container) -> str:
    add_version(container, "flown", "1", signature=COLUMNS)
    return "flown"


def test_an_import_makes_an_endpoint_that_sleeps_and_has_the_rows(
    container: Container, api: httpx.Client, model: str
) -> None:
    answer = hand_in(api, "flown", model=model, version="1", timezone="America/New_York")
    assert answer.status_code == 200, answer.text
    done = answer.json()
    assert (done["rows"], done["labels"], done["refused"], done["created"]) == (2, 2, 1, True)
    assert done["bad"] == [{"line": 4, "reason": "'never' in 'at' is no time"}]
    assert (done["ignored"], done["absent"]) == (["extra"], ["y"])
    assert done["first_at"] == 1_372_651_800.0  # four hours later in UTC
    endpoint = api.get("/api/v1/endpoints/flown").json()
    assert (endpoint["status"], endpoint["traffic"], endpoint["created_at"]) == (
        "asleep",
        {"1": 100.0},
        done["first_at"],
    )
    data_dir = container.settings.data_dir
    rows = CaptureStore(data_dir / "capture", data_dir / "journal").rows("predictions", "flown", 0, 2e9).to_pylist()
    assert [(row["id"], row["input_x"], row["input_kind"], row["output_prediction"]) for row in rows] == [
        ("a", 1.5, "UA", 1),
        ("b", 2.5, "DL", 0),
    ]
    assert {row["version"] for row in rows} == {"1"}

    again = hand_in(api, "flown", timezone="America/New_York").json()
    assert (again["rows"], again["created"], again["model"]) == (2, False, "flown")
    assert len(CaptureStore(data_dir / "capture", data_dir / "journal").rows("predictions", "flown", 0, 2e9)) == 2

    asked = api.put("/api/v1/endpoints/flown/capture/settings", json={"hash": ["kind"], "drop": ["x"]})
    assert asked.status_code == 200, asked.text
    hand_in(api, "flown", timezone="America/New_York")
    private = CaptureStore(data_dir / "capture", data_dir / "journal").rows("predictions", "flown", 0, 2e9)
    assert "input_x" not in private.column_names
    assert [len(one) for one in private["input_kind"].to_pylist()] == [32, 32]


@pytest.mark.parametrize(
    ("data", "more", "status", "told"),
    [
        (CSV, {"model": None}, 422, "there is no endpoint 'nowhere' yet: name the model"),
        (CSV, {"model": "nobody"}, 404, "no model is named 'nobody'"),
        (CSV, {"time_column": "when"}, 422, "july.csv has no column 'when'"),
        (CSV, {"output_columns": ["score"]}, 422, "july.csv has no column 'score' to be an output"),
        (b"at,id,z\n2013-07-01,a,1\n", {"label_column": None}, 422, "no column of july.csv is an input or output"),
        (b"at,id,x,was\nnever,a,1,1\n", {}, 422, "no row that can be imported (1 were left out: line 2, 'never'"),
        (CSV, {"format": "parquet"}, 422, "july.csv cannot be read as parquet"),
        (CSV, {"timezone": "Mars"}, 422, "no time zone 'Mars'"),
        (CSV, {"upload": "gone"}, 404, "no upload has the id 'gone'"),
    ],
)
def test_what_cannot_be_imported_is_refused_and_no_endpoint_is_made(
    api: httpx.Client, model: str, data: bytes, more: dict[str, Any], status: int, told: str
) -> None:
    answer = hand_in(api, "nowhere", data, **{"model": model, **more})
    assert (answer.status_code, told in answer.json()["error"]) == (status, True), answer.text
    assert api.get("/api/v1/endpoints/nowhere").status_code == 404


def test_another_models_endpoint_takes_no_rows(container: Container, api: httpx.Client, model: str) -> None:
    assert hand_in(api, "flown-elsewhere", model=model).status_code == 200
    add_version(container, "another", "1", signature=COLUMNS)
    answer = hand_in(api, "flown-elsewhere", model="another")
    assert answer.status_code == 409, answer.text
