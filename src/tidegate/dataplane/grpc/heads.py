"""What header blocks of gRPC say: a request's method, metadata and deadline, an answer's fields and status.

Used by `server.py` and what answers its calls. Pure functions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote

from tidegate.dataplane.calls.call import Destination
from tidegate.dataplane.http2.frames import Pairs, literal
from tidegate.errors import MalformedRequest, TidegateError

SERVICE = "/inference.GRPCInferenceService/"
MESSAGE_BYTES_MAX = 2048
"""Of an error's text: clients bound the size of trailers."""

PREFIX_BYTES = 5
_STATUS_200 = b"\x88"
_CONTENT_TYPE = literal(b"content-type", b"application/grpc")
NOT_GRPC = literal(b":status", b"415")
OK_TRAILERS = literal(b"grpc-status", b"0")
_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
_UNIT_MS = {b"H": 3_600_000, b"M": 60_000, b"S": 1000, b"m": 1, b"u": 1e-3, b"n": 1e-6}
_OF_HTTP = frozenset({b"accept-encoding", b"content-encoding", b"content-type"})
"""Fields that mean a body of HTTP; a message's compression is agreed on by gRPC's own, so these say nothing here."""
_PRINTABLE = "".join(chr(code) for code in range(0x20, 0x7F) if code != ord("%"))


# -- what a header block says --------------------


@dataclass(slots=True, frozen=True)
class Head:
    """A request's header block: the method (None: no gRPC), the fields as HTTP names them, and how it is compressed."""

    method: str | None
    headers: Pairs
    encoding: bytes
    wrong: str = ""


def read_head(pairs: Pairs) -> Head:
    """From the fields; the client's deadline becomes `x-tidegate-timeout-ms`, the shorter one where both are given."""
    fields = dict(pairs)
    if not fields.get(b"content-type", b"").startswith(b"application/grpc") or fields.get(b":method") != b"POST":
        return Head(None, [], b"")
    path = fields.get(b":path", b"").decode("latin-1")
    method = path.removeprefix(SERVICE) if path.startswith(SERVICE) else path
    headers = [(name, value) for name, value in pairs if name not in _OF_HTTP]
    try:
        timeout_ms = _timeout_ms(fields)
    except MalformedRequest as error:
        return Head(method, headers, b"", error.message)
    if timeout_ms is not None:
        headers = [(name, value) for name, value in headers if name != b"x-tidegate-timeout-ms"]
        headers.append((b"x-tidegate-timeout-ms", b"%d" % timeout_ms))
    return Head(method, headers, fields.get(b"grpc-encoding", b"identity"))


def _timeout_ms(fields: dict[bytes, bytes]) -> int | None:
    given = fields.get(b"grpc-timeout")
    if given is None:
        return None
    match = _TIMEOUT.fullmatch(given)
    if match is None:
        raise MalformedRequest(f"grpc-timeout is {given.decode('latin-1')!r}: up to 8 digits and a unit are expected")
    timeout_ms = max(1, round(int(match[1]) * _UNIT_MS[match[2]]))
    own = fields.get(b"x-tidegate-timeout-ms", b"")
    # float takes any number of digits, int does not
    return int(float(own)) if own.isdigit() and 0 < float(own) < timeout_ms else timeout_ms


# -- what an answer says --------------------


@lru_cache(maxsize=1024)
def _who(head: bytes) -> bytes:
    """The HTTP head of a destination as header fields, without its last, the request id's."""
    pairs = [line.split(b": ", 1) for line in head.split(b"\r\n")]
    return b"".join(literal(name, value) for name, value in pairs[:-1])


def response_fields(destination: Destination | None, request_id: str) -> bytes:
    """An answer's initial metadata."""
    who = _who(destination.head) if destination is not None else b""
    return b"".join((_STATUS_200, _CONTENT_TYPE, who, literal(b"x-request-id", request_id.encode("latin-1"))))


def error_fields(error: TidegateError) -> bytes:
    """The status of a failure, as trailers."""
    message = quote(error.message[:MESSAGE_BYTES_MAX], safe=_PRINTABLE).encode()[: 2 * MESSAGE_BYTES_MAX]
    fields = literal(b"grpc-status", b"%d" % error.grpc_status) + literal(b"grpc-message", message)
    fields += literal(b"x-tidegate-code", error.code.encode())
    if error.retry_after_s is not None:
        fields += literal(b"grpc-retry-pushback-ms", b"%d" % max(1, round(error.retry_after_s * 1000)))
    return fields


def framed(message: bytes) -> bytes:
    """A message as it stands in a stream: not compressed."""
    return b"".join((b"\x00", len(message).to_bytes(4, "big"), message))
