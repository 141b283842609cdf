"""The gRPC edge: a ModelInferRequest becomes a call, outputs a ModelInferResponse (messages in `messages.py`).

Values come raw or typed, and leave raw, which every client reads.
"""

from __future__ import annotations

from functools import lru_cache

from tidegate.dataplane.base.amounts import check_outputs
from tidegate.dataplane.base.stepwise import each, pause
from tidegate.dataplane.base.tensors import Array, datatype_of, from_raw, to_raw
from tidegate.dataplane.calls.call import Call, Destination
from tidegate.dataplane.calls.directory import Service
from tidegate.dataplane.calls.outputs import Outputs, Tensors
from tidegate.dataplane.codec.fit_tensors import fit_tensors
from tidegate.dataplane.codec.params import params_of, under_signature
from tidegate.dataplane.grpc.messages import (
    InferRequest,
    check_shape,
    typed_array,
    write_infer_response,
    write_model,
    write_tensor_head,
)
from tidegate.dataplane.pipeline.assignment import choose, unit_of
from tidegate.dataplane.pipeline.infer import Exchange, PredictionRoute, new_call
from tidegate.errors import MalformedRequest, TooLarge, UnfitInput


class GrpcEdge:
    """Open Inference Protocol over gRPC. `exchange.meta` is the `InferRequest`."""

    def decode(self, exchange: Exchange, service: Service) -> Call:
        """Take the tensors, choose a version, fit."""
        request: InferRequest = exchange.meta
        tensors = _tensors(request, exchange)
        unit = unit_of(exchange, request.parameters.get("user_id"))
        destination = choose(service, exchange, None, unit)
        destination = under_signature(request.parameters, destination)
        fitted = fit_tensors(tensors, {}, destination)
        call = new_call(exchange, destination, fitted)
        call.wanted = _wanted(request.outputs, destination) if request.outputs else None
        call.params = params_of(request.parameters, destination.signature) or destination.params
        return call

    def encode(self, exchange: Exchange, call: Call, outputs: Outputs, first_row: int) -> bytes:
        """The requested outputs, in the order they were asked for."""
        request: InferRequest = exchange.meta
        identity = call.destination.identity
        heads: list[bytes] = []
        raw: list[bytes] = []
        for name in dict.fromkeys(request.outputs) or outputs.tensors:
            array = outputs.tensors[name][first_row : first_row + call.rows]
            datatype = _datatype(name, array, call.destination)
            heads.append(write_tensor_head(name, datatype, array.shape))
            raw.append(to_raw(array, datatype))
            pause()
        return write_infer_response(write_model(identity.endpoint, identity.version), request.id, heads, raw)


EDGE = GrpcEdge()


@lru_cache(maxsize=4096)
def route_of(model_name: str, model_version: str) -> PredictionRoute:
    """The route of a request by what it names."""
    return PredictionRoute(EDGE, model_name, model_version or None)


def _tensors(request: InferRequest, exchange: Exchange) -> Tensors:
    if not request.inputs:
        raise UnfitInput("the request has no inputs")
    if request.raw and len(request.raw) != len(request.inputs):
        raise MalformedRequest(
            f"the request has {len(request.inputs)} inputs, but {len(request.raw)} raw_input_contents"
        )
    tensors: Tensors = {}
    for index, (head, contents) in enumerate(each(list(zip(request.inputs, request.contents, strict=True)))):
        if head.name in tensors:
            raise MalformedRequest(f"input {head.name!r} is given twice")
        check_shape(head)
        if not request.raw:
            if head.datatype not in ("FP32", "FP64"):  # is not used as it came, but read, on the event loop
                _check_typed_size(head.name, len(contents or b""), exchange.engine.limits.json_bytes_max)
            tensors[head.name] = typed_array(head, contents)
        elif contents is None:
            tensors[head.name] = from_raw(request.raw[index], head.datatype, head.shape, head.name)
        else:
            raise MalformedRequest(f"input {head.name!r} has 'contents', and the request has raw_input_contents")
    return tensors


def _check_typed_size(name: str, size: int, size_max: int) -> None:
    if size > size_max:
        raise TooLarge(
            f"input {name!r}: its typed contents have {size} bytes, and this server takes {size_max}: "
            "use raw_input_contents",
            expected=size_max,
            got=size,
        )


def _datatype(name: str, array: Array, destination: Destination) -> str:
    """What the model calls it: BF16 is held as FP32 in here."""
    datatype = datatype_of(array)
    if datatype == "FP32":
        for spec in destination.signature.outputs:
            if spec.name == name and spec.datatype == "BF16":
                return "BF16"
    return datatype


def _wanted(names: list[str], destination: Destination) -> frozenset[str]:
    known = [spec.name for spec in destination.signature.outputs]
    check_outputs(len(names), len(known))
    for name in names:
        if name not in known:
            raise UnfitInput(
                f"the model has no output {name!r}; it has {', '.join(known)}", output=name, expected=known, got=name
            )
    return frozenset(names)
