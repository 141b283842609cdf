import hashlib
import http.client
import json
import threading
from contextlib import closing

import httpx
import pytest

from support.control import add_version
from support.wait import until
from tidegate.api.routes import jobs as job_routes
from tidegate.core.endpoints.effective import AutomatedWeights, Share, Split
from tidegate.store.endpoints import automation
from tidegate.store.endpoints.history import Entry
from tidegate.store.fleet.fleet import save_snapshot
from tidegate.store.tables import EndpointRow
from tidegate.wire.gateways.load import LoadReport
from tidegate.wire.gateways.snapshot import Snapshot, encode_snapshot
from tidegate.wiring import Container


def _publish(container: Container, revision: int) -> None:
    with container.store.transaction() as tx:
        save_snapshot(tx, revision, encode_snapshot(Snapshot(revision, ())).decode(), 0.0)
    container.snapshot_changed.notify()


def test_models_and_versions_have_the_documented_shape(container: Container, api: httpx.Client) -> None:
    add_version(container, "shape", "1", label="v1.0.0")
    (model,) = [model for model in api.get("/api/v1/models").json()["models"] if model["name"] == "shape"]
    assert model == api.get("/api/v1/models/shape").json()
    (version,) = model["versions"]
    assert {"version", "label", "digest", "status", "score", "accelerated", "tags"} <= version.keys()
    assert (version["version"], version["label"], version["score"]) == ("1", "v1.0.0", 0.9)
    for reference in ("1", "v1.0.0", "latest"):
        assert api.get(f"/api/v1/models/shape/versions/{reference}").json()["digest"] == version["digest"]
    assert api.get("/api/v1/models/shape/versions/9").json()["code"] == "unknown_version"
    assert api.put("/api/v1/models/shape/trust", json={"pickle": True}).json()["pickle_trusted"] is True
    assert api.delete("/api/v1/models/shape/versions/1").status_code == 204
    assert api.delete("/api/v1/models/shape").status_code == 204
    assert api.delete("/api/v1/models/shape").status_code == 404


def test_an_endpoint_from_deployment_to_deletion(container: Container, api: httpx.Client) -> None:
    for number in ("1", "2"):
        add_version(container, "life", number)
    answer = api.put("/api/v1/endpoints/life", json={"model": "life", "version": "1"})
    assert answer.status_code == 202
    assert {"name", "url", "status", "reason", "traffic", "variants"} <= answer.json().keys()
    assert answer.json()["variants"][0]["replicas"] == {"desired": 1, "ready": 0}
    traffic = api.put("/api/v1/endpoints/life/traffic", json={"traffic": {"1": 90, "2": 10}})
    assert (traffic.status_code, traffic.json()["target"]) == (202, {"1": 90, "2": 10})
    wrong = api.put("/api/v1/endpoints/life/traffic", json={"traffic": {"1": 90, "2": 20}})
    assert (wrong.status_code, "110" in wrong.json()["error"]) == (422, True)
    assert api.post("/api/v1/endpoints/life/rollback").json()["target"] == {"1": 100}
    assert api.post("/api/v1/endpoints/life/rollback", json={"to": 2}).json()["target"] == {"1": 90, "2": 10}
    assert api.post("/api/v1/endpoints/life/scale", json={"replicas": 2}).status_code == 202
    history = api.get("/api/v1/endpoints/life/history").json()["history"]
    assert [entry["action"] for entry in history] == ["scale", "rollback", "rollback", "traffic", "deploy"]
    assert (history[0]["replicas"], history[0]["actor"]) == (2, "token")
    assert api.get("/api/v1/endpoints/life/logs").json() == {"logs": []}
    of_model = api.get("/api/v1/endpoints", params={"model": "life"}).json()["endpoints"]
    assert [one["name"] for one in of_model] == ["life"]
    assert api.get("/api/v1/endpoints", params={"model": "nothing"}).json()["endpoints"] == []
    container.load.load.record(LoadReport("g0", 1.0, []))
    series = api.get("/api/v1/endpoints/life/load", params={"step_s": 60}).json()
    assert (len(series["times"]), set(series["versions"])) == (5, {"1", "2"})
    for asked, code in (("life/load?step_s=1", 422), ("life/load?step_s=nan", 422), ("never/load", 404)):
        assert api.get(f"/api/v1/endpoints/{asked}").status_code == code
    assert api.delete("/api/v1/models/life").json()["code"] == "in_use"
    assert api.delete("/api/v1/endpoints/life").json()["status"] == "deleting"
    assert "life" in [endpoint["name"] for endpoint in api.get("/api/v1/endpoints").json()["endpoints"]]


