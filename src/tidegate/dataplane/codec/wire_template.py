"""Wire templates: the bytes of the commonest batches between gateway and replica, one packed tensor and outputs for it.

Both ends know version and signature, so both know every byte of such a message but the tensors' own. They compare its
head instead of parsing it: what differs in a single byte is read as any other V2 message. Pure; no I/O.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from tidegate.dataplane.base.tensors import Array, dtype_of
from tidegate.dataplane.calls.outputs import Tensors
from tidegate.wire.signature import MATRIX_INPUT, Signature, TensorSpec

ROWS_MAX = 4096
"""Heads are kept for batches of up to so many rows, each a few hundred bytes."""
HOST = "replica"
"""The host that a gateway names when it speaks over a Unix socket."""
ALONE_MAX = 4
"""Outputs of a version that have a template of their own, for requests of that output alone, at most."""
_NUMBERS = frozenset("iuf")

Wanted = frozenset[str] | None
Templates = Mapping[Wanted, "WireTemplate"]


class _Output:
    """One output of a template, and how many bytes a row of it has."""

    __slots__ = ("datatype", "dtype", "name", "row_bytes", "shape")

    def __init__(self, name: str, dtype: np.dtype[Any], shape: tuple[int, ...], datatype: str) -> None:
        self.name, self.dtype, self.shape, self.datatype = name, dtype, shape, datatype
        self.row_bytes = math.prod(shape) * dtype.itemsize


class WireTemplate:
    """Requests and answers of one model version, by their number of rows. Made by `templates_of`.

    `wanted` names the outputs that are asked for, in `outputs`; None asks for all of them.
    """

    def __init__(
        self, who: tuple[str, str], spec: TensorSpec, outputs: Sequence[TensorSpec], wanted: Wanted = None
    ) -> None:
        model, version = who
        self.wanted = wanted
        self.dtype: np.dtype[Any] = dtype_of(spec.datatype)
        self.width = spec.shape[1]
        self.input_name = spec.name
        self._spec = spec
        self._outputs = [_Output(one.name, dtype_of(one.datatype), one.shape[1:], one.datatype) for one in outputs]
        self._row_bytes = self.width * self.dtype.itemsize
        self._answer_row_bytes = sum(one.row_bytes for one in self._outputs)
        self._line = f"POST /v2/models/{model}/infer HTTP/1.1\r\nhost: {HOST}\r\n".encode()
        self._who = {"model_name": model, "model_version": version}
        self._requests: dict[int, bytes] = {}
        self._answers: dict[int, tuple[bytes, int]] = {}
        self._rows_by_size: dict[int, int] = {}

    # -- requests --------------------------------------------------------------------------------------------------

    def request_head(self, rows: int) -> bytes:
        """All that stands before the tensor of a request of so many rows."""
        head = self._requests.get(rows)
        if head is None:
            json = self._json([(self._spec.name, [rows, self.width], self._spec.datatype, rows * self._row_bytes)])
            head = self._requests[rows] = _head(self._line, json, rows * self._row_bytes)
        return head

    def rows_of(self, request: bytes) -> int:
        """How many rows a whole request has; 0 for one that is not of this template."""
        rows = self._rows_by_size.get(len(request))
        if rows is None:
            rows = self._guess(len(request))
        return rows if rows and request.startswith(self._requests[rows]) else 0

    def tensor(self, request: bytes, rows: int) -> Array:
        """The tensor of a request of this template: (rows, width), the model's own, aligned and to be written to."""
        offset = len(request) - rows * self._row_bytes
        return np.ndarray((rows, self.width), self.dtype, request, offset).copy()

    def _guess(self, size: int) -> int:
        """The rows of a request of so many bytes. A head's length depends on them, by a few digits."""
        for rows in range(min(size // self._row_bytes, ROWS_MAX), 0, -1):
            missing = size - rows * self._row_bytes
            if missing == len(self.request_head(rows)):
                self._rows_by_size[size] = rows
                return rows
            if missing > len(self.request_head(rows)):
                break
        if len(self._rows_by_size) < ROWS_MAX:
            self._rows_by_size[size] = 0  # a size of another template, and will be again
        return 0

    # -- answers ---------------------------------------------------------------------------------------------------

    def expected(self, rows: int) -> tuple[bytes, int]:
        """All that stands before the tensors of an answer for so many rows, and the whole answer's length."""
        known = self._answers.get(rows)
        if known is None:
            described = [(one.name, [rows, *one.shape], one.datatype, rows * one.row_bytes) for one in self._outputs]
            json = self._json(described, self._who)
            head = _head(b"HTTP/1.1 200 OK\r\n", json, rows * self._answer_row_bytes)
            known = self._answers[rows] = (head, len(head) + rows * self._answer_row_bytes)
        return known

    def answer(self, outputs: Tensors, rows: int) -> bytes | None:
        """A whole answer; None for outputs that are not those of the signature, or not only those."""
        if self.wanted is None and len(outputs) != len(self._outputs):
            return None
        parts = [self.expected(rows)[0]]
        for one in self._outputs:
            array = outputs.get(one.name)
            if array is None or array.dtype != one.dtype or array.shape != (rows, *one.shape):
                return None
            parts.append(array.tobytes())
        return b"".join(parts)

    def outputs(self, answer: bytes, rows: int) -> Tensors:
        """The tensors of an answer of this template: views of its bytes."""
        found: Tensors = {}
        offset = len(answer) - rows * self._answer_row_bytes
        for one in self._outputs:
            found[one.name] = np.ndarray((rows, *one.shape), one.dtype, answer, offset)
            offset += rows * one.row_bytes
        return found

    def _json(self, tensors: list[tuple[str, list[int], str, int]], who: dict[str, str] | None = None) -> bytes:
        described = [
            {"name": name, "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": size_bytes}}
            for name, shape, datatype, size_bytes in tensors
        ]
        if who is not None:
            return msgspec.json.encode({**who, "outputs": described})
        asked = {} if self.wanted is None else {"outputs": [{"name": name} for name in sorted(self.wanted)]}
        return msgspec.json.encode({"inputs": described, "parameters": {"binary_data_output": True}, **asked})


def templates_of(model: str, version: str, signature: Signature) -> Templates:
    """The templates of a version by the outputs wanted; none where rows or outputs are no plain numbers of known shape.

    All outputs at once, and each alone: what clients ask for.
    """
    datatype, width = signature.packed_datatype, signature.n_features
    if datatype is None or not signature.outputs or not width or not _is_number(datatype):
        return {}
    name = signature.inputs[0].name if signature.kind == "tensors" else MATRIX_INPUT
    known = all(_is_number(one.datatype) and min(one.shape[1:], default=0) >= 0 for one in signature.outputs)
    if not known or any(one.json for one in signature.outputs):
        return {}
    who, spec = (model, version), TensorSpec(name, datatype, (-1, width))
    templates: dict[Wanted, WireTemplate] = {None: WireTemplate(who, spec, signature.outputs)}
    for one in signature.outputs[:ALONE_MAX]:
        wanted = frozenset({one.name})
        templates[wanted] = WireTemplate(who, spec, [one], wanted)
    return templates


def _is_number(datatype: str) -> bool:
    return datatype != "BF16" and dtype_of(datatype).kind in _NUMBERS


def _head(first: bytes, json: bytes, tensor_bytes: int) -> bytes:
    lengths = (len(json), len(json) + tensor_bytes)
    headers = b"content-type: application/octet-stream\r\ninference-header-content-length: %d\r\ncontent-length: %d\r\n"
    return b"".join((first, headers % lengths, b"\r\n", json))
