"""What captured traffic says before an experiment: how long it takes, and whether its metrics' tests hold.

No version is compared with another: all calls that nobody pinned are of one arm. The API calls it; both answers take
bounded time, for of much traffic only the newest part is read.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field

from tidegate.clock import Clock
from tidegate.core.captured import CapturedUnits
from tidegate.errors import CaptureUnreadable, InvalidArgument, Overloaded
from tidegate.sequential.planning import aa, expected
from tidegate.sequential.units import Units
from tidegate.services.experiments.units import gathered
from tidegate.wire.experiments.experiments import AaRequest, AaView, ExperimentSpec, Metric
from tidegate.wire.experiments.units import UnitQuery, UnitRows

DAY_S = 86_400.0
PLANNED_BY_S = 28 * DAY_S
CALLS_MAX = 500_000
DAYS_MAX, REPETITIONS_MAX, LOOKS_MAX = 90.0, 5000, 100

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExperimentPast:
    """Reads what was captured before. One A/A check at a time: it keeps a processor busy for seconds."""

    captured: CapturedUnits
    clock: Clock
    _busy: threading.Lock = field(default_factory=threading.Lock)

    def expected_days(self, spec: ExperimentSpec, endpoint: str) -> float | None:
        """How long it takes to find the effect that it is to find, if that is there; None where history does not say.

        Units come as they came in the last four weeks, and their first metric varies as it did.
        """
        first = spec.metrics[0]
        try:
            rows, _ = self._rows(endpoint, {first.name: first}, PLANNED_BY_S)
        except CaptureUnreadable as error:
            log.warning("how long an experiment of %s takes is not known: %s", endpoint, error.message)
            return None
        if not len(rows.exposed_at):
            return None
        span_s = max(self.clock() - max(float(rows.exposed_at.min()), rows.since_s), 1.0)
        if span_s < DAY_S / 24:  # so little says nothing of a day
            return None
        return expected(spec, _units(rows), len(rows.exposed_at) / span_s * DAY_S).days

    def aa(self, spec: ExperimentSpec, endpoint: str, request: AaRequest) -> AaView:
        """Split captured units at random, again and again. Raises `InvalidArgument`, `Overloaded`."""
        for name, value, most in (
            ("days", request.days, DAYS_MAX),
            ("repetitions", request.repetitions, REPETITIONS_MAX),
            ("looks", request.looks, LOOKS_MAX),
        ):
            if not 0 < value <= most:
                raise InvalidArgument(f"{name} is {value:g}: give more than 0 and at most {most:g}", field=name)
        if not self._busy.acquire(blocking=False):
            raise Overloaded("another A/A check runs just now: try again in a moment", retry_after_s=5.0)
        try:
            rows, now = self._rows(endpoint, {one.name: one for one in spec.metrics}, request.days * DAY_S)
            found = aa(_units(rows), spec, int(request.looks), int(request.repetitions))
        finally:
            self._busy.release()
        return AaView(endpoint, rows.since_s, now, int(request.repetitions), int(request.looks), found)

    def _rows(self, endpoint: str, metrics: dict[str, Metric], span_s: float) -> tuple[UnitRows, float]:
        now = self.clock()
        query = UnitQuery(endpoint, (), metrics, now - span_s, now, before_s=0.0, calls_max=CALLS_MAX)
        return self.captured.units(query), now


def _units(rows: UnitRows) -> dict[str, Units]:
    return gathered(rows, 1).units
