"""Feedback as clients write it, and what is wrong with it, said with the event's place and the field's name. Pure.

Gateways read it, and the client checks the rows of a file by the same rules before it sends them.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import msgspec

from tidegate.errors import InvalidArgument, MalformedRequest, TooLarge
from tidegate.wire.decoding import json_decoder
from tidegate.wire.gateways.decision import KEY_CHARS_MAX
from tidegate.wire.journal import FeedbackEvent
from tidegate.wire.journal.records import recorded_unit

EVENTS_MAX = 1000
NAME_CHARS_MAX = 128
LABEL_BYTES_MAX = 64 << 10
METRICS_MAX = 64
ROW_MAX = (1 << 31) - 1
AHEAD_S_MAX = 300.0

_ENDPOINT = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_AT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
_PLACE = re.compile(r"(?P<what>.*) - at `\$(\[(?P<number>\d+)\])?\.?(?P<field>[^`]*)`", re.DOTALL)


class FeedbackItem(msgspec.Struct, forbid_unknown_fields=True):
    """One event as a client writes it."""

    id: str | None = None
    key: str | int | None = None
    row: int | None = None
    endpoint: str | None = None
    experiment: str | None = None
    event: str | None = None
    label: Any = msgspec.UNSET
    metrics: dict[str, float] | None = None
    at: str | None = None


def read_items(body: bytes) -> list[FeedbackItem]:
    """The events of a body: one object, or a list of 1 to `EVENTS_MAX`.

    Raises `MalformedRequest` for what is no JSON, `InvalidArgument` for what is no feedback, `TooLarge` for too many.
    """
    decoder: msgspec.json.Decoder[list[FeedbackItem] | FeedbackItem] = json_decoder(
        list[FeedbackItem] | FeedbackItem  # type: ignore[arg-type] # a union is no class, and decodes all the same
    )
    try:
        read = decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _unfit(str(error)) from None
    except msgspec.DecodeError as error:
        raise MalformedRequest(f"the feedback is not JSON: {error}") from None
    except RecursionError:
        raise MalformedRequest("the feedback's JSON is nested too deep") from None
    items = read if isinstance(read, list) else [read]
    if not items:
        raise InvalidArgument("the list of feedback is empty: send at least one event", field="feedback")
    if len(items) > EVENTS_MAX:
        raise TooLarge(
            f"{len(items)} events in one request, and {EVENTS_MAX} are taken: send them in several requests",
            expected=EVENTS_MAX,
            got=len(items),
        )
    return items


def event_of(item: FeedbackItem, number: int, now_s: float) -> FeedbackEvent:
    """One event as the journal keeps it. `number` is its place in the list, `now_s` the time since the epoch.

    Raises `InvalidArgument`.
    """
    where = f"event {number}"
    target, unit = _target(item, where)
    for field, value in (("event", item.event), ("experiment", item.experiment)):
        if value is not None:
            _check_text(value, field, NAME_CHARS_MAX, where)
    if item.endpoint is not None and not _ENDPOINT.fullmatch(item.endpoint):
        raise _wrong(where, "endpoint", f"endpoint {item.endpoint[:80]!r} is not a name that an endpoint can have")
    if item.label is msgspec.UNSET and not item.metrics:
        raise _wrong(where, "label", "there is nothing to record: give 'label', 'metrics' or both")
    return FeedbackEvent(
        target,
        item.row,
        recorded_unit(unit),
        item.event,
        _at_us(item.at, now_s, where),
        item.endpoint,
        item.experiment,
        None if item.label is msgspec.UNSET else _label_text(item.label, where),
        _metrics(item.metrics or {}, where),
    )


def _target(item: FeedbackItem, where: str) -> tuple[str | None, str | None]:
    """The request's id or the unit, whichever is given."""
    unit = None if item.key is None else str(item.key)
    if (item.id is None) == (unit is None):
        raise _wrong(where, "id", "give 'id' (the id of a prediction's request) or 'key' (a unit), one of the two")
    if item.id is not None:
        _check_text(item.id, "id", NAME_CHARS_MAX, where)
    if unit is not None:
        _check_text(unit, "key", KEY_CHARS_MAX, where)
        if item.row is not None:
            raise _wrong(where, "row", "'row' is a row of a request, so it goes with 'id' and not with 'key'")
    if item.row is not None and not 0 <= item.row <= ROW_MAX:
        raise _wrong(where, "row", f"row {item.row} is no row: the first is 0, and the last {ROW_MAX} at most")
    return item.id, unit


