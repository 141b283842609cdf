"""What people ask of monitoring, and what the monitor loop has it do: evaluate an endpoint, and keep what was found."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import msgspec
from sqlalchemy.orm import Session

from tidegate.clock import Clock
from tidegate.core.access import Principal, part_of_platform
from tidegate.core.captured import CapturedRows
from tidegate.core.monitoring.settings import MonitorSettings
from tidegate.errors import Conflict, InvalidArgument, TidegateError, UnknownVersion
from tidegate.services.monitoring.baselines import (
    BaselineRows,
    Baselines,
    Origin,
    columns_seen,
    make_baseline,
    tensors_of,
)
from tidegate.services.monitoring.calls import Earlier, usual_rates
from tidegate.services.monitoring.evaluation import LAG_S, Evaluation, WatchedEndpoint
from tidegate.services.monitoring.summary import summary_of
from tidegate.services.reading.columns import check_columns
from tidegate.services.reading.lookup import endpoint_or_raise
from tidegate.services.reading.pages import check_page
from tidegate.store import audit
from tidegate.store import monitoring as rows
from tidegate.store.database.engine import Store
from tidegate.store.endpoints.automation import versions_routed
from tidegate.store.models import models as model_rows
from tidegate.store.tables import EndpointRow
from tidegate.watch.budget import DAY_S
from tidegate.wire.capture.capture import CaptureView
from tidegate.wire.decoding import convert
from tidegate.wire.monitoring.monitoring import (
    MonitorBlock,
    MonitorName,
    MonitorRequest,
    MonitorResult,
    MonitorResultPage,
    MonitorView,
)
from tidegate.wire.signature import Signature

_log = logging.getLogger(__name__)

MONITOR = part_of_platform("monitor")
EARLIER_MAX = 2_000
OF_BLOCKS: tuple[MonitorName, ...] = (
    "feature_drift",
    "prediction_drift",
    "data_quality",
    "performance",
    "estimated_performance",
    "label_coverage",
    "label_shift",
)
"""Monitors that judge blocks of rows: between two blocks there may be nothing new to judge."""
RESULTS_KEPT_S = 90 * DAY_S
EVALUATION_WAIT_S = 120.0
"""How long one that was asked for waits for the one that is under way."""

Observe = Callable[[Session, str, Sequence[MonitorResult], float], None]
"""Told of results in the transaction that keeps them: what alerts make of them is kept with them or not at all."""


def _nobody(_tx: Session, _endpoint: str, _results: Sequence[MonitorResult], _now: float) -> None:
    return


@dataclass(frozen=True)
class Monitoring:
    """The use cases. `fenced`: the leader's store, so that what a former leader evaluates is not kept."""

    store: Store
    fenced: Store
    capture: CapturedRows
    baselines: Baselines
    clock: Clock
    observe: Observe = _nobody
    wake: Callable[[], None] = lambda: None
    recording: Callable[[], CaptureView | None] = lambda: None
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock)

    # -- settings --------------------------------------------------------------------------------------------------

    def get(self, endpoint: str) -> MonitorView:
        """How it is monitored. Raises `UnknownEndpoint`."""
        with self.store.reading() as tx:
            return _view(tx, endpoint_or_raise(tx, endpoint))

    def configure(self, endpoint: str, request: MonitorRequest, who: Principal, *, whole: bool = False) -> MonitorView:
        """Set what is given; `whole`: what is not is as by default. Raises `UnknownEndpoint`, `InvalidArgument`."""
        with self.store.transaction() as tx:
            found = endpoint_or_raise(tx, endpoint)
            row = rows.monitor_to_write(tx, found)
            before = MonitorSettings.from_dict(row.settings)
            after = (MonitorSettings() if whole else before).with_changes(**asdict(request))
            check_columns(tx, found.model, [after.by] if after.by else [], "by", taken=[before.by or ""])
            if after != before:
                row.settings = after.as_dict()
                changes = audit.differing(before.as_dict(), after.as_dict())
                audit.record(tx, who, self.clock(), audit.AuditedChange("monitor", "endpoint", endpoint, changes))
            tx.flush()
            view = _view(tx, found)
        self.wake()
        return view

    # -- what was found --------------------------------------------------------------------------------------------

    def results(
        self,
        endpoint: str,
        limit: int,
        cursor: str | None = None,
        since: float | None = None,
        of: tuple[str | None, str | None] = (None, None),
    ) -> MonitorResultPage:
        """Results, newest first: since a moment, of a monitor and a feature (`of`), where given.

        Raises `UnknownEndpoint`, `InvalidArgument`.
        """
        check_page(limit)
        wanted = rows.ResultFilter(limit + 1, _before(cursor), since, *of)
        with self.store.reading() as tx:
            found = rows.results(tx, endpoint_or_raise(tx, endpoint).uid, wanted)
        following = str(found[limit - 1][0]) if len(found) > limit else None
        return MonitorResultPage([one for _, one in found[:limit]], following)

    # -- evaluating ------------------------------------------------------------------------------------------------

    def run(self, endpoint: str, who: Principal) -> list[MonitorResult]:
        """Evaluate now, because somebody asks: open blocks are judged too. Raises `Conflict` where it is off."""
        if not self.get(endpoint).on:
            raise Conflict(
                f"endpoint {endpoint!r} is not monitored: 'tidegate monitor {endpoint} --on' has it monitored again",
                endpoint=endpoint,
            )
        found = self.evaluate(endpoint, self.clock(), asked=True)
        values = {"results": (None, len(found)), "alerts": (None, sum(one.state == "alert" for one in found))}
        with self.fenced.transaction() as tx:
            audit.record(tx, who, self.clock(), audit.AuditedChange("evaluate", "endpoint", endpoint, values))
        return found

    def evaluate(self, endpoint: str, now: float, *, asked: bool = False) -> list[MonitorResult]:
        """What its monitors find now, which is kept; alerts are told in the same transaction.

        Raises `UnknownEndpoint`, and what the capture store raises: then nothing is kept.
        """
        if not self._one_at_a_time.acquire(timeout=EVALUATION_WAIT_S):
            raise Conflict("another evaluation is still under way: try again in a minute")
        try:
            seen = self.see(endpoint, now)
            evaluation = Evaluation(seen, self.capture, self.baselines, now, asked, self.recording())
            evaluation.run()
            self._take_baselines(evaluation)
            shown = self._recent(evaluation) if asked else []
            with self.fenced.transaction() as tx:
                found = endpoint_or_raise(tx, endpoint)
                if found.uid != seen.uid:  # another one has its name by now
                    return []
                row = rows.monitor_to_write(tx, found)
                row.evaluated_at, row.trouble = now, ""
                row.summary = summary_of(row.summary or {}, evaluation.results, seen.versions)
                rows.write_blocks(tx, seen.uid, evaluation.blocks)
                rows.add_results(tx, seen.uid, evaluation.results)
                self.observe(tx, endpoint, told_once(evaluation.results, lambda: rows.first_monitored(tx)), now)
            return evaluation.results + shown
        finally:
            self._one_at_a_time.release()

    def note_trouble(self, endpoint: str, now: float, why: str) -> None:
        """The evaluation failed; the next is made when it is due."""
        with self.fenced.transaction() as tx:
            row = rows.monitor_to_write(tx, endpoint_or_raise(tx, endpoint))
            row.evaluated_at, row.trouble = now, why[:1000]

    def due(self, now: float) -> tuple[list[str], float]:
        """The endpoints that are to be evaluated now, and how long until the next one is."""
        with self.store.reading() as tx:
            known = [(one.name, rows.settings_of(row), row) for one, row in rows.monitored(tx)]
        waits = {
            name: _wait_s(None if row is None else row.evaluated_at, settings.every_s, now)
            for name, settings, row in known
            if settings.on
        }
        later = [wait_s for wait_s in waits.values() if wait_s > 0]
        return [name for name, wait_s in waits.items() if wait_s <= 0], min(later, default=float("inf"))

    def forget_old(self, rows_max: int) -> None:
        """Forget old results, and what is left of endpoints that are gone."""
        with self.fenced.transaction() as tx:
            rows.prune(tx, self.clock() - RESULTS_KEPT_S, rows_max)

    def see(self, endpoint: str, now: float) -> WatchedEndpoint:
        """The endpoint as an evaluation at `now` sees it. Raises `UnknownEndpoint`."""
        with self.store.reading() as tx:
            found = endpoint_or_raise(tx, endpoint)
            used, settings = versions_routed(found), rows.settings_of(rows.monitor(tx, found))
            versions = {
                one.version: convert(one.signature, Signature)
                for one in model_rows.versions_of(tx, found.model)
                if one.version in used
            }
            return WatchedEndpoint(
                endpoint=endpoint,
                uid=found.uid,
                model=found.model,
                created_at=found.created_at,
                settings=settings,
                versions=versions,
                blocks=rows.blocks_of(tx, found.uid),
                earlier=_earlier(tx, found.uid, now, settings.every_s),
                lost_before=_lost_before(tx, found.uid),
            )

    def _recent(self, evaluation: Evaluation) -> list[MonitorResult]:
        """Where a version has no row since its last block: what was found of that one, if it is recent enough."""
        seen = evaluation.seen
        known = {(one.monitor, one.version) for one in evaluation.results if one.n}
        oldest = evaluation.now - max(seen.settings.window_s, LAG_S)
        with self.store.reading() as tx:
            found = rows.newest_results(tx, seen.uid, OF_BLOCKS, EARLIER_MAX)
        shown = [one for one in found if (one.monitor, one.version) not in known and one.until >= oldest and one.n]
        told = {(one.monitor, one.version) for one in shown}
        evaluation.results[:] = [one for one in evaluation.results if (one.monitor, one.version) not in told]
        return shown

    def _take_baselines(self, evaluation: Evaluation) -> None:
        """Of the first rows of production, for versions that have no other."""
        seen = evaluation.seen
        for version, production in evaluation.wants_baseline.items():
            try:
                found = production.sample()
                given = rows_of_captured(found, seen.settings.timezone)
                by = (
                    seen.settings.by if seen.settings.by in columns_seen(seen.versions[version], found).values else None
                )
                made = make_baseline(seen.versions[version], given, by)
                origin = Origin("production", by, seen.endpoint, production.since, production.until)
                self.baselines.keep(seen.model, version, made, origin, MONITOR)
            except (InvalidArgument, UnknownVersion) as error:
                _log.warning("no baseline of %s:%s from production: %s", seen.model, version, error.message)


