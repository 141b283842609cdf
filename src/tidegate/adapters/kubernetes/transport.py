"""Requests to one cluster's API server, over a pool of connections: credentials, TLS, time limits, retries.

Knows HTTP and nothing of Kubernetes' objects. What gets no answer is an `EngineUnavailable` that says what to do.
"""

from __future__ import annotations

import json
import logging
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from time import sleep
from typing import Any, NoReturn
from urllib.parse import unquote, urlencode, urlsplit

import urllib3
from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError, InsecureRequestWarning, NewConnectionError, ReadTimeoutError
from urllib3.response import BaseHTTPResponse

from tidegate.adapters.kubernetes.credentials import Credential
from tidegate.adapters.kubernetes.kubeconfig import ClusterAccess
from tidegate.adapters.outage import Outage
from tidegate.clock import Clock, monotonic
from tidegate.core.backoff import Backoff
from tidegate.errors import EngineDenied, EngineUnavailable
from tidegate.version import __version__

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 5.0, 15.0
TRIES_MAX = 4
RETRY = Backoff(first_s=0.2, longest_s=5.0)
RETRY_AFTER_S_MAX = 5.0
AWAY = Backoff(first_s=0.5, longest_s=5.0)
"""For so long nothing more is asked of a cluster that did not answer: whoever asks is told the same again."""
CONNECTIONS_MAX = 16
ANSWER_BYTES_MAX = 64 << 20
DROPPED_BYTES_MAX = 1 << 16
BUSY, OVERLOADED = 429, (500, 502, 503, 504)
DEAD_PEER_S = 20
"""A connection whose peer vanished is closed after this long, also while a watch waits for news."""
_ALIVE: list[tuple[int, int, int | bytes]] = [
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in (
            ("TCP_KEEPIDLE", DEAD_PEER_S // 2),
            ("TCP_KEEPINTVL", DEAD_PEER_S // 4),
            ("TCP_KEEPCNT", 2),
            ("TCP_USER_TIMEOUT", DEAD_PEER_S * 1000),
        )
        if hasattr(socket, name)
    ),
]


@dataclass(frozen=True)
class ApiRequest:
    """One request. `body` goes out as JSON of `content_type`; `read_timeout_s` bounds each wait for bytes."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    content_type: str = "application/json"
    read_timeout_s: float = READ_TIMEOUT_S

    @property
    def target(self) -> str:
        return f"{self.path}?{urlencode(self.query)}" if self.query else self.path


@dataclass(frozen=True)
class Answer:
    """Status and body of an answer; the body whole."""

    status: int
    body: bytes


class ApiTransport:
    """Connects when it is first asked. Safe to share between threads."""

    def __init__(
        self, find: Callable[[], ClusterAccess], clock: Clock = monotonic, wait: Callable[[float], None] = sleep
    ) -> None:
        self._find = find
        self._wait = wait
        self._lock = threading.Lock()
        self._access: ClusterAccess | None = None
        self._pool: tuple[Credential, urllib3.PoolManager] | None = None
        self._outage = Outage(clock, AWAY)

    @property
    def access(self) -> ClusterAccess:
        """The cluster, looked up at the first use. Raises `EngineDenied`."""
        with self._lock:
            if self._access is None:
                self._access = self._find()
            return self._access

    def call(self, request: ApiRequest) -> Answer:
        """The answer, whatever its status, 401 aside. Raises `EngineUnavailable`, and `EngineDenied` among it."""
        with self.opened(request) as response:
            try:
                body = response.read(ANSWER_BYTES_MAX + 1)
            except (HTTPError, OSError) as error:
                self._failed(error)
            if len(body) > ANSWER_BYTES_MAX:
                raise EngineUnavailable(f"{self.access.server} sent more than {ANSWER_BYTES_MAX >> 20} MiB at once")
            return Answer(response.status, body)

    @contextmanager
    def opened(self, request: ApiRequest) -> Iterator[BaseHTTPResponse]:
        """The answer with its body still to be read. What is left unread is closed with its connection."""
        self._outage.check()
        response = self._sent(request)
        try:
            yield response
        finally:
            response.close()  # a body that was read to its end has given its connection back before

    def close(self) -> None:
        """Close the connections; the next request makes new ones."""
        with self._lock:
            self._drop_pool()

    def _forget(self) -> None:
        """Somebody may mend the kubeconfig: it is read again, and connections are made by what it says then."""
        with self._lock:
            self._access = None
            self._drop_pool()

    def _drop_pool(self) -> None:
        if self._pool is not None:
            self._pool[1].clear()
            self._pool = None

    def _sent(self, request: ApiRequest) -> BaseHTTPResponse:
        """The first answer that is no reason to ask again, or the last there was."""
        renewed = False
        tries = 0
        while True:
            tries += 1
            shown = self._shown()
            try:
                response = self._send(request, shown)
            except EngineDenied as fault:  # a certificate that is none
                raise self._away(fault) from None
            except (HTTPError, OSError) as error:
                if tries < TRIES_MAX and _may_repeat(request, error):
                    self._wait(RETRY.delay_s(tries, 0.0))
                    continue
                self._failed(error)
            if response.status == 401:
                _drop(response)
                if renewed or self._renewed(shown) is None:
                    raise self._not_let_in()
                renewed = True
                continue
            self._outage.over(f"the Kubernetes cluster at {self.access.server}")
            if tries >= TRIES_MAX or not _again(request, response):
                return response
            _drop(response)
            self._wait(_retry_after_s(response) or RETRY.delay_s(tries, 0.0))

    def _send(self, request: ApiRequest, shown: Credential) -> BaseHTTPResponse:
        headers = {"Accept": "application/json", "User-Agent": f"tidegate/{__version__}"}
        if shown.token is not None:
            headers["Authorization"] = f"Bearer {shown.token}"
        body = None
        if request.body is not None:
            headers["Content-Type"] = request.content_type
            body = json.dumps(request.body, separators=(",", ":")).encode()
        return self._pool_for(shown).urlopen(
            request.method,
            self.access.server + request.target,
            body=body,
            headers=headers,
            timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=request.read_timeout_s),
            preload_content=False,
            retries=False,
            redirect=False,
        )

    def _shown(self) -> Credential:
        try:
            return self.access.credentials.current()
        except EngineDenied as fault:
            raise self._away(fault) from None  # so that no program is run for each request in vain

    def _renewed(self, refused: Credential) -> Credential | None:
        try:
            return self.access.credentials.renew(refused)
        except EngineDenied as fault:
            raise self._away(fault) from None

    def _pool_for(self, shown: Credential) -> urllib3.PoolManager:
        """Connections belong to a certificate: another one makes new connections."""
        access = self.access
        certificate = Credential(None, shown.cert_pem, shown.key_pem)
        with self._lock:
            if self._pool is None or self._pool[0] != certificate:
                if self._pool is not None:
                    self._pool[1].clear()
                self._pool = certificate, _connected(access, certificate)
            return self._pool[1]

    def _failed(self, error: Exception) -> NoReturn:
        raise self._away(unreachable(self.access, error)) from error

    def _away(self, fault: EngineUnavailable) -> EngineUnavailable:
        if isinstance(fault, EngineDenied):
            self._forget()
        return self._outage.failed(fault)

    def _not_let_in(self) -> EngineDenied:
        access = self.access
        fault = EngineDenied(
            f"the Kubernetes cluster at {access.server} does not take the credentials of {access.where}; they may have "
            f"expired: {access.credentials.advice}",
            address=access.server,
        )
        self._away(fault)
        return fault


def _connected(access: ClusterAccess, shown: Credential) -> urllib3.PoolManager:
    options: dict[str, Any] = {
        "num_pools": 2,
        "maxsize": CONNECTIONS_MAX,
        "block": False,
        "socket_options": [*HTTPConnection.default_socket_options, *_ALIVE],
    }
    if urlsplit(access.server).scheme == "https":
        options["ssl_context"] = _tls(access, shown)
        if not access.verify:
            options["assert_hostname"] = False
            log.warning("%s is not checked by its certificate: %s says so", access.server, access.where)
            urllib3.disable_warnings(InsecureRequestWarning)  # told once, above, and not at each request
        elif access.server_name is not None:
            options |= {"server_hostname": access.server_name, "assert_hostname": access.server_name}
    if access.proxy is not None:
        by = urlsplit(access.proxy)
        login = f"{unquote(by.username)}:{unquote(by.password or '')}" if by.username else None
        return urllib3.ProxyManager(access.proxy, proxy_headers=urllib3.make_headers(proxy_basic_auth=login), **options)
    return urllib3.PoolManager(**options)


def _tls(access: ClusterAccess, shown: Credential) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cadata=access.ca_pem and access.ca_pem.decode("ascii"))
    except (ssl.SSLError, UnicodeDecodeError, ValueError):
        raise EngineDenied(f"the certificate authority of {access.where} is no certificate in PEM") from None
    if not access.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if shown.cert_pem is not None and shown.key_pem is not None:
        with tempfile.NamedTemporaryFile(prefix="tidegate-kube-") as pair:  # the library reads files alone; mode 0600
            pair.write(shown.cert_pem + b"\n" + shown.key_pem)
            pair.flush()
            try:
                context.load_cert_chain(pair.name, password=_no_password)
            except (ssl.SSLError, OSError, ValueError):
                raise EngineDenied(
                    f"the client certificate of {access.where} and its key do not belong together, or are no PEM"
                ) from None
    return context


def _no_password() -> str:
    """A key with a password is refused; without this, the library would ask the terminal for it."""
    raise ValueError


def _drop(response: BaseHTTPResponse) -> None:
    """Be done with an answer; its connection is kept where little of it is left to be read."""
    with suppress(HTTPError, OSError):
        response.read(DROPPED_BYTES_MAX)
    response.close()


def _may_repeat(request: ApiRequest, error: Exception) -> bool:
    """What was never sent, and what only reads, can be asked again; not where the server is slow."""
    if isinstance(error, ReadTimeoutError) or _certificate_fault(error) is not None:
        return False
    return request.method == "GET" and not isinstance(error, NewConnectionError)


def _again(request: ApiRequest, response: BaseHTTPResponse) -> bool:
    """429 and 503 with Retry-After were not worked on; of other failures only reading is repeated."""
    if response.status == BUSY or (response.status in OVERLOADED and _retry_after_s(response) is not None):
        return True
    return response.status in OVERLOADED and request.method == "GET"


def _retry_after_s(response: BaseHTTPResponse) -> float | None:
    header = response.headers.get("Retry-After", "")
    return min(float(header), RETRY_AFTER_S_MAX) if header.isdecimal() else None


def unreachable(access: ClusterAccess, error: Exception) -> EngineUnavailable:
    """The error for a cluster that gave no answer, with what to do about it."""
    fault = _certificate_fault(error)
    if fault is not None:
        return EngineDenied(f"{_certificate(access, fault)} (from {access.where})", address=access.server)
    message = str(error)
    why = next((short for words, short in _REASONS if words in message), message[-200:])
    by = urlsplit(access.proxy or "")
    through = f" through the proxy {by.hostname}:{by.port}" if access.proxy else ""
    return EngineUnavailable(
        f"the Kubernetes cluster at {access.server} does not answer ({why}): see that it runs and can be reached from "
        f"here{through} (its address is from {access.where})",
        address=access.server,
    )


_REASONS = (
    ("Connection refused", "connection refused"),
    ("Name or service not known", "no such host"),
    ("Temporary failure in name resolution", "no such host"),
    ("nodename nor servname", "no such host"),
    ("No route to host", "no route to host"),
    ("Network is unreachable", "network is unreachable"),
    ("timed out", "timed out"),
    ("Connection reset", "connection reset"),
    ("closed connection without response", "connection closed"),
    ("IncompleteRead", "connection cut"),
)


def _certificate_fault(error: BaseException | None) -> ssl.SSLError | None:
    """The TLS error at the bottom of the library's errors, if that is what it is."""
    for _ in range(8):
        if error is None:
            return None
        if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
            return error
        inner = [one for one in error.args if isinstance(one, BaseException)]
        error = (
            getattr(error, "reason", None)
            if isinstance(getattr(error, "reason", None), BaseException)
            else (inner[-1] if inner else error.__cause__ or error.__context__)
        )
    return None


def _certificate(access: ClusterAccess, fault: ssl.SSLError) -> str:
    message = getattr(fault, "verify_message", "") or str(fault)
    if "certificate required" in message or "alert" in message.lower():
        return f"the Kubernetes cluster at {access.server} does not take the client certificate ({message}): renew it"
    if "WRONG_VERSION_NUMBER" in message or "HTTP_REQUEST" in message:
        return f"{access.server} does not speak TLS: correct the server's address"
    if "ostname mismatch" in message or "IP address mismatch" in message:
        return f"the certificate of {access.server} is for another name: correct the address, or set tls-server-name"
    if "expired" in message:
        return f"the certificate of {access.server} has expired: renew it on the cluster"
    return (
        f"the certificate of {access.server} is of no authority that is trusted here ({message}): correct "
        "certificate-authority"
    )
