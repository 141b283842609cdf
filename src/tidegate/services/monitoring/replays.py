"""What an endpoint's rules would have sent over the last while: `tidegate alerts test`. Changes nothing."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
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
from tidegate.wire import alerts as wire

SINCE_S_MAX = 366 * 86_400.0
PAGE_ROWS = 2_000
RESULTS_MAX, SENT_MAX = 500_000, 10_000
DEADLINE_S = 240.0

Looks = Sequence[tuple[float, Sequence[Observation]]]


@dataclass(frozen=True)
class Replays:
    """The use case. `ticks`: seconds that only grow, for the deadline."""

    monitoring: Monitoring
    ticks: Clock = monotonic
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock)

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
            return replayed(request, (since, now), rules, looks)
        if not self._one_at_a_time.acquire(blocking=False):
            raise Conflict("another replay of captured rows is under way: try again when it has ended")
        try:
            return self._captured(request, (since, now), rules)
        finally:
            self._one_at_a_time.release()

    def _captured(
        self, request: wire.ReplayRequest, window: tuple[float, float], rules: Mapping[AlertType, Rule]
    ) -> wire.Replay:
        since, until = window
        if not self._has_rows(request.endpoint, since, until):
            return replayed(request, window, rules, ())
        seen = self.monitoring.see(request.endpoint, until)
        past = PastEvaluations(seen, self.monitoring.capture, self.monitoring.baselines, since, until)
        deadline, looks = self.ticks() + DEADLINE_S, []
        for at, results in past.looks():
            looks.append((at, observed(results)))
            if self.ticks() >= deadline:
                return replayed(request, (since, at), rules, looks)
        return replayed(request, window, rules, looks)

    def _has_rows(self, endpoint: str, since: float, until: float) -> bool:
        """Without any, nothing need be evaluated a thousand times. A day at a time, the newest first: most have one."""
        tables: tuple[CapturedTable, ...] = ("predictions", "failures")
        while until > since:
            begin = max(since, until - DAY_S)
            if any(self.monitoring.capture.rows(one, endpoint, begin, until, ("at",))["at"].size for one in tables):
                return True
            until = begin
        return False


def replayed(
    request: wire.ReplayRequest, window: tuple[float, float], rules: Mapping[AlertType, Rule], looks: Looks
) -> wire.Replay:
    """The replay of these looks as the API shows it."""
    since, until = window
    sent = list(itertools.islice(replay(rules, looks), SENT_MAX))
    results = sum(len(found) for _, found in looks)
    return wire.Replay(
        request.endpoint, request.source, since, until, len(looks), results, [_view(one) for one in sent]
    )


def stored_looks(tx: Session, uid: str, since: float) -> Looks:
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
