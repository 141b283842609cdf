"""Exponential back-off as a pure function: jitter comes in as data. Called by reconcilers; never sleeps."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Backoff:
    """`first_s` after the first failure, twice as long after each further one, never more than `longest_s`."""

    first_s: float = 1.0
    longest_s: float = 60.0

    def delay_s(self, failures: int, jitter: float) -> float:
        """Seconds to wait after `failures` failures in a row; `jitter` in [0, 1) takes up to half of it away.

        >>> [Backoff().delay_s(n, 0.0) for n in (0, 1, 2, 3, 100)]
        [0.0, 1.0, 2.0, 4.0, 60.0]
        """
        if failures <= 0:
            return 0.0
        doubled = self.first_s * 2.0 ** min(failures - 1, 32)
        return min(doubled, self.longest_s) * (1.0 - jitter / 2.0)
