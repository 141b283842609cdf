"""`/api/v1/models`: models, versions, trust, aliases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Body, Query

from tidegate.api.failures import answers
from tidegate.api.paging import ROWS, Cursor, Limit
from tidegate.api.permissions import needs
from tidegate.api.platform import LeaderOnly, PlatformOf, Who
from tidegate.core.access import Permission
from tidegate.services.models.catalog import NEWEST
from tidegate.services.reading.pages import PAGE_ROWS_MAX
from tidegate.wire import rest

InShort = Annotated[bool, Query(description="Leave out signatures, examples, and how validation and acceleration went")]

router = APIRouter(prefix="/api/v1/models", tags=["models"])

_REGISTER = {
    "file": {
        "summary": "An uploaded model file behind a gate",
        "value": {
            "upload": "9f86d081884c7d659a2feaa0c55ad015",
            "filename": "model.joblib",
            "allow_pickle": True,
            "label": "v1.0.0",
            "gate": {
                "validation_upload": "60303ae22b998861bce3b28f33eec1be",
                "validation_filename": "holdout.csv",
                "target": "churned",
                "min_score": 0.8,
            },
        },
    },
    "registry": {"summary": "A version of the registry", "value": {"uri": "models:/churn@champion"}},
}


@dataclass(frozen=True)
class ModelList:
    """Models, by name. `next` is the cursor of the next page, null after the last."""

    models: list[rest.Model]
    next: str | None = None


@router.get("", responses=answers(422), dependencies=[needs(Permission.READ)])
def list_models(
    platform: PlatformOf,
    limit: Limit = ROWS,
    cursor: Cursor = None,
    versions: Annotated[int, Query(ge=1, le=PAGE_ROWS_MAX, description="Of each model at most")] = NEWEST,
    in_short: InShort = False,
) -> ModelList:
    """Models by name with their newest versions, so many models a page; `version_count` is how many each has.

    A page has fewer models where their versions would be more than 2000.
    """
    return ModelList(*platform.models.page(limit, cursor, versions, in_short=in_short))


@router.get("/{name}", responses=answers(404), dependencies=[needs(Permission.READ)])
def get_model(platform: PlatformOf, name: str, in_short: InShort = False) -> rest.Model:
    """One model with all of its versions, newest first."""
    return platform.models.get(name, in_short=in_short)


@router.delete(
    "/{name}", status_code=204, responses=answers(404, 409), dependencies=[needs(Permission.DEPLOY), LeaderOnly]
)
def delete_model(platform: PlatformOf, who: Who, name: str) -> None:
    """Remove a model and all its versions, here and in the registry; 409 while an endpoint serves it."""
    platform.models.delete(name, who)


@router.post(
    "/{name}/versions",
    status_code=202,
    responses=answers(400, 404, 409, 413, 415, 422),
    dependencies=[needs(Permission.DEPLOY), LeaderOnly],
)
def register_version(
    platform: PlatformOf,
    who: Who,
    name: str,
    request: Annotated[rest.RegisterRequest, Body(openapi_examples=_REGISTER)],
) -> rest.Job:
    """Queue the registration of a version; the job's result is `{"model", "version", "created"}`."""
    return platform.jobs.register(name, request, who)


@router.get("/{name}/versions/{version}", responses=answers(404, 422), dependencies=[needs(Permission.READ)])
def get_version(platform: PlatformOf, name: str, version: str) -> rest.Version:
    """One version by its number, its label, `latest` or `@alias`."""
    return platform.models.version(name, version)


@router.delete(
    "/{name}/versions/{version}",
    status_code=204,
    responses=answers(404, 409, 422),
    dependencies=[needs(Permission.DEPLOY), LeaderOnly],
)
def delete_version(platform: PlatformOf, who: Who, name: str, version: str) -> None:
    """Remove a version, here and in the registry; 409 while an endpoint uses it."""
    platform.models.delete_version(name, version, who)


@router.put("/{name}/trust", responses=answers(400, 413, 415, 422), dependencies=[needs(Permission.ADMINISTER)])
def set_trust(platform: PlatformOf, who: Who, name: str, request: rest.TrustRequest) -> rest.Model:
    """Let later versions of this name load pickles without a grant of their own, or stop doing so."""
    return platform.models.trust(name, request, who)


@router.put(
    "/{name}/aliases/{alias}", responses=answers(400, 404, 413, 415, 422), dependencies=[needs(Permission.DEPLOY)]
)
def set_alias(platform: PlatformOf, who: Who, name: str, alias: str, request: rest.AliasRequest) -> rest.Model:
    """Point an alias of the registry at a version."""
    return platform.models.set_alias(name, alias, request, who)
