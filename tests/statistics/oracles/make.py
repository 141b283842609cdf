"""What other packages say of the same numbers, written as JSON beside this file. Run by hand, outside the project.

Each package wants its own environment, because of what it pins; none is a dependency of Tidegate:

    uv venv --python 3.11 /tmp/oracle && uv pip install --python /tmp/oracle/bin/python PACKAGES
    /tmp/oracle/bin/python tests/statistics/oracles/make.py NAME

    NAME         PACKAGES
    gbstats      gbstats==0.8.0 "numpy<2"         (this release has the two-sided sequence only)
    savvi        savvi==0.2.0 matplotlib pandas "numpy<2"
    statsmodels  statsmodels==0.15.0
    spotify      spotify-confidence==4.1.0
    tea          tea-tasting==1.14.0              (2.x needs Python 3.12)
    confseq      confseq==0.0.11 "numpy<2"        (built from source: libboost-dev; the pybind11 that it pins does not
                 know Python 3.11, so first pip install "pybind11<3" scikit-build "setuptools<75" "cmake<4" ninja, then
                 confseq with --no-build-isolation and CMAKE_POLICY_VERSION_MINIMUM=3.5)
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import random
import sys
from pathlib import Path
from typing import Any

VERSIONS = {
    "gbstats": ("gbstats", "numpy"),
    "savvi": ("savvi", "numpy"),
    "statsmodels": ("statsmodels", "scipy", "numpy"),
    "spotify": ("spotify-confidence", "numpy"),
    "tea": ("tea-tasting", "numpy"),
    "confseq": ("confseq", "numpy"),
}


def samples(size: int = 120) -> list[dict[str, Any]]:
    """Pairs of samples with covariates and denominators, the same in every environment."""
    rng = random.Random(20261129)
    found = []
    for shift, split in ((0.0, 60), (0.4, 60), (-0.2, 40)):
        arm = [int(row >= split) for row in range(size)]
        before = [round(rng.gauss(10, 2), 6) for _ in arm]
        value = [round(0.7 * x + rng.gauss(0, 1) + shift * a, 6) for x, a in zip(before, arm, strict=True)]
        per = [rng.randint(1, 6) for _ in arm]
        found.append({"arm": arm, "value": value, "before": before, "per": per})
    return found


def gbstats() -> list[dict[str, Any]]:
    from gbstats.frequentist.tests import SequentialConfig, SequentialTwoSidedTTest
    from gbstats.models.statistics import SampleMeanStatistic

    found = []
    for sample in samples():
        arms = [[v for v, a in zip(sample["value"], sample["arm"], strict=True) if a == arm] for arm in (0, 1)]
        stats = [SampleMeanStatistic(n=len(x), sum=sum(x), sum_squares=sum(v * v for v in x)) for x in arms]
        for planned in (100, 5000):
            config = SequentialConfig(difference_type="absolute", sequential_tuning_parameter=planned)
            test = SequentialTwoSidedTTest(*stats, config)
            found.append({**sample, "planned": planned, "interval": test.confidence_interval, "p": test.p_value})
    return found


def savvi() -> list[dict[str, Any]]:
    import numpy as np
    from savvi.multinomial import Multinomial

    found = []
    cases = (
        ([[50, 50]], [0.5, 0.5]),
        ([[480, 520], [1100, 900]], [0.5, 0.5]),
        ([[90, 10], [850, 130]], [0.9, 0.1]),
        ([[300, 310, 290]], [0.25, 0.5, 0.25]),
    )
    for phases, shares in cases:
        factors = []
        for counts in phases:
            test = Multinomial(0.05, np.array(shares), 100)
            test.update(np.array(counts))
            factors.append(float(test.odds))
        found.append({"counts": phases, "shares": shares, "factor": math.prod(factors)})
    return found


def statsmodels() -> list[dict[str, Any]]:
    from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

    found = []
    for sample in samples():
        arms = [[v for v, a in zip(sample["value"], sample["arm"], strict=True) if a == arm] for arm in (1, 0)]
        test = CompareMeans(*(DescrStatsW(arm) for arm in arms))
        low, high = test.zconfint_diff(alpha=0.05, usevar="unequal")
        found.append({**sample, "low": float(low), "high": float(high)})
    return found


def spotify() -> list[dict[str, Any]]:
    import pandas as pd
    from spotify_confidence import ZTest

    found = []
    for sample in samples():
        rows = []
        for arm in (0, 1):
            values = [v for v, a in zip(sample["value"], sample["arm"], strict=True) if a == arm]
            rows.append({"arm": arm, "sum": sum(values), "squares": sum(v * v for v in values), "n": len(values)})
        test = ZTest(
            pd.DataFrame(rows),
            numerator_column="sum",
            numerator_sum_squares_column="squares",
            denominator_column="n",
            categorical_group_columns="arm",
            interval_size=0.95,
        )
        row = test.difference(level_1=0, level_2=1).iloc[0]
        ends = {"low": float(row["ci_lower"]), "high": float(row["ci_upper"])}
        found.append({**sample, "difference": float(row["difference"]), **ends})
    return found


def tea() -> list[dict[str, Any]]:
    import pyarrow as pa
    import tea_tasting as tt

    found = []
    for sample in samples():
        table = pa.table({"variant": sample["arm"], **{k: sample[k] for k in ("value", "before", "per")}})
        common = {"use_t": False, "equal_var": False, "confidence_level": 0.95}
        metrics = {
            "plain": tt.Mean("value", **common),
            "cuped": tt.Mean("value", "before", **common),
            "ratio": tt.RatioOfMeans("value", "per", **common),
        }
        result = tt.Experiment(metrics, variant="variant").analyze(table)
        told = {
            name: {
                "control": found_.control,
                "treatment": found_.treatment,
                "difference": found_.effect_size,
                "high": found_.effect_size_ci_upper,
            }
            for name, found_ in result.items()
        }
        found.append({**sample, **told})
    return found


def confseq() -> list[dict[str, Any]]:
    import numpy as np
    from confseq import boundaries, quantiles

    found: list[dict[str, Any]] = []
    for p in (0.05, 0.3, 0.5, 0.95):
        for n, k in ((20, 3), (200, 90), (1000, 930), (1000, 40)):
            for one_sided in (False, True):
                spread = p * (1 - p)
                log = boundaries.beta_binomial_log_mixture(
                    k - n * p, spread * n, spread * 500.0, p, 1 - p, 0.05, one_sided
                )
                case = {"kind": "binomial", "p": p, "n": n, "k": k, "v_opt": spread * 500.0, "one_sided": one_sided}
                found.append({**case, "log": float(log)})
    for s, v in ((3.0, 10.0), (40.0, 300.0), (-100.0, 1000.0)):
        case = {"kind": "normal", "s": s, "v": v}
        at_zero = float(boundaries.normal_log_mixture(0.0, v, 250.0, 0.05, False))
        log = float(boundaries.normal_log_mixture(s, v, 250.0, 0.05, False))
        found.append({**case, "at_zero": at_zero, "log": log})
    rng = random.Random(7)
    for factor, level in ((1.0, 0.5), (1.5, 0.5), (1.4, 0.9)):
        a = [round(rng.lognormvariate(3, 0.5), 6) for _ in range(250)]
        b = [round(factor * rng.lognormvariate(3, 0.5), 6) for _ in range(300)]
        p = float(quantiles.quantile_ab_p_value(np.array(a), np.array(b), level, 400, 0.05))
        found.append({"kind": "quantiles", "a": a, "b": b, "level": level, "t_opt": 400, "p": p})
    return found


if __name__ == "__main__":
    name = sys.argv[1]
    made_with = {package: importlib.metadata.version(package) for package in VERSIONS[name]}
    cases = {each.__name__: each for each in (gbstats, savvi, statsmodels, spotify, tea, confseq)}[name]()
    text = json.dumps({"made_with": made_with, "cases": cases}, indent=None, separators=(",", ":"))
    Path(__file__).with_name(f"{name}.json").write_text(text.replace('{"arm"', '\n{"arm"') + "\n")
