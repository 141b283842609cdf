"""What users type and paste: the curl line of deploy, named columns in every form, --json shapes, help, serve, demo."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import httpx
import pytest

from support.models import Models
from support.platform import TIDEGATE, Platform, clean_env, tidegate
from support.wait import until

pytestmark = pytest.mark.slow


def test_the_curl_line_works_when_pasted(mixed: str) -> None:
    """With text in the row, which the shell must not touch."""
    if shutil.which("curl") is None and not os.environ.get("TIDEGATE_REQUIRE_SERVICES"):
        pytest.skip("curl is not installed")
    pasted = subprocess.run(["/bin/sh", "-c", mixed], capture_output=True, text=True, timeout=30, check=False)
    assert pasted.returncode == 0, pasted.stderr
    answer = json.loads(pasted.stdout)
    assert answer["model_version"] == "1"
    assert answer["prediction"] in (["high"], ["low"])


def test_named_columns_as_lists_records_and_tensors(platform: Platform, named: str, models: Models) -> None:
    rows = models.frame.head(3)
    said = models.says("columns", rows)
    values, names = rows.to_numpy().tolist(), list(rows.columns)
    shuffled = [dict(reversed(list(record.items()))) for record in rows.to_dict("records")]
    for features in (values, rows.to_dict("records"), shuffled):
        answer = platform.predict(named, features)
        assert (answer.status_code, answer.json().get("prediction")) == (200, said), answer.text
    assert platform.predict(named, values[0]).json()["prediction"] == said[:1]
    assert platform.predict(named, shuffled[0]).json()["prediction"] == said[:1]
    columns = [
        {"name": name, "shape": [3], "datatype": "FP64", "data": rows[name].astype(float).tolist()} for name in names
    ]
    matrix = [{"name": "anything", "shape": [3, len(names)], "datatype": "FP64", "data": values}]
    for inputs in (columns, columns[::-1], matrix):
        answer = platform.ask(f"/v2/models/{named}/infer", {"inputs": inputs})
        assert answer.status_code == 200, answer.text
        assert answer.json()["outputs"][0]["data"] == said


def test_records_with_wrong_columns(platform: Platform, named: str, models: Models) -> None:
    record = models.frame.head(1).to_dict("records")[0]
    missing = {name: value for name, value in record.items() if name != "bmi"}
    answer = platform.predict(named, missing)
    assert answer.status_code == 422
    assert "bmi" in answer.json()["error"]
    answer = platform.predict(named, {**record, "bmi": "heavy"})
    assert answer.status_code == 422
    assert "bmi" in answer.json()["error"]


def test_numbers_and_strings_in_one_row(platform: Platform, mixed: str, models: Models) -> None:
    rows = models.table.head(4)
    said = models.says("table", rows)
    assert platform.predict("mixed", rows.to_dict("records")).json()["prediction"] == said
    assert platform.predict("mixed", rows.to_numpy().tolist()).json()["prediction"] == said
    tensors = [
        {"name": "sex", "shape": [4], "datatype": "BYTES", "data": rows["sex"].tolist()},
        {"name": "age", "shape": [4], "datatype": "FP64", "data": rows["age"].tolist()},
        {"name": "bmi", "shape": [4], "datatype": "FP64", "data": rows["bmi"].tolist()},
    ]
    answer = platform.ask("/v2/models/mixed/infer", {"inputs": tensors})
    assert answer.status_code == 200, answer.text
    assert answer.json()["outputs"][0]["data"] == said
    assert platform.predict("mixed", [59.0, 32.1, 7]).status_code == 422


MODEL = {"name", "versions"}
VERSION = {"version", "label", "digest", "status", "score", "accelerated", "tags"}
ENDPOINT = {"name", "url", "status", "reason", "traffic", "variants"}
VARIANT = {"version", "weight", "status", "reason", "replicas"}


def test_json_has_the_documented_shapes(platform: Platform, steady: str) -> None:
    again = platform.done("deploy", steady)
    listed = {endpoint["name"]: endpoint for endpoint in platform.done("endpoints")["endpoints"]}
    for endpoint in (again, listed[steady]):
        assert endpoint.keys() >= ENDPOINT
        assert endpoint["traffic"] == {"1": 100}
        (variant,) = endpoint["variants"]
        assert variant.keys() >= VARIANT
        assert variant["replicas"] == {"desired": 1, "ready": 1}
        assert endpoint["url"].startswith(platform.gateway_url)
    model = platform.done("models", "show", steady)
    assert model.keys() >= MODEL
    assert model["versions"][0].keys() >= VERSION
    assert model["versions"][0]["tags"]["team"] == "risk"
    assert steady in [one["name"] for one in platform.done("models")["models"]]


def test_the_gateway_describes_itself(platform: Platform, steady: str, models: Models) -> None:
    def get(path: str) -> httpx.Response:
        return httpx.get(platform.gateway_url + path)

    assert get("/v2/health/ready").status_code == 200
    assert get("/v2").json()["name"]
    metadata = get(f"/v2/models/{steady}").json()
    assert metadata["name"] == steady
    assert metadata["inputs"][0]["shape"] == [-1, 30]
    assert {output["name"] for output in metadata["outputs"]} == {"prediction", "probabilities"}
    assert get(f"/v2/models/{steady}/ready").status_code == 200
    assert get(f"/v2/models/{steady}/versions/1").status_code == 200
    assert get("/docs").status_code == 200
    assert platform.predict(steady, models.rows[0].tolist()).status_code == 200
    assert f'endpoint="{steady}"' in get("/metrics").text


def test_help_imports_little_so_that_it_answers_at_once() -> None:
    ran = tidegate("--help", env={"PYTHONPROFILEIMPORTTIME": "1"})
    assert ran.code == 0
    modules = re.findall(r"^import time:.*\| +([\w.]+)$", ran.err, re.MULTILINE)
    assert "tidegate.cli.main" in modules
    assert len(modules) < 250, modules


@pytest.mark.parametrize("argv", [("traffic",), ("nonsense",), ("deploy",), ("scale", "churn", "--replicas", "many")])
def test_wrong_use_is_exit_code_2(argv: tuple[str, ...]) -> None:
    ran = tidegate(*argv)
    assert ran.code == 2
    assert ran.err
    assert "Traceback" not in ran.err


def test_serve_needs_no_platform(models: Models, free_port: int, tmp_path: Path) -> None:
    argv = ["serve", models.path("logistic.joblib"), "--allow-pickle", "--port", str(free_port)]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen([str(TIDEGATE), *argv], stdout=log, stderr=log, env=clean_env())
    url = f"http://127.0.0.1:{free_port}"
    try:
        until(lambda: _ready(url, server), what="the replica ready")
        rows = models.rows[:2]
        answer = httpx.post(f"{url}/predict", json={"features": rows.tolist()})
        assert answer.json()["prediction"] == models.says("logistic", rows)
        assert httpx.get(f"{url}/health").json()["models_loaded"] == 1
        assert httpx.get(f"{url}/docs").status_code == 200
        assert httpx.post(f"{url}/predict", json={"features": [1.0]}).status_code == 422
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(15) == 0, (tmp_path / "log").read_text()


def _ready(url: str, server: subprocess.Popen[bytes]) -> bool:
    assert server.poll() is None, "it ended"
    try:
        return httpx.get(f"{url}/v2/health/ready").status_code == 200
    except httpx.TransportError:
        return False