def test_a_change_may_name_what_it_was_made_for(container: Container, api: httpx.Client) -> None:
    path, weights = "/api/v1/endpoints/tagged", {"traffic": {"1": 90, "2": 10}}
    for number in ("1", "2"):
        add_version(container, "tagged", number)
    nothing = api.put(path, json={"model": "tagged"}, headers={"If-Match": "*"})
    assert (nothing.status_code, nothing.json()["code"]) == (412, "changed_meanwhile")
    read = api.put(path, json={"model": "tagged", "version": "1"}).headers["etag"]
    assert api.get(path).headers["etag"] == read
    changed = api.put(f"{path}/traffic", json=weights, headers={"If-Match": read})
    assert changed.status_code == 202
    assert changed.headers["etag"] != read
    for method, verb, body in (
        ("PUT", "", {"model": "tagged", "version": "2"}),
        ("PUT", "/traffic", {"traffic": {"2": 100}}),
        ("POST", "/rollback", {}),
        ("POST", "/scale", {"replicas": 3}),
        ("DELETE", "", None),
    ):
        late = api.request(method, path + verb, json=body, headers={"If-Match": read})
        assert (late.status_code, late.json()["details"]["revision"]) == (412, 2), late.text
    assert api.get(path).json()["target"] == {"1": 90, "2": 10}
    now = changed.headers["etag"]
    assert api.post(f"{path}/scale", json={"replicas": 3}, headers={"If-Match": f"{read}, {now}"}).status_code == 202
    assert api.post(f"{path}/scale", json={"replicas": 4}, headers={"If-Match": "*"}).status_code == 202


def test_history_is_paged_and_outlives_its_endpoint(container: Container, api: httpx.Client) -> None:
    path = "/api/v1/endpoints/paged"
    add_version(container, "paged", "1")
    assert api.put(path, json={"model": "paged"}).status_code == 202
    for replicas in (2, 3):
        assert api.post(f"{path}/scale", json={"replicas": replicas}).status_code == 202
    assert api.delete(path).status_code == 202
    with container.store.transaction() as tx:  # as the loop does once the replicas are gone
        tx.delete(tx.get_one(EndpointRow, "paged"))
    assert api.get(path).status_code == 404
    first = api.get(f"{path}/history", params={"limit": 3}).json()
    last = api.get(f"{path}/history", params={"limit": 3, "before": first["next"]}).json()
    actions = [entry["action"] for entry in (*first["history"], *last["history"])]
    assert (actions, last["next"]) == (["delete", "scale", "scale", "deploy"], None)
    for wrong in ({"limit": 0}, {"before": 0}, {"before": 99999999999999999999, "every": True}):
        assert api.get(f"{path}/history", params=wrong).status_code == 422, wrong
    assert len(api.get(f"{path}/history", params={"every": True}).json()["history"]) == 4
    for asked in ({}, {"every": True}):
        assert api.get("/api/v1/endpoints/never/history", params=asked).status_code == 404, asked


