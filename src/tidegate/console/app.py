"""The console as an ASGI application: finds the page for a path, runs its handler in a thread, answers with HTML.

Who asks was checked before (`api.console_guard`); a refused request comes with the reason, and gets a page of it.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from anyio import CapacityLimiter, to_thread
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import compile_path
from starlette.types import Receive, Scope, Send

from tidegate.client import Client
from tidegate.client.transport.in_process import Caller
from tidegate.clock import now
from tidegate.console import render
from tidegate.console.asking import Ask, ConsolePlatform, Moved, PageRoute, Shown, fields_of
from tidegate.console.assets import STATIC, asset
from tidegate.console.headers import FILE_HEADERS, PAGE_HEADERS
from tidegate.console.live import Live
from tidegate.console.multipart import MEDIA_TYPE, boundary_of
from tidegate.console.pages import ROUTES
from tidegate.console.uploading import blocking, received
from tidegate.errors import (
    Internal,
    InvalidArgument,
    MethodNotAllowed,
    Overloaded,
    TidegateError,
    Unauthenticated,
    UnknownRoute,
    WrongContentType,
)
from tidegate.telemetry import log_failure

log = logging.getLogger(__name__)

REFUSED = "tidegate.refused"
"""The scope's entry that says why this request may not be answered; a `TidegateError`."""
LIVE_PATH, LOGIN_PATH, DEPLOY_PATH = "/live", "/login", "/deploy"
PAGES_AT_ONCE_MAX, UPLOADS_AT_ONCE_MAX = 8, 4
RETRY_AFTER_S = 10.0
PACKED_BYTES_MIN = 1000
_FORM = "application/x-www-form-urlencoded"


def is_open(path: str) -> bool:
    """Whether a path takes no session: the page of the one-time link, and the files of pages."""
    return path == LOGIN_PATH or path.startswith(STATIC)


def is_stream(path: str) -> bool:
    """Whether pages ask for a path by themselves: that is no use of a session."""
    return path == LIVE_PATH


def sends_files(scope: Scope) -> bool:
    """Whether a browser sends a form with files, which nobody may hold in memory: that of a model, without scripts."""
    media_type = Headers(scope=scope).get("content-type", "").partition(";")[0].strip().lower()
    return scope["method"] == "POST" and scope["path"] == DEPLOY_PATH and media_type == MEDIA_TYPE


def takes_html(scope: Scope) -> bool:
    """Whether a browser asks, and not a program."""
    return "text/html" in Headers(scope=scope).get("accept", "")


class Console:
    """One console of one platform. `close` ends what it keeps open."""

    def __init__(self, platform: ConsolePlatform, streams_max: int, routes: Sequence[PageRoute] = ROUTES) -> None:
        self._platform = platform
        self._routes = [(route, compile_path(route.path)[0]) for route in routes]
        self._live = Live(self._sample, streams_max)
        self._room = CapacityLimiter(PAGES_AT_ONCE_MAX)
        self._uploads = CapacityLimiter(UPLOADS_AT_ONCE_MAX)

    def close(self) -> None:
        """From any thread."""
        self._live.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            if (refused := scope.get(REFUSED)) is not None:
                raise refused
            _check_prefix(request.headers)
            if request.scope["path"] == LIVE_PATH:
                if request.method != "GET":
                    raise MethodNotAllowed(f"{LIVE_PATH} takes GET, not {request.method}")
                await self._live.stream(request.query_params.get("of", "/"), _caller(request), receive, send)
                return
            response = await self._answer(request)
        except TidegateError as error:
            response = _failed(request, error)
        except Exception as error:
            failure_id = log_failure(log, f"{request.method} {request.scope['path']!r}", error)
            message = f"the server failed; its log has the details under id {failure_id}"
            response = _failed(request, Internal(message, id=failure_id))
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        path = request.scope["path"]  # the one that the guard went by; a URL is made of the Host header too
        if path.startswith(STATIC):
            return _file(path.removeprefix(STATIC), request.headers)
        route, of = self._found(request.method, path)
        query = fields_of(request.url.query)
        form = await _form(request) if request.method == "POST" and not sends_files(request.scope) else {}
        with self._platform.client(caller := _caller(request)) as client:
            if sends_files(request.scope):
                form = await self._with_files(request, client)
            https = request.url.scheme == "https"
            ask = Ask(self._platform, caller, client, path, of, query, form, https=https)
            around = _around(request) | {"live_of": ask.here if route.live else None}
            return await to_thread.run_sync(_made, route, ask, around, request.headers, limiter=self._room)

    async def _with_files(self, request: Request, client: Client) -> dict[str, str]:
        """In a thread of its own, not among those that make pages: a file may take long."""
        if self._uploads.available_tokens < 1:
            raise Overloaded(
                f"{UPLOADS_AT_ONCE_MAX} files are being sent to this server already: try again when they are done",
                retry_after_s=RETRY_AFTER_S,
            )
        boundary = boundary_of(request.headers.get("content-type", ""))
        chunks = blocking(request.stream(), asyncio.get_running_loop())
        return await to_thread.run_sync(received, chunks, boundary, client, limiter=self._uploads)

    def _found(self, method: str, path: str) -> tuple[PageRoute, Mapping[str, str]]:
        """Raises `UnknownRoute`, `MethodNotAllowed`."""
        methods = set()
        for route, pattern in self._routes:
            if (match := pattern.match(path)) is not None:
                # A link that works once is not used up by asking for its head.
                if route.method == ("GET" if method == "HEAD" and path != LOGIN_PATH else method):
                    return route, match.groupdict()
                methods.add(route.method)
        if methods:
            raise MethodNotAllowed(f"{path} takes {', '.join(sorted(methods))}, not {method}")
        raise UnknownRoute(f"there is no page at {path}")

    def _sample(self, key: str, caller: Caller) -> Mapping[str, str]:
        """What of an open page changes by itself, as it is now."""
        path, _, query = key.partition("?")
        route, of = self._found("GET", path)
        if not route.live:
            raise InvalidArgument(f"nothing on {path} changes by itself", field="of")
        with self._platform.client(caller) as client:
            made = route.handler(Ask(self._platform, caller, client, path, of, fields_of(query), live=True))
        return {} if isinstance(made, Moved) else render.live_parts(made, render.around(path, now(), caller))


