"""How endpoints are monitored, what monitors found, and baselines of versions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Query

from tidegate.api.failures import answers
from tidegate.api.paging import ROWS, Cursor, Limit
from tidegate.api.permissions import needs
from tidegate.api.platform import LeaderOnly, PlatformOf, Who
from tidegate.core.access import Permission
from tidegate.wire import rest
from tidegate.wire.monitoring.monitoring import (
    BaselineRequest,
    BaselineView,
    MonitorName,
    MonitorRequest,
    MonitorResultPage,
    MonitorRun,
    MonitorView,
)

router = APIRouter(prefix="/api/v1", tags=["monitoring"])
_SETTINGS = {
    "every minute": {"value": {"every_s": 60}},
    "late labels": {"value": {"label_delay_s": 604800}},
    "off": {"value": {"on": False}},
}
_BASELINE = {
    "labelled": {
        "value": {"upload": "60303ae22b998861bce3b28f33eec1be", "filename": "holdout.csv", "target": "churned"}
    }
}


@router.get("/endpoints/{name}/monitor", responses=answers(404), dependencies=[needs(Permission.READ)])
def get_monitor(platform: PlatformOf, name: str) -> MonitorView:
    """How an endpoint is monitored, and when it was evaluated last."""
    return platform.monitoring.get(name)


@router.put(
    "/endpoints/{name}/monitor",
    responses=answers(400, 404, 413, 415, 422),
    dependencies=[needs(Permission.DEPLOY)],
)
def set_monitor(
    platform: PlatformOf, who: Who, name: str, request: Annotated[MonitorRequest, Body(openapi_examples=_SETTINGS)]
) -> MonitorView:
    """Set how an endpoint is monitored; what is not given stays."""
    return platform.monitoring.configure(name, request, who)


@router.post(
    "/endpoints/{name}/monitor/run",
    responses=answers(404, 409, 503),
    dependencies=[needs(Permission.DEPLOY), LeaderOnly],
)
def run_monitor(platform: PlatformOf, who: Who, name: str) -> MonitorRun:
    """Evaluate an endpoint now, as the monitor loop does: results are kept and alerts raised."""
    return MonitorRun(platform.monitoring.run(name, who))


@dataclass(frozen=True)
class _Wanted:
    since: Annotated[float | None, Query(allow_inf_nan=False, description="Since this moment (epoch)")] = None
    monitor: MonitorName | None = None
    feature: str | None = None


@router.get("/endpoints/{name}/monitor-results", responses=answers(404, 422), dependencies=[needs(Permission.READ)])
def get_monitor_results(
    platform: PlatformOf, name: str, wanted: Annotated[_Wanted, Depends()], limit: Limit = ROWS, cursor: Cursor = None
) -> MonitorResultPage:
    """What monitors found, newest first."""
    return platform.monitoring.results(name, limit, cursor, wanted.since, (wanted.monitor, wanted.feature))


@router.get(
    "/models/{name}/versions/{version}/baseline", responses=answers(404, 422), dependencies=[needs(Permission.READ)]
)
def get_baseline(platform: PlatformOf, name: str, version: str) -> BaselineView:
    """What a version's data is compared with."""
    return platform.baselines.get(name, platform.models.version(name, version).version)


@router.put(
    "/models/{name}/versions/{version}/baseline",
    status_code=202,
    responses=answers(400, 404, 409, 413, 415, 422),
    dependencies=[needs(Permission.DEPLOY), LeaderOnly],
)
def set_baseline(
    platform: PlatformOf,
    who: Who,
    name: str,
    version: str,
    request: Annotated[BaselineRequest, Body(openapi_examples=_BASELINE)],
) -> rest.Job:
    """Queue the making of a baseline of a file's rows, which the model answers; it replaces the one there is."""
    return platform.jobs.baseline(name, platform.models.version(name, version).version, request, who)
