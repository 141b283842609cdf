"""What sorts of failures there are, the status that each edge turns them into, and what all errors have in common."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar


class Kind(StrEnum):
    """What sort of failure it is: the only thing an edge needs to know."""

    MALFORMED = "malformed"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    METHOD = "method"
    CONFLICT = "conflict"
    CHANGED = "changed"
    TOO_LARGE = "too_large"
    MEDIA_TYPE = "media_type"
    UNFIT = "unfit"
    OVERLOADED = "overloaded"
    UNAVAILABLE = "unavailable"
    DEADLINE = "deadline"
    INTERNAL = "internal"


HTTP_STATUS: dict[Kind, int] = {
    Kind.MALFORMED: 400,
    Kind.UNAUTHENTICATED: 401,
    Kind.FORBIDDEN: 403,
    Kind.NOT_FOUND: 404,
    Kind.METHOD: 405,
    Kind.CONFLICT: 409,
    Kind.CHANGED: 412,
    Kind.TOO_LARGE: 413,
    Kind.MEDIA_TYPE: 415,
    Kind.UNFIT: 422,
    Kind.OVERLOADED: 429,
    Kind.INTERNAL: 500,
    Kind.UNAVAILABLE: 503,
    Kind.DEADLINE: 504,
}
"""HTTP status of each kind (the table in the protocol documentation)."""
GRPC_STATUS: dict[Kind, int] = {
    Kind.MALFORMED: 3,  # INVALID_ARGUMENT
    Kind.UNAUTHENTICATED: 16,
    Kind.FORBIDDEN: 7,  # PERMISSION_DENIED
    Kind.NOT_FOUND: 5,
    Kind.METHOD: 12,  # UNIMPLEMENTED
    Kind.CONFLICT: 9,  # FAILED_PRECONDITION
    Kind.CHANGED: 10,  # ABORTED
    Kind.TOO_LARGE: 8,  # RESOURCE_EXHAUSTED
    Kind.MEDIA_TYPE: 12,  # UNIMPLEMENTED: a compression that is not known
    Kind.UNFIT: 3,  # INVALID_ARGUMENT
    Kind.OVERLOADED: 8,  # RESOURCE_EXHAUSTED
    Kind.INTERNAL: 13,
    Kind.UNAVAILABLE: 14,
    Kind.DEADLINE: 4,  # DEADLINE_EXCEEDED
}
"""gRPC status code of each kind."""

EXIT_DONE, EXIT_FAILED, EXIT_WRONG_USE = 0, 1, 2


class TidegateError(Exception):
    """Something that was foreseen went wrong."""

    code: ClassVar[str] = "error"
    kind: ClassVar[Kind] = Kind.INTERNAL
    exit_code: ClassVar[int] = EXIT_FAILED

    def __init__(self, message: str | None = None, *, retry_after_s: float | None = None, **details: Any) -> None:
        self.message = message or " ".join((type(self).__doc__ or self.code).split())
        self.retry_after_s = retry_after_s
        self.details = details
        super().__init__(self.message)

    @property
    def http_status(self) -> int:
        """The HTTP status an edge answers with."""
        return HTTP_STATUS[self.kind]

    @property
    def grpc_status(self) -> int:
        """The status code a gRPC edge answers with."""
        return GRPC_STATUS[self.kind]

    def body(self) -> dict[str, Any]:
        """The JSON body every HTTP edge sends: `{"error": message, "code": code, "details"?: {...}}`."""
        body: dict[str, Any] = {"error": self.message, "code": self.code}
        if self.details:
            body["details"] = self.details
        return body
