"""What a front that starts instances as they are wanted (Cloud Run's) answers itself, in place of a replica. Pure.

Used by `target.py`. An answer of a replica says in JSON what was wrong; the front's is a text or a page.
"""

from __future__ import annotations

import random
from enum import Enum
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from tidegate.gateway.upstream.connection import HopAnswer

WAIT_FIRST_S, WAIT_MAX_S = 0.1, 2.0
NO_INSTANCE_STATUSES = (429, 500)
"""'The request was aborted because there was no available instance': nothing was computed."""
LOST_STATUSES = (502, 503)
"""'The connection to the instance had an error': it may have been computing."""


ABORTED_STATUS, ABORTED_MAX = 500, 3
"""Cloud Run answers 500 for want of instances, and also where a replica's answer is too long for it: the batch is then
computed each time. Sent again so many times, it is taken for lost.
"""


class FrontSays(Enum):
    """`NO_INSTANCE`: the batch was given to none. `LOST`: to one that went away."""

    NO_INSTANCE = "no instance"
    LOST = "lost"


class _Said(msgspec.Struct):
    error: str


_replicas = msgspec.json.Decoder(_Said)


def said_by_front(answer: HopAnswer) -> FrontSays | None:
    """None where a replica answered, or the front something that is no matter of instances."""
    status = answer.status
    if status not in NO_INSTANCE_STATUSES and status not in LOST_STATUSES:
        return None
    try:
        _replicas.decode(answer.body)
    except msgspec.DecodeError:
        return FrontSays.NO_INSTANCE if status in NO_INSTANCE_STATUSES else FrontSays.LOST
    return None


def wait_s(times: int) -> float:
    """How long to wait after having been turned away so many times: from 0.1 to 2 s, half of it chance."""
    full = min(WAIT_FIRST_S * 2.0 ** min(times - 1, 16), WAIT_MAX_S)
    return full * random.uniform(0.5, 1.0)  # noqa: S311  # jitter is no secret
