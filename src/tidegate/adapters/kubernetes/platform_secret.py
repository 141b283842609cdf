"""The Secret from which the processes of a platform in a cluster have their keys: made once, and never changed here."""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Callable

from tidegate.adapters.kubernetes.api import KubernetesApi, Object
from tidegate.adapters.kubernetes.kinds import SECRET
from tidegate.errors import EngineRefused

KEYS = ("token", "node-key", "api-key", "metrics-key")
"""What TIDEGATE_TOKEN, TIDEGATE_NODE_KEY, TIDEGATE_API_KEY and TIDEGATE_METRICS_KEY are read from."""


def ensure_keys(
    api: KubernetesApi, name: str, make: Callable[[], str] = lambda: secrets.token_urlsafe(32)
) -> list[str]:
    """Have the Secret `name` hold every key of `KEYS`; those that were made now. A key that is there stays.

    Raises `EngineRefused` where one that is there is no key, `ChangedMeanwhile` where somebody else writes the Secret
    at the same moment, and otherwise as `KubernetesApi` does.
    """
    found = api.get(SECRET, name)
    kept = {} if found is None else _kept(found, name)
    made = [key for key in KEYS if key not in kept]
    if not made:
        return []
    keys = kept | {key: make() for key in made}
    api.apply(_manifest(name, keys, found))
    return made


def _kept(found: Object, name: str) -> dict[str, str]:
    data = found.get("data") or {}
    return {key: _key(data[key], f"'{key}' of the Secret '{name}'") for key in KEYS if key in data}


def _key(encoded: str, what: str) -> str:
    """Raises `EngineRefused` for what the platform's processes would refuse, where it can be said what to do."""
    try:
        key = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise EngineRefused(f"{what} is no text: give it another value, or remove it to have one made") from None
    if not key.strip() or key != key.strip():
        raise EngineRefused(
            f"{what} is blank, or begins or ends with white space: give it another value, or remove it to have one made"
        )
    return key


def _manifest(name: str, keys: dict[str, str], found: Object | None) -> Object:
    metadata: Object = {
        "name": name,
        "labels": {"app.kubernetes.io/name": "tidegate", "app.kubernetes.io/part-of": "tidegate"},
    }
    if found is not None:
        metadata["resourceVersion"] = found["metadata"]["resourceVersion"]
    data = {key: base64.b64encode(value.encode()).decode() for key, value in keys.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": data}
