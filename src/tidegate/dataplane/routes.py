"""Which POST paths are predictions, and of which protocol. Everything else belongs to the ASGI application."""

from __future__ import annotations

import re
from urllib.parse import unquote

from tidegate.dataplane.infer import Edge, Route
from tidegate.dataplane.known_heads import KnownHeads
from tidegate.dataplane.mlflow_edge import MlflowEdge
from tidegate.dataplane.plain import PlainEdge
from tidegate.dataplane.tensorflow_edge import TensorflowEdge
from tidegate.dataplane.v2_edge import V2Edge

_CACHED_MAX = 4096
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


class RouteTable:
    """Finds the route of a raw URL; remembers those it has seen, up to a bound. `heads`: whole heads of requests."""

    def __init__(self) -> None:
        self._known: dict[bytes, Route] = {}
        self.heads = KnownHeads()

    def find(self, url: bytes) -> Route | None:
        """The route of a prediction path, None for any other."""
        route = self._known.get(url)
        return route if route is not None else self._parse(url)

    def _parse(self, url: bytes) -> Route | None:
        path = unquote(url.partition(b"?")[0].decode("latin-1"))
        for pattern, edge in _PATTERNS:
            match = pattern.fullmatch(path)
            if match is not None:
                route = Route(edge, match["name"], match.groupdict().get("version"))
                if len(self._known) < _CACHED_MAX and len(url) <= _CACHED_URL_BYTES_MAX:
                    self._known[url] = route
                return route
        return None
