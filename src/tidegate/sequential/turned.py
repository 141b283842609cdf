"""Keys whose requests turned bad when they were given a new version, where few keys send all of the requests.

By lots alone, k keys on each side say no more than 2^-2k, whatever each of them did: nothing is certain of three. What
each key had before says more, for it is compared with itself. Called for a canary's errors, beside `guard`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from tidegate.sequential.exact import log_above
from tidegate.sequential.guard import Bound

ALPHA = 1e-3
"""Of taking back a version under which no key fails more than it may: aside from what the tests by lots get."""
RATE_FREE = 0.02
_SPREAD = 2.0
"""A key's requests may fail twice as often from one hour to the next, and up to `RATE_FREE` at any time."""

Counts = Mapping[str, tuple[float, float]]
"""Requests of a key, and in how many of them something happened."""


@dataclass(frozen=True)
class Turned:
    """Of the keys that are left, what they had before and have now, how often it may be, and the evidence (a log)."""

    keys: int
    found: float
    requests: float
    allowed: float
    log_e: float

    @property
    def is_certain(self) -> bool:
        """Whether that many failures cannot be chance."""
        return self.log_e >= math.log(1 / ALPHA)


def turned_bad(now: Counts, before: Counts, stable: tuple[float, float], bound: Bound) -> Turned:
    """How surely keys fail more than `bound` lets them, beside what they had `before` and `stable`'s others have now.

    The key with the most failures is left out: one client that changed what it sends is no fault of the version. Keys
    that were not seen before say nothing.

    A mixture of likelihood ratios against the allowed rate (Robbins 1970). It holds at all looks where requests of a
    key fail at its own rate, whenever they come; that all keys turn bad at the very moment of the change, and not by
    the version, is not allowed for.

    >>> bound, before = Bound("errors", "2", "max", 0.01), {"a": (0, 40), "b": (0, 40)}
    >>> turned_bad({"a": (9, 9), "b": (8, 8)}, before, (0, 90), bound).is_certain
    True
    >>> turned_bad({"a": (9, 9), "b": (0, 8)}, before, (0, 90), bound).is_certain
    False
    """
    known = sorted((key for key in now if key in before), key=lambda key: (now[key][0], now[key][1]))
    kept = known[:-1]
    found, requests = (sum(now[key][place] for key in kept) for place in (0, 1))
    was_found, was_requests = (sum(before[key][place] for key in kept) for place in (0, 1))
    if not found or not was_requests:
        return Turned(len(kept), found, requests, 1.0, 0.0)
    usual = max(_at_most(was_found, was_requests), _at_most(*stable))
    allowed = min(0.9, max(RATE_FREE, _SPREAD * usual, _bounded(bound, was_found / was_requests)))
    log_e = log_above(found, requests, allowed)
    return Turned(len(kept), found, requests, allowed, log_e if math.isfinite(log_e) else 0.0)


def _at_most(found: float, requests: float) -> float:
    """A rate with its uncertainty: one more might have been seen; 0 where none was."""
    return (found + 1) / (requests + 1) if found else 0.0


def _bounded(bound: Bound, usual: float) -> float:
    if bound.kind == "max":
        return bound.value
    return usual + bound.value if bound.absolute else usual * (1 + bound.value)
