"""The join of labels to predictions against one written in plain Python, row by row, from the rules alone."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.capture.matching import OUTCOMES, Labels, Predicted, match, text_of
from tidegate.capture.rows import FEEDBACK

Prediction = dict[str, Any]
Event = dict[str, Any]


def joined(predictions: list[Prediction], events: list[Event]) -> tuple[list[str | None], list[str]]:
    """Each row's label, and each event's outcome."""
    stamp = pa.timestamp("us", tz="UTC")
    table = pa.table(
        {
            "id": pa.array([one["id"] for one in predictions], pa.string()),
            "row": pa.array([one["row"] for one in predictions], pa.int64()),
            "key": pa.array([one["key"] for one in predictions], pa.string()),
            "at": pa.array([one["at"] for one in predictions], stamp),
        }
    )
    full: list[Event] = [
        {"event": None, "metrics": [], "experiment": None, "row": None, "id": None, "key": None} | one for one in events
    ]
    feedback = pa.table(
        {name: pa.array([one[name] for one in full], FEEDBACK.field(name).type) for name in FEEDBACK.names}
    )
    labels = Labels.of(feedback)
    matches = match(Predicted.of(table), labels)
    return text_of(labels, matches).to_pylist(), [OUTCOMES[one] for one in matches.outcome]


def naive(predictions: list[Prediction], events: list[Event]) -> tuple[list[str | None], list[str]]:
    """The rules as the documentation has them."""
    best: dict[int, tuple[Any, str]] = {}
    outcome = []
    first: dict[Any, int] = {}
    for place, event in sorted(enumerate(events), key=lambda one: (one[1]["received_at"], one[0])):
        if event.get("event"):
            first.setdefault((event["event"], event.get("id"), event.get("key")), place)
    for place, event in enumerate(events):
        name = "id" if event.get("id") is not None else "key"
        if event.get("event") and first[event["event"], event.get("id"), event.get("key")] != place:
            outcome.append("repeated")
            continue
        asked = [one for one in predictions if one[name] == event[name] and one["at"] <= event["at"]]
        if not asked:
            outcome.append("no_prediction")
            continue
        at, request_id = max((one["at"], one["id"]) for one in asked)
        rows = {one["row"]: n for n, one in enumerate(predictions) if (one["at"], one["id"]) == (at, request_id)}
        label = json.loads(event["label"])
        if event.get("row") is not None:
            found = {event["row"]: label} if event["row"] in rows else None
            outcome.append("matched" if found else "no_row")
        elif isinstance(label, list):
            found = dict(enumerate(label)) if sorted(rows) == list(range(len(label))) else None
            outcome.append("matched" if found else "rows_differ")
        else:
            found = {next(iter(rows)): label} if len(rows) == 1 else None
            outcome.append("matched" if found else "rows_differ")
        for row, value in (found or {}).items():
            order = (event["at"], event["received_at"], place)
            if rows[row] not in best or order > best[rows[row]][0]:
                best[rows[row]] = order, json.dumps(value, separators=(",", ":"))
    return [best[n][1] if n in best else None for n in range(len(predictions))], outcome


times = st.integers(0, 9)
names = st.sampled_from(["a", "b", "c"])


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Prediction], list[Event]]:
    requests = draw(
        st.lists(
            st.tuples(names, times, st.none() | st.sampled_from(["u", "v"]), st.integers(1, 3)),
            max_size=8,
            unique_by=lambda one: one[:2],
        )
    )
    predictions = [
        {"id": name, "at": at, "key": key, "row": row} for name, at, key, rows in requests for row in range(rows)
    ]
    label = st.sampled_from(["0", "1", '"x"', "[1]", "[1,0]", "[0,1,2]"])
    target = st.tuples(st.just("id"), names) | st.tuples(st.just("key"), st.sampled_from(["u", "v", "w"]))
    drawn = draw(
        st.lists(
            st.tuples(target, times, times, label, st.none() | st.integers(0, 3), st.sampled_from([None, "e", "f"])),
            max_size=12,
        )
    )
    events = []
    for (name, value), at, received, text, row, event in drawn:
        made = {name: value, "at": at, "received_at": received, "label": text, "event": event}
        events.append(made | ({"row": row} if name == "id" else {}))
    return draw(st.permutations(predictions)), events


@settings(max_examples=400, deadline=None)
@given(worlds())
def test_the_join_is_that_of_the_rules(world: tuple[list[Prediction], list[Event]]) -> None:
    assert joined(*world) == naive(*world)


def one_row(name: str, at: int = 5, **more: Any) -> Prediction:
    return {"id": name, "at": at, "key": None, "row": 0} | more


def event(label: str = "1", at: int = 7, **more: Any) -> Event:
    return {"label": label, "at": at, "received_at": at} | more


@pytest.mark.parametrize(
    ("predictions", "events", "labels", "outcome"),
    [
        ([one_row("a")], [event(id="a")], ["1"], ["matched"]),
        ([one_row("a")], [event(id="a", at=4)], [None], ["no_prediction"]),
        ([one_row("a", 1), one_row("a", 5)], [event(id="a", at=3)], ["1", None], ["matched"]),
        ([one_row("a", key="u"), one_row("b", 6, key="u")], [event(key="u")], [None, "1"], ["matched"]),
        ([one_row("a"), one_row("a", row=1)], [event(id="a")], [None, None], ["rows_differ"]),
        ([one_row("a"), one_row("a", row=1)], [event("[0,1]", id="a")], ["0", "1"], ["matched"]),
        ([one_row("a"), one_row("a", row=1)], [event("[1.0,2.50]", id="a")], ["1.0", "2.50"], ["matched"]),
        ([one_row("a")], [event("[[1,2]]", id="a")], ["[1,2]"], ["matched"]),
        ([one_row("a")], [event("[1,2]", id="a", row=0)], ["[1,2]"], ["matched"]),
        ([one_row("a")], [event(id="a", row=1)], [None], ["no_row"]),
        ([one_row("a")], [event("0", 8, id="a"), event(id="a")], ["0"], ["matched", "matched"]),
        ([one_row("a")], [event(id="a", event="e"), event("0", 8, id="a", event="e")], ["1"], ["matched", "repeated"]),
        ([], [event(id="a")], [], ["no_prediction"]),
        ([one_row("a")], [], [None], []),
    ],
)
def test_rules_one_by_one(
    predictions: list[Prediction], events: list[Event], labels: list[str | None], outcome: list[str]
) -> None:
    assert joined(predictions, events) == (labels, outcome)


def test_many_rows_are_matched_by_columns() -> None:
    count = 200_000
    predictions = pa.table(
        {
            "id": pa.array([f"r{n}" for n in range(count)]),
            "row": pa.array(np.zeros(count, np.int64)),
            "key": pa.nulls(count, pa.string()),
            "at": pa.array(np.arange(count), pa.timestamp("us", tz="UTC")),
        }
    )
    nothing = pa.nulls(count, pa.string())
    ids = pa.array([f"r{n}" for n in range(count)])
    ints = np.arange(count)
    labels = Labels(ids, nothing, np.full(count, -1), nothing, ints, ints, pa.array(["1"] * count))
    matches = match(Predicted.of(predictions), labels)
    assert (matches.label == np.arange(count)).all()
