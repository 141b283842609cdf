"""A cheap structural check for ONNX: walks the outermost protobuf fields of a file without reading what they hold."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, Literal

_MODEL_FIELDS = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26})
_IR_VERSION, _GRAPH = 1, 7


def onnx_verdict(path: Path) -> Literal["whole", "truncated"] | None:
    """Whether the file is a serialised `onnx.ModelProto`; None when it is something else."""
    size_bytes = path.stat().st_size
    seen: set[int] = set()
    with path.open("rb") as file:
        while (tag := _varint(file)) is not None:
            number, wire_type = tag >> 3, tag & 7
            if number not in _MODEL_FIELDS or (not seen and number not in (_IR_VERSION, 2, _GRAPH, 8)):
                return None
            seen.add(number)
            if not _skip(file, wire_type):
                return None
            if file.tell() > size_bytes:
                return "truncated" if seen >= {_IR_VERSION} else None
    if not seen >= {_IR_VERSION, _GRAPH}:
        return "truncated" if len(seen) >= 3 else None
    return "whole"


def _skip(file: BinaryIO, wire_type: int) -> bool:
    if wire_type == 0:
        return _varint(file) is not None
    if wire_type == 2:
        length = _varint(file)
        if length is None:
            return False
        file.seek(length, 1)
        return True
    return False


def _varint(file: BinaryIO) -> int | None:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            return None
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    return None
