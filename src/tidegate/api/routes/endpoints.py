"""`/api/v1/endpoints`: deploy, traffic, rollback, scale, delete, history, logs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Header, Query, Response

from tidegate.api.failures import answers
from tidegate.api.paging import ROWS, Cursor, Limit
from tidegate.api.permissions import needs
from tidegate.api.platform import PlatformOf, Who
from tidegate.api.routes.audit import ID_MAX
from tidegate.core.access import Permission
from tidegate.services.endpoints.intent import HISTORY_PAGE
from tidegate.services.endpoints.lifecycle import Endpoints
from tidegate.services.gateways.load_series import STEP_S, STEP_S_MAX, STEP_S_MIN
from tidegate.wire import rest
from tidegate.wire.endpoints.tags import tag_of
from tidegate.wire.gateways.load import LoadSeries
from tidegate.wire.monitoring.performance import Performance

router = APIRouter(prefix="/api/v1/endpoints", tags=["endpoints"])
_CHANGE = answers(400, 404, 409, 412, 413, 415, 422)
_DEPLOY = {
    "newest": {"value": {"model": "churn"}},
    "two replicas": {"value": {"model": "churn", "version": "2", "replicas": 2}},
}
_TRAFFIC = {"ten percent": {"value": {"traffic": {"1": 90, "2": 10}}}}
_SCALE = {
    "fixed": {"value": {"replicas": 3}},
    "by load": {"value": {"min": 1, "max": 10, "target": "concurrency=4"}},
}
_ROLLBACK = {"one back": {"value": {}}, "a revision": {"value": {"to": 3}}}


def _changing(
    platform: PlatformOf,
    name: str,
    if_match: Annotated[str | None, Header(description="An ETag: changes the endpoint only while it has it")] = None,
) -> Endpoints:
    return platform.endpoints.only_if(name, if_match)


Changing = Annotated[Endpoints, Depends(_changing)]


def _tagged(response: Response, endpoint: rest.Endpoint) -> rest.Endpoint:
    response.headers["ETag"] = tag_of(endpoint)
    return endpoint


@dataclass(frozen=True)
class EndpointList:
    """Endpoints, by name. `next` is the cursor of the next page, null after the last."""

    endpoints: list[rest.Endpoint]
    next: str | None = None


@dataclass(frozen=True)
class History:
    """An endpoint's changes, newest first. Where there may be more, `next` is the `before` of the next page."""

    history: list[rest.HistoryEntry]
    next: int | None = None


@dataclass(frozen=True)
class Logs:
    """The last lines of each replica's log."""

    logs: list[rest.LogLines]


@router.get("", responses=answers(422), dependencies=[needs(Permission.READ)])
def list_endpoints(
    platform: PlatformOf, limit: Limit = ROWS, cursor: Cursor = None, model: str | None = None
) -> EndpointList:
    """Endpoints by name, of one model if given, so many a page."""
    return EndpointList(*platform.endpoints.shown.page(limit, cursor, model))


@router.get("/{name}", responses=answers(404), dependencies=[needs(Permission.READ)])
def get_endpoint(platform: PlatformOf, response: Response, name: str) -> rest.Endpoint:
    """One endpoint as it is now; its ETag is for `If-Match` of a change."""
    return _tagged(response, platform.endpoints.get(name))


@router.put("/{name}", status_code=202, responses=_CHANGE, dependencies=[needs(Permission.DEPLOY)])
def deploy(
    endpoints: Changing,
    response: Response,
    who: Who,
    name: str,
    request: Annotated[rest.DeployRequest, Body(openapi_examples=_DEPLOY)],
) -> rest.Endpoint:
    """Give a version all of the traffic once it is ready; makes the endpoint if it is new."""
    return _tagged(response, endpoints.deploy(name, request, who))


@router.delete("/{name}", status_code=202, responses=answers(404, 412), dependencies=[needs(Permission.DEPLOY)])
def delete_endpoint(endpoints: Changing, response: Response, who: Who, name: str) -> rest.Endpoint:
    """Drain an endpoint's replicas, then remove it; its history stays."""
    return _tagged(response, endpoints.delete(name, who))


