"""Whether the disk is to be written to now: a circuit that stalls and failures open. Used by `journal.py` only."""

from __future__ import annotations

RETRY_FULL_S = 1.0
HOLD_FIRST_S, HOLD_MAX_S = 1.0, 60.0
HEALTHY_S = 60.0


class Circuit:
    """Open while the disk is not to be written to. Decides by measured stalls and by failures; does no I/O."""

    def __init__(self, wait_s_max: float) -> None:
        self._wait_s_max = wait_s_max
        self._hold_s = HOLD_FIRST_S
        self._closed_since_s = 0.0
        self._until_s: float | None = None
        self.reason: str | None = None
        self.syncing = False

    def is_open(self, now_s: float) -> bool:
        """Whether records are to be dropped now; closes when its time has come."""
        if self._until_s is None:
            return False
        if self.syncing or now_s < self._until_s:
            return True
        self._until_s = None
        self._closed_since_s = now_s
        return False

    def measured(self, took_s: float, now_s: float) -> bool:
        """Take note of a write's duration; True when it was a stall, which opens the circuit."""
        if took_s <= self._wait_s_max:
            return False
        if now_s - self._closed_since_s > HEALTHY_S:
            self._hold_s = HOLD_FIRST_S
        self._open("stalled", now_s + self._hold_s)
        self._hold_s = min(self._hold_s * 2, HOLD_MAX_S)
        return True

    def failed(self, now_s: float) -> None:
        """A write failed (a full disk, as a rule)."""
        self._open("disk_full", now_s + RETRY_FULL_S)

    def worked(self) -> str | None:
        """A write succeeded; returns what had been wrong until now, once."""
        reason, self.reason = self.reason, None
        return reason

    def _open(self, reason: str, until_s: float) -> None:
        self.reason = reason
        self._until_s = until_s
