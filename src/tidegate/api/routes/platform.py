"""Status, health, metrics, login, and the gateways' long poll for the routing snapshot."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from tidegate.api.failures import answers, json_answers
from tidegate.api.guard import REQUEST_ID, cookie_of
from tidegate.api.metrics import CONTENT_TYPE, render
from tidegate.api.permissions import OPEN, needs
from tidegate.api.platform import ApiServices, LeaderOnly, PlatformOf, Who
from tidegate.api.sessions import CODE_LIVES_S, Sessions, set_cookie
from tidegate.clock import monotonic
from tidegate.core.access import Permission
from tidegate.errors import Unauthenticated
from tidegate.services.gateways.load_series import STEP_S, STEP_S_MAX, STEP_S_MIN
from tidegate.wire import rest
from tidegate.wire.gateways.gateway_reports import LossReport, WantedReport
from tidegate.wire.gateways.identity import IdToken
from tidegate.wire.gateways.load import LoadReport, LoadSeries
from tidegate.wire.parts import AnsweredReport

log = logging.getLogger(__name__)
router = APIRouter()
_SNAPSHOT: dict[str, Any] = {
    "description": "A newer snapshot",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["revision", "endpoints"],
                "properties": {"revision": {"type": "integer"}, "endpoints": {"type": "array"}},
            }
        }
    },
}
WAIT_S_MAX = 30.0
IN_USE_CHARS_MAX = 40_000
RECHECK_S = 1.0
"""The row is read again this often, should a notification ever be lost."""


@dataclass(frozen=True)
class Health:
    """The control plane answers."""

    status: Literal["healthy"] = "healthy"


@router.get("/health", tags=["platform"], responses=answers(), dependencies=[OPEN])
def health() -> Health:
    """Whether the control plane answers. Open to everyone."""
    return Health()


@router.get("/api/v1/status", tags=["platform"], responses=answers(), dependencies=[needs(Permission.READ)])
def get_status(platform: PlatformOf) -> rest.Status:
    """The platform at a glance."""
    return platform.status.get()


@router.get(
    "/metrics",
    tags=["platform"],
    response_class=PlainTextResponse,
    responses=json_answers(),
    dependencies=[needs(Permission.METRICS)],
)
def metrics(platform: PlatformOf) -> Response:
    """Replicas, traffic, jobs and leadership for Prometheus."""
    return Response(render(platform.measures.get()), media_type=CONTENT_TYPE)


@router.get(
    "/login",
    tags=["platform"],
    status_code=303,
    response_class=RedirectResponse,
    responses=json_answers(),
    dependencies=[OPEN],
)
def login(request: Request, platform: PlatformOf, code: Annotated[str, Query(max_length=128)] = "") -> Response:
    """Open in a browser with a code, which works once: sets a cookie and leads to the console."""
    if not platform.login_codes.take(code):
        raise Unauthenticated("this link is used up, or older than five minutes: 'tidegate console' makes a new one")
    sessions: Sessions = request.app.state.keys.sessions
    cookie = sessions.make()
    platform.audit.login(str(sessions.name_of(cookie)), request.scope[REQUEST_ID])
    heads = {"set-cookie": set_cookie(cookie, https=request.url.scheme == "https")}
    return RedirectResponse("/", status_code=303, headers=heads)


@router.delete(
    "/api/v1/session",
    tags=["platform"],
    status_code=204,
    response_class=Response,
    responses=json_answers(),
    dependencies=[needs(Permission.READ)],
)
def end_session(request: Request, platform: PlatformOf, who: Who) -> Response:
    """End the session of the browser that asks, whoever has its cookie. A key's request has none: nothing ends."""
    if who.kind == "session":
        request.app.state.keys.sessions.end(cookie_of(request.headers))
        platform.audit.logout(who)
    return Response(status_code=204, headers={"set-cookie": set_cookie("", https=request.url.scheme == "https")})


@router.post(
    "/api/v1/login-codes",
    tags=["platform"],
    status_code=201,
    responses=answers(),
    dependencies=[needs(Permission.ADMINISTER)],
)
def make_login_code(platform: PlatformOf, who: Who) -> rest.LoginCode:
    """A code for `GET /login`, with which one browser logs in once within five minutes."""
    platform.audit.login_code(who)
    return rest.LoginCode(platform.login_codes.make(), int(CODE_LIVES_S))


