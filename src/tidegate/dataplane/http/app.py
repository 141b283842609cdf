"""The cold routes of gateway and replica, as one ASGI application: health, metadata, metrics, OpenAPI and its page.

Predictions reach it only when the hot path hands them over (a request with `Expect`, or another server); they take the
same `infer`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tidegate import swagger_ui
from tidegate.dataplane.base.incidents import identified, internal
from tidegate.dataplane.calls.call import Destination
from tidegate.dataplane.calls.directory import Service
from tidegate.dataplane.http.routes import PREDICTION_PATHS, RouteTable
from tidegate.dataplane.pipeline import metrics
from tidegate.dataplane.pipeline.access import PUBLIC_PATHS
from tidegate.dataplane.pipeline.infer import Exchange, InferenceEngine, find_service, response_head, that_matter
from tidegate.dataplane.protocols.openapi import openapi
from tidegate.dataplane.protocols.pieces import start
from tidegate.dataplane.protocols.tensorflow import model_metadata, model_status
from tidegate.dataplane.protocols.v2_metadata import EXTENSIONS, by_version, destination_of, metadata
from tidegate.errors import (
    Internal,
    MalformedRequest,
    MethodNotAllowed,
    TidegateError,
    UnknownRoute,
)
from tidegate.version import __version__

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class OwnRoutes:
    """What one server answers beside what all do, and how its OpenAPI describes that for what is served now."""

    routes: tuple[Route, ...] = ()
    paths: Callable[[list[Service]], Mapping[str, Any]] = lambda _: {}
    schemas: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AppOptions:
    """What differs between the servers that share this application."""

    title: str
    render_metrics: Callable[[], Awaitable[bytes]]
    is_ready: Callable[[], bool]
    own: OwnRoutes = OwnRoutes()


def build_app(engine: InferenceEngine, options: AppOptions) -> ASGIApp:
    """The whole ASGI application, access check included."""
    cold = _Cold(engine, options)
    get = ["GET"]
    app = Starlette(
        routes=[
            # First, so that `Allow` names their method and not that of `/v1/models/{name}`, which fits the path too.
            *(Route(path, cold.predict, methods=["POST"]) for path in PREDICTION_PATHS),
            Route("/health", cold.health, methods=get),
            Route("/ping", cold.ping, methods=get),
            Route("/version", cold.version, methods=get),
            Route("/metrics", cold.metrics, methods=get),
            Route("/v2", cold.server, methods=get),
            Route("/v2/health/live", cold.live, methods=get),
            Route("/v2/health/ready", cold.ready, methods=get),
            Route("/v2/models/{name}", cold.model, methods=get),
            Route("/v2/models/{name}/ready", cold.model_ready, methods=get),
            Route("/v2/models/{name}/versions/{version}", cold.model, methods=get),
            Route("/v2/models/{name}/versions/{version}/ready", cold.model_ready, methods=get),
            Route("/v1/models/{name}", cold.v1_status, methods=get),
            Route("/v1/models/{name}/metadata", cold.v1_metadata, methods=get),
            Route("/v1/models/{name}/versions/{version}", cold.v1_status, methods=get),
            Route("/v1/models/{name}/versions/{version}/metadata", cold.v1_metadata, methods=get),
            Route("/v1/models/{name}/labels/{version}", cold.v1_status, methods=get),
            Route("/v1/models/{name}/labels/{version}/metadata", cold.v1_metadata, methods=get),
            Route("/docs", cold.docs, methods=get),
            Route("/docs/{asset}", cold.asset, methods=get),
            Route("/openapi.json", cold.openapi, methods=get),
            *options.own.routes,
        ],
        exception_handlers={HTTPException: _http_error, TidegateError: _tidegate_error, Exception: _unexpected},
    )
    return _Guard(app, engine)


class _Guard:
    """Asks for a key on every route but the public ones, and gives every response an id."""

    def __init__(self, app: ASGIApp, engine: InferenceEngine) -> None:
        self._app = app
        self._engine = engine
        self._routes = RouteTable()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in PUBLIC_PATHS and not self._is_prediction(scope):
            headers = dict(scope["headers"])
            try:
                self._engine.access.check(headers.get(b"authorization"), metrics=scope["path"] == "/metrics")
            except TidegateError as error:
                await _json(error.body(), error.http_status, {"www-authenticate": "Bearer"})(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _is_prediction(self, scope: Scope) -> bool:
        """These ask for their key themselves, and answer as they do on the hot path."""
        return scope["method"] == "POST" and self._routes.find(scope["raw_path"]) is not None


class _Cold:
    """Handlers of every route but predictions; predictions too where the hot path does not take them."""

    def __init__(self, engine: InferenceEngine, options: AppOptions) -> None:
        self._engine = engine
        self._options = options
        self._routes = RouteTable()

    async def health(self, _: Request) -> Response:
        loaded = sum(len(by_version(service)) for service in self._engine.directory.services().values())
        return _json({"status": "healthy", "models_loaded": loaded})

    async def ping(self, _: Request) -> Response:
        return Response("\n", media_type="application/json")

    async def metrics(self, _: Request) -> Response:
        return Response(await self._options.render_metrics(), media_type=metrics.CONTENT_TYPE)

    async def server(self, _: Request) -> Response:
        return _json({"name": "tidegate", "version": __version__, "extensions": EXTENSIONS})

    async def live(self, _: Request) -> Response:
        return _json({"live": True})

    async def ready(self, _: Request) -> Response:
        ready = self._options.is_ready()
        return _json({"ready": ready}, 200 if ready else 503)

    async def model(self, request: Request) -> Response:
        service = self._service(request)
        return _json(metadata(service, self._destination(service, request)))

    async def model_ready(self, request: Request) -> Response:
        service = self._service(request)
        destination = self._destination(service, request)
        ready = destination.batcher.accepts
        return _json({"name": service.name, "ready": ready}, 200 if ready else 503)

    async def version(self, _: Request) -> Response:
        return Response(__version__, media_type="text/plain")

    async def v1_status(self, request: Request) -> Response:
        if request.url.path.endswith(":predict"):  # which fits `{name}` as well
            raise HTTPException(405, headers={"Allow": "POST"})
        service = self._service(request)
        version = request.path_params.get("version")
        return _json(model_status(by_version(service) if version is None else [service.pinned(version)]))

    async def v1_metadata(self, request: Request) -> Response:
        service = self._service(request)
        return _json(model_metadata(service.name, self._destination(service, request)))

    async def docs(self, _: Request) -> Response:
        page = swagger_ui.page(self._options.title, description="/openapi.json", assets="/docs")
        return Response(page, headers=swagger_ui.HEADERS, media_type="text/html")

    async def asset(self, request: Request) -> Response:
        found = swagger_ui.asset(request.path_params["asset"])
        if found is None:
            raise UnknownRoute(f"there is nothing at {request.url.path}")
        content, media_type = found
        return Response(content, headers=swagger_ui.HEADERS, media_type=media_type)

    async def openapi(self, _: Request) -> Response:
        only = self._engine.directory.only()
        services = list(self._engine.directory.services().values())
        described = openapi(self._options.title, services, is_replica=only is not None)
        described["paths"] |= self._options.own.paths(services)
        described["components"]["schemas"] = described["components"]["schemas"] | self._options.own.schemas
        return _json(described)

    async def predict(self, request: Request) -> Response:
        route = self._routes.find(request.scope["raw_path"])
        if route is None:
            raise UnknownRoute(f"there is nothing at {request.url.path}")
        exchange = AwaitedExchange(self._engine, route, that_matter(list(request.scope["headers"])))
        try:
            await _receive(exchange, request)
            status, head, body = await exchange.response
        except asyncio.CancelledError:
            self._engine.abandon(exchange.call)
            raise
        finally:
            exchange.let_go()
        response = Response(body, status)
        response.raw_headers = [_split_header(line) for line in head.rstrip(b"\r\n").split(b"\r\n")]
        return response

    def _service(self, request: Request) -> Service:
        return find_service(self._engine.directory, request.path_params["name"])

    def _destination(self, service: Service, request: Request) -> Destination:
        return destination_of(service, request.path_params.get("version"))


class AwaitedExchange(Exchange):
    """A prediction whose response a coroutine waits for."""

    __slots__ = ("response",)

    admitted = True

    def __init__(self, engine: InferenceEngine, route: Any, headers: dict[bytes, bytes]) -> None:
        super().__init__(engine, route, headers)
        self.response: asyncio.Future[tuple[int, bytes, bytes]] = asyncio.get_running_loop().create_future()

    @property
    def is_wanted(self) -> bool:
        """Whether a coroutine still waits for the response."""
        return not self.response.done()

    def send(self, status: int, destination: Destination | None, body: bytes) -> None:
        """Resolve the future with status, headers and body."""
        if not self.response.done():
            self.response.set_result((status, response_head(self, destination, len(body)), body))


async def _receive(exchange: AwaitedExchange, request: Request) -> None:
    """Take the body and go on, or refuse it as soon as it is too much."""
    try:
        exchange.admit()
        length = exchange.headers.get(b"content-length", b"")
        if length.isdigit():
            exchange.announce(int(length))
        async for chunk in request.stream():
            if chunk:
                exchange.collect(chunk)
    except TidegateError as error:
        exchange.let_go()
        exchange.refuse_unread(error)
    except ClientDisconnect:
        exchange.refuse(MalformedRequest("the client went away before all of its request came"))  # nobody reads it
    else:
        start(exchange, asyncio.get_running_loop())


def _split_header(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b": ")
    return name, value


def _json(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(body, default=str), status, headers, "application/json")


async def _tidegate_error(_: Request, error: Exception) -> Response:
    known = identified(error if isinstance(error, TidegateError) else Internal())
    headers = {} if known.retry_after_s is None else {"retry-after": str(max(1, round(known.retry_after_s)))}
    return _json(known.body(), known.http_status, headers)


async def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException) or error.status_code == 404:
        return await _tidegate_error(request, UnknownRoute(f"there is nothing at {request.url.path}"))
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        refused = MethodNotAllowed(f"{request.method} is not what {request.url.path} takes: use {allowed}")
        return _json(refused.body(), refused.http_status, dict(error.headers or {}))
    return _json(MalformedRequest(str(error.detail)).body(), error.status_code)


async def _unexpected(request: Request, error: Exception) -> Response:
    return await _tidegate_error(request, internal(error))
