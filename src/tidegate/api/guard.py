"""Stands before every route: Host and Origin, then the key, then the body's size and type. Denies by default.

Plain ASGI, so that nothing reaches the framework (not even its 404) without a key.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tidegate.api.sessions import Sessions
from tidegate.errors import Forbidden, MalformedRequest, TidegateError, TooLarge, Unauthenticated, WrongContentType
from tidegate.request_head import head_fault
from tidegate.services.platform_keys import PlatformKeys

PUBLIC_PATHS = frozenset({"/health", "/login"})
"""Reached without a key, and without a body. A test walks all other routes and expects 401."""

ACTOR = "tidegate.actor"
"""The scope's entry that says whose key was shown; nobody's is empty. The server's bounds go by it too."""

GATEWAYS_PATHS, METRICS_PATH = "/internal/v1/", "/metrics"
_GOOD_FOR = {
    "predict": "TIDEGATE_API_KEY predicts at the gateway, and does nothing else",
    "node": "this is the gateways' key",
    "metrics": "this key reads /metrics, and does nothing else",
}
_ADMINISTERING = "this takes the platform's token (TIDEGATE_TOKEN, or DATA/token)"

STREAMED_PATHS = frozenset({"/api/v1/uploads"})
"""Bodies that are files: bounded where they are written."""

BODY_BYTES_MAX = 1 << 20
COOKIE = "tidegate_session"
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
_WILDCARDS = ("0.0.0.0", "::", "")  # noqa: S104 - compared with, never bound


class Keys:
    """The platform's keys, compared in constant time, and the sessions of browsers, which do what the token does."""

    def __init__(self, keys: PlatformKeys, sessions: Sessions) -> None:
        named = {"token": keys.token, "node": keys.node, "metrics": keys.metrics, "predict": keys.predict}
        self._actors = {actor: key for actor, key in named.items() if key}
        self._predict_is_node = keys.predict_is_node
        self.sessions = sessions

    def actor_of(self, key: str) -> str | None:
        """Whose key this is: "token", "node", "metrics", "predict", or None. An empty one is nobody's."""
        if not key:
            return None
        matches = [actor for actor, own in self._actors.items() if hmac.compare_digest(own.encode(), key.encode())]
        return matches[0] if matches else None

    def check(self, actor: str, path: str) -> None:
        """Raise `Forbidden` where the key is good, and not for this."""
        gateways_own = path.startswith(GATEWAYS_PATHS)
        if actor in ("token", "browser") or (actor == "metrics" and path == METRICS_PATH):
            return
        if gateways_own and (actor == "node" or (actor == "predict" and self._predict_is_node)):
            return
        instead = "gateways show the node key (TIDEGATE_NODE_KEY, or DATA/node.key)" if gateways_own else _ADMINISTERING
        raise Forbidden(f"{_GOOD_FOR[actor]}: {instead}")

    def actor(self, headers: Headers) -> str | None:
        """Who sent the request, by its Authorization header or its cookie."""
        scheme, _space, key = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self.actor_of(key.strip())
        return "browser" if self.sessions.holds(_cookie(headers)) else None


def allowed_hosts(host: str, further: str) -> frozenset[str]:
    """Host names this server answers to: loopback's, the bound one, and those of TIDEGATE_ALLOWED_HOSTS."""
    bound = () if host in _WILDCARDS else (host.strip("[]"),)
    named = (name.strip().lower() for name in further.split(","))
    return frozenset({*_LOOPBACK_NAMES, *bound, *(name for name in named if name)})


class _Unreadable(MalformedRequest):
    """Nothing after this head can be trusted to be a request: the connection ends with the answer."""


class Guard:
    """The middleware. `scope[ACTOR]` tells routes who is calling."""

    def __init__(self, app: ASGIApp, keys: Keys, hosts: Iterable[str]) -> None:
        self._app, self._keys, self._hosts = app, keys, frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            if (fault := head_fault(scope["http_version"], scope["headers"])) is not None:
                raise _Unreadable(fault)
            self._check_origin(headers)
            scope[ACTOR] = self._check_key(scope["path"], headers)
            bounded = receive if scope["path"] in STREAMED_PATHS else await _whole_body(scope, headers, receive)
        except TidegateError as error:
            await refusal(error)(scope, receive, send)
            return
        await self._app(scope, bounded, send)

    def _check_origin(self, headers: Headers) -> None:
        """A page of another site (or one that rebinds its name to this address) cannot use a visitor's browser."""
        host = headers.get("host", "")
        if _host_name(host) not in self._hosts:
            raise Forbidden(f"host {host!r} is not one this server answers to: add it to TIDEGATE_ALLOWED_HOSTS")
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            raise Forbidden(f"origin {origin!r} is another site: only this server's own pages may call it")

    def _check_key(self, path: str, headers: Headers) -> str:
        actor = self._keys.actor(headers)
        if actor is None and path not in PUBLIC_PATHS:
            raise Unauthenticated(
                "a key is needed: send the platform's token (TIDEGATE_TOKEN, or DATA/token) as 'Authorization: Bearer "
                "TOKEN', or open the login URL that 'tidegate up' prints"
            )
        if actor is not None and path not in PUBLIC_PATHS:
            self._keys.check(actor, path)
        return actor or ""


def refusal(error: TidegateError) -> JSONResponse:
    """The response for an expected error."""
    headers = {"retry-after": str(int(error.retry_after_s))} if error.retry_after_s is not None else {}
    if isinstance(error, _Unreadable):
        headers["connection"] = "close"
    if isinstance(error, Unauthenticated):
        headers["www-authenticate"] = "Bearer"
    return JSONResponse(error.body(), error.http_status, headers)


async def _whole_body(scope: Scope, headers: Headers, receive: Receive) -> Receive:
    """Read the body here, up to the bound, and replay it; without a body, the untouched `receive`."""
    if scope["method"] in ("GET", "HEAD", "OPTIONS"):
        return receive
    if scope["path"] in PUBLIC_PATHS and (_announced_bytes(headers) or "transfer-encoding" in headers):
        raise TooLarge(f"{scope['path']} takes no body")  # read for nobody: who has no key must not be waited for
    if _announced_bytes(headers) > BODY_BYTES_MAX:
        raise TooLarge(f"the body is larger than {BODY_BYTES_MAX} bytes")
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return receive
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > BODY_BYTES_MAX:
            raise TooLarge(f"the body is larger than {BODY_BYTES_MAX} bytes")
    if body:
        _check_json(headers)
    return _replay(bytes(body), receive)


def _replay(body: bytes, receive: Receive) -> Receive:
    pending = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return pending.pop() if pending else await receive()

    return replayed


def _announced_bytes(headers: Headers) -> int:
    text = headers.get("content-length", "0")
    if not text.isdigit():
        raise MalformedRequest(f"Content-Length {text!r} is no number")
    return int(text)


def _check_json(headers: Headers) -> None:
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise WrongContentType(f"content type {media_type or 'none'!r} is not taken here: send application/json")


def _host_name(host: str) -> str:
    """`host` without its port, lower-case; IPv6 without brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def _cookie(headers: Headers) -> str:
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel else ""
