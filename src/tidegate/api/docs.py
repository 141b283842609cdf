"""`/api/docs`: Swagger UI from files of this installation, so that it works without the internet."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.responses import HTMLResponse, Response

from tidegate import swagger_ui
from tidegate.api.permissions import needs
from tidegate.core.access import Permission
from tidegate.errors import UnknownRoute

ASSETS = "/api/docs/assets"


def install(app: FastAPI) -> None:
    """Add the page and its assets."""
    read = [needs(Permission.READ)]
    app.add_api_route(f"{ASSETS}/{{name}}", _asset, include_in_schema=False, dependencies=read)
    app.add_api_route("/api/docs", _page, include_in_schema=False, response_class=HTMLResponse, dependencies=read)


def _asset(name: str) -> Response:
    found = swagger_ui.asset(name)
    if found is None:
        raise UnknownRoute(f"there is nothing at {ASSETS}/{name}")
    content, media_type = found
    return Response(content, headers=swagger_ui.HEADERS, media_type=media_type)


def _page() -> HTMLResponse:
    page = swagger_ui.page("Tidegate control plane", description="/api/openapi.json", assets=ASSETS)
    return HTMLResponse(page, headers=swagger_ui.HEADERS)
