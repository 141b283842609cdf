"""Errors that end a connection: too many of them, a slow client, a head too large, bytes that are no HTTP."""

from __future__ import annotations

from http import HTTPStatus

import httptools

from tidegate.dataplane.base.incidents import as_error
from tidegate.errors import MalformedRequest, Overloaded, TidegateError, TooLarge

HEAD_BYTES_MAX = 64 << 10
"""Of a request's line and headers, of a chunk's extensions, of trailers: of whatever is not body."""


class OneTooMany(Overloaded):
    """There are as many connections as this process takes."""

    code = "too_many_connections"


class TooSlow(MalformedRequest):
    """The request did not arrive in time."""

    code = "too_slow"

    @property
    def http_status(self) -> int:
        """408: HTTP's own status for a slow request."""
        return HTTPStatus.REQUEST_TIMEOUT


def head_too_large() -> TooLarge:
    """The error for a request line and headers past `HEAD_BYTES_MAX`."""
    return TooLarge(f"the request's line and headers are larger than the {HEAD_BYTES_MAX} bytes this server takes")


def unparsed(error: httptools.HttpParserError) -> TidegateError:
    """Why the parser refused the bytes; what one of its callbacks raised is our failure, not the request's."""
    raised = error.__context__
    if isinstance(error, httptools.HttpParserCallbackError) and isinstance(raised, Exception):
        return as_error(raised)
    return MalformedRequest(f"this is no HTTP request: {error}")
