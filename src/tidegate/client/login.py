"""A link with which a browser logs in at the control plane once. Used by the command line."""

from __future__ import annotations

from tidegate.client.client import Client


def login_url(client: Client) -> str:
    """A fresh link, good once within five minutes. Raises what the control plane says."""
    return f"{client.location.url}/login?code={client.platform.login_code().code}"
