"""An assignment: what a gateway knows of a request when it chooses a variant, and what it chose.

`core.routing.assign` decides; edges hand in the context, and the capture journal keeps the decision as it was made.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Role = Literal["live", "shadow"]

KEY_CHARS_MAX = 4096
"""Of the key that a request, or feedback, names its unit by."""


class AssignmentContext(msgspec.Struct, frozen=True, gc=False):
    """One request as assignment sees it.

    `unit` is the key that an experiment sticks to; without one the request's own id is the unit. `pinned` is the
    version, label or variant that the caller asked for by name.
    """

    endpoint: str
    request_id: str
    unit: str | None = None
    pinned: str | None = None


class Decision(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Which variant a request was assigned, and which one answers it.

    The two differ where the assigned variant has no replica and others stand in; then an analysis of an experiment goes
    by `assigned`. `variant` and `version` are None where nobody could answer. `experiment` and `phase` are None for a
    unit that does not take part: of a ramp, one that is not covered yet. `propensity` is the share that the assigned
    variant has of the units that take part, 1 for one that does not, and None for a pinned request, which is in no
    experiment. `revision` is the routing snapshot's; None on a replica, which has none, and in journals of version 1,
    which say nothing of it.
    """

    assigned: str
    variant: str | None
    version: str | None
    experiment: str | None = None
    phase: int | None = None
    propensity: float | None = None
    pinned: bool = False
    role: Role = "live"
    revision: int | None = None
