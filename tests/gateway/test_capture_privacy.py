"""What an endpoint's capture rules leave of what is recorded: nothing else ever reaches the disk."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tidegate.dataplane.base.tensors import described
from tidegate.gateway.capture.privacy import EndpointPrivacy, Privacy
from tidegate.wire.gateways.decision import Decision
from tidegate.wire.gateways.snapshot import CaptureRules, RoutedEndpoint, Snapshot
from tidegate.wire.journal import BatchRecord, CapturedRequest, FailedCall, FailureRecord, FeedbackRecord
from tidegate.wire.journal.records import FeedbackEvent

SALT = "salt"


def privacy(columns: tuple[str, ...] = (), **rules: Any) -> EndpointPrivacy:
    return EndpointPrivacy(CaptureRules(**rules), SALT, {"7": columns})


def batch(ids: list[str], **inputs: Any) -> BatchRecord:
    requests = [CapturedRequest(one, f"unit of {one}", 0, 1.0, 0.1, 2, 200) for one in ids]
    rows = 2 * len(ids)
    given = inputs or {"age": np.arange(float(rows)), "name": np.array([f"n{n}" for n in range(rows)], dtype=object)}
    outputs = {"prediction": described(np.arange(rows))}
    tensors = {name: described(value) for name, value in given.items()}
    return BatchRecord("churn", "7", [Decision("7", "7", "7")], requests, tensors, outputs)


def values(tensor: Any) -> list[Any]:
    datatype, shape, raw = tensor
    if datatype == "BYTES":
        return list(raw)
    kind = {"FP64": np.float64, "INT64": np.int64}[datatype]
    found: list[Any] = np.frombuffer(raw, kind).reshape(shape).tolist()
    return found


def test_a_sample_has_the_same_requests_everywhere_with_all_their_rows_and_its_rate() -> None:
    ids = [f"id-{number}" for number in range(2000)]
    rules = privacy(sample=0.25)
    made = rules.batch(batch(ids))
    assert made is not None
    kept = [one.id for one in made.requests]
    assert kept == [one for one in ids if rules.keeps(one)]
    assert 400 < len(kept) < 600
    assert made.sample_rate == 0.25
    first = [float(2 * int(one.removeprefix("id-"))) for one in kept]
    assert values(made.inputs["age"])[::2] == first
    assert len(values(made.outputs["prediction"])) == 2 * len(kept)
    assert privacy(sample=0.0).batch(batch(ids)) is None
    every = privacy(sample=1.0).batch(batch(ids))
    assert every is not None
    assert len(every.requests) == 2000
    wider = privacy(sample=0.5)
    assert all(wider.keeps(one) for one in kept), "a larger sample has all of a smaller one"


def test_dropped_columns_are_gone_with_their_masks_and_of_outputs_too() -> None:
    record = batch(["a"], age=np.array([1.0, 2.0]), age__missing=np.array([False, True]), other=np.array([3.0, 4.0]))
    made = privacy(drop=("age", "prediction")).batch(record)
    assert made is not None
    assert set(made.inputs) == {"other"}
    assert made.outputs == {}


def test_hashed_values_stay_equal_and_cannot_be_read() -> None:
    record = batch(["a"], email=np.array(["a@b.c", "a@b.c"], dtype=object), age=np.array([41.0, np.nan]))
    made = privacy(hash=("email", "age")).batch(record)
    assert made is not None
    one, other = values(made.inputs["email"])
    assert one == other
    assert len(one) == 32
    assert "a@b.c" not in str(made)
    number, missing = values(made.inputs["age"])
    assert number.is_integer()
    assert number != 41.0
    assert np.isnan(missing)
    elsewhere = EndpointPrivacy(CaptureRules(hash=("email",)), "another salt").batch(record)
    assert elsewhere is not None
    assert values(elsewhere.inputs["email"])[0] != one


@pytest.mark.parametrize("kind", [np.float64, np.int64])
def test_columns_of_a_matrix_are_found_by_their_place(kind: Any) -> None:
    matrix = np.array([[1, 2, 3], [4, 2, 6]], dtype=kind)
    made = privacy(("age", "income", "size"), drop=("age",), hash=("income",)).batch(batch(["a"], input=matrix))
    assert made is not None
    rows = values(made.inputs["input"])
    assert [row[2] for row in rows] == [3, 6]
    assert all(np.isnan(row[0]) for row in rows)
    assert rows[0][1] == rows[1][1] != 2


def test_keys_are_hashed_alike_in_predictions_failures_and_feedback() -> None:
    made = Privacy()
    rules = CaptureRules(hash_keys=True)
    made.adopt(Snapshot(1, (RoutedEndpoint("churn", "salt", (), capture=rules), RoutedEndpoint("plain", "salt", ()))))
    assert made.of("plain") is None
    ours = made.of("churn")
    assert ours is not None
    record = ours.batch(batch(["a"]))
    assert record is not None
    failure = ours.failure(FailureRecord("churn", [], [FailedCall("x", "unit of a", None, 1.0, 0.1, 504, "late")]))
    events = [FeedbackEvent(None, None, "unit of a", None, 1, name) for name in ("churn", "plain", None)]
    feedback = made.feedback(FeedbackRecord(events, 2))
    key = record.requests[0].unit
    assert key not in (None, "unit of a")
    assert failure.calls[0].unit == key
    assert [one.key for one in feedback.events] == [key, "unit of a", "unit of a"]
