"""Engines that place replicas themselves, as `tests/conformance/workloads` and walks through a platform take them.

Each is a module of its own: a fake of the engine's API on this machine whose instances are real replica processes, or a
real one.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from tidegate.core.workloads import Instance, Workloads, WorkloadSpec


class WorkloadSubject(Protocol):
    """One engine with versions that it can run, and ways to break things on it.

    `pooled` engines show one instance for all replicas of a version.
    """

    name: str
    pooled: bool

    def workloads(self) -> Workloads:
        """The adapter of the platform under test, with nothing in mind, as each start of a control plane makes it."""

    def elsewhere(self) -> Workloads:
        """That of another platform on the same engine."""

    def good(self, version: str = "1", *, endpoint: str = "churn", count: int = 1, token: int = 1) -> WorkloadSpec:
        """Of a version that answers; there are versions 1 and 2."""

    def bad_image(self) -> WorkloadSpec:
        """Of a version whose image is not in the registry."""

    def failing(self) -> WorkloadSpec:
        """Of a version that cannot be loaded: its process says so in a `tidegate-error` line, and ends."""

    def never_ready(self) -> WorkloadSpec:
        """Of a version that runs and never answers."""

    def ask(self, instance: Instance) -> int:
        """The status of a real prediction at the instance's address, with its key."""

    def ask_without_key(self, instance: Instance) -> int:
        """The same without a key."""

    def crash(self, instance: Instance) -> None:
        """End its process (of a pool, one of them) as a segmentation fault would."""

    def away(self) -> AbstractContextManager[None]:
        """The engine's API does not answer; what runs goes on running."""

    def left(self) -> list[str]:
        """What the engine has of the platform under test, by name, of every kind."""
