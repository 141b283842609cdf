"""compose.yaml: its own tool takes it; its control plane and gateway run apart, with the very arguments it gives."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from support.models import Models
from support.platform import Platform, clean_env
from support.services import missing
from support.services.postgres import Postgres
from support.services.prometheus import promtool
from support.wait import until
from tidegate.observability import files

HOUSE = Path(__file__).resolve().parent.parent.parent
SERVICES = {
    "gateway",
    "compactor",
    "control",
    "worker",
    "postgres",
    "redis",
    "rabbitmq",
    "mlflow",
    "s3",
    "prometheus",
    "grafana",
}
KEY, TOKEN = "a-key-of-the-test", "a-token-of-the-test"
NEEDED = tuple(re.findall(r"^([A-Z0-9_]+)=$", (HOUSE / ".env.example").read_text(), re.MULTILINE))
"""What .env must have."""


@pytest.fixture(scope="module")
def env_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """.env.example, filled in."""
    path = tmp_path_factory.mktemp("compose") / "env"
    path.write_text("".join(f"{name}=secret{number}\n" for number, name in enumerate(NEEDED)))
    return path


def compose(*args: str) -> subprocess.CompletedProcess[str]:
    """Compose's own command, in either of its forms."""
    if shutil.which("docker-compose") is None:
        missing("docker-compose")
    env = {name: value for name, value in os.environ.items() if name not in NEEDED}
    argv = ["docker-compose", "--file", str(HOUSE / "compose.yaml"), *args]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, env=env, cwd=HOUSE)


@pytest.fixture(scope="module")
def services(env_file: Path) -> dict[str, Any]:
    """The services as Compose reads them, with every variable filled in."""
    done = compose("--env-file", str(env_file), "config")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = yaml.safe_load(done.stdout)["services"]
    return found


def test_compose_takes_the_file_and_nothing_starts_without_passwords(services: dict[str, Any], env_file: Path) -> None:
    assert set(services) == SERVICES
    empty = env_file.with_name("empty")
    empty.write_text("".join(f"{name}=\n" for name in NEEDED))
    done = compose("--env-file", str(empty), "config", "--quiet")
    assert done.returncode != 0, "an empty password is none"
    assert re.search(r"set [A-Z0-9_]+ in \.env", done.stderr)


def test_every_password_is_asked_for_by_name_wherever_it_stands() -> None:
    text = (HOUSE / "compose.yaml").read_text()
    assert len(NEEDED) == 11
    for name in NEEDED:
        assert set(re.findall(rf"\$\{{{name}\b([^}}]*)\}}", text)) == {f":?set {name} in .env"}
    optional = set(re.findall(r"\$\{([A-Z0-9_]+):-", text)) & {"TIDEGATE_BIND", "MIN_REPLICAS", "TIDEGATE_EXTRAS"}
    assert optional <= set(re.findall(r"[A-Z0-9_]+(?==)", (HOUSE / ".env.example").read_text()))


