"""The platform's own keys, each in a file of the data directory that its owner alone can read. Called by wiring.

The file is always the key in force: one that the environment gives is written to it, so that the command line of this
machine and its gateways find it there.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tidegate.errors import InvalidArgument
from tidegate.settings import Settings
from tidegate.system.atomic import write_whole

TOKEN, NODE, METRICS = "token", "node.key", "metrics.key"
EARLIER_GATEWAYS = "earlier-gateways"
"""Lies in data directories made before there was a node key: their gateways elsewhere may show TIDEGATE_API_KEY."""


@dataclass(frozen=True)
class PlatformKeys:
    """Who may do what: `token` everything, `node` what gateways ask, `metrics` /metrics, `predict` predictions.

    `predict_is_node` holds where gateways of an earlier release may still show the prediction key.
    """

    token: str
    node: str
    metrics: str
    predict: str | None = None
    predict_is_node: bool = False


def check_keys(settings: Settings) -> None:
    """Raise `InvalidArgument` where a key of the environment is blank, or two are the same: each would do both."""
    given = {
        "TIDEGATE_TOKEN": settings.token,
        "TIDEGATE_NODE_KEY": settings.node_key,
        "TIDEGATE_METRICS_KEY": settings.metrics_key,
    }
    named = _predict(settings) | {name: key for name, key in given.items() if key}
    for name, key in named.items():
        if not key.strip() or key != key.strip():
            raise InvalidArgument(f"{name} is blank, or begins or ends with white space: no key does", field=name)
    _check_apart(named)


def _predict(settings: Settings) -> dict[str, str]:
    return {"TIDEGATE_API_KEY": settings.api_key} if settings.api_key else {}


def _check_apart(keys: Mapping[str, str]) -> None:
    names = list(keys)
    for index, name in enumerate(names):
        for other in names[index + 1 :]:
            if keys[name] == keys[other]:
                raise InvalidArgument(f"{name} and {other} are the same key: give each its own", field=other)


def check_kept_keys(settings: Settings) -> None:
    """As `check_keys`, and against the keys in the files, where the environment gives none. Changes nothing."""
    check_keys(settings)
    folder = settings.data_dir
    given = {TOKEN: settings.token, NODE: settings.node_key, METRICS: settings.metrics_key}
    found = {f"DATA/{name}": key or _kept(folder / name) for name, key in given.items()}
    _check_apart(_predict(settings) | {name: key for name, key in found.items() if key})


def platform_keys(settings: Settings) -> PlatformKeys:
    """The keys in force: from the environment, else from their files, else made now."""
    check_keys(settings)
    folder = settings.data_dir
    marker = folder / EARLIER_GATEWAYS
    if (folder / TOKEN).exists() and not ((folder / NODE).exists() or (folder / METRICS).exists()):
        os.close(os.open(marker, os.O_WRONLY | os.O_CREAT, 0o600))
    token = load_key(folder / TOKEN, settings.token)
    node, metrics = load_key(folder / NODE, settings.node_key), load_key(folder / METRICS, settings.metrics_key)
    _check_apart(_predict(settings) | {f"DATA/{TOKEN}": token, f"DATA/{NODE}": node, f"DATA/{METRICS}": metrics})
    return PlatformKeys(token, node, metrics, settings.api_key, marker.exists())


def load_key(path: Path, given: str | None = None) -> str:
    """The key in this file, made once and readable by its owner alone; `given` takes its place.

    An empty file (a full disk) is no key.
    """
    kept = _kept(path)
    if kept and given in (None, kept):
        path.chmod(0o600)
        return kept
    key = given or secrets.token_urlsafe(32)
    write_whole(path, key.encode(), mode=0o600, first_wins=given is None and kept is None)
    return path.read_text().strip()


def _kept(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return None