def test_a_change_of_traffic_during_an_experiment_says_that_it_ends_it(container: Container, api: httpx.Client) -> None:
    path = "/api/v1/endpoints/tried"
    for number in ("1", "2"):
        add_version(container, "tried", number)
    read = api.put(path, json={"model": "tried", "version": "1"}).headers["etag"]
    with container.fenced.transaction() as tx:
        row = tx.get_one(EndpointRow, "tried")
        shares = (Share("control", "1", 50.0), Share("treatment", "2", 50.0))
        weights = AutomatedWeights("experiment", "blue", row.revision, Split("salt", shares), {"1": 100.0})
        assert automation.set_weights(tx, automation.seen_of(row), weights, Entry("experiment", 1.0))
    shown = api.get(path)
    assert shown.headers["etag"] == read
    running = {"kind": "experiment", "name": "blue", "revision": 1, "stable": {"1": 100}}
    split = {"salt": "salt", "shares": {"control": 50, "treatment": 50}, "coverage": 1, "uncovered": "", "phase": None}
    assert shown.json()["automation"] == running | split
    refused = api.put(f"{path}/traffic", json={"traffic": {"2": 100}})
    assert (refused.status_code, refused.json()["code"]) == (409, "automation_running")
    ended = api.put(f"{path}/traffic", json={"traffic": {"2": 100}, "end_automation": True}, headers={"If-Match": read})
    assert (ended.status_code, ended.json()["automation"], ended.json()["target"]) == (202, None, {"2": 100})


