"""Reports the load of each version to the control plane, each second. Used by `process.py`.

Reads counters that exist. The mean number of requests in progress comes from durations: what ended requests took, and
what those in progress have taken so far, grow together by as much as the integral of their number. A report that is
lost is not sent again: it would be old.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

import urllib3

from tidegate.clock import Clock
from tidegate.dataplane.pipeline.metrics import Key, MetricSeries, Place
from tidegate.wire.gateways.load import DURATION_BUCKETS_S

REPORT_EVERY_S = 1.0


Totals = tuple[float, int, int, tuple[int, ...]]
"""Of one version since counting began: request-seconds in progress, requests ended, 5xx among them, durations."""

_Read = tuple[float, dict[Place, Totals]]
"""When totals were read, and what they were then."""

_NOTHING: Totals = (0.0, 0, 0, (0,) * (len(DURATION_BUCKETS_S) + 1))

log = logging.getLogger(__name__)


def totals(series: Mapping[Key, MetricSeries], in_progress_s: Mapping[Place, float]) -> dict[Place, Totals]:
    """By endpoint and version (`""`: refused before one was chosen); variants of one version are added up."""
    found = {place: (seconds, *_NOTHING[1:]) for place, seconds in in_progress_s.items()}
    for (endpoint, version, _), one in series.items():
        busy_s, requests, errors, durations = found.get((endpoint, version), _NOTHING)
        found[endpoint, version] = (
            busy_s + one.duration_sum_s + one.abandoned_s,
            requests + sum(one.codes.values()),
            errors + sum(count for code, count in one.codes.items() if code >= 500),
            tuple(map(sum, zip(durations, one.duration_counts, strict=True))),
        )
    return found


def growth(before: Mapping[Place, Totals], now: Mapping[Place, Totals]) -> list[dict[str, Any]]:
    """The fields of `wire.gateways.load.VersionLoad`, of each version that had any load."""
    found = []
    for place, (busy_s, requests, errors, durations) in now.items():
        was = before.get(place, _NOTHING)
        # Never below 0: a replica that is lost with its version may take the time of its calls with it.
        grown = {
            "in_progress_s": max(0.0, busy_s - was[0]),
            "requests": max(0, requests - was[1]),
            "errors": max(0, errors - was[2]),
            "durations": [max(0, count - old) for count, old in zip(durations, was[3], strict=True)],
        }
        if grown["in_progress_s"] or grown["requests"]:
            found.append({"endpoint": place[0], "version": place[1], **grown})
    return found


class LoadReports:
    """`read` gives the totals as they are at a time. `send` takes the seconds that a report is about, and the report;
    it is called in a thread, and may raise `OSError` or urllib3's errors.
    """

    def __init__(
        self,
        read: Callable[[float], dict[Place, Totals]],
        send: Callable[[float, list[dict[str, Any]]], None],
        clock: Clock,
    ) -> None:
        self._read, self._send, self._clock = read, send, clock
        self._task: asyncio.Task[None] | None = None
        self._failing = False

    def start(self) -> None:
        """Report every second from now on; what was counted before belongs to no second."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="load")

    def stop(self) -> None:
        """Stop reporting."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        before: _Read | None = None
        while True:
            before = await self._tell(before)
            await asyncio.sleep(REPORT_EVERY_S)

    async def _tell(self, before: _Read | None) -> _Read | None:
        """Report the time since `before`. What was read now; `before` where that failed, so the next report has all."""
        now = before
        try:
            now_s = self._clock()
            now = (now_s, self._read(now_s))
            if before is not None:
                await asyncio.to_thread(self._send, now_s - before[0], growth(before[1], now[1]))
            self._failing = False
        except (OSError, urllib3.exceptions.HTTPError) as error:
            if not self._failing:
                log.info("the control plane was not told of the load (%s): trying again each second", error)
            self._failing = True
        except Exception:
            log.exception("the control plane was not told of the load: trying again each second")
        return now
