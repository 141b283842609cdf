"""`/api/v1/endpoints/{e}/capture`: SQL over what was captured, and what is."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Response

from tidegate.api.failures import answers
from tidegate.api.permissions import needs
from tidegate.api.platform import PlatformOf, Who
from tidegate.core.access import Permission
from tidegate.wire.capture.capture import (
    ARROW_TYPE,
    CaptureAnswer,
    CaptureForgetAnswer,
    CaptureForgetRequest,
    CaptureForm,
    CaptureQueryRequest,
    CaptureSettings,
    CaptureSettingsRequest,
)

router = APIRouter(prefix="/api/v1/endpoints", tags=["capture"])
_QUERY = {
    "by version": {"value": {"sql": "SELECT version, count(*) AS rows FROM predictions GROUP BY version"}},
    "every row": {"value": {"rows_max": 100}},
}
_SETTINGS = {
    "a tenth": {"value": {"sample": 0.1}},
    "private": {"value": {"drop": ["name"], "hash": ["email"], "hash_keys": True}},
}
_ARROW: dict[str, Any] = {"content": {ARROW_TYPE: {"schema": {"type": "string", "format": "binary"}}}}


@router.post(
    "/{name}/capture/query",
    response_model=CaptureAnswer,
    responses={**answers(404, 422, 429), 200: _ARROW},
    dependencies=[needs(Permission.ROWS)],
)
def query_capture(
    platform: PlatformOf,
    who: Who,
    name: str,
    request: Annotated[CaptureQueryRequest, Body(openapi_examples=_QUERY)],
    accept: Annotated[str, Header(description=f"{ARROW_TYPE} for an Arrow stream")] = "application/json",
) -> Response:
    """Select from captured rows, those of the last seconds included.

    Tables: predictions, labelled (predictions with their labels), feedback, failures, shadow_predictions,
    shadow_failures and monitor_results (what monitors found). One SELECT of DuckDB's SQL, which reads no files and
    changes nothing, within half a minute.
    """
    form: CaptureForm = "arrow" if ARROW_TYPE in accept else "json"
    body = platform.captured.query(name, request, who, form)
    return Response(body, media_type=ARROW_TYPE if form == "arrow" else "application/json")


@router.get("/{name}/capture/settings", responses=answers(404), dependencies=[needs(Permission.READ)])
def get_capture_settings(platform: PlatformOf, name: str) -> CaptureSettings:
    """What is recorded of an endpoint's predictions, and for how long."""
    return platform.capture_rules.get(name)


@router.put(
    "/{name}/capture/settings",
    responses=answers(400, 404, 413, 415, 422),
    dependencies=[needs(Permission.DEPLOY)],
)
def set_capture_settings(
    platform: PlatformOf,
    who: Who,
    name: str,
    request: Annotated[CaptureSettingsRequest, Body(openapi_examples=_SETTINGS)],
) -> CaptureSettings:
    """Set what is recorded; what is not given stays. Gateways apply it before anything is written."""
    return platform.capture_rules.set(name, request, who)


@router.post(
    "/{name}/capture/forget",
    status_code=202,
    responses=answers(400, 404, 413, 415, 422),
    dependencies=[needs(Permission.ADMINISTER)],
)
def forget_unit(platform: PlatformOf, who: Who, name: str, request: CaptureForgetRequest) -> CaptureForgetAnswer:
    """Forget a unit: its predictions, failures and feedback, in Parquet and in the journal; not in your backups."""
    return platform.capture_rules.forget(name, request.key, who)
