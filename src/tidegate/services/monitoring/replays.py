"""What an endpoint's rules would have sent over the last while: `tidegate alerts test`. Changes nothing."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from tidegate.clock import Clock, monotonic
from tidegate.core.alerting.model import AlertType, Observation, Rule
from tidegate.core.alerting.observations import observed
from tidegate.core.alerting.replay import Sent, replay
from tidegate.core.captured import CapturedTable
from tidegate.errors import Conflict, InvalidArgument
from tidegate.services.alerting.rules import stored_rules, with_changes
from tidegate.services.monitoring.monitoring import Monitoring
from tidegate.services.monitoring.past import PastEvaluations
from tidegate.services.reading.lookup import endpoint_or_raise
from tidegate.store import monitoring as rows
from tidegate.watch.budget import DAY_S
from tidegate.wire.monitoring import alerts as wire

SINCE_S_MAX = 366 * 86_400.0
PAGE_ROWS = 2_000
RESULTS_MAX, SENT_MAX = 500_000, 10_000
DEADLINE_S = 240.0

Looks = Iterable[tuple[float, list[Observation]]]


@dataclass
class Replaying:
    """A replay, and how far it is: read by other threads while one runs it. `steps`: evaluations that it will need."""

    request: wire.ReplayRequest
    since: float
    until: float
    steps: int
    at: float = 0.0
    evaluations: int = 0
    results: int = 0
    sent: list[Sent] = field(default_factory=list)

    def run(self, rules: Mapping[AlertType, Rule], looks: Looks) -> wire.Replay:
        """Replay the rules over looks; where those end early, `until` of the answer is the last one's time."""
        for one in itertools.islice(replay(rules, self._counted(looks)), SENT_MAX):
            self.sent.append(one)
        came_to = self.at if self.evaluations < self.steps else self.until
        alerts = [_view(one) for one in self.sent]
        return wire.Replay(
            self.request.endpoint, self.request.source, self.since, came_to, self.evaluations, self.results, alerts
        )

    def progress(self) -> wire.ReplayProgress:
        """How far it is by now."""
        at = self.at if self.evaluations else self.since
        return wire.ReplayProgress(
            self.request.endpoint, self.since, self.until, at, self.evaluations, self.steps, len(self.sent)
        )

    def _counted(self, looks: Looks) -> Looks:
        for at, found in looks:
            yield at, found
            self.at, self.evaluations, self.results = at, self.evaluations + 1, self.results + len(found)


@dataclass(frozen=True)
class Replays:
    """The use case. `ticks`: seconds that only grow, for the deadline."""

    monitoring: Monitoring
    ticks: Clock = monotonic
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock)
    _under_way: list[Replaying] = field(default_factory=list)

    def under_way(self) -> wire.ReplayProgress | None:
        """How far the replay of captured rows is that runs in this process; None where none does."""
        return next((each.progress() for each in list(self._under_way)), None)

    def run(self, request: wire.ReplayRequest) -> wire.Replay:
        """What would have been sent: of what was captured, or of what monitors found then (`source`).

        Within `DEADLINE_S`: where that does not suffice, `until` of the answer says how far it came. Raises
        `UnknownEndpoint`, `InvalidArgument`, `Conflict` while another one runs, and what the capture store raises.
        """
        if not (math.isfinite(request.since_s) and 0 < request.since_s <= SINCE_S_MAX):
            raise InvalidArgument(
                f"since_s must be more than 0 and at most {SINCE_S_MAX / 86_400:g} days, "
                f"not {request.since_s / 86_400:g}",
                field="since_s",
            )
        now = self.monitoring.clock()
        since = now - request.since_s
        with self.monitoring.store.reading() as tx:
            endpoint = endpoint_or_raise(tx, request.endpoint)
            rules = with_changes(stored_rules(tx, request.endpoint), request.rules)
            looks = stored_looks(tx, endpoint.uid, since) if request.source == "results" else None
        if looks is not None:
            return Replaying(request, since, now, len(looks)).run(rules, looks)
        if not self._one_at_a_time.acquire(blocking=False):
            raise Conflict("another replay of captured rows is under way: try again when it has ended")
        try:
            return self._captured(request, (since, now), rules)
        finally:
            self._under_way.clear()
            self._one_at_a_time.release()

    def _captured(
        self, request: wire.ReplayRequest, window: tuple[float, float], rules: Mapping[AlertType, Rule]
    ) -> wire.Replay:
        since, until = window
        if not self._has_rows(request.endpoint, since, until):
            return Replaying(request, since, until, 0).run(rules, ())
        seen = self.monitoring.see(request.endpoint, until)
        past = PastEvaluations(seen, self.monitoring.capture, self.monitoring.baselines, since, until)
        replaying = Replaying(request, since, until, past.steps)
        self._under_way.append(replaying)
        return replaying.run(rules, self._in_time(past))

    def _in_time(self, past: PastEvaluations) -> Looks:
        deadline = self.ticks() + DEADLINE_S
        for at, results in past.looks():
            yield at, observed(results)
            if self.ticks() >= deadline:
                return

    def _has_rows(self, endpoint: str, since: float, until: float) -> bool:
        """Without any, nothing need be evaluated a thousand times. A day at a time, the newest first: most have one."""
        tables: tuple[CapturedTable, ...] = ("predictions", "failures")
        while until > since:
            begin = max(since, until - DAY_S)
            if any(self.monitoring.capture.rows(one, endpoint, begin, until, ("at",))["at"].size for one in tables):
                return True
            until = begin
        return False


def stored_looks(tx: Session, uid: str, since: float) -> list[tuple[float, list[Observation]]]:
    """What monitors found since then, by evaluation, oldest first; the newest results where there are too many."""
    by_time: dict[float, list[Observation]] = {}
    for at, found in itertools.islice(_stored(tx, uid, since), RESULTS_MAX):
        by_time.setdefault(at, []).append(found)
    return sorted(by_time.items())


def _stored(tx: Session, uid: str, since: float) -> Iterator[tuple[float, Observation]]:
    before: int | None = None
    while page := rows.results(tx, uid, rows.ResultFilter(PAGE_ROWS, before, since)):
        for number, result in page:
            yield from ((result.evaluated_at, one) for one in observed([result]))
            before = number
        tx.expunge_all()


def _view(sent: Sent) -> wire.ReplayedAlert:
    alert = sent.alert
    return wire.ReplayedAlert(
        at=sent.at,
        status=sent.status,
        type=alert.type,
        monitor=alert.label("monitor"),
        severity=alert.severity,
        message=alert.message if sent.status == "firing" else alert.ended_because,
        version=alert.labels.get("version"),
        feature=alert.labels.get("feature"),
        metric=alert.labels.get("metric"),
        segment=alert.labels.get("segment"),
    )
