"""Calls into an application of the same process: who is said to call, on which threads, and how they end."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import uvicorn
from fastapi import FastAPI, Request
from starlette.responses import JSONResponse

from support.control import container_at
from tidegate import Client, errors
from tidegate.api.app import create_app
from tidegate.api.sessions import COOKIE
from tidegate.client.rest.api import Api
from tidegate.client.transport.base import ApiCall
from tidegate.client.transport.in_process import CALLS_MAX, Caller, CallerTransport, InProcess
from tidegate.wiring import Container

SERVER_THREADS = 40  # anyio's own number


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    made = container_at(tmp_path_factory.mktemp("data"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def api(container: Container) -> Iterator[InProcess]:
    made = InProcess(create_app(container))
    yield made
    made.close()


class Recorder:
    """An application that notes what it is asked and answers with a list of no models."""

    def __init__(self) -> None:
        self.heads: list[dict[str, str]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.heads.append({name.decode(): value.decode() for name, value in scope["headers"]})
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b'{"models": []}'})


@pytest.fixture
def recorder() -> Iterator[tuple[Recorder, InProcess]]:
    app = Recorder()
    api = InProcess(app)
    yield app, api
    api.close()


def test_what_the_caller_has_shown_is_handed_on_and_nothing_else(
    recorder: tuple[Recorder, InProcess], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    app, api = recorder
    (tmp_path / "token").write_text("the platform's own")
    monkeypatch.setenv("TIDEGATE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("TIDEGATE_TOKEN", "the platform's own")
    shown = {"authorization": "Bearer mine", "cookie": "a=b", "x-request-id": "r-7", "x-other": "stays"}
    Client.in_process(api, Caller.of(shown)).models.list()
    Client.in_process(api, Caller()).models.list()
    assert app.heads == [
        {
            "host": "localhost",
            "accept": "application/json",
            "authorization": "Bearer mine",
            "cookie": "a=b",
            "x-request-id": "r-7",
        },
        {"host": "localhost", "accept": "application/json"},
    ]


def test_what_was_shown_is_in_no_log(api: InProcess) -> None:
    assert "secret" not in repr(Caller("Bearer secret", "session=secret", "r-1"))


def test_the_request_id_goes_to_the_gateway_too(standin: Any, api: InProcess) -> None:
    standin.says("POST /predict/churn", {"prediction": [1], "model_version": "2", "id": "r-7"})
    client = Client.in_process(
        api, Caller("Bearer mine", request_id="r-7"), gateway_url=standin.url, api_key="for predictions"
    )
    client.predict("churn", [1.0])
    (asked,) = standin.asked
    assert (asked.headers["x-request-id"], asked.headers["authorization"]) == ("r-7", "Bearer for predictions")


@pytest.mark.parametrize("caller", [Caller(), Caller("Bearer wrong"), Caller(cookie=f"{COOKIE}=1.forged")])
def test_who_shows_nothing_good_may_do_nothing(api: InProcess, caller: Caller) -> None:
    with pytest.raises(errors.Unauthenticated):
        Client.in_process(api, caller).endpoints.list()


def test_a_session_does_what_it_does_in_the_browser(api: InProcess, container: Container) -> None:
    code = Client.in_process(api, Caller(f"Bearer {container.keys.token}")).platform.login_code().code
    answer = api.call(ApiCall("GET", "/login", {"code": code}), {"Host": "localhost"}, 30.0)
    cookie = answer.headers["Set-Cookie"].partition(";")[0]
    client = Client.in_process(api, Caller(cookie=cookie))
    assert client.endpoints.list() == []
    with pytest.raises(errors.UnknownModel):
        client.deploy("nothing", wait=False)


def test_a_key_for_predictions_administers_nothing_here_either(tmp_path: Path) -> None:
    container = container_at(tmp_path / "data", api_key="for predictions")
    api = InProcess(create_app(container))
    try:
        with pytest.raises(errors.Forbidden):
            Client.in_process(api, Caller("Bearer for predictions")).endpoints.list()
    finally:
        api.close()
        container.close()


def test_handlers_that_hold_every_thread_of_the_server_are_answered(container: Container) -> None:
    """As many handlers at once as the server has threads, each of which calls the API of the same server."""
    app = create_app(container)
    api = InProcess(app)
    all_there = threading.Barrier(SERVER_THREADS)

    @app.get("/page")
    def page(request: Request) -> int:
        all_there.wait(30)
        return len(Client.in_process(api, Caller.of(request.headers)).endpoints.list())

    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none"))
    serving = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    serving.start()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}/page"
    headers = {"Authorization": f"Bearer {container.keys.token}"}
    try:
        with ThreadPoolExecutor(SERVER_THREADS) as callers, httpx.Client(timeout=60, headers=headers) as http:
            answers = list(callers.map(lambda _: http.get(url), range(SERVER_THREADS)))
    finally:
        server.should_exit = True
        serving.join()
        listening.close()
        api.close()
    assert {(answer.status_code, answer.text) for answer in answers} == {(200, "0")}


def test_a_route_that_was_called_in_process_cannot_wait_for_itself() -> None:
    app = FastAPI()
    api = InProcess(app, calls_max=1)

    @app.get("/outer")
    def outer() -> str:
        with pytest.raises(RuntimeError, match="must not call the API in process"):
            api.call(ApiCall("GET", "/outer"), {}, 30.0)
        return "refused"

    assert api.call(ApiCall("GET", "/outer"), {}, 30.0).data == b'"refused"'
    api.close()


def test_late_answers_are_given_up_and_leave_room_once_they_came() -> None:
    app, go_on = FastAPI(), threading.Event()
    api = InProcess(app, calls_max=1)

    @app.get("/slow")
    def slow() -> None:
        go_on.wait(30)

    @app.get("/quick")
    def quick() -> dict[str, Any]:
        return {"models": []}

    hurried = Api(CallerTransport(api, Caller(), 0.05))
    for path in ("/slow", "/quick"):  # the second finds no room
        with pytest.raises(errors.DeadlineExceeded, match=r"within 0\.05 s"):
            hurried.get(path, dict[str, Any])
    go_on.set()
    assert Api(CallerTransport(api, Caller(), 30.0)).get("/quick", dict[str, Any]) == {"models": []}
    api.close()


def test_an_application_that_breaks_off_gave_no_answer() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    api = InProcess(app)
    with pytest.raises(errors.NotRunning, match="no whole answer"):
        Client.in_process(api, Caller()).models.list()
    api.close()


def test_an_upload_is_read_as_it_is_taken() -> None:
    read: list[int] = []

    def chunks() -> Iterator[bytes]:
        for number in range(3):
            read.append(number)
            yield b"x"

    async def app(scope: Any, receive: Any, send: Any) -> None:
        before = list(read)
        first = await receive()
        seen = [before, first["body"].decode(), list(read)]
        while (await receive())["more_body"]:
            pass
        assert asyncio.get_running_loop() is not None
        await JSONResponse([*seen, list(read)])(scope, receive, send)

    api = InProcess(app)
    answer = CallerTransport(api, Caller(), 30.0).send(ApiCall("POST", "/up", body=chunks()))
    assert orjson.loads(answer.data) == [[], "x", [0], [0, 1, 2]]
    api.close()


def test_a_file_that_becomes_shorter_says_so_here_too(api: InProcess, container: Container, tmp_path: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise errors.InvalidArgument("it became shorter", field="path")

    transport = CallerTransport(api, Caller(f"Bearer {container.keys.token}"), 30.0)
    with pytest.raises(errors.InvalidArgument, match="became shorter"):
        Api(transport).stream("/api/v1/uploads", broken(), 8, dict[str, Any], 30.0)
    assert list((container.settings.data_dir / "uploads").iterdir()) == []


def test_closing_ends_what_is_under_way() -> None:
    begun = threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        begun.set()
        await asyncio.sleep(60)

    api = InProcess(app)
    with ThreadPoolExecutor(1) as caller:
        waiting = caller.submit(api.call, ApiCall("GET", "/"), {}, 60.0)
        assert begun.wait(30)
        api.close()
        with pytest.raises(errors.NotRunning, match="ended before it answered"):
            waiting.result(30)


def _endless(ended: threading.Event) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                await send({"type": "http.response.body", "body": bytes(1000), "more_body": True})
                await asyncio.sleep(0)
        finally:
            ended.set()

    return app


def test_an_endless_answer_ends_once_its_caller_has_left() -> None:
    ended = threading.Event()
    api = InProcess(_endless(ended))
    with pytest.raises(TimeoutError):
        api.call(ApiCall("GET", "/"), {}, 0.05)
    assert ended.wait(30)
    api.close()


def test_an_answer_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegate.client.transport.in_process.ANSWER_BYTES_MAX", 2 << 20)
    ended = threading.Event()
    api = InProcess(_endless(ended))
    with pytest.raises(errors.TooLarge, match="longer than 2 MiB"):
        api.call(ApiCall("GET", "/"), {}, 60.0)
    assert ended.is_set()
    api.close()


def test_without_a_thread_the_next_call_tries_again(
    recorder: tuple[Recorder, InProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, api = recorder

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        for _ in range(CALLS_MAX + 1):  # none takes the room of later ones
            with pytest.raises(errors.OutOfResources, match="can't start new thread"):
                Client.in_process(api, Caller()).models.list()
    assert Client.in_process(api, Caller()).models.list() == []
