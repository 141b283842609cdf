"""A computed batch as a record of the journal. Used by `journal.py` only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tidegate.dataplane.base.tensors import described
from tidegate.wire.gateways.decision import Decision
from tidegate.wire.journal import CACHED, BatchRecord, CapturedRequest
from tidegate.wire.journal.records import UNIT_CHARS_MAX, recorded_unit

if TYPE_CHECKING:
    from tidegate.dataplane.calls.batch import Batch
    from tidegate.dataplane.calls.call import Call
    from tidegate.dataplane.calls.outputs import Outputs, Tensors

GONE_CODE = 499


def batch_record(batch: Batch, outputs: Outputs, now_s: float, wall_offset_s: float) -> BatchRecord | None:
    """What is kept of a batch; None where each of its requests had failed by then, which is recorded already."""
    identity = batch.destination.identity
    decisions: list[Decision] = []
    places: dict[int, int] = {}
    requests: list[CapturedRequest] = []
    before: Decision | bool | None = False  # which is no decision
    place, failed = 0, False
    for call in batch.calls:
        code = 200
        if call.done:
            if call.failed:
                failed = True
                continue
            code = GONE_CODE
        decision = call.decision
        if decision is not before:
            before = decision
            place = places.setdefault(id(decision), len(places))
            if place == len(decisions):
                made = decision or Decision(identity.variant, identity.variant, identity.version)
                decisions.append(made)
        unit = call.unit
        requests.append(
            CapturedRequest(
                call.request_id,
                unit if unit is None or len(unit) <= UNIT_CHARS_MAX else recorded_unit(unit),
                place,
                call.started_s + wall_offset_s,
                now_s - call.started_s,
                call.rows,
                code,
                call.place,
            )
        )
    inputs, answers = batch.inputs, outputs.tensors
    if failed:
        if not requests:
            return None
        kept = _kept_rows(batch.calls)
        inputs, answers = _only(inputs, kept), _only(answers, kept)
    return BatchRecord(
        identity.endpoint,
        identity.version,
        decisions,
        requests,
        {name: described(array) for name, array in inputs.items()},
        {name: described(array) for name, array in answers.items()},
        batch.params,
        batch.released == CACHED,
    )


def _kept_rows(calls: list[Call]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which rows of a batch are recorded with it: those of a request that timed out meanwhile are not.

    Such a request is in a record of failures. Each request is recorded once.
    """
    return np.repeat([not (call.done and call.failed) for call in calls], [call.rows for call in calls])


def _only(tensors: Tensors, rows: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Tensors:
    return {name: array[rows] for name, array in tensors.items()}
