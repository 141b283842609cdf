"""Turns every failure of a route into the one error body, and says which errors a route may answer with."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tidegate.api.guard import refusal
from tidegate.errors import (
    Internal,
    InvalidArgument,
    MalformedRequest,
    MethodNotAllowed,
    TidegateError,
    UnknownRoute,
)
from tidegate.errors.kinds import Kind
from tidegate.system.exhaustion import exhausted
from tidegate.telemetry import log_failure, new_failure_id
from tidegate.wire import rest

_log = logging.getLogger(__name__)
PROBLEMS_SHOWN_MAX = 10


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI responses: these statuses besides those that every route has, each with the error body."""
    return {status: {"model": rest.ErrorBody} for status in sorted({401, 403, 422, 500, 503, *statuses})}


def json_answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The same for a route whose good answer is no JSON: its errors are JSON all the same."""
    body = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorBody"}}}
    return {status: {"description": "Error", "content": body} for status in answers(*statuses)}


def install(app: FastAPI) -> None:
    """Handle everything a route can raise."""
    app.add_exception_handler(TidegateError, _expected)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _of_framework)
    app.add_middleware(Unforeseen)


async def _expected(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, TidegateError)  # noqa: S101 - registered for this class alone
    if error.kind is Kind.INTERNAL:
        failure_id = error.details.setdefault("id", new_failure_id())
        _log.error("%s %s, id %s: %s", request.method, request.url.path, failure_id, error)
    return refusal(error)


async def _invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class alone
    problems = error.errors()
    if any(problem["type"] == "json_invalid" for problem in problems):
        return refusal(MalformedRequest(f"the body is no JSON: {problems[0].get('ctx', {}).get('error', '')}"))
    fields = [_field(problem["loc"]) for problem in problems]
    found = [f"{field}: {problem['msg']}" for field, problem in zip(fields, problems, strict=True)]
    return refusal(InvalidArgument("; ".join(found[:PROBLEMS_SHOWN_MAX]), field=fields[0]))


async def _of_framework(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class alone
    if error.status_code == 404:
        return refusal(UnknownRoute(f"there is nothing at {request.url.path}: see /api/docs"))
    if error.status_code == 405:
        allowed = ", ".join(_methods_of(request)) or (error.headers or {}).get("Allow", "")
        response = refusal(MethodNotAllowed(f"{request.url.path} takes {allowed}, not {request.method}"))
        response.headers["allow"] = allowed
        return response
    if isinstance(error.__cause__, RecursionError):
        return refusal(MalformedRequest("the body is nested too deep"))
    return refusal(MalformedRequest(str(error.detail)))


def _methods_of(request: Request) -> list[str]:
    """All methods that the path takes; the framework's own header has those of the first route that matches."""
    routes: Sequence[BaseRoute] = request.app.state.routes
    matching = [route for route in routes if route.matches(request.scope)[0] is not Match.NONE]
    return sorted({method for route in matching for method in getattr(route, "methods", None) or ()})


class Unforeseen:
    """Middleware: whatever else a route raises is a 500 with an id, and the connection lives on.

    The framework's own handler raises again after its answer, at which the server drops the client's connection.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def noting(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception as error:
            if started or scope["type"] != "http":
                raise
            await _unexpected(scope, error)(scope, receive, send)


def _unexpected(scope: Scope, error: Exception) -> JSONResponse:
    if (here := exhausted(error)) is not None:
        _log.error("%s %s failed: %s", scope["method"], scope["path"], error)
        return refusal(here)
    failure_id = log_failure(_log, f"{scope['method']} {scope['path']}", error)
    return refusal(Internal(f"the server failed; its log has the details under id {failure_id}", id=failure_id))


def _field(location: Sequence[str | int]) -> str:
    """`gate.min_score` of ("body", "gate", "min_score")."""
    return ".".join(str(part) for part in location[1:]) or str(location[0])
