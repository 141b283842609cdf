"""What every route gives every subject, and that no route can be there without a permission."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from fastapi import Depends, FastAPI
from starlette.types import Receive, Scope, Send

from tidegate.api import refusals
from tidegate.api.app import create_app
from tidegate.api.guard import Keys
from tidegate.api.permissions import OPEN, Needed, Undeclared, every_route, needs
from tidegate.api.routes import jobs
from tidegate.api.sessions import COOKIE, SESSION_LIVES_S, Sessions
from tidegate.core.access import EVERYTHING, Permission, Principal
from tidegate.errors import Forbidden
from tidegate.services.platform_keys import PlatformKeys
from tidegate.wiring import Container

ROUTES: dict[Permission | None, set[str]] = {
    None: {"GET /health", "GET /login"},
    Permission.READ: {
        "GET /api/openapi.json",
        "HEAD /api/openapi.json",
        "GET /api/docs",
        "GET /api/docs/assets/{name}",
        "GET /api/v1/status",
        "GET /api/v1/models",
        "GET /api/v1/models/{name}",
        "GET /api/v1/models/{name}/versions/{version}",
        "GET /api/v1/models/{name}/versions/{version}/image",
        "GET /api/v1/models/{name}/versions/{version}/image/dockerfile",
        "GET /api/v1/endpoints",
        "GET /api/v1/endpoints/{name}",
        "GET /api/v1/endpoints/{name}/history",
        "GET /api/v1/endpoints/{name}/scale",
        "GET /api/v1/endpoints/{name}/performance",
        "GET /api/v1/endpoints/{name}/logs",
        "GET /api/v1/endpoints/{name}/monitor",
        "GET /api/v1/endpoints/{name}/monitor-results",
        "GET /api/v1/endpoints/{name}/monitor/report",
        "GET /api/v1/models/{name}/versions/{version}/baseline",
        "GET /api/v1/endpoints/{name}/load",
        "GET /api/v1/endpoints/{name}/canary",
        "GET /api/v1/load",
        "GET /api/v1/endpoints/{name}/capture/settings",
        "GET /api/v1/export",
        "GET /api/v1/endpoints/{name}/shadow",
        "GET /api/v1/endpoints/{name}/experiments",
        "GET /api/v1/endpoints/{name}/experiments/{experiment}",
        "GET /api/v1/endpoints/{name}/experiments/{experiment}/looks",
        "GET /api/v1/endpoints/{name}/experiments/{experiment}/report",
        "POST /api/v1/endpoints/{name}/experiments/{experiment}/aa",
        "GET /api/v1/alerts",
        "GET /api/v1/alerts/{alert_id}",
        "GET /api/v1/alert-replays",
        "POST /api/v1/alert-replays",
        "GET /api/v1/silences",
        "GET /api/v1/alert-rules",
        "GET /api/v1/alert-rules/{endpoint}",
        "GET /api/v1/notifiers",
        "GET /api/v1/deliveries",
        "GET /api/v1/deliveries/{number}",
        "GET /api/v1/jobs",
        "GET /api/v1/jobs/{job_id}",
        "DELETE /api/v1/session",
    },
    Permission.DEPLOY: {
        "POST /api/v1/alerts/{alert_id}/ack",
        "POST /api/v1/silences",
        "DELETE /api/v1/silences/{silence_id}",
        "PUT /api/v1/alert-rules/{endpoint}",
        "POST /api/v1/deliveries/{number}/resend",
        "POST /api/v1/jobs/{job_id}/cancel",
        "POST /api/v1/apply",
        "POST /api/v1/uploads",
        "POST /api/v1/endpoints/{name}/capture/import",
        "POST /api/v1/models/{name}/versions",
        "DELETE /api/v1/models/{name}",
        "DELETE /api/v1/models/{name}/versions/{version}",
        "PUT /api/v1/models/{name}/aliases/{alias}",
        "POST /api/v1/models/{name}/versions/{version}/image",
        "PUT /api/v1/endpoints/{name}",
        "POST /api/v1/endpoints/{name}/canary",
        "POST /api/v1/endpoints/{name}/canary/pause",
        "POST /api/v1/endpoints/{name}/canary/resume",
        "POST /api/v1/endpoints/{name}/canary/promote",
        "POST /api/v1/endpoints/{name}/canary/abort",
        "POST /api/v1/endpoints/{name}/canary/retry",
        "DELETE /api/v1/endpoints/{name}",
        "PUT /api/v1/endpoints/{name}/traffic",
        "PUT /api/v1/endpoints/{name}/capture/settings",
        "PUT /api/v1/endpoints/{name}/shadow",
        "DELETE /api/v1/endpoints/{name}/shadow",
        "POST /api/v1/endpoints/{name}/rollback",
        "POST /api/v1/endpoints/{name}/scale",
        "PUT /api/v1/endpoints/{name}/scale",
        "PUT /api/v1/endpoints/{name}/monitor",
        "POST /api/v1/endpoints/{name}/monitor/run",
        "POST /api/v1/endpoints/{name}/experiments",
        "POST /api/v1/endpoints/{name}/experiments/{experiment}/split",
        "POST /api/v1/endpoints/{name}/experiments/{experiment}/start",
        "POST /api/v1/endpoints/{name}/experiments/{experiment}/pause",
        "POST /api/v1/endpoints/{name}/experiments/{experiment}/resume",
        "POST /api/v1/endpoints/{name}/experiments/{experiment}/stop",
        "PUT /api/v1/models/{name}/versions/{version}/baseline",
    },
    Permission.APPROVE: {"POST /api/v1/endpoints/{name}/experiments/{experiment}/approve"},
    Permission.ROWS: {"POST /api/v1/endpoints/{name}/capture/query"},
    Permission.ADMINISTER: {
        "POST /api/v1/endpoints/{name}/capture/forget",
        "PUT /api/v1/models/{name}/trust",
        "POST /api/v1/login-codes",
        "PUT /api/v1/notifiers/{name}",
        "DELETE /api/v1/notifiers/{name}",
        "POST /api/v1/notifiers/{name}/test",
    },
    Permission.AUDIT: {"GET /api/v1/audit"},
    Permission.METRICS: {"GET /metrics"},
    Permission.PACKAGE: {"GET /internal/v1/packages/{name}/{version}"},
    Permission.NODE: {
        "GET /internal/v1/id-token",
        "GET /internal/v1/load/{name}",
        "GET /internal/v1/scale/{name}",
        "GET /internal/v1/snapshot",
        "POST /internal/v1/answered",
        "POST /internal/v1/load",
        "POST /internal/v1/losses",
        "POST /internal/v1/wanted",
    },
}
"""Each route beside what it needs, as people decided: a new one is put where it belongs, by hand."""

LAST = "DELETE /api/v1/session"
"""Whoever asks for this is nobody afterwards."""

HELD: dict[str, frozenset[Permission]] = {
    "token": EVERYTHING,
    "session": EVERYTHING,
    "node": frozenset({Permission.NODE}),
    "metrics": frozenset({Permission.METRICS}),
    "predict": frozenset(),
}
"""What each subject may ask for, of what the control plane's routes need."""
STRANGERS = ("nobody", "a wrong key", "a session that ended")


