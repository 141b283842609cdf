"""The REST API of the control plane as an ASGI application; `python -m tidegate.control` serves it."""

from __future__ import annotations

from fastapi import FastAPI

import tidegate
from tidegate.api import docs, failures
from tidegate.api.guard import Guard, Keys, allowed_hosts
from tidegate.api.permissions import Needed
from tidegate.api.platform import ApiServices
from tidegate.api.routes import (
    alerts,
    apply,
    audit,
    canary,
    capture,
    endpoints,
    experiments,
    images,
    imports,
    jobs,
    load,
    models,
    monitoring,
    packages,
    platform,
    reports,
    shadow,
)
from tidegate.api.sessions import Sessions


def create_app(container: ApiServices) -> FastAPI:
    """The application on a started container; holds no state but what the container has.

    Raises `Undeclared` for a route that does not say which permission it needs.
    """
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
    parts = (
        models,
        images,
        endpoints,
        shadow,
        experiments,
        canary,
        load,
        imports,
        capture,
        monitoring,
        reports,
        alerts,
        apply,
        jobs,
        audit,
        packages,
        platform,
    )
    routers = [one.router for one in parts]
    for router in routers:
        app.include_router(router)
    app.state.routes = [route for router in routers for route in router.routes]
    docs.install(app)
    failures.install(app)
    settings = container.settings
    hosts = allowed_hosts(container.host, settings.allowed_hosts, settings.control_url_inside)
    app.add_middleware(Guard, keys=keys, hosts=hosts, needs=Needed(app.routes).of)
    return app
