"""Which POST paths are predictions, and of which protocol. Everything else belongs to the ASGI application.

A new protocol over HTTP is an edge (`pipeline.infer.Edge`) in `dataplane/protocols`, and its paths in both tables here:
the hot path finds them by pattern, the ASGI application by template. What else its clients ask for (metadata, status)
are routes of `app.py`; `protocols/openapi.py` describes all of it.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from tidegate.dataplane.http.known_heads import KnownHeads
from tidegate.dataplane.pipeline.infer import Edge, PredictionRoute
from tidegate.dataplane.protocols.mlflow import MlflowEdge
from tidegate.dataplane.protocols.plain import PlainEdge
from tidegate.dataplane.protocols.tensorflow import TensorflowEdge
from tidegate.dataplane.protocols.v2 import V2Edge

_GENERATION_MAX = 2048
_CACHED_URL_BYTES_MAX = 512

PLAIN, V2, MLFLOW, TENSORFLOW = PlainEdge(), V2Edge(), MlflowEdge(), TensorflowEdge()
_PATTERNS: tuple[tuple[re.Pattern[str], Edge], ...] = (
    (re.compile(r"/predict(?:/(?P<name>[^/]+))?"), PLAIN),
    (re.compile(r"/v2/models/(?P<name>[^/]+)(?:/versions/(?P<version>[^/]+))?/infer"), V2),
    (re.compile(r"(?:/endpoints/(?P<name>[^/]+))?/invocations"), MLFLOW),
    (
        re.compile(r"/v1/models/(?P<name>[^/:]+)(?:/(?:versions|labels)/(?P<version>[^/:]+))?:predict"),
        TENSORFLOW,
    ),
)
PREDICTION_PATHS = (
    "/predict",
    "/predict/{name}",
    "/v2/models/{name}/infer",
    "/v2/models/{name}/versions/{version}/infer",
    "/invocations",
    "/endpoints/{name}/invocations",
    "/v1/models/{name}:predict",
    "/v1/models/{name}/versions/{version}:predict",
    "/v1/models/{name}/labels/{version}:predict",
)
"""The paths of `_PATTERNS`, as the ASGI application writes them."""


class RouteTable:
    """Finds the route of a raw URL; remembers those seen lately, in two generations. `heads`: whole heads of requests.

    So URLs that are each asked for once (a query of its own, names of nothing) push out none that is in use.
    """

    def __init__(self) -> None:
        self._young: dict[bytes, PredictionRoute] = {}
        self._old: dict[bytes, PredictionRoute] = {}
        self.heads = KnownHeads()

    def find(self, url: bytes) -> PredictionRoute | None:
        """The route of a prediction path, None for any other."""
        route = self._young.get(url)
        return route if route is not None else self._remembered_or_parsed(url)

    def _remembered_or_parsed(self, url: bytes) -> PredictionRoute | None:
        route = self._old.get(url) or self._parse(url)
        if route is not None and len(url) <= _CACHED_URL_BYTES_MAX:
            if len(self._young) >= _GENERATION_MAX:
                self._old, self._young = self._young, {}
            self._young[url] = route
        return route

    def _parse(self, url: bytes) -> PredictionRoute | None:
        path = unquote(url.partition(b"?")[0].decode("latin-1"))
        for pattern, edge in _PATTERNS:
            match = pattern.fullmatch(path)
            if match is not None:
                return PredictionRoute(edge, match["name"], match.groupdict().get("version"))
        return None
