"""Who may do what: the control plane is never open, the gateway is open on loopback only."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.models import Models
from support.platform import Platform

pytestmark = pytest.mark.slow

PUBLIC = {"/health", "/login"}


def routes(platform: Platform) -> list[tuple[str, str]]:
    paths = platform.api("GET", "/api/openapi.json").json()["paths"]
    return [(method.upper(), path) for path, methods in paths.items() for method in methods]


def test_every_route_of_the_control_plane_asks_for_the_token(platform: Platform) -> None:
    walked = routes(platform)
    assert len(walked) > 15
    hidden = [("GET", "/metrics"), ("GET", "/api/docs"), ("GET", "/api/openapi.json"), ("GET", "/internal/v1/snapshot")]
    for method, path in [*walked, *hidden]:
        if path in PUBLIC:
            continue
        answer = httpx.request(method, platform.url + path.replace("{", "").replace("}", ""))
        assert answer.status_code == 401, (method, path, answer.status_code)
        assert answer.json()["error"]


@pytest.mark.parametrize("token", ["wrong", "x y", "'--"])
def test_a_wrong_token(platform: Platform, token: str) -> None:
    answer = httpx.get(f"{platform.url}/api/v1/models", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 401


def test_the_token_opens_and_a_login_sets_a_cookie(platform: Platform) -> None:
    assert platform.api("GET", "/api/v1/models").status_code == 200
    with httpx.Client(base_url=platform.url) as browser:
        assert browser.get("/login", params={"token": platform.token}).status_code == 401
        # The platform runs already: the same command prints a link that works once.
        said = platform.up().out
        assert platform.token not in said
        (link,) = re.findall(r"console +http://[^/]+(/login\S+)", said)
        answer = browser.get(link)
        assert answer.status_code == 303
        assert httpx.get(platform.url + link).status_code == 401, "used up"
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite" in cookie
        assert browser.get("/api/docs").status_code == 200


def test_health_is_public(platform: Platform) -> None:
    assert httpx.get(f"{platform.url}/health").json()["status"] == "healthy"
    assert httpx.get(f"{platform.gateway_url}/health").json()["status"] == "healthy"


def test_a_foreign_host_or_origin_is_refused(platform: Platform) -> None:
    """A web page that points its own name at this machine (DNS rebinding), or posts across origins."""
    for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
        answer = platform.api("GET", "/api/v1/models", headers=headers)
        assert answer.status_code in (400, 403), headers
    port = platform.ports[2]
    for headers in ({"Host": f"localhost:{port}"}, {"Origin": f"http://127.0.0.1:{port}"}):
        assert platform.api("GET", "/api/v1/models", headers=headers).status_code == 200, headers


def test_secrets_are_the_owners_alone(platform: Platform) -> None:
    assert stat.S_IMODE(platform.data_dir.stat().st_mode) == 0o700
    for name in ("token", "node.key", "metrics.key"):
        assert stat.S_IMODE((platform.data_dir / name).stat().st_mode) == 0o600
    assert len(platform.token) == 43
    argv = [" ".join(process.cmdline()) for process in platform.processes()]
    assert not any(platform.token in line for line in argv)


def test_sockets_are_the_owners_alone(platform: Platform, steady: str) -> None:
    sockets = [path for process in platform.processes() for path in _unix_sockets(process.pid)]
    assert sockets
    for path in sockets:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def _unix_sockets(pid: int) -> set[Path]:
    import psutil

    found = [str(one.laddr) for one in psutil.Process(pid).net_connections("unix")]
    return {Path(path) for path in found if path.startswith("/")}


@pytest.fixture(scope="module")
def open_to_the_world(tmp_path_factory: pytest.TempPathFactory, models: Models) -> Iterator[Platform]:
    """A platform bound off loopback with a key, with one endpoint."""
    folder = tmp_path_factory.mktemp("off-loopback")
    running = Platform(folder / "data", host="0.0.0.0", env={"TIDEGATE_API_KEY": "correct horse battery staple"})
    try:
        running.start().done("deploy", models.path("small.joblib"), "--name", "guarded", "--allow-pickle")
        yield running
    finally:
        running.stop()


def test_off_loopback_every_route_needs_the_key(open_to_the_world: Platform, models: Models) -> None:
    here = open_to_the_world
    row = models.rows[0].tolist()
    for path in ("/predict/guarded", "/v2/models/guarded/infer", "/nothing"):
        assert here.ask(path, {"features": row}).status_code == 401, path
    for path in ("/docs", "/metrics", "/v2", "/v2/models/guarded"):
        assert httpx.get(here.gateway_url + path).status_code == 401, path
    for path in ("/health", "/v2/health/live", "/v2/health/ready"):
        assert httpx.get(here.gateway_url + path).status_code == 200, path
    key = {"Authorization": "Bearer correct horse battery staple"}
    answer = here.ask("/predict/guarded", {"features": row}, headers=key)
    assert answer.json()["prediction"] == models.says("small", models.rows[:1])
    assert httpx.get(f"{here.gateway_url}/v2/models/guarded", headers=key).status_code == 200
    assert httpx.get(f"{here.url}/api/v1/models", headers=key).status_code == 403, (
        "it predicts, and administers nothing"
    )
    assert httpx.delete(f"{here.url}/api/v1/endpoints/guarded", headers=key).status_code == 403
    metrics = {"Authorization": f"Bearer {(here.data_dir / 'metrics.key').read_text()}"}
    assert {httpx.get(url + "/metrics", headers=metrics).status_code for url in (here.url, here.gateway_url)} == {200}
    for path in ("/v2", "/docs", "/v2/models/guarded"):
        assert httpx.get(here.gateway_url + path, headers=metrics).status_code == 401, path
    assert here.ask("/predict/guarded", {"features": row}, headers=metrics).status_code == 401
    wrong = {"Authorization": "Bearer correct horse battery stable"}
    assert here.ask("/predict/guarded", {"features": row}, headers=wrong).status_code in (401, 403)


def test_the_key_is_in_no_argument_list_and_no_snapshot(open_to_the_world: Platform) -> None:
    here = open_to_the_world
    assert not any("battery" in " ".join(process.cmdline()) for process in here.processes())
    for path in (here.data_dir / "gateways").iterdir():
        assert b"battery" not in path.read_bytes()
