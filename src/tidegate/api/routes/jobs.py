"""`/api/v1/jobs` and `/api/v1/uploads`: heavy work, and the bytes it needs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from tidegate.api.failures import answers
from tidegate.api.paging import ROWS, Cursor, Limit
from tidegate.api.permissions import needs
from tidegate.api.platform import LeaderOnly, PlatformOf, Who
from tidegate.core.access import Permission
from tidegate.errors import DeadlineExceeded, MalformedRequest, WrongContentType
from tidegate.services.jobs.uploads import UploadSink
from tidegate.wire import rest

router = APIRouter(prefix="/api/v1")
WRITE_BYTES = 1 << 20
CHUNK_TIMEOUT_S = 30.0
_BINARY = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@dataclass(frozen=True)
class JobList:
    """Jobs, newest first. `next` is the cursor of the next page, null after the last."""

    jobs: list[rest.Job]
    next: str | None = None


@router.get("/jobs", tags=["jobs"], responses=answers(422), dependencies=[needs(Permission.READ)])
def list_jobs(
    platform: PlatformOf,
    state: rest.JobState | None = None,
    subject: str | None = None,
    limit: Limit = ROWS,
    cursor: Cursor = None,
) -> JobList:
    """Jobs, newest first, of one state or one model if given."""
    return JobList(*platform.jobs.find(state, subject, limit, cursor))


@router.get("/jobs/{job_id}", tags=["jobs"], responses=answers(404), dependencies=[needs(Permission.READ)])
def get_job(platform: PlatformOf, job_id: str) -> rest.Job:
    """One job with its log, and its result or error once it has ended."""
    return platform.jobs.get(job_id)


@router.post(
    "/jobs/{job_id}/cancel",
    status_code=202,
    tags=["jobs"],
    responses=answers(404, 409),
    dependencies=[needs(Permission.DEPLOY)],
)
def cancel_job(platform: PlatformOf, who: Who, job_id: str) -> rest.Job:
    """End a job before it is done; what it made so far is undone. Its state says when that is so."""
    return platform.jobs.cancel(job_id, who)


@router.post(
    "/uploads",
    status_code=201,
    tags=["uploads"],
    responses=answers(400, 413, 415, 422, 504),
    openapi_extra=_BINARY,
    dependencies=[needs(Permission.DEPLOY), LeaderOnly],
)
async def upload(platform: PlatformOf, request: Request) -> rest.Upload:
    """Stream a file in as the request's body; a later request names its id within an hour."""
    media_type = request.headers.get("content-type", "application/octet-stream").partition(";")[0].strip().lower()
    if media_type != "application/octet-stream":
        raise WrongContentType(f"content type {media_type!r} is not taken here: send application/octet-stream")
    announced = request.headers.get("content-length")
    sink = await run_in_threadpool(platform.uploads.begin, int(announced) if announced else None)
    try:
        await _receive(request, sink)
        return await run_in_threadpool(sink.finish)
    except BaseException:
        # Not through the thread pool: a cancelled request must still clean up, and this is two unlinks.
        sink.abort()
        raise


async def _receive(request: Request, sink: UploadSink) -> None:
    waiting = bytearray()
    async for chunk in _timed(request.stream()):
        waiting += chunk
        if len(waiting) >= WRITE_BYTES:
            await run_in_threadpool(sink.write, bytes(waiting))
            waiting.clear()
    if waiting:
        await run_in_threadpool(sink.write, bytes(waiting))


async def _timed(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The chunks, each within the timeout; a client that stalls or leaves ends the upload."""
    try:
        while True:
            yield await asyncio.wait_for(anext(chunks), CHUNK_TIMEOUT_S)
    except StopAsyncIteration:
        return
    except TimeoutError:
        raise DeadlineExceeded(f"no byte came for {CHUNK_TIMEOUT_S:g} s: the upload is dropped") from None
    except ClientDisconnect:
        raise MalformedRequest("the client left before the upload's end") from None
