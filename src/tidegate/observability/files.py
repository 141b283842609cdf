"""The files that let a Prometheus and a Grafana watch one platform: made here, written by `control`. No I/O but reading
the package's own rules and dashboards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Any

import yaml

SCRAPE_EVERY_S = 15
GATEWAY_JOB, CONTROL_JOB = "tidegate-gateway", "tidegate-control"
"""As the rules name them."""
PROMETHEUS, RULES = "prometheus.yml", "rules/tidegate.yml"
GRAFANA, DASHBOARDS = "grafana/grafana.ini", "grafana/dashboards"
DATASOURCE_UID = "tidegate-prometheus"
HOME_DASHBOARD = "fleet.json"
_NOTE = "# Written by 'tidegate up --observability', anew each time: change a copy.\n"


@dataclass(frozen=True)
class Targets:
    """What to scrape, as host:port, and the files of the keys, relative to the configuration; None: open."""

    gateways: Sequence[str]
    controls: Sequence[str]
    control_key: str
    gateway_key: str | None = None
    gateway_scheme: str = "http"


def configuration(targets: Targets, prometheus_url: str, folder: str, grafana_port: int) -> dict[str, str]:
    """Every file by its path below `folder`, the absolute path under which Grafana finds them."""
    provisioning = "grafana/provisioning"
    return {
        PROMETHEUS: _NOTE + _yaml(scraping(targets)),
        RULES: rules(),
        GRAFANA: _NOTE.replace("#", ";") + _grafana_ini(PurePosixPath(folder), grafana_port),
        f"{provisioning}/datasources/tidegate.yml": _NOTE + _yaml(_datasource(prometheus_url)),
        f"{provisioning}/dashboards/tidegate.yml": _NOTE + _yaml(_provider(PurePosixPath(folder))),
        **{f"{DASHBOARDS}/{name}": text for name, text in dashboards().items()},
    }


def scraping(targets: Targets) -> dict[str, Any]:
    """Prometheus' own configuration."""
    return {
        "global": {"scrape_interval": f"{SCRAPE_EVERY_S}s", "evaluation_interval": f"{SCRAPE_EVERY_S}s"},
        "rule_files": [RULES],
        "scrape_configs": [
            {**_job(GATEWAY_JOB, targets.gateways, targets.gateway_key), "scheme": targets.gateway_scheme},
            _job(CONTROL_JOB, targets.controls, targets.control_key),
        ],
    }


def _job(name: str, targets: Sequence[str], key: str | None) -> dict[str, Any]:
    job: dict[str, Any] = {"job_name": name, "static_configs": [{"targets": list(targets)}]}
    return job if key is None else {**job, "authorization": {"type": "Bearer", "credentials_file": key}}


def rules() -> str:
    """Recording and alerting rules."""
    return (files(__package__) / "rules.yml").read_text()


def dashboards() -> dict[str, str]:
    """Grafana's JSON of each dashboard, by file name."""
    found = (files(__package__) / "dashboards").iterdir()
    return {item.name: item.read_text() for item in sorted(found, key=str) if item.name.endswith(".json")}


def _datasource(prometheus_url: str) -> dict[str, Any]:
    source = {
        "name": "Tidegate",
        "uid": DATASOURCE_UID,
        "type": "prometheus",
        "access": "proxy",
        "url": prometheus_url,
        "isDefault": True,
        "jsonData": {"timeInterval": f"{SCRAPE_EVERY_S}s", "httpMethod": "POST"},
    }
    return {"apiVersion": 1, "datasources": [source]}


def _provider(folder: PurePosixPath) -> dict[str, Any]:
    provider = {
        "name": "tidegate",
        "folder": "Tidegate",
        "type": "file",
        "disableDeletion": True,
        "allowUiUpdates": False,
        "options": {"path": str(folder / DASHBOARDS)},
    }
    return {"apiVersion": 1, "providers": [provider]}


def _grafana_ini(folder: PurePosixPath, port: int) -> str:
    own = folder / "grafana"
    sections: dict[str, dict[str, object]] = {
        "server": {"http_addr": "127.0.0.1", "http_port": port},
        "paths": {"data": own / "data", "logs": own / "logs", "provisioning": own / "provisioning"},
        "dashboards": {"default_home_dashboard_path": folder / DASHBOARDS / HOME_DASHBOARD},
        "analytics": {"reporting_enabled": "false", "check_for_updates": "false", "check_for_plugin_updates": "false"},
        "news": {"news_feed_enabled": "false"},
    }
    blocks = [
        f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in values.items())
        for name, values in sections.items()
    ]
    return "\n".join(blocks)


def _yaml(value: dict[str, Any]) -> str:
    return yaml.safe_dump(value, sort_keys=False, width=110)
