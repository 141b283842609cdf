"""Failures that are not the client's: each is answered with an id that this process's log has too, and never with what
an exception says, which may hold somebody's data.
"""

from __future__ import annotations

import itertools
import logging
import os

from tidegate.errors import Internal, MalformedRequest, TidegateError
from tidegate.errors.kinds import Kind

logger = logging.getLogger(__name__)

_ID_PREFIX = os.urandom(6).hex()
_ids = itertools.count(1)


def new_id() -> str:
    """An id, unique across processes: 12 random digits of this process and a counter."""
    return f"{_ID_PREFIX}{next(_ids):08x}"


def logged(what: str, error: BaseException) -> str:
    """Write the traceback to the log, under the id that is returned."""
    incident = new_id()
    logger.error("%s, id %s", what, incident, exc_info=error)
    return incident


class OutOfMemory(TidegateError):
    """The server has no memory left for this request: try again later."""

    code, kind = "out_of_memory", Kind.UNAVAILABLE


def internal(error: BaseException) -> TidegateError:
    """A failure of ours as clients see it: that there is no memory, or the id under which the log has it."""
    if isinstance(error, MemoryError):
        return OutOfMemory(retry_after_s=1.0)
    incident = logged("internal error", error)
    return Internal(f"the server failed; its log has the details under id {incident}", id=incident)


def as_error(failure: BaseException) -> TidegateError:
    """Any exception as the error that clients see; failures of ours are logged."""
    if isinstance(failure, TidegateError):
        return failure
    if isinstance(failure, RecursionError):
        return MalformedRequest("the JSON is nested too deep")
    return internal(failure)


def identified(error: TidegateError) -> TidegateError:
    """The failure that is sent: one that answers 500 and has no id yet gets one, and is logged under it."""
    if error.kind is Kind.INTERNAL and "id" not in error.details:
        incident = new_id()
        logger.error("%s, id %s: %s", error.code, incident, error.message)
        error.details["id"] = incident
        error.message = f"{error.message} (id {incident})"
    return error