def test_services_run_as_plain_users_and_publish_on_loopback_alone(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["user"] not in ("", "0", "root"), name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", [])), name
        assert ":latest" not in service["image"], name
    published = {name for name, service in services.items() if service.get("ports")}
    assert published == {"gateway", "control", "mlflow", "prometheus", "grafana"}
    assert set(services["s3"]["networks"]) == {"artifacts"}, "its other ports ask for no key"


def test_services_wait_for_what_they_need(services: dict[str, Any]) -> None:
    waited_for = {one for service in services.values() for one in service.get("depends_on", {})}
    assert waited_for == {"control", "postgres", "redis", "rabbitmq", "mlflow", "s3", "prometheus"}
    for service in services.values():
        assert all(how == {"condition": "service_healthy"} for how in service.get("depends_on", {}).values())
    assert all("healthcheck" in services[name] for name in waited_for | {"gateway"})


def test_prometheus_and_grafana_are_set_up_as_the_rules_and_dashboards_expect(services: dict[str, Any]) -> None:
    argv = [promtool(), "check", "config", "--syntax-only", str(HOUSE / "deploy/prometheus/prometheus.yml")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = {job["job_name"]: job for job in read("prometheus/prometheus.yml")["scrape_configs"]}
    assert jobs[files.GATEWAY_JOB]["static_configs"] == [{"targets": ["gateway:8000"]}]
    assert jobs[files.CONTROL_JOB]["static_configs"] == [{"targets": ["control:8800"]}]
    (source,) = read("grafana/provisioning/datasources/tidegate.yml")["datasources"]
    assert (source["uid"], source["url"]) == (files.DATASOURCE_UID, "http://prometheus:9090")
    (provider,) = read("grafana/provisioning/dashboards/tidegate.yml")["providers"]
    mounted = {mount.split(":")[1]: mount.split(":")[0] for mount in services["grafana"]["volumes"]}
    assert (Path(mounted[provider["options"]["path"]]) / files.HOME_DASHBOARD).is_file()


def read(name: str) -> Any:
    return yaml.safe_load((HOUSE / "deploy" / name).read_text())


@pytest.fixture
def apart(tmp_path: Path, postgres: Postgres, services: dict[str, Any]) -> Iterator[Apart]:
    made = Apart(Platform(tmp_path / "data"), services, postgres.new_database())
    try:
        yield made
    finally:
        made.end()


class Apart:
    """Control plane and gateway as compose.yaml starts them, as processes of this machine."""

    def __init__(self, platform: Platform, services: dict[str, Any], database_url: str) -> None:
        self.platform, self._services = platform, services
        port, _, control_port = platform.ports
        self._here = {
            "/var/lib/tidegate": str(platform.data_dir),
            "0.0.0.0": "127.0.0.1",
            "8000": str(port),
            "8800": str(control_port),
            "http://control:8800": platform.url,
            "http://127.0.0.1:8000": platform.gateway_url,
            "python": sys.executable,
            "/opt/tidegate/keep.sh": str(HOUSE / "deploy" / "keep.sh"),
        }
        self._env = clean_env(TIDEGATE_API_KEY=KEY, TIDEGATE_TOKEN=TOKEN, DATABASE_URL=database_url)
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, name: str) -> subprocess.Popen[bytes]:
        """The service's own command, with this machine's paths and ports in the place of the container's."""
        command = [self._here.get(part, part) for part in self._services[name]["command"]]
        grpc = ["--grpc-port", str(self.platform.ports[1])] if name == "gateway" else []
        process = subprocess.Popen([*command, *grpc], env=self._env, stdin=subprocess.DEVNULL)
        self.started.append(process)
        return process

    def end(self) -> None:
        for process in self.started:
            process.kill()
            process.wait(30)
        for left in self.platform.processes():
            left.kill()


def test_control_plane_and_gateway_apart_on_postgresql(apart: Apart, models: Models) -> None:
    platform = apart.platform
    platform.env = {"TIDEGATE_API_KEY": KEY, "TIDEGATE_TOKEN": TOKEN}
    control = apart.start("control")
    until(lambda: answers(platform.url + "/health"), timeout_s=60, what="the control plane")
    assert platform.processes("tidegate.gateway") == [], "it starts none of its own"
    gateway = apart.start("gateway")
    until(lambda: answers(platform.gateway_url + "/v2/health/ready"), what="the gateway")
    given = (models.path("small.joblib"), "--name", "small", "--allow-pickle", "--no-accelerate")
    assert platform.done("deploy", *given)["url"] == f"{platform.gateway_url}/predict/small"
    assert platform.predict("small", models.rows[:1].tolist()).status_code == 200
    (view,) = platform.done("status")["gateways"]
    assert (view["id"], view["status"], view["pid"]) == ("gateway-0", "ready", None)
    found = {part["part"]: part["state"] for part in platform.cli("doctor", "--json").json["parts"]}
    assert (found["control plane"], found["gateway"]) == ("ok", "ok")

    # The control plane's process is killed and comes back: gateway and replicas serve on, and are left as they are.
    replicas, killed = platform.replica_pids(), platform.control_pid
    psutil.Process(killed).kill()
    assert platform.predict("small", models.rows[:1].tolist()).status_code == 200
    until(lambda: platform.control_pid != killed and answers(platform.url + "/health"), 60, "the control plane, again")
    assert platform.done("scale", "small", "--replicas", "2")
    assert replicas < platform.replica_pids()
    assert psutil.pid_exists(gateway.pid)
    assert gateway.poll() is None
    # The gateway is made anew: the same snapshot, the same journal folder.
    gateway.terminate()
    assert gateway.wait(30) == 0
    apart.start("gateway")
    until(lambda: answers(platform.gateway_url + "/v2/health/ready"), what="the gateway, again")
    assert platform.predict("small", models.rows[:1].tolist()).status_code == 200
    # It ends without taking the gateway along, and is not started again.
    control.terminate()
    assert control.wait(60) == 0
    assert platform.processes("tidegate.control") == []
    assert answers(platform.gateway_url + "/v2/health/live")


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
