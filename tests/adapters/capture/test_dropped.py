"""Records that gateways dropped, read from the counts that gateways write."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tidegate.adapters.capture.dropped import COUNTS_SUFFIX, dropped_records
from tidegate.dataplane.pipeline.metrics import MetricState
from tidegate.gateway.capture.observer import DROPPED
from tidegate.gateway.telemetry.counts import SUFFIX, CountsFile


def counted(folder: Path, gateway: str, **dropped: float) -> None:
    state = MetricState(counters={"tidegate_journal_records_written": 9.0}, reasons={DROPPED: dropped})
    asyncio.run(CountsFile(folder / f"{gateway}{SUFFIX}", lambda: state).save())


def test_what_all_gateways_dropped_is_added_up(tmp_path: Path) -> None:
    assert SUFFIX == COUNTS_SUFFIX
    assert dropped_records(tmp_path / "none") == 0
    counted(tmp_path, "a", unread=3, disk_full=0)
    counted(tmp_path, "b", stalled=4)
    counted(tmp_path, "c")
    assert dropped_records(tmp_path) == 7


def test_counts_that_cannot_be_read_count_for_nothing(tmp_path: Path) -> None:
    counted(tmp_path, "a", unread=3)
    (tmp_path / f"b{SUFFIX}").write_bytes(b"\xc1 torn")
    (tmp_path / f"c{SUFFIX}").mkdir()
    assert dropped_records(tmp_path) == 3
