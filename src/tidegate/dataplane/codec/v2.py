"""The Open Inference Protocol's REST bodies, JSON and binary tensors, in both directions.

Used by the V2 edge, and by the gateway for its hop to a replica (`encode_request`, `decode_response`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import orjson

from tidegate.dataplane.base.stepwise import each, pause
from tidegate.dataplane.base.tensors import (
    Array,
    array_of,
    check_lengths,
    datatype_of,
    dtype_of,
    element_count,
    from_raw,
    to_raw,
)
from tidegate.dataplane.calls.outputs import Tensors
from tidegate.dataplane.codec.keys import SHORT_BYTES_MAX, check_keys, check_short
from tidegate.dataplane.codec.numbers import NumberTexts
from tidegate.dataplane.codec.params import PARAMETER
from tidegate.errors import MalformedRequest, UnfitInput

BINARY_ONLY = ("FP16", "BF16")
"""Datatypes that JSON has no form for."""
EXACT_MAX = (1 << 53) - 1
"""Up to here each integer is a float64 of its own."""


class V2Input(msgspec.Struct, gc=False):
    """One input tensor; its data stands here, or in the binary part when `binary_data_size` says so."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = {}
    data: msgspec.Raw = msgspec.Raw()


class V2Output(msgspec.Struct, gc=False):
    """One requested output."""

    name: str
    parameters: dict[str, Any] = {}


class V2Request(msgspec.Struct):
    """The JSON part of an inference request."""

    inputs: list[V2Input]
    id: str = ""
    parameters: dict[str, Any] = {}
    outputs: list[V2Output] | None = None


class _ResponseTensor(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = {}
    data: msgspec.Raw = msgspec.Raw()


class _Response(msgspec.Struct):
    outputs: list[_ResponseTensor]


@dataclass(slots=True)
class Message:
    """A decoded request: its JSON part, its tensors, and where nulls were in them (held as NaN, 0, "" or False)."""

    request: V2Request
    tensors: Tensors
    nulls: Tensors


_requests = msgspec.json.Decoder(V2Request)
_responses = msgspec.json.Decoder(_Response)
_LIST_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    "f": msgspec.json.Decoder(list[float]),
    "i": msgspec.json.Decoder(list[int]),
    "u": msgspec.json.Decoder(list[int]),
    "b": msgspec.json.Decoder(list[bool]),
    "O": msgspec.json.Decoder(list[str]),
}
MISSING = "tidegate_missing"
"""The parameter of a binary BYTES output that says which of its elements are missing, by their place."""
_NULL: dict[str, Any] = {"f": float("nan"), "i": 0, "u": 0, "b": False, "O": ""}
"""What holds the place of a missing value."""
_LEAF_TYPES: dict[str, tuple[type, ...]] = {"f": (float, int), "i": (int,), "u": (int,), "b": (bool,), "O": (str,)}


# -- requests --------------------


