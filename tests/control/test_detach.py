"""What `up --detach` makes of a control plane whose API answers late, or not at all."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tidegate.control import detach
from tidegate.control.state import ControlState
from tidegate.errors import NotRunning


class Api(HTTPServer):
    """Says one thing after another, the last of them for ever: statuses by endpoint, or None: a 503.

    AWAY: its database does not answer. At most `shown_max` endpoints that are not ready are shown.
    """

    said: list[dict[str, str] | None]
    shown_max = 100

    def answer(self) -> dict[str, str] | None:
        return self.said.pop(0) if len(self.said) > 1 else self.said[0]

    @property
    def state(self) -> ControlState:
        return ControlState(1, f"http://127.0.0.1:{self.server_port}", "", 0.0)


AWAY = {"the database": "away"}


class _Handler(BaseHTTPRequestHandler):
    server: Api

    def do_GET(self) -> None:
        seen = self.server.answer()
        self.send_response(503 if seen is None else 200)
        self.end_headers()
        of_note = [(name, status) for name, status in (seen or {}).items() if status != "ready" and seen is not AWAY]
        listed = [{"name": name, "status": status, "reason": ""} for name, status in of_note[: self.server.shown_max]]
        counts = Counter(seen.values()) if seen and seen is not AWAY else {}
        told = {"endpoints": listed, "endpoints_by_status": counts, "revision": None if seen is AWAY else 7}
        self.wfile.write(json.dumps(told).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def api() -> Iterator[Api]:
    with Api(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join(10)


def test_a_question_without_an_answer_is_asked_again(api: Api) -> None:
    api.said = [None, AWAY, {"churn": "deploying"}, None, {"churn": "ready", "fraud": "deploying"}, {"churn": "ready"}]
    assert detach._wait_for_endpoints(api.state, "token") == []
    assert api.said == [{"churn": "ready"}]


def test_endpoints_that_come_back_one_by_one_are_waited_for(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detach, "ANOTHER_READY_WITHIN_S", 5.0)
    names = [f"e{number}" for number in range(4)]
    api.said = [{name: "ready" if at < count else "deploying" for at, name in enumerate(names)} for count in range(5)]
    assert detach._wait_for_endpoints(api.state, "token") == []


def test_of_many_endpoints_all_are_waited_for_and_so_many_told(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detach, "ANOTHER_READY_WITHIN_S", 5.0)
    api.shown_max = 1
    api.said = [{"a": "failed", "b": "deploying"}, {"a": "failed", "b": "failed"}]
    assert [one["name"] for one in detach._wait_for_endpoints(api.state, "token")] == ["a"]
    assert len(api.said) == 1


def test_those_that_do_not_come_back_are_told(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detach, "ANOTHER_READY_WITHIN_S", 0.3)
    api.said = [{"churn": "ready", "fraud": "deploying"}]
    assert [one["name"] for one in detach._wait_for_endpoints(api.state, "token")] == ["fraud"]


def test_an_api_that_never_answers_is_no_platform_without_endpoints(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detach, "ANOTHER_READY_WITHIN_S", 0.3)
    api.said = [None]
    with pytest.raises(NotRunning, match="did not list the endpoints"):
        detach._wait_for_endpoints(api.state, "token")
