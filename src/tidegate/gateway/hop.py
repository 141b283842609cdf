"""The bytes of the hop from gateway to replica: a batch as a V2 request, and an answer as outputs or an error.

Used by `upstream.py`. Pure: bytes in, bytes out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from tidegate.dataplane.call import ModelFailed, Outputs
from tidegate.dataplane.tensors import datatype_of, to_raw
from tidegate.dataplane.v2 import decode_response, encode_request
from tidegate.errors import (
    DeadlineExceeded,
    Internal,
    MalformedRequest,
    NoReadyReplica,
    Overloaded,
    TidegateError,
    TooLarge,
    UnfitInput,
)

if TYPE_CHECKING:
    from tidegate.dataplane.call import Batch, Tensors
    from tidegate.gateway.connection import Answer

_ERRORS: dict[int, type[TidegateError]] = {
    400: UnfitInput,
    413: TooLarge,
    422: UnfitInput,
    429: Overloaded,
    500: ModelFailed,
    503: NoReadyReplica,
    504: DeadlineExceeded,
}
_TAILS_MAX = 64
_ALL_OUTPUTS = b'],"parameters":{"binary_data_output":true}}'


class HopError(msgspec.Struct):
    """What an error's body says; foreign V2 servers send only `error`."""

    error: str = ""
    code: str = ""
    details: dict[str, Any] = {}


_errors = msgspec.json.Decoder(HopError)


class RequestWriter:
    """Writes a batch as the parts of an HTTP request to one model; what is constant is put together once."""

    def __init__(self, model: str, host: str) -> None:
        self._head = (
            f"POST /v2/models/{model}/infer HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/octet-stream\r\n"
            "inference-header-content-length: "
        ).encode("ascii")
        self._tails: dict[frozenset[str], bytes] = {}
        self.probe = f"GET /v2/health/ready HTTP/1.1\r\nhost: {host}\r\n\r\n".encode("ascii")

    def parts(self, inputs: Tensors, wanted: frozenset[str] | None, params: str | None = None) -> list[bytes]:
        """The request's bytes; raises `UnfitInput` for an array that V2 cannot carry."""
        header, raw = self._body(inputs, wanted) if params is None else encode_request(inputs, wanted, params)
        length = len(header)
        total = length + sum(map(len, raw))
        return [b"%b%d\r\ncontent-length: %d\r\n\r\n%b" % (self._head, length, total, header), *raw]

    def _body(self, inputs: Tensors, wanted: frozenset[str] | None) -> tuple[bytes, list[bytes]]:
        if len(inputs) != 1:
            return encode_request(inputs, wanted)
        # The packed case, which is nearly all traffic: a line of formatting instead of a dictionary and a JSON library.
        ((name, array),) = inputs.items()
        if array.ndim != 2 or array.dtype.kind not in "fiu" or not name.isidentifier() or not name.isascii():
            return encode_request(inputs, wanted)
        datatype = datatype_of(array)
        raw = to_raw(array, datatype)
        header = b'{"inputs":[{"name":"%b","shape":[%d,%d],"datatype":"%b","parameters":{"binary_data_size":%d}}%b' % (
            name.encode(),
            *array.shape,
            datatype.encode(),
            len(raw),
            self._tail(wanted),
        )
        return header, [raw]

    def _tail(self, wanted: frozenset[str] | None) -> bytes:
        if wanted is None:
            return _ALL_OUTPUTS
        tail = self._tails.get(wanted)
        if tail is None:
            names = msgspec.json.encode([{"name": name} for name in sorted(wanted)])
            tail = b'],"outputs":%b,"parameters":{"binary_data_output":true}}' % names
            if len(self._tails) < _TAILS_MAX:
                self._tails[wanted] = tail
        return tail


def read_answer(answer: Answer, batch: Batch) -> Outputs | TidegateError:
    """Outputs with a row for each of the batch's rows, or why there are none."""
    if answer.status != 200:
        return _error_of(answer)
    try:
        tensors = decode_response(answer.body, answer.header_length)
    except (MalformedRequest, UnfitInput) as error:
        return ModelFailed(f"the replica's answer cannot be read: {error.message}")
    for name, array in tensors.items():
        if array.ndim == 0 or len(array) != batch.rows:
            shape = list(array.shape)
            return ModelFailed(f"the model answered {batch.rows} rows with {name!r} of shape {shape}: no row for each")
    if not tensors:
        return ModelFailed("the model answered no outputs")
    return Outputs(tensors)


def _error_of(answer: Answer) -> TidegateError:
    try:
        said = _errors.decode(answer.body)
    except msgspec.DecodeError:
        said = HopError()
    kind = _ERRORS.get(answer.status)
    if kind is None:
        # 401, 404, 405, ...: the client's input is not to blame, the replica is not what the snapshot says it is.
        return Internal(f"the replica answered {answer.status}: {said.error or 'no reason given'}")
    return kind(said.error or None, retry_after_s=answer.retry_after_s, **_safe(said.details))


def _safe(details: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in details.items() if key not in ("message", "self", "retry_after_s")}
