"""MLflow's scoring protocol against real replicas: every form, and values that must survive unchanged."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from support.http_bytes import Connection, Reply, post
from support.models import Models
from support.platform import clean_env

Score = Callable[..., Reply]
BIG = 2**53 + 1


def score(port: int, body: Any, kind: str = "application/json") -> Reply:
    connection = Connection(port)
    try:
        connection.send(post("/invocations", body, f"content-type: {kind}"))
        return connection.read()
    finally:
        connection.close()


def predictions(port: int, body: Any, kind: str = "application/json") -> Any:
    reply = score(port, body, kind)
    assert reply.status == 200, reply.body
    assert reply.json.keys() == {"predictions"}
    return reply.json["predictions"]


ROWS: list[list[Any]] = [["007", 3, 1.5, True], [None, None, None, False], ["NA", BIG, -0.5, True]]
SAID = ["'007' 3 1.5 True", "- - - False", f"'NA' {BIG} -0.5 True"]
NAMES = ["city", "rooms", "price", "new"]
RECORDS = [dict(zip(NAMES, row, strict=True)) for row in ROWS]


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": NAMES, "data": ROWS}},
        {"dataframe_split": {"columns": NAMES, "index": [7, 8, 9], "data": ROWS}},
        {"dataframe_split": {"columns": NAMES[::-1], "data": [row[::-1] for row in ROWS]}},
        {"dataframe_split": {"data": ROWS}},
        {"dataframe_records": RECORDS},
        {"instances": RECORDS},
        {"instances": ROWS},
        {"inputs": {name: [record[name] for record in RECORDS] for name in NAMES[::-1]}},
        {"inputs": ROWS},
    ],
    ids=["split", "split-index", "split-reversed", "split-unnamed", "records", "instances", "rows", "inputs", "lists"],
)
def test_every_form_keeps_strings_whole_numbers_and_missing_values(table: int, body: Any) -> None:
    assert predictions(table, body) == SAID


def test_an_object_without_a_list_is_one_row_and_a_value_beside_lists_holds_for_every_row(table: int) -> None:
    first = {"city": "007", "rooms": 3, "price": 1.5, "new": True}
    assert predictions(table, {"inputs": first}) == SAID[:1]
    assert predictions(table, {"instances": first}) == SAID[:1]
    columns = {name: [value] * 3 for name, value in first.items()} | {"city": "007", "rooms": 3}
    assert predictions(table, {"instances": columns}) == SAID[:1] * 3
    assert score(table, {"inputs": columns | {"price": [1.5]}}).status == 422


def test_csv_reads_each_field_as_its_column_says(table: int) -> None:
    text = f'new,city,rooms,price\nTrue,007,3,1.5\nfalse,,,\nTRUE,NA,{BIG},-.5e0\ntrue," a, ""b""\n",3.0,nan\n'
    assert predictions(table, text, "text/csv; charset=utf-8") == [*SAID, "' a, \"b\"\\n' 3 - True"]
    assert predictions(table, "\ufeff" + text.replace("\n", "\r\n"), "text/csv")[:3] == SAID


def test_pandas_own_csv_and_json_are_taken(table: int) -> None:
    frame = pd.DataFrame(
        {
            "city": pd.Categorical(["007", None, "é"]),
            "rooms": pd.array([BIG, None, 3], dtype="Int64"),
            "price": [0.1, np.nan, 1e300],
            "new": [True, False, True],
        }
    )
    said = [f"'007' {BIG} 0.1 True", "- - - False", "'é' 3 1e+300 True"]
    assert predictions(table, frame.to_csv(index=False), "text/csv") == said
    split = json.loads(frame.to_json(orient="split", double_precision=15))
    assert predictions(table, {"dataframe_split": split}) == said
    assert predictions(table, {"dataframe_records": json.loads(frame.to_json(orient="records"))}) == said


@pytest.mark.parametrize(
    ("text", "status", "named"),
    [
        ("city,rooms,price,new\na,3.5,1,true\n", 422, "'rooms'"),
        ("city,rooms,price,new\na,3,1_000,true\n", 422, "'price'"),
        ("city,rooms,price,new\na,x,1,true\n", 422, "'rooms'"),
        ("city,rooms,price,new\na,3,1,1\n", 422, "'new'"),
        ("city,rooms,price,new\na,3,1,\n", 422, "'new' is null in row 0"),
        (f"city,rooms,price,new\na,{2**70},1,true\n", 422, "'rooms'"),
        (f"city,rooms,price,new\na,{'9' * 5000},1,true\n", 422, "'rooms'"),
        ("city,rooms,price\na,3,1\n", 422, "lacks 'new'"),
        ("city,rooms,price,new,more\na,3,1,true,1\n", 422, "'more'"),
        ("city,rooms,price,new,new\na,3,1,true,false\n", 400, "'new' twice"),
        ("city,rooms,price,new\na,3,1\n", 400, "row 0 of the CSV has 3 fields"),
        ("city,rooms,price,new\n", 422, "empty"),
        ('city,rooms,price,new\n"a,3,1,true\n', 400, "no CSV"),
        ("", 400, "empty"),
        (b"city,rooms,price,new\n\xff,3,1,true\n", 400, "not UTF-8"),
    ],
)
def test_csv_that_does_not_fit_is_refused_and_says_where(table: int, text: Any, status: int, named: str) -> None:
    reply = score(table, text, "text/csv")
    assert (reply.status, named in reply.json["error"]) == (status, True), reply.body


def test_a_model_without_names_takes_any_header_but_needs_one(one: int) -> None:
    assert predictions(one, "a,b\n1,2\n", "text/csv") == [{"y": [1, 2]}]
    assert predictions(one, "0,1\n1,2\n", "text/csv") == [{"y": [1, 2]}]
    assert score(one, "1,2\n3,4\n", "text/csv").status == 422
    assert score(one, "a,b,c\n1,2,3\n", "text/csv").status == 422


def test_literals_in_and_out(one: int) -> None:
    reply = score(one, '{"inputs": [[NaN, 1], [Infinity, -Infinity]]}')
    assert reply.body == b'{"predictions":{"y":[[NaN,1.0],[Infinity,-Infinity]]}}'
    assert predictions(one, "a,b\nnan,-inf\n", "text/csv")[0]["y"][1] == -np.inf


def test_nan_is_a_missing_value_in_columns_that_have_no_nan_themselves(table: int) -> None:
    body = '{"dataframe_split": {"columns": ["city", "rooms", "price", "new"], "data": [[NaN, NaN, NaN, true]]}}'
    assert predictions(table, body) == ["- - - True"]
    assert score(table, body.replace("true", "NaN")).status == 422


@pytest.mark.parametrize(
    ("body", "status", "named"),
    [
        ({}, 400, "exactly one of"),
        ({"inputs": [], "instances": []}, 400, "inputs"),
        ([1, 2], 400, "JSON object"),
        ({"dataframe_split": []}, 400, "'data'"),
        ({"dataframe_split": {"columns": NAMES, "data": [[1]]}}, 400, "row 0"),
        ({"dataframe_split": {"columns": NAMES, "data": []}}, 422, "no rows"),
        ({"dataframe_records": [1]}, 400, "records"),
        ({"dataframe_records": [RECORDS[0], {"city": "x"}]}, 422, "row 1"),
        ({"dataframe_records": [RECORDS[0] | {"city": 7}]}, 422, "'city' is 7"),
        ({"dataframe_records": [RECORDS[0] | {"rooms": True}]}, 422, "'rooms' is True"),
        ({"dataframe_records": [RECORDS[0] | {"price": "1.5"}]}, 422, "'price' is '1.5'"),
        ({"dataframe_records": [RECORDS[0] | {"new": 1}]}, 422, "'new' is 1"),
        ({"inputs": {"city": ["a"], "rooms": [1, 2], "price": [1], "new": [True]}}, 422, "number of rows"),
        ({"inputs": {"city": "a", "rooms": 1, "price": 1, "new": "x"}}, 422, "'new'"),
        ({"instances": "a"}, 422, "'instances'"),
        ({"instances": []}, 422, "'instances'"),
        ({"dataframe_records": RECORDS, "params": [1]}, 400, "'params'"),
    ],
)
def test_what_does_not_read_or_fit_is_refused_and_says_where(table: int, body: Any, status: int, named: str) -> None:
    reply = score(table, json.dumps(body))
    assert (reply.status, named in reply.json["error"]) == (status, True), reply.body


def test_params_are_taken_and_said_to_be_ignored(table: int) -> None:
    reply = score(table, {"dataframe_records": RECORDS, "params": {"top": 3}})
    assert (reply.json["predictions"], reply.headers["x-tidegate-ignored"]) == (SAID, "params")
    assert "x-tidegate-ignored" not in score(table, {"dataframe_records": RECORDS, "params": None}).headers


def test_other_content_types_and_encodings_are_415(table: int) -> None:
    for kind in ("text/plain", "text/csv; charset=latin-1", "application/x-www-form-urlencoded"):
        assert score(table, "a", kind).status == 415


def test_a_real_model_answers_what_its_own_predict_returns(models: Models, free_port: int, tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "tidegate.server", "--model", models.path("table.joblib"), "--allow-pickle"]
    with subprocess.Popen([*argv, "--port", str(free_port)], stdout=subprocess.PIPE, env=clean_env()) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            frame = models.table.head(40)
            expected = models.says("table", frame)
            assert predictions(free_port, frame.to_csv(index=False), "text/csv") == expected
            split = json.loads(frame.to_json(orient="split", double_precision=15))
            assert predictions(free_port, {"dataframe_split": split}) == expected
            records = json.loads(frame.to_json(orient="records", double_precision=15))
            assert predictions(free_port, {"dataframe_records": records}) == expected
            assert predictions(free_port, {"inputs": frame.to_dict(orient="list")}) == expected
        finally:
            process.terminate()
            process.wait(15)
