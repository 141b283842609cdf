"""How many rows a batch may have, from how long earlier batches took. Used by the batcher; never looks at a clock.

Two limits, both grown and shrunk by what is measured: `limit_rows` for a batch, by the latency objective, and
`chunk_rows` for what large requests may fill of it while small ones are about.
"""

from __future__ import annotations

import math

START_ROWS = 16
SMALL_ROWS = 16
"""A request of at most this many rows is a small one: it is never cut, and large ones make room for it."""
SMALL_REMEMBERED_S = 10.0
STRIKES, FORGIVEN = 2.0, 0.5
"""So many batches over the budget shrink a limit: a single one is the machine's hiccup. A batch that keeps to it wipes
them out; one too small to say much about the limit forgives a part of one."""
SHRINK, GROW = 0.75, 1.1
CHUNK_SHARE = 0.125
CHUNK_S_MIN = 0.0001
"""A chunk may cost this much more than a batch of one row, or `CHUNK_SHARE` of that batch where it is more."""
FORGET = 0.97
SPREAD_MIN, CREDIT = 0.05, 0.99
"""Batches must differ in rows by so much (variance by squared mean) to tell fixed cost from cost by the row."""
OUTLIER, OUTLIER_S = 4.0, 0.001
HANG_FACTOR, HANG_S_MIN = 20.0, 1.0
CALM_TAKEN = 8
"""Of batches that say nothing new (small ones, within every budget) one in so many is looked at."""


class RowLimit:
    """Rows that keep within a time budget: doubles until that is first met, then creeps up, and falls by a quarter."""

    def __init__(self, rows_max: int) -> None:
        self._rows_max = float(max(1, rows_max))
        self._rows = min(float(START_ROWS), self._rows_max)
        self._steep = True
        self._strikes = 0.0
        self.rows = int(self._rows)
        """The limit now."""

    def measured(self, rows: int, seconds: float, budget_s: float, rows_min: float) -> None:
        """A batch of so many rows took so long; one of less than half the limit is no reason to grow it."""
        if seconds > budget_s:
            self._strikes += 1
            if self._strikes >= STRIKES:
                self._strikes = 0.0
                self._steep = False
                self._rows = min(self._rows, max(rows_min, self._rows * SHRINK))
                self.rows = int(self._rows)
        elif rows * 2 < self._rows:
            self._strikes = max(0.0, self._strikes - FORGIVEN)
        else:
            self._strikes = 0.0
            self._rows = min(self._rows_max, self._rows * (2.0 if self._steep else GROW) + 0.5)
            self.rows = int(self._rows)


class AdaptiveBatchSize:
    """Fits `seconds = fixed + slope * rows` to the latest batches, and steers both limits.

    The budget of a batch is the objective, or twice the fixed cost where that is more: below it fewer rows save little
    and cost much. A chunk's budget is a batch of one row and an eighth, so that whoever comes while it is computed
    waits about as long as his own row takes.
    """

    def __init__(self, rows_max: int, objective_s: float) -> None:
        self._objective_s = objective_s
        self._batch = RowLimit(rows_max)
        self._chunk = RowLimit(rows_max)
        self._n = self._r = self._t = self._rr = self._rt = 0.0
        self._slope_s: float | None = None
        self._fixed_s = 0.0
        self._row_s = 0.0
        self._small_until_s = 0.0
        self._calm = 0
        self._calm_rows, self._calm_s = 0, 0.0
        self.limit_rows = self._batch.rows

    def chunk_rows(self, now_s: float) -> int:
        """Rows that large requests may fill of a batch: all of it while no small request has been seen lately."""
        return min(self._chunk.rows, self.limit_rows) if now_s < self._small_until_s else self.limit_rows

    def saw_small(self, now_s: float) -> None:
        """A small request was seen."""
        self._small_until_s = now_s + SMALL_REMEMBERED_S

    def measured(self, rows: int, seconds: float) -> None:
        """Take note of a computed batch."""
        if rows < self._calm_rows and seconds < self._calm_s:
            self._calm += 1
            if self._calm % CALM_TAKEN:
                return
        self._fit(rows, seconds)
        # While the fixed cost is unknown a limit stays where batches can differ in size: else it never would be known.
        rows_min = 1.0 if self._slope_s is not None else float(START_ROWS // 2)
        one_s = self._one_row_s()
        chunk_s = one_s + max(one_s * CHUNK_SHARE, CHUNK_S_MIN)
        self._batch.measured(rows, seconds, max(self._objective_s, 2 * self._fixed_s), rows_min)
        self._chunk.measured(rows, seconds, chunk_s, 1.0)
        self.limit_rows = self._batch.rows
        self._calm_rows, self._calm_s = min(self.limit_rows, self._chunk.rows) // 2, min(chunk_s, self._objective_s)

    def seconds_for(self, rows: int) -> float:
        """About how long a batch of so many rows takes, 0 before any was measured."""
        return self._fixed_s + self._row_s * rows

    def hang_s(self, rows: int) -> float:
        """After how long a batch is late enough to ask whether its replica lives; never before any was measured."""
        late_s = HANG_FACTOR * (self._fixed_s + self._row_s * rows)
        return (late_s if late_s > HANG_S_MIN else HANG_S_MIN) if self._n else math.inf

    def _one_row_s(self) -> float:
        if self._slope_s is not None:
            return self._fixed_s + self._slope_s
        return self._t / self._n if self._r <= 2 * self._n else self._t / self._r

    def _fit(self, rows: int, seconds: float) -> None:
        """Least squares over the latest batches, older ones counting less and outliers clipped."""
        if self._n > 4:
            seconds = min(seconds, OUTLIER * self.seconds_for(rows) + OUTLIER_S)
        n = self._n = self._n * FORGET + 1
        r = self._r = self._r * FORGET + rows
        t = self._t = self._t * FORGET + seconds
        self._rr = self._rr * FORGET + rows * rows
        self._rt = self._rt * FORGET + rows * seconds
        spread = self._rr * n - r * r
        if spread > SPREAD_MIN * r * r:
            self._slope_s = self._row_s = min(max(0.0, (self._rt * n - r * t) / spread), t / r)
            self._fixed_s = (t - self._row_s * r) / n
        else:
            # Batches of one size do not tell the two apart. What is known of the fixed cost slowly loses its credit:
            # the limit then shrinks a little, batches differ again, and it is found anew.
            self._fixed_s = min(self._fixed_s * CREDIT, t / n)
            self._row_s = (t - self._fixed_s * n) / r
            self._slope_s = None if self._slope_s is None else self._row_s
