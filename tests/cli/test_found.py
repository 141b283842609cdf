"""What monitors found, as a terminal shows it: within 80 columns, what needs attention first."""

from __future__ import annotations

import pytest

from support.monitoring import check_result, drift_results, performance_results
from tidegate.cli.output import WIDTH
from tidegate.cli.watching.found import summary, takes_blocks
from tidegate.wire.monitoring.monitoring import MonitorResult


@pytest.fixture(scope="module")
def results() -> list[MonitorResult]:
    return [
        *drift_results({"calm": 0.0, "a_column_with_a_name_that_is_long_enough_to_be_cut": 0.6, "score": 0.4}),
        *performance_results([0.1, 0.1, 0.1, 0.3]),
        check_result("data_quality", "alert", "missing: " + "word " * 60, feature="age", severity="medium", n=10**9),
        check_result("performance", "ok", "fine", metric="accuracy", segment="a long segment" * 5, value=1e9),
        check_result("latency", "unknown", "unknown: no request was answered"),
    ]


def test_it_fits_a_terminal_and_begins_with_what_needs_attention(results: list[MonitorResult]) -> None:
    lines = summary(results).splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert lines[0] == "4 of 7 checks need a look"
    assert lines[1].startswith("  critical: accuracy (performance) v3: worse: accuracy is")
    assert next(line for line in lines if line.startswith("calm v3")).split()[2] == "ok"


def test_it_draws_both_distributions_to_one_scale_and_performance_over_time(results: list[MonitorResult]) -> None:
    told = summary(results)
    drifted = next(line for line in told.splitlines() if line.startswith("a_column_with"))
    reference, now = drifted.split()[-2:]
    assert len(reference) == len(now) == 11
    assert max(now) == "█"
    assert max(reference) < "█"
    assert "OVER TIME" in told
    assert summary(results, is_ascii=True).isascii()


def test_what_is_fine_and_what_is_not_known_is_said() -> None:
    fine, unknown = check_result("errors", "ok", "ok"), check_result("latency", "unknown", "unknown")
    assert summary([fine, unknown]).startswith("no check needs attention: 1 is fine; of 1 nothing can be known")
    assert summary([]) == "nothing is known yet: no monitor has run"


def test_more_than_can_be_read_is_left_out_and_said() -> None:
    found = [check_result("feature_drift", "alert", "drift", feature=f"f{at}", effect=0.5) for at in range(300)]
    lines = summary(found).splitlines()
    assert len(lines) < 70
    assert "260 more are left out here: --json has them" in lines


def test_columns_whose_data_is_fine_are_counted() -> None:
    fine = [check_result("data_quality", "ok", "ok: no value is odd", feature=f"f{at}") for at in range(14)]
    bad = check_result("data_quality", "alert", "missing: much", feature="bad", severity="low")
    told = summary([*fine, bad])
    assert "data quality: 14 more columns are fine" in told
    assert "f3" not in told
    assert "bad (data quality)" in told


def test_an_output_without_blocks_is_known() -> None:
    assert takes_blocks("utf-8")
    assert not takes_blocks("ascii")
    assert not takes_blocks(None)