@router.put("/{name}/traffic", status_code=202, responses=_CHANGE, dependencies=[needs(Permission.DEPLOY)])
def set_traffic(
    endpoints: Changing,
    response: Response,
    who: Who,
    name: str,
    request: Annotated[rest.TrafficRequest, Body(openapi_examples=_TRAFFIC)],
) -> rest.Endpoint:
    """Split the traffic over versions, shifted once all of them are ready."""
    return _tagged(response, endpoints.set_traffic(name, request, who))


@router.post("/{name}/rollback", status_code=202, responses=_CHANGE, dependencies=[needs(Permission.DEPLOY)])
def rollback(
    endpoints: Changing,
    response: Response,
    who: Who,
    name: str,
    request: Annotated[rest.RollbackRequest | None, Body(openapi_examples=_ROLLBACK)] = None,
) -> rest.Endpoint:
    """Re-apply people's traffic before the current one, or that of a revision; a second rollback undoes the first.

    An experiment, canary or bandit that runs ends, and what was stable is restored.
    """
    return _tagged(response, endpoints.rollback(name, request or rest.RollbackRequest(), who))


@router.post("/{name}/scale", status_code=202, responses=_CHANGE, dependencies=[needs(Permission.DEPLOY)])
@router.put("/{name}/scale", status_code=202, responses=_CHANGE, dependencies=[needs(Permission.DEPLOY)])
def scale(
    endpoints: Changing,
    response: Response,
    who: Who,
    name: str,
    request: Annotated[rest.ScaleRequest, Body(openapi_examples=_SCALE)],
) -> rest.Endpoint:
    """Fix the replicas of each version, or have them follow its load within bounds."""
    return _tagged(response, endpoints.scale(name, request, who))


@router.get("/{name}/scale", responses=answers(404), dependencies=[needs(Permission.READ)])
def get_scale(platform: PlatformOf, name: str) -> rest.Scale:
    """How many replicas of each version there shall be and are, and why."""
    return platform.scales.get(name)


@router.get("/{name}/history", responses=answers(404, 422), dependencies=[needs(Permission.READ)])
def get_history(
    platform: PlatformOf,
    name: str,
    limit: int = HISTORY_PAGE,
    before: Annotated[int | None, Query(ge=1, le=ID_MAX, description="An entry: those older than it")] = None,
    every: bool = False,
) -> History:
    """Changes of an endpoint, newest first, older than entry `before`. It outlives the endpoint.

    A name that was used again means the endpoint that has it now, or had it last; `every`: all that had it.
    """
    found = platform.endpoints.history(name, limit, before, every=every)
    return History(found, found[-1].id if len(found) == limit else None)


@router.get("/{name}/performance", responses=answers(404, 409, 422, 503), dependencies=[needs(Permission.READ)])
def get_performance(
    platform: PlatformOf, name: str, since_s: Annotated[float, Query(allow_inf_nan=False)] = 86_400.0
) -> Performance:
    """Volume, errors, latency, saturation and quality by version over the last seconds, from Prometheus."""
    return platform.performance.of(name, since_s)


@router.get("/{name}/load", responses=answers(404, 422, 503), dependencies=[needs(Permission.READ)])
def get_load(
    platform: PlatformOf,
    name: str,
    step_s: Annotated[float, Query(ge=STEP_S_MIN, le=STEP_S_MAX, allow_inf_nan=False)] = STEP_S,
) -> LoadSeries:
    """How busy each version was over the last five minutes, a point every `step_s` seconds, as gateways told it.

    They tell the leader, who is asked by a control plane that stands by.
    """
    versions = [variant.version for variant in platform.endpoints.get(name).variants]
    return platform.endpoint_loads.get(name, [*versions, ""], step_s)


@router.get("/{name}/logs", responses=answers(404, 422), dependencies=[needs(Permission.READ)])
def get_logs(platform: PlatformOf, name: str, lines: int = 100) -> Logs:
    """The last lines of each replica's log."""
    return Logs(platform.endpoints.logs(name, lines))
