"""A link with which a browser logs in at the control plane once. Used by the command line."""

from __future__ import annotations

from tidegate.client.client import API, Client
from tidegate.client.http import Http
from tidegate.wire.rest import LoginCode


def login_url(client: Client) -> str:
    """A fresh link, good once within five minutes. Raises what the control plane says."""
    control = Http(client.location.url, client.location.token, client.timeout_s, "control plane")
    made = control.send("POST", f"{API}/login-codes", None, LoginCode)
    return f"{client.location.url}/login?code={made.code}"
