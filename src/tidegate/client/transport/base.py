"""What carries the client's calls to a server: over HTTP, or into an application of the same process.

A transport knows no routes and no shapes; `Api` builds on it and turns what comes back into values and errors.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class ApiCall:
    """One request. `path` is percent-encoded; `body` is bytes, or chunks of them that are read once.

    `timeout_s` bounds the wait for an answer where the transport's own bound is not meant.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Iterable[bytes] | None = None
    timeout_s: float | None = None


@dataclass(frozen=True)
class ApiAnswer:
    """What a server answered, whatever its status. Names of headers are looked up in any case."""

    status: int
    headers: Mapping[str, str]
    data: bytes


class Transport(Protocol):
    """`who` and `where` name the server in messages: "control plane" at "http://127.0.0.1:8800"."""

    @property
    def who(self) -> str: ...
    @property
    def where(self) -> str: ...

    def send(self, call: ApiCall) -> ApiAnswer:
        """Raises `NotRunning` where nothing answers, `DeadlineExceeded` where it takes too long."""

    def close(self) -> None:
        """Let go of its connections; the next call opens new ones."""
