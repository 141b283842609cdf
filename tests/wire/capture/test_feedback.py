from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tidegate.errors import InvalidArgument, MalformedRequest, TidegateError, TooLarge
from tidegate.wire.capture.feedback import EVENTS_MAX, event_of, read_items
from tidegate.wire.journal import FeedbackEvent

NOW_S = 1_796_000_000.25


def read(*events: dict[str, Any] | str) -> list[FeedbackEvent]:
    body = "[" + ",".join(one if isinstance(one, str) else json.dumps(one) for one in events) + "]"
    return [event_of(item, number, NOW_S) for number, item in enumerate(read_items(body.encode()))]


def test_an_event_is_kept_as_it_was_given() -> None:
    (event,) = read(
        {"id": "r1", "row": 2, "endpoint": "churn", "experiment": "x", "event": "e", "label": "ja", "metrics": {"m": 1}}
        | {"at": "2026-11-01T12:00:00.000001+02:00"}
    )
    assert event == FeedbackEvent("r1", 2, None, "e", 1_793_527_200_000_001, "churn", "x", '"ja"', {"m": 1.0})


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("1", "1"),
        ('"1"', '"1"'),
        ("1.0", "1.0"),
        ("true", "true"),
        ("[1, 0]", "[1,0]"),
        ("[[1, 2]]", "[[1,2]]"),
        (str(1 << 70), str(1 << 70)),
    ],
)
def test_a_label_is_kept_as_its_json(label: str, text: str) -> None:
    assert read(f'{{"id": "a", "label": {label}}}')[0].label == text


def test_one_event_needs_no_list_and_the_present_is_its_time() -> None:
    (item,) = read_items(b'{"key": 7, "endpoint": "churn", "label": 1}')
    event = event_of(item, 0, NOW_S)
    assert (event.id, event.key, event.at_us) == (None, "7", 1_796_000_000_250_000)


def test_a_long_key_is_kept_by_the_hash_that_predictions_have() -> None:
    (event,) = read({"key": "u" * 300, "metrics": {"m": 1}})
    assert event.key is not None
    assert event.key.startswith("sha256:")


@pytest.mark.parametrize(
    ("event", "field", "said"),
    [
        ({"label": 1}, "id", "give 'id'"),
        ({"id": "a", "key": "b", "label": 1}, "id", "one of the two"),
        ({"id": "a"}, "label", "nothing to record"),
        ({"id": "a", "metrics": {}}, "label", "nothing to record"),
        ({"id": "a", "label": None}, "label", "is null"),
        ({"id": "a", "label": [1, None]}, "label", "is null"),
        ({"id": "a", "label": {"x": 1}}, "label", "an object"),
        ({"id": "a", "label": [[[1]]]}, "label", "a list"),
        ({"id": "a", "label": "x" * 70_000}, "label", "65536"),
        ({"id": "a", "lable": 1}, "lable", "there is no field 'lable'; there are: id, key, row"),
        ({"id": 5, "label": 1}, "id", "expected `str | null`, got `int`"),
        ({"id": "", "label": 1}, "id", "1 to 128"),
        ({"id": "a" * 129, "label": 1}, "id", "1 to 128"),
        ({"id": "a\n", "label": 1}, "id", "control characters"),
        ({"key": "a" * 1_000_000, "label": 1}, "key", "1000000 characters"),
        ({"key": "a", "row": 0, "label": 1}, "row", "goes with 'id'"),
        ({"id": "a", "row": -1, "label": 1}, "row", "the first is 0"),
        ({"id": "a", "row": 1.5, "label": 1}, "row", "got `float`"),
        ({"id": "a", "endpoint": "../x", "label": 1}, "endpoint", "not a name"),
        ({"id": "a", "metrics": {"m": "1"}}, "metrics[...]", "got `str`"),
        ({"id": "a", "metrics": {"m": True}}, "metrics[...]", "got `bool`"),
        ({"id": "a", "metrics": {"m" * 129: 1}}, "metrics", "1 to 128"),
        ({"id": "a", "metrics": {str(n): 1 for n in range(65)}}, "metrics", "64"),
        ({"id": "a", "label": 1, "at": "2026-11-01"}, "at", "RFC 3339"),
        ({"id": "a", "label": 1, "at": "2026-11-01T12:00:00"}, "at", "with its zone"),
        ({"id": "a", "label": 1, "at": "2026-02-30T12:00:00Z"}, "at", "is no time"),
        ({"id": "a", "label": 1, "at": "1969-12-31T23:59:59Z"}, "at", "before 1970"),
        ({"id": "a", "label": 1, "at": "2027-11-01T12:00:00Z"}, "at", "5 minutes ahead"),
        ('{"id": "a", "metrics": {"m": 1e999}}', "metrics[...]", "out of range"),
    ],
)
def test_what_is_no_event_is_refused_with_its_place_and_field(
    event: dict[str, Any] | str, field: str, said: str
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        read({"id": "sound", "label": 1}, event)
    assert refused.value.message.startswith("event 1: ")
    assert said in refused.value.message
    assert refused.value.details["field"] == field
    assert len(refused.value.message) < 400


def test_a_clock_that_is_a_little_ahead_is_believed() -> None:
    at = datetime.fromtimestamp(NOW_S + 299, UTC)
    assert read({"id": "a", "label": 1, "at": at.isoformat()})[0].at_us == round((NOW_S + 299) * 1e6)


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        (b"", MalformedRequest, "not JSON"),
        (b'{"id": "a", "label": NaN}', MalformedRequest, "not JSON"),
        (b'{"id": "\\ud800", "label": 1}', MalformedRequest, "not JSON"),
        (b'{"id": "a", "label": ' + b"[" * 100_000, MalformedRequest, "nested too deep|not JSON"),
        (b"3", InvalidArgument, "an event or a list of events"),
        (b"[]", InvalidArgument, "empty"),
        (b"[" + b",".join([b"{}"] * (EVENTS_MAX + 1)) + b"]", TooLarge, "several requests"),
    ],
)
def test_a_body_that_is_no_feedback_is_refused(body: bytes, kind: type[TidegateError], said: str) -> None:
    with pytest.raises(kind, match=said):
        read_items(body)
