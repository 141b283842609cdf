"""The same numbers as other packages' where they compute the same thing: files made by oracles/make.py."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tidegate.sequential import means
from tidegate.sequential.exact import log_mixture
from tidegate.sequential.quantiles import Quantiles
from tidegate.sequential.sample_ratio import bayes_factor, log_phase_factor
from tidegate.sequential.strata import Compared, compare
from tidegate.sequential.units import Floats, Units

Z = 1.959963984540054
ORACLES = Path(__file__).parent / "oracles"


def cases(name: str) -> list[dict[str, Any]]:
    found = json.loads((ORACLES / f"{name}.json").read_text())
    assert found["made_with"]
    listed: list[dict[str, Any]] = found["cases"]
    return listed


def compared(case: dict[str, Any], *, covariate: bool = False, ratio: bool = False) -> Compared:
    arm = np.array(case["arm"])
    before = np.array(case["before"]) if covariate else None
    per = np.array(case["per"], dtype=np.float64) if ratio else None
    found = compare(Units(arm, np.zeros_like(arm), np.array(case["value"]), per, before))
    assert found is not None
    return found


def close(value: Any) -> Any:
    return pytest.approx(value, rel=1e-9, abs=1e-9)


def test_the_asymptotic_sequence_is_that_of_gbstats() -> None:
    for case in cases("gbstats"):
        found = compared(case)
        half = means.factor(found.n, case["planned"], 0.05) * math.sqrt(found.variance)
        assert [found.difference - half, found.difference + half] == close(case["interval"])
        evidence = means.log_e(found.difference, found.variance, found.n, means.rho(case["planned"], 0.05))
        assert means.p_value(evidence) == close(case["p"])


def test_the_sample_ratio_is_that_of_savvi() -> None:
    for case in cases("savvi"):
        phases = [np.array(row, dtype=np.float64) for row in case["counts"]]
        assert math.exp(sum(log_phase_factor(row, case["shares"]) for row in phases)) == close(case["factor"])
        if len(phases) == 1:
            assert bayes_factor({1: case["counts"][0]}, case["shares"]) == close(case["factor"])


@pytest.mark.parametrize("name", ["statsmodels", "spotify"])
def test_differences_and_their_errors_are_those_of_fixed_tests(name: str) -> None:
    for case in cases(name):
        found = compared(case)
        half = Z * math.sqrt(found.variance)
        assert (found.difference - half, found.difference + half) == close((case["low"], case["high"]))


@pytest.mark.parametrize(("kind", "of"), [("plain", {}), ("cuped", {"covariate": True}), ("ratio", {"ratio": True})])
def test_covariates_and_ratios_are_those_of_tea_tasting(kind: str, of: dict[str, bool]) -> None:
    for case in cases("tea"):
        found, told = compared(case, **of), case[kind]
        assert (found.a, found.b, found.difference) == close((told["control"], told["treatment"], told["difference"]))
        assert found.difference + Z * math.sqrt(found.variance) == close(told["high"])


def weight(p: float, v_opt: float, *, one_sided: bool) -> float:
    """What confseq tunes its mixtures by, as the weight of ours."""
    spread = p * (1 - p)
    return max(v_opt / means.tuning(0.1 if one_sided else 0.05) - spread, 1e-3 * spread) / spread


def test_binomial_mixtures_are_those_of_confseq() -> None:
    checked = 0
    for case in cases("confseq"):
        if case["kind"] == "binomial" and math.isfinite(case["log"]):
            tuned = weight(case["p"], case["v_opt"], one_sided=case["one_sided"])
            log = float(log_mixture(case["k"], case["n"], case["p"], tuned, int(case["one_sided"])))
            if math.isfinite(log):
                assert log == pytest.approx(case["log"], rel=1e-9, abs=1e-9)
                checked += 1
    assert checked >= 24


def test_normal_mixtures_are_those_of_confseq() -> None:
    for case in cases("confseq"):
        if case["kind"] == "normal":
            variance = 1.0  # of a unit: s is a sum of n of them
            n = case["v"] / variance
            squared_rho = (math.exp(-2 * case["at_zero"]) - 1) / n
            found = means.log_e(case["s"] / n, variance / n, n, math.sqrt(squared_rho))
            assert found == pytest.approx(case["log"], rel=1e-9)


def test_two_samples_quantiles_are_told_apart_as_confseq_does() -> None:
    for case in cases("confseq"):
        if case["kind"] == "quantiles":
            a, b = (np.array(case[name], dtype=np.float64) for name in ("a", "b"))
            arm = np.concatenate((np.zeros(a.size, np.int64), np.ones(b.size, np.int64)))
            value: Floats = np.concatenate((a, b))
            p = case["level"]
            tuned = weight(p, p * (1 - p) * case["t_opt"], one_sided=False)
            found = Quantiles.of(Units(arm, np.zeros_like(arm), value), p, tuned)
            assert found is not None
            assert means.p_value(found.log_e(0.05)) == pytest.approx(case["p"], rel=1e-9)
