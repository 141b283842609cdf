"""What is kept of an analysis."""

from __future__ import annotations

import json
import math

import msgspec

from tidegate.sequential.analysis import Analysis
from tidegate.sequential.evidence import EvidencePlan
from tidegate.services.experiments.evidence import finite_analysis
from tidegate.wire.experiments.experiments import MetricView, RatioView


def test_numbers_that_are_none_are_never_kept_or_shown() -> None:
    huge = MetricView("spent", "treatment", 1.0, math.inf, math.nan, -math.inf, 2.0, None, False, None)
    plans = {"spent": EvidencePlan("asymptotic", math.nan), "rated": EvidencePlan("asymptotic", 100.0)}
    found = finite_analysis(
        Analysis([huge], [], RatioView(False, math.inf), plans, {"rated/treatment": 0.5}, [("a", "b")])
    )
    json.dumps(msgspec.to_builtins(found), allow_nan=False)
    (shown,) = found.metrics
    assert (shown.model_a_mean, shown.model_b_mean, shown.improvement, shown.upper) == (1.0, None, None, 2.0)
    assert (set(found.plans), found.worse, found.ratio.bayes_factor) == ({"rated"}, [("a", "b")], None)
