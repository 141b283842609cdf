"""`/api/v1/load`: how busy many endpoints were."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from tidegate.api.failures import answers
from tidegate.api.paging import ROWS, Limit
from tidegate.api.permissions import needs
from tidegate.api.platform import LeaderOnly, PlatformOf
from tidegate.core.access import Permission
from tidegate.services.gateways.load_series import OVERVIEW_STEP_S, STEP_S_MAX, STEP_S_MIN
from tidegate.wire.gateways.load import EndpointsLoad

router = APIRouter(prefix="/api/v1/load", tags=["endpoints"])


@router.get("", responses=answers(422, 503), dependencies=[needs(Permission.READ), LeaderOnly])
def get_loads(
    platform: PlatformOf,
    first: Annotated[str, Query(max_length=63, description="An endpoint's name: those before it are left out")] = "",
    limit: Limit = ROWS,
    step_s: Annotated[float, Query(ge=STEP_S_MIN, le=STEP_S_MAX, allow_inf_nan=False)] = OVERVIEW_STEP_S,
) -> EndpointsLoad:
    """How busy endpoints were over the last five minutes, as gateways told it: those by name that had requests."""
    return platform.load_overview.get(first, limit, step_s, platform.clock())
