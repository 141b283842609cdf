import http.client
import socket
import time
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import httpx
import pytest
from fastapi.routing import APIRoute

from support.control import WITHOUT_BODY, container_at, served
from tidegate.api.app import create_app
from tidegate.api.guard import Keys, allowed_hosts
from tidegate.api.permissions import every_route
from tidegate.api.sessions import COOKIE, Sessions
from tidegate.services.platform_keys import PlatformKeys, load_key
from tidegate.wiring import Container

PUBLIC_PATHS = ("/health", "/login")


def test_paths_that_do_not_exist_tell_a_stranger_nothing(api: httpx.Client) -> None:
    with httpx.Client(base_url=api.base_url, trust_env=False) as stranger:
        assert stranger.get("/api/v1/secret").status_code == 401
    assert api.get("/api/v1/secret").status_code == 404


def test_an_empty_key_is_nobodys() -> None:
    def keys(token: str) -> Keys:
        return Keys(PlatformKeys(token, "n", "m"), Sessions(token, time.time))

    assert keys("").principal_of("") is None
    found = keys("t").principal_of("t")
    assert found is not None
    assert (found.kind, found.name) == ("token", "token")


def test_an_empty_token_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "token").touch()
    token = load_key(tmp_path / "token")
    assert len(token) > 20
    assert load_key(tmp_path / "token") == token
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("announces", ["content-length: 1000000", "transfer-encoding: chunked"])
@pytest.mark.parametrize("path", PUBLIC_PATHS)
def test_public_paths_wait_for_no_body(api: httpx.Client, path: str, announces: str) -> None:
    with socket.create_connection((str(api.base_url.host), api.base_url.port), timeout=20) as stranger:
        stranger.sendall(f"POST {path} HTTP/1.1\r\nhost: localhost\r\n{announces}\r\n\r\n".encode())
        answer = stranger.recv(1 << 16)
    assert b" 413 " in answer.partition(b"\r\n")[0]
    assert api.post(path).status_code == 405


def test_a_connection_that_has_shown_a_key_outlives_a_crowd_that_has_none(tmp_path: Path) -> None:
    container = container_at(tmp_path / "data")
    head = "POST /api/v1/login-codes HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n"
    key = f"authorization: Bearer {container.keys.token}\r\n"
    body = "content-length: 2\r\ncontent-type: application/json\r\n\r\n"
    with closing(container), served(container, connections_max=3) as client, ExitStack() as stack:

        def connect() -> socket.socket:
            address = (str(client.base_url.host), client.base_url.port)
            return stack.enter_context(socket.create_connection(address, timeout=20))

        holder = connect()
        holder.sendall((head + key + body).encode())
        assert b" 100 " in holder.recv(1 << 16)
        for one in [connect() for _ in range(12)]:
            with suppress(ConnectionError):
                one.sendall(b"POST /health HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n")
        assert client.get("/api/v1/status").status_code == 200
        holder.sendall(b"{}")
        assert b" 201 " in holder.recv(1 << 16).partition(b"\r\n")[0]


def test_each_key_opens_what_it_is_for_and_nothing_else(container: Container, api: httpx.Client) -> None:
    keys = container.keys

    def reached(authorization: str) -> list[str]:
        """The paths that answer this; one that asks for a key is left out, one that refuses a good key is marked."""
        paths = ("/api/v1/models", "/api/docs", "/internal/v1/snapshot?gateway=g", "/metrics")
        with httpx.Client(base_url=api.base_url, headers={"authorization": authorization}, trust_env=False) as someone:
            found = {path: someone.get(path) for path in paths}
        forbidden = [answer.json()["error"] for answer in found.values() if answer.status_code == 403]
        assert all("TIDEGATE_TOKEN" in said or "TIDEGATE_NODE_KEY" in said for said in forbidden)
        return [path for path, answer in found.items() if answer.status_code < 400] + ["403"] * len(forbidden)

    everything = ["/api/v1/models", "/api/docs", "/internal/v1/snapshot?gateway=g", "/metrics"]
    assert reached(f"Bearer {keys.token}") == reached(f"bearer {keys.token}") == everything
    assert reached("Bearer k-of-a-team") == ["403"] * 4
    assert reached(f"Bearer {keys.node}") == ["/internal/v1/snapshot?gateway=g", *["403"] * 3]
    container.forget_gateway("g")  # other tests share the platform, and list its gateways
    assert reached(f"Bearer {keys.metrics}") == ["/metrics", *["403"] * 3]
    for nobody in ("Bearer k-of-a-tea", "Bearer", f"Basic {keys.token}"):
        assert reached(nobody) == []


def test_the_prediction_key_changes_nothing(api: httpx.Client) -> None:
    with httpx.Client(
        base_url=api.base_url, headers={"authorization": "Bearer k-of-a-team"}, trust_env=False
    ) as client:
        answer = client.post("/api/v1/login-codes")
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        assert client.delete("/api/v1/endpoints/churn").status_code == 403


