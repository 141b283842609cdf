"""Lists as the API answers them, each under a name of its own. Decoded by `Client`."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from tidegate.wire.rest import Endpoint, HistoryEntry, Job, LogLines, Model


class ListedModels(TypedDict):
    """Models."""

    models: list[Model]
    next: NotRequired[str | None]


class ListedEndpoints(TypedDict):
    """Endpoints."""

    endpoints: list[Endpoint]
    next: NotRequired[str | None]


class ListedHistory(TypedDict):
    """Changes of an endpoint."""

    history: list[HistoryEntry]


class ListedLogs(TypedDict):
    """Logs of an endpoint's replicas."""

    logs: list[LogLines]


class ListedJobs(TypedDict):
    """Jobs."""

    jobs: list[Job]
    next: NotRequired[str | None]
