"""What a connection is told that does not behave: why it is refused, or not read any further. Used by `protocol.py`."""

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
        """HTTP has a status of its own for it."""
        return HTTPStatus.REQUEST_TIMEOUT


def head_too_large() -> TooLarge:
    """There is more before the body than this server reads."""
    return TooLarge(f"the request's line and headers are larger than the {HEAD_BYTES_MAX} bytes this server takes")


def unparsed(error: httptools.HttpParserError) -> TidegateError:
    """Why the parser gave up; what one of its callbacks raised is a failure of ours, and no fault of the request."""
    raised = error.__context__
    if isinstance(error, httptools.HttpParserCallbackError) and isinstance(raised, Exception):
        return as_error(raised)
    return MalformedRequest(f"this is no HTTP request: {error}")