@router.get(
    "/internal/v1/snapshot",
    tags=["internal"],
    response_class=Response,
    responses=json_answers() | {200: _SNAPSHOT, 204: {"description": "Nothing newer"}},
    dependencies=[needs(Permission.NODE)],
)
async def snapshot(
    platform: PlatformOf,
    gateway: Annotated[str, Query(min_length=1, max_length=64)],
    after: Annotated[int, Query(ge=0)] = 0,
    wait_s: Annotated[float, Query(ge=0, le=WAIT_S_MAX)] = 0.0,
    in_use: Annotated[str, Query(max_length=IN_USE_CHARS_MAX)] = "",
) -> Response:
    """The routing snapshot above revision `after`, waited for up to `wait_s`; 204 when there is none.

    `after` also tells which revision this gateway routes by; `in_use` names replicas, with commas between them, that
    it does not list, but whose answers the gateway still waits for. They are not ended before that.
    """
    platform.gateway_revisions.record(gateway, after, filter(None, in_use.split(",")))
    body = await _newer(platform, after, wait_s)
    return Response(status_code=204) if body is None else Response(body, media_type="application/json")


@router.get(
    "/internal/v1/id-token",
    tags=["internal"],
    responses=answers(),
    dependencies=[needs(Permission.NODE)],
)
def get_id_token(platform: PlatformOf, audience: Annotated[str, Query(min_length=1, max_length=500)]) -> IdToken:
    """A token that a gateway shows to the front before a pool: for an audience that the routing snapshot names."""
    return platform.id_tokens.get(audience)


@router.post(
    "/internal/v1/losses",
    tags=["internal"],
    status_code=204,
    response_class=Response,
    responses=json_answers(400, 413, 415),
    dependencies=[needs(Permission.NODE)],
)
def report_loss(platform: PlatformOf, report: LossReport) -> Response:
    """A gateway lost a replica: what runs is looked at now. Nothing of it is believed without a look."""
    log.info("%s lost a replica", report.gateway[:64])
    platform.spec_changed.set()
    return Response(status_code=204)


@router.post(
    "/internal/v1/wanted",
    tags=["internal"],
    status_code=204,
    response_class=Response,
    responses=json_answers(400, 413, 415, 503),
    dependencies=[needs(Permission.NODE)],
)
def report_wanted(platform: PlatformOf, report: WantedReport) -> Response:
    """Requests wait for an endpoint that sleeps: it is woken now. The leader is told, whoever is asked."""
    platform.wake_requests.take(report)
    return Response(status_code=204)


@router.get(
    "/internal/v1/scale/{name}",
    tags=["internal"],
    responses=answers(404, 503),
    dependencies=[needs(Permission.NODE), LeaderOnly],
)
def get_decided_scale(platform: PlatformOf, name: str) -> rest.Scale:
    """How many replicas there shall be and why, for a control plane that stands by. Only the leader knows."""
    return platform.scales.get(name)


@router.get(
    "/internal/v1/load/{name}",
    tags=["internal"],
    responses=answers(404, 422, 503),
    dependencies=[needs(Permission.NODE), LeaderOnly],
)
def get_reported_load(
    platform: PlatformOf,
    name: str,
    step_s: Annotated[float, Query(ge=STEP_S_MIN, le=STEP_S_MAX, allow_inf_nan=False)] = STEP_S,
) -> LoadSeries:
    """How busy an endpoint's versions were, for a control plane that stands by. Only the leader knows."""
    versions = [variant.version for variant in platform.endpoints.get(name).variants]
    return platform.endpoint_loads.get(name, [*versions, ""], step_s)


@router.post(
    "/internal/v1/answered",
    tags=["internal"],
    status_code=204,
    response_class=Response,
    responses=json_answers(400, 413, 415),
    dependencies=[needs(Permission.NODE)],
)
def report_answered(platform: PlatformOf, report: AnsweredReport) -> Response:
    """How requests ended, by version, as a gateway has counted since it was first started."""
    platform.answered.record(replace(report, gateway=report.gateway[:64]))
    return Response(status_code=204)


@router.post(
    "/internal/v1/load",
    tags=["internal"],
    status_code=204,
    response_class=Response,
    responses=json_answers(400, 413, 415),
    dependencies=[needs(Permission.NODE)],
)
def report_load(platform: PlatformOf, report: LoadReport) -> Response:
    """How much there was to do, by version, since a gateway's last report. The leader is told, whoever is asked."""
    platform.load.take(report)
    return Response(status_code=204)


async def _newer(platform: ApiServices, after: int, wait_s: float) -> str | None:
    deadline = monotonic() + wait_s
    while True:
        # Counted before reading: a snapshot committed in between ends the wait at once.
        seen = platform.snapshot_changed.count
        body = await run_in_threadpool(platform.snapshots.newer, after)
        left_s = deadline - monotonic()
        if body is not None or left_s <= 0 or platform.snapshot_changed.closed:
            return body
        await platform.snapshot_changed.wait(seen, min(RECHECK_S, left_s))
