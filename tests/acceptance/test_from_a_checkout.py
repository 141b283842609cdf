"""The start from a checkout: requirements.txt, make_env.py, compose.dev.yaml, scripts/init_db.py and main.py."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from support.platform import clean_env
from support.services import missing
from support.services.postgres import Postgres
from support.services.redis import RedisServer
from support.wait import free_ports, until

HOUSE = Path(__file__).resolve().parent.parent.parent
SERVERS = ("postgres", "redis", "prometheus", "grafana")


def run(*argv: str, **env: str) -> subprocess.CompletedProcess[str]:
    """A program of the checkout."""
    command = [sys.executable, *argv]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=90, check=False, cwd=HOUSE, env=clean_env(**env)
    )


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    path = tmp_path / "env"
    done = run("scripts/make_env.py", "--dev", "--into", str(path))
    assert done.returncode == 0, done.stderr
    return path


def settings_of(env_file: Path) -> dict[str, str]:
    return dict(re.findall(r"^(\w+)=(.*)$", env_file.read_text(), re.MULTILINE))


def test_requirements_name_this_project_and_extras_it_has() -> None:
    lines = [line for line in (HOUSE / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    (extras,) = re.findall(r"^-e \.\[([a-z,]+)\]$", "\n".join(lines))
    known = tomllib.loads((HOUSE / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras.split(",")) <= set(known)
    assert {"platform", "postgres", "redis"} <= set(extras.split(","))


def test_passwords_are_made_once_each_its_own_and_for_the_owner_alone(env_file: Path) -> None:
    found = settings_of(env_file)
    made = [value for name, value in found.items() if name.endswith(("PASSWORD", "KEY", "TOKEN"))]
    wanted = [
        line for line in (HOUSE / ".env.example").read_text().splitlines() if line.endswith("=") and line[0] != "#"
    ]
    assert len(made) == len(set(made)) == len(wanted)
    assert all(len(value) == 48 for value in made)
    assert env_file.stat().st_mode & 0o777 == 0o600
    before = env_file.read_bytes()
    again = run("scripts/make_env.py", "--into", str(env_file))
    assert again.returncode == 1
    assert "left alone" in again.stderr
    assert env_file.read_bytes() == before


def test_the_servers_are_published_on_loopback_and_need_nothing_else(env_file: Path) -> None:
    if shutil.which("docker-compose") is None:
        missing("docker-compose")
    names = settings_of(env_file)["COMPOSE_FILE"].split(":")
    files = [part for name in names for part in ("--file", str(HOUSE / name))]
    argv = ["docker-compose", *files, "--env-file", str(env_file), "config"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, cwd=HOUSE, env=clean_env())
    assert done.returncode == 0, done.stderr
    services: dict[str, Any] = yaml.safe_load(done.stdout)["services"]
    for name, port in zip(SERVERS, (5432, 6379, 9090, 3000), strict=True):
        assert [str(one).removesuffix("/tcp") for one in services[name]["ports"]] == [f"127.0.0.1:{port}:{port}"], name
        assert set(services[name].get("depends_on", {})) <= set(SERVERS)
    assert settings_of(env_file)["POSTGRES_PASSWORD"] in settings_of(env_file)["DATABASE_URL"]


@pytest.mark.slow
def test_tables_are_made_and_the_platform_starts(
    tmp_path: Path, postgres: Postgres, redis_server: RedisServer, env_file: Path
) -> None:
    env = {
        "DATABASE_URL": postgres.new_database(),
        "REDIS_URL": redis_server.url,
        "TIDEGATE_DATA_DIR": str(tmp_path / "data"),
    }
    made = run("scripts/init_db.py", **env)
    assert made.returncode == 0, made.stderr
    checked = run("-m", "tidegate", "db", "check", **env)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    port, _, control_port = free_ports(3)
    argv = [sys.executable, "main.py", "--port", str(port), "--control-port", str(control_port)]
    with (tmp_path / "log").open("wb") as log:
        platform = subprocess.Popen(argv, cwd=HOUSE, env=clean_env(**env), stdout=log, stderr=log)
    try:
        until(lambda: _is_ready(f"http://127.0.0.1:{port}", platform), 60, "the platform ready")
    finally:
        platform.send_signal(signal.SIGINT)
        ended = platform.wait(60)
    assert ended in (0, 130), (tmp_path / "log").read_text()


def _is_ready(url: str, platform: subprocess.Popen[bytes]) -> bool:
    assert platform.poll() is None, "it ended"
    try:
        return httpx.get(f"{url}/v2/health/live", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
