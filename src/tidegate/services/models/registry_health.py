"""Whether the registry and its artifact store answered when asked last. Written by loops/follow, read by status."""

from __future__ import annotations

import logging

from tidegate.errors import TidegateError
from tidegate.wire.endpoints.registering import RegistryView

_log = logging.getLogger(__name__)


class RegistryHealth:
    """In memory: each control plane knows what it saw itself. One thread writes, any reads."""

    def __init__(self, where: str) -> None:
        self._view = RegistryView(where, "unknown")

    def view(self) -> RegistryView:
        """The state that was found last."""
        return self._view

    def answered(self) -> None:
        """Registry and artifact store have answered."""
        if self._view.status == "unavailable":
            _log.info("%s is back", self._view.where)
        self._view = RegistryView(self._view.where, "ready")

    def failed(self, error: TidegateError) -> None:
        """Registry or artifact store did not answer."""
        if self._view.reason != error.message:
            _log.warning("%s; what is deployed serves on", error.message)
        self._view = RegistryView(self._view.where, "unavailable", error.message)
