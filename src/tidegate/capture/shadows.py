"""Rows of a shadow beside the live rows of the same requests, with their labels. Read by `adapters.capture`."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from tidegate.capture.labels import CaptureReader, labelled

BEFORE_S = 3600.0
"""A live request began before its copy, by no more than its deadline."""
REACH_S = BEFORE_S + 60.0
"""What `pairs` reads lies no further before its window."""
_KEYS = ("id", "row")


def pairs(
    store: CaptureReader, endpoint: str, version: str, window_s: tuple[float, float], outputs: Sequence[str]
) -> tuple[pa.Table, pa.Table]:
    """Live rows and the shadow's, as many and in the same order, oldest first; those of the shadow are of this time.

    A client that sends an id twice has its rows paired once. Of live rows only those are held that the shadow answered.
    """
    columns = [f"output_{name}" for name in outputs]
    own = ["at", *_KEYS, "duration_ms", "version", *columns]
    shadow = store.rows("shadow_predictions", endpoint, *window_s, own)
    shadow = shadow.filter(pc.equal(shadow["version"], version)).sort_by("at")
    ids = shadow["id"].combine_chunks().unique()

    def heard(table: pa.Table) -> pa.Array:
        return pc.is_in(table["id"], value_set=ids)

    since_s = window_s[0] - BEFORE_S
    wanted = ["at", *_KEYS, "key", "duration_ms", *columns]
    live = labelled(store.keeping(heard), endpoint, (since_s, window_s[1]), wanted)
    places = pc.index_in(_names(live), value_set=_names(shadow))
    live = live.append_column("place", places).filter(places.is_valid())
    live = _once(live)
    return live, shadow.take(live["place"])


def _names(table: pa.Table) -> pa.Array:
    """One text for each row: the request's id and the row's number."""
    return pc.binary_join_element_wise(table["row"].cast(pa.string()), table["id"], " ").combine_chunks()


def _once(live: pa.Table) -> pa.Table:
    """Each place once, in order."""
    places = live["place"].combine_chunks()
    order = pc.sort_indices(live.select(["place"]), [("place", "ascending")])
    ordered = places.take(order)
    if len(ordered) < 2:
        return live.take(order)
    new = pc.not_equal(ordered.slice(1), ordered.slice(0, len(ordered) - 1))
    return live.take(order.filter(pa.concat_arrays([pa.array([True]), new])))
