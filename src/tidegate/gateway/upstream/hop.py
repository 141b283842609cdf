"""The bytes of the hop from gateway to replica: a batch as a V2 request, and an answer as outputs or an error.

Used by `target.py`. Pure: bytes in, bytes out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from tidegate.dataplane.calls.outputs import ModelFailed, Outputs
from tidegate.dataplane.codec.v2 import decode_response, encode_request
from tidegate.dataplane.codec.wire_template import HOST, ROWS_MAX, Templates, WireTemplate
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
    from tidegate.dataplane.calls.batch import Batch
    from tidegate.gateway.upstream.connection import Expected, HopAnswer

_ERRORS: dict[int, type[TidegateError]] = {
    400: UnfitInput,
    413: TooLarge,
    422: UnfitInput,
    429: Overloaded,
    500: ModelFailed,
    503: NoReadyReplica,
    504: DeadlineExceeded,
}


TEXTS_AT_ONCE_MAX = 4096
"""Elements of BYTES tensors: about 2 ms."""
LENGTH_BYTES = 4
"""In front of each of them."""


class HopError(msgspec.Struct):
    """What an error's body says; foreign V2 servers send only `error`."""

    error: str = ""
    code: str = ""
    details: dict[str, Any] = {}


_errors = msgspec.json.Decoder(HopError)


class HopRequest(msgspec.Struct, frozen=True):
    """A request's bytes, and the head and length of its answer where they are known beforehand, by `template`."""

    parts: list[bytes]
    expected: Expected | None = None
    template: WireTemplate | None = None


class RequestWriter:
    """Writes batches as HTTP requests to one model; what is constant is put together once.

    Batches that fit one of `templates` are written in its bytes, which name the host of a Unix socket and no key.
    Where a key is shown, readiness is asked of the model: that question wants the key too, the server's own does not.
    `identity` is an ID token for a front, which takes it off: it stands in a header of its own, beside the key's.
    """

    def __init__(
        self,
        model: str,
        host: str,
        templates: Templates,
        prefix: str = "",
        key: str | None = None,
        identity: str | None = None,
    ) -> None:
        where = f" HTTP/1.1\r\nhost: {host}\r\n" + (f"authorization: Bearer {key}\r\n" if key else "")
        where += f"x-serverless-authorization: Bearer {identity}\r\n" if identity else ""
        path = f"{prefix}/v2/models/{model}"
        self._head = (
            f"POST {path}/infer{where}content-type: application/octet-stream\r\ninference-header-content-length: "
        ).encode("ascii")
        self._templates = templates if host == HOST and not key else {}
        asked = f"{path}/ready" if key else f"{prefix}/v2/health/ready"
        self.probe = f"GET {asked}{where}\r\n".encode("ascii")

    def request(self, batch: Batch) -> HopRequest:
        """The bytes of a batch; raises `UnfitInput` for an array that V2 cannot carry."""
        template = self._templates.get(batch.wanted)
        if template is not None and (request := _by_template(template, batch)) is not None:
            return request
        header, raw = encode_request(batch.inputs, batch.wanted, batch.params)
        length = len(header)
        total = length + sum(map(len, raw))
        return HopRequest([b"%b%d\r\ncontent-length: %d\r\n\r\n%b" % (self._head, length, total, header), *raw])


def _by_template(template: WireTemplate, batch: Batch) -> HopRequest | None:
    if batch.params is not None or batch.rows > ROWS_MAX:
        return None
    tensor = batch.inputs.get(template.input_name)
    if (
        tensor is None
        or len(batch.inputs) != 1
        or tensor.dtype != template.dtype
        or tensor.shape[1:] != (template.width,)
    ):
        return None
    rows = batch.rows
    return HopRequest([template.request_head(rows), tensor.tobytes()], template.expected(rows), template)


def is_long(batch: Batch) -> bool:
    """Whether a batch has so many texts that writing them takes a while: numbers are written at once."""
    return any(array.dtype.kind == "O" and array.size > TEXTS_AT_ONCE_MAX for array in batch.inputs.values())


def is_long_answer(answer: HopAnswer) -> bool:
    """Whether a replica's answer is so long that it is decoded in steps."""
    length = answer.header_length or 0
    return len(answer.body) - length > LENGTH_BYTES * TEXTS_AT_ONCE_MAX and b'"BYTES"' in answer.body[:length]


def read_answer(answer: HopAnswer, batch: Batch, template: WireTemplate | None) -> Outputs | TidegateError:
    """Outputs with a row for each of the batch's rows, or why there are none."""
    if answer.expected and template is not None:
        return Outputs(template.outputs(answer.body, batch.rows))
    if answer.status != 200:
        return _error_of(answer)
    try:
        tensors = decode_response(answer.body, answer.header_length)
    except (MalformedRequest, UnfitInput, TooLarge) as error:
        return ModelFailed(f"the replica's answer cannot be read: {error.message}")
    for name, array in tensors.items():
        if array.ndim == 0 or len(array) != batch.rows:
            shape = list(array.shape)
            return ModelFailed(f"the model answered {batch.rows} rows with {name!r} of shape {shape}: no row for each")
    if not tensors:
        return ModelFailed("the model answered no outputs")
    return Outputs(tensors)


def _error_of(answer: HopAnswer) -> TidegateError:
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