@contextmanager
def _as(subject: str, container: Container, url: httpx.URL) -> Iterator[httpx.Client]:
    keys, token = container.keys, container.keys.token
    sessions = Sessions(token, container.clock)
    ended = Sessions(token, lambda: time.time() - SESSION_LIVES_S - 1)
    shown = {"token": token, "node": keys.node, "metrics": keys.metrics, "predict": keys.predict, "a wrong key": "k"}
    cookies = {"session": sessions.make(), "a session that ended": ended.make()}
    headers = {"authorization": f"Bearer {shown[subject]}"} if subject in shown else {}
    own = {COOKIE: cookies[subject]} if subject in cookies else {}
    with httpx.Client(base_url=url, headers=headers, cookies=own, timeout=30, trust_env=False) as client:
        yield client


def _declared(container: Container) -> dict[str, Permission | None]:
    needed = Needed(create_app(container).routes).by_route
    return {
        f"{method} {getattr(route, 'path', '')}": permission
        for route, permission in needed
        for method in getattr(route, "methods", None) or ()
    }


def test_each_route_needs_what_was_decided(container: Container) -> None:
    decided = {route: permission for permission, routes in ROUTES.items() for route in routes}
    assert _declared(container) == decided


@pytest.mark.parametrize("subject", [*HELD, *STRANGERS])
def test_every_route_answers_those_alone_who_may(container: Container, api: httpx.Client, subject: str) -> None:
    expected, found = {}, {}
    with _as(subject, container, api.base_url) as client:
        every = [(route, permission) for permission, routes in ROUTES.items() for route in routes]
        for route, permission in sorted(every, key=lambda one: one[0] == LAST):
            method, path = route.split()
            status = client.request(method, path.replace("{", "").replace("}", "")).status_code
            found[route] = status if status in (401, 403) else "passed"
            expected[route] = _expected(subject, permission)
    login = found.pop("GET /login"), expected.pop("GET /login")
    assert login == (401, "passed"), "open, and the code is missing"
    assert found == expected


