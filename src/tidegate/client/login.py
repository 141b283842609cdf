"""A link with which a browser logs in at the control plane once, and how it is used up. For CLI and console."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidegate.client.rest.api import error_of
from tidegate.client.transport.base import ApiCall, Transport

if TYPE_CHECKING:
    from tidegate.client.client import Client

CODE_CHARS_MAX = 128


def login_url(client: Client) -> str:
    """A fresh link, good once within five minutes. Raises what the control plane says."""
    return f"{client.location.url}/login?code={client.platform.login_code().code}"


def log_in(transport: Transport, code: str) -> str:
    """Use a code up; the cookie that begins the session, as a `Set-Cookie` header has it. Raises `Unauthenticated`."""
    answer = transport.send(ApiCall("GET", "/login", {"code": code[:CODE_CHARS_MAX]}))
    if answer.status >= 400:
        raise error_of(answer, transport.where + "/login")
    return answer.headers["set-cookie"]
