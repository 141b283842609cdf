"""`/api/v1/endpoints/{e}/shadow`: a version that gets a copy of an endpoint's traffic, and what it came to."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body

from tidegate.api.failures import answers
from tidegate.api.permissions import needs
from tidegate.api.platform import PlatformOf, Who
from tidegate.core.access import Permission
from tidegate.wire.shadows import ShadowRequest, ShadowView

router = APIRouter(prefix="/api/v1/endpoints", tags=["endpoints"])
_REQUEST = {
    "a fifth": {"value": {"version": "3", "share": 20}},
    "everything": {"value": {"version": "v1.2.0", "share": 100}},
}


@router.get("/{name}/shadow", responses=answers(404), dependencies=[needs(Permission.READ)])
def get_shadow(platform: PlatformOf, name: str) -> ShadowView:
    """The version that shadows the endpoint, beside what answered the same requests."""
    return platform.shadows.get(name)


@router.put(
    "/{name}/shadow",
    responses=answers(400, 404, 409, 413, 415, 422),
    dependencies=[needs(Permission.DEPLOY)],
)
def set_shadow(
    platform: PlatformOf,
    who: Who,
    name: str,
    request: Annotated[ShadowRequest, Body(openapi_examples=_REQUEST)],
) -> ShadowView:
    """Have a version without traffic get a copy of `share` percent of the requests. Its answers go nowhere."""
    return platform.shadows.set(name, request, who)


@router.delete("/{name}/shadow", responses=answers(404, 409), dependencies=[needs(Permission.DEPLOY)])
def end_shadow(platform: PlatformOf, who: Who, name: str) -> ShadowView:
    """Copy nothing more. What was recorded of it stays, and the answer says what it came to."""
    return platform.shadows.end(name, who)
