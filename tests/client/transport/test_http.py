"""How failures of a server reach the caller of the SDK."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tidegate import errors
from tidegate.client.rest.api import Api
from tidegate.client.transport.http import Http
from tidegate.wire.rest import Model, Upload


@pytest.fixture
def http(standin: Any) -> Iterator[Api]:
    made = Api(Http(standin.url, "the-token", 5.0, "control plane"))
    yield made
    made.close()


def test_an_error_body_is_the_error_again(standin: Any, http: Api) -> None:
    body = errors.UnknownVersion("model 'churn' has no version 9", versions=["1", "2"]).body()
    standin.says("GET /models", body, status=404)
    with pytest.raises(errors.UnknownVersion, match="no version 9") as caught:
        http.get("/models", Model)
    assert caught.value.details == {"versions": ["1", "2"]}
    assert standin.asked[0].headers["authorization"] == "Bearer the-token"


@pytest.mark.parametrize("code", ["wrong", 7, None])
def test_a_code_of_another_release_is_still_an_error(standin: Any, http: Api, code: Any) -> None:
    standin.says("GET /models", {"error": "strange", "code": code}, status=409)
    with pytest.raises(errors.TidegateError, match="strange"):
        http.get("/models", Model)


def test_what_is_no_error_body_is_quoted(standin: Any, http: Api) -> None:
    standin.says("GET /models", b"<h1>Bad  gateway</h1>", status=500)
    with pytest.raises(errors.TidegateError, match="answered 500: <h1>Bad gateway</h1>"):
        http.get("/models", Model)


@pytest.mark.parametrize("status", [503, 504])
def test_what_a_proxy_says_of_a_platform_that_is_away_is_no_answer_of_the_platform(
    standin: Any, http: Api, status: int
) -> None:
    standin.says("GET /models", b"<h1>upstream</h1>", status=status)
    with pytest.raises(errors.NotRunning, match=f"answered {status}: <h1>upstream</h1>"):
        http.get("/models", Model)


def test_details_cannot_shadow_the_message(standin: Any, http: Api) -> None:
    standin.says("GET /m", {"error": "real", "code": "in_use", "details": {"message": "no", "a": 1}}, status=409)
    with pytest.raises(errors.InUse, match="real") as caught:
        http.get("/m", Model)
    assert caught.value.details == {"a": 1}


def test_retry_after_is_kept(standin: Any, http: Api) -> None:
    standin.says("POST /predict", {"error": "full", "code": "overloaded"}, status=429, Retry_After="3")
    with pytest.raises(errors.Overloaded) as caught:
        http.send("POST", "/predict", {}, dict[str, Any])
    assert caught.value.retry_after_s == 3


def test_a_shape_of_another_release_is_named(standin: Any, http: Api) -> None:
    standin.says("GET /models", {"name": 3})
    with pytest.raises(errors.TidegateError, match="of one release"):
        http.get("/models", Model)


def test_nothing_listens(free_port: int) -> None:
    http = Api(Http(f"http://127.0.0.1:{free_port}", None, 5.0, "gateway"))
    with pytest.raises(errors.NotRunning, match=r"the gateway does not answer at .*tidegate up"):
        http.get("/x", Model)


def test_a_server_that_keeps_silent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        http = Api(Http(f"http://127.0.0.1:{silent.getsockname()[1]}", None, 0.1, "gateway"))
        with pytest.raises(errors.DeadlineExceeded, match=r"within 0\.1 s"):
            http.send("POST", "/x", {}, Model)
        http.close()


def test_a_change_is_sent_once_and_a_look_again(standin: Any, http: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def drop(route: str) -> Any:
        raise ConnectionAbortedError

    monkeypatch.setattr(standin.server, "handle_error", lambda *_: None)
    monkeypatch.setattr(standin, "next_answer", drop)
    calls: list[Callable[[], Any]] = [
        lambda: http.send("POST", "/change", {}, Model),
        lambda: http.get("/look", Model),
    ]
    for call in calls:
        with pytest.raises(errors.NotRunning, match="broke"):
            call()
    asked = [request.path for request in standin.asked]
    assert asked.count("/change") == 1
    assert asked.count("/look") > 1


def test_an_upload_is_streamed_with_its_length(standin: Any, http: Api) -> None:
    standin.says("POST /up", {"id": "u1", "size_bytes": 6, "sha256": "s", "expires_at": 1.0}, status=201)
    upload = http.stream("/up", iter([b"abc", b"def"]), 6, Upload, 5.0)
    assert upload.id == "u1"
    (asked,) = standin.asked
    assert (asked.body, asked.headers["content-length"]) == (b"abcdef", "6")
