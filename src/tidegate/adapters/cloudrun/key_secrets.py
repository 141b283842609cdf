"""Keys of replicas in Secret Manager, for revisions that refer to them instead of having them in plain text.

Called by `workloads`, where `TIDEGATE_CLOUDRUN_SECRETS` asks for it.
"""

from __future__ import annotations

import base64
import contextlib
import logging

from tidegate.adapters.cloudrun.api import Changed, CloudRunApi, Missing, Refused
from tidegate.adapters.cloudrun.service import PLATFORM, KeySecret
from tidegate.errors import EngineDenied, TidegateError

log = logging.getLogger(__name__)

API = "secretmanager"


def keep(api: CloudRunApi, platform: str, credential: str, key: str) -> KeySecret:
    """Keep the key of this name as a new version of its secret, which revisions before go on to need theirs of.

    Raises `EngineUnavailable`, also where a right is missing.
    """
    name, parent = secret_name(platform, credential), f"v1/projects/{api.place.project}/secrets"
    secret = {"replication": {"automatic": {}}, "labels": {PLATFORM: platform}}
    with contextlib.suppress(Changed):  # it is there
        api.call("POST", parent, secret, {"secretId": name}, api=API)
    payload = {"payload": {"data": base64.b64encode(key.encode()).decode()}}
    try:
        made = api.call("POST", f"{parent}/{name}:addVersion", payload, api=API)
    except (Missing, Changed, Refused) as error:
        raise EngineDenied(f"Secret Manager does not keep the key as {name}: {error}") from error
    return KeySecret(name, str(made.get("name", "")).rpartition("/")[2])


def delete(api: CloudRunApi, platform: str, credential: str) -> None:
    """Delete the secret with all its versions. One that is gone is no error; one that stays is said in the log."""
    name = secret_name(platform, credential)
    try:
        api.call("DELETE", f"v1/projects/{api.place.project}/secrets/{name}", api=API)
    except Missing:
        return
    except (Changed, Refused, TidegateError) as error:
        log.warning("secret %s is not deleted: %s", name, error)


def secret_name(platform: str, credential: str) -> str:
    """Of a secret: those of all regions and platforms of a project stand in one list.

    >>> secret_name("0a1b2c3d", "tidegate-churn-v3-1f3a5b7c")
    'tidegate-churn-v3-1f3a5b7c-0a1b2c3d'
    """
    return f"{credential}-{platform}"
