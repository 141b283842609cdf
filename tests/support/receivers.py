"""Servers that are told of alerts: one over HTTP that answers as a test wants, and one for mail."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson


@dataclass
class Received:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Its body, read."""
        return orjson.loads(self.body)


@dataclass
class Receiver:
    """A server's address, what it answers, and what it got."""

    url: str = ""
    status: int = 200
    said: bytes = b"ok"
    answer_headers: dict[str, str] = field(default_factory=dict)
    got: list[Received] = field(default_factory=list)


@contextmanager
def http_receiver() -> Iterator[Receiver]:
    """A server on loopback that notes every POST."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.got.append(Received(self.path, headers, body))
            self.send_response(receiver.status)
            for name, value in receiver.answer_headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(receiver.said)))
            self.end_headers()
            self.wfile.write(receiver.said)

        def log_message(self, *_args: object) -> None:
            """Tests say what went wrong."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def hanging_server(dripped: bytes = b"") -> Iterator[str]:
    """Its address: it takes connections and answers nothing, or these bytes one by one for ever."""
    ended = threading.Event()

    def drip(connection: socket.socket) -> None:
        with connection:
            while not ended.wait(0.02):
                try:
                    if dripped:
                        connection.sendall(dripped)
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads: list[threading.Thread] = []

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threads.append(threading.Thread(target=drip, args=(connection,), daemon=True))
                threads[-1].start()

        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            ended.set()
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for one in threads:
                one.join()


@dataclass
class Mailbox:
    """A mail server's address, and what it took: sender, recipients, text."""

    address: str = ""
    refuse_with: str = ""
    unknown: tuple[str, ...] = ()
    got: list[tuple[str, list[str], str]] = field(default_factory=list)


class _MailSession:
    """One client of the mail server."""

    def __init__(self, box: Mailbox, connection: socket.socket) -> None:
        self._box, self._connection = box, connection
        self._sender, self._recipients = "", list[str]()

    def run(self) -> None:
        with self._connection, self._connection.makefile("rwb") as lines:
            self._say(lines, "220 here")
            while line := lines.readline():
                verb = line[:4].upper()
                self._say(lines, self._answer(verb, line.decode(), lines))
                if verb == b"QUIT":
                    return

    def _answer(self, verb: bytes, line: str, lines: Any) -> str:
        named = line.partition("<")[2].partition(">")[0]
        if verb == b"MAIL":
            self._sender = named
        elif verb == b"RCPT":
            self._recipients.append(named)
            if named in self._box.unknown:
                return "550 nobody of that name"
            return self._box.refuse_with or "250 good"
        elif verb == b"DATA":
            self._say(lines, "354 go on")
            text = b"".join(iter(lines.readline, b".\r\n")).decode()
            self._box.got.append((self._sender, self._recipients, text))
        return "250 good"

    @staticmethod
    def _say(lines: Any, text: str) -> None:
        lines.write(text.encode() + b"\r\n")
        lines.flush()


@contextmanager
def mail_receiver() -> Iterator[Mailbox]:
    """A mail server on loopback without TLS; it takes what every client sends and no more."""
    box = Mailbox()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=_MailSession(box, connection).run, daemon=True).start()

        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        box.address = f"127.0.0.1:{listener.getsockname()[1]}"
        try:
            yield box
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
