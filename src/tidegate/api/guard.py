"""Stands before every route: Host and Origin, then who asks and whether they may, then the body's size and type.

Plain ASGI, so that nothing reaches the framework (not even its 404) without a key. Denies by default.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tidegate.api.bodies import check_texts
from tidegate.api.refusals import RefusalLog
from tidegate.api.sessions import COOKIE, Sessions, set_cookie
from tidegate.core.access import EVERYTHING, Permission, Principal
from tidegate.errors import (
    Forbidden,
    InvalidArgument,
    MalformedRequest,
    TidegateError,
    TooLarge,
    Unauthenticated,
    UnknownRoute,
    WrongContentType,
)
from tidegate.request_head import head_fault
from tidegate.services.platform_keys import PlatformKeys
from tidegate.wire.replicas.package_tar import CREDENTIAL_HEADER
from tidegate.wire.replicas.replica_key import replica_key

PRINCIPAL, REQUEST_ID = "tidegate.principal", "tidegate.request_id"
"""The scope's entries that say who asks (`Principal`; None where no key was shown) and the request's id.

The server's bounds go by the first too.
"""

_GOOD_FOR = {
    "predict": "TIDEGATE_API_KEY predicts at the gateway, and does nothing else",
    "node": "this is the gateways' key",
    "metrics": "this key reads /metrics, and does nothing else",
    "replica": "this key is a replica's, which fetches its own version and does nothing else",
}
_ADMINISTERING = "this takes the platform's token (TIDEGATE_TOKEN, or DATA/token)"
_SHOWN_BY = {
    Permission.NODE: "gateways show the node key (TIDEGATE_NODE_KEY, or DATA/node.key)",
    Permission.PACKAGE: f"a replica shows the key it was started with, and names it in {CREDENTIAL_HEADER}",
}

STREAMED_PATHS = frozenset({"/api/v1/uploads"})
"""Bodies that are files: bounded where they are written."""

BODY_BYTES_MAX = 1 << 20
AT_ONCE_BYTES_MAX = 16 << 10
"""Texts of larger bodies are checked in a thread: 16 KB made for it take 15 ms, a megabyte nearly a second."""
REQUEST_ID_HEADER = "x-request-id"
_CREDENTIAL = re.compile(r"[a-z0-9][-a-z0-9]{0,252}")
_REQUEST_ID_TAKEN = re.compile(r"[!-~]{1,128}")
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
_WILDCARDS = ("0.0.0.0", "::", "")  # noqa: S104 - compared with, never bound


Needs = Callable[[Scope], Permission | None]
"""Which permission a request needs; None for an open path."""


class Keys:
    """The platform's keys, compared in constant time, and the sessions of browsers, which do what the token does."""

    def __init__(self, keys: PlatformKeys, sessions: Sessions) -> None:
        predicting = {Permission.PREDICT, *([Permission.NODE] if keys.predict_is_node else [])}
        named = [
            (keys.token, Principal("token", "token", EVERYTHING)),
            (keys.node, Principal("node", "node", frozenset({Permission.NODE}))),
            (keys.metrics, Principal("metrics", "metrics", frozenset({Permission.METRICS}))),
            (keys.predict, Principal("predict", "predict", frozenset(predicting))),
        ]
        self._principals = [(key.encode(), principal) for key, principal in named if key]
        self._node = keys.node
        self.sessions = sessions

    def principal_of(self, key: str) -> Principal | None:
        """Whose key this is. An empty one is nobody's."""
        matches = [whose for own, whose in self._principals if hmac.compare_digest(own, key.encode())]
        return matches[0] if matches else None

    def principal(self, headers: Headers) -> Principal | None:
        """Who sent the request, by its Authorization header or its cookie."""
        scheme, _space, key = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            credential = headers.get(CREDENTIAL_HEADER)
            return self.principal_of(key.strip()) if credential is None else self._replica(credential, key.strip())
        session = self.sessions.name_of(cookie_of(headers))
        return None if session is None else Principal("session", session, EVERYTHING)

    def _replica(self, credential: str, key: str) -> Principal | None:
        """A replica that an engine started, by the name of its key."""
        if not _CREDENTIAL.fullmatch(credential):
            return None
        own = replica_key(self._node, credential)
        may = frozenset({Permission.PACKAGE})
        return Principal("replica", credential, may) if hmac.compare_digest(own.encode(), key.encode()) else None

    def renewed(self, headers: Headers, *, https: bool) -> str | None:
        """The `Set-Cookie` header that says that a session is in use, where that has to be said again."""
        value = self.sessions.renewed(cookie_of(headers))
        return None if value is None else set_cookie(value, https=https)


