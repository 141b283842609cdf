"""Rows out of files, shaped by what the endpoint takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tidegate.cli.predict.rows import batched, parse_json, read_rows
from tidegate.client.resources.predictions import ModelMetadata, TensorInfo
from tidegate.errors import InvalidArgument

MATRIX = ModelMetadata("m", [TensorInfo("input", "FP64", [-1, 2])], [])
TEXTS = ModelMetadata("t", [TensorInfo("input", "BYTES", [-1, 2])], [])
NAMED = ModelMetadata(
    "n",
    [TensorInfo("age", "FP64", [-1]), TensorInfo("plan", "BYTES", [-1]), TensorInfo("active", "BOOL", [-1])],
    [],
)

CSV = [
    ("a header over numbers", MATRIX, "x,y\n1,2.5\n3,\n", [[1, 2.5], [3, None]]),
    ("no header", MATRIX, "1,2\n3,4\n", [[1, 2], [3, 4]]),
    ("the header of a frame without names", MATRIX, "0,1\n3,4\n", [[3, 4]]),
    ("text where numbers belong stays", MATRIX, "x,y\n1,many\n", [[1, "many"]]),
    ("records by name", NAMED, "plan,active,age\n007,true,41\n", [{"plan": "007", "active": True, "age": 41}]),
    ("a further column", NAMED, "age,plan,active,left\n1,a,False,1\n", [{"age": 1, "plan": "a", "active": False}]),
    ("an empty cell is a missing value", NAMED, "age,plan,active\n,,\n", [{"age": None, "plan": None, "active": None}]),
    ("columns in order without a header", NAMED, "41,12,true\n", [[41, "12", True]]),
    ("a byte order mark", NAMED, "\ufeffage,plan,active\n1,a,TRUE\n", [{"age": 1, "plan": "a", "active": True}]),
    ("quotes and empty lines", NAMED, 'age,plan,active\n\n1,"a, b",true\n',
     [{"age": 1, "plan": "a, b", "active": True}]),
    ("no words for a boolean but true and false", NAMED, "age,plan,active\n1,a,yes\n2,b,1\n",
     [{"age": 1, "plan": "a", "active": "yes"}, {"age": 2, "plan": "b", "active": "1"}]),
    ("words for what is missing", NAMED, "age,plan,active\nNone,None,N/A\nnan,a,NA\n",
     [{"age": None, "plan": "None", "active": None}, {"age": None, "plan": "a", "active": None}]),
    ("what is no number to the gateway", MATRIX, "x,y\n1_000,1e400\n 2 ,inf\n", [["1_000", "1e400"], [2, "inf"]]),
    ("texts of a model that takes texts by place", TEXTS, "x,y\n007,true\n", [["007", "true"]]),
    ("nothing", MATRIX, "", []),
]  # fmt: skip


@pytest.mark.parametrize(("metadata", "text", "rows"), [case[1:] for case in CSV], ids=[case[0] for case in CSV])
def test_csv(tmp_path: Path, metadata: ModelMetadata, text: str, rows: list[Any]) -> None:
    (tmp_path / "rows.csv").write_text(text, encoding="utf-8")
    assert list(read_rows(tmp_path / "rows.csv", metadata)) == rows


@pytest.mark.parametrize(
    ("name", "data", "rows"),
    [
        ("a.json", b"[[1, 2], [3, 4]]", [[1, 2], [3, 4]]),
        ("b.json", b'{"features": [1, 2]}', [[1, 2]]),
        ("c.json", b'{"age": 1}', [{"age": 1}]),
        ("d.jsonl", b'{"age": 1}\n\n{"age": 2}\n', [{"age": 1}, {"age": 2}]),
    ],
)
def test_json(tmp_path: Path, name: str, data: bytes, rows: list[Any]) -> None:
    (tmp_path / name).write_bytes(data)
    assert list(read_rows(tmp_path / name, MATRIX)) == rows


def test_parquet(tmp_path: Path) -> None:
    frame = pd.DataFrame({"age": [1.5, None], "plan": ["a", None], "active": [True, False], "left": [0, 1]})
    frame.to_parquet(tmp_path / "rows.parquet")
    assert next(iter(read_rows(tmp_path / "rows.parquet", NAMED))) == {"age": 1.5, "plan": "a", "active": True}
    frame[["age", "left"]].to_parquet(tmp_path / "rows.parquet")
    assert list(read_rows(tmp_path / "rows.parquet", MATRIX)) == [[1.5, 0], [None, 1]]


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("rows.xls", b"", "is none of"),
        ("nowhere.csv", None, "no file"),
        ("rows.csv", b"1,2\n3\n", "row 2: 1 cells where the first row has 2"),
        ("rows.csv", b"\xff\xfe1", "UTF-8"),
        ("rows.json", b"[1,", "line 1 column"),
        ("rows.json", b"3", "holds no rows"),
        ("rows.jsonl", b"[1]\n[2\n", "line 2 is not JSON"),
        ("rows.parquet", b"PAR1", "is not a Parquet file"),
    ],
)
def test_files_that_are_no_rows(tmp_path: Path, name: str, data: bytes | None, words: str) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(InvalidArgument, match=words):
        list(read_rows(tmp_path / name, MATRIX))


def test_batches_are_bounded() -> None:
    assert list(batched(range(5), 2)) == [[0, 1], [2, 3], [4]]


def test_json_is_pointed_at() -> None:
    with pytest.raises(InvalidArgument, match=r"--data is not JSON: .* at line 2 column 3"):
        parse_json('{"a":\n  }', "--data")
