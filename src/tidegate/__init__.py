"""Tidegate takes trained models into production and keeps them healthy there.

`from tidegate import Client` is the Python SDK: a thin client of the control plane's REST API.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tidegate.version import __version__

if TYPE_CHECKING:
    from tidegate.client import Client

__all__ = ["Client", "__version__"]


def __getattr__(name: str) -> Any:
    """Import the client only when it is asked for: `tidegate --help` and replicas never need it."""
    if name == "Client":
        from tidegate.client import Client

        return Client
    raise AttributeError(f"module 'tidegate' has no attribute {name!r}")
