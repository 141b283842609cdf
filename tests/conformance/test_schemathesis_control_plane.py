"""Schemathesis against the control plane's API on a scratch data directory, with every check but one.

Left out is its check that all data of the schema's shape is taken: whether a version or an upload exists, and whether
weights add up to 100, JSON Schema cannot say. Jobs are queued and endpoints written down; nothing runs them here.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.control import ME, WITHOUT_BODY, add_version, container_at, served
from support.platform import clean_env
from tidegate.wire.rest import DeployRequest

CONFIG = Path(__file__).with_name("control_plane.toml")
OPTIONS = (
    "--exclude-checks=positive_data_acceptance",
    "--max-examples=10",
    "--max-response-time=10",
    "--seed=20",
    "--no-color",
    "--workers=1",
    "--request-timeout=30",
)
ERROR = {"$ref": "#/components/schemas/ErrorBody"}


@pytest.mark.slow
@pytest.mark.timeout(420)  # a minute on a quiet machine
def test_whatever_is_sent_the_answer_is_as_described(tmp_path: Path) -> None:
    container = container_at(tmp_path / "data")
    add_version(container, "churn", "1", "v1")
    add_version(container, "churn", "2")
    container.endpoints.deploy("churn", DeployRequest("churn", "1"), ME)
    try:
        with served(container) as client:
            assert client.get("/api/v1/models").status_code == 200  # MLflow is imported now, once, and not timed
            paths = client.get("/api/openapi.json").json()["paths"]
            operations = sum(len(methods) for methods in paths.values())
            # The token lets it in; the check `ignored_auth` sends each request without it and with a wrong one.
            argv = [str(Path(sys.executable).with_name("st")), "--config-file", str(CONFIG), "run"]
            argv += [
                f"{client.base_url}/api/openapi.json",
                "-H",
                f"Authorization: Bearer {container.keys.token}",
                *OPTIONS,
            ]
            ran = subprocess.run(
                argv, check=False, cwd=tmp_path, env=clean_env(), capture_output=True, text=True, timeout=400
            )
    finally:
        container.close()
    assert ran.returncode == 0, ran.stdout[-9000:] + ran.stderr[-2000:]
    assert operations >= 30
    assert f"{operations} selected" in ran.stdout


def test_every_route_describes_what_it_takes_answers_and_refuses(tmp_path: Path) -> None:
    container = container_at(tmp_path / "data")
    try:
        with served(container) as client:
            paths: dict[str, dict[str, Any]] = client.get("/api/openapi.json").json()["paths"]
    finally:
        container.close()
    for path, methods in paths.items():
        for method, route in methods.items():
            for status, answer in route["responses"].items():
                content = answer.get("content", {})
                if int(status) >= 400:
                    assert content == {"application/json": {"schema": ERROR}}, (method, path, status)
                else:
                    assert status in ("204", "303") or all(one["schema"] for one in content.values()), (method, path)
                    assert status in ("204", "303") or content, (method, path)
            assert {"403", "422", "500"} <= route["responses"].keys(), (method, path)
            public = path in ("/health", "/login")
            assert bool(route.get("security")) is not public, (method, path)
            if method in ("put", "post") and path not in WITHOUT_BODY:
                assert all(one["schema"] for one in route["requestBody"]["content"].values()), (method, path)
