"""Gateways that report what they had to do, behind a clock that the test moves."""

from __future__ import annotations

from tidegate.services.gateways.load import Load
from tidegate.wire.gateways.load import DURATION_BUCKETS_S, LoadReport, LoadView, VersionLoad

NO_DURATIONS = [0] * (len(DURATION_BUCKETS_S) + 1)


def busy(in_progress_s: float = 0.0, requests: int = 0, errors: int = 0, version: str = "1") -> VersionLoad:
    durations = list(NO_DURATIONS)
    durations[7] = requests  # from 25 to 50 ms
    return VersionLoad("churn", version, in_progress_s, requests, errors, durations)


class Clock:
    """Time that the test moves, and gateways that report as it passes."""

    def __init__(self, samples_max: int = 100_000) -> None:
        self.now = 1000.0
        self.live: set[str] = set()
        self.load = Load(lambda: self.now, lambda: self.live, samples_max)

    def pass_seconds(self, seconds: int, **gateways: list[VersionLoad]) -> None:
        for _ in range(seconds):
            self.now += 1
            for name, versions in gateways.items():
                self.load.record(LoadReport(name, 1.0, versions))

    def seen(self, *versions: str) -> LoadView | None:
        return self.load.of("churn", versions or ["1"])

    def known(self, *versions: str) -> LoadView:
        seen = self.seen(*versions)
        assert seen is not None
        return seen
