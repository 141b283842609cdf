"""The platform's keys in a cluster: made once, whoever starts, and never changed."""

from __future__ import annotations

import base64
from itertools import count
from typing import Any, cast

import pytest

from tidegate.adapters.kubernetes.api import KubernetesApi
from tidegate.adapters.kubernetes.platform_secret import KEYS, ensure_keys
from tidegate.errors import EngineRefused

NAME = "tidegate-keys"


class Secrets:
    """As much of the API as keys need: server-side apply keeps a Secret of any number of keys whole."""

    def __init__(self, **data: str) -> None:
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
        self.object = {"metadata": {"resourceVersion": "7"}, "data": encoded} if data else None
        self.applied: list[dict[str, Any]] = []

    def get(self, _kind: object, name: str) -> dict[str, Any] | None:
        assert name == NAME
        return self.object

    def apply(self, manifest: dict[str, Any]) -> dict[str, Any]:
        self.applied.append(manifest)
        self.object = {**manifest, "metadata": {**manifest["metadata"], "resourceVersion": "8"}}
        return self.object

    def decoded(self) -> dict[str, str]:
        assert self.object is not None
        return {key: base64.b64decode(value).decode() for key, value in self.object["data"].items()}


def ensure(secrets: Secrets) -> list[str]:
    numbers = count()
    return ensure_keys(cast("KubernetesApi", secrets), NAME, lambda: f"made-{next(numbers)}")


def test_four_keys_are_made_at_the_first_start_and_none_afterwards() -> None:
    secrets = Secrets()
    assert ensure(secrets) == list(KEYS)
    first = secrets.decoded()
    assert len(set(first.values())) == len(KEYS) == 4
    assert ensure(secrets) == []
    assert secrets.decoded() == first
    assert len(secrets.applied) == 1


def test_keys_that_somebody_put_there_stay_and_only_others_are_made() -> None:
    secrets = Secrets(token="an-old-token")
    assert ensure(secrets) == ["node-key", "api-key", "metrics-key"]
    assert secrets.decoded()["token"] == "an-old-token"
    (applied,) = secrets.applied
    assert applied["metadata"]["resourceVersion"] == "7", "so that a write in between is not lost"


@pytest.mark.parametrize("key", ["", " ", "with-a-line-end\n"])
def test_what_is_no_key_is_refused_with_what_to_do(key: str) -> None:
    secrets = Secrets(**{"token": "good", "api-key": key})
    with pytest.raises(EngineRefused, match=r"'api-key' of the Secret 'tidegate-keys' is blank.*remove it"):
        ensure(secrets)
    assert secrets.applied == []


def test_keys_are_long_and_random() -> None:
    secrets = Secrets()
    ensure_keys(cast("KubernetesApi", secrets), NAME)
    assert all(len(key) >= 43 for key in secrets.decoded().values())
