"""One evaluation of an endpoint: reads what was captured, judges the blocks that close, and says what it found.

Writes nothing: `Monitoring.evaluate` keeps what comes of it in one transaction. Time comes in.

Each version's rows are gathered in disjoint blocks. A block is judged when it closes, and whenever somebody asks: for
what is missing or odd at 500 rows or after a day; for drift, and values out of range, as its baseline says: after whole
days, or where hours of the week are compared after an hour and 500 rows. Each look may page for nothing with the
probability that the time since the look before it is worth, so that all looks of any 30 days together, however many, do
so at most once (a union bound; it holds for looks at a growing block as well).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, cast

import numpy as np

from tidegate.core.captured import CapturedRows, Columns
from tidegate.core.monitoring.columns import Array
from tidegate.core.monitoring.settings import MonitorSettings
from tidegate.services.monitoring.baselines import Baselines, KnownBaseline, columns_seen
from tidegate.services.monitoring.calls import WHOLE_SHARE, CallCounts, Earlier, call_results
from tidegate.services.monitoring.data import drift_results, previous_results, quality_results, range_results
from tidegate.services.monitoring.gathered import GatheredBlock, gathered, slices
from tidegate.services.monitoring.performance.coverage import coverage_result, days_of, remembered
from tidegate.services.monitoring.performance.estimates import EVERY_S as ESTIMATE_EVERY_S
from tidegate.services.monitoring.performance.estimates import ROWS_MAX as ESTIMATE_ROWS_MAX
from tidegate.services.monitoring.performance.estimates import SPAN_S_MAX, estimate_results, is_possible, newest_since
from tidegate.services.monitoring.performance.label_shift import LabelCounts, label_shift_result
from tidegate.services.monitoring.performance.labels import Labelled, performance_results
from tidegate.services.monitoring.performance.long_run import add_up
from tidegate.services.monitoring.place import Place
from tidegate.services.monitoring.production import FIRST_S_MAX, ROWS_MIN, SPAN_S_MIN, Production, live_rows, size_of
from tidegate.services.monitoring.recording import capture_result
from tidegate.store.monitoring import Block
from tidegate.watch.budget import DAY_S, Budget
from tidegate.watch.performance.losses import labels_of
from tidegate.wire.capture.capture import CaptureView
from tidegate.wire.monitoring.monitoring import MonitorResult
from tidegate.wire.signature import Signature

ALLOWANCE_S = 3600.0
"""What an endpoint's first block may spend beforehand; the budget's horizon is longer by as much."""
SHARES: Mapping[str, float] = {
    "drift": 0.4,
    "performance": 0.15,
    "long_run": 0.1,
    "data_quality": 0.15,
    "calls": 0.1,
    "label_coverage": 0.05,
    "label_shift": 0.05,
}
BUDGET = Budget(horizon_s=30 * DAY_S + ALLOWANCE_S, shares=SHARES)
ALPHA_MIN = 1e-12
"""Of a look right after another: what no finite number of looks spends the budget with."""
CLOCK_BACK_S = 60.0
"""A block with rows so much later than now is of the time before the clock was set back: another begins now."""
LAG_S = 15.0
"""Rows that are younger may still be on their way to the disk: a scheduled evaluation leaves them to the next one."""
ASKED_ROWS_MIN = 100
"""A block of so many rows ends with the look that somebody asked for; a smaller one goes on to grow."""
LABELS_MIN, LABELS_EVERY_S, COVERAGE_WHOLE = 500, 3600.0, 0.999
"""So many labels are judged, at most so often while more may come: a block ends with the last, or with a day."""
LABEL_AHEAD_S = 300.0
"""How far the clocks of those who give labels may be ahead."""
QUALITY, DRIFT, PREVIOUS = "data", "drift", "previous"
"""Kinds of blocks: values that are missing or odd are told from 500 rows, drift from whole days."""
_CALL_COLUMNS = ("id", "row", "at", "version", "pinned", "code", "duration_ms", "sample_rate")


@dataclass(frozen=True)
class WatchedEndpoint:
    """An endpoint as the store has it. `versions`: signatures of those that are in use, by number."""

    endpoint: str
    uid: str
    model: str
    created_at: float
    settings: MonitorSettings
    versions: Mapping[str, Signature]
    blocks: Mapping[tuple[str, str], Block]
    earlier: Earlier = Earlier()
    lost_before: float | None = None


@dataclass
class Evaluation:
    """One look at one endpoint. `blocks`: what is to be written of them."""

    seen: WatchedEndpoint
    capture: CapturedRows
    baselines: Baselines
    now: float
    asked: bool = False
    recording: CaptureView | None = None
    estimates: bool = True
    results: list[MonitorResult] = field(default_factory=list)
    blocks: dict[tuple[str, str], Block] = field(default_factory=dict)
    wants_baseline: dict[str, Production] = field(default_factory=dict)

    def run(self) -> None:
        """Fill in results and blocks. Raises what the capture store raises."""
        self.blocks = dict(self._begun_anew)
        self._calls()
        new = self._new_rows()
        times = {version: self._times_of(new, version) for version in self.seen.versions}
        sharing = max(1, sum(1 for version, at in times.items() if at.size or self._is_recent(version)))
        for version, at in times.items():
            self._data(version, at, 1 / sharing)
            self._labels(version, 1 / sharing)
            self._estimate(version)

    def _times_of(self, new: Columns, version: str) -> Array:
        if not size_of(new):
            return np.empty(0)
        rows = (new["version"] == version) & (new["at"] >= self._counted_to(version))
        return cast(Array, new["at"][rows])

    # -- blocks ----------------------------------------------------------------------------------------------------

    @property
    def _until(self) -> float:
        return self.now if self.asked else self.now - LAG_S

    def _block(self, version: str, kind: str) -> Block:
        known = self.seen.blocks.get((version, kind))
        if known is not None:
            return self._begun_anew.get((version, kind), known)
        since = max(self.seen.created_at, self.now - BUDGET.block_s_max)
        return Block(since, since - ALLOWANCE_S)

    @cached_property
    def _begun_anew(self) -> dict[tuple[str, str], Block]:
        """In the place of blocks that lie in the future, because the clock was set back since they began."""
        latest = self._until + CLOCK_BACK_S
        ahead = [key for key, one in self.seen.blocks.items() if max(one.since, one.counted_to or one.since) > latest]
        return {key: Block(self._until, self._until) for key in ahead}

    def _is_recent(self, version: str) -> bool:
        """Whether it spent some of the budget within the longest block."""
        known = self.seen.blocks.get((version, DRIFT))
        return known is not None and known.judged_at > self.now - BUDGET.block_s_max

    def _alpha(self, monitor: str, block: Block) -> float:
        return max(ALPHA_MIN, BUDGET.page_alpha(monitor, self._until - block.judged_at))

    def _judged(self, version: str, kind: str, block: Block, *, is_closed: bool) -> None:
        since = self._until if is_closed else block.since
        self.blocks[version, kind] = Block(since, max(self._until, block.judged_at))

    def _place(self, version: str | None, since: float) -> Place:
        return Place(self.seen.endpoint, version, since, self._until, self.now)

    # -- requests --------------------------------------------------------------------------------------------------

    def _calls(self) -> None:
        block = self._block("", "calls")
        span_s = self._until - block.since
        if span_s <= 0 or not (self.asked or span_s >= WHOLE_SHARE * self.seen.settings.every_s):
            return
        since = max(block.since, self._until - max(self.seen.settings.window_s, self.seen.settings.every_s))
        answered = self.capture.rows("predictions", self.seen.endpoint, since, self._until, _CALL_COLUMNS)
        failed = self.capture.rows("failures", self.seen.endpoint, since, self._until, ("at", "code", "calls"))
        found = call_results(
            _calls_of(answered, failed), self.seen.earlier, self._place(None, since), self._alpha("calls", block)
        )
        self.results += found
        self.results.append(capture_result(self.recording, self.seen.lost_before, self._place(None, since)))
        self._judged("", "calls", block, is_closed=span_s >= WHOLE_SHARE * self.seen.settings.every_s)

    # -- inputs and outputs ----------------------------------------------------------------------------------------

    def _new_rows(self) -> Columns:
        """When which version answered live traffic since it was counted last."""
        since = min((self._counted_to(version) for version in self.seen.versions), default=self._until)
        if since >= self._until:
            return {}
        found = self.capture.rows("predictions", self.seen.endpoint, since, self._until, _CALL_COLUMNS)
        rows = np.flatnonzero(live_rows(found)) if size_of(found) else np.empty(0, dtype=np.int64)
        return {name: found[name][rows] for name in ("at", "version")} if size_of(found) else {}

    def _counted_to(self, version: str) -> float:
        block = self._block(version, QUALITY)
        return block.since if block.counted_to is None else block.counted_to

    def _data(self, version: str, times: Array, share: float) -> None:
        """Count what is new, then judge the quality of full blocks, and drift over days (see `Baseline.budget`)."""
        known = self.baselines.known(self.seen.model, version)
        if known is None:
            self._without_baseline(version, self._block(version, QUALITY), int(times.size))
            return
        since = self._counted_to(version)
        if self._until <= since and not self.asked:
            return
        new = self._counted(version, known, since, times)
        self._judge(version, known, QUALITY, BUDGET, (new, share))
        self._judge(version, known, DRIFT, self._drift_budget(known), (new, share))

    def _drift_budget(self, known: KnownBaseline) -> Budget:
        base, block_s = known.baseline.budget(BUDGET), self.seen.settings.block_s
        return base if block_s is None else replace(base, block_s_min=min(block_s, base.block_s_max))

    def _judge(
        self, version: str, known: KnownBaseline, kind: str, budget: Budget, new: tuple[GatheredBlock, float]
    ) -> None:
        """Add what is new to a block, judge it where it is full or somebody asks, and keep what it is from now on."""
        block, (more, share) = self._block(version, kind), new
        so_far = GatheredBlock.from_dict(block.gathered, known).with_more(more)
        is_full = budget.closes(so_far.rows, self._until - block.since)
        place = self._place(version, block.since)
        judged_at = block.judged_at
        if so_far.rows and (is_full or self.asked):
            quality = self._alpha("data_quality", block) * share
            if kind == DRIFT:
                self.results += drift_results(known, so_far, place, self._alpha("drift", block) * share)
                self.results += range_results(known, so_far, place, quality)
                self._compare_with_previous(version, known, so_far, place)
            else:
                self.results += quality_results(known, so_far, place, quality)
            judged_at = max(self._until, judged_at)
        elif self.asked and kind == DRIFT:
            self.results.append(place.unknown("feature_drift", f"version {version} has answered no request since then"))
        if is_full or (self.asked and so_far.rows >= ASKED_ROWS_MIN):
            judged_at = max(self._until, judged_at)
            self.blocks[version, kind] = Block(self._until, judged_at, self._until)
            if kind == DRIFT and is_full:
                self.blocks[version, PREVIOUS] = Block(block.since, judged_at, self._until, so_far.as_dict())
        else:
            self.blocks[version, kind] = Block(block.since, judged_at, self._until, so_far.as_dict())

    def _compare_with_previous(self, version: str, known: KnownBaseline, so_far: GatheredBlock, place: Place) -> None:
        """Beside the baseline, where a block was judged before and both are in its bins."""
        block = self._block(version, PREVIOUS)
        before = GatheredBlock.from_dict(block.gathered, known)
        if before.rows:
            self.results += previous_results(known, so_far, before, place, block.since)

    def _counted(self, version: str, known: KnownBaseline, since: float, times: Array) -> GatheredBlock:
        """The new rows, so many at once that memory stays bounded."""
        total = GatheredBlock(known.view.made_at)
        if not times.size:
            return total
        signature = self.seen.versions[version]
        for begin, end in pairwise(slices(times, since, self._until)):
            found = self.capture.rows("predictions", self.seen.endpoint, begin, end, None, version)
            if size_of(found):
                rows = np.flatnonzero(live_rows(found))
                total = total.with_more(gathered(known, columns_seen(signature, found).where(rows), found["at"][rows]))
        return total

    def _without_baseline(self, version: str, block: Block, rows: int) -> None:
        """Production's first rows become the baseline; until then nothing can be known."""
        since = max(self.seen.created_at, self.now - FIRST_S_MAX)
        production = Production(self.capture, self.seen.endpoint, version, since, self._until)
        is_old = self._until - since >= SPAN_S_MIN
        count, first_at = production.first() if is_old or self.asked else (0, None)
        if count >= ROWS_MIN and first_at is not None and self._until - first_at >= SPAN_S_MIN:
            self.wants_baseline[version] = replace(production, since=first_at)
        for kind in (QUALITY, DRIFT):
            self.blocks[version, kind] = Block(self._until, self._until, self._until)
        if self.asked:
            why = (
                f"version {version} has no baseline: register with --validation-data, or give rows with "
                f"'tidegate baseline {self.seen.model}:{version} --data FILE'; otherwise it is taken of production "
                f"after a day and {ROWS_MIN:,} rows ({_so_far(count)} so far)"
            )
            self.results.append(self._place(version, block.since).unknown("feature_drift", why, n=rows))

    # -- labels ----------------------------------------------------------------------------------------------------

    def _labels(self, version: str, share: float) -> None:
        known = self.baselines.known(self.seen.model, version)
        if known is None:
            return
        block, delay_s = self._block(version, "performance"), self.seen.settings.label_delay_s
        if self._until <= (block.since if self.asked else block.judged_at):
            return
        # Rows that are too young are read only where they are shown: where labels come late, most rows are.
        due_until = self._until if self.asked else self._until - delay_s
        rows = self._labelled(version, block.since, due_until, delay_s)
        if rows is None:
            self.blocks[version, "performance"] = block
            if self._until - block.since >= BUDGET.block_s_max + delay_s:
                self._judged_labels(version, block, delay_s, is_closed=True)
            return
        labelled, is_old = rows.n_labelled, self._until - block.since >= BUDGET.block_s_max + delay_s
        is_whole = delay_s > 0 or labelled >= COVERAGE_WHOLE * int(rows.matured.sum())
        is_due = labelled >= LABELS_MIN and (is_whole or self._until - block.judged_at >= LABELS_EVERY_S)
        if not (is_due or is_old or self.asked):
            self.blocks[version, "performance"] = block  # else the block would begin anew with each look
            return
        if due_until < self._until:
            rows = self._labelled(version, block.since, self._until, delay_s) or rows
        place = self._place(version, block.since)
        is_closed = is_old or (labelled >= LABELS_MIN and is_whole)
        days, alpha = days_of(block.gathered), self._alpha("label_coverage", block) * share if is_closed else 0.0
        coverage = coverage_result(rows, place, days, alpha)
        self.results.append(coverage)
        self.results += performance_results(known, rows, place, self._alpha("performance", block) * share)
        if is_closed:
            self._label_shift(version, known, rows, share)
            a_day = BUDGET.page_alpha("long_run", DAY_S) / 2 * share
            self.blocks[version, "days"], found = add_up(known, rows, self._block(version, "days"), place, a_day)
            self.results += found
            block = replace(block, gathered=remembered(days, coverage))
        self._judged_labels(version, block, delay_s, is_closed=is_closed)

    def _label_shift(self, version: str, known: KnownBaseline, rows: Labelled, share: float) -> None:
        """Count the labels of rows that are judged, and judge them over as long as drift is."""
        if known.labels is None or rows.selective:
            return
        block = self._block(version, "labels")
        found = LabelCounts.from_dict(block.gathered, known).with_more(known.labels, rows, self._until)
        if found.labelled and self._drift_budget(known).closes(found.labelled, self._until - block.since):
            alpha, place = self._alpha("label_shift", block) * share, self._place(version, block.since)
            self.results.append(label_shift_result(known, known.labels, found, place, alpha))
            self.blocks[version, "labels"] = Block(self._until, max(self._until, block.judged_at))
        else:
            self.blocks[version, "labels"] = replace(block, gathered=found.as_dict())

    def _judged_labels(self, version: str, block: Block, delay_s: float, *, is_closed: bool) -> None:
        """Rows whose labels are not due yet are left to the next block."""
        since = max(block.since, self._until - delay_s) if is_closed else block.since
        judged_at = max(self._until, block.judged_at)
        self.blocks[version, "performance"] = replace(block, since=since, judged_at=judged_at)

    def _estimate(self, version: str) -> None:
        """What performance would be without labels: of the newest rows, once an hour or where somebody asks."""
        known, block = self.baselines.known(self.seen.model, version), self._block(version, "estimate")
        is_due = self.asked or self._until - block.judged_at >= ESTIMATE_EVERY_S
        if not self.estimates or known is None or not is_due or not is_possible(known):
            return
        oldest = max(self.seen.created_at, self._until - SPAN_S_MAX)
        since = newest_since(self.capture, self.seen.endpoint, version, self._until, oldest)
        self.blocks[version, "estimate"] = Block(self._until, self._until)
        if since is None:
            return
        found = self.capture.rows("predictions", self.seen.endpoint, since, self._until, None, version)
        live = np.flatnonzero(live_rows(found)) if size_of(found) else np.empty(0, dtype=np.int64)
        if live.size:
            rows = live[np.argsort(found["at"][live], kind="stable")][-ESTIMATE_ROWS_MAX:]
            columns = columns_seen(self.seen.versions[version], found).where(rows)
            sample = self.baselines.sample(self.seen.model, version)
            self.results += estimate_results(known, sample, columns, self._place(version, since))

    def _labelled(self, version: str, since: float, until: float, delay_s: float) -> Labelled | None:
        """None where there is no row at all."""
        if until <= since:
            return None
        signature = self.seen.versions[version]
        wanted = ["id", "row", "at", "pinned", "code", *(f"output_{spec.name}" for spec in signature.outputs)]
        found = self.capture.labelled(self.seen.endpoint, since, until, wanted, version)
        if not size_of(found):
            return None
        live = np.flatnonzero(live_rows(found))
        order = live[np.argsort(found["at"][live], kind="stable")]
        if not order.size:
            return None
        columns = columns_seen(signature, found).where(order)
        labels = labels_of(found["label"][order]) if "label" in found else np.full(order.size, None, dtype=object)
        if "labelled_at" in found:  # of a moment that is over: what came later was not known then
            labels[found["labelled_at"][order] > self.now + LABEL_AHEAD_S] = None
        ages_s = self._until - found["at"][order]  # what is not old enough by then is left to the next block
        return Labelled(columns, labels, ages_s, delay_s, self.seen.settings.selective_labels)


def _so_far(count: int) -> str:
    return f"{count:,}" if count < ROWS_MIN else f"{ROWS_MIN:,} or more"


def _calls_of(answered: Mapping[str, Array], failed: Mapping[str, Array]) -> CallCounts:
    durations: Any = np.empty(0)
    requests, kept, failures = 0, 1.0, 0
    if size_of(answered):
        first = np.flatnonzero(answered["row"] == 0)
        durations = answered["duration_ms"][first].astype(np.float64)
        requests = round(float((1.0 / _rates_of(answered)[first]).sum()))
        kept = first.size / requests if requests else 1.0
    if size_of(failed):
        weights, codes = failed["calls"].astype(np.int64), failed["code"].astype(np.int64)
        requests += int(weights.sum())
        failures = int(weights[codes >= 500].sum())
    return CallCounts(requests, failures, durations[np.isfinite(durations)], kept)


def _rates_of(answered: Mapping[str, Array]) -> Array:
    """The share of requests that was recorded when each row was; what does not say is whole."""
    given = answered.get("sample_rate")
    rates = np.ones(size_of(answered)) if given is None else given.astype(np.float64)
    return np.where((rates > 0) & (rates <= 1), rates, 1.0)