def _expected(subject: str, permission: Permission | None) -> int | str:
    if permission is None:
        return "passed"
    if subject in STRANGERS:
        return 401
    return "passed" if permission in HELD[subject] else 403


def test_a_prediction_key_of_gateways_of_an_earlier_release_is_a_node_key_too() -> None:
    keys = Keys(PlatformKeys("t", "n", "m", "p", predict_is_node=True), Sessions("t", time.time))
    found = keys.principal_of("p")
    assert found is not None
    assert found.permissions == {Permission.PREDICT, Permission.NODE}


@pytest.mark.parametrize(
    "declared",
    [
        pytest.param([], id="nothing"),
        pytest.param([Depends(lambda: None)], id="something else"),
        pytest.param([needs(Permission.READ), needs(Permission.DEPLOY)], id="two"),
        pytest.param([OPEN, needs(Permission.READ)], id="open, and not"),
    ],
)
def test_a_route_that_does_not_say_what_it_needs_keeps_the_api_from_starting(
    container: Container, monkeypatch: pytest.MonkeyPatch, declared: list[object]
) -> None:
    before = list(jobs.router.routes)
    jobs.router.add_api_route("/late", lambda: None, methods=["POST"], dependencies=declared)  # type: ignore[arg-type]
    try:
        with pytest.raises(Undeclared, match="POST /api/v1/late"):
            create_app(container)
    finally:
        jobs.router.routes[:] = before
    create_app(container)


def test_an_application_that_is_mounted_can_declare_nothing() -> None:
    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError

    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.mount("/inner", inner)
    with pytest.raises(Undeclared, match="/inner"):
        Needed(app.routes)


def test_the_description_names_the_permission_of_each_route(container: Container) -> None:
    app = create_app(container)
    paths = app.openapi()["paths"]
    assert paths["/api/v1/models/{name}/trust"]["put"]["security"] == [{"HTTPBearer": ["administer"]}]
    assert "security" not in paths["/health"]["get"]
    assert len(list(every_route(app.routes))) > 30


def test_every_answer_has_the_id_of_its_request(api: httpx.Client) -> None:
    given = {"x-request-id": "trace-7"}
    assert api.get("/api/v1/models", headers=given).headers["x-request-id"] == "trace-7"
    assert api.get("/api/v1/models/none", headers=given).headers["x-request-id"] == "trace-7"
    assert (
        api.get("/api/v1/models", headers={"authorization": "Bearer x", **given}).headers["x-request-id"] == "trace-7"
    )
    made = [
        api.get("/health", headers={"x-request-id": wrong}).headers["x-request-id"] for wrong in ("", "a b", "x" * 129)
    ]
    assert {len(one) for one in made} == {32}
    assert len(set(made)) == 3


def test_refused_attempts_are_logged_with_who_tried(
    container: Container, api: httpx.Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "monotonic", lambda: 1e9)  # a minute in which no other test was refused
    with caplog.at_level(logging.WARNING, "tidegate.api.refusals"), _as("metrics", container, api.base_url) as client:
        client.delete("/api/v1/endpoints/churn", headers={"x-request-id": "try-1"})
        api.get("/health", headers={"host": "evil.example"})
    first, second = caplog.messages[-2:]
    assert first.startswith("refused metrics metrics: DELETE '/api/v1/endpoints/churn', request try-1: ")
    assert second.startswith("refused nobody: GET '/health', request ")


def test_many_refusals_are_few_lines(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    now = [600.0]
    monkeypatch.setattr(refusals, "monotonic", lambda: now[0])
    log, scope = refusals.RefusalLog(), {"method": "GET", "path": "/" + "x" * 10_000}
    error = Forbidden("no" * 10_000)
    for _ in range(1000):
        log.note(scope, Principal("node", "node"), "r", error)
    assert len(caplog.messages) == refusals.LINES_A_MINUTE_MAX
    assert max(map(len, caplog.messages)) < 700
    now[0] += 60
    log.note(scope, None, "r", error)
    assert caplog.messages[-2] == "940 more refusals were not logged"
    assert len(caplog.messages) == refusals.LINES_A_MINUTE_MAX + 2
