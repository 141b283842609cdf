"""The sockets of the fake API server: TLS, who asks, answers in JSON, watches as streams, and faults of the network."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from support.kubernetes.kinds import Refusal
from support.kubernetes.rest import Call, Created, Rest, Watching, event_of

BOOKMARK_S = 1.0


@dataclass
class Network:
    """Faults, and who is let in. `tokens` are users by bearer token. Tests change it while the server runs.

    `throttled` answers are 429, `failing` ones 500 and then `cut` ones end within; each counts down. `half_lines` ends
    as many watches within an event. `answers` says something else than the real answer, where it says something.
    """

    tokens: dict[str, str] = field(default_factory=dict)
    throttled: int = 0
    retry_after_s: int = 0
    failing: int = 0
    cut: int = 0
    half_lines: int = 0
    bookmarks: bool = True
    silent: bool = False
    answers: Callable[[Call], tuple[int, bytes] | None] | None = None
    asked: list[tuple[str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, name: str) -> bool:
        with self.lock:
            left = getattr(self, name)
            if left > 0:
                setattr(self, name, left - 1)
            return bool(left > 0)


class ApiServer:
    """Listens on 127.0.0.1; `away` and `back` are an API server that is stopped, and started on the same port."""

    def __init__(self, rest: Rest, context: ssl.SSLContext | None) -> None:
        self.rest = rest
        self.network = Network()
        self._context = context
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._http: _Http | None = None
        self.port = self.accepted = 0
        self.back()

    @property
    def url(self) -> str:
        return f"{'http' if self._context is None else 'https'}://127.0.0.1:{self.port}"

    def back(self) -> None:
        self._http = _Http(("127.0.0.1", self.port), self)
        self.port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def away(self) -> None:
        """Nothing listens any more, and what was connected is cut."""
        http, self._http = self._http, None
        if http is not None:
            http.shutdown()
            http.server_close()
        self.cut_connections()

    def cut_connections(self) -> None:
        with self._lock:
            for one in self._connections:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            self._connections.clear()

    def secured(self, one: socket.socket) -> socket.socket:
        """With TLS, as a thread of its own does it: a client that says nothing holds up nobody else."""
        if self._context is not None:
            one.settimeout(5.0)
            one = self._context.wrap_socket(one, server_side=True)
        one.settimeout(None)
        with self._lock:
            self._connections.add(one)
            self.accepted += 1
        return one


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], owner: ApiServer) -> None:
        self.owner = owner
        super().__init__(address, _Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        try:
            secured = self.owner.secured(request)
        except OSError:
            return
        _Handler(secured, client_address, self)

    def shutdown_request(self, request: Any) -> None:
        with contextlib.suppress(OSError):
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections that clients close are nothing to tell."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Http
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            super().finish()
        with contextlib.suppress(OSError):
            self.connection.close()

    def do_GET(self) -> None:
        network = self.server.owner.network
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        network.asked.append((self.command, self.path))
        try:
            found = self._answer(network, body)
        except Refusal as refusal:
            retry = {} if refusal.retry_after_s is None else {"Retry-After": str(refusal.retry_after_s)}
            status = b"" if refusal.code == 204 else json.dumps(refusal.status).encode()
            self._send(refusal.code, status, **retry)
            return
        except Exception:
            said = f"the fake cluster failed: {traceback.format_exc()}"
            self._send(500, json.dumps(Refusal(500, "InternalError", said).status).encode())
            return
        if isinstance(found, Watching):
            self._stream(found, network)
        elif isinstance(found, tuple):
            self._send(*found)
        elif isinstance(found, str):
            self._send(200, found.encode(), content_type="text/plain")
        else:
            self._send(201 if isinstance(found, Created) else 200, json.dumps(found).encode())

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - named by the library

    def _answer(self, network: Network, body: bytes) -> Any:
        if network.take("throttled"):
            said = "Too many requests, please try again later."
            raise Refusal(429, "TooManyRequests", said, retry_after_s=network.retry_after_s)
        if network.take("failing"):
            raise Refusal(500, "InternalError", "etcdserver: request timed out")
        parts = urlsplit(self.path)
        try:
            given = json.loads(body) if body else None
        except ValueError:
            raise Refusal(400, "BadRequest", "the body is no JSON") from None
        kind = self.headers.get("Content-Type", "application/json")
        call = Call(self.command, parts.path, dict(parse_qsl(parts.query)), given, kind, self._user(network))
        if network.answers is not None and (instead := network.answers(call)) is not None:
            return instead
        return self.server.owner.rest.answer(call)

    def _user(self, network: Network) -> str:
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if scheme == "Bearer" and token in network.tokens:
            return network.tokens[token]
        subject = self._subject()
        if subject and not token:
            return subject
        raise Refusal(401, "Unauthorized", "Unauthorized")

    def _subject(self) -> str:
        """The common name of the client's certificate, whose authority TLS has checked."""
        if not isinstance(self.connection, ssl.SSLSocket):
            return ""
        shown: Any = self.connection.getpeercert() or {}
        return str({key: value for part in shown.get("subject", ()) for key, value in part}.get("commonName", ""))

    def _send(self, code: int, body: bytes, content_type: str = "application/json", **headers: str) -> None:
        cut = self.server.owner.network.take("cut")
        self.send_response(code)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self.close_connection = True

    # -- watches ------------------------------------------------------------------------------------------------------

    def _stream(self, watching: Watching, network: Network) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.close_connection = True
        with contextlib.suppress(OSError):
            if self._follow(watching, network):
                self.wfile.write(b"0\r\n\r\n")
                self.close_connection = False

    def _follow(self, watching: Watching, network: Network) -> bool:
        """Send what changes until the time is over; False: cut within a line."""
        store, target = self.server.owner.rest.store, watching.target
        until, seen, marked = time.monotonic() + watching.timeout_s, watching.version, time.monotonic()
        while True:
            store.wait(seen, max(0.0, min(until, marked + BOOKMARK_S) - time.monotonic()))
            with store.changed:
                expired, closed, now = store.oldest > seen, store.closed, store.version
                changes = list(store.after(seen))
            if expired or closed:
                status = Refusal(410, "Expired", f"too old resource version: {seen} ({store.oldest})").status
                return closed or self._line({"type": "ERROR", "object": status}, network)
            for change in changes:
                if (change.plural, change.namespace) != (target.served.plural, target.namespace):
                    continue
                event = event_of(change, watching.selector)
                if event is not None and not self._line(event, network):
                    return False
            seen = now
            over = time.monotonic() >= until
            if (over or time.monotonic() - marked >= BOOKMARK_S) and network.bookmarks:
                marked = time.monotonic()
                meta = {"resourceVersion": str(seen), "creationTimestamp": None}
                mark = {"kind": target.served.kind, "apiVersion": target.served.api_version, "metadata": meta}
                self._line({"type": "BOOKMARK", "object": mark}, network)
            if over:
                return True

    def _line(self, event: dict[str, Any], network: Network) -> bool:
        while network.silent and not self.server.owner.rest.store.closed:
            time.sleep(0.02)  # a connection that is open, and over which nothing comes
        line = json.dumps(event).encode() + b"\n"
        half = event["type"] != "BOOKMARK" and network.take("half_lines")
        sent = line[: len(line) // 2] if half else line
        self.wfile.write(f"{len(sent):x}\r\n".encode() + sent + b"\r\n")
        self.wfile.flush()
        return not half
