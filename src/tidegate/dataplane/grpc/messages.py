"""The six calls' messages of `inference.GRPCInferenceService`, read and written (field numbers of the open inference
protocol's own .proto). Pure functions, used by `infer.py` and `server.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from tidegate.dataplane.base.stepwise import each
from tidegate.dataplane.base.tensors import RANK_MAX, Array, check_lengths, dtype_of, element_count
from tidegate.dataplane.grpc import protobuf
from tidegate.errors import MalformedRequest, UnfitInput

FIELDS_MAX = 1 << 17
"""Fields in one request, all in all (its tensors' values are one field each)."""
CACHED_BYTES_MAX = 256
NAME_BYTES_MAX = 1024

_VARINTS, _FLOATS, _DOUBLES, _BLOBS = range(4)
_CONTENTS: dict[str, tuple[int, int]] = {
    "BOOL": (1, _VARINTS),
    "INT8": (2, _VARINTS),
    "INT16": (2, _VARINTS),
    "INT32": (2, _VARINTS),
    "INT64": (3, _VARINTS),
    "UINT8": (4, _VARINTS),
    "UINT16": (4, _VARINTS),
    "UINT32": (4, _VARINTS),
    "UINT64": (5, _VARINTS),
    "FP32": (6, _FLOATS),
    "FP64": (7, _DOUBLES),
    "BYTES": (8, _BLOBS),
}
_CONTENTS_NAMES = ("", "bool", "int", "int64", "uint", "uint64", "fp32", "fp64", "bytes")

Blob = bytes | memoryview


@dataclass(frozen=True, slots=True)
class TensorHead:
    """An input without its values."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(slots=True)
class InferRequest:
    """A ModelInferRequest. `contents` has each input's InferTensorContents, None where there is none."""

    model_name: str = ""
    model_version: str = ""
    id: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    inputs: list[TensorHead] = field(default_factory=list)
    contents: list[Blob | None] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    raw: list[Blob] = field(default_factory=list)


# -- requests --------------------


def read_infer_request(data: bytes) -> InferRequest:
    """Read a ModelInferRequest; raises `MalformedRequest`."""
    request = InferRequest()
    found = protobuf.fields(data, FIELDS_MAX)
    left = FIELDS_MAX - len(found)
    for number, wire_type, value in each(found):
        if wire_type != protobuf.BYTES or isinstance(value, int):
            continue  # every field that is known is a message, text or bytes
        if number == 7:
            request.raw.append(value)
        elif number == 5:
            head, contents, used = _read_input(value, left)
            left -= used
            request.inputs.append(head)
            request.contents.append(contents)
        elif number == 6:
            request.outputs.append(_read_output(value))
        elif number == 1:
            request.model_name = _name(value, "model_name")
        elif number == 2:
            request.model_version = _name(value, "model_version")
        elif number == 3:
            request.id = _text(value, "id")
        elif number == 4:
            name, parameter = _read_parameter(value)
            request.parameters[name] = parameter
    return request


def _read_input(value: Blob, fields_max: int) -> tuple[TensorHead, Blob | None, int]:
    if len(value) <= CACHED_BYTES_MAX:
        return _cached_input(bytes(value))
    return _parse_input(value, fields_max)


@lru_cache(maxsize=1024)
def _cached_input(value: bytes) -> tuple[TensorHead, Blob | None, int]:
    return _parse_input(value, FIELDS_MAX)


def _parse_input(value: Blob, fields_max: int) -> tuple[TensorHead, Blob | None, int]:
    name = datatype = ""
    shape: list[int] = []
    contents: list[Blob] = []
    found = protobuf.fields(value, fields_max)
    for number, wire_type, item in each(found):
        if number == 3:
            shape += map(protobuf.signed, [item] if isinstance(item, int) else _packed_shape(item))
        elif isinstance(item, int) or wire_type != protobuf.BYTES:
            continue
        elif number == 1:
            name = _name(item, "an input's name")
        elif number == 2:
            datatype = _name(item, "an input's datatype")
        elif number == 5:
            contents.append(item)
    # A message that comes in parts is the sum of them.
    whole = contents[0] if len(contents) == 1 else b"".join(contents) if contents else None
    return TensorHead(name, datatype, tuple(shape)), whole, len(found)


def _packed_shape(value: Blob) -> list[int]:
    if len(value) > RANK_MAX * protobuf.VARINT_BYTES_MAX:
        raise MalformedRequest(f"an input's shape has more than {RANK_MAX} lengths")
    lengths: list[int] = protobuf.packed_varints(value).tolist()
    return lengths


def _read_output(value: Blob) -> str:
    if len(value) <= CACHED_BYTES_MAX:
        return _cached_output(bytes(value))
    return _parse_output(value)


@lru_cache(maxsize=1024)
def _cached_output(value: bytes) -> str:
    return _parse_output(value)


def _parse_output(value: Blob) -> str:
    for number, wire_type, item in protobuf.fields(value, 1024):
        if number == 1 and wire_type == protobuf.BYTES and not isinstance(item, int):
            return _name(item, "an output's name")
    return ""


def _read_parameter(value: Blob) -> tuple[str, Any]:
    """An entry of `map<string, InferParameter>`."""
    name, parameter = "", None
    for number, wire_type, item in protobuf.fields(value, 16):
        if number == 1 and wire_type == protobuf.BYTES and not isinstance(item, int):
            name = _text(item, "a parameter's name")
        elif number == 2 and wire_type == protobuf.BYTES and not isinstance(item, int):
            parameter = _parameter_value(item, name)
    return name, parameter


def _parameter_value(value: Blob, name: str) -> Any:
    for number, wire_type, item in protobuf.fields(value, 16):
        if isinstance(item, int):
            return bool(item) if number == 1 else protobuf.signed(item) if number == 2 else item
        if wire_type == protobuf.FIXED64:
            return protobuf.double(item)
        return _text(item, f"parameter {name!r}")
    return None


def read_name_and_version(data: bytes) -> tuple[str, str]:
    """What a ModelReadyRequest or a ModelMetadataRequest asks about."""
    texts = {1: "", 2: ""}
    for number, wire_type, value in protobuf.fields(data, 16):
        if number in texts and wire_type == protobuf.BYTES and not isinstance(value, int):
            texts[number] = _name(value, "the request's name or version")
    return texts[1], texts[2]


def _name(value: Blob, what: str) -> str:
    """A text that is looked up, and remembered by caches."""
    if len(value) > NAME_BYTES_MAX:
        raise MalformedRequest(f"{what} is longer than {NAME_BYTES_MAX} bytes")
    return _text(value, what)


def _text(value: Blob, what: str) -> str:
    try:
        return bytes(value).decode()
    except UnicodeDecodeError:
        raise MalformedRequest(f"{what} is no UTF-8 text") from None


# -- typed contents --------------------


def check_shape(head: TensorHead) -> None:
    """Raise `UnfitInput` for a shape that is none."""
    check_lengths(head.shape, head.name)


def typed_array(head: TensorHead, contents: Blob | None) -> Array:
    """The array in an InferTensorContents; raises `UnfitInput` when it has another type or number of values."""
    dtype = dtype_of(head.datatype, head.name)
    if head.datatype not in _CONTENTS:
        raise UnfitInput(f"input {head.name!r}: {head.datatype} comes in raw_input_contents only", input=head.name)
    wanted, kind = _CONTENTS[head.datatype]
    if kind == _VARINTS:
        _check_size(head, contents)
    parts: list[tuple[int, protobuf.Value]] = []
    for number, wire_type, value in each(protobuf.fields(contents or b"", FIELDS_MAX)):
        if number != wanted:
            shown = _CONTENTS_NAMES[number] if number < len(_CONTENTS_NAMES) else f"field {number}"
            raise UnfitInput(
                f"input {head.name!r} is {head.datatype}, but its values came as {shown}_contents: "
                f"use {_CONTENTS_NAMES[wanted]}_contents",
                input=head.name,
                expected=f"{_CONTENTS_NAMES[wanted]}_contents",
            )
        parts.append((wire_type, value))
    array = _blobs(parts) if kind == _BLOBS else _numbers(parts, kind, head, dtype)
    if len(array) != element_count(head.shape):
        raise UnfitInput(
            f"input {head.name!r}: shape {list(head.shape)} is {element_count(head.shape)} values, "
            f"but {len(array)} came",
            input=head.name,
            expected=element_count(head.shape),
            got=len(array),
        )
    return array.reshape(head.shape)


def _check_size(head: TensorHead, contents: Blob | None) -> None:
    """Refuse far more numbers than the shape has before they are read, which takes eight bytes and more for each."""
    size, count = len(contents or b""), element_count(head.shape)
    if size > 2 * protobuf.VARINT_BYTES_MAX * count + CACHED_BYTES_MAX:
        raise UnfitInput(
            f"input {head.name!r}: shape {list(head.shape)} is {count} values, but {size} bytes of them came",
            input=head.name,
            expected=count,
        )


def _numbers(parts: list[tuple[int, protobuf.Value]], kind: int, head: TensorHead, dtype: np.dtype[Any]) -> Array:
    arrays = [_some_numbers(wire_type, value, kind, head) for wire_type, value in each(parts)]
    values = arrays[0] if len(arrays) == 1 else np.concatenate(arrays) if arrays else np.empty(0, dtype)
    if dtype.kind in "iu" and dtype.itemsize < 8:
        bounds = np.iinfo(dtype)
        signed = values.astype(np.int64)
        if len(values) and (signed.min() < bounds.min or signed.max() > bounds.max):
            raise UnfitInput(f"input {head.name!r}: a value is out of the range of {head.datatype}", input=head.name)
        values = signed
    return values.astype(dtype, copy=False)


def _some_numbers(wire_type: int, value: protobuf.Value, kind: int, head: TensorHead) -> Array:
    """The numbers of one field: packed, or one alone."""
    if isinstance(value, int):
        if kind == _VARINTS:
            return np.array([value], dtype=np.uint64)
    elif kind == _VARINTS and wire_type == protobuf.BYTES:
        return protobuf.packed_varints(value)
    elif kind != _VARINTS:
        dtype = np.dtype("<f4" if kind == _FLOATS else "<f8")
        if len(value) % dtype.itemsize == 0:
            return np.frombuffer(value, dtype=dtype)
    raise MalformedRequest(f"input {head.name!r}: its contents are no {head.datatype} values")


def _blobs(parts: list[tuple[int, protobuf.Value]]) -> Array:
    array = np.empty(len(parts), dtype=object)
    for index, (wire_type, value) in enumerate(each(parts)):
        if isinstance(value, int) or wire_type != protobuf.BYTES:
            raise MalformedRequest("bytes_contents are no bytes")
        item = bytes(value)
        try:
            array[index] = item.decode()
        except UnicodeDecodeError:
            array[index] = item
    return array


# -- responses --------------------


@lru_cache(maxsize=1024)
def write_model(name: str, version: str) -> bytes:
    """The first fields of a ModelInferResponse."""
    return protobuf.text(1, name) + protobuf.text(2, version)


@lru_cache(maxsize=4096)
def write_tensor_head(name: str, datatype: str, shape: tuple[int, ...]) -> bytes:
    """An output's field in a ModelInferResponse; its values are in `raw_output_contents`."""
    return protobuf.blob(5, protobuf.text(1, name) + protobuf.text(2, datatype) + protobuf.packed(3, shape))


def write_infer_response(model: bytes, request_id: str, heads: list[bytes], raw: list[bytes]) -> bytes:
    """A ModelInferResponse of what `write_model` and `write_tensor_head` made and the outputs' raw bytes."""
    parts = [model]
    if request_id:
        parts.append(protobuf.text(3, request_id))
    parts += heads
    for values in raw:
        parts += (protobuf.blob_head(6, len(values)), values)
    return b"".join(parts)


def write_flag(value: bool) -> bytes:
    """A ServerLiveResponse, ServerReadyResponse or ModelReadyResponse."""
    return protobuf.number(1, 1) if value else b""


def write_server_metadata(name: str, version: str, extensions: list[str]) -> bytes:
    """A ServerMetadataResponse."""
    return protobuf.text(1, name) + protobuf.text(2, version) + b"".join(protobuf.text(3, one) for one in extensions)


def write_model_metadata(metadata: dict[str, Any]) -> bytes:
    """A ModelMetadataResponse of what the V2 REST route answers."""
    parts = [protobuf.text(1, metadata["name"])]
    parts += [protobuf.text(2, version) for version in metadata["versions"]]
    parts.append(protobuf.text(3, metadata["platform"]))
    for number, key in ((4, "inputs"), (5, "outputs")):
        for tensor in metadata[key]:
            head = protobuf.text(1, tensor["name"]) + protobuf.text(2, tensor["datatype"])
            parts.append(protobuf.blob(number, head + protobuf.packed(3, tensor["shape"])))
    return b"".join(parts)
