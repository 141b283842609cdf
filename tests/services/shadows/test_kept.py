"""What was found is kept for as long as it was dear, and asked for once by all that want it at a time."""

from __future__ import annotations

import threading

import pytest

from support.wait import until
from tidegate.services.shadows.kept import ENTRIES_MAX, KEPT_S_MAX, KEPT_TIMES, Kept


class Dear:
    """Costs some time of a clock that moves by hand."""

    def __init__(self, cost_s: float) -> None:
        self.now, self.cost_s, self.found = 100.0, cost_s, 0

    def clock(self) -> float:
        return self.now

    def find(self) -> int:
        self.now += self.cost_s
        self.found += 1
        return self.found


def test_what_was_dear_is_kept_longer_but_not_for_ever() -> None:
    for cost_s, kept_s in ((2.0, 2.0 * KEPT_TIMES), (600.0, KEPT_S_MAX)):
        dear = Dear(cost_s)
        kept = Kept[int](dear.clock)
        assert kept.get("churn", dear.find) == 1
        dear.now += kept_s - 0.1
        assert kept.get("churn", dear.find) == 1
        dear.now += 0.2
        assert kept.get("churn", dear.find) == 2


def test_what_costs_nothing_is_found_anew_and_what_failed_is_not_kept() -> None:
    dear = Dear(0.0)
    kept = Kept[int](dear.clock)
    assert [kept.get("churn", dear.find) for _ in range(2)] == [1, 2]

    def fail() -> int:
        dear.now += 5
        raise OSError("away")

    with pytest.raises(OSError, match="away"):
        kept.get("churn", fail)
    assert kept.get("churn", dear.find) == 3


def test_those_who_ask_meanwhile_wait_for_the_same_result() -> None:
    dear, asked, go = Dear(1.0), threading.Event(), threading.Event()
    kept, results = Kept[int](dear.clock), []

    def slow() -> int:
        asked.set()
        assert go.wait(30)
        return dear.find()

    threads = [threading.Thread(target=lambda: results.append(kept.get("churn", slow))) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert asked.wait(30)
    assert kept.get("of another", lambda: 7) == 7
    go.set()
    for thread in threads:
        thread.join(30)
    until(lambda: len(results) == 4, what="all answers")
    assert (set(results), dear.found) == ({1}, 1)


def test_only_so_many_are_kept() -> None:
    dear = Dear(1.0)
    kept = Kept[int](dear.clock)
    for number in range(ENTRIES_MAX + 1):
        kept.get(number, dear.find)
    before = dear.found
    kept.get(ENTRIES_MAX, dear.find)
    assert dear.found == before
    kept.get(0, dear.find)
    assert dear.found == before + 1
