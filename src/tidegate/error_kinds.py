"""What sorts of failures there are, and the status that each edge turns them into."""

from __future__ import annotations

from enum import StrEnum


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
