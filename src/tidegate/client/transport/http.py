"""The transport over HTTP: a pool of connections to one server, bounded in time, safe calls tried again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError, LocationValueError, MaxRetryError, ReadTimeoutError

from tidegate.client.transport.base import ApiAnswer, ApiCall
from tidegate.errors import DeadlineExceeded, InvalidArgument, NotRunning, TidegateError

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
    """A server at a URL. `headers` go with every call beside the token."""

    def __init__(
        self, base_url: str, token: str | None, timeout_s: float, who: str, headers: Mapping[str, str] | None = None
    ) -> None:
        self.where, self.who, self.timeout_s = base_url.rstrip("/"), who, timeout_s
        self._headers = {"Accept": "application/json", **(headers or {})}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._pool = urllib3.PoolManager(maxsize=CONNECTIONS_MAX, timeout=self._timeout(timeout_s))

    def close(self) -> None:
        """Close every connection; the next call opens new ones."""
        self._pool.clear()

    def send(self, call: ApiCall) -> ApiAnswer:
        """GET is tried again when the connection fails, anything else is sent once."""
        options: dict[str, Any] = {"retries": _SAFE if call.method == "GET" else _ONCE}
        if call.body is not None:
            options["body"] = call.body
            if not isinstance(call.body, bytes):
                options["retries"] = False  # the chunks can be read once
        if call.query:
            options["fields"] = dict(call.query)
        if call.timeout_s is not None:
            options["timeout"] = self._timeout(call.timeout_s)
        headers = {**self._headers, **call.headers}
        try:
            answer = self._pool.request(call.method, self.where + call.path, headers=headers, **options)
        except HTTPError as error:
            raise self._unreachable(error, call.timeout_s or self.timeout_s) from None
        return ApiAnswer(answer.status, answer.headers, answer.data)

    def _timeout(self, read_s: float) -> urllib3.Timeout:
        return urllib3.Timeout(connect=min(CONNECT_TIMEOUT_S, self.timeout_s), read=read_s)

    def _unreachable(self, error: HTTPError, timeout_s: float) -> TidegateError:
        cause = error.reason if isinstance(error, MaxRetryError) and error.reason is not None else error
        if isinstance(cause, LocationValueError):
            return InvalidArgument(f"{self.where!r} is not a URL this client can call: {cause}", field="url")
        if isinstance(cause, ReadTimeoutError):
            return DeadlineExceeded(f"the {self.who} at {self.where} did not answer within {timeout_s:g} s")
        if isinstance(cause, urllib3.exceptions.TimeoutError | urllib3.exceptions.NewConnectionError):
            return NotRunning(
                f"the {self.who} does not answer at {self.where}: start the platform with 'tidegate up', "
                "or point at another with --data-dir, --url or TIDEGATE_URL"
            )
        return NotRunning(f"the connection to the {self.who} at {self.where} broke: {cause}")
