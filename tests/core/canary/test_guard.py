"""When a version that was given all traffic at once gives it back."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from tidegate.core.canary.guard import ALPHA, RATE_FREE, Ended, GuardFacts, by_itself, watch
from tidegate.sequential.exact import log_above

FACTS = GuardFacts(now=100.0, started_at=0.0, routed_at=10.0, ended=Ended(1000))


@pytest.mark.parametrize(
    ("facts", "verdict", "words"),
    [
        (replace(FACTS, routed_at=None), "watch", "no traffic"),
        (replace(FACTS, routed_at=None, now=1e6), "done", "no traffic"),
        (replace(FACTS, ended=None), "watch", "no report"),
        (FACTS, "watch", "1000 requests"),
        (replace(FACTS, now=700.0), "done", "nothing happened"),
        (replace(FACTS, now=700.0, ended=None), "done", "nothing happened"),
        (replace(FACTS, ended=Ended(4, failed=4)), "rollback", "4 of 4 requests failed or timed out"),
        (replace(FACTS, ended=Ended(4, timed_out=4)), "rollback", "4 timed out"),
        (replace(FACTS, ended=Ended(4, non_finite=4)), "rollback", "NaN"),
        (replace(FACTS, ended=Ended(1, failed=1)), "watch", "1 request, fine"),
        (replace(FACTS, ended=Ended(1000, failed=15)), "watch", ""),
        (replace(FACTS, crashes=3), "rollback", "3 of its replicas"),
        (replace(FACTS, crashes=2), "watch", ""),
    ],
)
def test_each_row_of_the_table(facts: GuardFacts, verdict: str, words: str) -> None:
    found = watch(facts, 600.0, log_above)
    assert found.verdict == verdict
    assert words in found.reason


def test_what_failed_before_already_is_no_fault_of_the_new_version() -> None:
    bad = replace(FACTS, ended=Ended(1000, failed=100))
    assert watch(bad, 600.0, log_above).verdict == "rollback"
    assert watch(replace(bad, before=Ended(1000, failed=100)), 600.0, log_above).verdict == "watch"


def test_evidence_passes_its_bound_no_more_often_than_it_says() -> None:
    """At all looks of 300 streams at the highest rate that is allowed, and it grows where there is more."""
    draw, passed = random.Random(4), 0
    for _ in range(300):
        found = highest = 0.0
        for requests in range(1, 201):
            found += draw.random() < RATE_FREE
            if requests % 10 == 0:
                highest = max(highest, log_above(int(found), requests, RATE_FREE))
        passed += highest >= math.log(1 / 0.05)
    assert passed / 300 <= 0.05
    assert log_above(15, 100, RATE_FREE) > math.log(1 / ALPHA)


@pytest.mark.parametrize(
    ("exit_code", "own"), [(None, False), (0, False), (7, True), (-9, False), (-15, False), (-11, True), (137, False)]
)
def test_a_process_that_was_killed_from_outside_is_not_at_fault(exit_code: int | None, *, own: bool) -> None:
    assert by_itself(exit_code) is own
