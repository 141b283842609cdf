"""Canaries and shadows are changed under a tag, as traffic and experiments are."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from support.control import ME, add_version
from tidegate.wire.rest import DeployRequest
from tidegate.wiring import Container

NAME = "changed"
URL = f"/api/v1/endpoints/{NAME}"


@pytest.fixture(scope="module", autouse=True)
def endpoint(container: Container) -> None:
    for number in ("1", "2", "3"):
        add_version(container, NAME, number)
    container.endpoints.deploy(NAME, DeployRequest(NAME, "1"), ME)


def send(api: httpx.Client, method: str, path: str, tag: str, body: dict[str, Any] | None = None) -> httpx.Response:
    return api.request(method, f"{URL}/{path}", json=body, headers={"if-match": tag})


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("POST", "canary", {"version": "2"}, 202),
        ("POST", "canary/pause", None, 200),
        ("POST", "canary/resume", None, 200),
        ("POST", "canary/abort", None, 200),
        ("POST", "canary/retry", None, 202),
        ("POST", "canary/promote", None, 200),
        ("PUT", "shadow", {"version": "3", "share": 20}, 200),
        ("DELETE", "shadow", None, 200),
    ],
)
def test_a_change_is_made_while_the_endpoint_is_as_it_was_read(
    api: httpx.Client, method: str, path: str, body: dict[str, Any] | None, code: int
) -> None:
    stale = send(api, method, path, '"none"', body)
    assert (stale.status_code, stale.json()["code"]) == (412, "changed_meanwhile")
    tag = api.get(URL).headers["etag"]
    assert send(api, method, path, tag, body).status_code == code
