"""`/api/v1/endpoints/{name}/capture/import`: rows that were predicted elsewhere."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body

from tidegate.api.failures import answers
from tidegate.api.permissions import needs
from tidegate.api.platform import LeaderOnly, PlatformOf, Who
from tidegate.core.access import Permission
from tidegate.wire.capture.importing import ImportRequest, ImportResult

router = APIRouter(prefix="/api/v1/endpoints/{name}/capture", tags=["capture"])

_FLIGHTS = {
    "flights": {
        "summary": "A month of flights that were predicted elsewhere",
        "value": {
            "upload": "9f86d081884c7d659a2feaa0c55ad015",
            "filename": "july.parquet",
            "format": "parquet",
            "time_column": "departs_at",
            "id_column": "flight",
            "model": "flights",
            "version": "3",
            "label_column": "was_late",
            "label_time_column": "landed_at",
        },
    }
}


@router.post(
    "/import",
    responses=answers(400, 404, 409, 413, 415, 422),
    dependencies=[needs(Permission.DEPLOY), LeaderOnly],
)
def import_rows(
    platform: PlatformOf, who: Who, name: str, request: Annotated[ImportRequest, Body(openapi_examples=_FLIGHTS)]
) -> ImportResult:
    """Make captured rows of an uploaded file, each once however often; where there is no endpoint, one is made."""
    return platform.imports.run(name, request, who)
