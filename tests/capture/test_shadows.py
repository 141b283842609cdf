"""Rows of a shadow beside the live ones of the same requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from support.capture_bed import AT_S, Gateway, batch
from tidegate.adapters.capture.rows import StoredRows
from tidegate.capture.compact import compact
from tidegate.wire.gateways.decision import Decision
from tidegate.wire.journal import FailureRecord, FeedbackEvent, FeedbackRecord, Omitted

SHADOW = Decision("8", "8", "8", role="shadow")


def shadow(name: str, at_s: float = AT_S, rows: int = 1, **more: Any) -> Any:
    return batch(name, at_s, rows, role="shadow", **{"version": "8"} | more)


@pytest.mark.parametrize("compacted", [False, True])
def test_rows_stand_beside_the_live_ones_of_their_requests(tmp_path: Path, compacted: bool) -> None:
    gateway = Gateway(tmp_path / "journal")
    for name, rows in (("a", 1), ("b", 2), ("only-live", 1)):
        gateway.write(batch(name, rows=rows))
    gateway.write(shadow("b", AT_S + 2, 2))
    gateway.write(shadow("a", AT_S + 1))
    gateway.write(shadow("of another version", version="9"))
    gateway.write(shadow("its live one is lost"))
    gateway.write(batch("a", AT_S + 3))  # a client that sends an id twice
    counts = [Omitted(0, 504, "deadline_exceeded", 3), Omitted(0, 429, "shadow_shed_rows", 40)]
    gateway.write(FailureRecord("churn", [SHADOW], [], counts, AT_S, AT_S + 1))
    gateway.write(FailureRecord("churn", [Decision("7", "7", "7")], [], [Omitted(0, 500, "internal", 2)], AT_S, AT_S))
    label = FeedbackEvent("b", 1, None, None, round(AT_S * 1e6) + 10, "churn", label="1")
    gateway.write(FeedbackRecord([label], round(AT_S * 1e6)))
    gateway.seal()
    if compacted:
        compact(tmp_path / "journal", tmp_path / "capture", lambda: AT_S + 3600)
    stored = StoredRows(tmp_path)
    window = ("churn", "8", AT_S - 1, AT_S + 60)
    assert stored.shadow_rows(*window) == 4
    found = stored.shadow_pairs(*window, ("prediction", "not there"))
    assert found.live["prediction"].tolist() == found.shadow["prediction"].tolist() == [0, 0, 1]
    assert found.first.tolist() == [True, True, False]
    assert found.units.tolist() == ["anna"] * 3
    assert found.labels.tolist() == [None, None, "1"]
    assert found.shadow_ms.tolist() == found.live_ms.tolist() == [250.0] * 3
    assert stored.shadow_failures(*window) == {"deadline_exceeded": 3, "shadow_shed_rows": 40}
    live = stored.rows("failures", "churn", AT_S - 1, AT_S + 60, ("calls", "reason"))
    assert (live["calls"].tolist(), live["reason"].tolist()) == ([2], ["internal"])


def test_rows_of_several_values_are_a_matrix_and_odd_ones_are_left_out(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path / "journal")
    pairs = ("FP64", (2, 2), np.array([[0.1, 0.9], [0.5, 0.5]]).tobytes())
    for record in (batch("a", rows=2), shadow("a", rows=2)):
        gateway.write(msgspec.structs.replace(record, outputs=record.outputs | {"probabilities": pairs}))
    gateway.seal()
    found = StoredRows(tmp_path).shadow_pairs("churn", "8", AT_S - 1, AT_S + 60, ("prediction", "probabilities"))
    assert found.live["probabilities"].tolist() == [[0.1, 0.9], [0.5, 0.5]]


def test_of_an_endpoint_without_a_shadow_there_are_none(tmp_path: Path) -> None:
    found = StoredRows(tmp_path).shadow_pairs("churn", "8", 0.0, AT_S, ("prediction",))
    assert len(found.at) == 0
    assert StoredRows(tmp_path).shadow_failures("churn", "8", 0.0, AT_S) == {}
