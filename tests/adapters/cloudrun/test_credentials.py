"""Credentials of Google Cloud: google-auth itself, with a key file that names a server of tokens of ours."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl

import pytest

from support.cloudrun.tokens import TokenIssuer
from tidegate import clock
from tidegate.adapters.cloudrun.credentials import GoogleCredentials
from tidegate.errors import EngineUnavailable, MissingExtra
from tidegate.wire.gateways.identity import expiry_of


@pytest.fixture
def issuer() -> TokenIssuer:
    return TokenIssuer()


@pytest.fixture
def url(issuer: TokenIssuer) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            form = dict(parse_qsl(self.rfile.read(int(self.headers["content-length"])).decode()))
            status, body = issuer.answer(form)
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def key_file(issuer: TokenIssuer, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = issuer.key_file(tmp_path, url)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(made))
    return made


def test_access_tokens_are_kept_until_shortly_before_they_run_out(issuer: TokenIssuer, key_file: Path) -> None:
    present = [clock.now()]
    credentials = GoogleCredentials(lambda: present[0])
    token = credentials.access_token()
    assert issuer.knows(token)
    assert credentials.access_token() == token
    assert issuer.issued == 1
    present[0] += 3500
    assert credentials.access_token() != token
    credentials.forget()
    assert issuer.knows(credentials.access_token())
    assert issuer.issued == 3


def test_id_tokens_are_for_one_audience_and_say_when_they_run_out(issuer: TokenIssuer, key_file: Path) -> None:
    made = GoogleCredentials().id_token("https://pool.example")
    assert issuer.why_refused(made.token, "https://pool.example") is None
    assert issuer.why_refused(made.token, "https://other.example") == "it is for https://pool.example"
    assert abs(made.expires_at - expiry_of(made.token)) < 2
    assert 3500 < made.expires_at - clock.now() <= 3600


def test_what_is_wrong_with_credentials_is_said_with_what_to_do(
    issuer: TokenIssuer, key_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    issuer.refusing = True
    with pytest.raises(EngineUnavailable, match=r"no longer, or for something else .*Invalid JWT.*gcloud auth"):
        GoogleCredentials().access_token()
    key_file.write_text("{}")
    with pytest.raises(EngineUnavailable, match=r"(?s)no credentials of Google Cloud.*GOOGLE_APPLICATION_CREDENTIALS"):
        GoogleCredentials().access_token()
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    with pytest.raises(EngineUnavailable, match=r"missing.json was not found.*gcloud auth"):
        GoogleCredentials().access_token()
    with pytest.raises(EngineUnavailable, match=r"ID tokens are made for service accounts alone"):
        GoogleCredentials().id_token("https://pool.example")


def test_a_server_of_tokens_that_is_away_is_said(
    issuer: TokenIssuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(issuer.key_file(tmp_path, "http://127.0.0.1:1")))
    with pytest.raises(EngineUnavailable, match=r"server of tokens does not answer"):
        GoogleCredentials().access_token()


def test_without_the_library_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.auth.transport.urllib3", None)
    with pytest.raises(MissingExtra, match=r"pip install 'tidegate\[cloudrun\]'"):
        GoogleCredentials().access_token()
