"""Why the batcher answers a call with an error, in the words its client reads."""

from __future__ import annotations

from tidegate.dataplane.calls.call import Call
from tidegate.dataplane.calls.outputs import ModelFailed
from tidegate.errors import DeadlineExceeded


def in_other_shapes() -> ModelFailed:
    """The parts of one request cannot be put together."""
    return ModelFailed("the model answered some rows of this request in another shape than the rest")


def died_twice(*, unread: bool) -> ModelFailed:
    """Two replicas died with this request; `unread` where the second had not read all of it."""
    had, again = ("had", "another one while it read it") if unread else ("computed", "again when it ran it alone")
    return ModelFailed(f"the replica died while it {had} this request, and {again}")


def too_late(call: Call) -> DeadlineExceeded:
    """Nobody waits for the answer any more."""
    waited_ms = (call.deadline_s - call.started_s) * 1000
    return DeadlineExceeded(f"no answer within {waited_ms:.0f} ms, the request's whole deadline")
