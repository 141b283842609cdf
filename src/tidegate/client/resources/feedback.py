"""Feedback on its way to the gateway: events out of what Python has, and requests of as many as one may have."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec
import orjson

from tidegate.client.resources.predictions import plain
from tidegate.errors import InvalidArgument

EVENTS_A_REQUEST, BYTES_A_REQUEST = 500, 900_000
_MISSING_TYPES = ("NAType", "NaTType")


class FeedbackAnswer(msgspec.Struct):
    """How many events are in the journal."""

    accepted: int


def events_of(given: Any) -> list[Mapping[str, Any]]:
    """Events of one, of several, or of a data frame with a column for each field. Raises `InvalidArgument`."""
    events = plain(given)
    events = [events] if isinstance(events, Mapping) else list(events)
    for number, event in enumerate(events):
        if not isinstance(event, Mapping):
            raise InvalidArgument(f"event {number} is {event!r:.60}: give a dict with its fields", field="events")
    return events


def requests_of(events: Iterable[Mapping[str, Any]], endpoint: str | None) -> Iterator[tuple[bytes, int]]:
    """Bodies of requests, and how many events each has; `endpoint` is that of events which name none."""
    pieces: list[bytes] = []
    size_bytes = 0
    for event in events:
        piece = encode_event(event, endpoint)
        if pieces and (len(pieces) == EVENTS_A_REQUEST or size_bytes + len(piece) > BYTES_A_REQUEST):
            yield _body(pieces), len(pieces)
            pieces, size_bytes = [], 0
        pieces.append(piece)
        size_bytes += len(piece) + 1
    if pieces:
        yield _body(pieces), len(pieces)


def encode_event(event: Mapping[str, Any], endpoint: str | None) -> bytes:
    """One event as JSON, without what it has no value of. Raises `InvalidArgument` for what JSON cannot hold."""
    made = {name: value for name, value in event.items() if not _is_missing(value)}
    if endpoint is not None:
        made.setdefault("endpoint", endpoint)
    if isinstance(made.get("at"), datetime):
        made["at"] = _rfc3339(made["at"])
    if isinstance(row := made.get("row"), float) and row.is_integer():
        made["row"] = int(row)  # a data frame's column with missing values has floats
    try:
        return orjson.dumps(made, option=orjson.OPT_SERIALIZE_NUMPY, default=_jsonable)
    except TypeError as error:
        raise InvalidArgument(f"an event cannot be written as JSON: {error}", field="events") from None


def _rfc3339(at: datetime) -> str:
    if at.tzinfo is None:
        raise InvalidArgument(f"at {at} has no zone: give one, as datetime.now(UTC) does", field="at")
    return at.isoformat()


def _is_missing(value: Any) -> bool:
    return value is None or type(value).__name__ in _MISSING_TYPES or (isinstance(value, float) and math.isnan(value))


def _jsonable(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} {value!r:.60}")


def _body(pieces: list[bytes]) -> bytes:
    return b"[" + b",".join(pieces) + b"]"
