"""How servers are asked: bounded in time, with one message for each way in which it can go wrong.

Messages name the setting and the host, never the URL: it may hold a password.
"""

from __future__ import annotations

import errno
import http.client
import queue
import re
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

import orjson
import urllib3
from urllib3.exceptions import HTTPError

from tidegate.errors import PartUnavailable

RESOLVE_TIMEOUT_S = 3.0
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 2.0, 4.0
CAUSES_MAX = 8
BODY_BYTES_MAX = 4 << 20

_ELSE = "{what} at {where} cannot be reached ({why}): see {setting}"
_TOLD: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    ((socket.gaierror,), "{what}: there is no host {host!r} ({why}): correct {setting}"),
    (
        (ConnectionRefusedError, FileNotFoundError),
        "{what} at {where} refuses connections: start it, or correct {setting}",
    ),
    (
        (ssl.SSLCertVerificationError,),
        "{what} at {where} has a certificate that is not trusted here ({why}): see {setting}",
    ),
    ((ssl.SSLError,), "{what} at {where} does not speak TLS ({why}): correct the scheme or the port in {setting}"),
    (
        (TimeoutError,),
        "{what} at {where} does not answer in time: is it overloaded, or a firewall between? Else correct {setting}",
    ),
    (
        (http.client.BadStatusLine, http.client.IncompleteRead, ConnectionResetError),
        "{what} at {where} answers, but is no {what}: correct the port in {setting}",
    ),
    ((OSError,), _ELSE),
)
"""What each failure means, the most particular first."""
_TAG = re.compile(r"<[^>]*>")
_SAYS_NOTHING = (None, errno.EINVAL)
"""With these a library says that it could not read the answer: no failure of the network."""


@dataclass(frozen=True)
class Server:
    """One server of the settings: what it is (`Redis`), which setting names it, and where it is."""

    what: str
    setting: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """Host and port of the URL, without user and password."""
        parts = urlsplit(self.url)
        if parts.scheme == "unix":
            return parts.path
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.hostname}{port}"

    def resolve(self) -> None:
        """Raises `PartUnavailable` where its host has no address, or the name server is silent: that may take long."""
        host = urlsplit(self.url).hostname
        if host is None or "," in host:  # several of PostgreSQL: its own library tries them in turn
            return
        done: queue.SimpleQueue[OSError | None] = queue.SimpleQueue()
        threading.Thread(target=lambda: done.put(_lookup(host)), daemon=True).start()
        try:
            error = done.get(timeout=RESOLVE_TIMEOUT_S)
        except queue.Empty:
            raise PartUnavailable(
                f"{self.what}: no name server says within {RESOLVE_TIMEOUT_S:g} s where the host {host!r} is: start "
                f"what has this name, or correct {self.setting}"
            ) from None
        if error is not None:
            raise self.trouble(error)

    @contextmanager
    def named_failures(self) -> Iterator[None]:
        """A failure on the way to it as `PartUnavailable`; anything else passes."""
        try:
            yield
        except (OSError, HTTPError, http.client.HTTPException) as error:
            raise self.trouble(error) from error

    def trouble(self, error: BaseException, otherwise: str = "") -> PartUnavailable:
        """The message for what happened on the way to it."""
        said = next((said for cause in _causes(error) if (said := self._explanation(cause))), None)
        return PartUnavailable(said or f"{self.what} at {self.where}: {otherwise or error}; see {self.setting}")

    def _explanation(self, cause: BaseException) -> str | None:
        template = next((text for kinds, text in _TOLD if isinstance(cause, kinds)), None)
        if template is None or (template is _ELSE and getattr(cause, "errno", None) in _SAYS_NOTHING):
            return None
        why = getattr(cause, "verify_message", None) or getattr(cause, "strerror", None) or cause
        host = urlsplit(self.url).hostname
        return template.format(what=self.what, where=self.where, setting=self.setting, host=host, why=why)

    def get(self, path: str, fields: Mapping[str, str] | None = None) -> ServerAnswer:
        """One GET; raises `PartUnavailable` unless something answers that speaks HTTP, and for 401."""
        parts = urlsplit(self.url)
        base = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"
        headers = {"accept": "application/json", **_basic(self.url), **self.headers}
        self.resolve()
        timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S)
        with self.named_failures(), urllib3.PoolManager(timeout=timeout, retries=False) as pool:
            given = dict(fields) if fields else None
            answer = pool.request("GET", base + path, fields=given, headers=headers, preload_content=False)
            body = answer.read(BODY_BYTES_MAX)
        if answer.status == 401:
            raise PartUnavailable(f"{self.what} at {self.where} refuses user or password (401): {self._credentials()}")
        return ServerAnswer(answer.status, body)

    def _credentials(self) -> str:
        if self.setting == "MLFLOW_TRACKING_URI":
            return "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        return f"correct them in {self.setting} (scheme://user:password@host)"

    def other(self, answer: ServerAnswer, asked: str) -> PartUnavailable:
        """For an answer that this kind of server does not give."""
        return PartUnavailable(
            f"what answers at {self.where} is no {self.what} ({answer.status} for {asked}: {answer.text}): correct "
            f"{self.setting}"
        )


@dataclass(frozen=True)
class ServerAnswer:
    """Status and body of a server's HTTP response."""

    status: int
    body: bytes

    @property
    def text(self) -> str:
        """The beginning of it, in one line and without a page's tags."""
        return " ".join(_TAG.sub(" ", self.body[:400].decode("utf-8", "replace")).split())[:160] or "nothing"

    def json(self) -> dict[str, object]:
        """Decoded; empty when it is no JSON object."""
        try:
            found = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return {}
        return found if isinstance(found, dict) else {}


def _lookup(host: str) -> OSError | None:
    try:
        socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        return error
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what led to it, outermost first."""
    cause: BaseException | None = error
    for _ in range(CAUSES_MAX):
        if cause is None:
            return
        yield cause
        inner = next((arg for arg in cause.args if isinstance(arg, BaseException)), None)
        cause = inner or cause.__cause__ or cause.__context__


def _basic(url: str) -> dict[str, str]:
    parts = urlsplit(url)
    if parts.username is None:
        return {}
    return urllib3.make_headers(basic_auth=f"{unquote(parts.username)}:{unquote(parts.password or '')}")
