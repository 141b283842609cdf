"""What is asked for is no Prometheus, or says no: one clear error, without the password."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tidegate.adapters.prometheus.server import Prometheus
from tidegate.errors import MetricsUnavailable


class Answers(BaseHTTPRequestHandler):
    """By path: the first part says which."""

    asked: list[str | None] = []

    def do_GET(self) -> None:
        self.asked.append(self.headers.get("Authorization"))
        status, body = {
            "page": (200, b"<html>Welcome</html>"),
            "wrong": (400, b'{"status":"error","error":"parse error: unexpected }"}'),
            "login": (302, b""),
            "number": (200, b'{"status":"success","data":{"result":[{"metric":{},"value":[1,"42"]}]}}'),
            "none": (200, b'{"status":"success","data":{"result":[]}}'),
            "curve": (
                200,
                b'{"status":"success","data":{"result":[{"metric":{"a":"b"},"values":[[10,"1"],[30,"NaN"],[40,"4"]]}]}}',
            ),
        }[self.path.split("/")[1]]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if status == 302:
            self.send_header("Location", "http://127.0.0.1:9/")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class' name)
        """Nothing on standard error."""


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join(10)
    server.server_close()


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("page", "answers 200 (<html>Welcome</html>): is PROMETHEUS_URL right?"),
        ("wrong", "answers 400 (parse error: unexpected })"),
        ("login", "does not answer"),
    ],
)
def test_what_is_no_prometheus_is_told(host: str, path: str, told: str) -> None:
    with pytest.raises(MetricsUnavailable) as caught:
        Prometheus(f"http://{host}/{path}").number("up", 1.0)
    assert told in caught.value.message
    assert f"http://{host}/{path}" in caught.value.message


def test_a_server_that_is_not_there_is_told_without_its_password(free_port: int) -> None:
    with pytest.raises(MetricsUnavailable, match=f"http://127.0.0.1:{free_port} does not answer") as caught:
        Prometheus(f"http://me:hush@127.0.0.1:{free_port}/").number("up", 1.0)
    assert "hush" not in caught.value.message


def test_numbers_and_curves_are_read_and_gaps_are_none(host: str) -> None:
    assert Prometheus(f"http://me:hu%40sh@{host}/number/").number("up", 1.0) == 42.0
    assert Answers.asked[-1] == "Basic " + base64.b64encode(b"me:hu@sh").decode()
    assert Prometheus(f"http://{host}/none").number("up", 1.0) is None
    (curve,) = Prometheus(f"http://{host}/curve").curves("up", [10.0, 20.0, 30.0, 40.0])
    assert (curve.labels, curve.values) == ({"a": "b"}, [1.0, None, None, 4.0])
