"""`/api/v1/audit`: who changed what."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from tidegate.api.failures import answers
from tidegate.api.permissions import needs
from tidegate.api.platform import PlatformOf
from tidegate.core.access import Permission
from tidegate.services.reading.pages import PAGE_ROWS_MAX
from tidegate.wire.audit import AuditPage

router = APIRouter(prefix="/api/v1/audit", tags=["audit"])
ID_MAX = (1 << 31) - 1


@router.get("", responses=answers(422), dependencies=[needs(Permission.AUDIT)])
def get_audit(
    platform: PlatformOf,
    limit: Annotated[int, Query(ge=1, le=PAGE_ROWS_MAX)] = 100,
    before: Annotated[int | None, Query(ge=1, le=ID_MAX, description="An entry: those older than it")] = None,
    since_s: Annotated[
        float | None, Query(ge=0, allow_inf_nan=False, description="Those of the last so many seconds")
    ] = None,
    endpoint: Annotated[
        str | None, Query(max_length=63, description="Those of this endpoint, also if it is gone")
    ] = None,
) -> AuditPage:
    """Who changed what, newest first, as far back as it is kept."""
    return platform.audit.page(limit, before, since_s, endpoint)
