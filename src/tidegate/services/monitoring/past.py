"""What an endpoint's monitors would have found of rows that were captured, or imported, evaluation by evaluation.

The evaluations are those of `Monitoring`, at moments that are over: nothing is kept of them.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from tidegate.core.captured import CapturedRows
from tidegate.services.monitoring.baselines import Baselines
from tidegate.services.monitoring.calls import Earlier, usual_rates
from tidegate.services.monitoring.evaluation import Evaluation, WatchedEndpoint
from tidegate.watch.budget import DAY_S
from tidegate.wire.monitoring.monitoring import MonitorResult

EVALUATIONS_MAX = 750
"""30 days by the hour: a longer span is looked at in larger steps."""


@dataclass
class PastEvaluations:
    """Evaluations from `since` to `until`. Versions are those in use now, against the baselines that they have now."""

    seen: WatchedEndpoint
    capture: CapturedRows
    baselines: Baselines
    since: float
    until: float
    _recent: deque[tuple[float, float | None, float | None]] = field(default_factory=deque)

    @property
    def step_s(self) -> float:
        """Seconds from one evaluation to the next."""
        return max(self.seen.settings.every_s, (self.until - self.since) / EVALUATIONS_MAX)

    @property
    def steps(self) -> int:
        """How many evaluations that is."""
        return math.ceil((self.until - self.since) / self.step_s * (1 - 1e-9))

    def looks(self) -> Iterator[tuple[float, list[MonitorResult]]]:
        """Each evaluation's time and results, oldest first. Raises what the capture store raises."""
        settings = replace(self.seen.settings, every_s=self.step_s)
        seen = replace(self.seen, created_at=self.since, settings=settings, blocks={}, earlier=Earlier())
        steps = self.steps
        for number in range(1, steps + 1):
            at = min(self.since + number * self.step_s, self.until) if number < steps else self.until
            seen_then = replace(seen, earlier=self._earlier(at))
            evaluation = Evaluation(seen_then, self.capture, self.baselines, at, estimates=False)  # they never alert
            evaluation.run()
            seen = replace(seen, blocks={**seen.blocks, **evaluation.blocks})
            self._remember(at, evaluation.results)
            yield at, evaluation.results

    def _earlier(self, at: float) -> Earlier:
        while self._recent and self._recent[0][0] < at - DAY_S:
            self._recent.popleft()
        rates = [rate for _, rate, _ in self._recent if rate is not None]
        return Earlier(rates, [value for _, _, value in self._recent if value is not None])

    def _remember(self, at: float, results: list[MonitorResult]) -> None:
        traffic = [one for one in results if one.monitor == "traffic"]
        self._recent.extend((at, rate, None) for rate in usual_rates(traffic, self.step_s))
        for one in results:
            if one.state == "ok" and one.monitor == "latency":
                self._recent.append((at, None, one.value))
