from tidegate.services.gateways.answered import BUCKET_S, SILENT_S, WINDOW_S, Answered
from tidegate.wire.parts import AnsweredCounts, AnsweredReport, AnsweredView


class Clock:
    """Time that the test moves."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.live: set[str] = set()
        self.answered = Answered(lambda: self.now, lambda: self.live)

    def report(self, gateway: str, *ended: tuple[int, int, int, int], version: str = "1") -> None:
        counts = [AnsweredCounts("churn", version, *one) for one in ended]
        self.answered.record(AnsweredReport(gateway, counts))

    def seen(self, version: str = "1") -> AnsweredView | None:
        return self.answered.of("churn", version)

    def counts(self) -> tuple[int, int, int, int]:
        seen = self.seen()
        assert seen is not None
        return seen.requests, seen.failed, seen.timed_out, seen.non_finite


def test_without_a_report_nothing_is_known_and_without_requests_it_is_none() -> None:
    clock = Clock()
    assert clock.seen() is None
    clock.report("g-0")
    assert clock.counts() == (0, 0, 0, 0)
    clock.now += SILENT_S + 1
    assert clock.seen() is None


def test_what_was_counted_before_anybody_listened_is_not_of_late() -> None:
    clock = Clock()
    clock.report("g-0", (1000, 900, 0, 0))
    assert clock.counts() == (0, 0, 0, 0)
    clock.now += 5
    clock.report("g-0", (1010, 903, 2, 1))
    assert clock.counts() == (10, 3, 2, 1)
    seen = clock.seen()
    assert seen is not None
    assert seen.window_s == 5


def test_gateways_are_added_up_and_old_requests_forgotten() -> None:
    clock = Clock()
    for gateway in ("g-0", "g-1"):
        clock.report(gateway)
    clock.report("g-0", (10, 1, 0, 0))
    clock.report("g-1", (20, 2, 0, 0))
    assert clock.counts() == (30, 3, 0, 0)
    clock.now += WINDOW_S / 2
    clock.report("g-0", (15, 1, 0, 0))
    clock.report("g-1", (20, 2, 0, 0))
    assert clock.counts() == (35, 3, 0, 0)
    clock.now += WINDOW_S / 2 + BUCKET_S
    clock.report("g-0", (15, 1, 0, 0))
    assert clock.counts() == (5, 0, 0, 0)


def test_a_gateway_that_lost_its_last_counts_takes_nothing_away() -> None:
    clock = Clock()
    clock.report("g-0", (0, 0, 0, 0))
    clock.report("g-0", (100, 5, 0, 0))
    clock.report("g-0", (98, 5, 0, 0))
    clock.report("g-0", (99, 6, 0, 0))
    assert clock.counts() == (101, 6, 0, 0)


def test_a_live_gateway_whose_counts_are_missing_is_told() -> None:
    clock = Clock()
    clock.live = {"g-0", "g-1"}
    clock.report("g-0")
    seen = clock.seen()
    assert seen is not None
    assert seen.gateways_silent == 1
