"""One server's API as typed calls over a transport: bodies out, shapes and typed errors back. Knows no routes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec
import orjson

from tidegate.client.transport.base import ApiAnswer, ApiCall, Transport
from tidegate.errors import NotRunning, TidegateError
from tidegate.errors.codes import by_code
from tidegate.wire.decoding import decode_json

T = TypeVar("T")


class Api:
    """What the sub-clients call. Every method raises the error that the server's body names."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    def get(self, path: str, shape: type[T], params: Mapping[str, Any] | None = None) -> T:
        """GET, decoded into `shape`; parameters that are None are left out."""
        query = {name: str(value) for name, value in (params or {}).items() if value is not None}
        return self._decoded(ApiCall("GET", path, query), shape)

    def text(self, path: str, params: Mapping[str, Any] | None = None) -> str:
        """GET, as the text that it is."""
        query = {name: str(value) for name, value in (params or {}).items() if value is not None}
        return self._answer(ApiCall("GET", path, query)).data.decode()

    def send(self, method: str, path: str, body: Any, shape: type[T], headers: Mapping[str, str] | None = None) -> T:
        """POST, PUT or DELETE with a JSON body, decoded into `shape`; sent once."""
        sent = orjson.dumps(msgspec.to_builtins(body))
        return decode(self.raw(method, path, sent, headers).data, shape, self.transport.who)

    def raw(
        self,
        method: str,
        path: str,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> ApiAnswer:
        """Send JSON bytes once and return the answer, headers and all."""
        sent = {"Content-Type": "application/json", **(headers or {})}
        return self._answer(ApiCall(method, path, {}, sent, body, timeout_s))

    def stream(self, path: str, chunks: Iterable[bytes], size_bytes: int | None, shape: type[T], timeout_s: float) -> T:
        """POST `size_bytes` of raw bytes (None: nobody knows) as they come, so that a file is never whole in memory."""
        headers = {"Content-Type": "application/octet-stream"}
        if size_bytes is not None:
            headers["Content-Length"] = str(size_bytes)
        return self._decoded(ApiCall("POST", path, {}, headers, chunks, timeout_s), shape)

    def close(self) -> None:
        """Close its transport."""
        self.transport.close()

    def _decoded(self, call: ApiCall, shape: type[T]) -> T:
        return decode(self._answer(call).data, shape, self.transport.who)

    def _answer(self, call: ApiCall) -> ApiAnswer:
        answer = self.transport.send(call)
        if answer.status >= 300:
            raise error_of(answer, self.transport.where + call.path)
        return answer


def decode(data: bytes, shape: type[T], who: str) -> T:
    """JSON bytes as `shape`; raises `TidegateError` when the server speaks another release's shapes."""
    try:
        return decode_json(data, shape)
    except msgspec.DecodeError as error:
        raise TidegateError(
            f"the {who}'s answer is not what this client expects ({error}): are client and server of one release?"
        ) from None


def error_of(answer: ApiAnswer, url: str) -> TidegateError:
    """The error a server's body names, with its message and details."""
    retry_after_s = None
    with contextlib.suppress(KeyError, ValueError):
        retry_after_s = float(answer.headers["Retry-After"])
    try:
        body = orjson.loads(answer.data)
        message, code, details = str(body["error"]), str(body.get("code", "")), body.get("details") or {}
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        text = " ".join(answer.data[:200].decode("utf-8", "replace").split())
        # A proxy's word that what is behind it cannot be reached.
        kind = NotRunning if answer.status in (502, 503, 504) else TidegateError
        return kind(f"{url} answered {answer.status}: {text or 'nothing'}", retry_after_s=retry_after_s)
    kept = {key: value for key, value in details.items() if key not in ("message", "retry_after_s")}
    return by_code(code)(message, retry_after_s=retry_after_s, **kept)
