"""Which permission each route needs. A route declares it when it is registered, and the guard asks for it.

`@router.get("", dependencies=[needs(Permission.READ)])`; `[OPEN]` for a route that takes no key.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fastapi import Depends, Security
from fastapi.params import Depends as Dependency
from fastapi.params import Security as Declared
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.routing import BaseRoute, Match
from starlette.types import Scope

from tidegate.core.access import Permission

_BEARER = HTTPBearer(auto_error=False, description="The token of DATA/token, or TIDEGATE_TOKEN.")
"""For the documentation only: the guard has checked the key before any route is reached."""

BY_FRAMEWORK = {"/api/openapi.json": Permission.READ}
"""Routes that FastAPI adds itself, where nothing can be declared."""


def _open() -> None:
    """Nothing is asked of who calls."""


OPEN: Dependency = Depends(_open)
"""Declares that a route takes neither a key nor a body."""


def needs(permission: Permission) -> Dependency:
    """Declares that a route is for principals with this permission. OpenAPI names it as a scope."""
    return Security(_BEARER, scopes=[permission.value])  # type: ignore[no-any-return]


class Undeclared(RuntimeError):
    """A route does not say, once, which permission it needs: the API does not start with it."""


class Needed:
    """What the routes of an application need. Raises `Undeclared` for one that does not say."""

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        self.by_route = [(route, _declared(route)) for route in every_route(routes)]

    def of(self, scope: Scope) -> Permission | None:
        """The permission that a request needs; None where its path is open.

        A path that is none of ours, and a method that its path does not take, need `READ` to be told so.
        """
        by_path = None
        for route, permission in self.by_route:
            match, _ = route.matches(scope)
            if match is Match.FULL:
                return permission
            if match is Match.PARTIAL and by_path is None:
                by_path = (permission,)
        if by_path == (None,):
            return None
        return Permission.READ


def every_route(routes: Iterable[BaseRoute]) -> Iterator[BaseRoute]:
    """Routes, with those of the routers among them that were included without a copy."""
    for route in routes:
        included = getattr(route, "original_router", None)
        if included is None:
            yield route
        else:
            yield from every_route(included.routes)


def _declared(route: BaseRoute) -> Permission | None:
    path = str(getattr(route, "path", route))
    if not isinstance(route, APIRoute):
        if path not in BY_FRAMEWORK:
            raise Undeclared(f"{path} can declare no permission: add it as a route of the API")
        return BY_FRAMEWORK[path]
    found = [None for one in route.dependencies if one is OPEN] + [
        Permission(scope)
        for one in route.dependencies
        if isinstance(one, Declared) and one.dependency is _BEARER
        for scope in one.scopes or ()
    ]
    if len(found) != 1:
        methods = ", ".join(sorted(route.methods or ()))
        raise Undeclared(f"{methods} {path} declares {len(found)} permissions: give it one with needs(...), or OPEN")
    return found[0]
