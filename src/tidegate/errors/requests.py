"""Why a request is refused, or not answered."""

from __future__ import annotations

from tidegate.errors.kinds import EXIT_WRONG_USE, Kind, TidegateError


class MalformedRequest(TidegateError):
    """The request cannot be read."""

    code, kind = "malformed_request", Kind.MALFORMED


class InvalidArgument(TidegateError):
    """An argument has a value that is not allowed."""

    code, kind, exit_code = "invalid_argument", Kind.UNFIT, EXIT_WRONG_USE


class UnfitInput(TidegateError):
    """The input does not fit the model's signature."""

    code, kind = "unfit_input", Kind.UNFIT


class Unauthenticated(TidegateError):
    """A key is needed: send it as 'Authorization: Bearer KEY'."""

    code, kind = "unauthenticated", Kind.UNAUTHENTICATED


class Forbidden(TidegateError):
    """This caller may not do that."""

    code, kind = "forbidden", Kind.FORBIDDEN


class TooLarge(TidegateError):
    """The request is larger than this server takes."""

    code, kind = "too_large", Kind.TOO_LARGE


class WrongContentType(TidegateError):
    """The content type is not one this route takes."""

    code, kind = "wrong_content_type", Kind.MEDIA_TYPE


class Overloaded(TidegateError):
    """Too much is waiting already: try again later."""

    code, kind = "overloaded", Kind.OVERLOADED


class BuffersFull(Overloaded):
    """The server holds as many bytes of requests as it takes: try again later."""

    code = "buffers_full"


class RateLimited(Overloaded):
    """This client sends more requests than it may: try again later."""

    code = "rate_limited"


class DeadlineExceeded(TidegateError):
    """The request's deadline passed before an answer was there."""

    code, kind = "deadline_exceeded", Kind.DEADLINE


class NoReadyReplica(TidegateError):
    """No replica is ready to answer: try again later."""

    code, kind = "no_ready_replica", Kind.UNAVAILABLE


class FeedbackNotKept(TidegateError):
    """The feedback could not be written to the capture journal: nothing of it was taken."""

    code, kind = "feedback_not_kept", Kind.UNAVAILABLE


class Internal(TidegateError):
    """The server failed; its log has the details under this id."""

    code, kind = "internal", Kind.INTERNAL
