"""One server's HTTP, as the client speaks it: pooled, bounded in time, error bodies turned back into `errors`.

Called by `Client` only; knows no routes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec
import orjson
import urllib3
from urllib3.exceptions import HTTPError, LocationValueError, MaxRetryError, ReadTimeoutError

from tidegate.error_codes import by_code
from tidegate.errors import DeadlineExceeded, InvalidArgument, NotRunning, TidegateError
from tidegate.wire.decoding import decode_json

T = TypeVar("T")

CONNECT_TIMEOUT_S = 5.0
IDEMPOTENT_TRIES_MAX = 3
CONNECTIONS_MAX = 16

_SAFE = urllib3.Retry(
    total=IDEMPOTENT_TRIES_MAX,
    redirect=0,
    status_forcelist=(502,),
    allowed_methods={"GET"},
    backoff_factor=0.1,
    raise_on_status=False,
    respect_retry_after_header=False,
)
# Only what never reached the server is tried again: a change must not be made twice.
_ONCE = urllib3.Retry(total=2, connect=2, read=0, redirect=0, status=0, other=0, backoff_factor=0.1)


class Http:
    """A pool of connections to one server. `who` names it in messages ("control plane", "gateway")."""

    def __init__(self, base_url: str, token: str | None, timeout_s: float, who: str) -> None:
        self.base_url, self.who, self.timeout_s = base_url.rstrip("/"), who, timeout_s
        self._headers = {"Accept": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        timeout = urllib3.Timeout(connect=min(CONNECT_TIMEOUT_S, timeout_s), read=timeout_s)
        self._pool = urllib3.PoolManager(maxsize=CONNECTIONS_MAX, timeout=timeout)

    def close(self) -> None:
        """Close every connection; the next call opens new ones."""
        self._pool.clear()

    def get(self, path: str, shape: type[T], params: Mapping[str, Any] | None = None) -> T:
        """GET, decoded into `shape`; tried again when the connection fails."""
        given = {name: str(value) for name, value in (params or {}).items() if value is not None}
        return decode(self._send("GET", path, fields=given or None).data, shape, self.who)

    def send(self, method: str, path: str, body: Any, shape: type[T], headers: Mapping[str, str] | None = None) -> T:
        """POST, PUT or DELETE with a JSON body, decoded into `shape`; sent once."""
        sent = orjson.dumps(msgspec.to_builtins(body))
        return decode(self.raw(method, path, sent, headers).data, shape, self.who)

    def raw(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> urllib3.BaseHTTPResponse:
        """Send JSON bytes once and return the answer, headers and all."""
        return self._send(method, path, body=body, headers={"Content-Type": "application/json", **(headers or {})})

    def stream(self, path: str, chunks: Iterable[bytes], size_bytes: int, shape: type[T]) -> T:
        """POST `size_bytes` of raw bytes as they come, so that a file is never whole in memory."""
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size_bytes)}
        return decode(self._send("POST", path, body=chunks, headers=headers, retries=False).data, shape, self.who)

    def _send(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **options: Any
    ) -> urllib3.BaseHTTPResponse:
        options.setdefault("retries", _SAFE if method == "GET" else _ONCE)
        url = self.base_url + path
        try:
            answer = self._pool.request(method, url, headers={**self._headers, **(headers or {})}, **options)
        except HTTPError as error:
            raise self._unreachable(error) from None
        if answer.status >= 300:
            raise error_of(answer, url)
        return answer

    def _unreachable(self, error: HTTPError) -> TidegateError:
        cause = error.reason if isinstance(error, MaxRetryError) and error.reason is not None else error
        if isinstance(cause, LocationValueError):
            return InvalidArgument(f"{self.base_url!r} is not a URL this client can call: {cause}", field="url")
        if isinstance(cause, ReadTimeoutError):
            return DeadlineExceeded(f"the {self.who} at {self.base_url} did not answer within {self.timeout_s:g} s")
        if isinstance(cause, urllib3.exceptions.TimeoutError | urllib3.exceptions.NewConnectionError):
            return NotRunning(
                f"the {self.who} does not answer at {self.base_url}: start the platform with 'tidegate up', "
                "or point at another with --data-dir, --url or TIDEGATE_URL"
            )
        return NotRunning(f"the connection to the {self.who} at {self.base_url} broke: {cause}")


def decode(data: bytes, shape: type[T], who: str) -> T:
    """JSON bytes as `shape`; raises `TidegateError` when the server speaks another release's shapes."""
    try:
        return decode_json(data, shape)
    except msgspec.DecodeError as error:
        raise TidegateError(
            f"the {who}'s answer is not what this client expects ({error}): are client and server of one release?"
        ) from None


def error_of(answer: urllib3.BaseHTTPResponse, url: str) -> TidegateError:
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
