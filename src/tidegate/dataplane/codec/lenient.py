"""JSON as the servers of MLflow and TensorFlow read and write it: NaN, Infinity and -Infinity are literals.

Used by those two edges. What holds no such literal never leaves the fast libraries.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from tidegate.dataplane.base.stepwise import pause
from tidegate.dataplane.base.tensors import all_finite
from tidegate.dataplane.codec.keys import check_keys
from tidegate.dataplane.codec.written import Change, WrittenRows, document
from tidegate.errors import MalformedRequest

if TYPE_CHECKING:
    from tidegate.dataplane.calls.outputs import Outputs

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_float_rows = msgspec.json.Decoder(list[list[float]])
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError)
_LITERALS = (b"NaN", b"Infinity")


def decode_fields(body: bytes | bytearray) -> dict[str, Any]:
    """The fields of a JSON object; each is still JSON (`msgspec.Raw`) unless the body has NaN or Infinity in it."""
    fields = _decode(body)
    check_keys(body)
    return fields


def _decode(body: bytes | bytearray) -> dict[str, Any]:
    try:
        return _fields.decode(body)
    except msgspec.ValidationError as error:
        raise MalformedRequest(f"the request does not read: {error}; send a JSON object") from None
    except _UNREADABLE as error:
        if not any(literal in body for literal in _LITERALS):
            raise MalformedRequest(f"the body is no JSON: {error}") from None
        return _with_literals(body)


def _with_literals(body: bytes | bytearray) -> dict[str, Any]:
    try:
        fields = json.loads(body.decode(), parse_float=_finite)
    except (ValueError, UnicodeDecodeError) as error:
        raise MalformedRequest(f"the body is no JSON: {error}") from None
    if not isinstance(fields, dict):
        raise MalformedRequest("the request does not read: send a JSON object")
    return fields


def _finite(text: str) -> float:
    """A number that is written out has to fit: 1e400 is no way to say Infinity."""
    pause()
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text} is out of range")
    return value


def value_of(field: Any) -> Any:
    """A field as Python values."""
    if not isinstance(field, msgspec.Raw):
        return field
    try:
        return msgspec.json.decode(field)
    except _UNREADABLE as error:
        raise MalformedRequest(f"the body is no JSON: {error}") from None


def float_rows_of(field: Any) -> list[list[float]] | None:
    """A field as rows of numbers, which is found out without a look at each value; None if it is anything else."""
    if not isinstance(field, msgspec.Raw):
        return None
    try:
        return _float_rows.decode(field)
    except (*_UNREADABLE, RecursionError):
        return None


def lenient_rows(
    outputs: Outputs, first: int, end: int, change: Change, names: Sequence[str] | None = None
) -> WrittenRows:
    """Rows of these outputs (of all, else), whose numbers are written as literals where they are not finite."""
    arrays = [outputs.tensors[name] for name in (outputs.tensors if names is None else names)]
    finite = all(all_finite(array[first:end]) for array in arrays)
    return WrittenRows(outputs, first, end, change, _dumps if finite else _dumps_literals)


def encode(answer: dict[str, Any], rows: WrittenRows) -> bytes:
    """An answer of these rows."""
    return document(answer, _dumps) if rows.outputs.is_long else rows.dumps(answer)


def _dumps(value: Any) -> bytes:
    return orjson.dumps(value, default=_bytes)


def _dumps_literals(value: Any) -> bytes:
    return json.dumps(value, default=_bytes, ensure_ascii=False, separators=(",", ":")).encode()


def _bytes(value: Any) -> str:
    """Bytes that are no text as MLflow's server writes them: base64 in lines."""
    return base64.encodebytes(value).decode("ascii") if isinstance(value, bytes) else str(value)
