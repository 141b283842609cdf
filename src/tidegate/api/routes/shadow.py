"""`/api/v1/endpoints/{e}/shadow`: a version that gets a copy of an endpoint's traffic, and what it came to."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Depends, Header

from tidegate.api.failures import answers
from tidegate.api.permissions import needs
from tidegate.api.platform import PlatformOf, Who
from tidegate.core.access import Permission
from tidegate.services.shadows.shadows import Shadows
from tidegate.wire.experiments.shadows import ShadowRequest, ShadowView

router = APIRouter(prefix="/api/v1/endpoints", tags=["endpoints"])
_REQUEST = {
    "a fifth": {"value": {"version": "3", "share": 20}},
    "everything": {"value": {"version": "v1.2.0", "share": 100}},
}


def _changing(
    platform: PlatformOf,
    name: str,
    if_match: Annotated[str | None, Header(description="An ETag: only while the endpoint has it")] = None,
) -> Shadows:
    return platform.shadows.only_if(name, if_match)


Changing = Annotated[Shadows, Depends(_changing)]


@router.get("/{name}/shadow", responses=answers(404), dependencies=[needs(Permission.READ)])
def get_shadow(platform: PlatformOf, name: str) -> ShadowView:
    """The version that shadows the endpoint, beside what answered the same requests."""
    return platform.shadows.get(name)


@router.put(
    "/{name}/shadow",
    responses=answers(400, 404, 409, 412, 413, 415, 422),
    dependencies=[needs(Permission.DEPLOY)],
)
def set_shadow(
    shadows: Changing,
    who: Who,
    name: str,
    request: Annotated[ShadowRequest, Body(openapi_examples=_REQUEST)],
) -> ShadowView:
    """Have a version without traffic get a copy of `share` percent of the requests. Its answers go nowhere."""
    return shadows.set(name, request, who)


@router.delete("/{name}/shadow", responses=answers(404, 409, 412), dependencies=[needs(Permission.DEPLOY)])
def end_shadow(shadows: Changing, who: Who, name: str) -> ShadowView:
    """Copy nothing more. What was recorded of it stays, and the answer says what it came to."""
    return shadows.end(name, who)
