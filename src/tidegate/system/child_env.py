"""The environment of processes that run a model's code or a tool. One filter decides what looks like a secret."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

SECRET_NAMES = frozenset(
    {
        "CELERY_BROKER_URL",
        "CELERY_RESULT_BACKEND",
        "DATABASE_URL",
        "GRAFANA_URL",
        "KUBECONFIG",
        "KUBECONFIG_PATH",
        "MLFLOW_REGISTRY_URI",
        "MLFLOW_S3_ENDPOINT_URL",
        "MLFLOW_TRACKING_URI",
        "NETRC",
        "PGPASSFILE",
        "PROMETHEUS_URL",
        "REDIS_URL",
        "TIDEGATE_CAPTURE_S3_ENDPOINT_URL",
        "TIDEGATE_CAPTURE_URL",
    }
)
"""Addresses that hold passwords, and files of keys."""
_SECRET_NAME = re.compile(
    r"TOKEN|SECRET|PASSW|PASSPHRASE|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE|DATABASE_URL|DSN|AUTH|HOOK"
    r"|CONNECTION_STRING|(^|_)(PAT|JWT)(_|$)|_(KEY|PASS|PWD)(_|$)|[A-Z]KEY$",
    re.IGNORECASE,
)
_SECRET_VALUE = re.compile(r"://[^/?#\s@]+@|\b(PWD|PASSWORD|ACCOUNTKEY|SHAREDACCESSKEY)=", re.IGNORECASE)
_INSTALLERS_OWN = re.compile(
    r"(PIP|UV)_((EXTRA_|DEFAULT_)?INDEX(_URL)?|FIND_LINKS|PROXY)$|(ALL|HTTPS?)_PROXY$", re.IGNORECASE
)


def inherited_env(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for a process that runs a model's code: this one's, without anything that looks like a secret.

    What a name gives away counts, and so does a URL with a user or a password as the value.
    """
    env = os.environ if env is None else env
    return {name: value for name, value in env.items() if not _is_secret(name, value)}


def storage_keys(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """What says where captured rows are and what AWS's own credential chain takes: for processes that read them there,
    the compactor and queries, beside `inherited_env`.
    """
    env = os.environ if env is None else env
    return {name: value for name, value in env.items() if name.startswith(("AWS_", "TIDEGATE_CAPTURE_"))}


def installer_env(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """`inherited_env`, and the indexes and proxies of pip and uv also where their addresses hold a password."""
    env = os.environ if env is None else env
    return inherited_env(env) | {name: value for name, value in env.items() if _INSTALLERS_OWN.match(name)}


def engine_env(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """`inherited_env`, and the agent through which the Docker command line reaches an engine over SSH."""
    env = os.environ if env is None else env
    return inherited_env(env) | {name: env[name] for name in ("SSH_AUTH_SOCK",) if name in env}


def _is_secret(name: str, value: str) -> bool:
    return name in SECRET_NAMES or bool(_SECRET_NAME.search(name)) or bool(_SECRET_VALUE.search(value))
