"""Reports to the control plane every few seconds how requests ended, by version. Used by `process.py`.

The numbers only ever grow, so a report that is lost costs nothing: the next one says it all again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import urllib3

from tidegate.dataplane.pipeline.metrics import Key, MetricSeries, MetricState

REPORT_EVERY_S, RETRY_S = 5.0, 1.0
VERSIONS_MAX = 2000
"""In one report. The API takes a megabyte, which is three times as many."""
FAILED, TIMED_OUT = 500, 504

log = logging.getLogger(__name__)


def counted(series: dict[Key, MetricSeries]) -> list[dict[str, Any]]:
    """What `wire.parts.AnsweredCounts` says, of each version; variants of one version are added up."""
    found: dict[tuple[str, str], list[int]] = {}
    for (endpoint, version, _), one in series.items():
        if version:
            codes = one.codes
            counts = (sum(codes.values()), codes.get(FAILED, 0), codes.get(TIMED_OUT, 0), one.non_finite)
            before = found.get((endpoint, version), (0, 0, 0, 0))
            found[endpoint, version] = [a + b for a, b in zip(before, counts, strict=True)]
    names = ("requests", "failed", "timed_out", "non_finite")
    newest = list(found.items())[-VERSIONS_MAX:]
    return [{"endpoint": at[0], "version": at[1], **dict(zip(names, counts, strict=True))} for at, counts in newest]


class AnsweredReports:
    """`state` gives the numbers that are on disk, so that what was reported never shrinks.

    `send` is called in a thread; it may raise `OSError` or urllib3's errors.
    """

    def __init__(
        self, state: Callable[[], Awaitable[MetricState]], send: Callable[[list[dict[str, Any]]], None]
    ) -> None:
        self._state, self._send = state, send
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to report, at once and then at intervals."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="answered")

    def stop(self) -> None:
        """Stop reporting."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        failing = False
        while True:
            try:
                await asyncio.to_thread(self._send, counted((await self._state()).series))
                failing = False
            except (OSError, urllib3.exceptions.HTTPError) as error:
                if not failing:
                    log.info("the control plane was not told how requests ended (%s): trying again", error)
                failing = True
            except Exception:
                log.exception("the control plane was not told how requests ended: trying again")
                failing = True
            await asyncio.sleep(RETRY_S if failing else REPORT_EVERY_S)
