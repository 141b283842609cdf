"""What an endpoint's capture rules leave of a record, applied before anything is written. Used by `journal.py` only.

Rules are the snapshot's (`wire.gateways.snapshot.CaptureRules`). A sample is taken of requests by a hash of their id,
so that all parts of a request are kept or not alike. Columns that are dropped leave no tensor; one of a
matrix is all NaN. Hashes are keyed with the endpoint's salt: equal values stay equal, and whoever has
the rows alone cannot try values. A text becomes 32 hexadecimal digits, a number a whole number below 2**48.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from tidegate.dataplane.base.tensors import described
from tidegate.wire.gateways.snapshot import CaptureRules, RoutedEndpoint, Snapshot
from tidegate.wire.journal import BatchRecord, FailureRecord, FeedbackRecord
from tidegate.wire.journal.records import FeedbackEvent, Tensor, hashed_number, hashed_text, keyed_hash
from tidegate.wire.signature import MATRIX_INPUT, MISSING_SUFFIX, Signature

Array = np.ndarray[Any, Any]
_DTYPES = {"BOOL": "?", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8"} | {
    f"{sign}INT{bits}": f"<{kind}{bits // 8}" for sign, kind in (("", "i"), ("U", "u")) for bits in (8, 16, 32, 64)
}
_NOTHING: Mapping[str, EndpointPrivacy] = {}
WHOLE_SALT = "journal"
"""Chooses the sample of an endpoint without rules where there is no room for all, alike in every gateway."""


@dataclass(frozen=True)
class EndpointPrivacy:
    """One endpoint's rules. `columns`: by version, the names of a matrix' columns, where they have names."""

    rules: CaptureRules
    salt: str
    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def unit(self, unit: str | None) -> str | None:
        """A unit's key as it may be recorded."""
        return unit if unit is None or not self.rules.hash_keys else self._text(unit)

    def keeps(self, request_id: str, room: float = 1.0) -> bool:
        """Whether a request is in the sample, where there is room for this share of it."""
        share = self.rules.sample * room
        return share >= 1.0 or keyed_hash(request_id.encode("utf-8", "surrogatepass"), self.salt) < share * 2.0**64

    def without_room(self, record: BatchRecord, room: float) -> int:
        """How many requests the rules would keep, and the room does not."""
        return sum(self.keeps(one.id) and not self.keeps(one.id, room) for one in record.requests)

    def batch(self, record: BatchRecord, room: float = 1.0) -> BatchRecord | None:
        """What may be kept of a batch; None where none of its requests is in the sample."""
        kept = [self.keeps(one.id, room) for one in record.requests]
        if not any(kept):
            return None
        rows = np.repeat(kept, [one.rows for one in record.requests])
        requests = [
            msgspec.structs.replace(one, unit=self.unit(one.unit))
            for one, is_kept in zip(record.requests, kept, strict=True)
            if is_kept
        ]
        return msgspec.structs.replace(
            record,
            requests=requests,
            inputs=self._tensors(record.inputs, rows, self.columns.get(record.version, ())),
            outputs=self._tensors(record.outputs, rows, ()),
            sample_rate=self.rules.sample * room,
        )

    def failure(self, record: FailureRecord) -> FailureRecord:
        """Failures have no inputs, and are all recorded: error rates stay exact."""
        calls = [msgspec.structs.replace(one, unit=self.unit(one.unit)) for one in record.calls]
        return msgspec.structs.replace(record, calls=calls)

    def _tensors(self, tensors: dict[str, Tensor], rows: Array, columns: Sequence[str]) -> dict[str, Tensor]:
        made = {}
        for name, tensor in tensors.items():
            of_column = name.removesuffix(MISSING_SUFFIX)
            if of_column in self.rules.drop:
                continue
            values = _values(tensor)
            values = values if rows.all() else values[rows]
            if name in self.rules.hash:
                values = self._hashed(values)
            elif columns and name == MATRIX_INPUT and values.ndim == 2:
                values = self._matrix(values, columns)
            made[name] = described(values)
        return made

    def _matrix(self, values: Array, columns: Sequence[str]) -> Array:
        touched = {*self.rules.drop, *self.rules.hash} & set(columns)
        if not touched:
            return values
        values = values.astype(np.float64)
        for place, name in enumerate(columns[: values.shape[1]]):
            if name in self.rules.drop:
                values[:, place] = np.nan
            elif name in self.rules.hash:
                values[:, place] = self._hashed(values[:, place])
        return values

    def _hashed(self, values: Array) -> Array:
        """What is missing stays missing."""
        made: Array
        if values.dtype == object:
            made = np.empty(values.shape, dtype=object)
            made.ravel()[:] = [None if one is None else self._text(one) for one in values.ravel()]
            return made
        numbers = values.astype(np.float64).ravel().tolist()
        hashed = [math.nan if math.isnan(one) else hashed_number(one, self.salt) for one in numbers]
        return np.array(hashed, dtype=np.float64).reshape(values.shape)

    def _text(self, value: str | bytes) -> str:
        return hashed_text(value, self.salt)


class Privacy:
    """The rules of all endpoints that have some. `adopt` and the rest are for the event loop."""

    def __init__(self) -> None:
        self._endpoints = _NOTHING

    def adopt(self, snapshot: Snapshot) -> None:
        """Take the rules of a snapshot, all at once."""
        self._endpoints = {
            one.name: _privacy(one, one.capture) for one in snapshot.endpoints if one.capture is not None
        }

    def of(self, endpoint: str) -> EndpointPrivacy | None:
        """An endpoint's rules; None where everything is recorded as it is."""
        return self._endpoints.get(endpoint)

    def under_pressure(self, endpoint: str) -> EndpointPrivacy:
        """As `of`, to take a sample by where everything would be recorded."""
        return self._endpoints.get(endpoint) or EndpointPrivacy(CaptureRules(), WHOLE_SALT)

    @property
    def hashes_keys(self) -> bool:
        """Whether any endpoint's rules hash units' keys."""
        return any(one.rules.hash_keys for one in self._endpoints.values())

    def feedback(self, record: FeedbackRecord) -> FeedbackRecord:
        """Feedback by key names its endpoint, whose rules hold for it, where any endpoint's rules hash keys."""
        if not self._endpoints:
            return record
        return msgspec.structs.replace(record, events=[self._event(one) for one in record.events])

    def _event(self, event: FeedbackEvent) -> FeedbackEvent:
        privacy = None if event.endpoint is None else self.of(event.endpoint)
        return event if privacy is None else msgspec.structs.replace(event, key=privacy.unit(event.key))


def _privacy(endpoint: RoutedEndpoint, rules: CaptureRules) -> EndpointPrivacy:
    listening = () if endpoint.shadow is None else (endpoint.shadow.variant,)
    columns = {one.version: _columns(one.signature) for one in (*endpoint.variants, *listening)}
    return EndpointPrivacy(rules, endpoint.salt, columns)


def _columns(signature: Signature) -> tuple[str, ...]:
    return tuple(one.name for one in signature.inputs) if signature.kind == "columns" else ()


def _values(tensor: Tensor) -> Array:
    datatype, shape, raw = tensor
    if datatype == "BYTES":
        values: Array = np.empty(len(raw), dtype=object)
        values[:] = raw
        return values.reshape(shape)
    if datatype not in _DTYPES:
        raise ValueError(f"a tensor of {datatype} cannot be sampled or hashed")
    return np.frombuffer(raw, _DTYPES[datatype]).reshape(shape)
