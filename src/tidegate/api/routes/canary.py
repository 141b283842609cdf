"""`/api/v1/endpoints/{name}/canary`: a version that takes over in steps, and the guard of one that was deployed."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Depends, Header

from tidegate.api.failures import answers
from tidegate.api.permissions import needs
from tidegate.api.platform import PlatformOf, Who
from tidegate.core.access import Permission
from tidegate.services.canaries.use_cases import Canaries
from tidegate.wire.experiments.canary import CanaryRequest, CanaryView

router = APIRouter(prefix="/api/v1/endpoints/{name}/canary", tags=["canaries"])
_BEGIN = {
    "the default": {"value": {"version": "2"}},
    "quickly, with a guardrail": {
        "value": {"version": "2", "steps": [10, 50, 100], "every_s": 60, "guardrails": ["latency:max=80"]}
    },
}
_CHANGE = answers(404, 409, 412)


def _changing(
    platform: PlatformOf,
    name: str,
    if_match: Annotated[str | None, Header(description="An ETag: only while the endpoint has it")] = None,
) -> Canaries:
    return platform.canaries.only_if(name, if_match)


Changing = Annotated[Canaries, Depends(_changing)]


@router.post(
    "", status_code=202, responses=answers(400, 404, 409, 412, 413, 415, 422), dependencies=[needs(Permission.DEPLOY)]
)
def begin_canary(
    canaries: Changing, who: Who, name: str, request: Annotated[CanaryRequest, Body(openapi_examples=_BEGIN)]
) -> CanaryView:
    """Take a version through steps of the traffic, each on evidence, beside an equally sized slice of stable."""
    return canaries.begin(name, request, who)


@router.get("", responses=answers(404), dependencies=[needs(Permission.READ)])
def get_canary(platform: PlatformOf, name: str) -> CanaryView:
    """The endpoint's newest canary or guard, also one that has ended."""
    return platform.canaries.get(name)


@router.post("/pause", responses=_CHANGE, dependencies=[needs(Permission.DEPLOY)])
def pause_canary(canaries: Changing, who: Who, name: str) -> CanaryView:
    """Stay at the present step; guardrails are watched on."""
    return canaries.pause(name, who)


@router.post("/resume", responses=_CHANGE, dependencies=[needs(Permission.DEPLOY)])
def resume_canary(canaries: Changing, who: Who, name: str) -> CanaryView:
    """Go on from the present step."""
    return canaries.resume(name, who)


@router.post("/promote", responses=_CHANGE, dependencies=[needs(Permission.DEPLOY)])
def promote_canary(canaries: Changing, who: Who, name: str) -> CanaryView:
    """Give the version all of the traffic now, whatever is known of it."""
    return canaries.promote(name, who)


@router.post("/abort", responses=_CHANGE, dependencies=[needs(Permission.DEPLOY)])
def abort_canary(canaries: Changing, who: Who, name: str) -> CanaryView:
    """Give stable all of the traffic again."""
    return canaries.abort(name, who)


@router.post("/retry", status_code=202, responses=_CHANGE, dependencies=[needs(Permission.DEPLOY)])
def retry_canary(canaries: Changing, who: Who, name: str) -> CanaryView:
    """Begin the newest canary anew, from its first step."""
    return canaries.retry(name, who)