def check_permission(principal: Principal, permission: Permission) -> None:
    """Raise `Forbidden` where the key is good, and not for this."""
    if principal.may(permission):
        return
    held = ", ".join(sorted(principal.permissions)) or "nothing"
    good_for = _GOOD_FOR.get(principal.kind, f"{principal.name} may {held}, and this needs {permission}")
    raise Forbidden(f"{good_for}: {_SHOWN_BY.get(permission, _ADMINISTERING)}")


def allowed_hosts(host: str, further: str, url_inside: str | None = None) -> frozenset[str]:
    """Host names this server answers to: loopback's, the bound one, those of TIDEGATE_ALLOWED_HOSTS, and the one by
    which replicas elsewhere know it.
    """
    bound = () if host in _WILDCARDS else (host.strip("[]"),)
    named = (name.strip().lower() for name in further.split(","))
    inside = urlsplit(url_inside or "").hostname
    return frozenset({*_LOOPBACK_NAMES, *bound, *(name for name in named if name), *([inside] if inside else [])})


class Unreadable(MalformedRequest):
    """Nothing after this head can be trusted to be a request: the connection ends with the answer."""


class Guard:
    """The middleware. `scope[PRINCIPAL]` tells routes who asks; every answer has the request's id."""

    def __init__(self, app: ASGIApp, keys: Keys, hosts: Iterable[str], needs: Needs) -> None:
        self._app, self._keys, self._hosts, self._needs = app, keys, frozenset(hosts), needs
        self._refusals = RefusalLog()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        scope[REQUEST_ID] = request_id = request_id_of(headers)
        answer = with_heads(send, {REQUEST_ID_HEADER: request_id})
        try:
            bounded = await self._passed(scope, headers, receive, request_id)
        except TidegateError as error:
            if isinstance(error, Forbidden):
                self._refusals.note(scope, scope.get(PRINCIPAL), request_id, error)
            await refusal(error)(scope, receive, answer)
            return
        await self._app(scope, bounded, renewing(self._keys, scope, headers, answer))

    async def _passed(self, scope: Scope, headers: Headers, receive: Receive, request_id: str) -> Receive:
        """Every check of one request, in order; what the application then receives."""
        if (fault := head_fault(scope["http_version"], scope["headers"])) is not None:
            raise Unreadable(fault)
        check_origin(headers, self._hosts)
        found = self._keys.principal(headers)
        scope[PRINCIPAL] = principal = None if found is None else replace(found, request_id=request_id)
        needed = self._needs(scope)
        if needed is None:
            return _without_body(scope, headers, receive)
        if principal is None:
            raise Unauthenticated(
                "a key is needed: send the platform's token (TIDEGATE_TOKEN, or DATA/token) as 'Authorization: Bearer "
                "TOKEN', or open the login URL that 'tidegate up' prints"
            )
        check_permission(principal, needed)
        check_address(scope)
        return receive if scope["path"] in STREAMED_PATHS else await _whole_body(scope, headers, receive)


def check_address(scope: Scope) -> None:
    """No name has a NUL, and PostgreSQL takes none to look for. Raises `UnknownRoute`, `InvalidArgument`."""
    if "\0" in scope["path"]:
        raise UnknownRoute("there is nothing at this path: no name has a NUL")
    for name, value in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True):
        if "\0" in name or "\0" in value:
            raise InvalidArgument("the query: a text has a NUL", field=name.replace("\0", ""))


