"""An observer whose exceptions are logged and go no further: who counts and records costs nobody an answer."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tidegate.dataplane.calls.batch import Batch, Observer
    from tidegate.dataplane.calls.call import Call
    from tidegate.dataplane.calls.failure import FailedRequest
    from tidegate.dataplane.calls.outputs import Outputs
    from tidegate.errors import TidegateError

log = logging.getLogger(__name__)


class Guarded:
    """The `Observer` that a batcher tells, in front of the one it was given."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def batch_done(self, batch: Batch, outputs: Outputs, now_s: float) -> None:
        """Forward to the observer; what it raises is logged."""
        try:
            self._observer.batch_done(batch, outputs, now_s)
        except Exception:
            log.exception("a batch could not be counted")

    def call_failed(self, call: Call, error: TidegateError, now_s: float) -> None:
        """Forward to the observer; what it raises is logged."""
        try:
            self._observer.call_failed(call, error, now_s)
        except Exception:
            log.exception("a failed request could not be counted")

    def abandoned(self, call: Call, now_s: float) -> None:
        """Forward to the observer; what it raises is logged."""
        try:
            self._observer.abandoned(call, now_s)
        except Exception:
            log.exception("an abandoned request could not be counted")

    def refused(self, failure: FailedRequest) -> None:
        """Forward to the observer; what it raises is logged."""
        try:
            self._observer.refused(failure)
        except Exception:
            log.exception("a refused request could not be counted")
