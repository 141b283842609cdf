"""The V2 REST edge: JSON and binary tensors, both ways (bodies in `codec/v2.py`)."""

from __future__ import annotations

import re

from tidegate.dataplane.base.amounts import check_outputs
from tidegate.dataplane.base.content_type import JSON, kind_of
from tidegate.dataplane.calls.call import Call, Destination
from tidegate.dataplane.calls.directory import Service
from tidegate.dataplane.calls.outputs import Outputs, Tensors
from tidegate.dataplane.codec.fit_tensors import fit_tensors
from tidegate.dataplane.codec.numbers import NumberTexts, arrays_of
from tidegate.dataplane.codec.params import params_of, under_signature
from tidegate.dataplane.codec.v2 import Message, V2Request, decode_request
from tidegate.dataplane.codec.v2_answers import encode_response
from tidegate.dataplane.pipeline.assignment import choose, unit_of
from tidegate.dataplane.pipeline.infer import Exchange, check_json_size, new_call
from tidegate.errors import MalformedRequest, UnfitInput, WrongContentType

_TAKEN = (JSON, b"application/octet-stream")
_NUMBERS = frozenset({"FP32", "FP64"} | {f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)})
_DIGITS = re.compile(rb"[0-9]{1,12}")


class V2Edge:
    """Open Inference Protocol. `exchange.meta` is the request's JSON part."""

    arrays = arrays_of("data")

    def takes_numbers(self, destination: Destination) -> bool:
        """Whether any input may be numbers that JSON has a form for."""
        return any(spec.datatype in _NUMBERS for spec in destination.signature.inputs)

    def head_of(self, exchange: Exchange) -> bytes | bytearray | None:
        """The JSON in front of binary tensors; None for a body that is JSON alone, or says nonsense about it."""
        length = exchange.headers.get(b"inference-header-content-length", b"")
        return exchange.body[: int(length)] if _DIGITS.fullmatch(length) else None

    def decode(self, exchange: Exchange, service: Service, numbers: NumberTexts | None = None) -> Call:
        """Read the JSON part and the binary tensors, choose a version, fit."""
        message = _read(exchange, numbers)
        exchange.meta = message.request
        unit = unit_of(exchange, message.request.parameters.get("user_id"))
        destination = choose(service, exchange, None, unit)
        destination = under_signature(message.request.parameters, destination)
        fitted = fit_tensors(message.tensors, message.nulls, destination)
        call = new_call(exchange, destination, fitted)
        call.wanted = _wanted(message.request, destination)
        call.params = params_of(message.request.parameters, destination.signature) or destination.params
        return call

    def encode(self, exchange: Exchange, call: Call, outputs: Outputs, first_row: int) -> bytes:
        """The requested outputs, in the order they were asked for."""
        request: V2Request = exchange.meta
        names = [output.name for output in request.outputs] if request.outputs else list(outputs.tensors)
        rows = slice(first_row, first_row + call.rows)
        tensors: Tensors = {name: outputs.tensors[name][rows] for name in names}
        head = {"model_name": call.destination.identity.endpoint, "model_version": call.destination.identity.version}
        if request.id:
            head["id"] = request.id
        body, json_length = encode_response(head, request, tensors, call.destination.narrow_outputs)
        if json_length is not None:
            exchange.content_type = b"application/octet-stream"
            exchange.extra_head = b"inference-header-content-length: %d\r\n" % json_length
        return body


def _read(exchange: Exchange, numbers: NumberTexts | None) -> Message:
    if kind_of(exchange.headers) not in _TAKEN:
        given = exchange.headers[b"content-type"]
        raise WrongContentType(
            f"content type {given.decode('latin-1')!r} is not taken here: send application/json, "
            "or application/octet-stream with binary tensors"
        )
    if numbers is not None:
        return decode_request(numbers.body, None, numbers)
    text = exchange.headers.get(b"inference-header-content-length")
    if text is not None and not _DIGITS.fullmatch(text):
        raise MalformedRequest("Inference-Header-Content-Length must be a whole number of bytes")
    length = None if text is None else int(text)
    if length is not None and length > len(exchange.body):
        raise MalformedRequest(
            f"Inference-Header-Content-Length is {length}, but the body has {len(exchange.body)} bytes: "
            "it must be the length of the JSON that the body begins with"
        )
    check_json_size(len(exchange.body) if length is None else length, exchange.engine.limits)
    body = exchange.body = bytes(exchange.body)  # the tensors are views of it: it should not lie here a second time
    return decode_request(body, length)


def _wanted(request: V2Request, destination: Destination) -> frozenset[str] | None:
    if not request.outputs:
        return None
    known = [spec.name for spec in destination.signature.outputs]
    check_outputs(len(request.outputs), len(known))
    for output in request.outputs:
        if output.name not in known:
            raise UnfitInput(
                f"the model has no output {output.name!r}; it has {', '.join(known)}",
                output=output.name,
                expected=known,
                got=output.name,
            )
    return frozenset(output.name for output in request.outputs)
