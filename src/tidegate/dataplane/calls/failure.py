"""A request to an endpoint that ended without an answer, as observers get it."""

from __future__ import annotations

import msgspec

from tidegate.errors import TidegateError
from tidegate.wire.gateways.decision import AssignmentContext, Decision


class FailedRequest(msgspec.Struct, gc=False):
    """Refused, failed or timed out. `decision` is None where it was refused before one was made. Times are monotonic.

    `started_s` is when the request was whole; equal to `now_s` where it was refused before.
    """

    context: AssignmentContext
    decision: Decision | None
    error: TidegateError
    started_s: float
    now_s: float

    @property
    def endpoint(self) -> str:
        """Whose request it was."""
        return self.context.endpoint