def told_once(results: list[MonitorResult], first_of: Callable[[], str | None]) -> list[MonitorResult]:
    """The results as alerts are made of them. Capturing is the platform's: a loss alerts at the first endpoint alone,
    and not once for each endpoint that saw it.
    """
    if not any(one.monitor == "capture" and one.state == "alert" for one in results):
        return results
    first = first_of()
    return [
        msgspec.structs.replace(one, state="ok", severity=None, verdict=f"told at endpoint {first}")
        if one.monitor == "capture" and one.state == "alert" and first not in (None, one.endpoint)
        else one
        for one in results
    ]


def rows_of_captured(found: dict[str, Any], timezone: str) -> BaselineRows:
    """Captured rows as a baseline takes them: without labels, which came later for some rows and not for others."""
    inputs, outputs = tensors_of(found)
    return BaselineRows(inputs, outputs, None, found["at"], timezone)


def _view(tx: Session, endpoint: EndpointRow) -> MonitorView:
    row = rows.monitor(tx, endpoint)
    settings = rows.settings_of(row)
    evaluated_at = None if row is None else row.evaluated_at
    blocks = [
        MonitorBlock(version, block.since, block.judged_at)
        for (version, kind), block in rows.blocks_of(tx, endpoint.uid).items()
        if kind == "drift"
    ]
    return MonitorView(
        endpoint=endpoint.name,
        **settings.as_dict(),
        evaluated_at=evaluated_at,
        next_at=None if evaluated_at is None or not settings.on else evaluated_at + settings.every_s,
        trouble="" if row is None else row.trouble or "",
        blocks=blocks,
    )


