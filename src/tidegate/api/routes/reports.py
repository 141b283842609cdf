"""`/api/v1/endpoints/{name}/monitor/report`: what monitors found, as one file for people."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse

from tidegate.api.failures import json_answers
from tidegate.api.permissions import needs
from tidegate.api.platform import PlatformOf
from tidegate.core.access import Permission
from tidegate.services.monitoring.reports import Reports

router = APIRouter(prefix="/api/v1", tags=["monitoring"])
SINCE_S, SINCE_S_MAX = 7 * 86_400.0, 366 * 86_400.0
POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
"""The page has its style in it, and nothing else that runs or is loaded."""


@router.get(
    "/endpoints/{name}/monitor/report",
    responses=json_answers(404, 422),
    response_class=HTMLResponse,
    dependencies=[needs(Permission.READ)],
)
def get_report(
    platform: PlatformOf,
    name: str,
    since_s: Annotated[float, Query(gt=0, le=SINCE_S_MAX, description="Of the last so many seconds")] = SINCE_S,
) -> HTMLResponse:
    """The report of an endpoint's monitoring: one file of at most 2 MB, which opens without a network."""
    headers = {
        "content-security-policy": POLICY,
        "content-disposition": f'attachment; filename="{name}-monitoring.html"',
        "x-content-type-options": "nosniff",
    }
    reports = Reports(platform.monitoring, platform.alerts.state, platform.clock)
    return HTMLResponse(reports.page(name, since_s), headers=headers)
