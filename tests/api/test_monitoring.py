"""Monitoring over the API: settings, an evaluation at once, results by page, baselines; what is wrong is refused."""

from __future__ import annotations

import httpx
import pytest

from support.control import ME, add_version
from tidegate.wire import rest
from tidegate.wiring import Container


@pytest.fixture(scope="module")
def endpoint(container: Container) -> str:
    add_version(container, "watched", "1")
    container.endpoints.deploy("watched", rest.DeployRequest("watched", "1"), ME)
    return "watched"


def test_settings_are_set_one_by_one(api: httpx.Client, endpoint: str) -> None:
    path = f"/api/v1/endpoints/{endpoint}/monitor"
    first = api.get(path).json()
    assert (first["on"], first["every_s"], first["label_delay_s"], first["evaluated_at"]) == (True, 300, 0, None)
    assert api.put(path, json={"label_delay_s": 60, "by": "prediction"}).json()["label_delay_s"] == 60
    assert api.put(path, json={"every_s": 30, "by": ""}).json() | {"blocks": []} == first | {
        "label_delay_s": 60,
        "every_s": 30,
        "by": None,
    }
    for wrong in (
        {"every": 5},
        {"every_s": "5"},
        {"every_s": -1},
        {"timezone": "Nowhere/Here"},
        {"block_s": 1e9},
        {"by": "town"},
    ):
        answer = api.put(path, json=wrong)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_argument"), wrong
    assert api.get("/api/v1/endpoints/nobody/monitor").status_code == 404


def test_an_evaluation_that_is_asked_for_is_answered_and_kept(api: httpx.Client, endpoint: str) -> None:
    path = f"/api/v1/endpoints/{endpoint}"
    found = api.post(f"{path}/monitor/run").json()["results"]
    assert {one["state"] for one in found} == {"unknown"}
    kept = api.get(f"{path}/monitor-results", params={"limit": 1000}).json()
    assert sorted(one["monitor"] for one in kept["results"]) == sorted(one["monitor"] for one in found)
    assert {"from", "to", "verdict", "state", "n", "evaluated_at"} <= set(kept["results"][0])
    first = api.get(f"{path}/monitor-results", params={"limit": 1}).json()
    second = api.get(f"{path}/monitor-results", params={"limit": 1, "cursor": first["next"]}).json()
    assert [*first["results"], *second["results"]] == kept["results"][:2]
    only = api.get(f"{path}/monitor-results", params={"monitor": "errors"}).json()["results"]
    assert {one["monitor"] for one in only} == {"errors"}
    assert api.get(f"{path}/monitor-results", params={"since": 9e9}).json()["results"] == []
    for wrong in ({"monitor": "weather"}, {"since": "nan"}, {"limit": 0}, {"cursor": "x"}):
        assert api.get(f"{path}/monitor-results", params=wrong).status_code == 422, wrong
    api.put(f"{path}/monitor", json={"on": False})
    assert api.post(f"{path}/monitor/run").status_code == 409
    api.put(f"{path}/monitor", json={"on": True})


def test_a_version_without_a_baseline_says_how_to_give_it_one(api: httpx.Client, endpoint: str) -> None:
    path = f"/api/v1/models/{endpoint}/versions/latest/baseline"
    missing = api.get(path)
    assert (missing.status_code, missing.json()["code"]) == (404, "unknown_baseline")
    assert "tidegate baseline watched:1 --data" in missing.json()["error"]
    assert api.put(path, json={"upload": "none", "filename": "rows.csv"}).status_code == 404
    assert api.put(path, json={"upload": "none", "filename": "../rows.csv"}).status_code == 422
    assert api.put(path, json={"filename": "rows.csv"}).status_code == 422


def test_the_results_are_described(api: httpx.Client) -> None:
    described = api.get("/api/openapi.json").json()
    page = described["components"]["schemas"]["MonitorResultPage"]["properties"]["results"]["items"]
    shape = described["components"]["schemas"][page["$ref"].rpartition("/")[2]] if "$ref" in page else page
    assert {"monitor", "from", "to", "drift_detected", "significant_drop", "histograms"} <= set(shape["properties"])
