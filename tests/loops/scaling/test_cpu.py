"""Samples of CPU for the autoscaler."""

from __future__ import annotations

from tidegate.core.ports import Handle
from tidegate.core.scaling.load import Point
from tidegate.loops.scaling.cpu import SOURCE, SPAN_S_MAX, CpuSamples, Key

KEY: Key = ("uid", "1", "cpu", "50")
WANTED = {KEY: {"r-1": Handle("process", {})}}


def test_what_was_used_over_a_gap_is_no_sample_of_now() -> None:
    used = [0.0]
    samples = CpuSamples(lambda handles: [used[0] for _ in handles])

    def look(at: float, seconds: float) -> tuple[Point, ...]:
        used[0] = seconds
        samples.look(WANTED, at)
        return tuple(samples.series(KEY, 60.0, at).points[SOURCE])

    assert look(1000.0, 5.0) == ()
    assert look(1002.0, 6.0) == (Point(1002.0, 2.0, 100.0),)
    assert look(1002.0 + 2 * SPAN_S_MAX, 6.5) == ()
    at = 1004.0 + 2 * SPAN_S_MAX
    assert look(at, 8.5) == (Point(at, 2.0, 200.0),)
