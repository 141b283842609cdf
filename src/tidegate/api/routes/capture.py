"""`/api/v1/endpoints/{e}/capture`: SQL over what was captured."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Response

from tidegate.api.failures import answers
from tidegate.api.permissions import needs
from tidegate.api.platform import PlatformOf, Who
from tidegate.core.access import Permission
from tidegate.wire.capture import ARROW_TYPE, CaptureAnswer, CaptureForm, CaptureQueryRequest

router = APIRouter(prefix="/api/v1/endpoints", tags=["capture"])
_QUERY = {
    "by version": {"value": {"sql": "SELECT version, count(*) AS rows FROM predictions GROUP BY version"}},
    "every row": {"value": {"rows_max": 100}},
}
_ARROW: dict[str, Any] = {"content": {ARROW_TYPE: {}}}


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

    Tables: predictions, labelled (predictions with their labels), feedback, shadow_predictions, failures. One SELECT of
    DuckDB's SQL, which reads no files and changes nothing, within half a minute.
    """
    form: CaptureForm = "arrow" if ARROW_TYPE in accept else "json"
    body = platform.captured.query(name, request, who, form)
    return Response(body, media_type=ARROW_TYPE if form == "arrow" else "application/json")
