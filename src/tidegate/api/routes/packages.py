"""`/internal/v1/packages/{model}/{version}`: a version's files, for a replica that an engine starts elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from tidegate.adapters.artifacts.packed import PackedVersion
from tidegate.api.failures import json_answers
from tidegate.api.permissions import needs
from tidegate.api.platform import PlatformOf, Who
from tidegate.core.access import Permission
from tidegate.core.images.delivery import PACKAGES_PATH
from tidegate.wire.replicas.package_tar import DIGEST_HEADER, MEDIA_TYPE

router = APIRouter()
_TAR: dict[str, Any] = {
    "description": "A tar of the manifest and of the files that are served",
    "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
    "headers": {DIGEST_HEADER: {"description": "The version's digest", "schema": {"type": "string"}}},
}


class _Sent(StreamingResponse):
    """Says when it was sent, or cut off: also where nothing was asked of it, as a client had left before."""

    def __init__(self, packed: PackedVersion, done: Callable[[], None]) -> None:
        headers = {DIGEST_HEADER: packed.digest, "content-length": str(packed.size_bytes)}
        super().__init__(packed.chunks(), headers=headers, media_type=MEDIA_TYPE)
        self._done = done

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._done()


@router.get(
    PACKAGES_PATH + "/{name}/{version}",
    tags=["internal"],
    response_class=Response,
    responses=json_answers(404, 409, 429) | {200: _TAR},
    dependencies=[needs(Permission.PACKAGE)],
)
def get_package(
    platform: PlatformOf, who: Who, name: str, version: str, form: Annotated[str, Query(max_length=64)] = ""
) -> Response:
    """The files that a version is served from, in one stream: those of `form`, or else of the original model.

    A replica's key is good for its own version alone. What may go on later answers 429 or 503, with Retry-After.
    """
    return _Sent(platform.packages.open(name, version, form, who), platform.packages.close)