def test_an_upload_streams_in_and_a_job_can_name_it(api: httpx.Client) -> None:
    data = b"0123456789" * 300_000
    answer = api.post("/api/v1/uploads", content=(data[at : at + 70_000] for at in range(0, len(data), 70_000)))
    assert answer.status_code == 201
    upload = answer.json()
    assert (upload["size_bytes"], upload["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    queued = api.post("/api/v1/models/up/versions", json={"upload": upload["id"], "filename": "m.onnx"})
    assert (queued.status_code, queued.json()["state"]) == (202, "queued")
    assert api.get(f"/api/v1/jobs/{queued.json()['id']}").json() == queued.json()
    assert api.get("/api/v1/jobs", params={"subject": "up"}).json()["jobs"] == [queued.json()]
    assert api.get("/api/v1/jobs/nope").json()["code"] == "unknown_job"


def test_an_upload_of_nothing_or_of_a_form_is_refused(api: httpx.Client) -> None:
    assert api.post("/api/v1/uploads", content=b"").status_code == 422
    assert api.post("/api/v1/uploads", data={"a": "b"}).status_code == 415


def test_a_client_that_stalls_in_an_upload_is_cut_off_and_leaves_nothing(
    container: Container, api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_routes, "CHUNK_TIMEOUT_S", 0.2)
    before = set(container.uploads.directory.iterdir()) if container.uploads.directory.exists() else set()
    with closing(http.client.HTTPConnection(str(api.base_url.netloc, "ascii"), timeout=60)) as stalling:
        stalling.putrequest("POST", "/api/v1/uploads")
        for name in ("authorization", "transfer-encoding"):
            stalling.putheader(name, api.headers.get(name, "chunked"))
        stalling.endheaders()
        stalling.send(b"3\r\nabc\r\n")
        assert stalling.getresponse().status == 504
    until(lambda: set(container.uploads.directory.iterdir()) == before, what="the cleaning up")


def test_status_and_metrics_speak_of_endpoints_and_jobs(container: Container, api: httpx.Client) -> None:
    add_version(container, "seen", "1")
    api.put("/api/v1/endpoints/seen", json={"model": "seen", "replicas": 3})
    status = api.get("/api/v1/status").json()
    assert (status["gateway_url"], status["gateways"]) == ("http://127.0.0.1:8000", [])
    assert "seen" in [endpoint["name"] for endpoint in status["endpoints"]]
    metrics = api.get("/metrics").text
    assert 'tidegate_replicas_desired{endpoint="seen",version="1"} 3.0' in metrics
    assert 'tidegate_replicas_ready{endpoint="seen",version="1"} 0.0' in metrics
    assert 'tidegate_jobs{kind="register",state="running"} 0.0' in metrics


def test_the_documentation_needs_no_internet(api: httpx.Client) -> None:
    page = api.get("/api/docs").text
    assert "://" not in page.replace("http://www.w3.org", "")
    assert api.get("/api/docs/assets/swagger-ui-bundle.js").status_code == 200
    assert json.loads(api.get("/api/openapi.json").text)["info"]["title"] == "Tidegate"


def test_a_gateway_gets_the_snapshot_as_soon_as_there_is_a_newer_one(
    container: Container, api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    _publish(container, 1)
    first = api.get("/internal/v1/snapshot", params={"gateway": "g-0", "after": 0, "wait_s": 10})
    assert first.json()["revision"] == 1
    monkeypatch.setattr("tidegate.api.routes.platform.RECHECK_S", 60.0)  # notified, not found at the next look
    revisions: list[int] = []

    def poll() -> None:
        answer = api.get("/internal/v1/snapshot", params={"gateway": "g-0", "after": 1, "wait_s": 30})
        revisions.append(answer.json()["revision"])

    poller = threading.Thread(target=poll)
    poller.start()
    until(lambda: container.gateway_revisions.applied()["g-0"].revision == 1, what="the poll")
    _publish(container, 2)
    poller.join(20)
    assert revisions == [2]


def test_a_gateway_says_which_replicas_it_still_uses(container: Container, api: httpx.Client) -> None:
    _publish(container, 1)
    api.get("/internal/v1/snapshot", params={"gateway": "g-0", "after": 1, "in_use": "r-1,r-2"})
    assert container.gateway_revisions.applied()["g-0"].in_use == {"r-1", "r-2"}
    api.get("/internal/v1/snapshot", params={"gateway": "g-0", "after": 1})
    assert container.gateway_revisions.applied()["g-0"].in_use == frozenset()


def test_a_gateway_says_that_an_endpoint_is_wanted_and_the_autoscaler_looks_at_once(
    container: Container, api: httpx.Client
) -> None:
    container.scaling_changed.clear()
    report = {"gateway": "g-0", "endpoint": "churn"}
    assert api.post("/internal/v1/wanted", json=report).status_code == 204
    assert container.wanted.now() == {"churn"}
    assert container.scaling_changed.is_set()
    assert api.post("/internal/v1/wanted", json=report, headers={"Authorization": "Bearer another"}).status_code == 401


def test_what_runs_is_looked_at_when_a_gateway_lost_a_replica(container: Container, api: httpx.Client) -> None:
    container.spec_changed.clear()
    report = {"gateway": "gateway-0"}
    assert api.post("/internal/v1/losses", json=report).status_code == 204
    assert container.spec_changed.is_set()
    container.spec_changed.clear()
    assert api.post("/internal/v1/losses", json=report, headers={"Authorization": "Bearer another"}).status_code == 401
    assert not container.spec_changed.is_set()


def test_a_gateway_that_waits_in_vain_is_answered_empty(container: Container, api: httpx.Client) -> None:
    _publish(container, 3)
    answer = api.get("/internal/v1/snapshot", params={"gateway": "w", "after": 3, "wait_s": 0.2})
    assert (answer.status_code, answer.content) == (204, b"")


def test_many_waiting_gateways_leave_the_api_free(container: Container, api: httpx.Client) -> None:
    _publish(container, 3)
    statuses: list[int] = []

    def poll(number: int) -> None:
        with httpx.Client(base_url=api.base_url, headers=api.headers, trust_env=False) as client:
            params: dict[str, str | float] = {"gateway": f"w-{number}", "after": 3, "wait_s": 30}
            statuses.append(client.get("/internal/v1/snapshot", params=params).status_code)

    pollers = [threading.Thread(target=poll, args=(number,)) for number in range(60)]
    for poller in pollers:
        poller.start()
    until(lambda: len([name for name in container.gateway_revisions.applied() if name.startswith("w-")]) == 60)
    assert api.get("/api/v1/endpoints").status_code == 200
    assert statuses == []  # all of them still waited when this was answered
    _publish(container, 4)
    for poller in pollers:
        poller.join(20)
    assert statuses == [200] * 60


def test_a_gateway_gets_no_id_token_for_an_audience_that_it_is_not_sent_to(
    container: Container, api: httpx.Client
) -> None:
    answer = api.get("/internal/v1/id-token", params={"audience": "https://somebody.example"})
    assert (answer.status_code, answer.json()["details"]["field"]) == (422, "audience")