def decode_request(body: bytes, header_length: int | None, numbers: NumberTexts | None = None) -> Message:
    """Read a request body; `header_length` is `Inference-Header-Content-Length` where the request has binary tensors.

    `numbers`: the arrays that were cut out of the body.

    Raises `MalformedRequest` when it cannot be read and `UnfitInput` when data, shape and datatype disagree.
    """
    header, binary = _split(body, header_length)
    try:
        request = _requests.decode(header)
    except msgspec.ValidationError as error:
        raise MalformedRequest(f"the request is no V2 inference request: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedRequest(f"the request is no JSON: {error}") from None
    (check_short if len(header) <= SHORT_BYTES_MAX else check_keys)(bytes(header))
    if not request.inputs:
        raise UnfitInput("the request has no inputs")
    tensors: Tensors = {}
    nulls: Tensors = {}
    offset = 0
    for item in each(request.inputs):
        if item.name in tensors:
            raise MalformedRequest(f"input {item.name!r} is given twice")
        tensors[item.name], offset = _tensor(item, binary, offset, nulls, numbers)
    if offset != len(binary):
        raise MalformedRequest(f"{len(binary)} bytes of binary data came, but the inputs account for {offset}")
    return Message(request, tensors, nulls)


class _Announcing(msgspec.Struct):
    parameters: dict[str, Any] = {}


class _Announcement(msgspec.Struct):
    inputs: list[_Announcing] = []


_announcements = msgspec.json.Decoder(_Announcement)


def announced_bytes(header: bytes) -> int:
    """How many bytes of tensors a request's JSON part says will follow it; 0 where it cannot be read."""
    try:
        inputs = _announcements.decode(header).inputs
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0
    sizes = [item.parameters.get("binary_data_size") for item in inputs]
    return sum(size for size in sizes if type(size) is int and size > 0)


def _split(body: bytes, header_length: int | None) -> tuple[bytes | memoryview, memoryview]:
    view = memoryview(body)
    if header_length is None:
        return body, view[:0]
    if not 0 <= header_length <= len(body):
        raise MalformedRequest(
            f"Inference-Header-Content-Length is {header_length}, but the body has {len(body)} bytes"
        )
    return view[:header_length], view[header_length:]


def _tensor(
    item: V2Input | _ResponseTensor, binary: memoryview, offset: int, nulls: Tensors, numbers: NumberTexts | None = None
) -> tuple[Array, int]:
    shape = _shape(item)
    size = item.parameters.get("binary_data_size")
    if size is None:
        if numbers is not None and (array := numbers.take(bytes(item.data))) is not None:
            return _from_numbers(item, shape, array, whole=numbers.is_whole(bytes(item.data))), offset
        return _from_json(item, shape, nulls), offset
    if type(size) is not int or size < 0 or offset + size > len(binary):
        raise MalformedRequest(
            f"input {item.name!r}: binary_data_size is {size!r}, but {len(binary) - offset} binary bytes are left"
        )
    if item.data:
        raise MalformedRequest(f"input {item.name!r} has both 'data' and 'binary_data_size'")
    return from_raw(binary[offset : offset + size], item.datatype, shape, item.name), offset + size


def _shape(item: V2Input | _ResponseTensor) -> tuple[int, ...]:
    check_lengths(item.shape, item.name)
    return tuple(item.shape)


def _from_json(item: V2Input | _ResponseTensor, shape: tuple[int, ...], nulls: Tensors) -> Array:
    if not item.data:
        raise MalformedRequest(f"input {item.name!r} has no 'data'")
    if item.datatype in BINARY_ONLY:
        raise UnfitInput(f"input {item.name!r}: {item.datatype} comes as binary data only", input=item.name)
    dtype = dtype_of(item.datatype, item.name)
    pause()
    try:
        values = _LIST_DECODERS[dtype.kind].decode(item.data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        values = _flatten(item, shape, dtype.kind, nulls)
    if len(values) != element_count(shape):
        raise UnfitInput(
            f"input {item.name!r}: shape {list(shape)} is {element_count(shape)} values, but {len(values)} came",
            input=item.name,
            expected=element_count(shape),
            got=len(values),
        )
    return _array(values, dtype, item).reshape(shape)


def _from_numbers(item: V2Input | _ResponseTensor, shape: tuple[int, ...], array: Array, *, whole: bool) -> Array:
    """The tensor that these float64 are. Its refusals are read by nobody: the request is then read whole."""
    dtype = dtype_of(item.datatype, item.name)
    fits = whole and _are_in_range(array, dtype) if dtype.kind in "iu" else dtype.kind == "f"
    if not fits or item.datatype in BINARY_ONLY or array.shape not in (shape, (element_count(shape),)):
        raise UnfitInput(f"input {item.name!r} is not {item.datatype} of shape {list(shape)}", input=item.name)
    if dtype.kind != "f":
        return array.astype(dtype).reshape(shape)
    return _array(array, dtype, item).reshape(shape)


def _are_in_range(array: Array, dtype: np.dtype[Any]) -> bool:
    """Whether these float64 are integers of that type, and none has lost a digit."""
    bounds = np.iinfo(dtype)
    least, most = max(bounds.min, -EXACT_MAX), min(bounds.max, EXACT_MAX)
    return bool(least <= array.min(initial=0) and array.max(initial=0) <= most)


def _array(values: list[Any] | Array, dtype: np.dtype[Any], item: V2Input | _ResponseTensor) -> Array:
    try:
        if dtype.kind == "O":
            array = np.empty(len(values), dtype=object)
            array[:] = values
            return array
        return array_of(values, dtype)
    except (OverflowError, ValueError) as error:
        raise UnfitInput(f"input {item.name!r}: {error} ({item.datatype} is expected)", input=item.name) from None


def _flatten(item: V2Input | _ResponseTensor, shape: tuple[int, ...], kind: str, nulls: Tensors) -> list[Any]:
    """Nested data, and data with nulls: the slow way, with a message that says where."""
    try:
        nested = msgspec.json.decode(item.data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedRequest(f"input {item.name!r}: 'data' is no JSON: {error}") from None
    pause()
    try:
        boxed = np.array(nested, dtype=object)
    except ValueError:
        raise UnfitInput(f"input {item.name!r}: 'data' is nested unevenly", input=item.name) from None
    if boxed.ndim > 1 and boxed.shape != shape:
        raise UnfitInput(
            f"input {item.name!r}: 'data' is nested as {list(boxed.shape)}, but the shape is {list(shape)}",
            input=item.name,
        )
    values = boxed.ravel().tolist()
    pause()
    if None in values and len(values) == element_count(shape):
        nulls[item.name] = np.array([value is None for value in each(values)]).reshape(shape)
    for index, value in enumerate(each(values)):
        if value is None:
            values[index] = _NULL[kind]
        elif type(value) not in _LEAF_TYPES[kind]:
            raise UnfitInput(
                f"input {item.name!r}: value {index} is {_shown(value)}, where {item.datatype} is expected",
                input=item.name,
                expected=item.datatype,
                got=_shown(value),
            )
    return values


def _shown(value: Any) -> str:
    text = "null" if value is None else repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


# -- the hop from gateway to replica --------------------


def encode_request(
    inputs: Tensors, wanted: frozenset[str] | None, params: str | None = None
) -> tuple[bytes, list[bytes]]:
    """The JSON part and the raw tensors of a request with all tensors binary in both directions."""
    raw: list[bytes] = []
    described: list[dict[str, Any]] = []
    for name, array in inputs.items():
        datatype = datatype_of(array)
        raw.append(to_raw(array, datatype))
        described.append(
            {
                "name": name,
                "shape": list(array.shape),
                "datatype": datatype,
                "parameters": {"binary_data_size": len(raw[-1])},
            }
        )
    request: dict[str, Any] = {"inputs": described, "parameters": {"binary_data_output": True}}
    if params is not None:
        request["parameters"][PARAMETER] = params
    if wanted is not None:
        request["outputs"] = [{"name": name} for name in sorted(wanted)]
    return orjson.dumps(request), raw


def decode_response(body: bytes, header_length: int | None) -> Tensors:
    """The output tensors of an answer, with None for a missing text.

    Raises `MalformedRequest` or `UnfitInput` when they cannot be read.
    """
    header, binary = _split(body, header_length)
    try:
        response = _responses.decode(header)
    except msgspec.DecodeError as error:
        raise MalformedRequest(f"the replica's answer is no V2 response: {error}") from None
    tensors: Tensors = {}
    offset = 0
    nulls: Tensors = {}
    for item in response.outputs:
        array, offset = _tensor(item, binary, offset, nulls)
        places = item.parameters.get(MISSING, [])
        if array.dtype.kind == "O" and (places or item.name in nulls):
            array = _with_missing(array, nulls.get(item.name), places)
        tensors[item.name] = array
    return tensors


def _with_missing(array: Array, nulls: Array | None, places: Any) -> Array:
    if not isinstance(places, list) or not all(type(one) is int and 0 <= one < array.size for one in places):
        raise MalformedRequest(f"{MISSING!r} of an output is no list of places in it")
    flat = array.ravel().copy()
    flat[places] = None
    if nulls is not None:
        flat[nulls.ravel()] = None
    return flat.reshape(array.shape)
