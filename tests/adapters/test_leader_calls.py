"""What a standby asks the leader and waits for."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from support.wait import free_ports
from tidegate.adapters.leader_calls import LeaderCalls
from tidegate.errors import NotLeader
from tidegate.wire.endpoints.scaling import Scale, ScaleDecision
from tidegate.wire.gateways.gateway_reports import WantedReport
from tidegate.wire.gateways.load import LoadSeries, VersionSeries


class Leader:
    """Answers with `status` and `body`, and keeps what it was asked."""

    def __init__(self) -> None:
        self.status, self.body = 204, b""
        self.asked: list[tuple[str, str, str | None, bytes]] = []
        leader = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                leader.asked.append((self.command, self.path, self.headers["authorization"], body))
                self.send_response(leader.status)
                self.send_header("content-length", str(len(leader.body)))
                self.end_headers()
                self.wfile.write(leader.body)

            def do_GET(self) -> None:
                self.do_POST()

            def log_message(self, *_args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def leader() -> Iterator[Leader]:
    made = Leader()
    yield made
    made.stop()


@pytest.fixture
def calls() -> Iterator[LeaderCalls]:
    made = LeaderCalls("node key")
    yield made
    made.close()


def test_that_an_endpoint_is_wanted_is_told_with_the_key_of_gateways(leader: Leader, calls: LeaderCalls) -> None:
    calls.report_wanted(leader.url, WantedReport("g-0", "churn", "b"))
    ((method, path, key, body),) = leader.asked
    assert (method, path, key) == ("POST", "/internal/v1/wanted", "Bearer node key")
    assert json.loads(body) == {"gateway": "g-0", "endpoint": "churn", "host": "b"}


def test_how_an_endpoint_scales_is_told_as_the_leader_decided(leader: Leader, calls: LeaderCalls) -> None:
    decided = {"version": "1", "desired": 3, "ready": 1, "rule": "rate", "reason": "as fast as it may"}
    leader.status = 200
    leader.body = json.dumps({"endpoint": "churn", "replicas": 1, "scaling": None, "versions": [decided]}).encode()
    assert calls.scale(leader.url, "churn") == Scale("churn", 1, None, [ScaleDecision(**decided)])  # type: ignore[arg-type]
    assert leader.asked[0][:2] == ("GET", "/internal/v1/scale/churn")


def test_how_busy_an_endpoint_is_is_told_as_gateways_told_the_leader(leader: Leader, calls: LeaderCalls) -> None:
    leader.status = 200
    series = {"requests_per_s": [1.0, None], "errors_per_s": [], "concurrency": [], "p95_s": []}
    leader.body = json.dumps({"step_s": 5, "times": [5, 10], "versions": {"1": series}, "gateways_silent": 1}).encode()
    found = calls.load(leader.url, "churn", 5.0)
    assert found == LoadSeries(5.0, [5.0, 10.0], {"1": VersionSeries([1.0, None])}, 1)
    assert leader.asked[0][:2] == ("GET", "/internal/v1/load/churn?step_s=5")
    leader.body = b"{}"
    with pytest.raises(NotLeader, match="another release"):
        calls.load(leader.url, "churn", 5.0)


@pytest.mark.parametrize(
    ("status", "body", "why"), [(503, b"stands by", "503: stands by"), (200, b"{}", "another release")]
)
def test_a_leader_that_cannot_tell_is_an_error_that_says_so(
    leader: Leader, calls: LeaderCalls, status: int, body: bytes, why: str
) -> None:
    leader.status, leader.body = status, body
    with pytest.raises(NotLeader, match=why):
        calls.scale(leader.url, "churn")


def test_a_leader_that_is_gone_is_an_error_that_says_so(calls: LeaderCalls) -> None:
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    with pytest.raises(NotLeader, match=f"{url}, which leads, was asked: it does not answer"):
        calls.report_wanted(url, WantedReport("g-0", "churn", "b"))
