"""`/api/v1/models/{name}/versions/{version}/image`: container images of versions."""

from __future__ import annotations

from fastapi import APIRouter

from tidegate.api.failures import answers
from tidegate.api.permissions import needs
from tidegate.api.platform import LeaderOnly, PlatformOf, Who
from tidegate.core.access import Permission
from tidegate.wire import rest

router = APIRouter(prefix="/api/v1/models/{name}/versions/{version}/image", tags=["models"])


@router.post(
    "",
    status_code=202,
    responses=answers(400, 404, 409, 413, 415, 422),
    dependencies=[needs(Permission.DEPLOY), LeaderOnly],
)
def build_image(
    platform: PlatformOf, who: Who, name: str, version: str, request: rest.BuildRequest | None = None
) -> rest.Job:
    """Queue an image of a version; the job's result has `image`, `id`, `size_bytes` and `pushed`."""
    return platform.images.build(name, version, request or rest.BuildRequest(), who)


@router.get("", responses=answers(404, 422), dependencies=[needs(Permission.READ)])
def get_image(platform: PlatformOf, name: str, version: str) -> rest.Image:
    """The image that was built last of a version, with its Dockerfile and its bill of materials."""
    return platform.images.get(name, version)


@router.get("/dockerfile", responses=answers(404, 409, 422), dependencies=[needs(Permission.READ)])
def get_dockerfile(platform: PlatformOf, name: str, version: str, base: str | None = None) -> rest.Dockerfile:
    """What an image of a version would be built with; nothing is built."""
    return platform.images.dockerfile(name, version, base)
