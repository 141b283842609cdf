"""Kinds of legal and hostile bodies, of any size, that hold up a server which reads them at once.

Used by `stalls.py`, and by the tests of the same.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tidegate.wire.signature import Signature, TensorSpec

OUT = (TensorSpec("prediction", "FP64", (-1,)),)
SIGNATURES = {
    "matrix": Signature("matrix", (TensorSpec("input", "FP64", (-1, 3)),), OUT),
    "narrow": Signature("matrix", (TensorSpec("input", "FP64", (-1, 1)),), OUT),
    "text": Signature("columns", (TensorSpec("a", "BYTES", (-1,)),), OUT),
    "table": Signature(
        "columns",
        (TensorSpec("a", "FP64", (-1,)), TensorSpec("b", "BYTES", (-1,)), TensorSpec("c", "INT64", (-1,))),
        OUT,
    ),
    "json": Signature("columns", (TensorSpec("a", "BYTES", (-1,), json=True),), OUT),
    "binary": Signature("columns", (TensorSpec("a", "BYTES", (-1,), holds="binary"),), OUT),
    "texts": Signature("tensors", (TensorSpec("x", "BYTES", (-1,)),), OUT),
    "images": Signature("tensors", (TensorSpec("x", "FP32", (-1, -1, -1)),), OUT),
}
EXAMPLES: dict[str, Any] = {"matrix": [1.0, 2.0, 3.0], "narrow": [1.0]}
PLAIN, V2, MLFLOW, TENSORFLOW = "/predict", "/v2/models/m/infer", "/invocations", "/v1/models/m:predict"


class Zeros:
    """A model that answers 0 to every row."""

    def __init__(self, name: str) -> None:
        self.signature = SIGNATURES[name]

    def predict(self, inputs: Any, wanted: Any) -> Any:  # noqa: ARG002 (the port's shape)
        return {"prediction": np.zeros(len(next(iter(inputs.values()))))}


@dataclass(frozen=True)
class Kind:
    """A sort of body. `made` makes one of about so many bytes; `model` is a key of `SIGNATURES`."""

    name: str
    model: str
    path: str
    made: Callable[[int], bytes]
    headers: Mapping[bytes, bytes] = field(default_factory=dict)


def _filled(begin: str, item: str, between: str, end: str) -> Callable[[int], bytes]:
    def made(size: int) -> bytes:
        count = max(1, (size - len(begin) - len(end)) // (len(item) + len(between)))
        return (begin + between.join([item] * count) + end).encode()

    return made


def _numbered(begin: str, item: str, end: str) -> Callable[[int], bytes]:
    """Each item is another: `%d` in it is its number."""

    def made(size: int) -> bytes:
        count = max(1, (size - len(begin) - len(end)) // (len(item) + 6))
        return (begin + ",".join(item % number for number in range(count)) + end).encode()

    return made


def _behind_numbers(size: int) -> bytes:
    """A long array of numbers, which is read by itself, and what is to be read beside it."""
    numbers = "1.5," * (3 * 4000)
    begin = (
        '{"inputs":[{"name":"input","shape":[4000,3],"datatype":"FP64","data":['
        + numbers[:-1]
        + ']}],"parameters":{"a":['
    )
    return (begin + "[]," * max(1, (size - len(begin)) // 3) + "[]]}}").encode()


def _packed(made: Callable[[int], bytes]) -> Callable[[int], bytes]:
    return lambda size: gzip.compress(made(size), 1)


def _raw_texts(size: int) -> bytes:
    count = size // 5
    return _HEAD % (count, 5 * count) + b"\1\0\0\0x" * count


def _wide_csv(size: int) -> bytes:
    """One row of as many columns as there are names, the last of them given twice."""
    count = size // 9
    return (",".join(map(str, [*range(count), count - 1])) + "\n" + "1," * count + "1\n").encode()


_HEAD = b'{"inputs":[{"name":"x","shape":[%8d],"datatype":"BYTES","parameters":{"binary_data_size":%9d}}]}'
_CSV = {b"content-type": b"text/csv"}
_GZIP = {b"content-encoding": b"gzip"}
_TENSOR = '{"name":"%d","shape":[1],"datatype":"FP64","data":[1]}'
_ONE = json.dumps({"name": "input", "shape": [1, 3], "datatype": "FP64", "data": [1, 2, 3]})
_TEXTS = '{"inputs":[{"name":"a","shape":[9],"datatype":"BYTES","data":['
_SPLIT = '{"dataframe_split":{"columns":["a","b","c"],"data":['
_SPLIT_ONE = '{"dataframe_split":{"columns":["a"],"data":['
_RECORD = '{"a":1,"b":"x","c":2}'

KINDS = [
    Kind(
        "JSON in a column",
        "json",
        MLFLOW,
        _filled('{"dataframe_split":{"columns":["a"],"data":[', '[{"b":1}]', ",", "]}}"),
    ),
    Kind("base64", "binary", MLFLOW, _filled('{"dataframe_split":{"columns":["a"],"data":[', '["eA=="]', ",", "]}}")),
    Kind("V2, lists beside numbers", "matrix", V2, _behind_numbers),
    Kind("CSV, rows", "table", MLFLOW, _filled("a,b,c\n", "1,x,2", "\n", "\n"), _CSV),
    Kind("CSV, one column", "text", MLFLOW, _filled("a\n", "x", "\n", "\n"), _CSV),
    Kind("CSV, header", "table", MLFLOW, _numbered("", "%d", "\n1\n"), _CSV),
    Kind("CSV, a name twice", "table", MLFLOW, _wide_csv, _CSV),
    Kind("MLflow, records", "table", MLFLOW, _filled('{"dataframe_records":[', _RECORD, ",", "]}")),
    Kind("MLflow, records of many names", "table", MLFLOW, _numbered('{"dataframe_records":[{', '"%d":1', "}]}")),
    Kind("MLflow, split", "table", MLFLOW, _filled(_SPLIT, '[1,"x",2]', ",", "]}}")),
    Kind("MLflow, NaN", "matrix", MLFLOW, _filled('{"instances":[', "[1.5,NaN,2]", ",", "]}")),
    Kind("MLflow, narrow NaN", "narrow", MLFLOW, _filled('{"instances":[', "[NaN]", ",", "]}")),
    Kind("MLflow, narrow rows", "narrow", MLFLOW, _filled('{"instances":[', "[1]", ",", "]}")),
    Kind("MLflow, params", "matrix", MLFLOW, _filled('{"instances":[[1,2,3]],"params":{"a":[', "1", ",", "]}}")),
    Kind("TensorFlow, b64", "texts", TENSORFLOW, _filled('{"instances":[', '{"b64":"eA=="}', ",", "]}")),
    Kind("TensorFlow, nested b64", "texts", TENSORFLOW, _filled('{"instances":[', '[[{"b64":"eA=="}]]', ",", "]}")),
    Kind("TensorFlow, lists", "texts", TENSORFLOW, _filled('{"instances":[', "[]", ",", "]}")),
    Kind("TensorFlow, images", "images", TENSORFLOW, _filled('{"instances":[[[', "1.5", ",", "]]]}")),
    Kind("V2, inputs", "matrix", V2, _numbered('{"inputs":[', _TENSOR, "]}")),
    Kind(
        "V2, outputs", "matrix", V2, _filled('{"inputs":[' + _ONE + '],"outputs":[', '{"name":"prediction"}', ",", "]}")
    ),
    Kind("V2, parameters", "matrix", V2, _numbered('{"parameters":{', '"%d":1', '},"inputs":[' + _ONE + "]}")),
    Kind("V2, texts", "text", V2, _filled(_TEXTS, '"x"', ",", "]}]}")),
    Kind("V2, nulls", "matrix", V2, _filled('{"inputs":[' + _ONE[:-11] + "[", "[1,2,null]", ",", "]}]}")),
    Kind("V2, raw texts", "texts", V2, _raw_texts, {b"inference-header-content-length": b"%d" % len(_HEAD % (0, 0))}),
    Kind("plain, texts", "text", PLAIN, _filled('{"features":[', '["x"]', ",", "]}")),
    Kind("plain, records", "table", PLAIN, _filled('{"features":[', _RECORD, ",", "]}")),
    Kind("plain, records and an escape", "table", PLAIN, _filled('{"user_id":"\\"","features":[', _RECORD, ",", "]}")),
    Kind("plain, lists", "matrix", PLAIN, _filled('{"features":[', "[]", ",", "]}")),
    Kind("plain, one row", "matrix", PLAIN, _filled('{"features":[', "1", ",", "]}")),
    Kind("plain, unknown fields", "matrix", PLAIN, _filled('{"features":[1,2,3],"z":[', '{"a":1}', ",", "]}")),
    Kind("plain, gzip", "table", PLAIN, _packed(_filled('{"features":[', _RECORD, ",", "]}")), _GZIP),
]
