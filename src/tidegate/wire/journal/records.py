"""What the capture journal holds: msgpack arrays, told apart by the kind that stands first in each.

Fields are only ever added at the end, with a default: a reader of either release reads what it knows.
"""

from __future__ import annotations

from hashlib import blake2b, sha256
from typing import Any

import msgspec

from tidegate.wire.decoding import msgpack_decoder
from tidegate.wire.gateways.decision import Decision

CACHED = "cached"
"""How a batch was released that no replica computed."""
UNIT_CHARS_MAX = 256

Tensor = tuple[str, tuple[int, ...], Any]
"""Datatype, shape, little-endian raw bytes; a BYTES tensor is a list."""


def recorded_unit(unit: str | None) -> str | None:
    """A unit's key as it is kept. A long one is kept as its hash: records stay small, and equal keys stay equal.

    >>> recorded_unit("user-1")
    'user-1'
    """
    if unit is None or len(unit) <= UNIT_CHARS_MAX:
        return unit
    return f"sha256:{sha256(unit.encode('utf-8', 'surrogatepass')).hexdigest()}"


def hashed_text(value: str | bytes, salt: str) -> str:
    """A text as it is recorded where an endpoint's rules ask for a hash: keyed, 32 hexadecimal digits."""
    data = value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
    return blake2b(data, key=salt.encode()[:64], digest_size=16).hexdigest()


def hashed_number(value: float, salt: str) -> float:
    """A number as it is recorded where an endpoint's rules ask for a hash: keyed, a whole number below 2**48."""
    return float(keyed_hash(repr(float(value)).encode(), salt) >> 16)


def keyed_hash(data: bytes, salt: str) -> int:
    """64 bits that whoever does not know the salt cannot compute."""
    return int.from_bytes(blake2b(data, key=salt.encode()[:64], digest_size=8).digest(), "big")


class CapturedRequest(msgspec.Struct, array_like=True, gc=False):
    """One request of a batch. `decision` is its place in the record's `decisions`; `rows` how many rows it has there.

    `code` is 200, or 499 where the client had gone before the batch came back. `part` is None for a whole request. One
    that was larger than a batch is in several records, one for each part, with the part's (first row, rows of the whole
    request): put together by `id` and first row. Such a request was answered if and only if its parts hold all of its
    rows; one that failed meanwhile is in a `FailureRecord`.
    """

    id: str
    unit: str | None
    decision: int
    at_s: float
    duration_s: float
    rows: int
    code: int
    part: tuple[int, int] | None = None


class BatchRecord(msgspec.Struct, array_like=True, tag="batch"):
    """One batch: who asked, what went in, what came out.

    Rows stand in the order of `requests`, each request owning its `rows` rows of every tensor. `params` is the JSON
    object of the model's parameters, where the requests gave some. A request of no rows is a record of its own; so is
    one that was answered from the prediction cache, and `cached` says so. `sample_rate` is the share of the endpoint's
    requests that was recorded then.
    """

    endpoint: str
    version: str
    decisions: list[Decision]
    requests: list[CapturedRequest]
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    params: str | None = None
    cached: bool = False
    sample_rate: float = 1.0

    def decision_of(self, request: CapturedRequest) -> Decision:
        """The assignment of one of its requests."""
        return self.decisions[request.decision]


class FailedCall(msgspec.Struct, array_like=True, gc=False):
    """A request that was refused, failed or timed out, without what it asked.

    `decision` is its place in the record's `decisions`, None where it was refused before one was made. `code` is the
    HTTP status, on every protocol, and `reason` the error's stable code.
    """

    id: str
    unit: str | None
    decision: int | None
    at_s: float
    duration_s: float
    code: int
    reason: str


class Omitted(msgspec.Struct, array_like=True, gc=False):
    """So many requests that failed alike and were counted instead of being recorded one by one."""

    decision: int | None
    code: int
    reason: str
    calls: int


class FailureRecord(msgspec.Struct, array_like=True, tag="failures"):
    """Requests of an endpoint that got no answer. Those in `omitted` ended between `since_s` and `until_s`."""

    endpoint: str
    decisions: list[Decision]
    calls: list[FailedCall]
    omitted: list[Omitted] = []
    since_s: float = 0.0
    until_s: float = 0.0


class FeedbackEvent(msgspec.Struct, array_like=True, gc=False):
    """What became known of one prediction later: its label, the values of metrics, or both.

    It names a request (`id`, and perhaps one `row` of it) or a unit (`key`, kept as `recorded_unit` has it), never
    both. `event` makes a repetition the same event. `label` is the label's JSON text. Times are microseconds since the
    epoch.
    """

    id: str | None
    row: int | None
    key: str | None
    event: str | None
    at_us: int
    endpoint: str | None = None
    experiment: str | None = None
    label: str | None = None
    metrics: dict[str, float] = {}


class FeedbackRecord(msgspec.Struct, array_like=True, tag="feedback"):
    """The events of one request for feedback, in its order. Releases before it count the record as unreadable."""

    events: list[FeedbackEvent]
    received_at_us: int


class Sealed(msgspec.Struct, array_like=True, tag="sealed"):
    """The last record of a segment that takes no more: how many records stand before it, written from when to when.

    `torn_bytes` were cut off its end by whoever sealed it in the place of a writer that had died.
    """

    records: int
    first_at_s: float
    last_at_s: float
    torn_bytes: int = 0


Record = BatchRecord | FailureRecord | FeedbackRecord | Sealed

# A union is no class, and decodes all the same.
_records: msgspec.msgpack.Decoder[Record] = msgpack_decoder(Record)  # type: ignore[arg-type]


def decode_record(payload: bytes) -> Record:
    """From a frame's payload; raises `msgspec.DecodeError`, also for a kind that a later release has added."""
    return _records.decode(payload)


class _Request1(msgspec.Struct, array_like=True):
    id: str
    unit: str | None
    variant: str
    pinned: bool
    at_s: float
    duration_s: float
    rows: int
    code: int
    part: tuple[int, int] | None = None


class _Batch1(msgspec.Struct, array_like=True):
    endpoint: str
    version: str
    requests: list[_Request1]
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    params: str | None = None
    cached: bool = False


_batches_1 = msgpack_decoder(_Batch1)


def decode_record_1(payload: bytes) -> BatchRecord:
    """A record of version 1, as one of this version; its variant is taken for the assigned one."""
    old = _batches_1.decode(payload)
    places: dict[tuple[str, bool], int] = {}
    requests = [
        CapturedRequest(
            one.id,
            one.unit,
            places.setdefault((one.variant, one.pinned), len(places)),
            one.at_s,
            one.duration_s,
            one.rows,
            one.code,
            one.part,
        )
        for one in old.requests
    ]
    decisions = [Decision(variant, variant, old.version, pinned=pinned) for variant, pinned in places]
    return BatchRecord(old.endpoint, old.version, decisions, requests, old.inputs, old.outputs, old.params, old.cached)