def _earlier(tx: Session, uid: str, now: float, every_s: float) -> Earlier:
    since = now - DAY_S
    traffic, latency = (
        rows.results(tx, uid, rows.ResultFilter(EARLIER_MAX, None, since, monitor))
        for monitor in ("traffic", "latency")
    )
    return Earlier(
        usual_rates((one for _, one in traffic), every_s),
        [one.value for _, one in latency if one.state == "ok" and one.value is not None],
    )


def _lost_before(tx: Session, uid: str) -> float | None:
    known = rows.results(tx, uid, rows.ResultFilter(1, monitor="capture"))
    return known[0][1].value if known else None


def _before(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if not cursor.isdigit() or len(cursor) > 18:
        raise InvalidArgument(f"cursor {cursor[:100]!r} is none that a list of results has named", field="cursor")
    return int(cursor)


def failure_words(error: TidegateError | OSError) -> str:
    """An error in words, as an endpoint's monitoring shows it."""
    return error.message if isinstance(error, TidegateError) else str(error)


def _wait_s(evaluated_at: float | None, every_s: float, now: float) -> float:
    """Until the next evaluation. One that is in the future was made before the clock was set back: it says nothing."""
    return 0.0 if evaluated_at is None or evaluated_at > now else evaluated_at + every_s - now
