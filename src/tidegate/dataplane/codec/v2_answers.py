"""Answers of the Open Inference Protocol's REST face: a call's outputs as JSON, and as binary tensors where asked for.

Used by the V2 edge. What the gateway reads of a replica's answers is in `v2.py`.
"""

from __future__ import annotations

from typing import Any

import orjson

from tidegate.dataplane.base.amounts import check_answer
from tidegate.dataplane.base.stepwise import each, pause
from tidegate.dataplane.base.tensors import Array, datatype_of, to_raw
from tidegate.dataplane.calls.outputs import Tensors
from tidegate.dataplane.codec.v2 import BINARY_ONLY, MISSING, V2Request
from tidegate.dataplane.codec.written import VALUES_A_STEP, Long, document, pieces_of
from tidegate.errors import UnfitInput


def wants_binary(request: V2Request, name: str) -> bool:
    """Whether the client asked for this output as binary data."""
    for output in request.outputs or ():
        if output.name == name and "binary_data" in output.parameters:
            return output.parameters["binary_data"] is True
    return request.parameters.get("binary_data_output") is True


def encode_response(
    head: dict[str, Any], request: V2Request, tensors: Tensors, narrow: frozenset[str] = frozenset()
) -> tuple[bytes, int | None]:
    """The answer's body, and its JSON's length when binary tensors follow. `head` has model_name and model_version.

    `narrow` names the tensors that are BF16, which in the process are FP32.
    """
    outputs: list[dict[str, Any]] = []
    raw: list[bytes] = []
    values = 0
    for name, array in tensors.items():
        datatype = "BF16" if name in narrow else datatype_of(array)
        output: dict[str, Any] = {"name": name, "shape": list(array.shape), "datatype": datatype}
        if datatype in BINARY_ONLY or wants_binary(request, name):
            raw.append(to_raw(array, datatype))
            output["parameters"] = {"binary_data_size": len(raw[-1]), **_missing(array, datatype)}
        else:
            values += array.size
            check_answer(values)
            output["data"] = _json_data(name, array, datatype)
        outputs.append(output)
        pause()
    answer = {**head, "outputs": outputs}
    body = document(answer) if values > VALUES_A_STEP else orjson.dumps(answer)
    return (b"".join([body, *raw]), len(body)) if raw else (body, None)


def _json_data(name: str, array: Array, datatype: str) -> Any:
    """An output's values in a row: a list, or its JSON."""

    def texts(values: list[Any]) -> list[Any]:
        return _texts(name, values) if datatype == "BYTES" else values

    flat = array.ravel()
    return Long(pieces_of(flat, change=texts)) if flat.size > VALUES_A_STEP else texts(flat.tolist())


def _texts(name: str, values: list[Any]) -> list[str | None]:
    try:
        return [_text(value) for value in values]
    except UnicodeDecodeError:
        raise UnfitInput(
            f"output {name!r} holds bytes that are no UTF-8, and V2's JSON has no form for them: "
            "ask for it with 'binary_data' true",
            output=name,
        ) from None


def _text(value: Any) -> str | None:
    return value.decode() if isinstance(value, bytes) else None if value is None else str(value)


def _missing(array: Array, datatype: str) -> dict[str, list[int]]:
    values = array.ravel().tolist() if datatype == "BYTES" else []
    return {MISSING: [place for place, value in each(enumerate(values)) if value is None]} if None in values else {}
