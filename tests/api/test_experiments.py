"""Experiments over REST: created, shown, changed under a tag, approved, and what is refused."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from support.control import ME, add_version
from tidegate.store.tables import ExperimentRow
from tidegate.wire.rest import DeployRequest
from tidegate.wiring import Container

NAME = "compared"
URL = f"/api/v1/endpoints/{NAME}/experiments"
ASKED: dict[str, Any] = {
    "control": "1",
    "treatments": ["2"],
    "metrics": ["converted:increase:proportion,window=7d"],
    "guardrails": ["errors:margin=abs:0.01"],
}


@pytest.fixture(scope="module", autouse=True)
def endpoint(container: Container) -> None:
    for number in ("1", "2"):
        add_version(container, NAME, number)
    container.endpoints.deploy(NAME, DeployRequest(NAME, "1"), ME)


def test_an_experiment_goes_its_way_over_rest(container: Container, api: httpx.Client) -> None:
    made = api.post(URL, json=ASKED | {"name": "blue"})
    assert (made.status_code, made.json()["state"]) == (201, "draft"), made.text
    assert made.json()["model_a"] == f"{NAME}:1"
    tag = api.get(f"/api/v1/endpoints/{NAME}").headers["etag"]
    late = api.post(f"{URL}/blue/start", headers={"if-match": '"none"'})
    assert (late.status_code, late.json()["code"]) == (412, "changed_meanwhile")
    started = api.post(f"{URL}/blue/start", headers={"if-match": tag})
    assert (started.status_code, started.json()["active"], started.json()["phase"]) == (200, True, 1)
    shown = api.get(f"/api/v1/endpoints/{NAME}").json()
    assert (shown["automation"]["kind"], shown["automation"]["name"]) == ("experiment", "blue")
    assert api.get(f"{URL}/blue/looks").json() == {"looks": []}
    refused = api.post(f"{URL}/blue/approve")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    with container.store.transaction() as tx:
        tx.execute(update(ExperimentRow).values(decision="promote", winner="treatment", looked_at=time.time()))
    approved = api.post(f"{URL}/blue/approve")
    assert (approved.status_code, approved.json()["state"]) == (200, "decided"), approved.text
    assert api.get(f"/api/v1/endpoints/{NAME}").json()["asked"] == {"2": 100.0}
    entries = api.get("/api/v1/audit", params={"limit": 2}).json()["entries"]
    assert [(one["action"], one["who"]["name"]) for one in entries] == [
        ("experiment_approve", "token"),
        ("promote", "experiment blue"),
    ]
    assert [one["name"] for one in api.get(URL).json()["experiments"]] == ["blue"]
    page = api.get(f"{URL}/blue/report")
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert "blue" in page.text


@pytest.mark.parametrize(
    ("changed", "status", "code", "words"),
    [
        ({"metrics": ["converted"]}, 422, "invalid_argument", "which way is better"),
        ({"split": [50, 60]}, 422, "invalid_argument", "does not add up to 100"),
        ({"treatments": ["9"]}, 404, "unknown_version", "no version '9'"),
        ({"windows": []}, 422, "invalid_argument", "windows"),
        ({"auto": "yes"}, 422, "invalid_argument", "auto"),
        ({"name": "x" * 64}, 422, "invalid_argument", "experiment name"),
    ],
)
def test_what_makes_no_sense_is_refused(
    api: httpx.Client, changed: dict[str, Any], status: int, code: str, words: str
) -> None:
    answer = api.post(URL, json=ASKED | changed)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert words in answer.text


def test_what_is_not_there_is_said(api: httpx.Client) -> None:
    for path, code in (
        (f"{URL}/none", "unknown_experiment"),
        ("/api/v1/endpoints/none/experiments", "unknown_endpoint"),
    ):
        answer = api.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, code)
