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
NOWHERE_STATUS = 404
"""No service, or no tag of it, goes by this name: not any more, or not everywhere yet."""


ABORTED_STATUS, ABORTED_MAX = 500, 3
"""Cloud Run answers 500 for want of instances, and also where a replica's answer is too long for it: the batch is then
computed each time. Sent again so many times, it is taken for lost.
"""


class FrontSays(Enum):
    """`NO_INSTANCE`: the batch was given to none. `LOST`: to one that went away. `NOWHERE`: there is nobody to give it
    to.
    """

    NO_INSTANCE = "no instance"
    LOST = "lost"
    NOWHERE = "nowhere"


_SAYS = {
    **dict.fromkeys(NO_INSTANCE_STATUSES, FrontSays.NO_INSTANCE),
    **dict.fromkeys(LOST_STATUSES, FrontSays.LOST),
    NOWHERE_STATUS: FrontSays.NOWHERE,
}


class _Said(msgspec.Struct):
    error: str


_replicas = msgspec.json.Decoder(_Said)


def said_by_front(answer: HopAnswer) -> FrontSays | None:
    """None where a replica answered, or the front something that is no matter of instances."""
    says = _SAYS.get(answer.status)
    if says is None:
        return None
    try:
        _replicas.decode(answer.body)
    except msgspec.DecodeError:
        return says
    return None


def wait_s(times: int) -> float:
    """How long to wait after having been turned away so many times: from 0.1 to 2 s, half of it chance."""
    full = min(WAIT_FIRST_S * 2.0 ** min(times - 1, 16), WAIT_MAX_S)
    return full * random.uniform(0.5, 1.0)  # noqa: S311  # jitter is no secret
