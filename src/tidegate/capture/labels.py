"""Predictions with their labels, however late these came: what `CaptureStore.labelled` and label coverage read.

`matching` has the rules. What is read: feedback of the endpoint, and feedback that names none, from the window's
beginning until now, for a label is dated after its prediction; and the ids, keys and times of predictions after the
window, as far as the newest label, for an id or a unit may have come again. Of both only what has an id or a key of the
window is held, so memory goes with the window, and time with the feedback and the traffic since.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tidegate.capture.matching import OUTCOMES, Labels, Predicted, match, text_of
from tidegate.capture.names_filter import WantedNames
from tidegate.capture.rows import NO_ENDPOINT

Table = Literal["predictions", "shadow_predictions", "failures", "shadow_failures", "feedback", "monitor_results"]
Keep = Callable[[pa.Table], pa.Array]
AGAIN_S_MAX = 86_400.0
"""An event that is sent again is known by its `event` within this time."""
FOREVER_S = 253_370_764_800.0
"""The last year that calendars here have begins then."""
LOOKBACK_S = 30 * 86_400.0
AGES_S = (3600.0, 6 * 3600.0, 86_400.0, 3 * 86_400.0, 7 * 86_400.0, 30 * 86_400.0)

_ADDED = ("label", "labelled_at")
_IDENTITY = ("id", "row", "key", "at", "request_rows")
_FEEDBACK = ("id", "row", "key", "event", "at", "received_at", "label")


class CaptureReader(Protocol):
    """Where predictions and feedback are read (`store.CaptureStore`)."""

    def rows(
        self, table: Table, endpoint: str, since_s: float, until_s: float, columns: Sequence[str] | None = None
    ) -> pa.Table:
        """Rows of a time."""

    def keeping(self, keep: Keep, wanted: WantedNames | None = None) -> Self:
        """The same store, of whose rows only some are held: at most those with one of the `wanted` names."""


@dataclass(frozen=True)
class AgeCoverage:
    """Of the predicted rows that are `age_min_s` to `age_max_s` old (None: and older), how many have a label."""

    age_min_s: float
    age_max_s: float | None
    rows: int
    labelled: int

    @property
    def share(self) -> float | None:
        """None where there are no rows."""
        return self.labelled / self.rows if self.rows else None


def labelled(
    store: CaptureReader,
    endpoint: str,
    window_s: tuple[float, float],
    columns: Sequence[str] | None = None,
    version: str | None = None,
) -> pa.Table:
    """Predictions with since <= at < until and the columns `label` (JSON text) and `labelled_at`, null without one."""
    needed = None if columns is None else [*(set(columns) - set(_ADDED)), *_IDENTITY, "version"]
    table = store.rows("predictions", endpoint, *window_s, needed)
    labels = _labels_of(store, endpoint, table, window_s[0])
    later = _later_than(store, endpoint, window_s[1], labels)
    both = pa.concat_tables([_identity_of(table), _identity_of(later)], promote_options="default")
    found = Labels.of(labels)
    matches = match(Predicted.of(both), found)
    texts, own = text_of(found, matches), np.arange(len(table))
    at = matches.label[own]
    times = labels["at"].combine_chunks().take(pa.array(at, mask=at < 0)) if len(labels) else None
    table = table.append_column("label", texts.slice(0, len(table)))
    table = table.append_column(
        "labelled_at", times if times is not None else pa.nulls(len(table), pa.timestamp("us", tz="UTC"))
    )
    if version is not None:
        table = table.filter(pc.equal(table["version"], version))
    return table if columns is None else table.select([*dict.fromkeys([*columns, *_ADDED])])


def _identity_of(table: pa.Table) -> pa.Table:
    return table.select([name for name in _IDENTITY if name in table.column_names])


def coverage(
    store: CaptureReader,
    endpoint: str,
    window_s: tuple[float, float],
    now_s: float,
    version: str | None = None,
    ages_s: Sequence[float] = AGES_S,
) -> list[AgeCoverage]:
    """How many rows of the window have a label, by the age that they have now."""
    table = labelled(store, endpoint, window_s, ["at"], version)
    age_s = now_s - np.asarray(table["at"].cast(pa.int64()), dtype=np.float64) / 1e6
    has = np.asarray(table["label"].is_valid())
    bounds = [0.0, *ages_s, math.inf]
    groups = np.clip(np.searchsorted(bounds, age_s, side="right") - 1, 0, len(bounds) - 2)
    rows = np.bincount(groups, minlength=len(bounds) - 1)
    labelled_rows = np.bincount(groups[has], minlength=len(bounds) - 1)
    return [
        AgeCoverage(
            bounds[n], None if math.isinf(bounds[n + 1]) else bounds[n + 1], int(rows[n]), int(labelled_rows[n])
        )
        for n in range(len(bounds) - 1)
    ]


def outcomes(
    store: CaptureReader, endpoint: str, window_s: tuple[float, float], lookback_s: float = LOOKBACK_S
) -> dict[str, int]:
    """What became of the labels of a time that name this endpoint, by `matching.OUTCOMES`.

    Predictions of up to `lookback_s` before are looked for.
    """
    labels = _with_label(store).rows("feedback", endpoint, *window_s, _FEEDBACK)
    before_s = window_s[0] - lookback_s
    known = store.keeping(names_in(labels), WantedNames.of(labels)).rows(
        "predictions", endpoint, before_s, window_s[1], _IDENTITY
    )
    counts = np.bincount(match(Predicted.of(known), Labels.of(labels)).outcome, minlength=len(OUTCOMES))
    return dict(zip(OUTCOMES, map(int, counts), strict=True))


def _labels_of(store: CaptureReader, endpoint: str, predictions: pa.Table, since_s: float) -> pa.Table:
    """Feedback with a label that may be about these predictions."""
    named = names_in(predictions)

    def kept(table: pa.Table) -> pa.Array:
        return pc.and_(table["label"].is_valid(), named(table))

    keeping = store.keeping(kept, WantedNames.of(predictions))
    tables = [
        keeping.rows("feedback", place, since_s - AGAIN_S_MAX, FOREVER_S, _FEEDBACK)
        for place in (endpoint, NO_ENDPOINT)
    ]
    return pa.concat_tables(tables).combine_chunks()


def _later_than(store: CaptureReader, endpoint: str, until_s: float, labels: pa.Table) -> pa.Table:
    """Predictions since then that the labels may be about instead."""
    newest = pc.max(labels["at"].cast(pa.int64())).as_py() if len(labels) else None
    horizon_s = until_s if newest is None else max(until_s, (newest + 1) / 1e6)
    return store.keeping(names_in(labels), WantedNames.of(labels)).rows(
        "predictions", endpoint, until_s, horizon_s, _IDENTITY
    )


def _with_label(store: CaptureReader) -> CaptureReader:
    return store.keeping(lambda table: table["label"].is_valid())


def names_in(table: pa.Table) -> Callable[[pa.Table], pa.Array]:
    """Which rows of another table have an id or a key of this one."""
    ids, keys = (table[name].combine_chunks().drop_null().unique() for name in ("id", "key"))

    def named(other: pa.Table) -> pa.Array:
        found = [
            pc.fill_null(pc.is_in(other[name], value_set=known, skip_nulls=True), False)
            for name, known in (("id", ids), ("key", keys))
        ]
        return pc.or_(*found)

    return named
