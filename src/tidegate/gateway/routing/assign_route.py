"""`GET /assign/{endpoint}?key=U`: which variant a unit gets, for applications that show it something besides.

The answer is that of routing, at this moment: the same decision by the same snapshot, also for a tester who names a
variant. Nothing is recorded of it; the unit is exposed with its first prediction.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import orjson
from starlette.responses import Response

from tidegate.dataplane.pipeline.assignment import asked_for
from tidegate.dataplane.pipeline.infer import InferenceEngine, find_service, that_matter
from tidegate.errors import InvalidArgument
from tidegate.wire.gateways.decision import KEY_CHARS_MAX, AssignmentContext

if TYPE_CHECKING:
    from starlette.requests import Request

    from tidegate.dataplane.calls.directory import Service

_ERRORS = {
    "401": "A key is needed",
    "404": "Unknown endpoint, or no such variant",
    "422": "No unit",
    "429": "Overloaded",
    "503": "No ready replica",
}
SCHEMAS: dict[str, Any] = {
    "Assignment": {
        "type": "object",
        "required": ["variant", "version", "experiment"],
        "properties": {
            "variant": {"type": "string"},
            "version": {"type": "string"},
            "experiment": {"type": ["string", "null"]},
        },
    }
}


class AssignRoute:
    """Handler of the assignment route."""

    def __init__(self, engine: InferenceEngine) -> None:
        self._engine = engine

    async def answer(self, request: Request) -> Response:
        """Raises `UnknownEndpoint`, `InvalidArgument`, `NoReadyReplica`, `RateLimited`."""
        service = find_service(self._engine.directory, request.path_params["name"])
        unit = request.query_params.get("key", "")
        if not 0 < len(unit) <= KEY_CHARS_MAX:
            raise InvalidArgument(
                f"'key' has {len(unit)} characters, and has 1 to {KEY_CHARS_MAX}: "
                f"GET /assign/{service.name}?key=UNIT, with the unit that predictions name",
                field="key",
            )
        headers = that_matter(list(request.scope["headers"]))
        if self._engine.limiter is not None:
            self._engine.limiter.check(service.name, headers)
        decision = service.decide(AssignmentContext(service.name, "", unit, asked_for(headers, None)))
        destination = service.destination(decision)
        answer = {
            "variant": destination.identity.variant,
            "version": destination.identity.version,
            "experiment": None if decision is None else decision.experiment,
        }
        return Response(orjson.dumps(answer), media_type="application/json")


def paths(services: Iterable[Service]) -> dict[str, Any]:
    """For the OpenAPI page: a path for each endpoint."""
    return {f"/assign/{service.name}": {"get": _operation(service.name)} for service in services}


def _operation(endpoint: str) -> dict[str, Any]:
    key = {
        "name": "key",
        "in": "query",
        "required": True,
        "description": "The unit, as predictions name it",
        "schema": {"type": "string", "minLength": 1, "maxLength": KEY_CHARS_MAX},
        "example": "user-7",
    }
    return {
        "summary": f"Which variant of {endpoint} a unit gets",
        "tags": [endpoint],
        "parameters": [key],
        "responses": {"200": _answer("Assignment", "Done")}
        | {code: _answer("Error", description) for code, description in _ERRORS.items()},
    }


def _answer(schema: str, description: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": description, "content": content}
