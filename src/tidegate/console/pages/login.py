"""In with the link that works once, and out."""

from __future__ import annotations

from tidegate.client.login import log_in
from tidegate.client.transport.in_process import CallerTransport
from tidegate.console.asking import CALL_TIMEOUT_S, Ask, Moved, PageRoute, Shown


def _in(ask: Ask) -> Shown | Moved:
    """A page that goes on by itself, not a redirect: the browser sends a strict cookie only from page to page."""
    transport = CallerTransport(ask.platform.api, ask.caller, CALL_TIMEOUT_S)
    cookie = log_in(transport, ask.query.get("code", ""))
    return Shown("in.html", {}, headers={"set-cookie": cookie + ("; Secure" if ask.https else "")})


def _out(ask: Ask) -> Shown | Moved:
    cookie = ask.client.platform.end_session()
    return Shown("left.html", {"has_session": False}, headers={"set-cookie": cookie})


ROUTES = (PageRoute("GET", "/login", _in), PageRoute("POST", "/logout", _out))
