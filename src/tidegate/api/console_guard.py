"""Stands before the console as `guard` stands before the API: Host and Origin, who asks, and the body's size.

It refuses nothing itself but what cannot be read: a request that may not pass goes on with the reason, for a page that
tells it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from tidegate.api.guard import (
    PRINCIPAL,
    REQUEST_ID,
    REQUEST_ID_HEADER,
    Keys,
    Unreadable,
    check_origin,
    check_permission,
    read_body,
    refusal,
    renewing,
    replay,
    request_id_of,
    with_heads,
)
from tidegate.api.refusals import RefusalLog
from tidegate.core.access import Permission
from tidegate.errors import Forbidden, TidegateError, Unauthenticated
from tidegate.request_head import head_fault

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True)
class GuardedConsole:
    """The console behind the guard. `is_open` says which paths take no session, `by_itself` which no person asks for,
    `sends_files` which requests have a body that the console reads as it comes.

    `refused` is the scope's entry that says why a request may not be answered.
    """

    app: ASGIApp
    is_open: Callable[[str], bool]
    by_itself: Callable[[str], bool]
    sends_files: Callable[[Scope], bool]
    refused: str


class ConsoleGuard:
    """The middleware."""

    def __init__(self, console: GuardedConsole, keys: Keys, hosts: Iterable[str]) -> None:
        self._console, self._keys, self._hosts = console, keys, frozenset(hosts)
        self._refusals = RefusalLog()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        scope[REQUEST_ID] = request_id = request_id_of(headers)
        answer = with_heads(send, {REQUEST_ID_HEADER: request_id})
        if (fault := head_fault(scope["http_version"], scope["headers"])) is not None:
            await refusal(Unreadable(fault))(scope, receive, answer)
            return
        try:
            receive = await self._passed(scope, headers, receive, request_id)
        except TidegateError as error:
            scope[self._console.refused] = error
            if isinstance(error, Forbidden):
                self._refusals.note(scope, scope.get(PRINCIPAL), request_id, error)
        if self._console.refused not in scope and not self._console.by_itself(scope["path"]):
            answer = renewing(self._keys, scope, headers, answer)
        await self._console.app(scope, receive, answer)

    async def _passed(self, scope: Scope, headers: Headers, receive: Receive, request_id: str) -> Receive:
        """Every check of one request, in order; what the console then receives."""
        check_origin(headers, self._hosts)
        if scope["method"] not in SAFE:
            _check_same_origin(headers)
        found = self._keys.principal(headers)
        scope[PRINCIPAL] = None if found is None else replace(found, request_id=request_id)
        if scope["method"] in SAFE and self._console.is_open(scope["path"]):
            return receive
        if found is None:
            raise Unauthenticated("no session, or one that has ended")
        check_permission(found, Permission.ADMINISTER)
        if self._console.sends_files(scope):
            return receive
        body = await read_body(scope, headers, receive)
        return receive if body is None else replay(body, receive)


def _check_same_origin(headers: Headers) -> None:
    """Browsers say where a form comes from; what says nothing may be another site's, in a browser that is old."""
    if "origin" not in headers and headers.get("sec-fetch-site") != "same-origin":
        raise Forbidden(
            "the request does not say where it comes from (Origin): only this server's own pages may send it"
        )
