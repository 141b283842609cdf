"""`/api/v1/apply` and `/api/v1/export`: endpoints as documents."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Query

from tidegate.api.failures import answers
from tidegate.api.permissions import needs
from tidegate.api.platform import PlatformOf, Who
from tidegate.core.access import Permission
from tidegate.core.manifests.served import ServedRequest
from tidegate.wire.endpoints.declared import ApplyAnswer, ApplyRequest, ExportAnswer

router = APIRouter(prefix="/api/v1", tags=["documents"])
_DOCUMENT = {"endpoint": "churn", "model": "churn", "version": "2", "replicas": 2, "monitor": {"every": "1m"}}
_APPLY = {
    "what would change": {"value": {"documents": [_DOCUMENT], "dry_run": True}},
    "make it so": {"value": {"documents": [_DOCUMENT]}},
}


@router.post("/apply", responses=answers(400, 404, 409, 413, 415, 422), dependencies=[needs(Permission.DEPLOY)])
def apply(
    platform: PlatformOf, who: Who, request: Annotated[ApplyRequest, Body(openapi_examples=_APPLY)]
) -> ApplyAnswer:
    """Make endpoints as documents say, all or none; or say what that would change. The same again changes nothing."""
    return platform.documents.apply(request, who)


@router.get("/export", responses=answers(404, 409, 422), dependencies=[needs(Permission.READ)])
def export(
    platform: PlatformOf,
    endpoint: Annotated[str | None, Query(max_length=63, description="This one alone")] = None,
    format_: Annotated[
        str, Query(alias="format", max_length=40, description="tidegate, or objects of kubernetes, ecs or cloudrun")
    ] = "tidegate",
    version: Annotated[
        str | None, Query(max_length=64, description="In a manifest: this version of the one endpoint")
    ] = None,
    autoscaler: Annotated[
        str, Query(max_length=40, description="In a manifest: engine (counts replicas by their load), or none")
    ] = "engine",
) -> ExportAnswer:
    """Endpoints as documents, by name, without secrets; or as manifests of another engine, with warnings."""
    return platform.documents.export(endpoint, format_, ServedRequest(version, autoscaler))
