"""Whoever changes something through the API is in the audit, by the name of the key or session that was shown."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from support.control import add_version
from tidegate.api.app import create_app
from tidegate.api.permissions import Needed
from tidegate.core.access import Permission
from tidegate.core.alerting.model import Alert
from tidegate.errors import StoreUnavailable
from tidegate.store.alerting import alerts as rows
from tidegate.store.alerting import outbox
from tidegate.store.tables import JobRow, UploadRow
from tidegate.store.tables.alerts import SilenceRow
from tidegate.wiring import Container

NAMES = {
    "version": "1",
    "alias": "champion",
    "number": "1",
    **dict.fromkeys(("job_id", "endpoint", "experiment", "alert_id", "silence_id"), "told"),
}
ALERT = Alert(
    "told", "f", {"alertname": "errors", "endpoint": "told"}, "firing", "firing", "low", "", 1.0, fired_at=1.0
)
UNAUDITED = {"POST /api/v1/uploads"}
"""Bytes that are used for nothing yet: the request that names them is audited."""

CHANGES: list[tuple[str, str, Any]] = [
    ("PUT /api/v1/models/{name}/trust", "told", {"pickle": True}),
    ("POST /api/v1/models/{name}/versions", "told", {"uri": "models:/told/1"}),
    ("POST /api/v1/models/{name}/versions/{version}/image", "told", {}),
    ("POST /api/v1/jobs/{job_id}/cancel", "told", {}),
    ("PUT /api/v1/models/{name}/aliases/{alias}", "told", {"version": "1"}),
    ("PUT /api/v1/endpoints/{name}", "told", {"model": "told", "version": "1"}),
    (
        "POST /api/v1/endpoints/{name}/experiments",
        "told",
        {"control": "1", "treatments": ["2"], "metrics": ["converted:increase"], "name": "told"},
    ),
    ("POST /api/v1/endpoints/{name}/experiments/{experiment}/split", "told", {"split": [60, 40]}),
    ("POST /api/v1/endpoints/{name}/experiments/{experiment}/start", "told", None),
    ("POST /api/v1/endpoints/{name}/experiments/{experiment}/pause", "told", None),
    ("POST /api/v1/endpoints/{name}/experiments/{experiment}/resume", "told", None),
    ("POST /api/v1/endpoints/{name}/experiments/{experiment}/stop", "told", None),
    ("PUT /api/v1/endpoints/{name}/traffic", "told", {"traffic": {"2": 100}}),
    ("POST /api/v1/endpoints/{name}/rollback", "told", {}),
    ("POST /api/v1/apply", "told", {"documents": [{"endpoint": "told", "replicas": 3}]}),
    ("POST /api/v1/endpoints/{name}/scale", "told", {"replicas": 2}),
    ("PUT /api/v1/endpoints/{name}/shadow", "told", {"version": "2", "share": 20}),
    ("DELETE /api/v1/endpoints/{name}/shadow", "told", None),
    ("PUT /api/v1/endpoints/{name}/scale", "told", {"max": 5, "target": "concurrency=2"}),
    (
        "POST /api/v1/endpoints/{name}/capture/import",
        "told",
        {"upload": "rows", "filename": "rows.csv", "format": "csv", "time_column": "at", "id_column": "id"},
    ),
    ("PUT /api/v1/endpoints/{name}/monitor", "told", {"every_s": 60}),
    ("POST /api/v1/endpoints/{name}/canary", "told", {"version": "2"}),
    ("POST /api/v1/endpoints/{name}/canary/pause", "told", {}),
    ("POST /api/v1/endpoints/{name}/canary/resume", "told", {}),
    ("POST /api/v1/endpoints/{name}/canary/abort", "told", {}),
    ("POST /api/v1/endpoints/{name}/canary/retry", "told", {}),
    ("POST /api/v1/endpoints/{name}/canary/promote", "told", {}),
    ("POST /api/v1/endpoints/{name}/monitor/run", "told", None),
    ("PUT /api/v1/models/{name}/versions/{version}/baseline", "told", {"upload": "told", "filename": "rows.csv"}),
    ("PUT /api/v1/alert-rules/{endpoint}", "told", {"rules": [{"type": "drift", "for_s": 60}]}),
    ("POST /api/v1/alerts/{alert_id}/ack", "told", {}),
    ("POST /api/v1/silences", "told", {"matchers": {"endpoint": "told"}, "duration_s": 60}),
    ("DELETE /api/v1/silences/{silence_id}", "told", None),
    ("PUT /api/v1/notifiers/{name}", "told", {"kind": "webhook", "url": "http://127.0.0.1:9/"}),
    ("POST /api/v1/notifiers/{name}/test", "told", None),
    ("POST /api/v1/deliveries/{number}/resend", "told", None),
    ("DELETE /api/v1/notifiers/{name}", "told", None),
    ("PUT /api/v1/endpoints/{name}/capture/settings", "told", {"sample": 0.5}),
    ("POST /api/v1/endpoints/{name}/capture/forget", "told", {"key": "anna"}),
    ("DELETE /api/v1/endpoints/{name}", "told", None),
    ("DELETE /api/v1/models/{name}/versions/{version}", "gone", None),
    ("DELETE /api/v1/models/{name}", "gone", None),
    ("POST /api/v1/login-codes", "", None),
]
"""A request to each route that changes something, in an order in which they can be made."""


def _audit(api: httpx.Client, **wanted: Any) -> list[dict[str, Any]]:
    answer = api.get("/api/v1/audit", params={"limit": 1000, **wanted})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["entries"]
    return found


def test_every_route_that_changes_something_is_audited_with_who_asked(
    container: Container, api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for model, number in (("told", "1"), ("told", "2"), ("gone", "1")):
        add_version(container, model, number)
    for name in ("set_alias", "delete_version", "delete_model"):
        monkeypatch.setattr(type(container.registry), name, lambda *_given: None)
    monkeypatch.setattr(type(container.registry), "versions", lambda *_given: [])
    changing = {
        f"{method} {getattr(route, 'path', '')}"
        for route, permission in Needed(create_app(container).routes).by_route
        for method in getattr(route, "methods", None) or ()
        if permission in (Permission.DEPLOY, Permission.ADMINISTER)
    }
    assert changing == {route for route, _, _ in CHANGES} | UNAUDITED
    with container.store.transaction() as tx:
        tx.add(UploadRow(id="rows", size_bytes=1, sha256="", created_at=1.0, expires_at=9e9))
        tx.add(UploadRow(id="told", size_bytes=1, sha256="", created_at=1.0, expires_at=9e9))
        rows.write(tx, ALERT)
        tx.add(SilenceRow(id="told", matchers={}, starts_at=0, ends_at=9e9, comment="", created_by="", created_at=0))
        outbox.add(tx, outbox.NewDelivery("notice", "told", "told", {}), 1.0).state = "dead"
        tx.add(JobRow(id="told", kind="build", subject="told", payload={}, state="queued", log=[], created_at=1.0))
    container.uploads.directory.mkdir(exist_ok=True)
    (container.uploads.directory / "rows").write_text("at,id,prediction\n2026-01-01,a,1\n")
    for route, name, body in CHANGES:
        method, path = route.split()
        path = path.format(**NAMES | {"name": name})
        answer = api.request(method, path, json=body, headers={"x-request-id": f"change of {route}".replace(" ", "-")})
        assert answer.status_code < 300, (route, answer.text)
        request_id = answer.headers["x-request-id"]
        entries = [one for one in _audit(api) if one["request_id"] == request_id]
        assert {(one["who"]["kind"], one["who"]["name"]) for one in entries} == {("token", "token")}, route


def test_a_browser_is_told_apart_from_the_token_and_from_other_browsers(api: httpx.Client) -> None:
    names: set[str] = set()
    for _ in range(2):
        code = api.post("/api/v1/login-codes").json()["code"]
        with httpx.Client(base_url=api.base_url, trust_env=False) as browser:
            assert browser.get("/login", params={"code": code}).status_code == 303
            session = _audit(api)[0]
            assert (session["action"], session["who"]["kind"]) == ("login", "session")
            browser.put("/api/v1/models/browsed/trust", json={"pickle": len(names) == 0})
        assert _audit(api)[0]["who"] == session["who"]
        names.add(session["who"]["name"])
    assert len(names) == 2


def test_the_audit_has_pages_and_bounds(api: httpx.Client) -> None:
    for number in range(3):
        api.put("/api/v1/models/paged/trust", json={"pickle": number % 2 == 0})
    first = api.get("/api/v1/audit", params={"limit": 2}).json()
    second = api.get("/api/v1/audit", params={"limit": 2, "before": first["next"]}).json()
    assert [one["id"] for one in first["entries"] + second["entries"]] == [one["id"] for one in _audit(api)[:4]]
    assert _audit(api, endpoint="none-of-this-name") == []
    assert _audit(api, since_s=3600)
    for wrong in (
        {"limit": 0},
        {"limit": 1001},
        {"before": 0},
        {"before": 1 << 40},
        {"since_s": "nan"},
        {"since_s": -1},
    ):
        assert api.get("/api/v1/audit", params=wrong).status_code == 422, wrong


def test_a_login_goes_on_while_the_database_is_away(
    container: Container, api: httpx.Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away() -> None:
        raise StoreUnavailable("the database is away")

    with monkeypatch.context() as patched:
        patched.setattr(container.store, "transaction", away)
        made = api.post("/api/v1/login-codes")
        assert made.status_code == 201
        entered = httpx.get(f"{api.base_url}/login", params={"code": made.json()["code"]}, trust_env=False)
    assert entered.status_code == 303
    assert [message for message in caplog.messages if message.startswith("login by session browser-")]


def test_a_text_that_cannot_be_stored_is_refused_and_the_audit_stays_readable(api: httpx.Client) -> None:
    path, headers = "/api/v1/models/unfit/versions", {"content-type": "application/json"}
    for body in (rb'{"uri": "models:/\ud800/1"}', rb'{"uri": "models:/m/1", "tags": {"a": "\u0000"}}'):
        answer = api.post(path, content=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_argument"), answer.text
    assert api.post(path, content=rb'{"uri": "models:/\ud83d\ude00/1"}', headers=headers).status_code == 202
    assert _audit(api)[0]["changes"]["uri"] == [None, "models:/\U0001f600/1"]
