"""Every page of Swagger UI in a real browser: operations are listed, and "Try it out" sends what the page filled in."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator

import httpx
import pytest

from support.models import Models
from support.platform import TIDEGATE, Platform, clean_env
from support.services.chromium import Chromium
from support.wait import free_ports, until

pytestmark = pytest.mark.slow
INJECT = """() => {
    const script = document.createElement("script");
    script.textContent = "window.ran = 1";
    document.body.append(script);
}"""


@pytest.fixture(scope="module")
def replica(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of `tidegate serve`, with a model of named columns of text and numbers."""
    log = tmp_path_factory.mktemp("serve") / "log"
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    argv = ["serve", models.path("table.joblib"), "--allow-pickle", "--port", url.rpartition(":")[2]]
    with log.open("wb") as out:
        server = subprocess.Popen([str(TIDEGATE), *argv], stdout=out, stderr=out, env=clean_env())
    try:
        until(lambda: _is_ready(url, server), what="the replica ready")
        yield url
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(15) == 0, log.read_text()


def _is_ready(url: str, server: subprocess.Popen[bytes]) -> bool:
    assert server.poll() is None, "it ended"
    try:
        return httpx.get(f"{url}/v2/health/ready").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.usefixtures("mixed")
def test_the_gateways_page_predicts_with_its_example(chromium: Chromium, platform: Platform) -> None:
    visit = chromium.visit(platform.gateway_url + "/docs")
    listed = visit.operations()
    assert {"POST /predict/mixed", "POST /v2/models/mixed/infer", "GET /health"} <= set(listed)
    for operation in ("POST /predict/mixed", "POST /v2/models/mixed/infer", "POST /endpoints/mixed/invocations"):
        status, body = visit.execute(operation)
        assert status == 200, body
    assert visit.complaints == []


def test_a_replicas_page_predicts_with_its_example(chromium: Chromium, replica: str) -> None:
    visit = chromium.visit(replica + "/docs")
    assert {"POST /predict", "POST /invocations", "GET /v2"} <= set(visit.operations())
    status, body = visit.execute("POST /predict")
    assert status == 200, body
    assert json.loads(body)["prediction"][0] in ("high", "low")
    assert visit.complaints == []


@pytest.mark.usefixtures("mixed")
def test_the_control_planes_page_lists_and_asks(chromium: Chromium, platform: Platform) -> None:
    visit = chromium.visit(platform.url + "/api/docs", key=platform.token)
    listed = visit.operations()
    described = platform.api("GET", "/api/openapi.json").json()["paths"]
    assert sorted(listed) == sorted(f"{method.upper()} {path}" for path in described for method in described[path])
    status, body = visit.execute("GET /api/v1/models")
    assert status == 200, body
    assert "mixed" in [model["name"] for model in json.loads(body)["models"]]
    assert visit.complaints == []


def test_a_page_runs_nothing_but_its_own_files(chromium: Chromium, replica: str) -> None:
    """What the policy is for: a script that got into the page does not run, and nothing is sent elsewhere."""
    visit = chromium.visit(replica + "/docs")
    visit.operations()
    visit.page.evaluate(INJECT)
    assert visit.page.evaluate("() => window.ran") is None
    assert "Content Security Policy" in visit.complaints.pop()
    assert visit.complaints == []
    policy = httpx.get(replica + "/docs").headers["content-security-policy"]
    assert "'unsafe-inline'" not in policy.partition("script-src")[2].partition(";")[0]
