"""The report of an endpoint's monitoring: results as they were kept, and alerts, as one page of HTML."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.clock import Clock
from tidegate.report.figures import alarm
from tidegate.report.page import Report, render
from tidegate.report.reading import WANTED
from tidegate.services.alerting.state import Alerting
from tidegate.services.monitoring.monitoring import Monitoring

ALERTS = 100


@dataclass(frozen=True)
class Reports:
    """One use case. It reads, and keeps nothing."""

    monitoring: Monitoring
    alerting: Alerting
    clock: Clock

    def page(self, endpoint: str, since_s: float) -> str:
        """Of the last `since_s` seconds, at most 2 MB. Raises `UnknownEndpoint`."""
        now = self.clock()
        pages = [
            self.monitoring.results(endpoint, limit, None, now - since_s, (monitor, None))
            for monitor, limit in WANTED.items()
        ]
        alerts, _ = self.alerting.page(ALERTS, None, endpoint)
        return render(
            Report(
                endpoint,
                now,
                [one for page in pages for one in page.results],
                [alarm(one) for one in alerts if one.fired_at is not None],
                is_cut=any(page.next is not None for page in pages),
            )
        )