def _check_prefix(headers: Headers) -> None:
    """Links and forms lead to the root of the server: behind a proxy that adds a path they would lead elsewhere."""
    prefix = headers.get("x-forwarded-prefix", "/")
    if prefix.strip("/"):
        raise InvalidArgument(
            f"the console does not work under a path such as {prefix[:80]!r}: give it a host name of its own at the "
            "proxy"
        )


def _caller(request: Request) -> Caller:
    """The id of the request is the one that its answer carries."""
    request_id = request.scope.get("tidegate.request_id")
    return Caller(request.headers.get("authorization"), request.headers.get("cookie"), request_id)


async def _form(request: Request) -> dict[str, str]:
    body = await request.body()
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if body and media_type != _FORM:
        raise WrongContentType(f"content type {media_type or 'none'!r} is not taken here: forms are sent as {_FORM}")
    try:
        return fields_of(body.decode())
    except UnicodeDecodeError:
        raise InvalidArgument("this form cannot be read: it is no UTF-8") from None


def _around(request: Request) -> dict[str, Any]:
    caller = None if REFUSED in request.scope else _caller(request)
    return render.around(request.scope["path"], now(), caller) | {"live_of": None}


def _failed(request: Request, error: TidegateError) -> Response:
    """The page of a failure, with what to do about it; for programs the error's body."""
    status, headers = error.http_status, {}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(int(error.retry_after_s))
    if not takes_html(request.scope):
        return JSONResponse(error.body(), status, {**PAGE_HEADERS, **headers})
    template = "out.html" if isinstance(error, Unauthenticated) else "error.html"
    context = {"error": error, "title": HTTPStatus(status).phrase, "status": status}
    return _page(Shown(template, context, status, headers), _around(request), request.headers)


def _made(route: PageRoute, ask: Ask, around: Mapping[str, Any], asked: Headers) -> Response:
    """What a handler says, as an answer. In a thread: a large page takes its time, which is not the server's loop's."""
    made = route.handler(ask)
    if isinstance(made, Moved):
        return RedirectResponse(made.to, status_code=303, headers={**PAGE_HEADERS, **made.headers})
    return _page(made, around, asked)


def _page(shown: Shown, around: Mapping[str, Any], asked: Headers) -> Response:
    html = render.page(shown, around).encode()
    headers = {**PAGE_HEADERS, **shown.headers}
    if len(html) >= PACKED_BYTES_MIN and _takes_gzip(asked):
        html, headers["content-encoding"] = gzip.compress(html, 5, mtime=0), "gzip"
    return Response(html, shown.status, headers, media_type="text/html")


def _file(name: str, asked: Headers) -> Response:
    found = asset(name)
    if found is None:
        raise UnknownRoute(f"there is nothing at {STATIC}{name}")
    if _takes_gzip(asked):
        return Response(found.packed, headers={**FILE_HEADERS, "content-encoding": "gzip"}, media_type=found.media_type)
    return Response(found.content, headers=FILE_HEADERS, media_type=found.media_type)


def _takes_gzip(asked: Headers) -> bool:
    return re.search(r"\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))", asked.get("accept-encoding", "")) is not None
