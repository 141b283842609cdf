"""TensorFlow Serving's REST API: `:predict` row-wise and column-wise, and what it says of a model."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from tidegate.dataplane.base.content_type import kind_of
from tidegate.dataplane.base.stepwise import each
from tidegate.dataplane.base.tensors import base64_of, from_json_rows
from tidegate.dataplane.calls.call import SIGNATURE_NAME, SIGNATURE_PARAM, Call, Destination
from tidegate.dataplane.calls.directory import Service
from tidegate.dataplane.calls.outputs import Outputs
from tidegate.dataplane.codec.fit import Fitted
from tidegate.dataplane.codec.frames import fit_float_rows, fit_inputs, fit_instances
from tidegate.dataplane.codec.lenient import decode_fields, encode, float_rows_of, lenient_rows, value_of
from tidegate.dataplane.codec.numbers import NumberTexts, TakesRows, arrays_of, fit_numbers
from tidegate.dataplane.pipeline.assignment import choose, unit_of
from tidegate.dataplane.pipeline.infer import Exchange, check_json_size, new_call
from tidegate.errors import MalformedRequest
from tidegate.wire.signature import Signature, TensorSpec

_DTYPES = {
    "BOOL": "DT_BOOL",
    "BYTES": "DT_STRING",
    "FP16": "DT_HALF",
    "BF16": "DT_BFLOAT16",
    "FP32": "DT_FLOAT",
    "FP64": "DT_DOUBLE",
    **{f"{sign}INT{bits}": f"DT_{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)},
}


class TensorflowEdge(TakesRows):
    """TensorFlow Serving. `exchange.meta` is the name of the answer's field: `predictions` or `outputs`.

    Any content type is taken, as its own server does: the examples in its documentation send none. But not from a page.
    """

    arrays = arrays_of("instances", "inputs", flat=False)

    def decode(self, exchange: Exchange, service: Service, numbers: NumberTexts | None = None) -> Call:
        """Read `instances` or `inputs`, choose a version, fit."""
        kind_of(exchange.headers)  # refuses what a page of another site may send unasked
        body = exchange.body if numbers is None else numbers.body
        check_json_size(len(exchange.body), exchange.engine.limits)
        fields = decode_fields(body)
        if ("instances" in fields) == ("inputs" in fields):
            raise MalformedRequest("the request needs exactly one of instances (row by row) and inputs (by input)")
        form = "instances" if "instances" in fields else "inputs"
        unit = unit_of(exchange, None)
        destination = choose(service, exchange, None, unit)
        destination = destination.under(value_of(fields.get(SIGNATURE_PARAM)))
        exchange.meta = "predictions" if form == "instances" else "outputs"
        if numbers is not None:
            fitted, _ = fit_numbers(numbers, fields[form], destination)
        else:
            fitted = _fit(form, fields[form], destination, has_base64=b'"b64"' in body)
        return new_call(exchange, destination, fitted)

    def encode(self, exchange: Exchange, call: Call, outputs: Outputs, first_row: int) -> bytes:
        """One output alone, several as objects by name: one a row, or one for all rows."""
        names = list(outputs.tensors)
        packed = call.destination.json_outputs

        def change(name: str, values: list[Any]) -> list[Any]:
            return from_json_rows(values) if name in packed else _texts(values, name)

        rows = lenient_rows(outputs, first_row, first_row + call.rows, change)
        answer: Any
        if len(names) > 1 and exchange.meta == "predictions":
            answer = rows.records(names)
        else:
            answer = rows.columns(names)
            answer = answer if len(names) > 1 else answer[names[0]]
        return encode({exchange.meta: answer}, rows)


def _fit(form: str, field: Any, destination: Destination, *, has_base64: bool) -> Fitted:
    if destination.takes_floats:
        rows = float_rows_of(field)
        if rows:
            return fit_float_rows(rows, destination, form)
    value = _unpacked(value_of(field)) if has_base64 else value_of(field)
    return fit_instances(value, destination) if form == "instances" else fit_inputs(value, destination)


def _unpacked(value: Any) -> Any:
    """Values with `{"b64": ...}` in them as the text (or bytes that are no text) that it stands for."""
    if isinstance(value, list):
        return [_unpacked(item) for item in each(value)]
    if not isinstance(value, dict):
        return value
    if value.keys() != {"b64"}:
        return {name: _unpacked(item) for name, item in each(value.items())}
    try:
        data = base64.b64decode(value["b64"], validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise MalformedRequest(f"a b64 value is no base64: {error}") from None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _texts(values: list[Any], name: str) -> list[Any]:
    """Bytes that are no text as `{"b64": ...}`, and all values of an output whose name ends in `_bytes`."""
    return [_text(value, packed=name.endswith("_bytes")) for value in values] if _has_text(values) else values


def _has_text(values: list[Any]) -> bool:
    first = next((value for value in values if value is not None), None)
    while isinstance(first, list):
        first = first[0] if first else None
    return isinstance(first, str | bytes)


def _text(value: Any, *, packed: bool) -> Any:
    if isinstance(value, list):
        return [_text(item, packed=packed) for item in value]
    if value is None or (isinstance(value, str) and not packed):
        return value
    data = value.encode() if isinstance(value, str) else value
    return base64_of(data)


# -- what is said of a model --------------------


def model_status(destinations: list[Destination]) -> dict[str, Any]:
    """`GET /v1/models/{m}`: the versions that run."""
    return {"model_version_status": [_status(one) for one in destinations]}


def _status(destination: Destination) -> dict[str, Any]:
    ready = destination.batcher.accepts
    said = {"error_code": "OK", "error_message": ""}
    if not ready:
        said = {"error_code": "UNAVAILABLE", "error_message": "no replica is ready"}
    return {"version": destination.identity.version, "state": "AVAILABLE" if ready else "LOADING", "status": said}


def model_metadata(name: str, destination: Destination) -> dict[str, Any]:
    """`GET /v1/models/{m}/metadata`: the signature."""
    signature = destination.signature
    described = {signature.name or SIGNATURE_NAME: _described(signature)}
    described |= {other.name: _described(other) for other in signature.others}
    return {
        "model_spec": {"name": name, "signature_name": "", "version": destination.identity.version},
        "metadata": {"signature_def": {"signature_def": described}},
    }


def _described(signature: Signature) -> dict[str, Any]:
    return {
        "inputs": {spec.name: _tensor_info(spec) for spec in signature.inputs},
        "outputs": {spec.name: _tensor_info(spec) for spec in signature.outputs},
        "method_name": "tensorflow/serving/predict",
    }


def _tensor_info(spec: TensorSpec) -> dict[str, Any]:
    return {
        "dtype": _DTYPES[spec.datatype],
        "tensor_shape": {"dim": [{"size": str(length), "name": ""} for length in spec.shape], "unknown_rank": False},
        "name": spec.name,
    }