def _check_text(value: str, field: str, chars_max: int, where: str) -> None:
    if not value or len(value) > chars_max:
        raise _wrong(where, field, f"'{field}' has {len(value)} characters, and may have 1 to {chars_max}")
    if any(ord(sign) < 32 or ord(sign) == 127 for sign in value):
        raise _wrong(where, field, f"'{field}' has control characters in it")


def _label_text(label: Any, where: str) -> str:
    """A label's JSON text: a text, a number, a boolean, or a list of them with an item for each row."""
    items = label if isinstance(label, list) else [label]
    for item in items:
        for value in item if isinstance(item, list) else [item]:
            if value is None:
                raise _wrong(where, "label", "the label is null: send the event once the label is known")
            if not isinstance(value, str | int | float):
                kind = "an object" if isinstance(value, dict) else "a list"
                said = f"the label has {kind} in it: give a text, a number, a boolean, or a list of them"
                raise _wrong(where, "label", said)
    text = msgspec.json.encode(label)
    if len(text) > LABEL_BYTES_MAX:
        raise _wrong(where, "label", f"the label has {len(text)} bytes, and may have {LABEL_BYTES_MAX}")
    return text.decode()


def _metrics(metrics: dict[str, float], where: str) -> dict[str, float]:
    if len(metrics) > METRICS_MAX:
        raise _wrong(where, "metrics", f"{len(metrics)} metrics in one event, and {METRICS_MAX} are taken")
    for name in metrics:
        _check_text(name, "metrics", NAME_CHARS_MAX, where)
    return metrics


def _at_us(at: str | None, now_s: float, where: str) -> int:
    """Microseconds since the epoch; now, where nothing is said."""
    if at is None:
        return round(now_s * 1e6)
    if not _AT.fullmatch(at):
        said = f"at {at[:40]!r} is no time as RFC 3339 has it, with its zone: write 2026-01-31T12:00:00Z"
        raise _wrong(where, "at", said)
    try:
        moment = datetime.fromisoformat(at.upper())
        at_us = int(moment.replace(microsecond=0).timestamp()) * 1_000_000 + moment.microsecond
    except (ValueError, OverflowError) as error:
        raise _wrong(where, "at", f"at {at[:40]!r} is no time: {error}") from None
    if at_us > (now_s + AHEAD_S_MAX) * 1e6:
        now = datetime.fromtimestamp(now_s, UTC)
        said = f"at {at[:40]} is more than {AHEAD_S_MAX / 60:g} minutes ahead of this server's clock ({now:%FT%TZ})"
        raise _wrong(where, "at", said)
    if at_us < 0:
        raise _wrong(where, "at", f"at {at[:40]} is before 1970")
    return at_us


def _wrong(where: str, field: str, said: str) -> InvalidArgument:
    return InvalidArgument(f"{where}: {said}", field=field)


def _unfit(said: str) -> InvalidArgument:
    """What msgspec says, with the event's number first and the field as a detail."""
    found = _PLACE.fullmatch(said)
    if found is None:
        return InvalidArgument(f"the feedback is an event or a list of events: {said[:1].lower()}{said[1:]}")
    what, field = found["what"], found["field"]
    if unknown := re.search(r"unknown field `([^`]*)`", what):
        field = unknown[1]
        known = ", ".join(FeedbackItem.__struct_fields__)
        what = f"there is no field {field[:80]!r}; there are: {known}"
    else:
        what = f"{repr(field) if field else 'it'}: {what[:1].lower()}{what[1:]}"
    return InvalidArgument(f"event {found['number'] or 0}: {what}", field=field or "feedback")
