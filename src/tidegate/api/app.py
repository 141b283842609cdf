"""The REST API of the control plane as an ASGI application; `python -m tidegate.control` serves it."""

from __future__ import annotations

from fastapi import Depends, FastAPI
from fastapi.security import HTTPBearer

import tidegate
from tidegate.api import docs, failures
from tidegate.api.guard import Guard, Keys, allowed_hosts
from tidegate.api.platform import Platform
from tidegate.api.routes import endpoints, images, jobs, models, platform
from tidegate.api.sessions import Sessions

_BEARER = HTTPBearer(auto_error=False, description="The token of DATA/token, or TIDEGATE_TOKEN.")
"""For the documentation only: the guard has checked the key before any route is reached."""


def create_app(container: Platform) -> FastAPI:
    """The application on a started container; holds no state but what the container has."""
    app = FastAPI(
        title="Tidegate",
        version=tidegate.__version__,
        description="Register models, deploy versions, shift traffic, roll back.",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    keys = Keys(container.keys, Sessions(container.keys.token, container.clock))
    app.state.platform, app.state.keys = container, keys
    for part in (models, images, endpoints, jobs, platform):
        app.include_router(part.router, dependencies=[Depends(_BEARER)])
    app.include_router(platform.public)
    routers = (models.router, images.router, endpoints.router, jobs.router, platform.router, platform.public)
    app.state.routes = [route for router in routers for route in router.routes]
    docs.install(app)
    failures.install(app)
    app.add_middleware(Guard, keys=keys, hosts=allowed_hosts(container.host, container.settings.allowed_hosts))
    return app
