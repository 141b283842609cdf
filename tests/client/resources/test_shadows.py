"""Shadows of the SDK: what is sent, and what is raised where there is none."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from client.conftest import Standin
from support.decisions import shadow
from tidegate.client import Client
from tidegate.errors import NoShadow, SignatureDiffers

PATH = "/api/v1/endpoints/churn/shadow"
VIEW = shadow(version="3")


def shape() -> Any:
    return msgspec.to_builtins(VIEW)


def test_a_shadow_is_begun_shown_and_ended(standin: Standin) -> None:
    for method in ("PUT", "GET", "DELETE"):
        standin.says(f"{method} {PATH}", shape())
    client = Client(standin.url, "secret")
    assert client.shadows.set("churn", "3", 20) == VIEW
    assert json.loads(standin.asked[-1].body) == {"version": "3", "share": 20}
    assert client.shadows.get("churn") == VIEW
    assert client.shadows.end("churn") == VIEW
    assert [one.method for one in standin.asked] == ["PUT", "GET", "DELETE"]


def test_what_is_refused_is_raised(standin: Standin) -> None:
    client = Client(standin.url, "secret")
    standin.says(f"GET {PATH}", {"error": "no version shadows it", "code": "no_shadow"}, 404)
    with pytest.raises(NoShadow, match="no version shadows it"):
        client.shadows.get("churn")
    details = {"changes": ["column 'age' is gone"]}
    standin.says(f"PUT {PATH}", {"error": "they differ", "code": "signature_differs", "details": details}, 409)
    with pytest.raises(SignatureDiffers) as refused:
        client.shadows.set("churn", "3", 20)
    assert refused.value.details["changes"] == ["column 'age' is gone"]
