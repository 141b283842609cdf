"""`tidegate up --observability`: writes what Prometheus and Grafana need into the data directory, and says how to start
them. Starts neither.
"""

from __future__ import annotations

import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from tidegate.control.options import Options
from tidegate.listening import is_loopback, required_key
from tidegate.observability import files
from tidegate.services.platform_keys import METRICS
from tidegate.settings import Settings
from tidegate.system.atomic import write_whole

FOLDER = "observability"
METRICS_KEY = f"../{METRICS}"
PROMETHEUS_URL, GRAFANA_URL = "http://127.0.0.1:9090", "http://127.0.0.1:3000"
GRAFANA_HOMES = ("/usr/share/grafana", "/opt/homebrew/share/grafana", "/usr/local/share/grafana")
"""Where its packages keep what the server needs beside its configuration."""


def with_prometheus(settings: Settings, options: Options) -> Settings:
    """With `--observability`, the Prometheus that it sets up is asked where no other is named."""
    if not options.observability or settings.prometheus_url:
        return settings
    return replace(settings, prometheus_url=PROMETHEUS_URL)


def write_observability(settings: Settings, options: Options) -> list[str]:
    """Write the files anew; what to tell the person who asked, line by line."""
    folder = settings.data_dir / FOLDER
    prometheus_url = settings.prometheus_url or PROMETHEUS_URL
    grafana_url = settings.grafana_url or GRAFANA_URL
    key = settings.api_key if options.clients_url else required_key(options.host, settings)  # whether it is open
    gateway = urlsplit(options.gateway_url)
    targets = files.Targets(
        gateways=[gateway.netloc],
        controls=[urlsplit(options.control_url).netloc],
        control_key=METRICS_KEY,
        gateway_key=METRICS_KEY if key else None,
        gateway_scheme=gateway.scheme,
    )
    grafana_port = urlsplit(grafana_url).port or 3000
    found = files.configuration(targets, prometheus_url, str(folder), grafana_port)
    _write(folder, found)
    return _next_steps(folder, prometheus_url, grafana_url)


def _write(folder: Path, found: dict[str, str]) -> None:
    """For this user alone: keys and passwords are among it. Dashboards of another release are removed."""
    folder.mkdir(exist_ok=True, mode=0o700)
    shutil.rmtree(folder / files.DASHBOARDS, ignore_errors=True)
    for name, text in found.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(path, text.encode(), mode=0o600)


def _next_steps(folder: Path, prometheus_url: str, grafana_url: str) -> list[str]:
    dashboards = f"{_public(grafana_url)}/dashboards"
    lines = {
        "files": str(folder),
        "Prometheus": _public(prometheus_url),
        "start it": _prometheus_command(folder, prometheus_url),
        "Grafana": dashboards,
        "start it ": _grafana_command(folder, grafana_url),
    }
    return ["", "Observability: Prometheus and Grafana are yours to start"] + [
        f"  {name.strip():<12}{value}" for name, value in lines.items()
    ]


def _prometheus_command(folder: Path, url: str) -> str:
    config = folder / files.PROMETHEUS
    parts = urlsplit(url)
    if not is_loopback(parts.hostname or ""):
        return f"it runs elsewhere: give it the scrape_configs and rule_files of {config}"
    address = f"{parts.hostname}:{parts.port or 9090}"
    data = folder / "prometheus-data"
    return shlex.join(
        ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={data}", f"--web.listen-address={address}"]
    )


def _grafana_command(folder: Path, url: str) -> str:
    if not is_loopback(urlsplit(url).hostname or ""):
        return f"it runs elsewhere: import the dashboards of {folder / files.DASHBOARDS}"
    home = next((home for home in GRAFANA_HOMES if Path(home).is_dir()), GRAFANA_HOMES[0])
    return shlex.join(["grafana", "server", f"--homepath={home}", f"--config={folder / files.GRAFANA}"])


def _public(url: str) -> str:
    """Without user and password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")