def check_origin(headers: Headers, hosts: Collection[str]) -> None:
    """A page of another site (or one that rebinds its name to this address) cannot use a visitor's browser."""
    host = headers.get("host", "")
    if _host_name(host) not in hosts:
        raise Forbidden(f"host {host!r} is not one this server answers to: add it to TIDEGATE_ALLOWED_HOSTS")
    origin = headers.get("origin")
    if origin is not None and _site_of(origin) != host.lower():
        raise Forbidden(f"origin {origin!r} is another site: only this server's own pages may call it")


def refusal(error: TidegateError) -> JSONResponse:
    """The response for an expected error."""
    headers = {"retry-after": str(int(error.retry_after_s))} if error.retry_after_s is not None else {}
    if isinstance(error, Unreadable):
        headers["connection"] = "close"
    if isinstance(error, Unauthenticated):
        headers["www-authenticate"] = "Bearer"
    return JSONResponse(error.body(), error.http_status, headers)


def _without_body(scope: Scope, headers: Headers, receive: Receive) -> Receive:
    """Of an open path nothing is read: who has no key must not be waited for."""
    reads = scope["method"] not in ("GET", "HEAD", "OPTIONS")
    if reads and (_announced_bytes(headers) or "transfer-encoding" in headers):
        raise TooLarge(f"{scope['path']} takes no body")
    return receive


async def _whole_body(scope: Scope, headers: Headers, receive: Receive) -> Receive:
    """Read the body here, up to the bound, and replay it; without a body, the untouched `receive`."""
    whole = await read_body(scope, headers, receive)
    if whole is None:
        return receive
    if whole:
        _check_json(headers)
        if len(whole) > AT_ONCE_BYTES_MAX:
            await run_in_threadpool(check_texts, whole)
        else:
            check_texts(whole)
    return replay(whole, receive)


async def read_body(scope: Scope, headers: Headers, receive: Receive) -> bytes | None:
    """The body, up to the bound; None where there is none to read, and where the client has left. Raises `TooLarge`."""
    if scope["method"] in ("GET", "HEAD", "OPTIONS"):
        return None
    if _announced_bytes(headers) > BODY_BYTES_MAX:
        raise TooLarge(f"the body is larger than {BODY_BYTES_MAX} bytes")
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > BODY_BYTES_MAX:
            raise TooLarge(f"the body is larger than {BODY_BYTES_MAX} bytes")
    return bytes(body)


def request_id_of(headers: Headers) -> str:
    """The client's own, where it can stand in a log; else a new one."""
    given = headers.get(REQUEST_ID_HEADER, "")
    return given if _REQUEST_ID_TAKEN.fullmatch(given) else secrets.token_hex(16)


def with_heads(send: Send, heads: Mapping[str, str]) -> Send:
    """Send answers with these headers too, beside any of the same name."""

    async def headed(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer = MutableHeaders(scope=message)
            for name, value in heads.items():
                answer.append(name, value)
        await send(message)

    return headed


def renewing(keys: Keys, scope: Scope, headers: Headers, send: Send) -> Send:
    """Send answers with the renewed cookie of the session that asks, where it needs one.

    Not where an answer sets the cookie itself: the last one stands, and who logs out would keep the session.
    """
    renewed = keys.renewed(headers, https=scope["scheme"] == "https")
    if renewed is None:
        return send

    async def renewed_with(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer = MutableHeaders(scope=message)
            answer.setdefault("set-cookie", renewed)
        await send(message)

    return renewed_with


def replay(body: bytes, receive: Receive) -> Receive:
    """Receive a body that was read already, then what else there is."""
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


def _site_of(origin: str) -> str:
    """Host and port of an origin; empty for `null` and for what is no origin at all."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _host_name(host: str) -> str:
    """`host` without its port, lower-case; IPv6 without brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def cookie_of(headers: Headers) -> str:
    """The session's cookie; empty without one."""
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel else ""
