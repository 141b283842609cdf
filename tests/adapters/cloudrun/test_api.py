"""Calls of Google's APIs, against servers that are none of Google's."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tidegate.adapters.cloudrun import api
from tidegate.adapters.cloudrun.api import CloudRunApi
from tidegate.adapters.cloudrun.credentials import GoogleCredentials
from tidegate.adapters.cloudrun.place import CloudRunPlace
from tidegate.errors import EngineUnavailable

CHUNK = b" " * (1 << 20)
CHUNKS = 64


class Token(GoogleCredentials):
    def access_token(self) -> str:
        return "a-token"


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def api_at(url: str) -> CloudRunApi:
    place = CloudRunPlace("demo", "europe-west1", "replicas@demo.iam.gserviceaccount.com", 8, {"run": url})
    return CloudRunApi(place, Token())


@pytest.mark.parametrize("status", [200, 500])
def test_no_more_is_read_of_an_answer_than_is_allowed(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    monkeypatch.setattr(api, "ANSWER_BYTES_MAX", 2 << 20)
    cut = threading.Event()

    class Endless(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("content-length", str(CHUNKS * len(CHUNK)))
            self.end_headers()
            try:
                for _ in range(CHUNKS):
                    self.wfile.write(CHUNK)
            except ConnectionError:
                cut.set()

        def log_message(self, *args: object) -> None: ...

    with serving(Endless) as url:
        google = api_at(url)
        with pytest.raises(EngineUnavailable, match=f"{url}.* sent more than 2 MiB at once"):
            google.services()
        assert google.fault is not None, "it is asked again later"
        assert cut.wait(10), "the rest was read"


def test_connections_are_used_again_once_an_answer_was_read() -> None:
    connections = set[tuple[str, int]]()

    class Keeping(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            connections.add(self.client_address)
            self.send_response(200)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *args: object) -> None: ...

    with serving(Keeping) as url:
        google = api_at(url)
        assert [google.services() for _ in range(3)] == [[], [], []]
        assert len(connections) == 1
