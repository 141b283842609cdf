"""A step's requests by key, for what keys say that requests do not: those of one key are not independent. Pure but for
`before`, which reads what was captured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from tidegate.core.captured import CapturedRows
from tidegate.core.monitoring.columns import Array
from tidegate.services.canaries.tallies import CanaryTally

FEW_KEYS = 50
"""With more keys than that a canary's keys by lots are evidence enough."""
KEYS_KEPT_MAX = 10_000
BEFORE_S = 3600.0
ROWS_MAX = 200_000
"""Rows from before that are read, at the present rate of requests, at most."""

_CALLS = ("row", "at", "key", "pinned", "cached")
_FAILURES = ("at", "key", "pinned", "code")


@dataclass(frozen=True)
class CallsByKey:
    """Requests: when each came, whose it was (None: nobody's), whether it failed, and how many it stands for."""

    at: Array
    keys: Array
    bad: Array
    times: Array

    @property
    def is_keyed(self) -> bool:
        """Whether any of them has a key."""
        return any(key is not None for key in self.keys.tolist())

    def first(self) -> CanaryTally:
        """Each key once, by its first request, which is what a key was given by chance; what has none each by itself.

        A key that is in stays as it came in, so that a test may be made at every look.
        """
        named = np.array([key is not None for key in self.keys.tolist()], dtype=bool)
        order = np.flatnonzero(named)[np.argsort(self.at[named], kind="stable")]
        _, place = np.unique(self.keys[order].astype(str), return_index=True)
        chosen, alone = order[place], ~named
        bad = float(self.bad[chosen].sum()) + float((self.bad * self.times)[alone].sum())
        return CanaryTally(round(bad), round(chosen.size + float(self.times[alone].sum())))

    def by_key(self) -> dict[str, CanaryTally]:
        """Of each key, how many of its requests failed."""
        named = np.flatnonzero(np.array([key is not None for key in self.keys.tolist()], dtype=bool))
        keys, place = np.unique(self.keys[named].astype(str), return_inverse=True)
        found = np.bincount(place, weights=(self.bad * self.times)[named], minlength=keys.size)
        requests = np.bincount(place, weights=self.times[named], minlength=keys.size)
        return {
            str(key): CanaryTally(round(bad), round(n))
            for key, bad, n in zip(keys.tolist(), found.tolist(), requests.tolist(), strict=True)
        }


@dataclass(frozen=True)
class UnitKeys:
    """Both sides, each key once; and where the canary has few keys, how each of them went.

    `first` is None where no request has a key, or a sample of them is captured: then keys say no more than requests do.
    """

    first: tuple[CanaryTally, CanaryTally] | None = None
    canary: Mapping[str, CanaryTally] = field(default_factory=dict)

    @property
    def several_fail(self) -> bool:
        """Whether it is worth asking how they went before."""
        return sum(one.found > 0 for one in self.canary.values()) > 1


def keys_of(stable: CallsByKey, canary: CallsByKey, *, sampled: bool) -> UnitKeys:
    """What keys say of a step's requests."""
    if sampled or not (stable.is_keyed or canary.is_keyed):
        return UnitKeys()
    named = canary.by_key()
    return UnitKeys((stable.first(), canary.first()), named if len(named) <= FEW_KEYS else {})


def before(
    capture: CapturedRows, endpoint: str, since: float, until: float, failing: frozenset[int]
) -> dict[str, CanaryTally]:
    """How each key's requests went from `since` until `until`; nothing where there are too many keys to tell.

    `failing`: the codes of failures that count, beside those from 500. Raises `CaptureUnreadable`.
    """
    calls = capture.rows("predictions", endpoint, since, until, _CALLS)
    failed = capture.rows("failures", endpoint, since, until, _FAILURES)
    answered = (calls["row"] == 0) & ~flags(calls["cached"]) & ~flags(calls["pinned"])
    codes = failed["code"]
    broke = ~flags(failed["pinned"]) & ((codes >= 500) | np.isin(codes, list(failing)))
    keys = np.concatenate([calls["key"][answered], failed["key"][broke]])
    bad = np.concatenate([np.zeros(int(answered.sum())), np.ones(int(broke.sum()))])
    at = np.concatenate([calls["at"][answered], failed["at"][broke]])
    found = CallsByKey(at, keys, bad, np.ones(bad.size)).by_key()
    return found if len(found) <= KEYS_KEPT_MAX else {}


def flags(values: Array) -> Array:
    """Which are true; what is missing is not."""
    if values.dtype.kind == "b":
        return values
    return np.array([bool(value) and value == value for value in values.tolist()], dtype=bool)  # noqa: PLR0124
