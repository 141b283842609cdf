"""What inputs, outputs and losses looked like when a model was fine: histograms, whole and by segment, and some rows.

Made once, from training or validation data or the first days of production; everything later is compared with it.
Segments are counted in the bins of the whole, so that they add up to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tidegate.errors import InvalidArgument
from tidegate.watch.baseline.rhythm import DAY_H, Hours, Rhythm, at_span, daily_means, hours_of, zone_of
from tidegate.watch.budget import DEFAULT, Budget
from tidegate.watch.histograms.clustering import Clustering
from tidegate.watch.histograms.histogram import Histogram, reference
from tidegate.watch.histograms.layout import Kind, Layout
from tidegate.watch.histograms.values import Column, Floats, canonicals, column, datatype_of
from tidegate.watch.performance.performance import Reference

FORM = 2
FORMS = (1, FORM)
"""Form 1 has no rhythm."""
SAMPLE_ROWS_MAX = 50_000
SEGMENTS_MAX = 50
SEGMENT_ROWS_MIN = 100
"""A segment of fewer rows says too little to be compared with: its rows are in the whole alone."""
LOSS_BINS = 20
_SEED = 15


@dataclass(frozen=True)
class BaselineRowsGiven:
    """What a baseline is made of: columns of equal length, by name.

    `kinds`, `datatypes`: of columns where they do not follow from the values. `losses`: within [0, 1], NaN where a row
    has no label. `by`: the column whose values are the segments. `times_s`: when each row was, in seconds since 1970
    (UTC; NaN where that is not known), and `timezone`, whose days and weeks the traffic follows: without times a
    baseline cannot say how much days differ.
    """

    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any] = field(default_factory=dict)
    losses: Floats | None = None
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    datatypes: Mapping[str, str] = field(default_factory=dict)
    by: str | None = None
    times_s: Floats | None = None
    timezone: str = "UTC"


@dataclass(frozen=True)
class BaselinePart:
    """Histograms of the whole or of one segment. `risk`: what decides about performance; None without labels."""

    rows: int
    columns: Mapping[str, Histogram]
    loss: Histogram | None = None
    risk: Reference | None = None

    def as_dict(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "columns": {name: histogram.as_dict() for name, histogram in self.columns.items()},
            "loss": self.loss.as_dict() if self.loss else None,
            "risk": vars(self.risk) if self.risk else None,
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> BaselinePart:
        """The part that `as_dict` wrote."""
        return cls(
            rows=int(plain["rows"]),
            columns={name: Histogram.from_dict(each) for name, each in plain["columns"].items()},
            loss=Histogram.from_dict(plain["loss"]) if plain["loss"] else None,
            risk=Reference(**plain["risk"]) if plain["risk"] else None,
        )


@dataclass(frozen=True)
class ExpectedBlock:
    """What one block of rows is compared with. `clustering`: of its columns; `losses`: how alike its losses are."""

    part: BaselinePart
    clustering: Mapping[str, Clustering] = field(default_factory=dict)
    losses: Clustering = Clustering()


@dataclass(frozen=True)
class Baseline:
    """The whole, its segments by their value, and a sample of rows (columns of equal length) for jobs that need rows.

    `outputs`: which of the columns the model answered. `rhythm`: how traffic goes through day and week; empty where
    rows had no times. `as_dict` leaves the sample out: rows have a file of their own.
    """

    whole: BaselinePart
    outputs: tuple[str, ...] = ()
    by: str | None = None
    segments: Mapping[str, BaselinePart] = field(default_factory=dict)
    sample: Mapping[str, Column] = field(default_factory=dict)
    rhythm: Rhythm = Rhythm()

    def budget(self, base: Budget = DEFAULT) -> Budget:
        """How blocks of the endpoint close, so that they can be compared with this baseline."""
        return self.rhythm.budget(base)

    def expected(self, rows_by_hour: Mapping[int, int], segment: str | None = None) -> ExpectedBlock:
        """What a block is compared with: its columns' histograms, and how alike its rows are.

        `rows_by_hour`: how many of its rows are in each hour since 1970 (UTC).
        """
        part = self.part(segment)
        columns, clustering = {}, {}
        for name, histogram in part.columns.items():
            columns[name], clustering[name] = self.rhythm.expected(name, histogram, rows_by_hour)
        span_h = max(rows_by_hour, default=0) - min(rows_by_hour, default=0) + 1
        return ExpectedBlock(replace(part, columns=columns), clustering, at_span(self.rhythm.losses, span_h))

    def part(self, segment: str | None = None) -> BaselinePart:
        """A segment's part; the whole where it was too small, or did not exist yet."""
        return self.segments.get(segment, self.whole) if segment is not None else self.whole

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the sample."""
        return {
            "form": FORM,
            "whole": self.whole.as_dict(),
            "outputs": list(self.outputs),
            "by": self.by,
            "segments": {name: part.as_dict() for name, part in self.segments.items()},
            "rhythm": self.rhythm.as_dict(),
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any], sample: Mapping[str, Column] | None = None) -> Baseline:
        """The baseline that `as_dict` wrote; `InvalidArgument` says what cannot be."""
        if plain.get("form") not in FORMS:
            raise InvalidArgument(f"This is no baseline of form {FORM} or an earlier one.", field="form")
        try:
            whole = BaselinePart.from_dict(plain["whole"])
            rhythm = Rhythm.from_dict(plain["rhythm"], whole.columns) if plain["form"] > 1 else Rhythm()
            return cls(
                whole=whole,
                outputs=tuple(plain["outputs"]),
                by=plain["by"],
                segments={name: BaselinePart.from_dict(each) for name, each in plain["segments"].items()},
                sample=sample or {},
                rhythm=rhythm,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidArgument(f"This is no baseline: {error!r}.", field="baseline") from None


def baseline_of(source: BaselineRowsGiven, sample_rows_max: int = SAMPLE_ROWS_MAX) -> Baseline:
    """The baseline of these rows; `InvalidArgument` where columns have different lengths or names clash."""
    columns = _checked(source)
    layouts = {
        name: reference(values, source.kinds.get(name), source.datatypes.get(name), name=name).layout
        for name, values in columns.items()
    }
    rows = len(next(iter(columns.values())))
    rhythm = _rhythm(source, columns, layouts)
    of_losses = rhythm.losses.get(DAY_H, Clustering())
    whole = _part(columns, layouts, source.losses, np.arange(rows), of_losses)
    segments = {
        name: _part(columns, layouts, source.losses, chosen, of_losses)
        for name, chosen in _segments(source, columns).items()
    }
    sample = _sample(columns, source.losses, sample_rows_max)
    return Baseline(whole, tuple(source.outputs), source.by, segments, sample, rhythm)


def _rhythm(source: BaselineRowsGiven, columns: Mapping[str, Column], layouts: Mapping[str, Layout]) -> Rhythm:
    """Segments have no hours of the week of their own: with them, blocks are whole days."""
    if source.times_s is None:
        return Rhythm(source.timezone)
    hours = hours_of(source.times_s)
    counted: dict[str, Hours] = {
        name: {hour: Histogram.of(values[rows], layouts[name], name) for hour, rows in hours.items()}
        for name, values in columns.items()
    }
    losses = source.losses
    of_losses = (
        None if losses is None else {hour: Histogram.of(losses[rows], _LOSS_LAYOUT) for hour, rows in hours.items()}
    )
    found = Rhythm.of(counted, of_losses, source.timezone, seasonal=source.by is None)
    return found if losses is None else replace(found, days=daily_means(losses, hours, source.timezone))


def _checked(source: BaselineRowsGiven) -> dict[str, Column]:
    both = sorted(set(source.inputs) & set(source.outputs))
    if both:
        raise InvalidArgument(f"{both[0]!r} is an input and an output: give one of them another name.", field=both[0])
    columns = {name: column(values, name) for name, values in {**source.inputs, **source.outputs}.items()}
    if not columns:
        raise InvalidArgument("A baseline needs at least one column of inputs or outputs.", field="inputs")
    sizes = {name: values.size for name, values in columns.items()}
    zone_of(source.timezone)
    if source.losses is not None:
        sizes["losses"] = source.losses.size
    if source.times_s is not None:
        sizes["times_s"] = source.times_s.size
    if len(set(sizes.values())) > 1:
        short, long = min(sizes, key=lambda name: sizes[name]), max(sizes, key=lambda name: sizes[name])
        raise InvalidArgument(
            f"The baseline's columns differ in length: {short!r} has {sizes[short]} rows, {long!r} {sizes[long]}.",
            field=short,
        )
    if not next(iter(sizes.values())):
        raise InvalidArgument("The baseline has no rows: there is nothing to compare with.", field="inputs")
    if source.by is not None and source.by not in columns:
        raise InvalidArgument(
            f"There is no column {source.by!r} to make segments by: {', '.join(columns)}.", field="by"
        )
    return columns


def _part(
    columns: Mapping[str, Column],
    layouts: Mapping[str, Layout],
    losses: Floats | None,
    rows: np.ndarray[Any, Any],
    clustering: Clustering,
) -> BaselinePart:
    histograms = {name: Histogram.of(values[rows], layouts[name], name) for name, values in columns.items()}
    if losses is None:
        return BaselinePart(int(rows.size), histograms)
    chosen = losses[rows]
    labelled = bool((~np.isnan(chosen)).any())
    loss = Histogram.of(chosen, _LOSS_LAYOUT, "losses")
    return BaselinePart(int(rows.size), histograms, loss, Reference.of(chosen, clustering) if labelled else None)


_LOSS_CUTS = (float(np.nextafter(0.0, -1.0)), *(each / LOSS_BINS for each in range(LOSS_BINS + 1)))
_LOSS_LAYOUT = Layout("numeric", "FP64", cuts=_LOSS_CUTS, spread=1.0)
"""The same for all models: 0 has a bin of its own, and 1 is the largest loss."""


def _segments(source: BaselineRowsGiven, columns: Mapping[str, Column]) -> dict[str, np.ndarray[Any, Any]]:
    """The rows of the largest segments."""
    if source.by is None:
        return {}
    values = columns[source.by]
    texts = canonicals(values, source.datatypes.get(source.by) or datatype_of(values))
    rows: dict[str, list[int]] = {}
    for row, text in enumerate(texts):
        if text is not None:
            rows.setdefault(text, []).append(row)
    largest = sorted(rows, key=lambda text: (-len(rows[text]), text))[:SEGMENTS_MAX]
    return {text: np.array(rows[text]) for text in largest if len(rows[text]) >= SEGMENT_ROWS_MIN}


def _sample(columns: Mapping[str, Column], losses: Floats | None, rows_max: int) -> dict[str, Column]:
    """Rows drawn evenly, in their order; the same for the same rows."""
    rows = len(next(iter(columns.values())))
    chosen = np.arange(rows)
    if rows > rows_max:
        chosen = np.sort(np.random.default_rng(_SEED).choice(rows, rows_max, replace=False))
    sample = {name: values[chosen] for name, values in columns.items()}
    return sample if losses is None else {**sample, "loss": losses[chosen]}