def test_a_key_that_is_no_text_is_only_a_wrong_key(api: httpx.Client) -> None:
    assert api.get("/api/v1/models", headers={b"authorization": b"Bearer \xff\xfe"}).status_code == 401


def test_a_browser_logs_in_with_a_code_that_works_once(container: Container, api: httpx.Client) -> None:
    made = api.post("/api/v1/login-codes")
    assert (made.status_code, made.json()["valid_s"]) == (201, 300)
    with httpx.Client(base_url=api.base_url, trust_env=False) as browser:
        for wrong in ({"code": "wrong"}, {"code": ""}, {}, {"token": container.keys.token}):
            answer = browser.get("/login", params=wrong)
            assert answer.status_code == 401
            assert "tidegate console" in answer.json()["error"]
        answer = browser.get("/login", params={"code": made.json()["code"]})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "samesite=strict" in cookie.lower()
        assert "max-age=43200" in cookie.lower()
        assert container.keys.token not in cookie
        assert httpx.get(f"{api.base_url}/login", params={"code": made.json()["code"]}).status_code == 401, "used up"
        assert browser.get("/api/docs").status_code == 200
        browser.cookies.set(COOKIE, "wrong")
    with httpx.Client(base_url=api.base_url, cookies={COOKIE: "wrong"}, trust_env=False) as browser:
        assert browser.get("/api/docs").status_code == 401


def test_a_browser_logs_out_for_good(container: Container, api: httpx.Client) -> None:
    code = api.post("/api/v1/login-codes").json()["code"]
    with httpx.Client(base_url=api.base_url, trust_env=False) as browser:
        browser.get("/login", params={"code": code})
        kept = {COOKIE: browser.cookies[COOKIE]}
        left = browser.delete("/api/v1/session")
        assert (left.status_code, "Max-Age=0" in left.headers["set-cookie"]) == (204, True)
        assert COOKIE not in browser.cookies
    with httpx.Client(base_url=api.base_url, cookies=kept, trust_env=False) as thief:
        assert thief.get("/api/v1/status").status_code == 401
    told = api.get("/api/v1/audit", params={"limit": 1}).json()["entries"][0]
    assert (told["action"], told["who"]["kind"]) == ("logout", "session")
    assert api.delete("/api/v1/session").status_code == 204, "a key has none to end"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "evil.example:8800"])
def test_a_name_that_was_rebound_to_this_address_is_refused(api: httpx.Client, host: str) -> None:
    answer = api.get("/health", headers={"host": host})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


@pytest.mark.parametrize("host", ["localhost", "localhost:1", "[::1]:8800", "ml.example", "ML.example:443"])
def test_own_and_allowed_names_are_answered(api: httpx.Client, host: str) -> None:
    assert api.get("/health", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1"])
def test_pages_of_other_sites_cannot_call_it(api: httpx.Client, origin: str) -> None:
    assert api.get("/api/v1/models", headers={"origin": origin}).status_code == 403


def test_its_own_pages_can(api: httpx.Client) -> None:
    assert api.get("/api/v1/models", headers={"origin": str(api.base_url).rstrip("/")}).status_code == 200


def test_the_bound_host_is_answered_and_a_wildcard_allows_no_name() -> None:
    assert "10.0.0.7" in allowed_hosts("10.0.0.7", "")
    assert allowed_hosts("0.0.0.0", "") == {"localhost", "127.0.0.1", "::1"}


def test_the_name_by_which_replicas_elsewhere_know_it_is_answered() -> None:
    inside = "http://tidegate-control.models:8800"
    assert allowed_hosts("0.0.0.0", "", inside) - allowed_hosts("0.0.0.0", "") == {"tidegate-control.models"}


def test_a_request_without_a_host_is_refused(api: httpx.Client) -> None:
    connection = http.client.HTTPConnection(str(api.base_url.host), api.base_url.port)
    connection.putrequest("GET", "/health", skip_host=True)
    connection.endheaders()
    assert connection.getresponse().status in (400, 403)
    connection.close()


def test_every_api_route_says_what_it_takes_answers_and_refuses(container: Container) -> None:
    app = create_app(container)
    paths = app.openapi()["paths"]
    for route in [one for one in every_route(app.routes) if isinstance(one, APIRoute) and one.include_in_schema]:
        for method in route.methods or ():
            operation = paths[route.path][method.lower()]
            assert operation["description"], route.path
            if route.path != "/health":
                error = operation["responses"]["401"]["content"]["application/json"]["schema"]
                assert error == {"$ref": "#/components/schemas/ErrorBody"}, route.path
            if method in ("PUT", "POST") and route.path not in WITHOUT_BODY:
                assert operation["requestBody"]["content"], route.path
