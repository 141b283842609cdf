"""Schemathesis against the OpenAPI pages of real servers: what it makes up, wrong on purpose or by chance.

Left out is its check that all data of the schema's shape is taken: whether a row fits is the model's signature to say,
and a V2 tensor's data must agree with its own shape, which JSON Schema cannot express.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from support.platform import clean_env

OPTIONS = (
    "--exclude-checks=positive_data_acceptance",
    "--max-examples=10",
    "--max-response-time=5",
    "--seed=20",
    "--no-color",
    "--workers=1",
)


@pytest.mark.slow
@pytest.mark.parametrize("server", ["replica", "gateway"])
def test_whatever_is_sent_the_answer_is_as_described(
    server: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    port = request.getfixturevalue("echo_replicas")["table"] if server == "replica" else 0
    port = port or request.getfixturevalue("echo_gateway")
    argv = [str(Path(sys.executable).with_name("st")), "run", f"http://127.0.0.1:{port}/openapi.json", *OPTIONS]
    ran = subprocess.run(argv, check=False, cwd=tmp_path, env=clean_env(), capture_output=True, text=True, timeout=110)
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-2000:]
    assert "Test cases:" in ran.stdout
